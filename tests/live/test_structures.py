"""What the scanner finds in a message is what a server tells of it.

Rule of this file: each message of the corpora is stored on a real server and asked for whole, by structure and by part; the scanner reads
what the server gave as the whole. Where the two differ, the message is named here with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from portico.session.annotations.block import encode, insertion_offset
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, decoded, parse_envelope, parse_structure, rewrite
from portico.wire.imap import FetchResponse, parse_fetch, unquoted
from portico.wire.mime import Scanner

from tests.live.conftest import Server
from tests.live.people import PASSWORD, People

pytestmark = pytest.mark.live

# A multipart without any part: servers tell an empty text/plain in it, or the whole as one text.
_NO_PARTS: Final = {
    "018-enmime-header-only", "032-mail-must_supply_encoding", "044-mail-phishing-mail-headers.no-from",
    "045-mail-phishing-mail-headers.no-reply-to", "056-cpython-msg_25",
}  # fmt: skip
DIFFERENT: Final[dict[str, set[str]]] = {
    "dovecot": _NO_PARTS,
    # Cyrus reads some 60 KiB of a header; and knows only parts that have a MIME-Version.
    "cyrus": _NO_PARTS | {"050-sync-engine-raw_message_with_many_recipients", "029-flanker-long-header"},
}
SENSELESS_TYPE: Final = {"019-enmime-barren-content-type", "020-enmime-ctype-invalid-characters"}
"""Dovecot tells no type, Cyrus text/plain (RFC 2045 5.2 allows both); the scanner knows none."""
UNQUOTED_SPECIALS: Final = "019-enmime-unquoted-ctype-param-special"
"""``method=text/calendar``: against RFC 2045 5.1, and everybody cuts it elsewhere."""
ODD_AUTHOR: Final = {
    "002-mail-parser-mail_test_15",
    "003-mail-parser-mail_test_19",
    "037-mail-example13",
    "071-mail-parser-001",
    "072-mail-parser-007",
}
"""Their From fields are no addresses by RFC 5322."""
LONG_OR_NUL: Final = {"009-zm-mailbox-subjnul", "029-flanker-long-header"}

TEXT: Final = "Grüße = ü\n--x\n<b>https://mail.example.org/?a=b</b>" + " more" * 40


def messages(project: Path, corpus: list[Path]) -> list[Path]:
    """The project's corpus, and the larger one beside the project where it is there."""
    return corpus + sorted((project.parent / "shared" / "corpus").glob("*/*.eml"))


def with_messages(part: Part) -> Iterator[Part]:
    """All parts, those in message/rfc822 too."""
    for each in part.walk():
        yield each
        if each.message is not None:
            yield from with_messages(each.message)


class Asked:
    """A user at a server, and what the server says of a message."""

    def __init__(self, imap: Dialogue, user: str) -> None:
        self.imap = imap
        self.number = 0
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())

    def store(self, octets: bytes) -> bool:
        """Some servers refuse a message that is no message."""
        octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        self.imap.send(b"b APPEND INBOX {%d}\r\n" % len(octets))
        if not self.imap.line().startswith(b"+"):
            return False
        self.imap.send(octets + b"\r\n")
        stored = b"\r\nb OK" in b"\r\n" + self.imap.until(b"b")
        self.number += stored
        self.imap.command(b"c SELECT INBOX")
        return stored

    def fetch(self, items: str) -> FetchResponse:
        answer = self.imap.command(f"d FETCH {self.number} ({items})".encode())
        return parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n"))

    def section(self, section: str) -> bytes:
        return unquoted(self.fetch(f"BODY.PEEK[{section}]").value(f"BODY[{section}]") or b"") or b""


def told(part: Part) -> dict[str, object]:
    """What is compared of a part."""
    return {
        "type": part.type,
        "parameters": {"charset": "us-ascii"} | part.parameters if part.type.startswith("text/") else part.parameters,
        "encoding": part.encoding,
        "octets": part.octets,
        "lines": part.lines,
        "md5": part.md5,
        "disposition": (part.disposition, part.disposition_parameters),
        "id": part.id,
        "description": part.description,
    }


@pytest.mark.parametrize("name", ["dovecot", "cyrus"])
def test_parts_sizes_and_bodies_are_what_the_server_tells(
    name: str, request: pytest.FixtureRequest, people: People, project: Path, corpus: list[Path]
) -> None:
    server: Server = request.getfixturevalue(name)
    compared = 0
    with Dialogue(server.ports.imap) as imap:
        asked = Asked(imap, people.new(server))
        for path in messages(project, corpus):
            if not asked.store(path.read_bytes()) or path.stem in DIFFERENT[name]:
                continue
            fetch = asked.fetch("BODYSTRUCTURE BODY ENVELOPE BODY.PEEK[]")
            whole, raw = unquoted(fetch.value("BODY[]") or b""), fetch.value("BODYSTRUCTURE")
            assert whole is not None and raw is not None
            scanner = Scanner()
            for at in range(0, len(whole), 777):
                scanner.feed(whole[at : at + 777])
            ours, theirs = list(with_messages(scanner.finish())), list(with_messages(parse_structure(raw)))
            assert [part.number for part in ours] == [part.number for part in theirs], path.name
            if path.stem not in SENSELESS_TYPE | {UNQUOTED_SPECIALS, "071-mail-parser-001"}:
                assert [told(part) for part in ours] == [told(part) for part in theirs], path.name
            for part in ours:
                if part.number and not part.number.endswith("TEXT"):
                    place = scanner.places[part.number]
                    assert asked.section(part.number) == whole[place.body : place.end], (path.name, part.number)
                    compared += 1
            place = scanner.places[""]
            assert (asked.section("HEADER"), asked.section("TEXT")) == (whole[: place.body], whole[place.body :]), path.name
            if path.stem not in ODD_AUTHOR | LONG_OR_NUL:
                assert parse_envelope(fetch.value("ENVELOPE")) == scanner.envelope, path.name
            for value in (raw, fetch.value("BODY") or b""):
                grown = {part.number: (7, 3) for part in parse_structure(value).walk() if part.type.startswith("text/")}
                again = {part.number: part for part in parse_structure(rewrite(value, grown)).walk()}
                for part in parse_structure(value).walk():
                    more, lines = grown.get(part.number, (0, 0))
                    assert (again[part.number].octets, again[part.number].lines) == (part.octets + more, part.lines + lines)
    assert asked.number > 20 and compared > 40


def test_a_message_with_blocks_is_to_the_server_what_was_computed(
    dovecot: Server, people: People, project: Path, corpus: list[Path]
) -> None:
    """Blocks go into all text parts that can carry one; the result is stored, and Dovecot tells its structure and decodes its parts."""
    annotated = 0
    with Dialogue(dovecot.ports.imap) as imap:
        asked = Asked(imap, people.new(dovecot))
        for path in messages(project, corpus):
            if b"\0" in path.read_bytes():
                continue  # what Dovecot gives for it differs from item to item
            asked.store(path.read_bytes())
            fetch = asked.fetch("RFC822.SIZE BODYSTRUCTURE BODY.PEEK[]")
            whole, raw = unquoted(fetch.value("BODY[]") or b"") or b"", fetch.value("BODYSTRUCTURE") or b""
            blocks = {part.number: block for part in parse_structure(raw).walk() if (block := encode(part, TEXT)) is not None}
            scanner = Scanner(blocks)
            scanner.feed(whole)
            scanner.finish()
            blocks = {number: block for number, block in blocks.items() if scanner.head(number) is not None}
            if not blocks:
                continue
            encodings = {part.number: part.encoding for part in parse_structure(raw).walk()}
            expected: dict[str, bytes] = {}
            for number, block in sorted(blocks.items(), key=lambda item: scanner.places[item[0]].body, reverse=True):
                head = scanner.head(number) or b""
                at = insertion_offset(block.where, encodings[number], head)
                binary = unquoted(asked.fetch(f"BINARY.PEEK[{number}]").value(f"BINARY[{number}]") or b"") or b""
                begin = len(decoded(head[:at], encodings[number]))
                expected[number] = binary[:begin] + block.decoded + binary[begin:]
                at += scanner.places[number].body
                whole = whole[:at] + block.octets + whole[at:]
            asked.store(whole)
            fetch = asked.fetch("RFC822.SIZE BODYSTRUCTURE BODY.PEEK[]")
            assert unquoted(fetch.value("BODY[]") or b"") == whole and int(fetch.value("RFC822.SIZE") or b"0") == len(whole)
            growth = {number: (len(block.octets), block.lines) for number, block in blocks.items()}
            assert fetch.value("BODYSTRUCTURE") == rewrite(raw, growth), path.name
            for number, octets in expected.items():
                assert unquoted(asked.fetch(f"BINARY.PEEK[{number}]").value(f"BINARY[{number}]") or b"") == octets, (path.name, number)
                annotated += 1
    assert annotated > 20


def test_courier_begins_parts_where_the_scanner_does(courier: Server, people: People, corpus: list[Path]) -> None:
    """Courier leaves a CR at the end of some parts or cuts one off, and tells 8bit where nothing is said: begins and numbers count."""
    with Dialogue(courier.ports.imap) as imap:
        asked = Asked(imap, people.new(courier))
        for path in corpus:
            assert asked.store(path.read_bytes()), path.name
            fetch = asked.fetch("BODYSTRUCTURE BODY.PEEK[]")
            whole = unquoted(fetch.value("BODY[]") or b"") or b""
            scanner = Scanner()
            scanner.feed(whole)
            ours, theirs = list(with_messages(scanner.finish())), list(with_messages(parse_structure(fetch.value("BODYSTRUCTURE") or b"")))
            assert [(part.number, part.type) for part in ours] == [(part.number, part.type) for part in theirs], path.name
            for part in ours:
                if part.number and not part.number.endswith("TEXT"):
                    place, octets = scanner.places[part.number], asked.section(part.number)
                    begin = octets[: place.end - place.body].rstrip(b"\r\n")
                    assert whole[place.body : place.end].startswith(begin) and abs(len(octets) - (place.end - place.body)) <= 2, (
                        path.name,
                        part.number,
                    )
