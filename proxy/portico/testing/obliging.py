"""A mailbox with one message and a few folders, for trying a plugin by hand: it says yes to everything.

Rule of this file: a whole command in, its answer out; nothing is remembered, so nothing changes.
"""

from __future__ import annotations

import re
from typing import Final

MESSAGE: Final = (
    b"From: Portico <portico@example.org>\r\n"
    b"To: you@example.org\r\n"
    b"Subject: It works\r\n"
    b"Date: Tue, 01 Sep 2026 09:00:00 +0000\r\n"
    b"Message-ID: <it-works@example.org>\r\n"
    b"\r\n"
    b"This message comes from a server that says yes to everything.\r\n"
)
FOLDERS: Final = (b"INBOX", b"Archive", b"Archive/2025", b"Drafts")


def imap(whole: bytes) -> tuple[bytes, bool]:
    """The answer to an IMAP command after login, and whether the connection ends."""
    tag, name, arguments = ([*whole.rstrip(b"\r\n").split(b" ", 2), b"", b""])[:3]
    name = name.upper()
    if name == b"UID":
        name, _, arguments = arguments.partition(b" ")
        name = name.upper()
    untagged = b""
    if name in (b"SELECT", b"EXAMINE"):
        untagged = b"* FLAGS (\\Seen \\Deleted)\r\n* 1 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1] ids\r\n* OK [UIDNEXT 2] next\r\n"
    elif name in (b"LIST", b"LSUB"):
        untagged = b"".join(b'* %s () "/" "%s"\r\n' % (name, folder) for folder in FOLDERS)
    elif name == b"STATUS":
        untagged = b"* STATUS %s (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1 UNSEEN 0)\r\n" % arguments.split(b" (")[0]
    elif name == b"FETCH":
        untagged = b"* 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE %d" % len(MESSAGE)
        if body := re.search(rb"(BODY(?:\.PEEK)?\[\]|RFC822(?![.A-Z]))", arguments, re.IGNORECASE):
            untagged += b" %s {%d}\r\n%s" % (body[1].upper().replace(b".PEEK", b""), len(MESSAGE), MESSAGE)
        untagged += b")\r\n"
    elif name == b"SEARCH":
        untagged = b"* SEARCH 1\r\n"
    elif name == b"CAPABILITY":
        untagged = b"* CAPABILITY IMAP4rev1 ID\r\n"
    elif name == b"LOGOUT":
        untagged = b"* BYE bye\r\n"
    return untagged + b"%s OK %s completed.\r\n" % (tag, name or b"Nothing"), name == b"LOGOUT"


def pop3(whole: bytes) -> tuple[bytes, bool]:
    """The answer to a POP3 command after login, and whether the connection ends."""
    name, _, arguments = whole.rstrip(b"\r\n").partition(b" ")
    one = b"1 %d" % len(MESSAGE)
    match name.upper():
        case b"STAT":
            return b"+OK %s\r\n" % one, False
        case b"LIST":
            return (b"+OK %s\r\n" % one if arguments else b"+OK\r\n%s\r\n.\r\n" % one), False
        case b"UIDL":
            return (b"+OK 1 it-works\r\n" if arguments else b"+OK\r\n1 it-works\r\n.\r\n"), False
        case b"RETR" | b"TOP":
            return b"+OK\r\n%s.\r\n" % MESSAGE, False
        case b"CAPA":
            return b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\n.\r\n", False
        case quit:
            return b"+OK\r\n", quit == b"QUIT"
