"""SSH hosts through which servers are reached.

Rule of this file: one SSH connection per host and process, kept up while somebody may want it, and a socket for each session over
it. The host's key is checked against a file or a fingerprint, always. Why a socket could not be had is a reason word, as for any server.
asyncssh is imported with this file, so the file is imported only where a server needs it.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Final

from portico.config.address import Address
from portico.config.sections.ssh import Ssh
from portico.config.ssh_library import asyncssh
from portico.config.units import SECONDS
from portico.upstream.carried import Far, open_way
from portico.upstream.dial import CannotCarry

FIRST_REST: Final = 1 * SECONDS
LAST_REST: Final = 30 * SECONDS
"""After a failure nobody tries again for so long, doubled each time; who asks meanwhile is told why at once."""
STOOD: Final = 30 * SECONDS
"""A connection that lasted so long, or that carried a session, was a good one: after it the first try comes at once."""
_GOODBYE: Final = 2 * SECONDS
_UNANSWERED: Final = 3
_CIPHERS: Final = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"
"""Before the others: where the processor has AES, chacha20-poly1305 costs a quarter more in all."""

Report = Callable[[str, dict[str, Any]], None]


class Carrier:
    """One SSH host. `start` keeps it connected; `carry` works without, too, and connects when asked.

    All inside one event loop. `names`: of the servers behind it, for the log.
    """

    def __init__(
        self,
        settings: Ssh,
        report: Report,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.names: list[str] = []
        self.ways = 0
        """Sessions that go over it now, or wait for it."""
        self._report = report
        self._sleep = sleep
        self._clock = clock
        self._connection: asyncssh.SSHClientConnection | None = None
        self._since = 0.0
        self._proved = False
        """A session has gone over the connection."""
        self._attempt: asyncio.Task[asyncssh.SSHClientConnection | CannotCarry] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._failure = CannotCarry("ssh_unreachable", "")
        self._rest = 0.0
        self._rests_until = clock()
        self._retired = False

    def __repr__(self) -> str:
        state = "connected" if self._connection is not None else "connecting" if self._attempt is not None else "not connected"
        return f"<Carrier {self.address} {state} {self.ways} ways>"

    @property
    def address(self) -> str:
        return str(Address(self.settings.host, self.settings.port))

    def start(self) -> None:
        """Connect, and connect again whenever the connection is lost."""
        self._retired = False
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name=f"ssh {self.address}")

    def retire(self) -> None:
        """No settings want it any more: it ends with its last session. One that is just being opened is still carried."""
        self._retired = True
        self._stop_keeping()
        self._close_if_left()

    async def stop(self) -> None:
        """End it, and all that goes over it."""
        self._retired = True
        self._stop_keeping()
        if self._attempt is not None:
            self._attempt.cancel()
            await asyncio.wait((self._attempt,))
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            try:
                async with asyncio.timeout(_GOODBYE):
                    await connection.wait_closed()
            except TimeoutError:
                connection.abort()

    def _stop_keeping(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    # -- a session's socket

    async def carry(self, where: Address) -> socket.socket:
        """A connected socket to `where`, as the host sees it. Raises CannotCarry. It does not end by itself: the caller has a clock."""
        again = True
        while True:
            self.ways += 1
            try:
                connection = self._connection or await self._connected()
            except BaseException:
                self._way_over()
                raise
            try:
                way = await open_way(partial(_open_channel, connection, where, self.settings.window), self._way_over)
                self._proved = True
                return way
            except asyncssh.ChannelOpenError as error:
                if self._connection is connection:
                    raise _not_opened(error) from error
                failure = CannotCarry("ssh_unreachable", "the connection to the SSH host was lost")
            except (asyncssh.Error, OSError) as error:
                failure = CannotCarry("ssh_protocol", _text(error))
            if not again:
                raise failure
            again = False  # nothing has been said to the server: a new connection serves as well

    def _way_over(self) -> None:
        self.ways -= 1
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._retired and not self.ways and self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    # -- the connection

    async def _connected(self) -> asyncssh.SSHClientConnection:
        """The connection, when it is there. All who wait share one try."""
        if self._attempt is None:
            if self._clock() < self._rests_until:
                raise CannotCarry(self._failure.reason, self._failure.detail)
            self._attempt = asyncio.create_task(self._try(), name=f"ssh to {self.address}")
        outcome = await asyncio.shield(self._attempt)
        if isinstance(outcome, CannotCarry):
            raise CannotCarry(outcome.reason, outcome.detail)
        return outcome

    async def _try(self) -> asyncssh.SSHClientConnection | CannotCarry:
        began = self._clock()
        watcher = _Watcher(self)
        try:
            async with asyncio.timeout(self.settings.connect):
                connection = await _connect(self.settings, watcher)
        except Exception as error:
            failure = self._failure = _why(error, watcher, self.settings)
            seconds = self._put_off()
            fields = {"address": self.address, "names": list(self.names), "reason": failure.reason, "detail": failure.detail}
            self._report("ssh.failed", {**fields, "seconds": seconds})
            return failure
        finally:
            self._attempt = None
        self._connection = watcher.connection = connection
        self._since, self._proved = self._clock(), False
        self._lost.clear()
        self._report("ssh.connected", {"address": self.address, "names": list(self.names), "seconds": round(self._since - began, 4)})
        self._close_if_left()  # who wanted it may be gone meanwhile
        return connection

    def _put_off(self) -> float:
        """Nobody tries for this long."""
        self._rest = min(max(self._rest * 2, FIRST_REST), LAST_REST)
        self._rests_until = self._clock() + self._rest
        return self._rest

    def ended(self, connection: asyncssh.SSHClientConnection, error: Exception | None) -> None:
        """The connection is gone, and with it the ways of all its sessions."""
        if connection is not self._connection:
            return  # it was closed by us
        self._connection = None
        self._failure = CannotCarry("ssh_unreachable", _text(error) if error is not None else "the SSH host closed the connection")
        if self._proved or self._clock() - self._since >= STOOD:
            self._rest, self._rests_until = 0.0, self._clock()
        else:
            self._put_off()
        self._lost.set()
        self._report(
            "ssh.lost", {"address": self.address, "names": list(self.names), "sessions": self.ways, "detail": self._failure.detail}
        )

    async def _keep(self) -> None:
        while True:
            if self._connection is not None:
                await self._lost.wait()
            left = self._rests_until - self._clock()
            if left > 0:
                await self._sleep(left)
            else:
                try:
                    await self._connected()
                except CannotCarry:
                    await self._sleep(0)


class Carriers:
    """All SSH hosts of one process, by their settings. It outlives a reload."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._carriers: list[Carrier] = []

    def of(self, settings: Ssh) -> Carrier:
        """The one with these settings, made when first asked for; it is not started."""
        for carrier in self._carriers:
            if carrier.settings == settings:
                return carrier
        carrier = Carrier(settings, self._report)
        self._carriers.append(carrier)
        return carrier

    def keep(self, wanted: Iterable[tuple[str, Ssh]]) -> None:
        """Start those that the servers of these names want, retire the others. What has not changed is not touched."""
        names: dict[int, list[str]] = {}
        for name, settings in wanted:
            names.setdefault(id(self.of(settings)), []).append(name)
        for carrier in self._carriers:
            carrier.names = names.get(id(carrier), carrier.names)
            if id(carrier) in names:
                carrier.start()
            else:
                carrier.retire()
        self._carriers = [carrier for carrier in self._carriers if id(carrier) in names or carrier.ways]

    async def stop(self) -> None:
        """End all of them."""
        carriers, self._carriers = self._carriers, []
        for carrier in carriers:
            await carrier.stop()


class _Watcher(asyncssh.SSHClient):
    """What asyncssh tells of one connection."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self.connection: asyncssh.SSHClientConnection | None = None
        """Once it is signed in."""
        self.shown = ""
        """The fingerprint of the key that the host showed and that is not known."""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Asked for a key that known_hosts does not have."""
        self.shown = key.get_fingerprint()
        return self.shown == self._carrier.settings.fingerprint

    def connection_lost(self, exc: Exception | None) -> None:
        if self.connection is not None:
            self._carrier.ended(self.connection, exc)


async def _connect(settings: Ssh, watcher: _Watcher) -> asyncssh.SSHClientConnection:
    """Connect and sign in; nothing but these settings has a say."""
    agent: asyncssh.SSHAgentClient | None = None
    try:
        if settings.agent is not None:
            agent = await asyncssh.connect_agent(settings.agent)
            keys: Any = await agent.get_keys()
        else:
            keys = asyncssh.load_keypairs(settings.key or "")
    except (OSError, ValueError, asyncssh.Error) as error:
        raise _NoKey(f"{settings.agent or settings.key}: {_text(error)}") from error
    try:
        if not keys:
            raise _NoKey(f"{settings.agent}: the agent has no key")
        return await asyncssh.connect(
            settings.host,
            settings.port,
            config=None,
            username=settings.user,
            client_keys=keys,
            agent_path=None,
            # An empty text would mean ~/.ssh/known_hosts; this means that no key is known, and the watcher is asked.
            known_hosts=settings.known_hosts if settings.known_hosts is not None else _nobody_known,
            client_factory=lambda: watcher,
            preferred_auth="publickey",
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_auth=False,
            gss_kex=False,
            x509_trusted_certs=None,
            disable_trivial_auth=True,
            encryption_algs=_CIPHERS,
            compression_algs=["none"],
            keepalive_interval=settings.keepalive,
            keepalive_count_max=_UNANSWERED,
        )
    finally:
        if agent is not None:
            agent.close()


def _nobody_known(host: str, addr: str, port: int | None) -> tuple[list[str], list[str], list[str]]:
    return [], [], []


class _NoKey(Exception):
    """The key file or the agent cannot be used."""


def _why(error: Exception, watcher: _Watcher, settings: Ssh) -> CannotCarry:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        shown = f"; it shows {watcher.shown}" if watcher.shown else ""
        where = "its fingerprint is another one" if settings.known_hosts is None else f"its key is not in {settings.known_hosts}"
        return CannotCarry("ssh_host_key", where + shown)
    if isinstance(error, _NoKey | asyncssh.PermissionDenied):
        return CannotCarry("ssh_auth", _text(error))
    if isinstance(error, TimeoutError):
        return CannotCarry("ssh_unreachable", f"no answer in {settings.connect:g} seconds")
    if isinstance(error, OSError | asyncssh.ConnectionLost):
        return CannotCarry("ssh_unreachable", _text(error))
    return CannotCarry("ssh_protocol", _text(error))


async def _open_channel(connection: asyncssh.SSHClientConnection, where: Address, window: int, far: Far) -> None:
    if where.path:
        await connection.create_unix_connection(lambda: far, where.path, window=window)  # type: ignore[arg-type,return-value]
    else:
        await connection.create_connection(lambda: far, where.host, where.port, window=window)


def _not_opened(error: asyncssh.ChannelOpenError) -> CannotCarry:
    """RFC 4254 5.1."""
    text = _text(error)
    if error.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return CannotCarry("ssh_forbidden", f"the SSH host does not forward: {text}")
    if error.code == asyncssh.OPEN_CONNECT_FAILED:
        return CannotCarry("refused" if "refused" in text.lower() else "unreachable", f"seen from the SSH host: {text}")
    return CannotCarry("ssh_protocol", text)


def _text(error: Exception) -> str:
    """One short line."""
    text = getattr(error, "strerror", None) or getattr(error, "reason", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())[:200]
