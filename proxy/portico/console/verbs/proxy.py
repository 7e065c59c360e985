"""``plugins``, ``settings``, ``certs``, ``stats``, ``reload``, ``drain``, ``log-level``: the proxy as a whole.

Rule of this file: questions to the Control, answers as tables or JSON.
"""

from __future__ import annotations

from typing import Any

import click

from portico.config.units import HOURS
from portico.console.seat import Seat, octets, span
from portico.console.verb import json_option, must_act, verb
from portico.console.verbs.sessions import TIME


@verb("plugins")
@json_option
async def plugins(seat: Seat, as_json: bool) -> None:
    """List the plugins that take part, and where."""
    found = await seat.control.ask("plugins", {})
    if as_json:
        seat.json(found)
        return
    rows = ([each["plugin"], each["version"], " ".join(each["listeners"]), " ".join(each["hooks"])] for each in found)
    seat.table(["PLUGIN", "VERSION", "LISTENERS", "HOOKS"], rows)


@verb("settings")
@json_option
async def settings(seat: Seat, as_json: bool) -> None:
    """Print the settings that hold for new sessions, defaults included, secrets blotted out."""
    found = await seat.control.ask("settings", {})
    if as_json:
        seat.json(found)
    else:
        seat.say(f"# {found['path'] or 'from no file'}\n{found['text']}".rstrip())


@verb("certs")
@json_option
async def certs(seat: Seat, as_json: bool) -> None:
    """List the certificates in use, and how long they last."""
    found = await seat.control.ask("certs", {})
    if as_json:
        seat.json(found)
        return
    rows = (
        [
            _of(each),
            " ".join(each["names"]),
            each["key"],
            each["not_after"][:10],
            _left(each),
            each["path"],
        ]
        for each in found
    )
    seat.table(["OF", "NAMES", "KEY", "UNTIL", "LEFT", "FILE"], rows, numbers=("LEFT",))


def _of(certificate: dict[str, Any]) -> str:
    return str(certificate.get("listener") or certificate.get("server", ""))


def _left(certificate: dict[str, Any]) -> str:
    left = certificate["seconds_left"]
    return "expired" if left < 0 else f"{left / HOURS / 24:.0f}d" if left > 48 * HOURS else span(left)


@verb("stats")
@json_option
async def stats(seat: Seat, as_json: bool) -> None:
    """Print counters: since the processes began, and of the moment."""
    found = await seat.control.ask("stats", {})
    if as_json:
        seat.json(found)
        return
    rows = []
    for name, value in found.items():
        if isinstance(value, dict):
            words = ", ".join(f"{key} {inner}" for key, inner in value.items())
        elif name in ("bytes_in", "bytes_out"):
            words = octets(value)
        else:
            words = span(value) if name == "seconds" else str(value)
        rows.append([name, words])
    seat.table(["", ""], rows)


@verb("reload", role="act")
async def reload(seat: Seat) -> None:
    """Read the settings file again. With a mistake in it, everything stays as it is."""
    said = await seat.control.ask("reload", {})
    for text in said.get("warnings", ()):
        seat.say(f"warning: {text}")
    seat.say(f"{said['path']}: new sessions have these settings; {said['sessions']} keep theirs")


@verb("drain", role="act")
@click.option("--within", type=TIME, metavar="TIME", help="End all sessions that are still there after so long; default: workers.drain.")
@click.option("--yes", is_flag=True, help="Needed, since it ends Portico.")
async def drain(seat: Seat, within: float | None, yes: bool) -> None:
    """End Portico: accept nothing more, tell the sessions, wait for them."""
    if not yes:
        raise click.UsageError("this ends Portico: say --yes (to take one server out of use: servers --drain NAME)")
    said = await seat.control.ask("drain", {"seconds": within})
    seat.say(f"draining; {said['sessions']} sessions are asked to end")


@verb("log-level")
@click.argument("level", required=False, type=click.Choice(["debug", "info", "warning", "error"]))
async def log_level(seat: Seat, level: str | None) -> None:
    """Show the least level that is logged, or change it until the next reload."""
    if level is not None:
        must_act(seat)
    said = await seat.control.ask("log_level", {"level": level})
    seat.say(said["level"] if level is None else f"{said['before']} -> {said['level']}")
