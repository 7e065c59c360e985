"""What the tests of the console have in common: a Portico in one process, and operators with keys."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
from portico.app.control import LocalControl
from portico.app.proxy import Proxy
from portico.console.server import Console
from portico.observe.log import Log
from portico.observe.sink import open_file
from portico.relay.listener import bind

from tests.whole_proxy import PASSWORD, PATIENCE, Client, port_of, proxy_with

KEYS = {name: asyncssh.generate_private_key("ssh-ed25519", comment=name) for name in ("ann", "otto", "stranger")}
"""Ann may act, Otto may look, and nobody knows the stranger."""


@dataclass(slots=True)
class Place:
    """A Portico with a console."""

    proxy: Proxy
    console: Console
    events: list[tuple[str, dict[str, Any]]]
    directory: Path

    async def signs_in(self, user: str, *before: str) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port_of(self.proxy)))
        await client.line()
        for command in before:
            await client.says(command)
        assert (await client.says(f"a LOGIN {user} {PASSWORD}"))[-1].startswith("a OK")
        return client

    @asynccontextmanager
    async def ssh(self, who: str = "ann") -> AsyncIterator[asyncssh.SSHClientConnection]:
        port = int(self.console.addresses[0].rpartition(":")[2])
        async with asyncssh.connect(
            "127.0.0.1", port, username="admin", client_keys=[KEYS[who]], known_hosts=None, agent_path=None, config=None
        ) as connection:
            yield connection

    async def run(self, command: str, who: str = "ann") -> asyncssh.SSHCompletedProcess:
        async with self.ssh(who) as connection:
            return await asyncio.wait_for(connection.run(command), PATIENCE)

    def logged(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]


def public(name: str) -> str:
    return KEYS[name].export_public_key().decode().strip()


@asynccontextmanager
async def place(path: Path, *, more: str = "", console: str = "", plugins: Mapping[str, object] | None = None) -> AsyncIterator[Place]:
    (path / "operators").write_text(f"# who may come in\n{public('ann')}\n\n{public('otto')}\n")
    settings = f"""
        [console]
        address = "127.0.0.1:0"
        authorized_keys = "operators"
        host_key = "console.key"
        socket = "ctl"
        act = ["ann"]
        {console}
        {more}
        """
    log = Log(open_file(str(path / "log")), level="debug", strict=True)
    events: list[tuple[str, dict[str, Any]]] = []

    def event(name: str, fields: Mapping[str, Any]) -> None:
        events.append((name, dict(fields)))
        log.event(name, fields)

    bound: list[socket.socket] = []

    def listen(address: str) -> tuple[list[socket.socket], list[str]]:
        bound[:] = bind(address)
        return bound, [f"127.0.0.1:{bound[0].getsockname()[1]}"]

    def unlisten() -> None:
        while bound:
            bound.pop().close()

    async with proxy_with(path, settings, plugins, log=log) as proxy:
        opened = Console(LocalControl(proxy), proxy.settings.console, event, listen, unlisten)
        await opened.start()
        try:
            yield Place(proxy, opened, events, path)
        finally:
            await opened.stop()
