"""portico.testing's scripted server, with its one port as those of a mail server.

Rule of this file: only what tests.live.front wants beyond what plugin authors get.
"""

from __future__ import annotations

from portico.demo.ports import MailPorts
from portico.testing.server import CAPABILITIES, Connection, Ended, ScriptedServer

__all__ = ["CAPABILITIES", "UNKNOWN", "Connection", "Ended", "Scripted"]

UNKNOWN = b"X-NOBODY-KNOWS"
"""A capability that Portico withholds: the session is watched to its end, not tunnelled."""


class Scripted(ScriptedServer):
    """Listens on a port; each connection runs `script` in a thread of its own."""

    @property
    def ports(self) -> MailPorts:
        return MailPorts(self.port, self.port, self.port, self.port)

    @property
    def signed_in(self) -> Connection:
        """The last connection on which somebody has signed in; others may be questions about capabilities, one from each worker."""
        return next(connection for connection in reversed(self.connections) if connection.user)
