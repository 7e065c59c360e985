"""A mail server that signs anybody in and then does what a test says: real sockets on the loopback interface.

Rule of this file: one thread for each connection, everything ended by `stop`. What the server says is a playbook, a function that is
given the connection, or, where nothing is given, what `portico.testing.obliging` says to everybody.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from portico.session.context import Protocol, TlsMode
from portico.testing import obliging
from portico.testing.certificates import Certificates, issue
from portico.testing.client import LOOPBACK
from portico.testing.doorman import IMAP_CAPABILITIES, LITERAL, Doorman
from portico.testing.playbook import Letter, PlaybookFailed, letters

CAPABILITIES: Final = IMAP_CAPABILITIES


class Ended(Exception):
    """The peer is gone."""


class Connection:
    """The server's side of one connection. `commands` is what the peer said, in order."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext | None, protocol: Protocol = "imap") -> None:
        self.socket = raw
        self.context = context
        self.protocol = protocol
        self.secure = False
        self.commands: list[bytes] = []
        self.before_tls: list[bytes] = []
        self.sent = 0
        self.user = ""
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
        """One line with its line end. Raises Ended."""
        while b"\n" not in self._pending:
            some = self.receive()
            if not some:
                raise Ended
            self._pending += some
        line, newline, self._pending = self._pending.partition(b"\n")
        return line + newline

    def exactly(self, count: int) -> bytes:
        """`count` octets. Raises Ended."""
        while len(self._pending) < count:
            some = self.receive()
            if not some:
                raise Ended
            self._pending += some
        octets, self._pending = self._pending[:count], self._pending[count:]
        return octets

    def command(self) -> bytes:
        """One command; with its literals (IMAP), continued where it waits for that."""
        whole = self.line()
        while self.protocol == "imap" and (announced := LITERAL.search(whole)):
            if not announced[2]:
                self.send(b"+ go on\r\n")
            whole += self.exactly(int(announced[1])) + self.line()
        self.commands.append(whole)
        if not self.secure:
            self.before_tls.append(whole)
        return whole

    def handshake(self) -> None:
        """Begin TLS, as the server."""
        assert self.context is not None, "the server has no certificate"
        self.socket = self.context.wrap_socket(self.socket, server_side=True)
        self.secure = True

    def reset(self) -> None:
        """Close so that the peer gets a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def sign_in(self, *, greeting: bytes = b"", capabilities: bytes = b"", starttls_answer: bytes = b"") -> None:
        """Answer what comes up to and with the sign-in, whoever it is. Raises Ended where the peer says goodbye before."""
        doorman = Doorman(self.protocol, capabilities, greeting, starttls_answer)
        self.send(doorman.greeting)
        while True:
            answer = doorman.command(self.command())
            if doorman.signed_in:
                self.user = doorman.user  # before the peer can know that it is in
            self.send(answer)
            if doorman.handshake:
                doorman.handshake = False
                self.handshake()
            if doorman.over:
                raise Ended
            if doorman.signed_in:
                return

    def play(self, playbook: list[Letter]) -> None:
        """Say what the server says in a playbook, and wait for what the client is to say, line by line. Raises PlaybookFailed."""
        for letter in playbook:
            if letter.speaker == "S":
                self.send(letter.octets)
                continue
            for expected in letter.octets.splitlines(keepends=True):
                got = self.line()
                self.commands.append(got)
                if got != expected:
                    self.send(b"* BYE not in the playbook\r\n" if self.protocol == "imap" else b"-ERR not in the playbook\r\n")
                    raise PlaybookFailed(f"{letter}\n  expected {expected!r}\n       got {got!r}")

    def oblige(self) -> None:
        """Answer everything kindly until the peer says goodbye."""
        while True:
            answer, over = (obliging.imap if self.protocol == "imap" else obliging.pop3)(self.command())
            self.send(answer)
            if over:
                raise Ended


Script = Callable[[Connection], None]


@dataclass
class ScriptedServer:
    """Listens on a free port of the loopback address until `stop`, or as a context manager.

    `script`: a playbook, which each connection plays from its beginning once it has signed in; a function that is called with each
    Connection and does everything itself; None: whatever is asked is answered. At the end of a `with` block AssertionError is
    raised for what came and was not in the playbook, and for a playbook that nobody played to its end.
    """

    script: Script | str | None = None
    certificates: Certificates | None = None
    """Made when first needed, where none are given."""
    protocol: Protocol = "imap"
    tls: TlsMode = "none"
    """``implicit``: TLS from the start. STARTTLS and STLS are understood in any case, if there are certificates."""
    capabilities: bytes = b""
    """Announced before login and after, separated by spaces."""
    wanted_port: int = 0
    """0: a free one."""
    connections: list[Connection] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    played: int = 0
    """Connections that have played the playbook to its end."""

    def __post_init__(self) -> None:
        self._playbook = letters(self.script) if isinstance(self.script, str) else []
        if any(letter.told for letter in self._playbook):
            raise ValueError("a server's playbook has C: and S: lines only: what becomes of them is not the server's to know")
        self._place: tempfile.TemporaryDirectory[str] | None = None
        if self.certificates is None and self.tls != "none":
            self._place = tempfile.TemporaryDirectory(prefix="portico-testing-")
            self.certificates = issue(Path(self._place.name))
        self._context: ssl.SSLContext | None = None
        if self.certificates is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(self.certificates.certificate, self.certificates.key)
        self._listener = socket.create_server((LOOPBACK, self.wanted_port), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def address(self) -> str:
        """As the settings write it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def commands(self) -> list[bytes]:
        """What all peers have said, connection by connection."""
        return [command for connection in self.connections for command in connection.commands]

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(raw, self._context, self.protocol)
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            if callable(self.script):
                self.script(connection)
            else:
                self._play(connection)
        except (Ended, OSError):
            pass
        except BaseException as failure:
            self.failures.append(failure)
        finally:
            connection.socket.close()

    def _play(self, connection: Connection) -> None:
        if self.tls == "implicit":
            connection.handshake()
        connection.sign_in(capabilities=self.capabilities)
        if self.script is None:
            connection.oblige()
        connection.play(self._playbook)
        self.played += 1
        # Behind the last letter a client may still say goodbye.
        goodbye = Doorman(self.protocol)
        answer = goodbye.command(said := connection.command())
        if not goodbye.over:
            raise PlaybookFailed(f"the playbook has ended, and there came {said!r}")
        connection.send(answer)

    def check(self) -> None:
        """Raises AssertionError unless everything went as the playbook says."""
        assert not self.failures, "\n".join(str(failure) or repr(failure) for failure in self.failures)
        if isinstance(self.script, str):
            assert self.played, f"nobody has played the playbook to its end; said so far: {self.commands}"

    def stop(self) -> None:
        """Close everything. May be called twice."""
        # close alone would leave the thread in accept, and with it the port open.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._accepting.join(5)
        for connection in self.connections:
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(5)
        for connection in self.connections:
            connection.socket.close()
        if self._place is not None:
            self._place.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if error is None:
            self.check()
