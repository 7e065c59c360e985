"""The console as a whole: SSH, and the socket of ``portico ctl``, as the settings want them.

Rule of this file: what is opened is closed; a console that cannot be opened is said in the log and stops nobody's mail.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from portico.config.sections.console import Console as Settings
from portico.console.control import Control
from portico.console.socket import Hatch
from portico.console.verb import Event
from portico.errors import PorticoError

if TYPE_CHECKING:
    from portico.console.ssh import Door

Bind = Callable[[str], tuple[Sequence[socket.socket], list[str]]]
"""Listens on an address: its sockets, and their names. Raises OSError, ValueError."""


class Console:
    """Made in a running loop; `start`, any number of `adopt`, `stop`. `bind` and `unbind`: whose the sockets of SSH are."""

    def __init__(self, control: Control, settings: Settings, event: Event, bind: Bind, unbind: Callable[[], None]) -> None:
        self.settings = settings
        self._control = control
        self._event = event
        self._bind = bind
        self._unbind = unbind
        self._door: Door | None = None
        self._hatch: Hatch | None = None
        self._names: dict[Door | Hatch, list[str]] = {}
        self._left: list[Door | Hatch] = []
        """Nobody comes in there any more; who is there stays."""

    def __repr__(self) -> str:
        return f"<Console {' '.join(self.addresses) or 'closed'}>"

    @property
    def addresses(self) -> list[str]:
        """Where it answers."""
        return [name for names in self._names.values() for name in names]

    async def start(self) -> None:
        """Open what the settings name; what cannot be is logged (console.failed)."""
        await self._start_ssh()
        await self._start_socket()

    async def _start_ssh(self) -> None:
        address = self.settings.address
        if address is not None:
            try:
                await self._open_ssh(address)
            except (PorticoError, OSError, ValueError) as error:
                self._unbind()
                self._event("console.failed", {"address": address, "text": _why(error)})

    async def _start_socket(self) -> None:
        path = self.settings.socket
        if path is not None:
            hatch = Hatch(self._control, path, self._event)
            try:
                await hatch.open()
            except PorticoError as error:
                self._event("console.failed", {"address": f"unix:{path}", "text": _why(error)})
            else:
                self._hatch = hatch
                self._opened(hatch, [f"unix:{path}"])

    async def _open_ssh(self, address: str) -> None:
        from portico.console.ssh import Door  # asyncssh is for those who need it

        door = Door(self._control, lambda: self.settings, self._event)
        sockets, names = self._bind(address)
        await door.open(sockets)
        self._door = door
        self._opened(door, names)

    def _opened(self, what: Door | Hatch, names: list[str]) -> None:
        self._names[what] = names
        for name in names:
            self._event("console.opened", {"address": name})

    async def adopt(self, settings: Settings) -> None:
        """Go on with other settings. Who is there stays: it may be he who has asked for them."""
        before, self.settings = self.settings, settings
        # What could not be opened is tried again: what was wrong may have been in a file beside the settings.
        if self._door is None or _of_the_door(before) != _of_the_door(settings):
            self._leave(self._door)
            self._door = None
            await self._start_ssh()
        if self._hatch is None or before.socket != settings.socket:
            self._leave(self._hatch)
            self._hatch = None
            await self._start_socket()

    def _leave(self, what: Door | Hatch | None) -> None:
        if what is not None:
            what.let_go()
            self._left.append(what)
            if what is self._door:
                self._unbind()
            self._names.pop(what)

    async def stop(self) -> None:
        """Close everything; who is there is cut off."""
        self._leave(self._door)
        self._leave(self._hatch)
        self._door = self._hatch = None
        left, self._left = self._left, []
        await asyncio.gather(*[what.close() for what in left])


def _of_the_door(settings: Settings) -> tuple[object, ...]:
    """What it is opened with; the rest is looked up when somebody comes."""
    return settings.address, settings.host_key, settings.sign_in


def _why(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
