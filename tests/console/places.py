"""What the tests of the console have in common: a Portico in one process, and operators with keys."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
from portico.app.control import LocalControl
from portico.app.proxy import Proxy, build
from portico.config.load import load
from portico.console.server import Console
from portico.observe.log import Log
from portico.observe.sink import open_file
from portico.relay.listener import bind

PASSWORD = "through-the-looking-glass"
PATIENCE = 60.0

KEYS = {name: asyncssh.generate_private_key("ssh-ed25519", comment=name) for name in ("ann", "otto", "stranger")}
"""Ann may act, Otto may look, and nobody knows the stranger."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An IMAP server that knows one password and answers OK to the rest; to ECHO with a line of the rest of it."""
    writer.write(b"* OK [CAPABILITY IMAP4rev1 ID] ready\r\n")
    while line := (await reader.readline()).decode().strip():
        tag, _, command = line.partition(" ")
        if command.startswith("CAPABILITY"):
            writer.write(b"* CAPABILITY IMAP4rev1 ID\r\n")
        if command.startswith("ECHO "):
            writer.write(b"* " + command[5:].encode().decode("unicode_escape").encode("latin-1") + b"\r\n")
        wrong = command.startswith("LOGIN") and PASSWORD not in command
        writer.write(f"{tag} {'NO' if wrong else 'OK'} done\r\n".encode())
    writer.close()


class Client:
    """One session of `user`, signed in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), PATIENCE)).decode("latin-1")

    async def says(self, command: str) -> list[str]:
        """The answer, up to its tagged line."""
        self.writer.write(command.encode() + b"\r\n")
        lines = [await self.line()]
        while lines[-1] and not lines[-1].startswith(command.partition(" ")[0] + " "):
            lines.append(await self.line())
        return lines


@dataclass(slots=True)
class Place:
    """A Portico with a console."""

    proxy: Proxy
    console: Console
    events: list[tuple[str, dict[str, Any]]]
    directory: Path

    async def signs_in(self, user: str, *before: str) -> Client:
        port = int(self.proxy.addresses["imap"][0].rpartition(":")[2])
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
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
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (path / "operators").write_text(f"# who may come in\n{public('ann')}\n\n{public('otto')}\n")
    file = path / "portico.toml"
    file.write_text(
        f"""
        [servers.main]
        imap = "127.0.0.1:{port}"
        probe = false
        [listeners.imap]
        protocol = "imap"
        addresses = ["127.0.0.1:0"]
        tls = "none"
        plain_login = true
        server = "main"
        [console]
        address = "127.0.0.1:0"
        authorized_keys = "operators"
        host_key = "console.key"
        socket = "ctl"
        act = ["ann"]
        {console}
        {more}
        """
    )
    log = Log(open_file(str(path / "log")), level="debug", strict=True)
    proxy = build(load(file), file, log=log, plugins=plugins)
    await proxy.start()
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

    opened = Console(LocalControl(proxy), proxy.settings.console, event, listen, unlisten)
    await opened.start()
    try:
        yield Place(proxy, opened, events, path)
    finally:
        await opened.stop()
        await proxy.stop(seconds=0.05)
        server.close()
        log.close()


async def soon(what: Callable[[], object]) -> bool:
    async with asyncio.timeout(PATIENCE):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True
