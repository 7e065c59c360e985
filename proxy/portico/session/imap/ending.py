"""How a tunnelled IMAP session ended, told from its last octets.

Rule of this file: a guess that is used for the log, and for whether a BYE of ours may follow; never for the stream. Nobody counted the
octets of literals, so a line counts as one of the server's own only where the client's last command cannot have asked for text that
looks the same. Where it is wrong all the same, the client still has the count of its literal, and sees that the rest is missing.
"""

from __future__ import annotations

import re

from portico.session.close import Reason
from portico.session.decisions import Ending

_STATUS = re.compile(rb"(?:\A|\n)(?:([^ \r\n]+) (?:OK|NO|BAD|BYE)\b|\+)[^\r\n]*\r\n\Z", re.IGNORECASE)
_TAGS = re.compile(rb"(?:\A|\n)([^ \r\n]+) ")
_FETCH = re.compile(rb"(?:[])>]|\b(?:RFC822(?:\.[A-Z]+)?|ENVELOPE|ALL|FULL))\r?\n\Z", re.IGNORECASE)
"""How a FETCH of text ends. Any line may be in that text: of a patch, many begin with a plus. Only the tagged response is none of it."""
_IDLE = re.compile(rb"(?:\A|\n)[^ \r\n]+ IDLE\r?\n\Z", re.IGNORECASE)
_NEWS = re.compile(rb"(?:\A|\n)\* [^\r\n]*[^\r\n}]\r\n\Z")
_BYE = re.compile(rb"(?:\A|\n)\* BYE\b", re.IGNORECASE)
_LOGOUT = re.compile(rb"\bLOGOUT\r?\n\Z", re.IGNORECASE)

BYE = b"* BYE %b\r\n"


def judge(client: bytes, server: bytes) -> Ending:
    """RFC 9051 6.1.3 and 7.1.5: BYE answers LOGOUT, or says why the server goes. Both tails may begin in the middle of a line."""
    whole = _whole(client, server)
    answered = whole and _answered(client, server)
    if _LOGOUT.search(client):
        return Ending(Reason.LOGOUT, "client", whole, answered)
    if _BYE.search(server):
        return Ending(Reason.SERVER_BYE, "server", whole, answered)
    return Ending(Reason.SERVER_CLOSED, "server", whole, answered)


def _answered(client: bytes, server: bytes) -> bool:
    """The last command has been answered, or may be interrupted: IDLE."""
    if not client or _IDLE.search(client):
        return True
    status, tags = _STATUS.search(server), _TAGS.findall(client)
    tag = status[1] if status else None
    # A tag that has passed out of sight is that of a command with a long end, as the message of an APPEND.
    return tag not in (None, b"*", b"+") and (tag not in tags or tag == tags[-1])


def _whole(client: bytes, server: bytes) -> bool:
    """No response is open, as far as can be known."""
    if not server:  # the last that the client saw is the OK to its sign-in
        return True
    if status := _STATUS.search(server):
        return not _FETCH.search(client) or status[1] in _TAGS.findall(client)
    # RFC 2177: in IDLE lines come at any time, and none of them was asked for.
    return _IDLE.search(client) is not None and _NEWS.search(server) is not None
