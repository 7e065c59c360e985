"""``top``: a live screen.

Rule of this file: two answers of the Control, some seconds apart, become one screen; it is drawn in place, as large as the terminal is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

import click
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.text import Text

from portico.console.control import ControlError
from portico.console.seat import Seat, octets, rendered, span, table
from portico.console.verb import json_option, verb

_ENDS: Final = ("q", "Q", "\x03", "\x04")
_CLEAR: Final = "\x1b[H\x1b[J"
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"


@verb("top")
@click.option("--every", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, metavar="SECONDS", help="How often it is drawn.")
@click.option("--once", is_flag=True, help="Draw it once, after one interval, and end.")
@json_option
async def top(seat: Seat, every: float, once: bool, as_json: bool) -> None:
    """Show a live screen: sessions, logins and octets per second, slow commands, users and servers. q ends it."""
    live = seat.terminal.interactive and not once and not as_json
    if not live and not once and not as_json:
        raise ControlError("top needs a terminal (ssh -t); without one: top --once")
    before, then = await seat.control.ask("top", {}), time.monotonic()
    seat.terminal.begin_keys()
    try:
        if live:
            seat.terminal.write(_ENTER)
            draw(seat, screen(before, before, 0.0))
        while True:
            key = await seat.terminal.key(every) if live else await _pause(every)
            if key in _ENDS:
                return
            now, at = await seat.control.ask("top", {}), time.monotonic()
            if as_json:
                seat.json({"seconds": round(at - then, 3), "before": before, "now": now})
                return
            picture = screen(before, now, at - then)
            if not live:
                seat.show(picture)
                return
            draw(seat, picture)
            if at - then >= every / 2:  # a change of the size draws anew, with the same rates
                before, then = now, at
    finally:
        if live:
            seat.terminal.write(_LEAVE)
        seat.terminal.end_keys()


async def _pause(seconds: float) -> str | None:
    await asyncio.sleep(seconds)
    return None


def draw(seat: Seat, picture: RenderableType) -> None:
    lines = rendered(picture, seat.terminal.columns, colours=seat.terminal.colours).split("\n")
    seat.terminal.write(_CLEAR + "\n".join(lines[: seat.terminal.rows - 1]))


def screen(before: Mapping[str, Any], now: Mapping[str, Any], seconds: float) -> RenderableType:
    """`seconds`: between the two; 0: no rates yet."""

    def rate(name: str) -> float:
        return max(0.0, (now[name] - before[name]) / seconds) if seconds else 0.0

    states = now["states"]
    head = Text.assemble(
        ("Portico ", "bold"), f"{now['version']}  up {span(now['seconds'])}  {now['workers']} worker{'' if now['workers'] == 1 else 's'}\n",
        ("sessions ", "bold"), f"{now['sessions']:,}  (",
        ", ".join(f"{states[state]:,} {state}" for state in ("tunnel", "watch", "login", "closing")), ")\n",
        ("logins ", "bold"), f"{rate('logins'):.1f}/s   ", ("failed ", "bold"), f"{rate('failed_logins'):.1f}/s   ",
        ("new ", "bold"), f"{rate('connections'):.1f}/s   ", ("in ", "bold"), f"{octets(rate('bytes_in'))}B/s   ",
        ("out ", "bold"), f"{octets(rate('bytes_out'))}B/s\n",
    )  # fmt: skip
    users = sorted(now["users"].items(), key=lambda each: (-each[1]["sessions"], each[0]))[:15]
    by_user = table(
        ["USER", "SESSIONS", "IN", "OUT"],
        ([name, each["sessions"], octets(each["bytes_in"]), octets(each["bytes_out"])] for name, each in users),
        numbers=("SESSIONS", "IN", "OUT"),
    )
    servers = sorted(now["servers"].items(), key=lambda each: (-each[1], each[0]))[:15]
    by_server = table(["SERVER", "SESSIONS"], servers, numbers=("SESSIONS",))
    slow = sorted(now["slow"], key=lambda each: -each["at"])[:8]
    commands = table(
        ["SLOW COMMAND", "SECONDS", "USER", "SERVER"],
        ([each["command"], f"{each['seconds']:.1f}", each["user"], each["server"]] for each in slow),
        numbers=("SECONDS",),
    )
    return Group(head, Columns([by_user, by_server], padding=(0, 4)), Text(), commands)
