"""A worker without its supervisor: what it answers to the words that the supervisor has for it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from portico.app.worker import Worker
from portico.config.load import read
from portico.relay.loop import RelayLoop
from portico.relay.spread import Shares
from portico.workers.link import OURS, Link, Refused, Sockets

SETTINGS = """
[servers.main]
imap = "127.0.0.1:1"
probe = false
[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:10143"]
tls = "none"
plain_login = true
server = "main"
"""


async def nobody(verb: str, _: Mapping[str, Any], __: Sockets) -> Any:
    raise Refused(verb)


def test_what_an_operator_said_of_a_server_that_is_gone_keeps_no_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    async def tried() -> None:
        file = tmp_path / "portico.toml"
        file.write_text(SETTINGS)
        ours, theirs = socket.socketpair()
        working = asyncio.create_task(Worker(read(file).settings, Shares(1), 0).run(theirs))
        supervisor = Link(ours, nobody)
        told = [("drain_server", {"server": "gone"}), ("drain_server", {"server": "main"})]
        same = {"listening": {}, "workers": 1, "ticket_secret": "00" * 32, "ledger": None, "told": told}
        await supervisor.ask(OURS + "start", {"text": None, "path": None, "directory": None, **same})
        await supervisor.ask(OURS + "accept")
        (server,) = await supervisor.ask("servers", {})
        assert (server["server"], server["state"]) == ("main", "drained")
        supervisor.close()
        assert await working == 0

    with asyncio.Runner(loop_factory=RelayLoop) as runner:
        runner.run(tried())
