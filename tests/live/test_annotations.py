"""Where messages are annotated, lists, searches and sums agree with them.

Rule of this file: messages are stored straight on a real server and read through Portico with a plugin that annotates every message with
a text part. What is told of one message is compared in test_consistency.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from portico.plugin import Insertion, Interests, Outline, Session, hookimpl
from portico.testing import RunningProxy, running_proxy
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, parse_structure
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
        searches = ["SEARCH"] + ["SORT (ARRIVAL) UTF-8"] * (b" SORT " in one.command("CAPABILITY"))
        for limit in sorted({size + delta for size in listed for delta in (-1, 0, 1)})[:: 1 + len(listed) // 8]:
            for key, right in (("LARGER", limit.__lt__), ("SMALLER", limit.__gt__)):
                for search in searches:
                    answer = one.command(f"{search} {key} {limit}")
                    found = sorted(int(word) for word in answer.split(b"\r\n")[0].split()[2:])
                    assert found == [number for number, size in enumerate(listed, 1) if right(size)], (search, key, limit)
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
