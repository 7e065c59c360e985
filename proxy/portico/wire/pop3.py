"""POP3 syntax: commands, status lines, multi-line answers.

Rule of this file: pure functions and one small scanner, from bytes to values. A multi-line answer ends with exactly ``CRLF . CRLF``
(RFC 1939 3): a message with bare line feeds must not end it early, or the sender of a mail could write
answers of the server.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from portico.errors import PeerError

_COMMAND: Final = re.compile(rb"([A-Za-z][A-Za-z0-9]{2,11})(?: ([^\r\n\0]*))?\Z")
_STATUS: Final = re.compile(rb"(\+OK|-ERR)(?: +|\Z)(?:\[([A-Za-z0-9/\-]+)(?: [^\]]*)?\] ?)?(.*)\Z", re.DOTALL | re.IGNORECASE)
_TIMESTAMP: Final = re.compile(rb"<[\x21-\x3b\x3d\x3f-\x7e]+@[\x21-\x3b\x3d\x3f-\x7e]+>")
END: Final = b"\r\n.\r\n"

_ALWAYS: Final = frozenset(("CAPA", "RETR", "TOP"))
_WITHOUT_ARGUMENT: Final = frozenset(("LIST", "UIDL", "LANG"))
TRANSACTION: Final = frozenset(("STAT", "LIST", "RETR", "DELE", "NOOP", "RSET", "TOP", "UIDL", "QUIT", "CAPA", "LANG", "LAST", "UTF8"))
"""Commands after login whose answers can be framed (RFC 1939, 2449, 6856; LAST is RFC 1460's)."""


class CommandLine(NamedTuple):
    """A command, cut in two."""

    name: str
    """Upper case."""
    arguments: bytes
    """As received: PASS may have spaces (RFC 1939 7)."""


class Status(NamedTuple):
    """The first line of an answer."""

    ok: bool
    code: str
    """Response code in upper case (RFC 2449 8), or empty."""
    text: bytes


def parse_command(line: bytes) -> CommandLine:
    """A command from its line without line end. Raises PeerError, also for CR, LF and NUL in it: a server might see two commands."""
    match = _COMMAND.match(line)
    if match is None:
        raise PeerError("Invalid command")
    return CommandLine(match[1].decode("ascii").upper(), match[2] or b"")


def parse_status(line: bytes) -> Status | None:
    """A status line without line end; None where it is none."""
    match = _STATUS.match(line)
    if match is None:
        return None
    return Status(match[1].upper() == b"+OK", (match[2] or b"").decode("ascii").upper(), match[3])


def timestamp(greeting: bytes) -> bytes:
    """The timestamp of a greeting (RFC 1939 7, APOP), or nothing."""
    match = _TIMESTAMP.search(greeting)
    return match[0] if match else b""


def has_body(name: str, arguments: bytes) -> bool:
    """Whether ``+OK`` to this command is followed by lines and a dot (RFC 1939 5, 7; RFC 2449 5; RFC 6856 4)."""
    if name in _ALWAYS:
        return True
    return name in _WITHOUT_ARGUMENT and not arguments.strip()


def stuffed(lines: list[bytes]) -> bytes:
    """The body of a multi-line answer: lines without line ends, dot-stuffed, with the final dot (RFC 1939 3)."""
    return b"".join(b"." + line + b"\r\n" if line.startswith(b".") else line + b"\r\n" for line in lines) + b".\r\n"


def body_lines(body: bytes) -> list[bytes]:
    """The lines of a body that ends with its dot, stuffing taken out."""
    return [line[1:] if line.startswith(b".") else line for line in body.removesuffix(b".\r\n").split(b"\r\n")[:-1]]


class Body:
    """Looks for the end of a multi-line answer, however it is cut. Made when the status line has been read."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"  # of the status line: the dot may come at once

    @property
    def seen(self) -> bytes:
        """The last octets that were looked at."""
        return self._tail

    def end(self, data: bytes, *, alone: bool = False) -> int:
        """The position in `data` behind the final dot's line, or -1: all of `data` belongs to the body. `alone`: nothing else was asked,
        so nothing follows the end, and it is looked for where `data` ends only."""
        if alone:
            tail = (self._tail + data[-5:])[-5:]
            self._tail = tail[-4:]
            return len(data) if tail == END else -1
        edge = self._tail + data[:4]
        found = edge.find(END)
        if found >= 0:
            return found + len(END) - len(self._tail)
        found = data.find(END)
        if found >= 0:
            return found + len(END)
        self._tail = (self._tail + data[-4:])[-4:]
        return -1
