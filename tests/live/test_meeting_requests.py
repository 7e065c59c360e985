"""Meeting requests read through Portico carry their link; everything else is the server's, octet for octet.

Rule of this file: as an operator runs it, with the plugin as it is installed; what is expected of each message of the larger corpus
stands beside it, and in tests/plugins/test_meeting_links.py where it leaves a choice.
"""

from __future__ import annotations

import email
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from portico.demo.certificates import Certificates
from portico.testing.client import Dialogue
from portico.wire.imap import parse_fetch, unquoted

from tests.live.conftest import Server
from tests.live.front import Front
from tests.live.people import PASSWORD, People
from tests.live.test_annotations_pop3 import Reader as Pop3
from tests.plugins.test_meeting_links import INVITES, OWN, UNDECIDED

pytestmark = pytest.mark.live

OPTIONS = '[plugins.meeting_links]\nwebmail = "nextcloud"\nhost = "mail.example.org"\n'
BINARY = "022-releases-comm-event-with-file-attachment.eml"
"""A request whose only text part is binary: it cannot carry a block, and stays as it is."""
LINKED = "040-gen-already-linked-a.eml"
LINK = b"https://mail.example.org/apps/mail/open/"


def expectations(project: Path) -> dict[Path, bool]:
    """Messages, and whether they get a link; those that are left to the server are not among them."""
    found = {project / "tests" / "corpus" / name: is_one for name, is_one in OWN.items()}
    if INVITES.is_dir():
        rows = re.findall(
            r"^\| (\d{3}-\S+\.eml) \| \d+ \| (LINK|UNTOUCHED|POLICY)", (INVITES / "SOURCES.md").read_text("utf-8"), re.MULTILINE
        )
        for name, expected in rows:
            wanted = UNDECIDED.get(name, expected == "LINK" and name != BINARY)
            if wanted is not None:
                found[INVITES / name] = wanted
    return found


def store(server: Server, user: str, wanted: Mapping[Path, bool]) -> list[tuple[Path, bool]]:
    """Put the messages into the inbox, in their order; those that the server takes."""
    stored: list[tuple[Path, bool]] = []
    with Dialogue(server.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        for path, is_one in wanted.items():
            octets = crlf(path)
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
            if imap.line().startswith(b"+"):
                imap.send(octets + b"\r\n")
                if b"\r\nb OK" in b"\r\n" + imap.until(b"b"):
                    stored.append((path, is_one))
    return stored


def crlf(path: Path) -> bytes:
    return path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def wholes(imap: Dialogue, user: str, count: int) -> list[bytes]:
    """All messages of the inbox, in their order."""
    imap.line()
    assert b"a OK" in imap.command(f"a LOGIN {user} {PASSWORD}".encode())
    imap.command(b"s SELECT INBOX")
    found = []
    for number in range(1, count + 1):
        answer = imap.command(b"d FETCH %d (BODY.PEEK[])" % number)
        found.append(unquoted(parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n")).value("BODY[]") or b"") or b"")
    return found


@pytest.mark.parametrize("name", ["dovecot", "cyrus"])
def test_every_message_gets_its_link_or_stays_as_it_is(
    name: str, request: pytest.FixtureRequest, portico: Callable[..., Front], certificates: Certificates, people: People, project: Path
) -> None:
    server: Server = request.getfixturevalue(name)
    front = portico(server, "none", more=OPTIONS)
    user = people.new(server)
    stored = store(server, user, expectations(project))
    with Dialogue(server.ports.imap) as imap:
        originals = wholes(imap, user, len(stored))
    with Dialogue(front.ports.imaps, authority=certificates.authority, implicit=True) as imap:
        read = wholes(imap, user, len(stored))
    _as_expected(stored, originals, read)
    assert not front.events("annotations.contradicted")


@pytest.mark.parametrize("name", ["dovecot", "courier"])
def test_over_pop3_too_every_message_gets_its_link_or_stays_as_it_is(
    name: str, request: pytest.FixtureRequest, portico: Callable[..., Front], people: People, project: Path
) -> None:
    """There the texts are at hand too: a request that has a link already gets no second one."""
    server: Server = request.getfixturevalue(name)
    front = portico(server, "none", more=OPTIONS)
    user = people.new(server)
    stored = store(server, user, {path: is_one and path.name != LINKED for path, is_one in expectations(project).items()})
    with Dialogue(server.ports.pop3) as pop3:
        direct = Pop3(pop3, user)
        originals = {number: direct.body(f"RETR {number}") for number in range(1, len(stored) + 1)}
    with Dialogue(server.ports.pop3) as pop3:
        direct = Pop3(pop3, user)
        # Courier wraps a message that has 8-bit octets where none may be, with another boundary in each session. And it numbers messages
        # in an order of its own: they are known by what is in them.
        meant = {crlf(path).rstrip(): (path, wanted) for path, wanted in stored}
        known = {number: meant[was.rstrip()] for number, was in originals.items() if was.rstrip() in meant}
        known = {number: what for number, what in known.items() if direct.body(f"RETR {number}") == originals[number]}
    assert len(known) > len(stored) * 3 // 4
    with Dialogue(front.clear.pop3) as pop3:
        through = Pop3(pop3, user)
        read = {number: through.body(f"RETR {number}") for number in originals}
    _as_expected(list(known.values()), *([messages[number] for number in known] for messages in (originals, read)))
    with Dialogue(front.clear.pop3) as pop3:
        again = Pop3(pop3, user)
        assert {number: again.body(f"RETR {number}") for number in known} == {number: read[number] for number in known}
    assert not front.events("session.bug")


def _as_expected(stored: Sequence[tuple[Path, bool]], originals: Sequence[bytes], read: Sequence[bytes]) -> None:
    """Who wants a link has one, in texts only; all else is to the octet as the server itself gives it."""
    wrong = [path.name for (path, wanted), was, now in zip(stored, originals, read, strict=True) if (was != now) != wanted]
    assert wrong == []
    linked = [pair for pair in zip(originals, read, strict=True) if pair[0] != pair[1]]
    assert len(linked) >= 3
    for was, now in linked:
        before, after = ([part for part in email.message_from_bytes(each).walk() if not part.is_multipart()] for each in (was, now))
        texts = 0
        for old, new in zip(before, after, strict=True):
            payloads = [part.get_payload(decode=True) for part in (old, new)]
            if payloads[0] != payloads[1]:
                assert old.get_content_type() in ("text/plain", "text/html")
                assert isinstance(payloads[1], bytes) and payloads[1].count(LINK) in (1, 2)  # HTML has it as a button and as a text
                texts += 1
        assert texts
