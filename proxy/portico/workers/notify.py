"""Telling the service manager how we are (sd_notify(3)).

Rule of this file: one datagram for each thing to say; nothing happens where nobody wants to know, and nothing fails by it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress

from portico.config.units import SECONDS


class Notifier:
    """Says things to NOTIFY_SOCKET of the environment given; takes it out, so that no child speaks for us by mistake."""

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        name = environment.pop("NOTIFY_SOCKET", "")
        self.address = name
        """For a process that takes our place."""
        self._at = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog = _watchdog(environment)
        """Seconds between two signs of life that are wanted; None: none are."""

    def __repr__(self) -> str:
        return f"<Notifier {self.address or 'nobody'}>"

    def say(self, *lines: str) -> None:
        if not self._at:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock:
            sock.sendto("\n".join(lines).encode(), self._at)

    def ready(self, status: str) -> None:
        # MAINPID: after an upgrade we are another process than the one that was started.
        self.say("READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")

    def reloading(self) -> None:
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self.say("STOPPING=1", f"STATUS={status}")

    def alive(self, status: str) -> None:
        """A sign of life, and how we are."""
        self.say("WATCHDOG=1", f"STATUS={status}")


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """See sd_watchdog_enabled(3): half of the time is what it recommends."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdigit() or not int(text) or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 1e6 * SECONDS / 2
