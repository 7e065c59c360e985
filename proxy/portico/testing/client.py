"""A client that says exactly what it is told to, and keeps every octet of the answers.

Rule of this file: no mail library; what is compared is what was on the wire. The loopback address only.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

LITERAL: Final = re.compile(rb"\{(\d+)\}\r\n\Z")
LOOPBACK: Final = "127.0.0.1"
WAIT_SECONDS: Final = 60.0


class Dialogue:
    """One connection. `received` is all that came, in order."""

    def __init__(self, port: int, *, authority: Path | None = None, implicit: bool = False, receive_buffer: int = 0) -> None:
        raw = socket.socket()
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(WAIT_SECONDS)
        raw.connect((LOOPBACK, port))
        self.context = ssl.create_default_context(cafile=authority) if authority else None
        self.socket: socket.socket = raw
        self.received = b""
        self._pending = b""
        if implicit:
            self.handshake()

    def handshake(self) -> None:
        assert self.context is not None
        self.socket = self.context.wrap_socket(self.socket, server_hostname="localhost")

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def read_some(self) -> bytes:
        """What is there next; empty at the end of the stream."""
        if self._pending:
            some, self._pending = self._pending, b""
        else:
            try:
                some = self.socket.recv(65536)
            except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
                some = b""
        self.received += some
        return some

    def _more(self) -> bytes:
        some = self.socket.recv(65536)
        if not some:
            raise EOFError(f"the connection ended after {self.received[-200:]!r}")
        return some

    def line(self) -> bytes:
        """One line with its CRLF."""
        while b"\n" not in self._pending:
            self._pending += self._more()
        line, newline, self._pending = self._pending.partition(b"\n")
        self.received += line + newline
        return line + newline

    def exactly(self, count: int) -> bytes:
        while len(self._pending) < count:
            self._pending += self._more()
        octets, self._pending = self._pending[:count], self._pending[count:]
        self.received += octets
        return octets

    def response(self) -> bytes:
        """One IMAP response, with its literals."""
        whole = self.line()
        while announced := LITERAL.search(whole):
            whole += self.exactly(int(announced[1])) + self.line()
        return whole

    def until(self, tag: bytes) -> bytes:
        """IMAP responses up to the one with `tag`."""
        answer = b""
        while True:
            response = self.response()
            answer += response
            if response.startswith(tag + b" "):
                return answer

    def command(self, command: bytes) -> bytes:
        """Send a whole IMAP command (without CRLF, with its tag); all responses up to the tagged one."""
        self.send(command + b"\r\n")
        return self.until(command.split(b" ", 1)[0])

    def multiline(self) -> bytes:
        """A POP3 multi-line answer: all of it if +OK, one line if -ERR."""
        answer = self.line()
        if answer.startswith(b"+OK"):
            while not answer.endswith(b"\r\n.\r\n"):
                answer += self.line()
        return answer

    def rest(self, seconds: float = WAIT_SECONDS) -> bytes:
        """All that still comes, up to the end of the stream."""
        self.socket.settimeout(seconds)
        rest = b""
        while some := self.read_some():
            rest += some
        return rest

    def silent_for(self, seconds: float) -> bool:
        """True if nothing comes for that long."""
        self.socket.settimeout(seconds)
        try:
            self._pending += self.socket.recv(65536)
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(WAIT_SECONDS)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    """True as soon as ``condition()`` is true; False after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
