"""However a message is asked for, in whatever order and however it is cut, the answers are those of one message.

Rule of this file: messages are stored straight on a real server and read through Portico. First all that can be asked of each message is
compared with all else, with the server's own answers, and with what Python's `email` reads in the whole; then Hypothesis asks in other
orders, ranges and sessions, of copies that nobody has seen, and every answer must be the one that has been compared.
"""

from __future__ import annotations

import email
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import Message
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from portico.testing import RunningProxy, running_proxy
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, decoded
from portico_meeting_links import MeetingLinks

from tests.live.asking import Asking, Values, asking, fetched, leaves, peeked, structure_in
from tests.live.conftest import Server
from tests.live.people import PASSWORD, People
from tests.live.test_annotations import Annotates
from tests.live.test_structures import DIFFERENT, messages

WAYS: Final = [
    ("dovecot", "everything"),
    ("dovecot", "meeting links"),
    ("cyrus", "everything"),
    ("cyrus", "meeting links"),
    ("courier", "meeting links"),  # of messages without any text its own answers contradict each other
]
"""Server, and who annotates: one that puts a block into every text, and the plugin as it is installed."""
pytestmark = [pytest.mark.live, pytest.mark.parametrize(("server", "shelf"), WAYS, indirect=True, scope="module")]

LINKS: Final = {"webmail": "nextcloud", "host": "mail.example.org"}
BLOCK: Final = {"everything": b"https://mail.example.org/?m=1", "meeting links": b"https://mail.example.org/apps/mail/open/"}
WITHOUT: Final = [
    re.compile(around % rb"<!-- portico -->.*?<!-- /portico -->", re.DOTALL) for around in (rb"%b", rb"%b *\r\n", rb"\r\n%b\r\n")
]
"""What takes the block out of HTML again: quoted-printable, base64, and the others."""
CARRIES: Final = ("7bit", "8bit", "quoted-printable", "base64")


@dataclass
class Shelf:
    """A user's inbox with every message of the corpora, and what is told of it through Portico: by message number."""

    server: Server
    front: RunningProxy
    user: str
    names: list[str]
    block: bytes
    told: list[Values] = field(default_factory=list)
    annotated: list[int] = field(default_factory=list)
    copies: Iterator[int] = field(default_factory=count)


class Stored(NamedTuple):
    user: str
    names: list[str]
    originals: list[Values]
    """What the server itself tells of them."""


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def stored(server: Server, people: People, project: Path) -> Stored:
    user = people.new(server)
    names: list[str] = []
    with Dialogue(server.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        for path in messages(project, sorted((project / "tests" / "corpus").glob("*.eml"))):
            octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
            if imap.line().startswith(b"+"):
                imap.send(octets + b"\r\n")
                if b"\r\nb OK" in b"\r\n" + imap.until(b"b"):
                    names.append(path.name)
    with asking(server.ports.imap, user) as direct:
        return Stored(user, names, [direct.all_of(number) for number in range(1, len(names) + 1)])


@contextmanager
def _front(server: Server, plugin: str) -> Iterator[RunningProxy]:
    address = f"127.0.0.1:{server.ports.imap}"
    made = running_proxy(Annotates(), server=address, protocol="imap")
    if plugin == "meeting links":
        made = running_proxy(MeetingLinks(), LINKS, server=address, protocol="imap")
    with made as front:
        yield front


@pytest.fixture(scope="module")
def shelf(request: pytest.FixtureRequest, server: Server, stored: Stored) -> Iterator[Shelf]:
    with _front(server, request.param) as front:
        shelf = Shelf(server, front, stored.user, stored.names, BLOCK[request.param])
        with asking(front.port, stored.user) as one:
            for number, original in enumerate(stored.originals, 1):
                shelf.told.append(one.all_of(number))
                if shelf.told[-1]["BODY[]"] != original["BODY[]"]:
                    shelf.annotated.append(number)
        yield shelf


# -- all that is told of a message, compared


def test_all_that_is_told_of_a_message_is_told_of_one_message(shelf: Shelf, stored: Stored) -> None:
    read_alike = 0
    for number, (told, original) in enumerate(zip(shelf.told, stored.originals, strict=True), 1):
        name = shelf.names[number - 1]
        if number not in shelf.annotated:
            assert told == original, name  # to the octet, whatever is asked
            continue
        _stays_as_it_was(told, original, name)
        _agrees_with_itself(told, original, name)
        read_alike += _agrees_with_another_reader(told, original, shelf.block, name)
    assert len(shelf.annotated) > 10 or not len(shelf.names) > 100
    assert read_alike >= len(shelf.annotated) * 3 // 4 and read_alike >= 3
    contradicted = {shelf.names[int(event["uid"]) - 1]: event["text"] for event in shelf.front.events("annotations.contradicted")}
    assert {Path(each).stem for each in contradicted} <= DIFFERENT.get(type(shelf.server).__name__.lower(), set()), contradicted
    assert not shelf.front.events("session.bug")


def _stays_as_it_was(told: Values, original: Values, name: str) -> None:
    assert told.keys() == original.keys(), name
    for item in told:
        if "HEADER" in item or "MIME" in item or item == "ENVELOPE":
            assert told[item] == original[item], (name, item)
        assert (told[item] is None) == (original[item] is None), (name, item)


def _agrees_with_itself(told: Values, original: Values, name: str) -> None:
    whole = told["BODY[]"] or b""
    was = original["BODY[]"] or b""
    assert int(told["RFC822.SIZE"] or b"") - int(original["RFC822.SIZE"] or b"") == len(whole) - len(was), name
    assert told["RFC822"] == whole, name
    assert (told["BODY[HEADER]"] or b"") + (told["BODY[TEXT]"] or b"") == whole, name
    assert (told["RFC822.HEADER"], told["RFC822.TEXT"]) == (told["BODY[HEADER]"], told["BODY[TEXT]"]), name
    structure, before = structure_in(told), structure_in(original)
    short = {part.number: part for part in structure_in({"BODYSTRUCTURE": told["BODY"]}).walk()}
    for part, old in zip(structure.walk(), before.walk(), strict=True):
        assert (short[part.number].octets, short[part.number].lines) == (part.octets, part.lines), (name, part.number)
        if not part.number:
            continue
        octets, then = (values[f"BODY[{part.number}]"] or b"" for values in (told, original))
        # Courier cuts the line end off some parts, or leaves one at their end, and counts lines in its own way: what holds of its own
        # answers holds of ours.
        assert _is_inside(told, part) or not _is_inside(original, old), (name, part.number)
        if part.parts:
            continue
        assert part.octets - old.octets == len(octets) - len(then), (name, part.number)
        assert part.lines - old.lines == octets.count(b"\n") - then.count(b"\n"), (name, part.number)
        _binary_agrees(told, original, part.number, part.encoding, f"{name} {part.number}")


def _is_inside(values: Values, part: Part) -> bool:
    """A part is in what is around it, behind its header; and the parts of a multipart are in it."""
    octets, mime = (values[f"BODY[{part.number}{suffix}]"] or b"" for suffix in ("", ".MIME"))
    around = values[f"BODY[{part.number.rpartition('.')[0]}]"] or b""
    single = not structure_in(values).parts  # its MIME header is the message's, which has other fields too
    return (octets if single else mime + octets) in around and all(
        (values[f"BODY[{below.number}]"] or b"") in octets for below in part.parts
    )


def _binary_agrees(told: Values, original: Values, number: str, encoding: str, where: str) -> None:
    """RFC 3516. Dovecot's own BINARY.SIZE may be another than the length of its BINARY: then both grow by the same."""
    binary, size = told.get(f"BINARY[{number}]"), told.get(f"BINARY.SIZE[{number}]")
    if binary is None or encoding not in CARRIES:
        return
    if b"\0" not in binary:  # Dovecot writes another octet for it in BODY[]
        octets = decoded(told[f"BODY[{number}]"] or b"", encoding)
        assert binary.replace(b"\r\n", b"\n") == octets.replace(b"\r\n", b"\n"), where
    grown = len(binary) - len(original[f"BINARY[{number}]"] or b"")
    if size is not None:
        assert int(size) - int(original[f"BINARY.SIZE[{number}]"] or b"") == grown, where


def _agrees_with_another_reader(told: Values, original: Values, block: bytes, name: str) -> bool:
    """By Python's `email`: the parts are those that are told, octet for octet, each as before but for texts, which have the block once.
    False: it sees other parts in this message than the server does, so nothing can be said."""
    now, was = _read(told["BODY[]"] or b""), _read(original["BODY[]"] or b"")
    assert [(part, now[part].get_content_type()) for part in now] == [(part, was[part].get_content_type()) for part in was], name
    structure = structure_in(told)
    if [(part, now[part].get_content_type()) for part in now] != [(leaf.number, leaf.type) for leaf in leaves(structure)]:
        return False
    if any(_raw(was[part]) != original[f"BODY[{part}]"] for part in was if not was[part].is_multipart()):
        return False
    with_block = 0
    for leaf in leaves(structure):
        part = now[leaf.number]
        if part.is_multipart():  # an enclosed message
            assert told[f"BODY[{leaf.number}]"] == original[f"BODY[{leaf.number}]"], (name, leaf.number)
            continue
        assert _raw(part) == told[f"BODY[{leaf.number}]"], (name, leaf.number)
        here, then = _decoded(part), _decoded(was[leaf.number])
        if here == then:
            continue
        with_block += 1
        assert leaf.type in ("text/plain", "text/html"), (name, leaf.number)
        assert here.count(block) - then.count(block) in (1, 2), (name, leaf.number)  # HTML may have it as a button and as a text
        if leaf.type == "text/plain":
            assert here.endswith(then), (name, leaf.number)
        else:
            assert here.count(b"<!-- portico -->") == then.count(b"<!-- portico -->") + 1, (name, leaf.number)
            assert then in (pattern.sub(b"", here, count=1) for pattern in WITHOUT), (name, leaf.number)
    assert with_block, name
    return True


def _read(whole: bytes) -> dict[str, Message]:
    """The parts of a message by their numbers, enclosed messages as one. As Latin-1, so that each octet is a character and stays one."""
    found: dict[str, Message] = {}

    def number(part: Message, prefix: str) -> None:
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            for place, below in enumerate(payload, 1):
                number(below, f"{prefix}.{place}" if prefix else f"{place}")
        else:
            found[prefix or "1"] = part

    number(email.message_from_string(whole.decode("latin-1")), "")
    return found


def _raw(part: Message) -> bytes:
    return str(part.get_payload()).encode("latin-1")


def _decoded(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def test_a_message_walked_by_ranges_is_the_whole_with_short_and_empty_tails(shelf: Shelf) -> None:
    with asking(shelf.front.port, shelf.user) as one:
        for number in shelf.annotated:
            whole, name = shelf.told[number - 1]["BODY[]"] or b"", shelf.names[number - 1]
            for step in (65536,) if len(whole) > 100_000 else (1000, 65536):
                pieces = []
                for start in range(0, len(whole) + step, step):
                    item = f"BODY[]<{start}>"
                    pieces.append(fetched(one.ask(f"FETCH {number} BODY.PEEK[]<{start}.{step}>"), number, [item])[item])
                assert b"".join(piece or b"" for piece in pieces) == whole, (name, step)
                assert pieces[-1] == b"", (name, step)


# -- in any order


class Step(NamedTuple):
    """What Hypothesis chooses; each number is taken modulo what there is to choose from."""

    way: int
    message: int
    item: int
    place: int
    length: int
    fresh: bool
    """In a new session."""
    at_once: bool
    """The next question is sent before this one is answered."""


@dataclass
class Question:
    command: str
    check: Callable[[list[bytes]], None]
    key: str = ""
    """Of two questions with the same key the second waits for the first: their answers look alike."""


LENGTHS: Final = (1, 7, 1000, 65536)
STEPS: Final = st.lists(
    st.builds(
        Step,
        way=st.integers(0, 15),
        message=st.integers(0, 2),
        item=st.integers(0, 999),
        place=st.integers(0, 99_999),
        length=st.integers(0, 3),
        fresh=st.integers(0, 9).map(lambda chance: chance == 9),
        at_once=st.integers(0, 3).map(lambda chance: chance == 3),
    ),
    min_size=6,
    max_size=24,
)
BY_SIZE: Final = 2
"""The way that is SEARCH LARGER or SMALLER."""
LAST: Final = Step(way=3, message=0, item=0, place=0, length=0, fresh=False, at_once=False)
"""Whatever was asked before, the sum of the sizes is told."""
EXAMPLES: Final = 3
"""Of each mailbox. A hundred take some minutes, and are worth them after a change."""
TOGETHER: Final = 3
"""Messages in one mailbox."""


def test_in_whatever_order_and_range_it_is_asked_for_a_message_is_the_same(shelf: Shelf, stored: Stored) -> None:
    groups = [range(first, min(first + TOGETHER, len(shelf.names) + 1)) for first in range(1, len(shelf.names) + 1, TOGETHER)]
    for group in groups:
        # Where the server sees other parts than we read, it shows only with the body that what was said of the size cannot be.
        odd = DIFFERENT.get(type(shelf.server).__name__.lower(), set()) & {Path(shelf.names[number - 1]).stem for number in group}
        if any(number in shelf.annotated for number in group) and not odd:
            _ask_in_any_order(shelf, stored, group)
    assert not shelf.front.events("session.bug")


def _ask_in_any_order(shelf: Shelf, stored: Stored, group: range) -> None:
    # Not shrunk: which question was answered wrongly is told, and with real servers a minute is soon over.
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(STEPS)
    def ask(steps: list[Step]) -> None:
        mailbox = _copied(shelf, group)
        names = [shelf.names[number - 1] for number in group]
        told, original = ([each[number - 1] for number in group] for each in (shelf.told, stored.originals))
        with ExitStack() as stack:
            one = stack.enter_context(asking(shelf.front.port, shelf.user, mailbox))
            waiting: list[tuple[str, Question]] = []
            for place, step in enumerate([*steps, LAST]):
                if (step.way == LAST.way and not one.sums) or (step.way == BY_SIZE and type(shelf.server).__name__ == "Courier"):
                    continue  # Courier has no STATUS=SIZE, and its SMALLER finds messages of that very size (RFC 9051 6.4.4)
                question = _question(step, told, original, mailbox)
                if step.fresh or (question.key and question.key in [each.key for _, each in waiting]):
                    _answered(one, waiting, names)
                if step.fresh:
                    stack.pop_all().close()
                    one = stack.enter_context(asking(shelf.front.port, shelf.user, mailbox))
                waiting.append((f"q{place}", question))
                one.imap.send(f"q{place} {question.command}\r\n".encode())
                if not step.at_once:
                    _answered(one, waiting, names)
            _answered(one, waiting, names)

    ask()


def _answered(one: Asking, waiting: list[tuple[str, Question]], names: list[str]) -> None:
    """Read the answers to all that was sent. Dovecot works on several FETCHes at once: their data, and their ends, come as they are ready."""
    ends: dict[str, bytes] = {}
    data = []
    while len(ends) < len(waiting):
        response = one.imap.response()
        tag = response.partition(b" ")[0].decode("latin-1")
        if tag in [each for each, _ in waiting]:
            ends[tag] = response
        else:
            data.append(response)
    for tag, question in waiting:
        try:
            question.check([*data, ends[tag]])
        except AssertionError as error:
            raise AssertionError(f"{names}: {question.command}: {error}") from error
    waiting.clear()


def _copied(shelf: Shelf, group: range) -> str:
    """A new mailbox with copies of these messages, made straight on the server."""
    mailbox = f"{getattr(shelf.server, 'prefix', '')}Copies{shelf.front.port}x{next(shelf.copies)}"
    with asking(shelf.server.ports.imap, shelf.user) as direct:
        for command in (f"CREATE {mailbox}", f"COPY {group[0]}:{group[-1]} {mailbox}"):
            answer = direct.ask(command)
            assert answer[-1].startswith(b"t OK"), answer
    return mailbox


def _question(step: Step, told: list[Values], original: list[Values], mailbox: str) -> Question:
    index = step.message % len(told)
    values, number = told[index], index + 1
    sizes = [int(each["RFC822.SIZE"] or b"") for each in told]
    if step.way == 0:
        return Question("FETCH 1:* (UID RFC822.SIZE)", lambda responses: _same(_each(responses, len(told), "RFC822.SIZE"), told))
    if step.way == 1:
        macro = ("ALL", "FAST", "FULL")[step.item % 3]
        items = (
            ("RFC822.SIZE", "ENVELOPE", "BODY") if macro == "FULL" else ("RFC822.SIZE", "ENVELOPE") if macro == "ALL" else ("RFC822.SIZE",)
        )
        return Question(f"FETCH 1:* {macro}", lambda responses: _same(_each(responses, len(told), *items), told))
    if step.way == BY_SIZE:
        key, limit = ("LARGER", "SMALLER")[step.item % 2], sizes[index] + step.place % 3 - 1
        right = [each for each, size in enumerate(sizes, 1) if (size > limit if key == "LARGER" else size < limit)]
        return Question(f"SEARCH {key} {limit}", lambda responses: _is(_found(responses), right), "found")
    if step.way == 5:
        reverse = step.place % 2
        order = sorted(range(1, len(sizes) + 1), key=lambda each: (-sizes[each - 1] if reverse else sizes[each - 1], each))
        return Question(f"SORT ({'REVERSE ' * reverse}SIZE) UTF-8 ALL", lambda responses: _is(_found(responses), order), "found")
    if step.way == 3:
        return Question(f"STATUS {mailbox} (MESSAGES SIZE)", lambda responses: _at_least(responses, sum(sizes)), "status")
    if step.way == 4:
        chosen = sorted({list(values)[(step.item + 7 * more) % len(values)] for more in range(step.length + 2)})
        several = [item for item in chosen if all(item in each for each in told) and not item.startswith("BINARY")]
        command = f"FETCH 1:{len(told)} ({' '.join(map(peeked, ['UID', *several]))})"
        return Question(command, lambda responses: _same(_each(responses, len(told), *several), told))
    item = list(values)[step.item % len(values)]
    value = values[item]
    if step.way < 9 or value is None or not item.startswith(("BODY[", "BINARY[")):
        command = f"FETCH {number} {peeked(item)}" if step.place % 2 else f"UID FETCH {number} ({peeked(item)})"
        return Question(command, lambda responses: _is(fetched(responses, number, [item])[item], value))
    start, length = _start(step, value, original[index][item] or b""), LENGTHS[step.length]
    name = f"{item}<{start}>"
    command = f"FETCH {number} {peeked(item)}<{start}.{length}>"
    return Question(
        command, lambda responses: _is(fetched(responses, number, [name])[name], value[start : start + length]), f"{number} {name}"
    )


def _start(step: Step, value: bytes, original: bytes) -> int:
    """Anywhere, or near where something begins or ends: the value, a part, what has been put in."""
    if step.way % 2:
        return step.place % (len(value) + 20)
    first = next((at for at, (now, was) in enumerate(zip(value, original, strict=False)) if now != was), len(original))
    borders = [0, first, first + len(value) - len(original), len(value), value.find(b"\r\n\r\n") + 4, value.find(b"\r\n--") + 2]
    return max(0, borders[step.place % len(borders)] + step.place // len(borders) % 17 - 8)


def _is(found: object, right: object) -> None:
    assert found == right


def _each(responses: list[bytes], count: int, *items: str) -> list[Values]:
    return [fetched(responses, number, items) for number in range(1, count + 1)]


def _same(found: list[Values], told: list[Values]) -> None:
    assert found == [{item: each[item] for item in values} for values, each in zip(found, told, strict=True)]


def _found(responses: list[bytes]) -> list[int]:
    return [int(word) for response in responses if response[2:6] in (b"SEAR", b"SORT") for word in response.split()[2:]]


def _at_least(responses: list[bytes], size: int) -> None:
    """RFC 8438 3: the sum of the sizes, or more."""
    told = [int(found[1]) for response in responses if (found := re.search(rb"^\* STATUS .*SIZE (\d+)", response))]
    assert [each >= size for each in told] == [True], (told, size)
