"""What plugins are told of a message before it is annotated, and what they answer.

Rule of this file: values. An Outline is made from what the server says without sending the message, or, on POP3, from the message as the
scanner read it; a plugin cannot tell which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from portico.wire.bodystructure import Envelope, Part, parse_envelope, parse_structure
from portico.wire.mime import Scanner


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a message. Texts are Unicode, encoded words (RFC 2047) decoded; empty where unknown."""

    mailbox: str
    """Its name as IMAP has it; on POP3 ``INBOX``."""
    uid: int
    """On POP3 0."""
    uid_validity: int
    """On POP3 0."""
    size: int
    """The server's RFC822.SIZE, in octets."""
    structure: Part
    uidl: str = ""
    """On POP3 the unique-id (RFC 1939 7)."""
    subject: str = ""
    message_id: str = ""
    """With its angle brackets."""
    date: str = ""
    """As it stands in the Date field."""
    sender: str = ""
    """The first author (From): ``Name <mailbox@host>`` or the address alone."""
    flags: tuple[str, ...] = ()
    """Where they came along; they are not asked for."""


class Insertion(NamedTuple):
    """A block for one part."""

    part: str
    """The number of a text/plain or text/html part."""
    text: str
    """Plain text, or a fragment of HTML whose elements are closed, as the part's type is. Lines end in ``\\n``."""


def outline_of(mailbox: str, uid: int, uid_validity: int, size: int, structure: bytes, envelope: bytes | None) -> Outline:
    """From the values of BODYSTRUCTURE and ENVELOPE. Raises PeerError for a structure that makes no sense."""
    return _outline(Outline(mailbox, uid, uid_validity, size, parse_structure(structure)), parse_envelope(envelope))


def outline_of_message(uidl: str, size: int, scanner: Scanner) -> Outline:
    """On POP3: from the message itself, all of which has been fed to the scanner. Raises PeerError as `Scanner.finish` does."""
    return _outline(Outline("INBOX", 0, 0, size, scanner.finish(), uidl), scanner.envelope)


def _outline(bare: Outline, envelope: Envelope) -> Outline:
    return Outline(
        bare.mailbox, bare.uid, bare.uid_validity, bare.size, bare.structure, bare.uidl,
        envelope.subject, envelope.message_id, envelope.date, envelope.sender,
    )  # fmt: skip
