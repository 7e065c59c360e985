"""A verb of the console: a click command whose function is a coroutine.

Rule of this file: from words to a call. click parses; nothing of it ever writes to this process's own standard output, or ends it.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import click

from portico.config.near import near
from portico.console.control import Denied, Role
from portico.console.seat import Seat
from portico.errors import PorticoError

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
DENIED: Final = 77
"""The operator may only look (sysexits.h: EX_NOPERM)."""

Event = Callable[[str, Mapping[str, Any]], None]
Function = Callable[..., Awaitable[None]]


class _Help(click.ClickException):
    """Somebody asked for it."""


class Verb(click.Command):
    """`role`: who may use it."""

    def __init__(self, *args: Any, role: Role = "look", **more: Any) -> None:
        super().__init__(*args, **more)
        self.role: Role = role

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        def helped(ctx: click.Context, _: click.Parameter, value: bool) -> None:
            if value and not ctx.resilient_parsing:
                raise _Help(ctx.get_help())

        return click.Option(
            ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=helped, help="Show this message and exit."
        )


def verb(name: str, *, role: Role = "look") -> Callable[[Function], Verb]:
    """Make a verb of ``async def f(seat, *, …)``; its options come above it, as click has them."""

    def made(function: Function) -> Verb:
        return click.command(name, cls=Verb, role=role)(click.pass_obj(function))

    return made


json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_ROOM: Final = "portico.console.verbs"
_WHERE: Final[Mapping[str, str]] = {
    "who": "sessions", "show": "sessions", "kick": "sessions", "trace": "trace", "top": "top",
    "hold": "holds", "release": "holds", "holds": "holds",
    "servers": "servers",
    "plugins": "proxy", "settings": "proxy", "certs": "proxy", "stats": "proxy", "reload": "proxy", "drain": "proxy", "log-level": "proxy",
    "help": "help",
}  # fmt: skip
"""Each verb, in the order of `help`, and its file."""
NAMES: Final = tuple(_WHERE)


def verb_named(name: str) -> Verb | None:
    if name not in _WHERE:
        return None
    found = getattr(importlib.import_module(f"{_ROOM}.{_WHERE[name]}"), name.replace("-", "_"))
    assert isinstance(found, Verb)
    return found


def must_act(seat: Seat) -> None:
    """Raises Denied where the operator may only look."""
    if not seat.may_act:
        raise Denied


@dataclass(frozen=True, slots=True)
class OfPlugin:
    """A command of a plugin, as the Control describes it."""

    name: str
    plugin: str
    help: str
    role: Role


async def of_plugins(seat: Seat) -> list[OfPlugin]:
    """The commands of plugins, without those that have the name of a verb; of what cannot be asked, none."""
    with suppress(PorticoError):
        found = await seat.control.ask("plugin_commands", {})
        return [OfPlugin(each["name"], each["plugin"], each["help"], each["role"]) for each in found if each["name"] not in _WHERE]
    return []


async def obey(seat: Seat, words: str | Sequence[str], event: Event) -> int:
    """Do what an operator says; the exit code. Everything said, done or refused is logged."""
    if isinstance(words, str):
        try:
            words = shlex.split(words)
        except ValueError as error:
            seat.say(f"{error}", style="red", err=True)
            return USAGE
    if not words:
        return OK
    name, *arguments = words
    known = verb_named(name)
    code, text = OK, "the operator has left"  # unless it comes to an end
    try:
        code, text = await (_obey_verb(seat, known, arguments) if known is not None else _obey_other(seat, name, arguments))
    except Exception:
        code, text = FAILED, "it came to no end"
        raise
    finally:
        _tell(event, seat, name, arguments if known is not None else None, code, text)
    return code


def _tell(event: Event, seat: Seat, name: str, arguments: Sequence[str] | None, code: int, text: str) -> None:
    """`arguments`: None for a command that is not ours; what a plugin is given may be secret, and what nobody knows may be anything."""
    fields = {"operator": seat.operator, "role": seat.role, "verb": name if arguments is not None or code != USAGE else "?"}
    event("console.command", {**fields, "arguments": list(arguments or ()), "ok": code == OK, **({"text": text} if text else {})})


async def _obey_verb(seat: Seat, known: Verb, arguments: Sequence[str]) -> tuple[int, str]:
    name = known.name or ""
    try:
        context = known.make_context(name, list(arguments), obj=seat, terminal_width=min(seat.terminal.columns, 120))
        if known.role == "act":
            must_act(seat)
        with context:
            await known.invoke(context)
    except _Help as asked:
        seat.say(asked.message)
    except click.UsageError as error:
        hint = f"{name} --help tells more" if name != "help" else ""
        seat.say(f"{error.format_message()}{'; ' if hint else ''}{hint}", style="red", err=True)
        return USAGE, "wrong usage"
    except PorticoError as error:
        return _failed(seat, error)
    return OK, ""


async def _obey_other(seat: Seat, name: str, arguments: Sequence[str]) -> tuple[int, str]:
    found = next((each for each in await of_plugins(seat) if each.name == name), None)
    if found is None:
        seat.say(f"there is no command {name!r}{near(name, NAMES)}; help lists them", style="red", err=True)
        return USAGE, "no such command"
    try:
        if found.role == "act":
            must_act(seat)
        answers = await seat.control.ask("plugin_run", {"name": name, "arguments": list(arguments)})
    except PorticoError as error:
        return _failed(seat, error)
    for answer in answers:
        if isinstance(answer, str):
            seat.say(answer)
        else:
            seat.json(answer)
    return OK, ""


def _failed(seat: Seat, error: PorticoError) -> tuple[int, str]:
    details = getattr(error, "details", None)
    lines = [str(error), *(f"  {line}" for line in _lines(details))]
    seat.say("\n".join(lines), style="red", err=True)
    return DENIED if isinstance(error, Denied) else FAILED, str(error)


def _lines(details: Any) -> list[str]:
    if isinstance(details, dict):
        details = details.get("problems", [])
    return [str(line) for line in details] if isinstance(details, list) else []
