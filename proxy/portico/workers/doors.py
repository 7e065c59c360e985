"""Every socket that Portico listens on, whoever made it: we, the service manager (sd_listen_fds(3)), or the process whose place we take.

Rule of this file: an address as the settings write it goes in, listening sockets come out; one that somebody has left us is taken before
one is bound. Who accepts on them is not known here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from portico.config.address import parse_address
from portico.relay.listener import bind

_FIRST: Final = 3
"""SD_LISTEN_FDS_START."""


@dataclass(slots=True)
class Door:
    """One address, and its sockets: a name may have several."""

    address: str
    sockets: list[socket.socket]
    ours: bool
    """We have bound it, or a process before us: a unix socket is ours to unlink."""

    @property
    def names(self) -> list[str]:
        """Where it is, with the ports that the system chose."""
        return [name_of(sock) for sock in self.sockets]


class Doors:
    """All of one supervisor."""

    def __init__(self, given: Sequence[socket.socket] = (), handed: Sequence[Door] = ()) -> None:
        self._given = list(given)
        """By the service manager, and not yet taken."""
        self._handed = list(handed)
        """By the process before us, likewise."""
        self._lent: list[Door] = []
        """Of those: taken, and the process before us goes on with them if we do not get so far."""
        self._open: list[Door] = []
        self.handed_on = False
        """Another process has them now: what is closed here stays open there."""

    def __repr__(self) -> str:
        return f"<Doors {' '.join(door.address for door in self._open) or 'closed'}>"

    def __iter__(self) -> Iterator[Door]:
        return iter(list(self._open))

    @property
    def shared(self) -> bool:
        """Another process has them too, and serves on when we end."""
        return self.handed_on or bool(self._lent)

    def take_over(self) -> None:
        """The process before us goes: what it has handed to us is ours to unlink."""
        self._lent.clear()

    def open(self, address: str) -> Door:
        """Listen on an address. Raises OSError and ValueError, as relay.listener.bind does."""
        door = self._from_before(address) or self._from_manager(address) or Door(address, bind(address), ours=True)
        for sock in door.sockets:
            sock.setblocking(False)  # for all processes that have it: one that waits in accept(2) serves nobody
        self._open.append(door)
        return door

    def close(self, door: Door) -> None:
        """Not any more."""
        self._open.remove(door)
        for sock in door.sockets:
            sock.close()
        where = parse_address(door.address, any_port=True)
        if door.ours and where.path and not self.handed_on and door not in self._lent:
            with suppress(OSError):
                Path(where.path).unlink()

    def close_all(self) -> None:
        for door in list(self._open):
            self.close(door)

    def refuse(self) -> list[str]:
        """Close what was left us and nobody has taken; the addresses, for a warning."""
        left = [name_of(sock) for sock in self._given] + [door.address for door in self._handed]
        for sock in self._given:
            sock.close()
        for door in self._handed:
            for sock in door.sockets:
                sock.close()
        self._given, self._handed = [], []
        return left

    def _from_before(self, address: str) -> Door | None:
        for door in self._handed:
            if door.address == address:
                self._handed.remove(door)
                self._lent.append(door)
                return door
        return None

    def _from_manager(self, address: str) -> Door | None:
        if not self._given:
            return None
        where = parse_address(address, any_port=True)
        if where.path:
            wanted: list[str] = [f"unix:{where.path}"]
        else:
            found = socket.getaddrinfo(where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            wanted = list(dict.fromkeys(_spell(family, at) for family, _, _, _, at in found))
        taken = {name_of(sock): sock for sock in self._given if name_of(sock) in wanted}
        if not taken:
            return None
        sockets: list[socket.socket] = []
        for name in wanted:
            sockets += [taken[name]] if name in taken else bind(name)
        self._given = [sock for sock in self._given if sock not in sockets]
        return Door(address, sockets, ours=False)


def given_by_manager(environment: MutableMapping[str, str] | None = None) -> list[socket.socket]:
    """The listening sockets that a service manager left open for this process (LISTEN_FDS); the variables are taken out, because they
    are for us alone. What is no listening socket is left alone."""
    environment = os.environ if environment is None else environment
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for descriptor in range(_FIRST, _FIRST + int(count)):
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            continue
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.setblocking(False)
            os.set_inheritable(descriptor, False)
            sockets.append(sock)
        else:
            sock.detach()
    return sockets


def name_of(sock: socket.socket) -> str:
    """The address of a listening socket, as settings write it."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{name if isinstance(name, str) else os.fsdecode(name)}"
    return _spell(sock.family, name)


def _spell(family: int, at: tuple[Any, ...]) -> str:
    return f"[{at[0]}]:{at[1]}" if family == socket.AF_INET6 else f"{at[0]}:{at[1]}"
