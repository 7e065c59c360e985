"""``portico plugins``.

Rule of this file: tables for people, JSON for programs; what is in them comes from `cli.installed`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.exits import Exit
from portico.cli.output import complain, console, say

if TYPE_CHECKING:
    from portico.cli.installed import Installed


@click.command()
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Only those that this settings file names, with the listeners on which they take part.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """List the plugins that are installed: versions, hooks, interests, options.

    A plugin takes part where the settings name it: [plugins.NAME] for all listeners, [listeners.LISTENER.plugins.NAME] for one.
    """
    from portico.cli.installed import installed
    from portico.config.load import load
    from portico.plugin.loading import mistakes

    found = installed(load(config, further=mistakes) if config is not None else None)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(plugin) for plugin in found], indent=2))
    elif not found:
        say("the settings name no plugin" if config is not None else "no plugin is installed in this Python environment")
    else:
        _print(found, listeners=config is not None)
    for plugin in found:
        if plugin.error and not as_json:
            complain(f"{plugin.name}: {plugin.error}")
    if any(plugin.error for plugin in found):
        ctx.exit(Exit.FAILED)


def _print(found: Sequence[Installed], *, listeners: bool) -> None:
    where = ["listeners"] if listeners else []
    _table(
        ["name", "distribution", "version", *where, "hooks", "interests"],
        (
            [
                plugin.name,
                plugin.distribution,
                plugin.version,
                *([", ".join(plugin.listeners)] if listeners else []),
                ", ".join(plugin.hooks) or "cannot be loaded",
                ", ".join(plugin.interests) or "none",
            ]
            for plugin in found
        ),
    )
    for plugin in found:
        if plugin.options:
            say(f"\nOptions of {plugin.name}:\n")
            rows = (
                [option.name, " ".join(filter(None, (option.type, option.unit))), _default(option.default), option.help]
                for option in plugin.options
            )
            _table(["option", "type", "default", "meaning"], rows)


def _default(default: str | None) -> str:
    return "must be set" if default is None else default


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)
