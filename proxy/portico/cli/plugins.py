"""``portico plugins``.

Rule of this file: a table for people, JSON for programs; what is in it comes from `cli.options`.
"""

from __future__ import annotations

import dataclasses
import json

import click

from portico.cli.output import console, say


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(as_json: bool) -> None:
    """List the plugins that are installed.

    A plugin takes part where the settings name it: [plugins.NAME] for all listeners, [listeners.LISTENER.plugins.NAME] for one.
    """
    from portico.cli.options import installed

    found = installed()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(plugin) for plugin in found], indent=2))
        return
    if not found:
        say("no plugin is installed in this Python environment")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("name", "distribution", "version", "module"):
        table.add_column(heading, overflow="fold")
    for plugin in found:
        table.add_row(plugin.name, plugin.distribution, plugin.version, plugin.module)
    console().print(table)
