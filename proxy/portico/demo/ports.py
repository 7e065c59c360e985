"""Ports and waiting: which are free, who has them, when somebody answers.

Rule of this file: the loopback address only.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from portico.demo.child import DemoError

LOOPBACK = "127.0.0.1"
FREE_PORTS = range(15000, 32000)
"""Below Linux' range for outgoing connections, which could otherwise take a port before it is used."""


@dataclass(slots=True, frozen=True)
class MailPorts:
    """Where IMAP and POP3 answer, plain (with STARTTLS or STLS) and with implicit TLS."""

    imap: int
    pop3: int
    imaps: int
    pop3s: int

    @classmethod
    def standard_plus(cls, base: int) -> MailPorts:
        """The well-known numbers moved up: 10000 gives 10143, 10110, 10993 and 10995."""
        return cls(base + 143, base + 110, base + 993, base + 995)

    @classmethod
    def free(cls) -> MailPorts:
        return cls(*free_ports(4))

    def __iter__(self) -> Iterator[int]:
        return iter((self.imap, self.pop3, self.imaps, self.pop3s))


def is_free(port: int) -> bool:
    """True if a listener could take the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Different ports that are free at this moment."""
    found: list[int] = []
    for port in random.SystemRandom().sample(FREE_PORTS, len(FREE_PORTS)):
        if is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise DemoError("no free port on 127.0.0.1")


def wait_until(what: str, ready: Callable[[], bool], *, seconds: float, alive: Callable[[], bool] = lambda: True) -> None:
    """Return when `ready()` is true. Raises `DemoError` after `seconds`, or as soon as `alive()` is false."""
    end = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise DemoError(f"{what} ended before it answered")
        if time.monotonic() > end:
            raise DemoError(f"{what} did not answer within {seconds:.0f} seconds")
        time.sleep(0.05)


def wait_while(condition: Callable[[], bool], *, seconds: float) -> None:
    """Return when `condition()` is false, or after `seconds`."""
    end = time.monotonic() + seconds
    while condition() and time.monotonic() < end:
        time.sleep(0.05)


def greets(port: int, *, host: str = LOOPBACK) -> bool:
    """True if somebody there says a line first (IMAP ``* …``, POP3 ``+OK …``)."""
    try:
        with socket.create_connection((host, port), timeout=2) as probe:
            return probe.recv(1) in (b"*", b"+")
    except OSError:
        return False


def accepts(port: int, *, host: str = LOOPBACK) -> bool:
    """True if a connection can be made (for implicit TLS, where the client speaks first)."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False
