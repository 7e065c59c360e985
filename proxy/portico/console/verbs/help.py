"""``help``.

Rule of this file: it lists what there is, and says it in each verb's own words.
"""

from __future__ import annotations

import click

from portico.console.seat import Seat
from portico.console.verb import NAMES, of_plugins, verb, verb_named


@verb("help")
@click.argument("name", metavar="[VERB]", required=False)
async def help(seat: Seat, name: str | None) -> None:
    """List the commands, or tell of one."""
    if name is not None:
        known = verb_named(name)
        if known is None:
            raise click.UsageError(f"there is no command {name!r}")
        seat.say(known.get_help(click.Context(known, info_name=name, terminal_width=min(seat.terminal.columns, 120))))
        return
    rows = [[known.name or "", known.get_short_help_str(100), known.role] for known in filter(None, map(verb_named, NAMES))]
    rows += [[each.name, f"{each.help} (plugin {each.plugin})", each.role] for each in await of_plugins(seat)]
    seat.table(["COMMAND", "WHAT IT DOES", "ROLE"], rows)
    seat.say("Each takes --help; those that list take --json. exit leaves the console.")
