"""``trace``: what sessions say, as it passes.

Rule of this file: lines from the Control to the terminal, until a key, the end of the session, or the end of the operator.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import click
from rich.text import Text

from portico.console.control import ControlError
from portico.console.seat import Seat, plain
from portico.console.verb import json_option, verb

_ENDS: Final = ("q", "Q", "\x03", "\x04", "\x1b")
_STYLES: Final = {"C>": "green", "<C": "cyan", "S>": "magenta", "<S": "blue", "--": "bold"}


@verb("trace", role="act")
@click.argument("whom", metavar="USER|ID")
@json_option
async def trace(seat: Seat, whom: str, as_json: bool) -> None:
    """Show live what the sessions of USER, or session ID, say. q ends it.

    C> is what the client says, <C what it is told, S> and <S what differs at the server. Credentials are blotted out. Sessions that USER
    begins meanwhile are shown from their first line; they are read then, and never become tunnels.
    """
    by_id = await seat.control.ask("show", {"id": whom}) is not None
    lines = seat.control.follow("trace", {"id": whom} if by_id else {"user": whom})
    if not as_json and seat.terminal.interactive:
        seat.say(f"tracing {'session' if by_id else 'user'} {whom}; q ends it")
    showing = asyncio.create_task(_show(seat, lines, as_json))
    try:
        await (_until_key(seat, showing) if seat.terminal.interactive else showing)
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError, ControlError):
            await showing
        if (aclose := getattr(lines, "aclose", None)) is not None:
            await aclose()


async def _until_key(seat: Seat, showing: asyncio.Task[None]) -> None:
    seat.terminal.begin_keys()
    try:
        while not showing.done():
            pressed = asyncio.create_task(seat.terminal.key(3600.0))
            await asyncio.wait((pressed, showing), return_when=asyncio.FIRST_COMPLETED)
            if not pressed.done():
                pressed.cancel()
                with suppress(asyncio.CancelledError, EOFError):
                    await pressed
            elif pressed.result() in _ENDS:
                return
        showing.result()
    finally:
        seat.terminal.end_keys()


async def _show(seat: Seat, lines: AsyncIterator[dict[str, Any]], as_json: bool) -> None:
    async for line in lines:
        if as_json:
            seat.terminal.write(json.dumps(line) + "\n")
        else:
            style = _STYLES.get(line["direction"], "")
            text = Text(f"{line['session']} {line['direction']} {plain(line['text'])}", style=style, overflow="fold")
            seat.show(text)
        await seat.terminal.flush()
