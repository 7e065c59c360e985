"""The socket of ``portico ctl``: one command a connection, typed elsewhere and carried out here.

Rule of this file: one JSON object a line. Who may use it is decided by the file's permissions (0600), and looked at again by what the
system says of the peer (SO_PEERCRED, unix(7)); he may act.

    client   {"words": ["who", "--json"], "columns": 80, "rows": 24, "colours": true, "interactive": true}
             {"keys": "q"}   {"columns": 100, "rows": 30}
    we       {"out": "…"}   {"err": "…"}   {"raw": true}   {"exit": 0}
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import secrets
import socket
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from portico.config.units import KIB, SECONDS
from portico.console.control import Control, ControlError
from portico.console.seat import WIDE, Seat
from portico.console.verb import Event, obey

_LINE: Final = 64 * KIB
_LAST_WORDS: Final = 1 * SECONDS
_PEER: Final = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""


class Hatch:
    """The socket at `path`. One that was there is replaced: after an upgrade the new process answers."""

    def __init__(self, control: Control, path: str, event: Event) -> None:
        self._control = control
        self._path = Path(path)
        self._event = event
        self._server: asyncio.AbstractServer | None = None
        self._inode = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Raises ControlError."""
        with suppress(OSError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):  # a slip of the pen in the settings, and somebody's file
                raise ControlError(f"{self._path}: is there and is not a socket")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        new = self._path.with_name(f".{secrets.token_hex(4)}")
        try:
            before = os.umask(0o177)  # nobody can connect before the permissions are right
            try:
                sock.bind(str(new))
            finally:
                os.umask(before)
            self._inode = new.stat().st_ino
            self._server = await asyncio.start_unix_server(self._came, sock=sock, limit=_LINE)
            new.replace(self._path)
        except OSError as error:
            sock.close()
            with suppress(OSError):
                new.unlink()
            raise ControlError(f"{self._path}: {error.strerror or error}") from None

    def let_go(self) -> None:
        """Accept nobody any more; who is there stays."""
        if self._server is not None:
            self._server.close()
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # else it is another process's by now
                self._path.unlink()

    async def close(self) -> None:
        """Who is there is cut off, after what may be the answer to his command."""
        self.let_go()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_WORDS)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, ValueError, EOFError, asyncio.CancelledError):
            pass  # it has gone, speaks something else, or we go
        except Exception as error:
            self._event("proxy.bug", {"error": error, "detail": "console"})
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, uid, _ = _PEER.unpack(raw)
        address = f"unix:{self._path}"
        if uid not in (0, os.geteuid()):
            self._event("console.refused", {"address": address, "text": f"uid {uid} may not use it"})
            return
        said = json.loads(await reader.readline())
        if not isinstance(said, dict) or not isinstance(said.get("words"), list):
            raise ValueError("words are expected")
        terminal = SocketTerminal(reader, writer, said)
        seat = Seat(_name_of(uid), "act", address, self._control, terminal)
        self._event("console.connected", {"operator": seat.operator, "role": seat.role, "address": address})
        listening = asyncio.create_task(terminal.listen())
        working = asyncio.create_task(obey(seat, [str(word) for word in said["words"]], self._event))
        try:
            await asyncio.wait((listening, working), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():  # it has gone, and nobody reads what is still to come
                return
            terminal.send({"exit": working.result()})
            await writer.drain()
        finally:
            for task in (listening, working):
                task.cancel()
            await asyncio.wait((listening, working))


class SocketTerminal:
    """See console.seat.Terminal."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: Mapping[str, Any]) -> None:
        self._reader = reader
        self._writer = writer
        self.interactive = said.get("interactive") is True
        self.colours = said.get("colours") is True
        self._size = _size(said)
        self._keys: asyncio.Queue[str | None] = asyncio.Queue()

    @property
    def columns(self) -> int:
        return self._size[0]

    @property
    def rows(self) -> int:
        return self._size[1]

    def send(self, what: Mapping[str, Any]) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")

    def write(self, text: str, *, err: bool = False) -> None:
        self.send({"err" if err else "out": text})

    async def flush(self) -> None:
        await self._writer.drain()

    def begin_keys(self) -> None:
        if self.interactive:
            self.send({"raw": True})

    def end_keys(self) -> None:
        if self.interactive:
            self.send({"raw": False})

    async def key(self, seconds: float) -> str | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._keys.get()
        except TimeoutError:
            return None

    async def listen(self) -> None:
        """Returns when the other side has gone."""
        with suppress(OSError, ValueError):
            while line := await self._reader.readline():
                said = json.loads(line)
                if not isinstance(said, dict):
                    return
                if "columns" in said:
                    self._size = _size(said)
                    self._keys.put_nowait(None)
                for key in str(said.get("keys", ""))[:100]:
                    self._keys.put_nowait(key)


def _size(said: Mapping[str, Any]) -> tuple[int, int]:
    columns, rows = said.get("columns"), said.get("rows")
    return (min(max(columns, 20), 1000) if isinstance(columns, int) else WIDE, min(max(rows, 5), 500) if isinstance(rows, int) else 24)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
