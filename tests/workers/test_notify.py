"""What a service manager is told (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from portico.workers.notify import Notifier


@pytest.mark.parametrize("name", ["{}/notify", "@portico-test-{pid}"])
def test_it_is_told_in_one_datagram_on_a_path_or_an_abstract_name(name: str, tmp_path: Path) -> None:
    at = name.format(tmp_path, pid=os.getpid())
    environment = {"NOTIFY_SOCKET": at, "WATCHDOG_USEC": "3000000"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(at.replace("@", "\0"))
        notifier = Notifier(environment)
        assert environment == {"WATCHDOG_USEC": "3000000"}
        assert notifier.watchdog == 1.5
        notifier.ready("7 sessions")
        assert manager.recv(4096).decode() == f"READY=1\nMAINPID={os.getpid()}\nSTATUS=7 sessions"
        notifier.stopping("bye")
        assert manager.recv(4096) == b"STOPPING=1\nSTATUS=bye"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_where_nobody_listens_nothing_happens(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.alive("fine")
    assert notifier.watchdog is None


def test_a_watchdog_that_waits_for_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid() + 1)}).watchdog is None
