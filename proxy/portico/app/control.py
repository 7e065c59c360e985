"""The Control of one process: an operator's verb becomes a call of app.Proxy.

Rule of this file: each verb is a method `_do_<verb>` (an answer) or `_follow_<verb>` (many); arguments and answers are JSON values, those
that console.control says. What is found out for an operator is found out when he asks.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, Final

import portico
from portico.app.measures import health, measured
from portico.app.proxy import Proxy
from portico.app.said import program_of
from portico.app.tracing import Tap
from portico.config.load import read
from portico.config.show import as_toml
from portico.console.control import ControlError, Machines, of_machines
from portico.observe.health import Health, together
from portico.observe.log import LEVELS
from portico.observe.metrics import Samples
from portico.observe.process import Lag
from portico.plugin.loading import mistakes
from portico.relay.table import Running

KICKED: Final = "You have been disconnected by the operator."
_FILTERS: Final = ("user", "address", "server", "listener", "protocol")
_TOP: Final = 100
"""Users in `top`, of each process."""
_WHOM: Final = ("id", "user", "address", "server")


class LocalControl:
    """See console.control.Control. `drains`: ends the process after so many seconds at most (None: as the settings have it); without it
    `drain` is refused. `worker`: the number of the process."""

    def __init__(self, proxy: Proxy, *, drains: Callable[[float | None], Any] | None = None, worker: int = 0) -> None:
        self._proxy = proxy
        self._drains = drains
        self._worker = worker
        self._began = time.monotonic()
        self._lag: Lag | None = None
        self.machines: Machines | None = None

    def __repr__(self) -> str:
        return f"<LocalControl {self._proxy!r}>"

    async def ask(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        done = getattr(self, f"_do_{verb}", None)
        if done is None:
            raise ControlError(f"{verb}: nobody here knows this verb")
        answer = done(dict(arguments))
        return await answer if isawaitable(answer) else answer

    def follow(self, verb: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        done = getattr(self, f"_follow_{verb}", None)
        if done is None:
            raise ControlError(f"{verb}: cannot be followed")
        items: AsyncIterator[Any] = done(dict(arguments))
        return items

    # -- sessions

    def _do_who(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        idle = arguments.get("idle") or 0
        wanted = {name: arguments[name] for name in _FILTERS if arguments.get(name)}
        found = [entry for entry in map(self._entry, self._proxy.sessions) if entry["idle"] >= idle]
        return [entry for entry in found if all(_same(entry[_COLUMN.get(name, name)], value) for name, value in wanted.items())]

    def _entry(self, running: Running) -> dict[str, Any]:
        view, now = running.view, running.now()
        peer = view.peer
        return {
            "id": view.id,
            "worker": self._worker,
            "protocol": view.protocol,
            "listener": view.listener,
            "user": view.user,
            "rip": peer.rip,
            "rport": peer.rport,
            "server": view.server,
            "state": now.state,
            "seconds": round(now.seconds, 3),
            "idle": round(now.idle, 3),
            "bytes_in": now.bytes_in,
            "bytes_out": now.bytes_out,
            "client": program_of(view),
            "tls": peer.tls.version if peer.tls is not None else "",
        }

    def _do_show(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        found = self._proxy.sessions.find(id=_text(arguments, "id"))
        if not found:
            return None
        running = found[0]
        view, tls = running.view, running.view.peer.tls
        visit, current = self._proxy.visit(view.id)
        return self._entry(running) | {
            "lip": view.peer.lip,
            "lport": view.peer.lport,
            "method": view.mechanism,
            "address": visit.address if visit is not None else "",
            "cipher": tls.cipher if tls is not None else "",
            "sni": (tls.sni or "") if tls is not None else "",
            "resumed": tls is not None and tls.resumed,
            "capabilities": list(view.capabilities),
            "client_id": dict(view.client_id),
            "old_settings": not current,
            "trace": visit.trace.path if visit is not None and visit.trace is not None else "",
        }

    def _do_kick(self, arguments: dict[str, Any]) -> list[str]:
        whom = {name: arguments[name] for name in _WHOM if arguments.get(name)}
        if not whom and arguments.get("all") is not True:
            raise ControlError("whom to kick must be said: id, user, address, server or all")
        text = arguments.get("text") or KICKED
        found = [running for running in self._proxy.sessions if self._is(running, whom)]
        ids = [running.view.id for running in found]
        for running in found:
            running.kick(text)
        return ids

    @staticmethod
    def _is(running: Running, whom: Mapping[str, Any]) -> bool:
        view = running.view
        facts = {"id": view.id, "user": view.user, "address": view.peer.rip, "server": view.server}
        return all(_same(facts[name], value) for name, value in whom.items())

    async def _follow_trace(self, arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Lines: session, user, direction (C> from the client, <C to it, S> to the server and <S from it where it differs, --), text. Ends
        with the session where it is traced by its id."""
        user, name = arguments.get("user") or "", arguments.get("id") or ""
        if not (user or name):
            raise ControlError("whom to trace must be said: user or id")
        tap = Tap(user, name)
        tracing = self._proxy.tracing
        found = [running for running in self._proxy.sessions if tap.wants(running.view)]
        if not user and not found:
            raise ControlError(f"there is no session {name}")
        tracing.begin(tap)
        try:
            for running in found:
                running.trace(True)
            async for line in tracing.lines(tap):
                yield line
        finally:
            tracing.end(tap)
            for running in self._proxy.sessions:
                if tap.wants(running.view) and not tracing.wanted(running.view) and not self._proxy.filed(running.view):
                    running.trace(False)

    # -- holds

    async def _do_hold(self, arguments: dict[str, Any]) -> dict[str, Any]:
        user, seconds = _text(arguments, "user"), arguments.get("seconds")
        await _settled(self._proxy.commons.hold(user, seconds))
        return {"user": user, "seconds": seconds}

    async def _do_release(self, arguments: dict[str, Any]) -> bool:
        return bool(await _settled(self._proxy.commons.release(_text(arguments, "user"))))

    async def _do_holds(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return list(await _settled(self._proxy.commons.holds()))

    # -- servers

    def _do_servers(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        sessions = Counter((running.view.server, running.view.protocol) for running in self._proxy.sessions)
        generation = self._proxy.generation
        reported = generation.records.report(generation.server_records.values())
        return [{**each, "sessions": sessions[each["server"], each["protocol"]]} for each in reported]

    def _do_drain_server(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = self._server(arguments)
        self._proxy.generation.records.drain(name)
        return {"server": name}

    def _do_undrain_server(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = self._server(arguments)
        self._proxy.generation.records.undrain(name)
        return {"server": name}

    def _server(self, arguments: dict[str, Any]) -> str:
        name = _text(arguments, "server")
        if name not in self._proxy.settings.servers:
            raise ControlError(f"there is no server {name}; there are {', '.join(self._proxy.settings.servers)}")
        return name

    # -- the proxy

    def _do_plugins(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        host = self._proxy.generation.host
        return [
            {
                "plugin": loaded.name,
                "version": loaded.version,
                "listeners": [name for name, active in host.options.items() if loaded.name in active],
                "hooks": list(loaded.hooks),
                "interests": list(loaded.interests),
            }
            for loaded in host.loaded
        ]

    def _do_plugin_commands(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        found = self._proxy.generation.host.commands
        return [{"name": name, "plugin": plugin, "help": each.help, "role": each.role} for name, (plugin, each) in found.items()]

    async def _do_plugin_run(self, arguments: dict[str, Any]) -> list[Any]:
        """What the command answers in this process; it is run by those who have its role, which the console sees to."""
        name, host = _text(arguments, "name"), self._proxy.generation.host
        if name not in host.commands:
            raise ControlError(f"there is no command {name}")
        answer = await host.run_command(name, [str(word) for word in arguments.get("arguments", ())])
        try:
            json.dumps(answer)
        except (TypeError, ValueError):
            raise ControlError(f"{name} has answered what cannot be shown") from None
        return [answer]

    def _do_settings(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"path": str(self._proxy.path) if self._proxy.path is not None else "", "text": as_toml(self._proxy.settings)}

    async def _do_reload(self, _: dict[str, Any]) -> dict[str, Any]:
        path = self._proxy.path
        if path is None:
            raise ControlError("these settings came from no file")
        problems: list[str] = []
        if not await self._proxy.reload(partial(read, further=mistakes), problems):
            raise ControlError("the settings have mistakes; those that hold stay", problems)
        return {"path": str(path), "sessions": len(self._proxy.sessions)}

    def _do_drain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._drains is None:
            raise ControlError("this process cannot be ended from here")
        self._drains(arguments.get("seconds"))
        return {"sessions": len(self._proxy.sessions)}

    def _do_log_level(self, arguments: dict[str, Any]) -> dict[str, Any]:
        before, level = self._proxy.log.level, arguments.get("level")
        if level is not None:
            if level not in LEVELS:
                raise ControlError(f"the level is one of {', '.join(LEVELS)}")
            self._proxy.log.set_level(level)
        return {"level": level or before, "before": before}

    async def _do_machines(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return await of_machines(self.machines, arguments)

    def _do_certs(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return self._proxy.certificates()

    async def _do_metrics(self, _: dict[str, Any]) -> Samples:
        """From the first time on, how late the loop is is looked at, too."""
        if self._lag is None:
            self._lag = Lag(asyncio.get_running_loop())
        return measured(self._proxy, str(self._worker), self._lag)

    async def _do_ready(self, _: dict[str, Any]) -> Health:
        return together([health(self._proxy)])

    def _do_top(self, _: dict[str, Any]) -> dict[str, Any]:
        """`stats`, with the users of most sessions, and the last slow commands."""
        users: dict[str, dict[str, int]] = {}
        for running in self._proxy.sessions:
            if user := running.view.user:
                now = running.now()
                of_user = users.setdefault(user, {"sessions": 0, "bytes_in": 0, "bytes_out": 0})
                of_user["sessions"] += 1
                of_user["bytes_in"] += now.bytes_in
                of_user["bytes_out"] += now.bytes_out
        most = sorted(users, key=lambda user: -users[user]["sessions"])[:_TOP]
        return {**self._do_stats({}), "users": {user: users[user] for user in most}, "slow": list(self._proxy.tally.slow)}

    def _do_stats(self, _: dict[str, Any]) -> dict[str, Any]:
        """Counters since the process began, and how many there are now. `bytes_in`, `bytes_out`: of all sessions, running ones too."""
        nows = [(running.view, running.now()) for running in self._proxy.sessions]
        states = Counter(now.state for _, now in nows)
        tally = self._proxy.tally
        return {
            "version": portico.__version__,
            "seconds": round(time.monotonic() - self._began, 3),
            "workers": 1,
            "pids": {str(self._worker): os.getpid()},
            "sessions": len(nows),
            "states": {state: states[state] for state in ("login", "tunnel", "watch", "closing")},
            "protocols": {name: sum(view.protocol == name for view, _ in nows) for name in ("imap", "pop3")},
            "listeners": dict(Counter(view.listener for view, _ in nows)),
            "servers": dict(Counter(view.server for view, _ in nows if view.server)),
            "connections": tally.connections,
            "logins": tally.logins,
            "failed_logins": tally.failed_logins,
            "closed": tally.closed,
            "bytes_in": tally.bytes_in + sum(now.bytes_in for _, now in nows),
            "bytes_out": tally.bytes_out + sum(now.bytes_out for _, now in nows),
            "reasons": dict(tally.reasons),
            "log_lines_dropped": self._proxy.log.dropped,
        }


_COLUMN: Final = {"address": "rip"}


def _same(found: str, wanted: Any) -> bool:
    """Names differing in case only are one user, as for the limits; `*` and `?` are not patterns here."""
    return found.casefold() == str(wanted).casefold()


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise ControlError(f"{name} must be said")
    return value


async def _settled(said: Any) -> Any:
    return await said if isinstance(said, Awaitable) else said
