"""A wire between Portico and a server that can be cut after so many octets.

Rule of this file: octets pass as they come, but for what `hides` takes out of what the server says. It is cut once, when armed, and passes on
again for the next connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Literal

from portico.demo.ports import LOOPBACK

Direction = Literal["to", "from"]
"""As seen by Portico: to the server, or from it."""


class Cutter:
    """Listens on `port`; each connection goes on to the server at `target`."""

    def __init__(self, target: int, hides: bytes = b"") -> None:
        self._target = target
        self._hides = hides
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._passed = {"to": 0, "from": 0}
        self._armed: tuple[Direction, int, Callable[[], None]] | None = None
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, direction: Direction, octets: int, action: Callable[[], None] = lambda: None) -> None:
        """From now on `octets` more pass in that direction, then `action` is called, and the wire is cut."""
        with self._lock:
            self._passed = {"to": 0, "from": 0}
            self._armed = (direction, octets, action)

    def disarm(self) -> dict[str, int]:
        """What has passed since it was armed."""
        with self._lock:
            self._armed = None
            return dict(self._passed)

    @property
    def armed(self) -> bool:
        """It has not been cut yet."""
        return self._armed is not None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else the thread that waits in accept would not hear of it
        self._listener.close()
        self._cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((LOOPBACK, self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets |= {client, server}
            ways: tuple[tuple[socket.socket, socket.socket, Direction], ...] = ((client, server, "to"), (server, client, "from"))
            for source, sink, direction in ways:
                threading.Thread(target=self._pump, args=(source, sink, direction), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while octets := source.recv(65536):
                if direction == "from" and self._hides:
                    octets = octets.replace(self._hides, b"")
                action = None
                with self._lock:
                    left = len(octets)
                    if self._armed is not None and self._armed[0] == direction:
                        left = min(left, self._armed[1] - self._passed[direction])
                        if self._passed[direction] + left == self._armed[1]:
                            action, self._armed = self._armed[2], None
                    self._passed[direction] += left
                if left:
                    sink.sendall(octets[:left])
                if action is not None:
                    action()
                    self._cut()
                    return
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _cut(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
