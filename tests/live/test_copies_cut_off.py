"""A thousand messages on their way from one server to another, and one of the two is gone.

Rule of this file: whatever is cut, and wherever, each message, told by its SHA-256, is where it was, or where it was to go; in both places only
if the log says so. What the servers have is read straight at them. PORTICO_SWEEP=n cuts at n places of each kind instead of a few.
"""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import pytest
from portico.demo import messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.ports import MailPorts

from tests.live.clients import sha256
from tests.live.cutter import Cutter, Direction
from tests.live.dialogue import Dialogue, eventually
from tests.live.people import PASSWORD, People
from tests.live.stores import PUBLIC_WAYS, Public, dovecot_store, fill_dovecot, public_front

pytestmark = pytest.mark.live

MANY, FEW = 1000, 100
BODIES = [messages.plain(1, f"Number {number}", f"{number} is its number.\n") for number in range(MANY)]
DIGESTS = list(map(sha256, BODIES))
SWEEP = int(os.environ.get("PORTICO_SWEEP", "0"))

Place = Literal["main", "store"]


@dataclass(frozen=True)
class Kind:
    """One way to go: COPY or MOVE, into the store or out of it, at once (MULTIAPPEND) or one by one; and whose wire is cut, how."""

    verb: str
    way: Literal["in", "out"]
    at_once: bool
    cut: Place
    direction: Direction

    @property
    def count(self) -> int:
        """Of the messages: to store them one by one takes its time."""
        return MANY if self.at_once or SWEEP else FEW

    @property
    def digests(self) -> list[str]:
        return sorted(DIGESTS[: self.count])

    def __str__(self) -> str:
        return f"{self.verb} {self.way}, {'at once' if self.at_once else 'one by one'}, {self.direction} the {self.cut}"


@dataclass(frozen=True)
class _Behind:
    """In place of a server: the wire to it."""

    ports: MailPorts


@dataclass
class World:
    """Two servers, a wire to each, and Portico between."""

    main: Dovecot
    store: Dovecot
    wires: dict[tuple[Place, bool], Cutter]
    """To whom, and whether what it says of MULTIAPPEND passes."""
    fronts: dict[bool, Public]
    """By whether the target takes messages at once."""
    user: str
    """Who does all this, each time in another mailbox."""
    journeys: int = 0

    def client(self, *, at_once: bool = True) -> Dialogue:
        end = time.monotonic() + 60
        while True:  # a server that has been killed by the test before may still be on its way up
            try:
                return self.fronts[at_once].client("user", self.user)
            except (AssertionError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def wire(self, kind: Kind) -> Cutter:
        return self.wires[kind.cut, kind.at_once]

    def doubled(self, kind: Kind) -> list[int]:
        """How many messages each `transfer.doubled` in the log tells of."""
        return [int(event["messages"]) for event in self.fronts[kind.at_once].front.events("transfer.doubled")]

    def kill(self) -> None:
        """All processes of the store, at once."""
        os.killpg(self.store.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def world(place: Path, certificates: Certificates, dovecot: Dovecot, people: People) -> Iterator[World]:
    with dovecot_store(place / "cut", certificates) as store:
        fill_dovecot(store)
        servers: dict[Place, Dovecot] = {"main": dovecot, "store": store}
        hidden = {True: b"", False: b" MULTIAPPEND"}
        wires = {(name, at_once): Cutter(server.ports.imap, hidden[at_once]) for name, server in servers.items() for at_once in hidden}
        fronts = {}
        for at_once in hidden:
            behind = _Behind(replace(dovecot.ports, imap=wires["main", at_once].port))
            more = 'timeouts.store_retry = "1ms"\ntimeouts.store = "2s"\n'
            ways = {"user": PUBLIC_WAYS["user"]}
            fronts[at_once] = public_front(
                place / f"cut-{at_once}", certificates, cast(Dovecot, behind), {"store": wires["store", at_once].port}, ways, listener=more
            )
            fronts[at_once].front.start()
        try:
            yield World(dovecot, store, wires, fronts, people.new(dovecot))
        finally:
            for front in fronts.values():
                front.front.stop()
            for wire in wires.values():
                wire.close()


@dataclass
class Journey:
    """The messages, in a mailbox of their own, and one to go to."""

    source: tuple[Dovecot, str]
    target: tuple[Dovecot, str]
    source_name: str
    target_name: str


def straight(server: Dovecot, user: str) -> Dialogue:
    client = Dialogue(server.ports.imap)
    client.line()
    assert b"in OK" in client.command(f"in LOGIN {user} {PASSWORD}".encode())
    return client


def journey(world: World, kind: Kind, count: int = MANY) -> Journey:
    world.journeys += 1
    name = f"{world.user}-{world.journeys}"
    own, shared = (world.main, name), (world.store, f"Public/Open/{name}")
    names = (name, f"Public Folders/Open/{name}")
    made = Journey(own, shared, *names) if kind.way == "in" else Journey(shared, own, *reversed(names))
    for server, box in (own, shared):
        with straight(server, world.user) as client:
            client.command(f"c CREATE {box}".encode())
            if (server, box) == made.source:
                whole = b"".join(b" {%d+}\r\n%b" % (len(body), body) for body in BODIES[: min(count, kind.count)])
                assert not whole or b"a OK" in client.command(f"a APPEND {box}".encode() + whole)
    return made


def digests(world: World, at: tuple[Dovecot, str]) -> list[str]:
    """Of all messages of a mailbox, straight at its server."""
    server, box = at
    found = []
    with straight(server, world.user) as client:
        client.command(f'e EXAMINE "{box}"'.encode())
        client.send(b"f FETCH 1:* BODY.PEEK[]\r\n")
        while not (response := client.response()).startswith(b"f "):
            body = re.match(rb"\* \d+ FETCH \(BODY\[\] \{(\d+)\}\r\n", response)
            if body is not None:
                found.append(sha256(response[body.end() : body.end() + int(body[1])]))
    return sorted(found)


def forget(world: World, made: Journey) -> None:
    for server, box in (made.source, made.target):
        with straight(server, world.user) as client:
            client.command(f"d DELETE {box}".encode())


def cross(client: Dialogue, kind: Kind, made: Journey) -> bytes:
    """The answer to the command; empty: the session ended before it."""
    client.send(f'x {kind.verb} 1:* "{made.target_name}"\r\n'.encode())
    answer = b""
    try:
        while not answer.startswith(b"x "):
            answer = client.response()
    except (EOFError, OSError):
        return b""
    return answer[2:]


def check(world: World, kind: Kind, made: Journey, answer: bytes, logged: int) -> str:
    """Nothing is lost, nothing is there twice in one place; what is in both places was logged. Returns what became of it."""
    assert eventually(lambda: all(server.answers() for server in (world.main, world.store)), 20)
    left, there = digests(world, made.source), digests(world, made.target)
    assert len(set(left)) == len(left) and len(set(there)) == len(there)
    assert sorted(set(left) | set(there)) == kind.digests, f"lost: {kind.count - len(set(left) | set(there))}"
    both = len(set(left) & set(there))
    if kind.verb == "COPY":
        assert left == kind.digests
    if answer.startswith(b"OK"):
        assert there == kind.digests and left == ([] if kind.verb == "MOVE" else kind.digests)
        return "done"
    if kind.at_once:
        assert there in ([], kind.digests), f"a part was copied: {len(there)}"
    if both:
        assert eventually(lambda: len(world.doubled(kind)) > logged), f"{answer!r}: {both} are in both places, and it was not logged"
        assert world.doubled(kind)[-1] >= both - 1  # of the last one nobody knows whether it was stored
        return "doubled"
    return "moved, not told" if there else "nothing done"


KINDS = [
    Kind(verb, way, at_once, cut, direction)
    for verb in ("COPY", "MOVE")
    for way in ("in", "out")
    for at_once in (True, False)
    for cut in ("main", "store")
    for direction in ("to", "from")
]  # fmt: skip
_FEW = [
    (Kind("COPY", "in", True, "store", "to"), 0.6),
    (Kind("MOVE", "out", True, "store", "to"), 0.9),
    (Kind("COPY", "in", False, "store", "to"), 0.6),
    (Kind("COPY", "out", False, "store", "from"), 0.7),
]
CUTS = [
    (kind, round((number + random.Random(f"{kind}{number}").random()) / SWEEP, 4)) for kind in KINDS for number in range(SWEEP)
] or _FEW  # fmt: skip


@pytest.fixture(scope="module")
def octets(world: World) -> dict[Kind, int]:
    """How much goes over a wire when nothing is cut; filled as it is needed."""
    return {}


def measured(world: World, octets: dict[Kind, int], kind: Kind) -> int:
    if kind not in octets:
        made = journey(world, kind)
        with world.client(at_once=kind.at_once) as client:
            begin(client, made)
            for name in ("main", "store"):
                world.wires[name, kind.at_once].arm("to", 1 << 40)  # type: ignore[index]
            answer = cross(client, kind, made)
            for name in ("main", "store"):
                passed = world.wires[name, kind.at_once].disarm()
                for direction in ("to", "from"):
                    octets[replace(kind, cut=name, direction=direction)] = passed[direction]  # type: ignore[arg-type]
        assert check(world, kind, made, answer, 0) == "done"
        forget(world, made)
    return octets[kind]


def begin(client: Dialogue, made: Journey) -> None:
    """Both servers are signed in at, and the source is selected."""
    assert b"OK" in client.command(b's EXAMINE "Public Folders/Notices"').splitlines()[-1]
    assert b"OK" in client.command(f's SELECT "{made.source_name}"'.encode()).splitlines()[-1]


@pytest.mark.parametrize(("kind", "part"), CUTS, ids=str)
def test_a_thousand_messages_that_are_cut_off_are_all_there(kind: Kind, part: float, world: World, octets: dict[Kind, int]) -> None:
    count = int(measured(world, octets, kind) * part)
    made, logged = journey(world, kind), len(world.doubled(kind))
    with world.client(at_once=kind.at_once) as client:
        begin(client, made)
        world.wire(kind).arm(kind.direction, count)
        answer = cross(client, kind, made)
    world.wire(kind).disarm()
    became = check(world, kind, made, answer, logged)
    print(f"{kind}, {part}: {became}")
    forget(world, made)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.cut == "store" and (SWEEP or kind in (_FEW[0][0], _FEW[1][0]))], ids=str)
def test_a_store_that_is_killed_under_a_thousand_messages_loses_none(kind: Kind, world: World, octets: dict[Kind, int]) -> None:
    count = int(measured(world, octets, kind) * random.Random(str(kind)).random())
    made, logged = journey(world, kind), len(world.doubled(kind))
    with world.client(at_once=kind.at_once) as client:
        begin(client, made)
        world.wire(kind).arm(kind.direction, count, world.kill)
        answer = cross(client, kind, made)
    assert not world.wire(kind).armed
    world.store.stop()
    world.store.start()
    print(f"{kind}, killed: {check(world, kind, made, answer, logged)}")
    forget(world, made)


def test_a_store_that_falls_silent_in_the_middle_is_given_up_and_delays_nobody_s_inbox(world: World, octets: dict[Kind, int]) -> None:
    kind = Kind("COPY", "in", True, "store", "to")
    made, logged, heard = journey(world, kind), len(world.doubled(kind)), threading.Event()

    def hangs() -> None:
        heard.wait(60)

    with world.client() as client, world.client() as other:
        begin(client, made)
        other.command(b's EXAMINE "Public Folders/Notices"')
        other.command(b"s SELECT INBOX")
        world.wire(kind).arm("from", 40, hangs)
        client.send(f'x COPY 1:* "{made.target_name}"\r\n'.encode())
        assert b"OK" in other.command(b"n NOOP")
        assert eventually(lambda: b"x NO [UNAVAILABLE]" in client.line(), 30)
        assert b"OK" in client.command(b"s SELECT INBOX").splitlines()[-1]
        heard.set()
    assert check(world, kind, made, b"NO", logged) == "nothing done"
    forget(world, made)


# -- at any moment of a session

AT_ANY_MOMENT = Kind("MOVE", "in", True, "store", "to")


def session(world: World, made: Journey) -> tuple[set[str], set[str]]:
    """A session that goes here and there, as far as it comes: of all messages those that it was told are stored, and those copied to where
    they are to go."""
    own, public = made.source_name, made.target_name
    stored, copied = set[str](), set[str]()
    with world.client() as client:

        def ask(command: str) -> bool:
            return client.command(f"a {command}".encode()).splitlines()[-1].startswith(b"a OK")

        def append(box: str, number: int) -> None:
            body = BODIES[number]
            if client.command(f'a APPEND "{box}" {{{len(body)}+}}\r\n'.encode() + body).splitlines()[-1].startswith(b"a OK"):
                stored.add(DIGESTS[number])

        try:
            ask('LIST "" *')
            for number in range(4):
                append(own, number)
            for number in (4, 5):
                append(public, number)
            ask(f'SELECT "{own}"')
            if ask(f'COPY 1:2 "{public}"'):
                copied |= set(DIGESTS[:2])
            if ask(f'MOVE 3 "{public}"'):
                copied.add(DIGESTS[2])
            ask(f'STATUS "{public}" (MESSAGES)')
            if ask(f'SELECT "{public}"'):
                ask("STORE 1:* +FLAGS (\\Flagged)")
                ask("UID SEARCH FLAGGED")
                ask(f'COPY 1 "{own}"')
                ask("EXPUNGE")
            assert ask("SELECT INBOX"), "the personal mail works, whatever becomes of the store"
            ask('LIST "" "Public Folders/%"')
            assert ask("STATUS INBOX (MESSAGES)")
        except (EOFError, OSError):
            assert b"* BYE [UNAVAILABLE]" in client.received, "nobody says why"
    return stored, copied


@pytest.fixture(scope="module")
def octets_of_a_session(world: World) -> dict[Direction, int]:
    made = journey(world, AT_ANY_MOMENT, 0)
    world.wire(AT_ANY_MOMENT).arm("to", 1 << 40)
    stored, copied = session(world, made)
    assert len(stored) == 6 and len(copied) == 3
    passed = world.wire(AT_ANY_MOMENT).disarm()
    return {"to": passed["to"], "from": passed["from"]}


@pytest.mark.parametrize("seed", range(max(8, 6 * SWEEP)))
def test_a_store_that_goes_at_any_moment_of_a_session_takes_nothing_with_it(
    seed: int, world: World, octets_of_a_session: dict[Direction, int]
) -> None:
    direction: Direction = "from" if seed % 2 else "to"
    made = journey(world, AT_ANY_MOMENT, 0)
    world.wire(AT_ANY_MOMENT).arm(direction, int(octets_of_a_session[direction] * random.Random(seed).random()))
    stored, copied = session(world, made)
    world.wire(AT_ANY_MOMENT).disarm()
    own, there = digests(world, made.source), digests(world, made.target)
    assert stored <= set(own) | set(there)
    assert copied <= set(there)
