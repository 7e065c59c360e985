"""``portico check``.

Rule of this file: everything that `run` checks before it starts, and nothing started.
"""

from __future__ import annotations

from pathlib import Path

import click

from portico.cli.output import say, warn
from portico.cli.where import settings_file, settings_option


@click.command()
@settings_option
@click.option("--show", is_flag=True, help="Print all settings that hold, defaults included, as TOML; secrets are blotted out.")
def check(config: Path | None, show: bool) -> None:
    """Check a settings file; say everything that is wrong.

    Mistakes are printed one a line, as FILE:LINE: KEY: what was found; what is possible. Exit code 3 if there are any;
    warnings do not count.
    """
    from portico.config.load import read
    from portico.config.show import as_toml
    from portico.plugin.host import mistakes

    file = settings_file(config)
    loaded = read(file, further=mistakes)
    warn(loaded.warnings)
    if show:
        click.echo(as_toml(loaded.settings), nl=False)
        return
    listeners, servers = len(loaded.settings.listeners), len(loaded.settings.servers)
    say(f"{file}: good: {_count(listeners, 'listener')}, {_count(servers, 'server')}", style="green")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
