"""A relay in a thread of its own, with a Generation and sessions made for tests.

Rule of this file: the relay is the real one, on loopback; what it is asked to do is said by small sessions here, in clear steps.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import select
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from portico.relay.listener import Listener, bind
from portico.relay.loop import RelayLoop
from portico.relay.ports import Dialling, Session, Summary
from portico.relay.reactor import Reactor
from portico.relay.table import Sessions
from portico.session import decisions as do
from portico.session import events
from portico.session.close import Reason
from portico.session.context import Context, LoginAttempt, Peer, Refusal, Route, SessionView, Target
from portico.session.decisions import Decision, Ending
from portico.session.events import CLIENT, Event
from portico.session.interests import Compiled

PATIENCE = 60.0
"""Seconds in which what must come has come on the slowest machine. Only a test that fails waits so long."""


def judge(client: bytes, server: bytes) -> Ending:
    """As the IMAP one, in small."""
    whole = server.endswith(b"\r\n") and b" OK" in server.rsplit(b"\r\n", 2)[-2]
    if client.endswith(b"LOGOUT\r\n"):
        return Ending(Reason.LOGOUT, "client", whole, whole)
    return Ending(Reason.SERVER_BYE if b"* BYE" in server else Reason.SERVER_CLOSED, "server", whole, whole)


class Plain:
    """The base of the sessions here: connects when the client does, tells what it saw to `log`."""

    def __init__(self, context: Context, world: World) -> None:
        self.context = context
        self.view = SessionView(context.id, context.protocol, context.listener, context.peer)
        self.world = world
        world.born.append(self)

    def handle(self, event: Event) -> list[Decision]:
        self.world.log.append(event if not isinstance(event, events.BytesReceived) else ("bytes", event.leg, len(event.data)))
        return getattr(self, type(event).__name__)(event)

    def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
        if self.context.refusal is not None:
            return [do.SendToClient(b"* BYE refused\r\n"), do.Close(Reason.REFUSED, "portico")]
        return [do.SetPhase("login"), do.HoldClient(), do.SetPhase("connect", 0), do.Connect(0, self.world.target)]

    def ServerConnected(self, event: events.ServerConnected) -> list[Decision]:
        return [do.SetPhase("", 0), do.SetPhase("idle"), do.ReadClient()]

    def ServerFailed(self, event: events.ServerFailed) -> list[Decision]:
        return [do.SendToClient(b"* BYE " + event.reason.encode() + b"\r\n"), do.Close(Reason.SERVER_CLOSED, "server", event.detail)]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        return [do.SendToServer(0, event.data) if event.leg == CLIENT else do.SendToClient(event.data)]

    def TlsStarted(self, event: events.TlsStarted) -> list[Decision]:
        return []

    def Closed(self, event: events.Closed) -> list[Decision]:
        if event.leg == CLIENT:
            return [do.Close(Reason.CLIENT_CLOSED if event.clean else Reason.CLIENT_RESET, "client", event.detail)]
        return [do.Close(Reason.SERVER_CLOSED if event.clean else Reason.SERVER_RESET, "server", event.detail)]

    def TimedOut(self, event: events.TimedOut) -> list[Decision]:
        return [do.SendToClient(b"* BYE timeout\r\n"), do.Close(Reason.TIMEOUT_IDLE, "client", event.phase)]

    def Kicked(self, event: events.Kicked) -> list[Decision]:
        return [do.SendToClient(b"* BYE " + event.text.encode() + b"\r\n"), do.Close(Reason.KICKED, "operator")]

    def __getattr__(self, name: str) -> Any:
        if name[0].isupper():
            return lambda event: []
        raise AttributeError(name)


class Watching(Plain):
    """Stays in the middle: every octet is an event."""


class Tunnelling(Plain):
    """Detaches as soon as the server is there."""

    def ServerConnected(self, event: events.ServerConnected) -> list[Decision]:
        return [do.SetPhase("idle"), do.Tunnel(0, judge=judge, bye=b"* BYE %b\r\n")]


@dataclass
class World:
    """The Generation (relay.ports) of a test, and all that it was told."""

    target: Target
    way: Dialling
    session: Callable[[Context, World], Session] = Tunnelling
    tls: str = "none"
    protocol: Any = "imap"
    client_context: ssl.SSLContext | None = None
    timeouts: dict[str, float] = field(default_factory=dict)
    verdict: Callable[[LoginAttempt], Route | Refusal | Awaitable[Route | Refusal]] | None = None
    admission: Callable[[Session], Awaitable[None] | None] | None = None
    plugins: Callable[[], Compiled | Awaitable[Compiled | None] | None] | None = None
    log: list[Any] = field(default_factory=list)
    born: list[Any] = field(default_factory=list)
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    traces: list[tuple[str, bytes]] = field(default_factory=list)
    dials: list[tuple[str, str | None]] = field(default_factory=list)
    secures: list[tuple[str, str | None]] = field(default_factory=list)
    commands: list[tuple[str, str, float]] = field(default_factory=list)
    summaries: queue.Queue[Summary] = field(default_factory=queue.Queue)
    count: int = 0
    header: float | None = 0.0
    """What `entrance` says."""
    away: list[tuple[str, str]] = field(default_factory=list)

    def entrance(self, listener: str, peer: Peer) -> float | None:
        return self.header

    def turned_away(self, listener: str, peer: Peer, reason: str, detail: str) -> None:
        self.away.append((peer.rip, reason))

    def open_session(self, listener: str, peer: Peer) -> Session | None:
        self.count += 1
        context = Context(f"s{self.count}", self.protocol, listener, peer, SimpleNamespace(tls=self.tls))
        return self.session(context, self)

    def admit(self, session: Session) -> Awaitable[None] | None:
        return self.admission(session) if self.admission else None

    def client_tls(self, listener: str) -> ssl.SSLContext | None:
        return self.client_context

    def check_login(self, session: Session, attempt: LoginAttempt) -> Route | Refusal | Awaitable[Route | Refusal]:
        return self.verdict(attempt) if self.verdict else Route(self.target, attempt.user)

    def open_plugins(self, session: Session, view: SessionView) -> Compiled | Awaitable[Compiled | None] | None:
        return self.plugins() if self.plugins else None

    def commanded(self, session: Session, command: str, result: str, seconds: float) -> None:
        self.commands.append((command, result, seconds))

    def login_ended(self, session: Session, ok: bool, counts: bool) -> None:
        self.log.append(("login_ended", ok, counts))

    def dialling(self, target: Target) -> Dialling:
        return self.way

    def connected(self, target: Target, error: str | None, seconds: float) -> None:
        self.dials.append((target.name, error))

    def secured(self, target: Target, error: str | None) -> None:
        self.secures.append((target.name, error))

    def timeout(self, session: Session, phase: str) -> float:
        return self.timeouts.get(phase, PATIENCE)

    def record(self, session: Session | None, event: str, fields: dict[str, Any]) -> None:
        self.records.append((event, fields))

    def trace(self, session: Session, direction: str, data: bytes) -> None:
        self.traces.append((direction, data))

    def ended(self, session: Session, summary: Summary) -> None:
        self.summaries.put(summary)

    def end(self) -> Summary:
        """How the next session ended; waits for it."""
        return self.summaries.get(timeout=PATIENCE)


class Rig:
    """The relay's thread. Use as a context manager; `port` is where it listens."""

    def __init__(
        self,
        world: World,
        *,
        address: str = "127.0.0.1:0",
        interval: float = 0.05,
        loop: Callable[[], asyncio.AbstractEventLoop] = RelayLoop,
    ) -> None:
        self.world = world
        self._address = address
        self._interval = interval
        self._ready = threading.Event()
        self._loop_factory = loop
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Rig:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self.reactor = Reactor(self.loop, interval=self._interval)
        self.sessions = Sessions()
        self.listener = Listener(self.reactor, "test", bind(self._address), self.world, self.sessions)
        self.port = int(self.listener.addresses[0].rpartition(":")[2]) if "unix" not in self._address else 0
        self._ready.set()
        await self._stopped.wait()
        self.listener.close()
        for running in self.sessions:
            running.abort()
        self.reactor.close()

    def call(self, function: Callable[[], Any]) -> Any:
        """Run `function` on the relay's thread."""

        async def inside() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(PATIENCE)

    def wait(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def connect(self, context: ssl.SSLContext | None = None, **options: Any) -> socket.socket:
        """A client's connection, blocking, with a time-out."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            return context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False, **options)
        return sock


class Backend:
    """A server that plays `script(connection)` in a thread for each connection. `context`: TLS from the start."""

    def __init__(self, script: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2000)
        self.port = self._listener.getsockname()[1]
        self.faults: list[Exception] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
            self._script(sock)
        except Exception as error:
            self.faults.append(error)
        finally:
            sock.close()

    def __enter__(self) -> Backend:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def world(self, session: Callable[[Context, World], Session] = Tunnelling, **options: Any) -> World:
        """A World whose only server this is, reached in clear unless `dial` says otherwise."""
        mode = options.pop("mode", "none")
        dial = options.pop("dial", Dialling(f"127.0.0.1:{self.port}", None, None))
        return World(Target("backend", dial.address, mode, "backend"), dial, session, **options)


@contextmanager
def refusing() -> Iterator[str]:
    """An address that refuses and stays taken: bound, and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


def fill(sock: socket.socket, stopped: Callable[[], object], limit: int = 200 << 20) -> tuple[int, bytes]:
    """Send until nothing more is taken and `stopped()` says that this is meant: how many octets were taken, and their SHA-256."""
    digest, sent = hashlib.sha256(), 0
    chunk = os.urandom(1 << 16)
    sock.settimeout(0.5)
    while sent < limit:
        try:
            count = sock.send(chunk)
        except TimeoutError:
            if stopped():
                break
            continue
        digest.update(chunk[:count])
        sent += count
    sock.settimeout(PATIENCE)
    return sent, digest.digest()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """`count` octets, or fewer if the stream ends before."""
    parts = []
    while count:
        part = sock.recv(min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def read_all(sock: socket.socket) -> bytes:
    """Until the orderly end of the stream."""
    parts = []
    while part := sock.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def echo(sock: socket.socket) -> None:
    """Says everything back until the other half ends."""
    while data := sock.recv(1 << 16):
        sock.sendall(data)


class TlsClient:
    """A TLS client that shows what came: octets, close_notify, FIN; and can end its half. One thread, both ways at once."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, hostname: str = "localhost", *, hold: bool = False) -> None:
        """`hold`: the last flight of the handshake goes out with what is sent next."""
        self.sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=hostname)
        self.notified = False
        """close_notify has come."""
        self.fin = False
        self.received = bytearray()
        sock.settimeout(PATIENCE)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.flush()
                data = sock.recv(1 << 16)
                if not data:
                    raise ConnectionResetError("closed in the handshake") from None
                self._in.write(data)
        if not hold:
            self.flush()

    def flush(self) -> None:
        if self._out.pending:
            self.sock.sendall(self._out.read())

    def send(self, data: bytes) -> None:
        self.tls.write(data)
        self.flush()

    def close_notify(self) -> None:
        """End our half."""
        try:
            self.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLError):
            pass
        self.flush()

    def take(self, data: bytes) -> None:
        """What the socket gave."""
        if not data:
            self.fin = True
            return
        self._in.write(data)
        try:
            while not self.notified:
                part = self.tls.read(1 << 18)
                if not part:
                    self.notified = True
                self.received += part
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.notified = True
        self.flush()

    def read(self, count: int) -> bytes:
        """At least `count` octets in all, unless the stream ends before: the octets so far."""
        while len(self.received) < count and not self.notified and not self.fin:
            self.take(self.sock.recv(1 << 18))
        return bytes(self.received)

    def read_end(self) -> bytes:
        """All until the FIN."""
        while not self.fin:
            self.take(self.sock.recv(1 << 18))
        return bytes(self.received)

    def converse(self, data: bytes, cuts: Callable[[], int], expected: int, seconds: float = PATIENCE) -> bytes:
        """Send `data` in pieces of `cuts()` octets and read at the same time, until `expected` octets are here."""
        view = memoryview(data)
        pending = b""
        self.sock.setblocking(False)
        while len(self.received) < expected and not self.fin:
            if not pending and view:
                piece = cuts()
                self.tls.write(view[:piece])
                view = view[piece:]
                pending = self._out.read()
            readable, writable, _ = select.select([self.sock], [self.sock] if pending else [], [], seconds)
            assert readable or writable, "nothing moves"
            if writable:
                pending = pending[self.sock.send(pending) :]
            if readable:
                self.take(self.sock.recv(1 << 18))
        self.sock.settimeout(PATIENCE)
        return bytes(self.received)
