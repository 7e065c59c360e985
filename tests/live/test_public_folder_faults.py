"""What becomes of a session when the store of the public folders is not there, says nothing, or dies in the middle.

Rule of this file: personal mail works on; a list is complete or it is not OK; no message is ever lost, and one that is there twice has been
logged. What the servers have is read straight at them.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from portico.demo import messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder, Message

from tests.live.clients import sha256
from tests.live.cutter import Cutter, Direction
from tests.live.dialogue import Dialogue, eventually
from tests.live.mailboxes import names
from tests.live.people import PASSWORD, load
from tests.live.scripted import Connection, Scripted
from tests.live.stores import LETTERS, MOUNTED, PUBLIC_WAYS, Public, dovecot_store, fill_dovecot, public_front

pytestmark = pytest.mark.live


@pytest.fixture
def user(reader: str) -> str:
    return reader


def tagged(answer: bytes) -> bytes:
    """What stands behind the tag."""
    return answer.splitlines()[-1].split(b" ", 1)[1]


# -- nobody is there, or nobody answers


@pytest.mark.parametrize("way", ["down", "silent"])
def test_personal_mail_works_while_the_store_does_not(way: str, public: Public, user: str) -> None:
    letter = LETTERS[0]
    with public.client(way, user) as client:
        assert tagged(client.command(b"a APPEND INBOX {%d+}\r\n%b" % (len(letter), letter))).startswith(b"OK")
        assert b"* 1 EXISTS" in client.command(b"b SELECT INBOX")
        assert tagged(client.command(b'c SELECT "Public Folders/Notices"')).startswith(b"NO [UNAVAILABLE]")
        assert tagged(client.command(b'd APPEND "Public Folders/Team" {%d+}\r\n%b' % (len(letter), letter))).startswith(b"NO [UNAVAILABLE]")
        assert tagged(client.command(b'e STATUS "Public Folders/Team" (MESSAGES)')).startswith(b"NO [UNAVAILABLE]")
        answer = client.command(b'f LIST "" *')
        assert tagged(answer).startswith(b"NO [UNAVAILABLE]") and b"INBOX" in answer
        assert tagged(client.command(b'g LSUB "" *')).startswith(b"NO [UNAVAILABLE]")
        assert b"* 1 EXISTS" in client.command(b"h SELECT INBOX")
        assert tagged(client.command(b'i COPY 1 "Public Folders/Team"')).startswith(b"NO [UNAVAILABLE]")
        assert b"FETCH (BODY[] {" in client.command(b"j FETCH 1 BODY.PEEK[]")
        assert tagged(client.command(b'k LIST "" INBOX')).startswith(b"OK")
    failed = {event["reason"] for event in public.front.events("mount.failed") if event["server"] == way}
    assert failed == {"timeout"} if way == "silent" else failed


def test_a_store_that_signs_in_and_then_says_nothing_is_given_up_in_time(
    place: Path, certificates: Certificates, dovecot: Dovecot, user: str
) -> None:
    def mute(connection: Connection) -> None:
        connection.sign_in()
        while connection.receive():
            pass

    store = Scripted(mute)
    front = public_front(
        place / "mute", certificates, dovecot, {"store": store.port}, {"user": PUBLIC_WAYS["user"]}, listener='timeouts.store = "1s"\n'
    )
    front.front.start()
    try:
        with front.client("user", user) as client:
            assert tagged(client.command(b'l LIST "" *')).startswith(b"NO [UNAVAILABLE]")
            assert tagged(client.command(b"s SELECT INBOX")).startswith(b"OK")
            assert tagged(client.command(b'c SELECT "Public Folders/Notices"')).startswith(b"NO [UNAVAILABLE]")
        (failed, *_) = front.front.events("mount.failed")
        assert failed["reason"] == "timeout"
    finally:
        front.front.stop()
        store.stop()


# -- a store that goes and comes back


@dataclass
class Mortal:
    """A store of its own behind a wire that can be cut."""

    store: Dovecot
    wire: Cutter
    public: Public

    def kill(self) -> None:
        """All processes of the store, at once."""
        os.killpg(self.store.pid, signal.SIGKILL)

    def revive(self) -> None:
        self.store.stop()
        self.store.start()

    def events(self, name: str, user: str) -> list[dict[str, object]]:
        return [event for event in self.public.front.events(name) if event.get("user") == user]


@pytest.fixture(scope="module")
def mortals(place: Path, certificates: Certificates, dovecot: Dovecot) -> Iterator[Mortal]:
    with dovecot_store(place / "mortal", certificates) as store:
        fill_dovecot(store)
        wire, single = Cutter(store.ports.imap), Cutter(store.ports.imap, hides=b" MULTIAPPEND")
        by_one = {f"single {way}": PUBLIC_WAYS[way].replace('"store"', '"single"', 1) for way in ("user", "whole")}
        ways = {"user": PUBLIC_WAYS["user"]} | by_one
        servers = {"store": wire.port, "single": single.port}
        public = public_front(place / "mortal-front", certificates, dovecot, servers, ways, listener='timeouts.store_retry = "1ms"\n')
        public.front.start()
        try:
            yield Mortal(store, wire, public)
        finally:
            public.front.stop()
            wire.close()
            single.close()


@pytest.fixture
def mortal(mortals: Mortal) -> Iterator[Mortal]:
    """Alive, and its wire whole."""
    yield mortals
    mortals.wire.disarm()
    if not mortals.store.running or not mortals.store.answers():
        mortals.revive()


def comes_back(client: Dialogue) -> bool:
    """The store can be used again in the same session, once `store_retry` is over."""
    return eventually(lambda: b"* 3 EXISTS" in client.command(b's SELECT "Public Folders/Notices"'), 20)


def test_the_last_known_list_is_given_and_the_log_says_so(mortal: Mortal, user: str) -> None:
    with mortal.public.client("user", user) as client:
        before = names(client.command(b'l LIST "" *'))
        assert set(before) > MOUNTED
        mortal.store.stop()
        assert names(client.command(b'l LIST "" *')) == before
        assert names(client.command(b'l LIST "" "Public Folders/%"'))
        assert tagged(client.command(b's SELECT "Public Folders/Notices"')).startswith(b"NO [UNAVAILABLE]")
        assert b"* 0 EXISTS" in client.command(b"s SELECT INBOX")
        assert mortal.events("mount.list_remembered", user)
        mortal.store.start()
        assert comes_back(client)


def test_losing_the_selected_folder_ends_in_bye_and_losing_another_in_nothing(mortal: Mortal, user: str) -> None:
    with mortal.public.client("user", user) as one, mortal.public.client("user", user) as other:
        one.command(b's SELECT "Public Folders/Notices"')
        other.command(b's SELECT "Public Folders/Notices"')
        other.command(b"s SELECT INBOX")
        mortal.kill()
        assert b"* BYE [UNAVAILABLE]" in one.rest()
        assert tagged(other.command(b"n NOOP")).startswith(b"OK")
        mortal.revive()
        assert comes_back(other)


def test_a_client_that_idles_in_a_folder_of_the_store_hears_that_it_is_gone(mortal: Mortal, user: str) -> None:
    with mortal.public.client("user", user) as client:
        client.command(b's SELECT "Public Folders/Notices"')
        client.send(b"i IDLE\r\n")
        assert client.line().startswith(b"+")
        mortal.kill()
        assert b"* BYE [UNAVAILABLE]" in client.rest()


# -- in the middle of a copy


COUNT = 24
BODIES = [messages.plain(1, f"Number {number}", f"{number} is its number.\n" * 120) for number in range(COUNT)]
DIGESTS = sorted(map(sha256, BODIES))


def digests(server: Dovecot, user: str, box: str) -> list[str]:
    """Of all messages of a mailbox, straight at its server."""
    with Dialogue(server.ports.imap) as client:
        client.line()
        client.command(f"in LOGIN {user} {PASSWORD}".encode())
        client.command(f'e EXAMINE "{box}"'.encode())
        client.send(b"f FETCH 1:* BODY.PEEK[]\r\n")
        found = []
        while not (response := client.response()).startswith(b"f "):
            body = re.match(rb"\* \d+ FETCH \(BODY\[\] \{(\d+)\}\r\n", response)
            if body is not None:
                found.append(sha256(response[body.end() : body.end() + int(body[1])]))
    return sorted(found)


@dataclass
class Crossing:
    """One COPY or MOVE of all messages, from where to where."""

    verb: str
    source: tuple[Dovecot, str]
    target: tuple[Dovecot, str]
    source_name: str
    target_name: str


def crossing(what: str, mortal: Mortal, dovecot: Dovecot, user: str) -> Crossing:
    """``COPY in``, ``MOVE out`` and so on, with the messages in place."""
    verb, _, way = what.partition(" ")
    own, shared = (dovecot, "Mine"), (mortal.store, f"Public/Open/{user}")
    names = ("Mine", f"Public Folders/Open/{user}")
    journey = Crossing(verb, own, shared, *names) if way == "in" else Crossing(verb, shared, own, *reversed(names))
    for server, box in (own, shared):
        with Dialogue(server.ports.imap) as client:
            client.line()
            client.command(f"in LOGIN {user} {PASSWORD}".encode())
            client.command(f"c CREATE {box}".encode())
            if (server, box) == journey.source:
                all_of_them = b"".join(b" {%d+}\r\n%b" % (len(body), body) for body in BODIES)
                assert tagged(client.command(f"a APPEND {box}".encode() + all_of_them)).startswith(b"OK")
    return journey


def cross(client: Dialogue, journey: Crossing) -> bytes:
    """The answer to the command; empty: the session ended before it."""
    client.send(f'x {journey.verb} 1:* "{journey.target_name}"\r\n'.encode())
    answer = b""
    try:
        while not answer.startswith(b"x "):
            answer = client.response()
    except EOFError:
        assert b"* BYE" in client.received
        return b""
    return answer[2:]


def check(journey: Crossing, answer: bytes, user: str, mortal: Mortal) -> None:
    """Nothing is lost; what is there twice was logged; OK means that it was done."""
    left = digests(*_at(journey.source, user))
    there = digests(*_at(journey.target, user))
    assert there in ([], DIGESTS), f"a part was copied: {len(there)}"
    if journey.verb == "COPY":
        assert left == DIGESTS
    if answer.startswith(b"OK"):
        assert there == DIGESTS and left == (DIGESTS if journey.verb == "COPY" else [])
    elif there:
        assert eventually(lambda: mortal.events("transfer.doubled", user)), f"{answer!r}: stored, not told, and not logged"
    assert left == DIGESTS or there == DIGESTS or sorted(set(left) | set(there)) == DIGESTS


def _at(place: tuple[Dovecot, str], user: str) -> tuple[Dovecot, str, str]:
    return place[0], user, place[1]


CUTS = [
    *[("COPY in", direction, part) for direction, part in (("to", 0.0), ("to", 0.001), ("to", 0.5), ("to", 1.0), ("from", 0.0), ("from", 0.9))],
    *[("MOVE in", direction, part) for direction, part in (("to", 0.5), ("to", 1.0), ("from", 0.9))],
    *[("COPY out", direction, part) for direction, part in (("to", 0.0), ("from", 0.0), ("from", 0.5), ("from", 0.99))],
    *[("MOVE out", direction, part) for direction, part in (("from", 0.5), ("to", 0.7), ("to", 0.9), ("to", 1.0), ("from", 0.999))],
]  # fmt: skip


@pytest.fixture(scope="module")
def octets(mortals: Mortal, dovecot: Dovecot, readers: Iterator[str]) -> Callable[[str], dict[Direction, int]]:
    """How much goes over the wire in each direction when nothing is cut."""
    known: dict[str, dict[Direction, int]] = {}

    def measured(what: str) -> dict[Direction, int]:
        if what not in known:
            user = next(readers)
            journey = crossing(what, mortals, dovecot, user)
            with mortals.public.client("user", user) as client:
                client.command(b's SELECT "Public Folders/Notices"')
                client.command(f's SELECT "{journey.source_name}"'.encode())
                mortals.wire.arm("to", 1 << 40)
                answer = cross(client, journey)
                known[what] = {"to": 0, "from": 0} | mortals.wire.disarm()  # type: ignore[dict-item]
            assert answer.startswith(b"OK")
            check(journey, answer, user, mortals)
        return known[what]

    return measured


@pytest.mark.parametrize(("what", "direction", "part"), CUTS)
def test_a_copy_that_is_cut_off_is_whole_or_has_not_been(
    what: str, direction: Direction, part: float, mortal: Mortal, dovecot: Dovecot, user: str, octets: Callable[[str], dict[Direction, int]]
) -> None:
    count = int(octets(what)[direction] * part)
    journey = crossing(what, mortal, dovecot, user)
    with mortal.public.client("user", user) as client:
        client.command(b's SELECT "Public Folders/Notices"')  # the store is signed in at
        client.command(f's SELECT "{journey.source_name}"'.encode())
        mortal.wire.arm(direction, count)
        answer = cross(client, journey)
        if what.endswith("in"):
            assert tagged(client.command(b"n NOOP")).startswith(b"OK")  # the selected folder is at the other server
    check(journey, answer, user, mortal)


@pytest.mark.parametrize("what", ["COPY in", "MOVE in", "COPY out", "MOVE out"])
def test_a_store_that_is_killed_at_any_moment_of_it_loses_nothing(
    what: str, mortal: Mortal, dovecot: Dovecot, user: str, octets: Callable[[str], dict[Direction, int]]
) -> None:
    direction: Direction = "to" if what.endswith("in") else "from"
    count = random.Random(what).randrange(octets(what)[direction])
    journey = crossing(what, mortal, dovecot, user)
    with mortal.public.client("user", user) as client:
        client.command(b's SELECT "Public Folders/Notices"')
        client.command(f's SELECT "{journey.source_name}"'.encode())
        mortal.wire.arm(direction, count, mortal.kill)
        answer = cross(client, journey)
    assert not mortal.wire.armed
    mortal.revive()
    check(journey, answer, user, mortal)


@pytest.mark.parametrize("moment", range(4))
def test_a_store_that_is_killed_in_a_session_keeps_what_it_said_ok_to(moment: int, mortal: Mortal, dovecot: Dovecot, user: str) -> None:
    box = f"Public Folders/Open/{user}"
    with mortal.public.client("user", user) as client:
        for name in ("Mine", box):
            client.command(f'c CREATE "{name}"'.encode())
        acknowledged: list[str] = []
        tried: list[str] = []
        mortal.wire.arm("to", random.Random(moment).randrange(20_000), mortal.kill)
        try:
            for body in BODIES[:8]:
                tried.append(sha256(body))
                if tagged(client.command(f'a APPEND "{box}" {{{len(body)}+}}\r\n'.encode() + body)).startswith(b"OK"):
                    acknowledged.append(sha256(body))
                client.command(f'b SELECT "{box}"'.encode())
                client.command(b"c UID SEARCH ALL")
                client.command(b"d COPY * Mine")
                client.command(b"e SELECT INBOX")
        except EOFError:
            assert b"* BYE [UNAVAILABLE]" in client.received
    assert not mortal.wire.armed
    mortal.revive()
    there = digests(mortal.store, user, f"Public/Open/{user}")
    assert len(there) == len(set(there)), "a message is there twice"
    assert set(acknowledged) <= set(there) <= set(tried)


# -- where the target stores one message at a time


def test_without_multiappend_what_was_stored_before_a_refusal_is_taken_out_again(mortal: Mortal, dovecot: Dovecot, user: str) -> None:
    load(dovecot, user, [Folder("Mine", [Message(messages.attachments(number + 1, size=400 * 1024)) for number in range(3)])])
    with mortal.public.client("single whole", user) as client:
        client.command(b"s SELECT Mine")
        answer = client.command(b'c COPY 1:3 "Public Folders/INBOX"')
        assert tagged(answer).startswith(b"NO [OVERQUOTA]"), answer
        assert b"(MESSAGES 0)" in client.command(b't STATUS "Public Folders/INBOX" (MESSAGES)')
    assert digests(mortal.store, user, "INBOX") == []
    assert not mortal.events("transfer.doubled", user)


def test_without_multiappend_a_copy_arrives_whole_and_with_its_uids(mortal: Mortal, dovecot: Dovecot, user: str) -> None:
    journey = crossing("COPY in", mortal, dovecot, user)
    with mortal.public.client("single user", user) as client:
        client.command(b"s SELECT Mine")
        assert b"MULTIAPPEND" not in client.command(b"c CAPABILITY")
        answer = cross(client, journey)
    assert re.match(rb"OK \[COPYUID \d+ 1:%d 1:%d\]" % (COUNT, COUNT), answer), answer
    check(journey, answer, user, mortal)


def test_a_message_that_vanishes_meanwhile_spoils_nothing(mortal: Mortal, dovecot: Dovecot, user: str) -> None:
    journey = crossing("COPY in", mortal, dovecot, user)
    with mortal.public.client("user", user) as client, Dialogue(dovecot.ports.imap) as other:
        other.line()
        other.command(f"in LOGIN {user} {PASSWORD}".encode())
        other.command(b"s SELECT Mine")
        client.command(b"s SELECT Mine")
        other.command(b"d STORE 7 +FLAGS.SILENT (\\Deleted)")
        other.command(b"d EXPUNGE")
        answer = cross(client, journey)
    there = digests(*_at(journey.target, user))
    expected = sorted(sha256(body) for number, body in enumerate(BODIES) if number != 6)
    assert there == (expected if answer.startswith(b"OK") else [])
