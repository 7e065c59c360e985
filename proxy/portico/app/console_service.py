"""The operators' console as one of the supervisor's services.

Rule of this file: from settings to an open console and back; what it answers it asks of the Control.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from portico.config.settings import Portico
from portico.console.control import Control
from portico.observe.log import Log
from portico.workers.doors import Door, Doors

if TYPE_CHECKING:
    from portico.console.server import Console


class ConsoleService:
    """See app.services.Service."""

    def __init__(self, control: Control, doors: Doors, log: Log) -> None:
        self._control = control
        self._doors = doors
        self._log = log
        self._door: Door | None = None
        self._console: Console | None = None

    def __repr__(self) -> str:
        return f"<ConsoleService {self._console!r}>"

    @property
    def addresses(self) -> list[str]:
        return self._console.addresses if self._console is not None else []

    async def start(self, settings: Portico) -> None:
        """What cannot be opened is logged, and everything else goes on."""
        if settings.console.address is None and settings.console.socket is None:
            return
        from portico.console.server import Console  # the words of the console are for those who have one

        self._console = Console(self._control, settings.console, self._log.event, self._bind, self._unbind)
        await self._console.start()

    def _bind(self, address: str) -> tuple[Sequence[socket.socket], list[str]]:
        self._door = self._doors.open(address)
        return self._door.sockets, self._door.names

    def _unbind(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            self._doors.close(door)

    async def adopt(self, settings: Portico) -> None:
        if self._console is None:
            await self.start(settings)
        else:
            await self._console.adopt(settings.console)

    async def stop(self) -> None:
        if self._console is not None:
            await self._console.stop()
            self._console = None
