"""The server's part of a sign-in: anybody may come in.

Rule of this file: sans-IO, a whole command in, its answer out; the scripted server and the Correspondence both ask it.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

from portico.session.context import Protocol

LITERAL: Final = re.compile(rb"\{(\d+)(\+?)\}\r\n\Z")
IMAP_CAPABILITIES: Final = b"IMAP4rev1 SASL-IR AUTH=PLAIN IDLE ID"
POP3_CAPABILITIES: Final = b"TOP UIDL PIPELINING USER"
"""One word for each line of CAPA."""


@dataclass
class Doorman:
    """One sign-in. `capabilities`: the list that is announced, separated by spaces; after login without the mechanisms (IMAP)."""

    protocol: Protocol = "imap"
    capabilities: bytes = b""
    greeting: bytes = b""
    """What the server says first; made from the capabilities where none is given."""
    starttls_answer: bytes = b""
    signed_in: bool = False
    over: bool = False
    """The peer has said goodbye."""
    handshake: bool = False
    """TLS begins behind the answer just given. Whoever does so sets it back."""
    user: str = ""
    _tag: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        imap = self.protocol == "imap"
        self.capabilities = self.capabilities or (IMAP_CAPABILITIES if imap else POP3_CAPABILITIES)
        self.greeting = self.greeting or (b"* OK [CAPABILITY %s] scripted\r\n" % self.capabilities if imap else b"+OK scripted\r\n")
        self.starttls_answer = self.starttls_answer or (b"OK begin\r\n" if imap else b"+OK begin\r\n")

    def command(self, whole: bytes) -> bytes:
        """The answer to a command, its literals in it (or to the line that was asked for by ``+``)."""
        return self._imap(whole) if self.protocol == "imap" else self._pop3(whole)

    def _imap(self, whole: bytes) -> bytes:
        if self._tag:
            return self._in(self._tag, _plain(whole))
        tag, verb, rest = ([*whole.rstrip(b"\r\n").split(b" ", 2), b"", b""])[:3]
        match verb.upper():
            case b"CAPABILITY":
                return b"* CAPABILITY %s\r\n%s OK done\r\n" % (self.capabilities, tag)
            case b"STARTTLS":
                self.handshake = True
                return tag + b" " + self.starttls_answer
            case b"ID":
                return b"* ID NIL\r\n%s OK done\r\n" % tag
            case b"LOGOUT":
                self.over = True
                return b"* BYE bye\r\n%s OK done\r\n" % tag
            case b"AUTHENTICATE" if b" " not in rest:
                self._tag = tag
                return b"+ \r\n"
            case b"AUTHENTICATE":
                return self._in(tag, _plain(rest.split(b" ", 1)[1]))
            case b"LOGIN":
                return self._in(tag, rest.split(b" ")[0].strip(b'"'))
            case _:
                return b"%s OK done\r\n" % tag

    def _in(self, tag: bytes, user: bytes) -> bytes:
        self.signed_in, self._tag, self.user = True, b"", user.decode("utf-8", "replace")
        capabilities = b" ".join(name for name in self.capabilities.split() if not name.upper().startswith(b"AUTH="))
        return b"%s OK [CAPABILITY %s] in\r\n" % (tag, capabilities)

    def _pop3(self, line: bytes) -> bytes:
        verb, _, rest = line.rstrip(b"\r\n").partition(b" ")
        if self._tag:
            return self._in_pop3(_plain(line))
        match verb.upper():
            case b"CAPA":
                return b"+OK\r\n" + b"".join(word + b"\r\n" for word in self.capabilities.split()) + b".\r\n"
            case b"STLS":
                self.handshake = True
                return self.starttls_answer
            case b"QUIT":
                self.over = True
                return b"+OK bye\r\n"
            case b"USER":
                self.user = rest.decode("utf-8", "replace")
                return b"+OK\r\n"
            case b"AUTH":
                self._tag = b"+"
                return b"+ \r\n"
            case b"PASS":
                return self._in_pop3(self.user.encode())
            case b"APOP":
                return self._in_pop3(rest.split(b" ")[0])
            case _:
                return b"+OK\r\n"

    def _in_pop3(self, user: bytes) -> bytes:
        self.signed_in, self._tag, self.user = True, b"", user.decode("utf-8", "replace")
        return b"+OK in\r\n"


def _plain(line: bytes) -> bytes:
    """The user of a SASL PLAIN response; empty for another mechanism."""
    try:
        words = base64.b64decode(line.strip()).split(b"\0")
    except binascii.Error:
        return b""
    return words[1] if len(words) == 3 else b""
