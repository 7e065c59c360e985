"""What Tab does at the prompt: names of verbs, their options and choices, and the sessions, users and servers that were there last.

Rule of this file: from a line and a place in it to another line; nothing is asked while a key is pressed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import click

from portico.console.seat import Seat
from portico.console.verb import NAMES, Verb, of_plugins, verb_named
from portico.errors import PorticoError

_MOST: Final = 60
"""Choices shown."""
_FEW: Final = 1000
"""Sessions; with more of them nobody wants to choose among all, and nobody waits for them."""
_KINDS: Final = {"id": "sessions", "user": "users", "--user": "users", "server": "servers", "--server": "servers", "--drain": "servers",
                 "--undrain": "servers", "--address": "addresses", "--listener": "listeners", "whom": "whom", "name": "verbs"}  # fmt: skip


async def learn(seat: Seat) -> None:
    """Keep what can be named, for the next line."""
    with suppress(PorticoError):
        few = (await seat.control.ask("stats", {}))["sessions"] <= _FEW
        found = await seat.control.ask("who", {}) if few else []
        seat.names = {
            "sessions": sorted(entry["id"] for entry in found),
            "users": sorted({entry["user"] for entry in found if entry["user"]}),
            "addresses": sorted({entry["rip"] for entry in found}),
            "listeners": sorted({entry["listener"] for entry in found}),
            "servers": sorted({entry["server"] for entry in await seat.control.ask("servers", {})}),
        }
        seat.names["whom"] = seat.names["users"] + seat.names["sessions"]
        seat.names["verbs"] = [*NAMES, *(each.name for each in await of_plugins(seat))]


def complete(seat: Seat, line: str, pos: int) -> tuple[str, int, list[str]]:
    """The line with what is certain, the place in it, and the choices where several are left."""
    before, after = line[:pos], line[pos:]
    head, word = (before.rpartition(" ")[0].split(), before.rpartition(" ")[2]) if " " in before else ([], before)
    found = sorted({each for each in _possible(seat, head, word) if each.startswith(word) and each.isprintable() and " " not in each})
    if not found:
        return line, pos, []
    common = found[0][: next((i for i, each in enumerate(zip(*found, strict=False)) if len(set(each)) > 1), min(map(len, found)))]
    whole = common + " " if len(found) == 1 else common
    made = before[: len(before) - len(word)] + whole
    return made + after, len(made), found[:_MOST] if len(found) > 1 and common == word else []


def _possible(seat: Seat, head: list[str], word: str) -> list[str]:
    if not head:
        return [*(seat.names.get("verbs") or NAMES), "exit"]
    known = verb_named(head[0])
    if known is None:
        return []
    if (option := _option(known, head[-1])) is not None:
        return _values(seat, head[-1], option)
    if word.startswith("-"):
        return [name for each in known.params for name in each.opts if name.startswith("--")] + ["--help"]
    return [value for each in known.params if isinstance(each, click.Argument) for value in _values(seat, each.name or "", each)]


def _option(known: Verb, word: str) -> click.Option | None:
    """The option that the next word is the value of."""
    return next((each for each in known.params if isinstance(each, click.Option) and word in each.opts and not each.is_flag), None)


def _values(seat: Seat, name: str, parameter: click.Parameter) -> list[str]:
    if isinstance(parameter.type, click.Choice):
        return list(parameter.type.choices)
    return seat.names.get(_KINDS.get(name, ""), [])
