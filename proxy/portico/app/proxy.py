"""A whole proxy: from settings to open listeners, through reloads, to the last session.

Rule of this file: it starts and stops what the other rooms made, in the right order, inside a running event loop. Several proxies can
live in one process.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import portico
from portico.app.build import Shared, build_generation, shown_to_servers, unverified, waits_for_server
from portico.app.commons import commons_of, give_back
from portico.app.generation import Generation
from portico.app.tally import Tally
from portico.app.tracing import Tracing
from portico.app.visit import Visit
from portico.config.address import parse_address
from portico.config.load import Loaded
from portico.config.settings import Portico, Server
from portico.config.units import SECONDS
from portico.errors import PluginError, PorticoError, Secret, SettingsError
from portico.gate.commons import Commons
from portico.observe.log import Log
from portico.observe.metrics import Counts
from portico.relay.listener import Listener, Turnstile, bind
from portico.relay.ports import Dialling
from portico.relay.reactor import Reactor
from portico.relay.spread import Share
from portico.relay.table import Sessions
from portico.session.context import ServerFacts, SessionView
from portico.tls.material import Known
from portico.tls.tickets import Tickets
from portico.tls.watch import Watch
from portico.upstream.probe import probe
from portico.upstream.prober import Ask, Prober
from portico.upstream.records import ServerRecord

GOODBYE: Final = "The mail proxy is shutting down."
DRAIN: Final = 10 * SECONDS
"""How long sessions are given to end."""
PROBE: Final = 5 * SECONDS

Sockets = list[tuple[str, list[socket.socket]]]
"""Each address as the settings have it, with its sockets. Several may be the same, where the system chooses the port."""


class CannotStart(PorticoError):
    """`reason`: settings, address or plugin. `problems`: one finished line each."""

    def __init__(self, reason: str, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.reason = reason
        self.problems = problems


@dataclass(slots=True)
class Prepared:
    """New settings that can be used, and everything made from them; nobody uses it yet."""

    loaded: Loaded
    generation: Generation
    added: Sockets


@dataclass(slots=True)
class _Open:
    """A listener and what it was opened with."""

    listener: Listener
    addresses: list[str]
    sockets: Sockets


class Proxy:
    """Made by `build`; `start`, then any number of `reload`, then `stop`, all in one event loop.

    `share`: it is one of several processes that have the same sockets (portico.workers). These are then given to it, and whoever gives
    them tells the log of them, of reloads and of the end.
    """

    def __init__(
        self,
        settings: Portico,
        path: Path | None,
        shared: Shared,
        generation: Generation,
        plugins: Mapping[str, object] | None = None,
        share: Share | None = None,
    ) -> None:
        self.settings = settings
        self._plugins = plugins
        self.path = Path(path) if path is not None else None
        self.sessions = Sessions()
        self._shared = shared
        self._generation = generation
        self._retired: list[Generation] = []
        """Of earlier readings of the settings; each still has sessions."""
        self._farewells: set[asyncio.Task[None]] = set()
        """Plugins of such are being told that it is over."""
        self._reactor: Reactor | None = None
        self._prober: Prober | None = None
        self._watch: Watch | None = None
        self._shown: list[tuple[dict[str, Any], Known]] = []
        """Certificates that servers see."""
        self._warned: dict[tuple[str, str, str], float] = {}
        """Of certificates that end soon."""
        self._open: dict[str, _Open] = {}
        self._share = share
        self._turnstile: Turnstile | None = None
        self.stopping = False

    def __repr__(self) -> str:
        return f"<Proxy {' '.join(self._open) or 'closed'} {len(self.sessions)} sessions>"

    @property
    def log(self) -> Log:
        return self._shared.log

    @property
    def metrics(self) -> Counts:
        return self._shared.metrics

    @property
    def generation(self) -> Generation:
        """The one that new sessions get."""
        return self._generation

    @property
    def commons(self) -> Commons:
        return self._shared.commons

    @property
    def tally(self) -> Tally:
        return self._shared.tally

    @property
    def tracing(self) -> Tracing:
        return self._shared.tracing

    def visit(self, session_id: str) -> tuple[Visit | None, bool]:
        """What is remembered of a running session, and whether the settings that it began with still hold."""
        for generation in (self._generation, *self._retired):
            if session_id in generation.visits:
                return generation.visits[session_id], generation is self._generation
        return None, False

    def filed(self, view: SessionView) -> bool:
        """The protocol text of a running session goes to a file."""
        for generation in (self._generation, *self._retired):
            if view.id in generation.visits:
                return generation.filed(view)
        return False

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Where each listener listens, with the ports that the system chose."""
        return {name: opened.listener.addresses for name, opened in self._open.items()}

    # -- start

    async def start(self) -> None:
        """Bind everything, then ask the servers, then accept. Raises CannotStart, and then nothing is left open."""
        self.accept(await self.make_ready())

    async def make_ready(self, given: Mapping[str, Sockets] | None = None) -> Mapping[str, Sockets]:
        """All of `start` but to accept: returns what `accept` wants. `given`: what is bound already, by listener."""
        loop = asyncio.get_running_loop()
        self._reactor = Reactor(loop)
        if self._share is not None:
            self._turnstile = Turnstile(loop, self._share, self.sessions)
        problems: list[str] = []
        sockets = (
            dict(given)
            if given is not None
            else {name: _bind_all(name, listener.addresses, problems) for name, listener in self.settings.listeners.items()}
        )
        try:
            if problems:
                raise CannotStart("address", problems)
            await self._generation.host.started()
        except (CannotStart, PluginError) as error:
            for of_one in sockets.values():
                _close_all(of_one)
            self._reactor.close()
            if isinstance(error, PluginError):
                raise CannotStart("plugin", [str(error)]) from error
            raise
        await self._ask_servers()
        await self._watch_certificates()
        return sockets

    def accept(self, sockets: Mapping[str, Sockets]) -> None:
        """Let clients in from now on."""
        for name, of_one in sockets.items():
            self._accept(name, of_one)
        addresses = [address for each in self.addresses.values() for address in each]
        if self._share is None:
            self.log.event(
                "proxy.started",
                {"version": portico.__version__, "pid": os.getpid(), "addresses": addresses, "plugins": list(self._generation.host.names)},
            )

    def _accept(self, name: str, sockets: Sockets) -> None:
        assert self._reactor is not None
        flat = [sock for _, of_one in sockets for sock in of_one]
        listener = Listener(self._reactor, name, flat, self._generation, self.sessions, self._turnstile)
        self._open[name] = _Open(listener, [address for address, _ in sockets], sockets)
        if self._share is not None:
            return
        protocol = self._generation.settings.listeners[name].protocol
        for address in listener.addresses:
            self.log.event("listener.opened", {"listener": name, "protocol": protocol, "address": address})

    async def _ask_servers(self) -> None:
        """Begin to ask those servers that may be asked; wait only for those that a listener cannot do without."""
        generation = self._generation
        self._shared.reach(generation.settings.servers)
        self._shared.records.adopt(generation.settings.health, generation.server_records.values())
        for fields in unverified(generation.settings):
            self.log.event("server.unverified", fields)
        self._prober = Prober(self._shared.records, self.log.event, asyncio.sleep, generation.settings.health.interval)
        for key, record in generation.server_records.items():
            if generation.settings.servers[record.target.name].probe:
                self._prober.add(record, _asking(record, generation.diallings[key], generation.settings.servers[record.target.name]))
        needed = [
            generation.server_records[desk.way.known.server]
            for desk in generation.desks.values()
            if desk.way.known is not None and waits_for_server(desk.settings)
        ]
        await self._prober.start(needed)

    # -- certificates

    async def _watch_certificates(self) -> None:
        """Look after those that new sessions get from now on."""
        if self._watch is not None:
            await self._watch.stop()
        self._shown = shown_to_servers(self.settings)
        generation, tls = self._generation, self.settings.tls
        tells = self._share is None or self._share.number == 0
        stores = generation.certificates
        self._watch = Watch(
            stores,
            self.log.event,
            every=tls.check,
            warn=tls.expiry_warning,
            others=self._shown,
            tells=tells,
            warned=self._warned,
        )
        wanted = self._share is not None or tls.ticket_secret is not None
        if tells and wanted and not all(store.shared for store in stores.values()):
            self.log.event(
                "settings.warning", {"text": "the keys of session tickets cannot be set in this Python: each process has its own"}
            )
        self._watch.start()

    def certificates(self) -> list[dict[str, Any]]:
        """Those in use, in plain values (tls.material.Known.as_fields), with the listener or server that they are of."""
        now = datetime.datetime.now(datetime.UTC)
        of_listeners = [
            {"listener": name, **known.as_fields(now)}
            for name, store in self._generation.certificates.items()
            for known in store.loaded.known
        ]
        return of_listeners + [{**where, **known.as_fields(now)} for where, known in self._shown]

    # -- reload

    async def reload(self, read: Callable[[Path], Loaded], problems: list[str] | None = None) -> bool:
        """Read the settings file again. What is wrong with it is logged (and added to `problems`), and everything stays as it is.

        Running sessions keep what they began with. Listeners that are new are opened, those that are gone are closed,
        and addresses that stay are never closed in between.
        """
        path = self.path
        if path is None:
            return False
        try:
            prepared = await self.prepare(read(path))
        except (SettingsError, PluginError, OSError) as error:
            found = error.problems if isinstance(error, SettingsError) else [str(error)]
            self.log.event("settings.rejected", {"path": str(path), "problems": found})
            if problems is not None:
                problems += found
            return False
        for warning in prepared.loaded.warnings:
            self.log.event("settings.warning", {"text": warning})
        await self.commit(prepared)
        self.log.event("settings.reloaded", {"path": str(path), "sessions": len(self.sessions)})
        return True

    async def prepare(self, loaded: Loaded, given: Sockets | None = None) -> Prepared:
        """Make everything that new settings need; nothing changes before `commit`, and `discard` takes it back.

        `given`: sockets of addresses that are new, which are closed if it fails. Raises SettingsError, PluginError, OSError.
        """
        added = given if given is not None else []
        try:
            settings = loaded.settings
            generation = build_generation(settings, self._shared, directory=self._directory, plugins=self._plugins)
            if given is None:
                problems: list[str] = []
                kept = Counter(address for opened in self._open.values() for address in opened.addresses)
                for name, listener in settings.listeners.items():
                    wanted = Counter(listener.addresses)
                    added += _bind_all(name, list((wanted - kept).elements()), problems)
                    kept -= wanted
                if problems:
                    raise SettingsError(problems)
            await generation.host.started()
            try:
                self.log.check(settings.log.file)
            except OSError:
                await generation.host.stopping()
                raise
        except BaseException:
            _close_all(added)
            raise
        return Prepared(loaded, generation, added)

    async def discard(self, prepared: Prepared) -> None:
        """Nothing comes of it."""
        _close_all(prepared.added)
        await prepared.generation.host.stopping()

    async def commit(self, prepared: Prepared) -> None:
        """What was prepared holds from now on."""
        settings = prepared.loaded.settings
        old, self._generation, self.settings = self._generation, prepared.generation, settings
        with suppress(OSError):  # it was there a moment ago
            self.log.adopt(level=settings.log.level, format=settings.log.format, file=settings.log.file, names=settings.log.names)
        self._swap_listeners(prepared.added)
        await self._shared.keep_lookups(settings)
        await self._renew_prober()
        await self._watch_certificates()
        await self._retire(old)

    @property
    def _directory(self) -> Path | None:
        return self.path.absolute().parent if self.path is not None else None

    def _swap_listeners(self, added: Sockets) -> None:
        """Give each address to the listener that now has it. A socket that stays is never closed."""
        listeners = self.settings.listeners
        pool: dict[str, list[tuple[str, list[socket.socket]]]] = {}
        for address, sockets in added:
            pool.setdefault(address, []).append(("", sockets))
        for name, opened in list(self._open.items()):
            wanted = listeners.get(name)
            if wanted is not None and wanted.addresses == opened.addresses:
                opened.listener.generation = self._generation
                continue
            opened.listener.let_go()
            for address, sockets in opened.sockets:
                pool.setdefault(address, []).append((name, sockets))
            del self._open[name]
        for name, listener in listeners.items():
            if name not in self._open:
                self._accept(name, [(address, pool[address].pop()[1]) for address in listener.addresses])
        for address, left in pool.items():
            for name, sockets in left:
                _close_all([(address, sockets)])
                if self._share is not None:
                    continue
                where = parse_address(address, any_port=True)
                if where.path:
                    with suppress(OSError):
                        Path(where.path).unlink()
                self.log.event("listener.closed", {"listener": name, "address": address})

    async def _renew_prober(self) -> None:
        if self._prober is not None:
            await self._prober.stop()
        await self._ask_servers()

    async def _retire(self, old: Generation) -> None:
        """Tell the plugins of a generation that gets no new sessions that it is over, as soon as none is left."""
        if not old.visits:
            await old.host.stopping()
            return
        self._retired.append(old)
        old.over = partial(self._over, old)

    def _over(self, old: Generation) -> None:
        self._retired.remove(old)
        task = asyncio.create_task(old.host.stopping())
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    # -- stop

    async def stop(self, *, text: str = GOODBYE, seconds: float = DRAIN, spread: float = 0.0, signal: str = "") -> int:
        """Accept nothing more, tell the sessions to end, wait for them at most `seconds`, end the rest. May be called once.

        `spread`: idle sessions are told one after the other for so long. Returns how many sessions had to be ended.
        """
        began, self.stopping = time.monotonic(), True
        said = {"sessions": len(self.sessions)} | ({"signal": signal} if signal else {})
        if self._share is None:
            self.log.event("proxy.stopping", said)
        for opened in self._open.values():
            opened.listener.close(unlink=self._share is None)
        self._open.clear()
        if self._share is not None:
            self._share.leave()
        cut = await self.sessions.stop(text, seconds, spread)
        if self._watch is not None:
            await self._watch.stop()
        if self._prober is not None:
            await self._prober.stop()
        for generation in [*self._retired, self._generation]:
            await generation.host.stopping()
        self._retired.clear()
        if self._farewells:
            await asyncio.wait(self._farewells)
        if self._reactor is not None:
            self._reactor.close()
        await self._shared.leave()
        if self._share is None:
            await give_back(self.commons)
        self._shared.close()
        if self._share is None:
            self.log.event("proxy.stopped", {"seconds": round(time.monotonic() - began, 3), "sessions": cut})
        return cut

    def beat(self) -> None:
        """Of several processes: say that we live, and look whether somebody waits."""
        if self._share is not None and self._turnstile is not None:
            self._share.beat(len(self.sessions))
            self._turnstile.look()

    def abort(self) -> None:
        """End all sessions now, with a word where one may stand."""
        self.sessions.end(GOODBYE)

    def kick(self, text: str, *, id: str = "", user: str = "", address: str = "") -> list[str]:
        """End the sessions that all given words hold for; returns their ids. See relay.table.Sessions.kick."""
        return self.sessions.kick(text, id=id, user=user, address=address)


def build(
    settings: Portico,
    path: Path | None = None,
    *,
    log: Log | None = None,
    plugins: Mapping[str, object] | None = None,
    share: Share | None = None,
    ledger: str | None = None,
    ticket_secret: Secret | None = None,
    commons: Commons | None = None,
) -> Proxy:
    """A proxy that has opened nothing yet. `plugins`: some that are not installed, by name. `share`: see Proxy. `ledger`: the file in
    which annotations are remembered where the settings name none. `ticket_secret`: processes that have the same one resume each other's
    TLS sessions. `commons`: what they know together; None: its own. Raises SettingsError."""
    if log is None:
        log = Log()
        log.adopt(level=settings.log.level, format=settings.log.format, file=settings.log.file, names=settings.log.names)
    shared = Shared(log, ledger_file=ledger, ticket_secret=ticket_secret or Tickets().secret)
    shared.commons = commons if commons is not None else commons_of(settings, log)
    directory = Path(path).absolute().parent if path is not None else None
    return Proxy(settings, path, shared, build_generation(settings, shared, directory=directory, plugins=plugins), plugins, share)


def _bind_all(name: str, addresses: list[str], problems: list[str]) -> Sockets:
    """Bind what can be bound; say what cannot."""
    bound: Sockets = []
    for address in addresses:
        try:
            bound.append((address, bind(address)))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            problems.append(f"listener {name}: {address}: {why}")
    return bound


def _close_all(sockets: Sockets) -> None:
    for _, of_one in sockets:
        for sock in of_one:
            sock.close()


def _asking(record: ServerRecord, dialling: Dialling, server: Server) -> Ask:
    test_login = (server.test_user, server.test_password) if server.test_user is not None and server.test_password is not None else None

    async def ask() -> ServerFacts:
        return await probe(
            record.protocol,
            dialling.address,
            record.target.tls,
            dialling.context,
            server_hostname=dialling.server_hostname,
            fingerprint=dialling.fingerprint,
            carry=dialling.carry,
            proxy_protocol=dialling.proxy_protocol,
            test_login=test_login,
            timeout=PROBE,
        )

    return ask
