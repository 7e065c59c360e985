"""Another process takes our place, and nobody finds the door closed.

Rule of this file: the old process starts the new one, hands it its sockets and what it knows, and goes on until the new one says that it
serves; if it never does, nothing has happened. Both serve for a moment; a connection that waits is taken by either.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from portico.config.units import MINUTES, SECONDS
from portico.workers.doors import Door, Doors
from portico.workers.link import Link, Refused, Sockets

VARIABLE: Final = "PORTICO_UPGRADE"
"""Names the descriptor of the socket to the process before; for us alone."""
_PATIENCE: Final = 2 * MINUTES
"""For the new process to serve."""
_HANDED: Final = 10 * SECONDS
"""For the old one to say what it has."""


class UpgradeFailed(Exception):
    """The text says why; the old process goes on."""


@dataclass(slots=True)
class Estate:
    """What is handed on besides sockets: JSON values."""

    ticket_secret: bytes
    runtime: str
    told: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    holds: list[dict[str, Any]] = field(default_factory=list)


class Successor:
    """The new process, as the old one sees it."""

    def __init__(self, environment: Mapping[str, str], notify: str) -> None:
        ours, theirs = socket.socketpair()
        variables = {name: value for name, value in environment.items() if name != "WATCHDOG_PID"}
        variables[VARIABLE] = str(theirs.fileno())
        if notify:
            variables["NOTIFY_SOCKET"] = notify
        try:
            # What was called is called again: where the program was replaced on the disk, the new one runs.
            self._process = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], pass_fds=[theirs.fileno()], env=variables)
        except OSError as error:
            ours.close()
            raise UpgradeFailed(f"{sys.executable}: {error.strerror}") from None
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._link = Link(ours, self._nothing)

    @staticmethod
    async def _nothing(verb: str, _: dict[str, Any], __: Sockets) -> Any:
        raise Refused(f"{verb}: not now")

    async def take_over(self, estate: Estate, doors: Doors) -> None:
        """Returns when it serves. Raises UpgradeFailed when it does not; then it is gone."""
        message = {
            "doors": [(door.address, len(door.sockets), door.ours) for door in doors],
            "ticket_secret": estate.ticket_secret.hex(),
            "runtime": estate.runtime,
            "told": estate.told,
            "holds": estate.holds,
        }
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._link.ask("take", message, [sock for door in doors for sock in door.sockets])
        except (Refused, TimeoutError) as error:
            self._process.kill()
            code = await asyncio.to_thread(self._process.wait)
            self._link.close()
            text = f"it has ended with exit code {code}; its log says why" if code >= 0 else str(error) or "it did not serve in time"
            raise UpgradeFailed(text) from None
        self._process.returncode = 0  # it outlives us: nobody waits for it any more
        self._link.close()


class Predecessor:
    """The old process, as the new one sees it. Made in a running loop."""

    def __init__(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self._taken: asyncio.Future[tuple[Estate, list[Door]]] = loop.create_future()
        self._serves: asyncio.Future[None] = loop.create_future()
        self._link = Link(sock, self._answer)

    async def _answer(self, verb: str, arguments: dict[str, Any], sockets: Sockets) -> None:
        if verb != "take":
            raise Refused(f"{verb}: not known")
        each = iter(sockets)
        doors = [Door(address, [next(each) for _ in range(count)], ours) for address, count, ours in arguments["doors"]]
        told = {about: (verb, said) for about, (verb, said) in arguments["told"].items()}
        estate = Estate(bytes.fromhex(arguments["ticket_secret"]), arguments["runtime"], told, arguments["holds"])
        self._taken.set_result((estate, doors))
        await self._serves

    async def estate(self) -> tuple[Estate, list[Door]]:
        """What it leaves us. Raises TimeoutError."""
        async with asyncio.timeout(_HANDED):
            return await self._taken

    async def we_serve(self) -> None:
        """It may go; returns when it knows."""
        self._serves.set_result(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(_HANDED):
                await self._link.gone


def before_us(environment: MutableMapping[str, str] | None = None) -> socket.socket | None:
    """The socket to the process whose place we take, if there is one."""
    environment = os.environ if environment is None else environment
    text = environment.pop(VARIABLE, "")
    if not text.isdigit():
        return None
    try:
        sock = socket.socket(fileno=int(text))
    except OSError:
        return None
    sock.set_inheritable(False)
    return sock
