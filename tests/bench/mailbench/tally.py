"""What a proxy says to its server and what it is told, counted on the way.

Rule of this file: a relay in a thread that changes nothing; commands of the proxy's own are known by their tags.
"""

from __future__ import annotations

import re
import selectors
import socket
import threading
from dataclasses import dataclass

_OWN = re.compile(rb"^portico\d+ ", re.MULTILINE)


@dataclass(slots=True)
class Counts:
    commands: int = 0
    """Of the proxy's own; nothing is asked of the server but these and what the client asks."""
    up: int = 0
    """Octets to the server."""
    down: int = 0


class Tally:
    """Listens on `port` and passes everything on to `backend`, both on 127.0.0.1."""

    def __init__(self, port: int, backend: int) -> None:
        self._backend = backend
        self._listener = socket.create_server(("127.0.0.1", port))
        self.counts = Counts()
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> Counts:
        """What was counted since it was asked last. All sessions have ended."""
        counts, self.counts = self.counts, Counts()
        return counts

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                proxy, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(proxy,), daemon=True).start()

    def _serve(self, proxy: socket.socket) -> None:
        with proxy, socket.create_connection(("127.0.0.1", self._backend)) as server, selectors.DefaultSelector() as ready:
            ready.register(proxy, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, proxy)
            while True:
                for key, _ in ready.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(1 << 18)
                    if not data:
                        return
                    if key.fileobj is proxy:
                        self.counts.up += len(data)
                        self.counts.commands += len(_OWN.findall(data))
                    else:
                        self.counts.down += len(data)
                    key.data.sendall(data)
