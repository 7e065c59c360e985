"""What a plugin is that estimates sizes of messages.

Rule of this file: a protocol and its words, offered to authors by `portico.plugin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from portico.session.context import SessionView


@dataclass(frozen=True, slots=True)
class Sketch:
    """What is known of a message whose size is asked for, without asking."""

    mailbox: str
    uid: int
    """POP3: 0."""
    items: Mapping[str, bytes] = field(default_factory=dict)
    """What the client asked along, by upper-case name, as the server said it: ``ENVELOPE``, ``BODY[HEADER.FIELDS (FROM)]``, ``FLAGS``, …"""


class Sizer(Protocol):
    """A plugin's guess at sizes. All are plain functions; each message is estimated once, and what was told stays for its UID."""

    sample: int
    """Of a mailbox in which no size is known, so many messages are asked for the truth first (spread over those that the client asks for);
    0: none."""

    def serves(self, session: SessionView) -> bool:
        """Whether sizes are estimated for this client at all. Once per session, when it first selects a mailbox: by then most have said
        their ID (RFC 2971). POP3: at login."""
        ...

    def learn(self, session: SessionView, sketch: Sketch, size: int) -> None:
        """The true size of a message."""
        ...

    def estimate(self, session: SessionView, sketch: Sketch) -> int:
        """Octets, at least 1."""
        ...


def confident(sizer: Sizer, session: SessionView, mailbox: str) -> bool:
    """What an optional function of a sizer says, `confident(session, mailbox)`: whether it will estimate sizes of this mailbox, now that
    it has learned those of the sample. If not, the server is asked for the truth."""
    asked = getattr(sizer, "confident", None)
    return asked is None or bool(asked(session, mailbox))
