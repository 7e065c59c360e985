"""``portico ctl VERB…``: the console's verbs, for scripts and for those who are on the machine.

Rule of this file: words and keys to the socket, text from it to the terminal; what a verb does is in portico.console, in the process
that runs.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import termios
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from portico.cli.output import coloured
from portico.cli.where import settings_file, settings_option
from portico.errors import PorticoError

_READ: Final = 1 << 16


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["-h", "--help"]})
@settings_option
@click.option(
    "--socket", "path", type=click.Path(dir_okay=False), metavar="PATH", help="The socket; default: [console] socket of the settings."
)
@click.argument("words", nargs=-1, metavar="VERB [ARGUMENTS]...", type=click.UNPROCESSED)
@click.pass_context
def ctl(ctx: click.Context, config: Path | None, path: str | None, words: tuple[str, ...]) -> None:
    """Give the running Portico a command: who, kick, servers, reload, top, …

    `portico ctl help` lists them. It is asked over the unix socket that [console] socket names. Exit codes: 0 done, 1 it could not be
    done, 2 wrong usage.
    """
    if path is None:
        from portico.config.load import console_of

        file = settings_file(config)
        path = console_of(file).socket
        if path is None:
            raise click.UsageError(f"{file} has no [console] socket; set it, or name one with --socket")
    ctx.exit(_converse(path, list(words) or ["help"]))


def _converse(path: str, words: list[str]) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError as error:
            raise PorticoError(f"{path}: {error.strerror}; does Portico run?") from None
        interactive = sys.stdin.isatty() and sys.stdout.isatty()
        _send(sock, {"words": words, **_size(), "colours": coloured(sys.stdout), "interactive": interactive})
        with _told_of_sizes(sock, interactive):
            code = _relay(sock)
        if code is not None:
            return code
    raise PorticoError("Portico has ended the connection")


def _relay(sock: socket.socket) -> int | None:
    """The exit code; None: the other side has gone."""
    rest, raw = b"", None
    try:
        while True:
            for ready in select.select([sock, sys.stdin] if raw else [sock], [], [])[0]:
                if ready is sys.stdin:
                    _send(sock, {"keys": os.read(sys.stdin.fileno(), 32).decode("utf-8", "replace")})
                    continue
                data = sock.recv(_READ)
                if not data:
                    return None
                *lines, rest = (rest + data).split(b"\n")
                for said in map(json.loads, lines):
                    if "exit" in said:
                        return int(said["exit"])
                    if "raw" in said:
                        raw = _raw(raw, on=said["raw"])
                    else:
                        _show(said)
    finally:
        _raw(raw, on=False)


def _show(said: Mapping[str, Any]) -> None:
    stream = sys.stderr if "err" in said else sys.stdout
    stream.write(said.get("err") or said.get("out") or "")
    stream.flush()


def _raw(before: list[Any] | None, *, on: bool) -> list[Any] | None:
    """Keys one by one, unseen; or as it was before."""
    if on and before is None:
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        return before
    if not on and before is not None:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        return None
    return before


def _size() -> dict[str, int]:
    size = shutil.get_terminal_size((200, 24)) if sys.stdout.isatty() else os.terminal_size((200, 24))
    return {"columns": size.columns, "rows": size.lines}


def _send(sock: socket.socket, what: Mapping[str, Any]) -> None:
    sock.sendall(json.dumps(what).encode() + b"\n")


@contextmanager
def _told_of_sizes(sock: socket.socket, interactive: bool) -> Iterator[None]:
    if not interactive:
        yield
        return
    before = signal.signal(signal.SIGWINCH, lambda *_: _send(sock, _size()))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
