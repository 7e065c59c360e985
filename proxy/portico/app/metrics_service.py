"""The metrics endpoint as one of the supervisor's services.

Rule of this file: from settings to an open endpoint and back; what it answers it asks of the Control.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from portico.config.settings import Portico
from portico.config.units import SECONDS
from portico.console.control import Control
from portico.errors import PorticoError
from portico.observe.log import Log
from portico.observe.metrics import Samples
from portico.workers.doors import Door, Doors

if TYPE_CHECKING:
    from portico.observe.endpoint import Endpoint

_EVERY: Final = 15 * SECONDS
"""Workers are asked at least so often, so that little of what one has counted is lost when it is killed. To look at 20,000 sessions takes a
worker 30 ms."""


class MetricsService:
    """See app.services.Service."""

    def __init__(self, control: Control, doors: Doors, log: Log) -> None:
        self._control = control
        self._doors = doors
        self._log = log
        self._address: str | None = None
        self._door: Door | None = None
        self._endpoint: Endpoint | None = None
        self._keeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<MetricsService {self._address or 'off'}>"

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the ports that the system chose."""
        return self._door.names if self._door is not None else []

    async def start(self, settings: Portico) -> None:
        """Raises OSError, ValueError if the address cannot be had."""
        address = settings.metrics.address
        if address is None:
            return
        from portico.observe.endpoint import Endpoint  # aiohttp is for those who need it

        door = self._doors.open(address)
        self._door = door
        self._endpoint = Endpoint(partial(self._ask, "metrics"), partial(self._ask, "ready"), self._fault)
        await self._endpoint.start(door.sockets)
        self._address = address  # now: what could not be opened is tried again at the next reload
        self._keeping = asyncio.create_task(self._keep())
        self._log.event("metrics.opened", {"addresses": door.names})

    async def adopt(self, settings: Portico) -> None:
        if settings.metrics.address == self._address:
            return
        await self.stop()
        try:
            await self.start(settings)
        except (OSError, ValueError) as error:
            await self.stop()  # nothing half open is left
            self._log.event("metrics.failed", {"address": settings.metrics.address, "detail": _why(error)})

    async def stop(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
        endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            await endpoint.stop()
        door, self._door, self._address = self._door, None, None
        if door is not None and door in self._doors:
            self._doors.close(door)

    async def _ask(self, verb: str) -> Samples | dict[str, Any]:
        answer: Samples | dict[str, Any] = await self._control.ask(verb, {})
        return answer

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            with suppress(PorticoError):
                await self._ask("metrics")

    def _fault(self, error: BaseException, detail: str) -> None:
        self._log.event("proxy.bug", {"error": error, "detail": detail})


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
