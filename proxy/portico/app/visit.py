"""What is remembered of a running session, outside of it.

Rule of this file: only what somebody is told later; what was secret in a login is forgotten when it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from portico.errors import Secret
from portico.gate.limits import Ticket
from portico.observe.trace import Trace
from portico.session.context import Target


@dataclass(slots=True)
class Visit:
    """What is remembered of a running session, outside of it."""

    ticket: Ticket
    began: float
    login_began: float = 0.0
    target: Target | None = None
    """The server chosen, or the one tried after it."""
    others: tuple[Target, ...] = ()
    """Those that may be tried after it."""
    secrets: tuple[Secret | None, ...] = ()
    """Of the login under way: should the server repeat them, the log does not. Forgotten when it has ended."""
    met: bool = False
    """The plugins have been asked about the client, so that they are told of its end."""
    refused: bool = False
    """It is above a limit."""
    opened: bool = False
    trace: Trace | None = None
    traced: bool = True
    """False: the trace could not be written, and is not tried again."""

    @property
    def address(self) -> str:
        """Of the server."""
        return self.target.address if self.target is not None else ""


def blotted(fields: dict[str, Any], secrets: tuple[Secret | None, ...]) -> dict[str, Any]:
    """The fields without what was secret in this login, should the server have repeated it."""
    fields = dict(fields)
    for name in ("text", "detail"):
        text = fields.get(name)
        if isinstance(text, str):
            for secret in secrets:
                if secret is not None:
                    text = secret.blot(text)
            fields[name] = text
    return fields
