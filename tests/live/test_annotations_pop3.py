"""An annotated message over POP3: once it has been seen, every number and every octet agrees.

Rule of this file: as in test_annotations.py; messages are stored straight on a real server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from portico.demo.certificates import Certificates
from portico.plugin import Insertion, Interests, Outline, Session, hookimpl
from portico.testing import RunningProxy, running_proxy
from portico.testing.client import Dialogue

from tests.live.clients import Account, fetchmail_says
from tests.live.conftest import Server
from tests.live.people import PASSWORD, People
from tests.live.test_annotations import HTML, PLAIN
from tests.live.test_structures import messages

pytestmark = pytest.mark.live


class Requests:
    """Annotates what has a calendar part beside its text."""

    types: Sequence[str] = ("text/calendar",)

    def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
        return [part.number for part in outline.structure.walk() if part.type == "text/calendar"][:1] or None

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        if not any(b"BEGIN:VCALENDAR" in part for part in parts.values()):
            return []
        texts = {"text/plain": PLAIN, "text/html": HTML}
        return [Insertion(part.number, texts[part.type]) for part in outline.structure.walk() if part.type in texts]


class Annotates:
    portico_interests = ("annotations",)

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(annotator=Requests())


class Reader:
    """One signed-in session."""

    def __init__(self, pop3: Dialogue, user: str) -> None:
        self.pop3 = pop3
        pop3.line()
        for command in (f"USER {user}", f"PASS {PASSWORD}"):
            assert self.line(command).startswith(b"+OK")

    def line(self, command: str) -> bytes:
        self.pop3.send(command.encode() + b"\r\n")
        return self.pop3.line()

    def body(self, command: str) -> bytes:
        """What follows the status line, dots taken off."""
        self.pop3.received = b""  # else each line would be put behind all that has ever come
        self.pop3.send(command.encode() + b"\r\n")
        status, _, body = self.pop3.multiline().partition(b"\r\n")
        assert status.startswith(b"+OK"), status
        assert body.endswith(b".\r\n")
        return b"".join((line[1:] if line.startswith(b".") else line) + b"\r\n" for line in body[:-3].split(b"\r\n")[:-1])

    def sizes(self) -> dict[int, int]:
        return {int(row.split()[0]): int(row.split()[1]) for row in self.body("LIST").split(b"\r\n") if row}


@pytest.fixture(scope="module", params=["dovecot", "courier"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def front(server: Server) -> Iterator[RunningProxy]:
    with running_proxy(Annotates(), server=f"127.0.0.1:{server.ports.pop3}", protocol="pop3") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def user(server: Server, people: People, project: Path) -> str:
    name = people.new(server)
    with Dialogue(server.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {name} {PASSWORD}".encode())
        for path in messages(project, sorted((project / "tests" / "corpus").glob("*.eml"))):
            octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
            if imap.line().startswith(b"+"):
                imap.send(octets + b"\r\n")
                imap.until(b"b")
    return name


def test_once_seen_a_message_is_the_same_in_every_command(server: Server, front: RunningProxy, user: str) -> None:
    with Dialogue(server.ports.pop3) as pop3:
        direct = Reader(pop3, user)
        originals = {number: direct.body(f"RETR {number}") for number in direct.sizes()}
    with Dialogue(server.ports.pop3) as pop3:
        direct = Reader(pop3, user)
        # Courier wraps a message that has 8-bit octets where none may be, with another boundary in each session.
        unstable = {number for number, original in originals.items() if direct.body(f"RETR {number}") != original}
        sizes = direct.sizes()
        uids = direct.body("UIDL")
        tops = {number: direct.body(f"TOP {number} 7") for number in originals}
        direct.line("QUIT")
    with Dialogue(front.port) as pop3:
        first = Reader(pop3, user)
        seen = {number: first.body(f"RETR {number}") for number in originals}
        for number in originals.keys() - unstable:
            assert first.body(f"RETR {number}") == seen[number]
        first.line("QUIT")
    changed = [number for number in originals.keys() - unstable if seen[number] != originals[number]]
    assert len(changed) >= 2
    assert len(unstable) < 20
    with Dialogue(front.port) as pop3:
        again = Reader(pop3, user)
        assert again.body("UIDL") == uids
        listed = again.sizes()
        for number in originals.keys() - unstable:
            message = seen[number]
            # By as much as the message: Courier's own LIST is not always the length of its RETR.
            assert listed[number] - sizes[number] == len(message) - len(originals[number]), number
            assert again.line(f"LIST {number}").split()[1:3] == [b"%d" % number, b"%d" % listed[number]]
            assert again.body(f"RETR {number}") == message
        assert int(again.line("STAT").split()[2]) == sum(listed.values())
        for number in originals.keys() - unstable:
            if number not in changed:
                assert again.body(f"TOP {number} 7") == tops[number]
                continue
            header, _, text = seen[number].partition(b"\r\n\r\n")
            lines = text.split(b"\r\n")[:-1]
            for count in (0, 1, 2, 5, len(lines) - 1, len(lines)):
                wanted = header + b"\r\n\r\n" + b"".join(line + b"\r\n" for line in lines[:count])
                assert again.body(f"TOP {number} {count}") == wanted, (number, count)
        assert again.line(f"DELE {changed[0]}").startswith(b"+OK")
        assert int(again.line("STAT").split()[2]) == sum(listed.values()) - listed[changed[0]]
        assert again.line("RSET").startswith(b"+OK")
        assert int(again.line("STAT").split()[2]) == sum(listed.values())
        again.line("QUIT")
    assert not front.events("session.bug")


NOT_AS_LISTED: Final = re.compile(r"message \S+:(\d+) was not the expected length \((\d+) actual != (\d+) expected\)")


def test_fetchmail_with_sizes_on_is_content_once_a_message_has_been_seen(
    dovecot: Server, people: People, corpus: list[Path], certificates: Certificates, need: Callable[..., None], tmp_path: Path
) -> None:
    """It compares each message with what LIST said, and says so of one that is longer or shorter: as it does at the first sight."""
    need("fetchmail")
    name = people.new(dovecot)
    with Dialogue(dovecot.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {name} {PASSWORD}".encode())
        for path in [path for path in corpus if path.stem in ("invite-outlook", "invite-google", "plain")]:
            octets = path.read_bytes()
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
            assert imap.line().startswith(b"+")
            imap.send(octets + b"\r\n")
            assert b"\r\nb OK" in b"\r\n" + imap.until(b"b")

    def run(port: int, place: str) -> tuple[list[str], list[str]]:
        account = Account(replace(dovecot.ports, pop3=port), name, PASSWORD, certificates.authority, "none")
        hashes, said = fetchmail_says(
            account, tmp_path / place, "pop3", more="limit 1000000 fetchsizelimit 0", arguments=["--verbose", "--verbose"]
        )
        assert len(hashes) == 3, said
        assert all(f"{number} of 3 (" in said for number in (1, 2, 3)), said  # it knows the sizes
        return hashes, [found[1] for found in NOT_AS_LISTED.finditer(said)]

    direct, complaints = run(dovecot.ports.pop3, "direct")
    assert complaints == []
    with running_proxy(Annotates(), server=f"127.0.0.1:{dovecot.ports.pop3}", protocol="pop3") as front:
        first, complaints = run(front.port, "first")
        assert complaints == ["1", "2"]
        again, complaints = run(front.port, "again")
        assert complaints == []
    assert first == again
    assert [was == now for was, now in zip(direct, first, strict=True)] == [False, False, True]
