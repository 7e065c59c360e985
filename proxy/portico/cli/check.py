"""``portico check``.

Rule of this file: everything that `run` checks before it starts, and nothing started.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from portico.cli.output import say, warn
from portico.cli.where import settings_file, settings_option

if TYPE_CHECKING:
    from portico.config.settings import Portico


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
    from portico.plugin.loading import mistakes

    file = settings_file(config)
    loaded = read(file, further=mistakes)
    warn(loaded.warnings)
    if show:
        click.echo(as_toml(with_options(loaded.settings, file)), nl=False)
        return
    listeners, servers = len(loaded.settings.listeners), len(loaded.settings.servers)
    say(f"{file}: good: {_count(listeners, 'listener')}, {_count(servers, 'server')}", style="green")


def with_options(settings: Portico, file: Path) -> Portico:
    """The settings with the options of plugins that hold on each listener: general and own ones together, and defaults. What the plugin
    says is a secret, or is named like one, is one."""
    from portico.config.show import SECRET_NAME
    from portico.errors import Secret
    from portico.plugin.host import Host
    from portico.plugin.options import Values

    def blotted(values: Values) -> Values:
        named = {name: Secret(str(value)) for name, value in values if isinstance(value, str | list | dict) and SECRET_NAME.search(name)}
        return values.model_copy(update=named)

    host = Host.load(settings, lambda *_: None, directory=file.absolute().parent)
    listeners = {
        name: listener.model_copy(update={"plugins": {plugin: blotted(values) for plugin, values in host.options[name].items()}})
        for name, listener in settings.listeners.items()
    }
    return settings.model_copy(update={"listeners": listeners, "plugins": {}})


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
