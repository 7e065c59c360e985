"""How a tunnelled POP3 session ended, told from its last octets.

Rule of this file: a guess that is used for the log, and for whether a line of ours may follow; never for the stream. Where it is wrong,
the client still misses the line with the dot, and sees that its response is not whole.
"""

from __future__ import annotations

import re

from portico.session.close import Reason
from portico.session.decisions import Ending

_DOT = re.compile(rb"\r\n\.\r\n\Z")
_OK = re.compile(rb"(?:\A|\n)\+OK[^\r\n]*\r\n\Z", re.IGNORECASE)
_ERR = re.compile(rb"(?:\A|\n)-ERR[^\r\n]*\r\n\Z", re.IGNORECASE)
_QUIT = re.compile(rb"(?:\A|\n)QUIT\r?\n\Z", re.IGNORECASE)
_LINES = re.compile(rb"(?:\A|\n)(?:(?:RETR|TOP) [^\r\n]*|LIST *|UIDL *|CAPA *)\r?\n\Z", re.IGNORECASE)
"""A command whose +OK is only the begin of its response."""

BYE = b"-ERR [SYS/TEMP] %b\r\n"


def judge(client: bytes, server: bytes) -> Ending:
    """RFC 1939 6: a session ends with QUIT; a server that has to go says -ERR (RFC 2449 8.1.1)."""
    refused = _ERR.search(server) is not None
    # Nothing yet: the last that the client saw is the +OK to its sign-in.
    whole = not server or refused or _DOT.search(server) is not None or (_OK.search(server) is not None and not _LINES.search(client))
    if _QUIT.search(client):
        return Ending(Reason.LOGOUT, "client", whole, whole)
    if refused:
        return Ending(Reason.SERVER_BYE, "server", whole, whole)
    return Ending(Reason.SERVER_CLOSED, "server", whole, whole)
