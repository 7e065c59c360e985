"""A whole proxy in this process, in front of an IMAP server that knows one password, and clients of it.

Rule of this file: for tests in rooms that need a running proxy; what the server says is of interest only to whom has a `Server` of his own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from portico.app.proxy import Proxy, build
from portico.config.load import load
from portico.observe.log import Log
from portico.observe.sink import open_file

PASSWORD = "through-the-looking-glass"
PATIENCE = 60.0
"""Seconds in which what must come has come on the slowest machine."""


def settings_text(port: int, more: str = "") -> str:
    """Of a proxy in front of a server; `more`: further lines, the first of them about the listener."""
    return f"""
        [servers.main]
        imap = "127.0.0.1:{port}"
        probe = false
        [listeners.imap]
        protocol = "imap"
        addresses = ["127.0.0.1:0"]
        tls = "none"
        plain_login = true
        server = "main"
        {more}
        """


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


class Server:
    """An IMAP server that answers OK to everything; one of a test's own overrides `answer`."""

    OK = "OK [CAPABILITY IMAP4rev1 ID] done"

    def __init__(self) -> None:
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        """The port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self.port

    def stop(self) -> None:
        self._server.close()
        for writer in self.writers:
            writer.close()

    async def answer(self, command: str) -> str:
        """What is said behind the tag."""
        return self.OK

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(b"* OK [CAPABILITY IMAP4rev1 ID] ready\r\n")
        with suppress(ConnectionError):  # a proxy that was killed
            while line := (await reader.readline()).decode().strip():
                tag, _, command = line.partition(" ")
                if command.startswith("CAPABILITY"):
                    writer.write(b"* CAPABILITY IMAP4rev1 ID\r\n")
                if command == "LOGOUT":
                    writer.write(b"* BYE bye\r\n")
                writer.write(f"{tag} {await self.answer(command)}\r\n".encode())
                if command == "LOGOUT":
                    break
        writer.close()


@asynccontextmanager
async def proxy_with(
    path: Path,
    more: str = "",
    plugins: Mapping[str, object] | None = None,
    *,
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = serve,
    log: Log | None = None,
) -> AsyncIterator[Proxy]:
    """A proxy on a free port in front of a server; its log as in `running`."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    file = path / "portico.toml"
    file.write_text(settings_text(server.sockets[0].getsockname()[1], more))
    try:
        async with running(file, plugins, log=log) as proxy:
            yield proxy
    finally:
        server.close()


@asynccontextmanager
async def running(file: Path, plugins: Mapping[str, object] | None = None, *, log: Log | None = None) -> AsyncIterator[Proxy]:
    """The proxy of a settings file; its log, where none is given, is the file ``log`` beside it."""
    log = log or Log(open_file(str(file.with_name("log"))), level="debug")
    proxy = build(load(file), file, log=log, plugins=plugins)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(seconds=0.05)
        log.close()


def port_of(proxy: Proxy, listener: str = "imap") -> int:
    return int(proxy.addresses[listener][0].rpartition(":")[2])


class Client:
    """One session of `user`, signed in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, port: int, user: str) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        await client.line()
        assert (await client.says(f"a LOGIN {user} {PASSWORD}"))[-1].startswith("a OK")
        return client

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), PATIENCE)).decode("latin-1")

    async def says(self, command: str) -> list[str]:
        """The answer, up to its tagged line."""
        self.writer.write(command.encode() + b"\r\n")
        lines = [await self.line()]
        while lines[-1] and not lines[-1].startswith(command.partition(" ")[0] + " "):
            lines.append(await self.line())
        return lines


async def soon(what: Callable[[], object]) -> bool:
    async with asyncio.timeout(PATIENCE):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True
