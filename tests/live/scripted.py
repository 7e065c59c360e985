"""A mail server that signs anybody in and then does what a test says: for faults that no real server has.

Rule of this file: real sockets, one thread for each connection, everything ended by `stop`.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from portico.demo.certificates import Certificates
from portico.demo.ports import LOOPBACK, MailPorts

LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n\Z")
CAPABILITIES = b"IMAP4rev1 SASL-IR AUTH=PLAIN IDLE ID"


class Ended(Exception):
    """The peer is gone."""


class Connection:
    """The server's side of one connection. `commands` is what the peer said, in order."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self.socket = raw
        self.context = context
        self.secure = False
        self.commands: list[bytes] = []
        self.before_tls: list[bytes] = []
        self.sent = 0
        self._pending = b""

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)
        self.sent += len(octets)

    def receive(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except OSError:
            return b""

    def line(self) -> bytes:
        while b"\n" not in self._pending:
            some = self.receive()
            if not some:
                raise Ended
            self._pending += some
        line, newline, self._pending = self._pending.partition(b"\n")
        return line + newline

    def exactly(self, count: int) -> bytes:
        while len(self._pending) < count:
            some = self.receive()
            if not some:
                raise Ended
            self._pending += some
        octets, self._pending = self._pending[:count], self._pending[count:]
        return octets

    def command(self) -> bytes:
        """One IMAP command with its literals, continued where it waits for that."""
        whole = self.line()
        while announced := LITERAL.search(whole):
            if not announced[2]:
                self.send(b"+ go on\r\n")
            whole += self.exactly(int(announced[1])) + self.line()
        self.commands.append(whole)
        if not self.secure:
            self.before_tls.append(whole)
        return whole

    def handshake(self) -> None:
        self.socket = self.context.wrap_socket(self.socket, server_side=True)
        self.secure = True

    def reset(self) -> None:
        """Close so that the peer gets a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def sign_in(
        self,
        *,
        greeting: bytes = b"* OK [CAPABILITY %s] scripted\r\n" % CAPABILITIES,
        capabilities: bytes = CAPABILITIES,
        starttls_answer: bytes = b"OK begin\r\n",
    ) -> None:
        """Answer what comes up to and with the sign-in, whoever it is."""
        self.send(greeting)
        while True:
            tag, verb, rest = ([*self.command().rstrip(b"\r\n").split(b" ", 2), b"", b""])[:3]
            match verb.upper():
                case b"CAPABILITY":
                    self.send(b"* CAPABILITY %s\r\n%s OK done\r\n" % (capabilities, tag))
                case b"STARTTLS":
                    self.send(tag + b" " + starttls_answer)
                    self.handshake()
                case b"ID":
                    self.send(b"* ID NIL\r\n%s OK done\r\n" % tag)
                case b"LOGOUT":
                    self.send(b"* BYE bye\r\n%s OK done\r\n" % tag)
                    raise Ended
                case b"AUTHENTICATE":
                    if b" " not in rest:
                        self.send(b"+ \r\n")
                        self.commands.append(base64.b64decode(self.line()))
                    self.send(b"%s OK [CAPABILITY %s] in\r\n" % (tag, capabilities))
                    return
                case b"LOGIN":
                    self.send(b"%s OK [CAPABILITY %s] in\r\n" % (tag, capabilities))
                    return
                case _:
                    self.send(b"%s OK done\r\n" % tag)


@dataclass
class Scripted:
    """Listens on a port; each connection runs `script` in a thread of its own."""

    script: Callable[[Connection], None]
    certificates: Certificates
    connections: list[Connection] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0), backlog=64)
        port: int = self._listener.getsockname()[1]
        self.ports = MailPorts(port, port, port, port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificates.certificate, self.certificates.key)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(raw, self._context)
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        try:
            self.script(connection)
        except (Ended, OSError):
            pass
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            connection.socket.close()

    def stop(self) -> None:
        # close alone would leave the thread in accept, and with it the port open.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            connection.socket.close()
