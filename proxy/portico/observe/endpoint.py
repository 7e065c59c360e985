"""The HTTP endpoint: /metrics, /healthz, /readyz.

Rule of this file: three questions are passed on and their answers written; aiohttp speaks HTTP. Imported only where the settings ask for
it. GET and HEAD only; nothing that a client of it says has any effect.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from aiohttp import web

import portico
from portico.errors import PorticoError
from portico.observe.exposition import exposition
from portico.observe.metrics import Samples

_LONGEST: Final = 8192
"""Octets of a request."""
_KEPT: Final = 75.0
"""Seconds that a connection is kept which says nothing."""
_END: Final = 1.0
"""Seconds for what is under way at the end."""
_PAGE: Final = "Portico\n\n/metrics\n/healthz\n/readyz\n"

Fault = Callable[[BaseException, str], None]


class Endpoint:
    """`scrape` and `ready` are asked anew for each request; what they raise is a 503 for who asked, and told to `fault` where it is no
    PorticoError."""

    def __init__(self, scrape: Callable[[], Awaitable[Samples]], ready: Callable[[], Awaitable[dict[str, Any]]], fault: Fault) -> None:
        self._scrape = scrape
        self._ready = ready
        self._fault = fault
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"<Endpoint {'open' if self._runner is not None else 'closed'}>"

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Answer on these sockets, which listen already. They stay the caller's to close."""
        app = web.Application(client_max_size=_LONGEST)
        app.add_routes(
            [web.get("/metrics", self._metrics), web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/", _index)]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=_KEPT, shutdown_timeout=_END)
        await self._runner.setup()
        for sock in sockets:
            sock.setblocking(False)
            await web.SockSite(self._runner, sock.dup()).start()

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            samples = await self._scrape()
        except Exception as error:
            return self._unable(error, "metrics")
        text, content_type = exposition(samples, request.headers.get("Accept", ""))
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok", "version": portico.__version__})

    async def _readyz(self, _: web.Request) -> web.Response:
        try:
            found = await self._ready()
        except Exception as error:
            return self._unable(error, "ready")
        return _json({"status": "ready" if found["ready"] else "not ready", **found}, 200 if found["ready"] else 503)

    def _unable(self, error: Exception, what: str) -> web.Response:
        if isinstance(error, PorticoError):
            return _json({"status": "not ready", "ready": False, "problems": [str(error)]}, 503)
        self._fault(error, what)
        return _json({"status": "not ready", "ready": False, "problems": ["A fault of Portico's; the log has it."]}, 503)


async def _index(_: web.Request) -> web.Response:
    return web.Response(text=_PAGE)


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(text=json.dumps(body, indent=1) + "\n", content_type="application/json", status=status)
