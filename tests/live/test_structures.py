"""What the scanner finds in a message is what a server tells of it.

Rule of this file: each message of the corpora is stored on a real server and asked for whole, by structure and by part; the scanner reads
what the server gave as the whole. Where the two differ, the message is named here with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from portico.errors import PeerError
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, parse_envelope, parse_structure
from portico.wire.imap import parse_fetch, unquoted
from portico.wire.mime import Scanner

from tests.live.people import PASSWORD, People

pytestmark = pytest.mark.live


def messages(project: Path, corpus: list[Path]) -> list[Path]:
    """The project's corpus, and the larger one beside the project where it is there."""
    return corpus + sorted((project.parent / "shared" / "corpus").glob("*/*.eml"))


def crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def with_messages(part: Part) -> Iterator[Part]:
    """All parts, those in message/rfc822 too."""
    for each in part.walk():
        yield each
        if each.message is not None:
            yield from with_messages(each.message)


def test_explore(request: pytest.FixtureRequest, people: People, project: Path, corpus: list[Path]) -> None:
    import os

    server = request.getfixturevalue(os.environ["SERVER"])
    user = people.new(server)
    with Dialogue(server.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        number = 0
        for path in messages(project, corpus):
            octets = crlf(path.read_bytes())
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
            if not imap.line().startswith(b"+"):
                print("REFUSED", path.name)
                continue
            imap.send(octets + b"\r\n")
            answer = imap.until(b"b")
            if b"b OK" not in answer:
                print("REFUSED", path.name, answer[-100:])
                continue
            number += 1
            imap.command(b"c SELECT INBOX")
            answer = imap.command(b"d FETCH %d (BODYSTRUCTURE RFC822.SIZE ENVELOPE BODY.PEEK[])" % number)
            fetch = parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n"))
            try:
                structure = parse_structure(fetch.value("BODYSTRUCTURE"))
            except PeerError as e:
                print(path.name, "STRUCTURE", e, fetch.value("BODYSTRUCTURE")[:300])
                continue
            whole = unquoted(fetch.value("BODY[]"))
            scanner = Scanner()
            try:
                for at in range(0, len(whole), 777):
                    scanner.feed(whole[at : at + 777])
                mine = scanner.finish()
            except PeerError as e:
                print(path.name, "SCAN", e)
                continue
            theirs = {p.number: p for p in with_messages(structure)}
            ours = {p.number: p for p in with_messages(mine)}
            if list(theirs) != list(ours):
                print(
                    path.name,
                    "NUMBERS\n  server",
                    [(p.number, p.type) for p in theirs.values()],
                    "\n  ours  ",
                    [(p.number, p.type) for p in ours.values()],
                )
            for n in theirs.keys() & ours.keys():
                for name in (
                    "type",
                    "parameters",
                    "encoding",
                    "octets",
                    "lines",
                    "md5",
                    "disposition",
                    "disposition_parameters",
                    "id",
                    "description",
                ):
                    a, b = getattr(theirs[n], name), getattr(ours[n], name)
                    if a != b:
                        print(path.name, n, name, "server", repr(a)[:150], "ours", repr(b)[:150])
                if n and not n.endswith("TEXT"):
                    answer = imap.command(b"e FETCH %d BODY.PEEK[%b]" % (number, n.encode()))
                    f = parse_fetch(answer[: answer.rindex(b"e OK")].rstrip(b"\r\n"))
                    part = unquoted(f.value(f"BODY[{n}]")) or b""
                    place = scanner.places[n]
                    if part != whole[place.body : place.end]:
                        print(path.name, n, "BODY differs", len(part), place, part[:50], whole[place.body : place.end][:50])
            env = parse_envelope(fetch.value("ENVELOPE"))
            if env != scanner.envelope:
                print(path.name, "ENV\n  ", env, "\n  ", scanner.envelope)
