"""The console over SSH: who may come in, a prompt, and one command at a time.

Rule of this file: public keys only, from a file that is read at each sign-in; no forwarding, no files, no shell of the system. asyncssh
does SSH and the editing of lines; what a command does is in `console.verb`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from portico.config.sections.console import Console as Settings
from portico.config.ssh_library import asyncssh
from portico.config.units import KIB, SECONDS
from portico.console.completion import complete, learn
from portico.console.control import Control, ControlError, Role
from portico.console.seat import WIDE, Seat, plain
from portico.console.verb import Event, obey
from portico.gate.sparing import Sparing

PROMPT: Final = "portico> "
_HISTORY: Final = 200
_LINE: Final = 4 * KIB
_KEEPALIVE: Final = 30 * SECONDS
LAST_WORDS: Final = 1 * SECONDS
"""For the answer to a command that ends the console itself."""
_LEAVE: Final = ("exit", "quit", "logout")


class Door:
    """The SSH server of one console. `settings`: those that hold at the moment."""

    def __init__(self, control: Control, settings: Callable[[], Settings], event: Event) -> None:
        self._control = control
        self._settings = settings
        self._event = event
        self._acceptors: list[asyncssh.SSHAcceptor] = []
        self._working: set[asyncio.Task[None]] = set()
        """Commands, not prompts."""
        self.guests: dict[Guest, None] = {}
        """Who came first stands first."""
        self._sparing: defaultdict[str, Sparing] = defaultdict(Sparing)

    async def open(self, sockets: Sequence[socket.socket]) -> None:
        """Accept on these, which are bound, and are not closed here. Raises ControlError."""
        settings = self._settings()
        assert settings.host_key is not None
        operators(settings)
        key = host_key(Path(settings.host_key))
        for sock in sockets:
            acceptor = await asyncssh.listen(
                sock=sock.dup(), server_factory=partial(Guest, self, self._settings, self._event), process_factory=self._serve,
                server_host_keys=[key], encoding="utf-8", errors="replace", line_history=_HISTORY, max_line_length=_LINE,
                login_timeout=settings.sign_in, keepalive_interval=_KEEPALIVE, password_auth=False, kbdint_auth=False,
                host_based_auth=False, gss_host=None, public_key_auth=True, allow_scp=False, agent_forwarding=False, x11_forwarding=False,
                config=[],
            )  # fmt: skip
            self._acceptors.append(acceptor)

    def let_go(self) -> None:
        """Accept nobody any more; who is there stays."""
        for acceptor in self._acceptors:
            acceptor.close()
        self._acceptors.clear()

    async def close(self) -> None:
        """Who is there is cut off, after what may be the answer to his last command."""
        self.let_go()
        if self._working:
            await asyncio.wait(self._working, timeout=LAST_WORDS)
        guests = list(self.guests)
        for guest in guests:
            guest.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS):
                await asyncio.gather(*[guest.gone.wait() for guest in guests])
        for guest in guests:
            guest.abort()

    def tell(self, event: str, address: str, text: str) -> None:
        """Log what anybody who can connect can bring about: ten times in ten seconds at most."""
        if self._sparing[event].may(time.monotonic()):
            self._event(event, {"address": address, "text": text})

    def has_room(self) -> bool:
        """For one more. Where there is none, who has come first and has not signed in yet gives his place up: else anybody who can
        connect would keep operators out, and just be slow."""
        if len(self.guests) < self._settings().connections:
            return True
        slow = next((guest for guest in self.guests if not guest.known), None)
        if slow is None:
            return False
        self.guests.pop(slow)
        slow.abort()
        return True

    async def _serve(self, process: asyncssh.SSHServerProcess[str]) -> None:
        guest: Guest = process.get_extra_info("connection").get_owner()
        terminal = SshTerminal(process)
        seat = Seat(guest.operator, guest.role, guest.address, self._control, terminal)
        code = 0
        working = asyncio.ensure_future(self._work(seat, process))
        serving = asyncio.current_task()
        if process.command is not None and serving is not None:
            self._working.add(serving)
            serving.add_done_callback(self._working.discard)
        leaving = asyncio.ensure_future(process.wait_closed())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():  # he has gone, and what he has asked for is for nobody
                working.cancel()
                await asyncio.wait((working,))
                return
            code = working.result()
        except (asyncssh.Error, asyncssh.BreakReceived, EOFError, ConnectionError):
            code = 1
        except Exception as error:
            self._event("proxy.bug", {"error": error, "detail": "console"})
            code = 1
        finally:
            leaving.cancel()
        with suppress(OSError, asyncssh.Error):
            process.exit(code)

    async def _work(self, seat: Seat, process: asyncssh.SSHServerProcess[str]) -> int:
        if process.command is not None:
            return await obey(seat, process.command, self._event)
        code = 0
        if seat.terminal.interactive:
            await self._converse(seat, process)
        else:  # a script on standard input: each line a command
            async for line in process.stdin:
                code = await obey(seat, line, self._event)
        return code

    async def _converse(self, seat: Seat, process: asyncssh.SSHServerProcess[str]) -> None:
        stdin, channel = process.stdin, process.channel

        def tab(line: str, pos: int) -> tuple[str, int]:
            line, pos, choices = complete(seat, line, pos)
            if choices:
                process.stdout.write("\n" + "  ".join(map(plain, choices)) + f"\n{PROMPT}")
            return line, pos

        channel.register_key("\t", tab)  # type: ignore[attr-defined]  # the line editor's channel
        seat.say(f"Portico: you are {seat.operator} and may {seat.role}. help lists the commands.")
        while True:
            await learn(seat)
            process.stdout.write(PROMPT)
            line = await self._line(stdin)
            if line is None:
                seat.say("")
                return
            if line.strip() in _LEAVE:
                return
            await obey(seat, line, self._event)
            await process.stdout.drain()

    async def _line(self, stdin: asyncssh.SSHReader[str]) -> str | None:
        """None: the end."""
        try:
            async with asyncio.timeout(self._settings().idle):
                while True:
                    try:
                        return await stdin.readline() or None
                    except asyncssh.TerminalSizeChanged:
                        continue
                    except (asyncssh.BreakReceived, asyncssh.SignalReceived):
                        return "\n"
        except TimeoutError:
            return None


class Guest(asyncssh.SSHServer):
    """One connection, and who it is."""

    def __init__(self, door: Door, settings: Callable[[], Settings], event: Event) -> None:
        self._door = door
        self._settings = settings
        self._event = event
        self._connection: asyncssh.SSHServerConnection | None = None
        self._tried = 0
        self.known = False
        """He has signed in, or nothing more is to be said of him."""
        self.gone = asyncio.Event()
        self.operator = ""
        self.role: Role = "look"
        self.address = ""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        host, port = conn.get_extra_info("peername", ("", 0))[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if self._door.has_room():
            self._door.guests[self] = None
        else:
            self._door.tell("console.refused", self.address, "too many connections")
            self.known = True  # said already
            conn.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._door.guests.pop(self, None)
        if not self.known:
            self._door.tell("console.refused", self.address, f"has not signed in; keys tried: {self._tried}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def abort(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        # Asked twice for each key: before the signature, and for the one that is signed with.
        settings = self._settings()
        try:
            name = operators(settings).get(key.public_data)
        except ControlError as error:
            self._door.tell("console.failed", settings.address or "", str(error))
            name = None
        if name is None:
            self._tried += 1
            if self._tried >= settings.tries:
                self.abort()
            return False
        self.operator, self.role = name, "act" if name in settings.act else "look"
        return True

    def auth_completed(self) -> None:
        self.known = True
        self._event("console.connected", {"operator": self.operator, "role": self.role, "address": self.address})


class SshTerminal:
    """See console.seat.Terminal."""

    def __init__(self, process: asyncssh.SSHServerProcess[str]) -> None:
        self._process = process
        kind = process.get_terminal_type()
        self.interactive = kind is not None
        self.colours = self.interactive and kind != "dumb" and not process.env.get("NO_COLOR")

    @property
    def columns(self) -> int:
        return (self._process.get_terminal_size()[0] or 80) if self.interactive else WIDE

    @property
    def rows(self) -> int:
        return self._process.get_terminal_size()[1] or 24

    def write(self, text: str, *, err: bool = False) -> None:
        (self._process.stderr if err and not self.interactive else self._process.stdout).write(text)

    async def flush(self) -> None:
        await self._process.stdout.drain()

    def begin_keys(self) -> None:
        if self.interactive:
            self._process.channel.set_line_mode(False)  # type: ignore[attr-defined]

    def end_keys(self) -> None:
        if self.interactive:
            self._process.channel.set_line_mode(True)  # type: ignore[attr-defined]

    async def key(self, seconds: float) -> str | None:
        try:
            async with asyncio.timeout(seconds):
                read = await self._process.stdin.read(1)
        except (TimeoutError, asyncssh.TerminalSizeChanged):
            return None
        except (asyncssh.BreakReceived, asyncssh.SignalReceived):
            return "\x03"
        if not read:
            raise EOFError
        return read


def operators(settings: Settings) -> dict[bytes, str]:
    """Names by key. Raises ControlError with the line that cannot be used: a key with options would not get what they restrict. A file
    that others may write is not used at all (sshd_config(5), StrictModes): who writes it comes in, and may act."""
    found: dict[bytes, str] = {}
    file = settings.authorized_keys or ""
    try:
        with Path(file).open(encoding="utf-8", errors="replace") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o022:
                raise ControlError(f"{file}: others may write it; chmod go-w is needed")
            lines = opened.read().splitlines()
    except OSError as error:
        raise ControlError(f"{file}: {error.strerror}") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        try:
            key = asyncssh.import_public_key(line)
        except (asyncssh.KeyImportError, ValueError):
            raise ControlError(f"{file}:{number}: is no public key, or has options in front, which are not understood here") from None
        comment = key.get_comment(errors="replace") or ""
        found[key.public_data] = plain(comment) or key.get_fingerprint()
    return found


def host_key(file: Path) -> asyncssh.SSHKey:
    """The console's own key, made if it is not there. Raises ControlError."""
    try:
        if not file.exists():
            made = asyncssh.generate_private_key("ssh-ed25519", comment="portico console")
            new = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(made.export_private_key())
            with suppress(FileExistsError):  # somebody else was first
                os.link(new, file)
            new.unlink()
        if file.stat().st_mode & 0o077:
            raise ControlError(f"{file}: others may read it; chmod 600 is needed")
        return asyncssh.read_private_key(file)
    except OSError as error:
        raise ControlError(f"{file}: {error.strerror}") from None
    except asyncssh.KeyImportError as error:
        raise ControlError(f"{file}: {error}") from None
