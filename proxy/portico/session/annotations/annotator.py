"""What a plugin is that annotates messages.

Rule of this file: a protocol, offered to authors by `portico.plugin`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from portico.session.annotations.outline import Insertion, Outline
from portico.session.context import SessionView


class Annotator(Protocol):
    """A plugin's judgement of messages. Both methods are plain functions, called once per message ever.

    There may be a third, ``serves(session) -> bool``: whether this client's messages are annotated at all. It is asked once per session,
    over IMAP only, when the client first selects a mailbox or asks for a STATUS: by then most have said their ID (RFC 2971).
    """

    types: Sequence[str]
    """Content types, lower case, of which a message must have one to be of interest; empty: all are."""

    def wants(self, session: SessionView, outline: Outline) -> Sequence[str] | None:
        """Numbers of the parts to be read before it is decided, at most 256 KiB each; none: (). None: not annotated."""
        ...

    def insertions(self, session: SessionView, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        """What goes in, at most one Insertion for each text part; nothing: not annotated. `parts`: those wanted, transfer-decoded."""
        ...
