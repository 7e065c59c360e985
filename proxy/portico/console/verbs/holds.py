"""``hold``, ``release``, ``holds``: users whose logins wait.

Rule of this file: questions to the Control, answers as tables or JSON.
"""

from __future__ import annotations

import click

from portico.console.control import ControlError
from portico.console.seat import Seat, span
from portico.console.verb import json_option, verb
from portico.console.verbs.sessions import TIME


@verb("hold", role="act")
@click.argument("user")
@click.option("--for", "seconds", type=TIME, metavar="TIME", help="For so long, as 10m; default: until release.")
@json_option
async def hold(seat: Seat, user: str, seconds: float | None, as_json: bool) -> None:
    """Let new logins of USER wait: for a move from one server to another.

    Sessions that he has go on: kick them. A login that has waited longer than the listener's timeouts.held is told to come back later.
    """
    said = await seat.control.ask("hold", {"user": user, "seconds": seconds})
    if as_json:
        seat.json(said)
    else:
        seat.say(f"logins of {user} wait {'until release' if seconds is None else 'for ' + span(seconds)}")


@verb("release", role="act")
@click.argument("user")
async def release(seat: Seat, user: str) -> None:
    """Let the logins of USER go on."""
    if not await seat.control.ask("release", {"user": user}):
        raise ControlError(f"{user} is not held")
    seat.say(f"logins of {user} go on")


@verb("holds")
@json_option
async def holds(seat: Seat, as_json: bool) -> None:
    """List the users who are held, and how many of their logins wait."""
    found = await seat.control.ask("holds", {})
    if as_json:
        seat.json(found)
        return
    rows = ([each["user"], span(each["seconds"]) or "until release", each.get("waiting", 0)] for each in found)
    seat.table(["USER", "STILL", "WAITING"], rows, numbers=("WAITING",))
