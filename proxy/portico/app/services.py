"""What the supervisor offers besides mail: console, ctl socket, metrics.

Rule of this file: started when the workers could serve and before they do, told of new settings, ended before the workers are; each is
made here from the settings and a Control. A fault in one of them costs no session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from portico.app.console_service import ConsoleService
from portico.app.metrics_service import MetricsService
from portico.config.settings import Portico
from portico.console.control import Control
from portico.observe.log import Log
from portico.workers.doors import Doors


class Service(Protocol):
    async def start(self, settings: Portico) -> None:
        """Raises OSError or SettingsError if it cannot; then Portico does not start."""
        ...

    async def adopt(self, settings: Portico) -> None:
        """The settings have been reloaded."""
        ...

    async def stop(self) -> None: ...


Make = Callable[[Control, Doors, Log], Service]
"""Sockets are opened by Doors, so that the service manager, or the process before us, may have left them."""

SERVICES: tuple[Make, ...] = (MetricsService, ConsoleService)
"""In the order in which they start; each is imported only when the settings ask for it."""


class Services:
    """All of them."""

    def __init__(self, control: Control, doors: Doors, log: Log, makes: tuple[Make, ...] = SERVICES) -> None:
        self._log = log
        self._all = [make(control, doors, log) for make in makes]

    async def start(self, settings: Portico) -> None:
        for service in self._all:
            await service.start(settings)

    async def adopt(self, settings: Portico) -> None:
        for service in self._all:
            await self._safely(service.adopt(settings), "reload")

    async def stop(self) -> None:
        for service in reversed(self._all):
            await self._safely(service.stop(), "stop")

    async def _safely(self, work: Awaitable[None], detail: str) -> None:
        try:
            await work
        except Exception as error:
            self._log.event("proxy.bug", {"error": error, "detail": detail})
