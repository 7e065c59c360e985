"""A worker process: one Proxy that does what the supervisor says over its control socket.

Rule of this file: words of the supervisor in, calls of app.Proxy out. It reads no settings file and binds nothing; when the supervisor is
not there any more, it lets its sessions end and ends too.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from portico.app.control import LocalControl
from portico.app.proxy import CannotStart, Prepared, Proxy, Sockets, build
from portico.config.document import parse_document
from portico.config.load import Loaded, understand
from portico.config.settings import Portico
from portico.console.control import ControlError
from portico.errors import PluginError, PorticoError, Secret, SettingsError
from portico.gate.commons import RemoteCommons
from portico.observe.log import Log
from portico.relay.loop import RelayLoop
from portico.relay.reactor import settle_memory
from portico.relay.spread import BEAT, Shares
from portico.workers.link import OURS, Link, Refused


def work(settings: Portico, shares: Shares, number: int, control: socket.socket) -> int:
    """Be worker `number` until the supervisor lets go; the exit code. `settings`: those that hold where it names no others."""
    with asyncio.Runner(loop_factory=RelayLoop) as runner:
        return runner.run(Worker(settings, shares, number).run(control))


class Worker:
    """See `work`."""

    def __init__(self, settings: Portico, shares: Shares, number: int) -> None:
        self._inherited = settings
        self._number = number
        self._share = shares.of(number)
        self._log = Log(worker=number)
        self._link: Link | None = None
        self._proxy: Proxy | None = None
        self._control: LocalControl | None = None
        self._ready: Mapping[str, Sockets] = {}
        """What we listen on when the supervisor says so."""
        self._prepared: Prepared | None = None
        self._drained = False

    @property
    def proxy(self) -> Proxy:
        if self._proxy is None:
            raise Refused("not started")
        return self._proxy

    @property
    def control(self) -> LocalControl:
        if self._control is None:
            raise Refused("not started")
        return self._control

    async def run(self, control: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        sys.unraisablehook = self._unraisable
        loop.set_exception_handler(lambda _, context: self._fault(context.get("exception") or "asyncio", str(context.get("message", ""))))
        self._link = link = Link(control, self._answer, self._follow)
        link.on_fault = self._fault
        await link.gone
        if self._proxy is not None and not self._drained:
            workers = self._proxy.settings.workers
            await self._proxy.stop(seconds=workers.drain, spread=workers.drain_spread)
        self._log.close()
        return 0

    def _unraisable(self, raised: sys.UnraisableHookArgs) -> None:
        """Python would print it, past the log."""
        # The ssl module says so of a name (SNI) that is not ASCII. The handshake fails and is told; nobody may fill the log with it.
        if not isinstance(raised.exc_value, UnicodeDecodeError):
            self._fault(raised.exc_value or "unraisable", raised.err_msg or "")

    def _fault(self, error: BaseException | str, detail: str) -> None:
        self._log.event("proxy.bug", {"error": error, "detail": detail})

    async def _answer(self, verb: str, arguments: dict[str, Any], sockets: list[socket.socket]) -> Any:
        if verb.startswith(OURS):
            return await getattr(self, f"_do_{verb.removeprefix(OURS)}")(arguments, iter(sockets))
        return await self.control.ask(verb, arguments)

    def _follow(self, verb: str, arguments: dict[str, Any]) -> AsyncIterator[Any]:
        return self.control.follow(verb, arguments)

    # -- what only the supervisor says

    async def _do_start(self, arguments: dict[str, Any], sockets: Iterator[socket.socket]) -> dict[str, Any]:
        path = Path(arguments["path"]) if arguments["path"] is not None else None
        try:
            settings = self._loaded(arguments).settings
            self._log.adopt(level=settings.log.level, format=settings.log.format, file=settings.log.file, names=settings.log.names)
            secret = Secret(bytes.fromhex(arguments["ticket_secret"]))
            self._proxy = proxy = build(
                settings,
                path,
                log=self._log,
                share=self._share,
                ledger=arguments["ledger"],
                ticket_secret=secret,
                commons=self._commons(),
            )
            self._control = LocalControl(proxy, worker=self._number)
            for verb, said in arguments["told"]:
                with suppress(ControlError):  # about a server that the settings do not have any more
                    await self._control.ask(verb, said)
            given = {name: _sockets(addresses, sockets) for name, addresses in arguments["listening"].items()}
            self._ready = await proxy.make_ready(given)
        except (PorticoError, OSError) as error:
            self._proxy = None
            raise _refused(error) from None
        settle_memory()
        return {"pid": os.getpid(), "plugins": list(proxy.generation.host.names)}

    async def _do_accept(self, _: dict[str, Any], __: Iterator[socket.socket]) -> None:
        ready, self._ready = self._ready, {}
        self.proxy.accept(ready)
        self._beat()

    async def _do_prepare(self, arguments: dict[str, Any], sockets: Iterator[socket.socket]) -> None:
        await self._do_discard({}, iter(()))
        added = _sockets(arguments["added"], sockets)
        try:
            self._prepared = await self.proxy.prepare(self._loaded(arguments), added)
        except (PorticoError, OSError) as error:
            raise _refused(error) from None

    async def _do_discard(self, _: dict[str, Any], __: Iterator[socket.socket]) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await self.proxy.discard(prepared)

    async def _do_commit(self, _: dict[str, Any], __: Iterator[socket.socket]) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            raise Refused("nothing is prepared")
        await self.proxy.commit(prepared)
        del prepared
        # Settings' models are classes, which only the collector frees, a mebibyte of them; by itself it would come after ten reloads.
        gc.collect()

    async def _do_drain(self, arguments: dict[str, Any], _: Iterator[socket.socket]) -> dict[str, Any]:
        self._drained = True
        cut = await self.proxy.stop(seconds=arguments["seconds"], spread=arguments["spread"])
        return {"cut": cut}

    async def _do_reopen_log(self, _: dict[str, Any], __: Iterator[socket.socket]) -> None:
        settings = self.proxy.settings.log
        with suppress(OSError):
            self._log.adopt(level=self._log.level, format=settings.format, file=settings.file, names=settings.names)

    async def _do_abort(self, _: dict[str, Any], __: Iterator[socket.socket]) -> None:
        self.proxy.abort()

    def _loaded(self, arguments: dict[str, Any]) -> Loaded:
        text = arguments["text"]
        if text is None:
            return Loaded(self._inherited, [], parse_document("", ""))
        # What plugins say of their options was asked by the supervisor; here they get them.
        return understand(parse_document(arguments["path"], text), Path(arguments["directory"]))

    def _commons(self) -> RemoteCommons:
        assert self._link is not None
        return RemoteCommons(self._link.ask, self._link.tell, lambda text: self._log.event("commons.unavailable", {"text": text}))

    def _beat(self) -> None:
        if not self._drained:
            self.proxy.beat()
            asyncio.get_running_loop().call_later(BEAT, self._beat)


def _sockets(addresses: list[tuple[str, int]], sockets: Iterator[socket.socket]) -> Sockets:
    return [(address, [next(sockets) for _ in range(count)]) for address, count in addresses]


def _refused(error: Exception) -> Refused:
    if isinstance(error, SettingsError):
        return Refused(str(error), {"reason": "settings", "problems": error.problems})
    if isinstance(error, CannotStart):
        return Refused(str(error), {"reason": error.reason, "problems": error.problems})
    reason = "plugin" if isinstance(error, PluginError) else "settings"
    return Refused(str(error), {"reason": reason, "problems": [str(error)]})
