"""``who``, ``show``, ``kick``: the sessions.

Rule of this file: questions to the Control, answers as tables or JSON. What other machines say is doubted: they may have
another version.
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


machines_option: Final = click.option("--machines", "everywhere", is_flag=True, help="On all machines that share a Redis with this one.")
_UNKNOWN: Final[dict[str, Any]] = {
    "id": "", "worker": 0, "protocol": "", "listener": "", "user": "", "rip": "", "rport": 0, "server": "", "state": "", "seconds": 0.0,
    "idle": 0.0, "bytes_in": 0, "bytes_out": 0, "client": "", "tls": "",
}  # fmt: skip
"""Of a session of another machine, what that did not say."""


class Said:
    """What the machines have said to `verb`. A problem does not keep what others said from being shown; it is raised at the end."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.answers = [(str(each["machine"]), each["answer"]) for each in found if not each["error"]]
        self.problems = [f"{each['machine']}: {each['error']}" if each["machine"] else each["error"] for each in found if each["error"]]
        self.problems += [f"{each['machine']}: {each['left_out']} more are not shown" for each in found if each["left_out"]]

    @classmethod
    async def of_all(cls, seat: Seat, verb: str, arguments: dict[str, Any]) -> Said:
        return cls(await seat.control.ask("machines", {"verb": verb, "arguments": arguments, "operator": seat.operator}))

    def lists(self) -> list[tuple[str, Any]]:
        return [(machine, each) for machine, answer in self.answers if isinstance(answer, list) for each in answer]

    def end(self) -> None:
        """Raises ControlError where somebody has not answered."""
        if self.problems:
            raise ControlError("\n".join(self.problems))


def _entry(machine: str, said: Any) -> dict[str, Any]:
    known = said if isinstance(said, dict) else {}
    return {"machine": machine} | {name: _like(known.get(name), default) for name, default in _UNKNOWN.items()}


def _like(value: Any, default: Any) -> Any:
    return value if isinstance(value, str if isinstance(default, str) else int | float) else default


@verb("who")
@filters
@machines_option
@json_option
async def who(seat: Seat, as_json: bool, everywhere: bool, **wanted: Any) -> None:
    """List the sessions.

    STATE is login (not signed in yet), tunnel (octets pass unread), watch (a plugin or a trace reads along) or closing.
    """
    arguments = {name: value for name, value in wanted.items() if value is not None}
    said = await Said.of_all(seat, "who", arguments) if everywhere else Said([])
    found = [_entry(*each) for each in said.lists()] if everywhere else await seat.control.ask("who", arguments)
    if as_json:
        seat.json(found)
    else:
        _list(seat, found, everywhere=everywhere)
    said.end()


def _list(seat: Seat, found: list[dict[str, Any]], *, everywhere: bool) -> None:
    found.sort(key=lambda entry: (entry["user"], entry["id"]))
    seat.table(
        [
            *(["MACHINE"] if everywhere else []),
            "ID",
            "USER",
            "ADDRESS",
            "SERVER",
            "LISTENER",
            "STATE",
            "SINCE",
            "IDLE",
            "IN",
            "OUT",
            "CLIENT",
        ],
        (
            [
                *([entry["machine"]] if everywhere else []),
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
@machines_option
@json_option
async def show(seat: Seat, id: str, everywhere: bool, as_json: bool) -> None:
    """Show all that is known of session ID."""
    if everywhere:
        said = await Said.of_all(seat, "show", {"id": id})
        found = next(({"machine": machine, **answer} for machine, answer in said.answers if isinstance(answer, dict)), None)
        if found is None:
            said.end()
    else:
        found = await seat.control.ask("show", {"id": id})
    if found is None:
        raise ControlError(f"there is no session {id}")
    if as_json:
        seat.json(found)
        return
    seat.table(["", ""], ([name, _words(name, value)] for name, value in found.items()))


def _words(name: str, value: Any) -> str:
    if name in ("seconds", "idle") and isinstance(value, int | float):
        return span(value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={inner}" for key, inner in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@verb("kick", role="act")
@click.argument("id", required=False)
@click.option("--user", metavar="USER", help="Those of this user.")
@click.option("--address", metavar="ADDRESS", help="Those from this address.")
@click.option("--server", metavar="NAME", help="Those at this server.")
@click.option("--all", "everybody", is_flag=True, help="All of them.")
@click.option("--text", metavar="TEXT", help="What the clients are told, where they can be told something.")
@machines_option
@json_option
async def kick(seat: Seat, id: str | None, everybody: bool, text: str | None, everywhere: bool, as_json: bool, **whom: str | None) -> None:
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
    said = await Said.of_all(seat, "kick", wanted) if everywhere else Said([])
    ids = [str(each) for _, each in said.lists()] if everywhere else await seat.control.ask("kick", wanted)
    if id and not ids:
        said.end()
        raise ControlError(f"there is no session {id}")
    if as_json:
        seat.json(ids)
    else:
        seat.say(f"{len(ids)} session{'' if len(ids) == 1 else 's'} ended")
    said.end()
