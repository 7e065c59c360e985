"""Plugins that are installed, and what each says of itself.

Rule of this file: each plugin is imported to be asked; one that cannot be is told with its error, and the others are listed all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

from pydantic.fields import FieldInfo

from portico.config.schema import kind_of
from portico.config.settings import Portico
from portico.config.show import value_text
from portico.errors import PluginError
from portico.plugin.loading import GROUP, load_entry
from portico.plugin.options import ENABLED, Option


@dataclass(frozen=True, slots=True)
class Declared:
    """One option of a plugin."""

    name: str
    type: str
    unit: str
    default: str | None
    """As TOML would write it, as far as it has a way; None: it must be set."""
    help: str


@dataclass(frozen=True, slots=True)
class Installed:
    """One plugin."""

    name: str
    """As in the settings: ``[plugins.<name>]``."""
    distribution: str
    version: str
    module: str
    hooks: tuple[str, ...] = ()
    interests: tuple[str, ...] = ()
    options: tuple[Declared, ...] = ()
    error: str = ""
    """Why it cannot be loaded; empty: it can."""
    listeners: tuple[str, ...] = field(default=())
    """On which it takes part, by the settings file that was asked about."""


def installed(settings: Portico | None = None) -> list[Installed]:
    """All plugins of this Python environment, by name; with `settings`, those that they name."""
    found = [_asked(entry, taking_part(settings, entry.name) if settings is not None else ()) for entry in entry_points(group=GROUP)]
    if settings is not None:
        found = [plugin for plugin in found if plugin.listeners]
    return sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))


def taking_part(settings: Portico, name: str) -> tuple[str, ...]:
    """The listeners on which a plugin takes part."""
    general = settings.plugins.get(name)
    return tuple(
        listener
        for listener, own in settings.listeners.items()
        if (general is not None or name in own.plugins) and {**(general or {}), **own.plugins.get(name, {})}.get(ENABLED, True)
    )


def _asked(entry: EntryPoint, listeners: tuple[str, ...]) -> Installed:
    distribution, version = (entry.dist.name, entry.dist.version) if entry.dist else ("", "")
    try:
        loaded = load_entry(entry)
    except PluginError as error:
        return Installed(entry.name, distribution, version, entry.value, error=error.text, listeners=listeners)
    options = tuple(_declared(option, loaded.model.model_fields[option.name]) for option in loaded.options)
    return Installed(entry.name, distribution, version, entry.value, loaded.hooks, loaded.interests, options, "", listeners)


def _declared(option: Option, field: FieldInfo) -> Declared:
    default = None if option.required else "not set" if field.default is None else value_text(field.default, kind_of(field))
    return Declared(option.name, option.type_name, option.unit, default, option.help)
