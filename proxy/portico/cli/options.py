"""Plugins that are installed, and those that a settings file names.

Rule of this file: what the distributions say of themselves (entry points of the group `portico.plugins`); no plugin is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final

from portico.config.document import KeyPath, Problem
from portico.config.load import Loaded
from portico.config.near import near
from portico.errors import SettingsError

GROUP: Final = "portico.plugins"


@dataclass(frozen=True, slots=True)
class Installed:
    """One plugin, as its distribution announces it."""

    name: str
    """As in the settings: ``[plugins.<name>]``."""
    distribution: str
    version: str
    module: str


def installed() -> list[Installed]:
    """All plugins of this Python environment, by name."""
    found = [
        Installed(entry.name, entry.dist.name if entry.dist else "", entry.dist.version if entry.dist else "", entry.value)
        for entry in entry_points(group=GROUP)
    ]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))


def check_options(loaded: Loaded, names: Sequence[str] | None = None) -> None:
    """SettingsError with a line for each plugin that is named in the settings and not installed. `names`: those that are."""
    known = [plugin.name for plugin in installed()] if names is None else list(names)
    named: list[KeyPath] = [("plugins", name) for name in loaded.settings.plugins]
    for listener, settings in loaded.settings.listeners.items():
        named += [("listeners", listener, "plugins", name) for name in settings.plugins]
    possible = f"installed: {', '.join(known)}" if known else "none is installed"
    problems = [
        Problem(path, f"there is no such plugin; {possible}{near(str(path[-1]), known)}") for path in named if path[-1] not in known
    ]
    if problems:
        raise SettingsError(loaded.document.problems(problems))
