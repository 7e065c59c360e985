"""What is told of a message that is held whole is what a server tells of the same octets.

Rule of this file: each message of the corpora that could be the result of a transform is stored on Dovecot; its BODYSTRUCTURE, BODY, ENVELOPE
and every section are compared with ours. Where the two differ, the message is named here with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, parse_structure
from portico.wire.imap import Value, parse_arguments, parse_fetch, unquoted
from portico.wire.message import Message, parse_section, trouble_with

from tests.live.conftest import Server
from tests.live.people import People
from tests.live.test_structures import Asked, messages, told, with_messages

pytestmark = pytest.mark.live

OTHER_ENVELOPE: Final = {
    "002-mail-parser-mail_test_15",  # an address before the address, not quoted: Dovecot takes the first one, we the one in brackets
    "003-mail-parser-mail_test_19",
    "035-mail-example11",  # nothing between two commas: Dovecot tells an address without anything
    "049-sync-engine-raw_message_with_long_message_id",  # a thousand spaces: Dovecot tells one
}
OTHER_STRUCTURE: Final = {
    "019-enmime-unquoted-ctype-param-special",  # against RFC 2045 5.1, and everybody cuts it elsewhere
    "019-enmime-barren-content-type",  # a type that is none: Dovecot tells empty strings, we application/octet-stream
    "020-enmime-ctype-invalid-characters",
}
OTHER_MIME: Final = {"030-flanker-message-external-body"}
"""A header that ends with a delimiter in place of an empty line: whose the line end is, is anybody's guess."""
TWO_SPACES: Final = "053-postal-mime-mimetorture"
"""Two spaces in a subject: Dovecot tells one."""
MOST: Final = 12
"""Parts of one message; a few have hundreds."""
NAMES: Final = "SUBJECT FROM TO CONTENT-TYPE X-NOBODY"


def in_crlf(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.fixture(scope="module")
def stored(dovecot: Server, people: People, project: Path) -> Iterator[tuple[Asked, list[tuple[str, bytes]]]]:
    """A user at Dovecot, and the messages in his inbox, in their order."""
    found = []
    with Dialogue(dovecot.ports.imap) as imap:
        asked = Asked(imap, people.new(dovecot))
        for path in messages(project, sorted((project / "tests" / "corpus").glob("*.eml"))):
            octets = in_crlf(path.read_bytes())
            if trouble_with(octets) or not asked.store(octets):
                continue
            found.append((path.stem, octets))
        yield asked, found


def test_structure_and_envelope_are_what_the_server_tells(stored: tuple[Asked, list[tuple[str, bytes]]]) -> None:
    asked, found = stored
    for number, (name, octets) in enumerate(found, 1):
        asked.number, asked.imap.received = number, b""
        fetch = asked.fetch("BODYSTRUCTURE BODY ENVELOPE BODY.PEEK[]")
        assert unquoted(fetch.value("BODY[]") or b"") == octets, name
        message = Message(octets)
        if name not in OTHER_ENVELOPE:
            assert parse_arguments(message.envelope()) == parse_arguments(fetch.value("ENVELOPE") or b""), name
        if name in OTHER_STRUCTURE:
            continue
        for item, extended in (("BODYSTRUCTURE", True), ("BODY", False)):
            ours, theirs = message.structure(extended=extended), fetch.value(item) or b""
            assert [told(part) for part in parts(ours)] == [told(part) for part in parts(theirs)], (name, item)
            if name != TWO_SPACES:
                assert tree(parse_arguments(ours)) == tree(parse_arguments(theirs)), (name, item)
    assert len(found) > 20


def test_sections_are_what_the_server_gives(stored: tuple[Asked, list[tuple[str, bytes]]]) -> None:
    asked, found = stored
    for number, (name, octets) in enumerate(found, 1):
        asked.number, asked.imap.received = number, b""
        message = Message(octets)
        wanted = ["", "HEADER", "TEXT", f"HEADER.FIELDS ({NAMES})", f"HEADER.FIELDS.NOT ({NAMES})", "9", "9.MIME", "9.HEADER", "9.TEXT"]
        for part in parts(message.structure(extended=True))[:MOST]:
            if part.number and not part.number.endswith("TEXT"):
                more = ("HEADER", "TEXT", f"HEADER.FIELDS ({NAMES})", f"HEADER.FIELDS.NOT ({NAMES})")
                wanted += [part.number, *(f"{part.number}.{what}" for what in more)]
                wanted += [] if name in OTHER_MIME else [f"{part.number}.MIME"]
        answer = asked.fetch(" ".join(f"BODY.PEEK[{section}]" for section in wanted))
        for section in wanted:
            theirs = unquoted(answer.value(f"BODY[{section}]") or b"?") or b""
            assert message.section(parse_section(section)) == theirs, (name, section)
            assert parse_section(section).written == section.encode()


def test_a_part_without_its_transfer_encoding_is_what_the_server_gives(stored: tuple[Asked, list[tuple[str, bytes]]]) -> None:
    asked, found = stored
    compared = 0
    for number, (name, octets) in enumerate(found, 1):
        asked.number, asked.imap.received = number, b""
        message = Message(octets)
        for part in parts(message.structure(extended=True))[:MOST]:
            if part.parts or part.message is not None or part.encoding not in ("7bit", "8bit", "quoted-printable", "base64"):
                continue
            answer = asked.imap.command(f"d FETCH {number} (BINARY.PEEK[{part.number}])".encode())
            if b"d OK" not in answer:
                continue  # [UNKNOWN-CTE]: what is in the part is not what it says
            value = parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n")).value(f"BINARY[{part.number}]") or b""
            ours, theirs = message.binary(part.number), unquoted(value.removeprefix(b"~")) or b""
            assert ours.replace(b"\r\n", b"\n") == theirs.replace(b"\r\n", b"\n"), (name, part.number)
            compared += 1
    assert compared > 40


def parts(structure: bytes) -> list[Part]:
    return list(with_messages(parse_structure(structure)))


def tree(value: Value) -> Value:
    """As it is compared: types, encodings and names of parameters are written in any case, and a parameter in pieces as one."""
    if isinstance(value, list):
        return [tree(each) for each in value]
    return None if value is None else re.sub(rb"\*0\*\Z", b"*", value.lower())
