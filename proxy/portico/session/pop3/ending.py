"""How a tunnelled POP3 session ended, told from its last octets.

Rule of this file: a guess that is used for the log, and for whether a line of ours may follow; never for the stream.
"""

from __future__ import annotations

import re

from portico.session.close import Reason
from portico.session.decisions import Ending

_WHOLE = re.compile(rb"(?:\A|\n)(?:\+OK|-ERR)[^\r\n]*\r\n\Z|\r\n\.\r\n\Z", re.IGNORECASE)
_QUIT = re.compile(rb"(?:\A|\n)QUIT\r?\n\Z", re.IGNORECASE)
_ERR = re.compile(rb"(?:\A|\n)-ERR[^\r\n]*\r\n\Z", re.IGNORECASE)

BYE = b"-ERR [SYS/TEMP] %b\r\n"


def judge(client: bytes, server: bytes) -> Ending:
    """RFC 1939 6: a session ends with QUIT; a server that has to go says -ERR (RFC 2449 8.1.1)."""
    whole = _WHOLE.search(server) is not None
    if _QUIT.search(client):
        return Ending(Reason.LOGOUT, "client", whole)
    if _ERR.search(server):
        return Ending(Reason.SERVER_BYE, "server", whole)
    return Ending(Reason.SERVER_CLOSED, "server", whole)
