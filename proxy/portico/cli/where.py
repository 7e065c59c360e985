"""Which settings file.

Rule of this file: the only place that knows the names and the order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from portico.errors import SettingsError

DEFAULT_FILES: Final = ("portico.toml", "/etc/portico/portico.toml")
VARIABLE: Final = "PORTICO_CONFIG"


def settings_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``-c FILE``; the command gets it as `config`, None where none was given."""
    return click.option(
        "-c",
        "--config",
        envvar=VARIABLE,
        show_envvar=True,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help=f"Settings file.  [default: ./{DEFAULT_FILES[0]}, else {DEFAULT_FILES[1]}]",
    )(command)


def settings_file(given: Path | None) -> Path:
    """The file to read. SettingsError where none was given and none is in the usual places."""
    if given is not None:
        return given
    for name in DEFAULT_FILES:
        if Path(name).is_file():
            return Path(name)
    raise SettingsError([f"there is no ./{DEFAULT_FILES[0]} and no {DEFAULT_FILES[1]}; name the settings file with -c FILE or {VARIABLE}"])
