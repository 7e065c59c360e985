"""An outline says of a message what the server says, and on POP3 what the message says."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.errors import PeerError
from portico.session.annotations.outline import outline_of, outline_of_message
from portico.wire.mime import scan

STRUCTURE = b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 12 1)'
ENVELOPE = (
    b'("Mon, 4 May 2026 09:00:00 +0200" "=?utf-8?q?Gr=C3=BC=C3=9Fe?=" (("Bob" NIL "bob" "example.org")) NIL NIL NIL NIL NIL NIL "<1@x>")'
)


def test_an_outline_is_made_of_what_the_server_says() -> None:
    outline = outline_of("Archiv", 7, 99, 512, STRUCTURE, ENVELOPE)
    assert (outline.mailbox, outline.uid, outline.uid_validity, outline.size, outline.uidl) == ("Archiv", 7, 99, 512, "")
    assert (outline.subject, outline.sender, outline.message_id) == ("Grüße", "Bob <bob@example.org>", "<1@x>")
    assert (outline.date, outline.structure.number) == ("Mon, 4 May 2026 09:00:00 +0200", "1")


def test_an_envelope_may_be_missing_and_a_structure_may_not() -> None:
    assert outline_of("INBOX", 1, 1, 1, STRUCTURE, None).subject == ""
    with pytest.raises(PeerError):
        outline_of("INBOX", 1, 1, 1, b"(", ENVELOPE)


def test_on_pop3_it_is_made_of_the_message(project: Path) -> None:
    octets = (project / "tests" / "corpus" / "invite-outlook.eml").read_bytes()
    outline = outline_of_message("uid-1", len(octets), scan(octets))
    assert (outline.mailbox, outline.uid, outline.uidl, outline.size) == ("INBOX", 0, "uid-1", len(octets))
    assert outline.subject and outline.message_id and outline.sender
    assert any(part.type == "text/calendar" and part.parameters["method"] == "REQUEST" for part in outline.structure.walk())
