"""``who``, ``show``, ``kick``: the sessions.

Rule of this file: questions to the Control, answers as tables or JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from portico.config.units import parse_duration
from portico.console.control import ControlError
from portico.console.seat import Seat, octets, span
from portico.console.verb import json_option, verb


class Time(click.ParamType[float]):
    """``90s``, ``5m``, or a number of seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return float(value) if str(value).isdigit() else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


TIME: Final = Time()
_WHOM: Final = ("user", "address", "server")


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--idle", type=TIME, metavar="TIME", help="Those in which nothing has passed for so long, as 5m."),
        click.option("--protocol", type=click.Choice(["imap", "pop3"]), help="Those of this protocol."),
        click.option("--listener", metavar="NAME", help="Those of this listener."),
        click.option("--server", metavar="NAME", help="Those at this server."),
        click.option("--address", metavar="ADDRESS", help="Those from this address."),
        click.option("--user", metavar="USER", help="Those of this user."),
    ):
        function = option(function)
    return function


@verb("who")
@filters
@json_option
async def who(seat: Seat, as_json: bool, **wanted: Any) -> None:
    """List the sessions.

    STATE is login (not signed in yet), tunnel (octets pass unread), watch (a plugin or a trace reads along) or closing.
    """
    found = await seat.control.ask("who", {name: value for name, value in wanted.items() if value is not None})
    if as_json:
        seat.json(found)
        return
    found.sort(key=lambda entry: (entry["user"], entry["id"]))
    seat.table(
        ["ID", "USER", "ADDRESS", "SERVER", "LISTENER", "STATE", "SINCE", "IDLE", "IN", "OUT", "CLIENT"],
        (
            [
                entry["id"],
                entry["user"] or "-",
                entry["rip"],
                entry["server"] or "-",
                entry["listener"],
                entry["state"],
                span(entry["seconds"]),
                span(entry["idle"]),
                octets(entry["bytes_in"]),
                octets(entry["bytes_out"]),
                entry["client"],
            ]
            for entry in found
        ),
        numbers=("SINCE", "IDLE", "IN", "OUT"),
    )
    seat.say(f"{len(found)} session{'' if len(found) == 1 else 's'}")


@verb("show")
@click.argument("id")
@json_option
async def show(seat: Seat, id: str, as_json: bool) -> None:
    """Show all that is known of session ID."""
    found = await seat.control.ask("show", {"id": id})
    if found is None:
        raise ControlError(f"there is no session {id}")
    if as_json:
        seat.json(found)
        return
    seat.table(["", ""], ([name, _words(name, value)] for name, value in found.items()))


def _words(name: str, value: Any) -> str:
    if name in ("seconds", "idle"):
        return span(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, list) else str(value)


@verb("kick", role="act")
@click.argument("id", required=False)
@click.option("--user", metavar="USER", help="Those of this user.")
@click.option("--address", metavar="ADDRESS", help="Those from this address.")
@click.option("--server", metavar="NAME", help="Those at this server.")
@click.option("--all", "everybody", is_flag=True, help="All of them.")
@click.option("--text", metavar="TEXT", help="What the clients are told, where they can be told something.")
@json_option
async def kick(seat: Seat, id: str | None, everybody: bool, text: str | None, as_json: bool, **whom: str | None) -> None:
    """End session ID, or those for which all options hold.

    The client gets BYE (POP3: -ERR) where a line of ours may stand, never inside a message. It may come back at once: see hold.
    """
    wanted: dict[str, Any] = {name: value for name, value in {"id": id, **whom}.items() if value}
    if bool(wanted) == everybody:
        raise click.UsageError("say whom: an ID, --user, --address, --server or --all")
    if everybody:
        wanted["all"] = True
    if text:
        wanted["text"] = text
    ids = await seat.control.ask("kick", wanted)
    if id and not ids:
        raise ControlError(f"there is no session {id}")
    if as_json:
        seat.json(ids)
    else:
        seat.say(f"{len(ids)} session{'' if len(ids) == 1 else 's'} ended")
