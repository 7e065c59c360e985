"""An annotated message is one message, in whatever way and order it is asked for.

Rule of this file: messages are stored straight on a real server and read through Portico with a plugin that annotates every message with
a text part; what is asked is compared with what else is asked, and with the server's own octets.
"""

from __future__ import annotations

import email
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any, Final

import pytest
from portico.plugin import Insertion, Interests, Outline, Session, hookimpl
from portico.testing import RunningProxy, running_proxy
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, decoded, parse_structure
from portico.wire.imap import FetchResponse, parse_fetch, unquoted

from tests.live.conftest import Server
from tests.live.people import PASSWORD, People
from tests.live.test_structures import messages

pytestmark = pytest.mark.live

PLAIN: Final = "Antworten: https://mail.example.org/?m=1&x=2\n"
HTML: Final = '<p>Grüße: <a href="https://mail.example.org/?m=1&amp;x=2">antworten</a></p>'


class Everything:
    """Annotates each text part that can carry it."""

    types: Sequence[str] = ()

    def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
        return ()

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        texts = {"text/plain": PLAIN, "text/html": HTML}
        return [Insertion(part.number, texts[part.type]) for part in outline.structure.walk() if part.type in texts]


class Annotates:
    portico_interests = ("annotations",)

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(annotator=Everything())


class Reader:
    """One signed-in session."""

    def __init__(self, imap: Dialogue, user: str) -> None:
        self.imap = imap
        imap.line()
        assert b"a OK" in imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        self.selected = imap.command(b"s SELECT INBOX")

    def command(self, command: str) -> bytes:
        self.imap.received = b""  # else each line would be put behind all that has ever come
        answer = self.imap.command(b"d " + command.encode())
        assert b"\r\nd OK" in b"\r\n" + answer[answer.rfind(b"\r\nd ") + 2 :] or answer.startswith(b"d OK"), (command, answer[-300:])
        return answer

    def fetch(self, number: int, items: str) -> FetchResponse:
        answer = self.command(f"FETCH {number} ({items})")
        return parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n"))

    def section(self, number: int, name: str, partial: str = "") -> bytes:
        value = self.fetch(number, f"{name.replace('[', '.PEEK[')}{partial}").value(f"{name}{partial and partial.split('.')[0] + '>'}")
        octets = unquoted(value or b"NIL")
        assert octets is not None, (name, partial, value)
        return octets

    def size(self, number: int) -> int:
        return int(self.fetch(number, "RFC822.SIZE").value("RFC822.SIZE") or b"")

    def structure(self, number: int) -> Part:
        return parse_structure(self.fetch(number, "BODYSTRUCTURE").value("BODYSTRUCTURE") or b"")


@contextmanager
def reader(port: int, user: str) -> Iterator[Reader]:
    with Dialogue(port) as imap:
        yield Reader(imap, user)


@pytest.fixture(scope="module", params=["dovecot", "cyrus"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def front(server: Server) -> Iterator[RunningProxy]:
    with running_proxy(Annotates(), server=f"127.0.0.1:{server.ports.imap}", protocol="imap") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def stored(server: Server, people: People, project: Path) -> tuple[str, list[bytes]]:
    """A user, and the messages in his inbox as the server gives them."""
    user = people.new(server)
    own = sorted((project / "tests" / "corpus").glob("*.eml"))
    with Dialogue(server.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        count = 0
        for path in messages(project, own):
            octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
            if imap.line().startswith(b"+"):
                imap.send(octets + b"\r\n")
                count += b"\r\nb OK" in b"\r\n" + imap.until(b"b")
        imap.command(b"s SELECT INBOX")
        wholes = []
        for number in range(1, count + 1):
            answer = imap.command(b"d FETCH %d (BODY.PEEK[])" % number)
            wholes.append(unquoted(parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n")).value("BODY[]") or b"") or b"")
    return user, wholes


def leaves(part: Part) -> list[Part]:
    return [each for each in part.walk() if not each.parts]


def test_every_way_of_asking_gives_the_same_message(server: Server, front: RunningProxy, stored: tuple[str, list[bytes]]) -> None:
    user, wholes = stored
    annotated = agreed = 0
    chance = random.Random(5)
    for number, original in enumerate(wholes, 1):
        answers: dict[str, Any] = {}
        with reader(front.port, user) as one:
            part = one.structure(number)
            ways = ["size", "whole", "text", "header", "rfc822", "rfc822.text", "structure", "body"]
            ways += [f"part {leaf.number}" for leaf in leaves(part)]
            chance.shuffle(ways)
            for way in ways:
                answers[way] = _asked(one, number, way)
        whole = answers["whole"]
        if whole == original:
            with reader(server.ports.imap, user) as direct:
                assert answers == {way: _asked(direct, number, way) for way in ways}, number
            continue
        annotated += 1
        _agree(answers, number)
        assert answers["header"] == original[: len(answers["header"])]
        agreed += _is_the_old_text_with_a_block(original, whole, answers["structure"])
        with reader(front.port, user) as other, reader(server.ports.imap, user) as direct:
            _ranges(other, number, whole, leaves(part), chance)
            _binary(other, direct, number, leaves(other.structure(number)))
    assert annotated > 40
    assert agreed > annotated * 3 // 4
    assert not front.events("annotations.contradicted")
    assert not front.events("session.bug")


def _agree(answers: dict[str, Any], number: int) -> None:
    whole = answers["whole"]
    assert answers["size"] == len(whole), number
    assert answers["rfc822"] == whole
    assert answers["header"] + answers["text"] == whole
    assert answers["rfc822.text"] == answers["text"]
    for leaf in leaves(answers["structure"]):
        octets = answers[f"part {leaf.number}"]
        assert leaf.octets == len(octets), (number, leaf.number)
        if leaf.type.startswith("text/"):
            assert leaf.lines in (octets.count(b"\n"), octets.count(b"\n") + (octets[-1:] not in (b"", b"\n"))), (number, leaf.number)
    assert [(leaf.number, leaf.octets) for leaf in leaves(answers["body"])] == [
        (leaf.number, leaf.octets) for leaf in leaves(answers["structure"])
    ]


def _asked(one: Reader, number: int, way: str) -> Any:
    if way == "size":
        return one.size(number)
    if way == "structure":
        return one.structure(number)
    if way == "body":
        return parse_structure(one.fetch(number, "BODY").value("BODY") or b"")
    if way.startswith("part "):
        return one.section(number, f"BODY[{way[5:]}]")
    if way.startswith("rfc822"):
        return unquoted(one.fetch(number, way.upper()).value(way.upper()) or b"")
    return one.section(number, {"whole": "BODY[]", "text": "BODY[TEXT]", "header": "BODY[HEADER]"}[way])


def _is_the_old_text_with_a_block(original: bytes, whole: bytes, structure: Part) -> bool:
    """By an independent reader of MIME: each part is as before, but for text parts that hold the block and the old text. False: the two
    readers see different parts in it, so nothing can be said."""
    before, after = email.message_from_bytes(original), email.message_from_bytes(whole)
    old, new = list(before.walk()), list(after.walk())
    assert [part.get_content_type() for part in new] == [part.get_content_type() for part in old]
    seen = [part.get_content_type() for part in old if not part.is_multipart()]
    if seen != [leaf.type for leaf in leaves(structure)] or before.defects:
        return False
    for was, now in zip(old, new, strict=True):
        if was.is_multipart():
            continue
        then, here = _payload(was), _payload(now)
        if then != here:
            assert was.get_content_type() in ("text/plain", "text/html")
            assert b"https://mail.example.org/?m=1" in here
            if b"portico -->" not in here:
                assert here.endswith(then)
    return True


def _payload(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _ranges(one: Reader, number: int, whole: bytes, parts: list[Part], chance: random.Random) -> None:
    for step in (1000, 65536):
        pieces = [one.section(number, "BODY[]", f"<{at}.{step}>") for at in range(0, len(whole) + step, step)]
        assert b"".join(pieces) == whole
        assert pieces[-1] == b""
    for _ in range(6):
        at, length = chance.randrange(len(whole) + 20), chance.choice([1, 7, 100])
        assert one.section(number, "BODY[]", f"<{at}.{length}>") == whole[at : at + length]
    for part in parts:
        octets = one.section(number, f"BODY[{part.number}]")
        at = chance.randrange(len(octets) + 5)
        assert one.section(number, f"BODY[{part.number}]", f"<{at}.57>") == octets[at : at + 57]
    text = one.section(number, "BODY[TEXT]")
    assert one.section(number, "BODY[TEXT]", "<0.50>") == text[:50]


def _binary(one: Reader, direct: Reader, number: int, parts: list[Part]) -> None:
    """RFC 3516. Dovecot's own BINARY.SIZE may be another than the length of its BINARY: then both grow by the same."""
    if b"BINARY" not in one.command("CAPABILITY"):
        return
    for part in parts:
        if part.type.startswith("text/") and part.encoding in ("7bit", "8bit", "base64", "quoted-printable"):
            octets = decoded(one.section(number, f"BODY[{part.number}]"), part.encoding)
            plain = one.section(number, f"BINARY[{part.number}]")
            if b"\0" not in plain:  # Dovecot writes another octet for it in BODY[]
                assert plain.replace(b"\r\n", b"\n") == octets.replace(b"\r\n", b"\n"), (number, part.number)
            item = f"BINARY.SIZE[{part.number}]"
            size, before = (_number(each.imap.command(f"d FETCH {number} ({item})".encode())) for each in (one, direct))
            assert (size is None) == (before is None)  # [UNKNOWN-CTE]: what is in the part is not what it says
            if size is not None and before is not None:
                assert size - before == len(plain) - len(direct.section(number, f"BINARY[{part.number}]")), (number, part.number)


def _number(answer: bytes) -> int | None:
    found = re.search(rb"BINARY\.SIZE\[[\d.]+\] (\d+)", answer)
    return int(found[1]) if found is not None else None


def test_listings_searches_and_sums_agree_with_the_sizes(front: RunningProxy, stored: tuple[str, list[bytes]]) -> None:
    user, wholes = stored
    with reader(front.port, user) as one:
        listed = [
            int(parse_fetch(line + b"\r\n").value("RFC822.SIZE") or b"")
            for line in one.command("FETCH 1:* (UID FLAGS RFC822.SIZE)").split(b"\r\n")
            if b" FETCH (" in line
        ]
        assert len(listed) == len(wholes)
        assert any(size != len(whole) for size, whole in zip(listed, wholes, strict=True))
        fast = one.command("FETCH 1:* FAST")
        assert [size for size in listed if b"RFC822.SIZE %d" % size not in fast] == []
        for limit in sorted({size + delta for size in listed for delta in (-1, 0, 1)})[:: 1 + len(listed) // 8]:
            for key, right in (("LARGER", limit.__lt__), ("SMALLER", limit.__gt__)):
                answer = one.command(f"SEARCH {key} {limit}")
                found = [int(word) for word in answer.split(b"\r\n")[0].split()[2:]]
                assert found == [number for number, size in enumerate(listed, 1) if right(size)], (key, limit)
        if b"STATUS=SIZE" in one.command("CAPABILITY"):
            answer = one.command("STATUS INBOX (MESSAGES SIZE)")
            assert int(answer.split(b"SIZE ")[1].split(b")")[0]) >= sum(listed)


def test_a_message_that_is_not_annotated_is_the_servers_to_the_octet(front: RunningProxy, stored: tuple[str, list[bytes]]) -> None:
    user, wholes = stored
    untouched = 0
    with reader(front.port, user) as one:
        for number, original in enumerate(wholes, 1):
            whole = one.section(number, "BODY[]")
            if b"multipart/signed" in original or b"multipart/encrypted" in original:
                continue
            untouched += whole == original
    assert untouched
