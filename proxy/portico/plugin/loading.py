"""Which plugins there are, what each says of itself, and what is wrong with what the settings say of them.

Rule of this file: a plugin's own code runs here, before anything has started: whatever it raises becomes a PluginError with its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import pluggy

from portico.config.document import KeyPath, Problem
from portico.config.near import near
from portico.config.units import Reading
from portico.errors import PluginError
from portico.plugin.hooks import ORDER, PROJECT, Hooks
from portico.plugin.options import ENABLED, Option, Values, model_of, read

GROUP: Final = "portico.plugins"
_DECLARED: Final = re.compile(r"(?:command|response|fetch item) \S+|annotations|transforms|mounts|sizes")

Made = TypeVar("Made")
Plugins = Mapping[str, object]
"""Plugins by name that are not installed, or stand in for installed ones (tests)."""


class Function(NamedTuple):
    """A plugin's implementation of a hook, and the names of the arguments that it takes."""

    hook: str
    call: Callable[..., Any]
    takes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin, and what it says of itself (`portico plugins`)."""

    name: str
    plugin: object
    distribution: str
    version: str
    hooks: tuple[str, ...]
    options: tuple[Option, ...]
    interests: tuple[str, ...]
    """What it may be interested in, as its attribute `portico_interests` says: ``command SELECT``, ``fetch item *``, …"""
    model: type[Values]
    functions: tuple[Function, ...]

    def objections(self, listener: str, protocol: str, options: Values, servers: Sequence[str] = ()) -> list[str]:
        """What `settings_checked` says against the options on a listener."""
        arguments = {"listener": listener, "protocol": protocol, "servers": servers, "options": options}
        said = []
        for function in self.functions:
            if function.hook == "settings_checked":
                ask = partial(function.call, *[arguments[name] for name in function.takes])
                try:
                    said.append(_made(self.name, "settings_checked failed", ask))
                except PluginError as error:
                    said.append(error.text)
        return [str(text) for text in said if text]


def mistakes(data: Mapping[str, Any], directory: Path | None = None, *, extra: Plugins | None = None) -> list[Problem]:
    """What is wrong with the plugins that a settings file names and with their options; each plugin named is imported.

    `data`: the file's tables, good or not. Each mistake is told once, where it stands.
    """
    there_are = known(extra)
    problems: dict[Problem, None] = {}
    loaded: dict[str, Loaded | None] = {}
    for path, _ in tables(data):
        name = str(path[-1])
        if name not in there_are:
            possible = f"installed: {', '.join(sorted(there_are))}" if there_are else "none is installed"
            problems[Problem(path, f"there is no such plugin; {possible}{near(name, there_are)}")] = None
            continue
        if name not in loaded:
            try:
                loaded[name] = there_are[name]()
            except PluginError as error:
                loaded[name] = None
                problems[Problem(path, error.text)] = None
    reading = Reading(directory) if directory is not None else None
    for path, table in tables(data):
        plugin = loaded.get(str(path[-1]))
        if plugin is None:
            continue
        general = _table(data, "plugins", plugin.name)
        if path[0] == "plugins" and all(plugin.name in _table(each, "plugins") for each in _listeners(data).values()):
            continue  # it holds nowhere alone, and is looked at with each listener's own
        whole = {**general, **table}
        if whole.get(ENABLED) is False:
            continue  # switched off: what is missing in it is not missed
        values, wrong = read(plugin.model, whole, reading)
        for key, text in wrong:
            own = key in table or key not in general
            where = path if own else ("plugins", plugin.name)
            problems[Problem((*where, key) if key else where, text)] = None
        if values is not None:
            for listener, protocol in _where(data, path):
                for text in plugin.objections(listener, protocol, values, _speaking(data, protocol)):
                    problems[Problem(path, f"on listener {listener}: {text}")] = None
    return list(problems)


def _where(data: Mapping[str, Any], path: KeyPath) -> Iterator[tuple[str, str]]:
    """The listeners, with their protocols, on which the table at `path` is what holds for its plugin."""
    for name, table in _listeners(data).items():
        general = path[0] == "plugins" and str(path[-1]) not in _table(table, "plugins")
        if general or path[:2] == ("listeners", name):
            yield name, str(table.get("protocol", ""))


def _speaking(data: Mapping[str, Any], protocol: str) -> list[str]:
    """The servers that have an address for `protocol`."""
    return sorted(name for name, table in _table(data, "servers").items() if isinstance(table, Mapping) and table.get(protocol))


def tables(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
    """Wherever a settings file names a plugin, with what it says there; what is no table is somebody else's mistake."""
    for name, table in _table(data, "plugins").items():
        if isinstance(table, Mapping):
            yield ("plugins", name), table
    for listener, own in _listeners(data).items():
        for name, table in _table(own, "plugins").items():
            if isinstance(table, Mapping):
                yield ("listeners", listener, "plugins", name), table


def _listeners(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {name: table for name, table in _table(data, "listeners").items() if isinstance(table, Mapping)}


def _table(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for name in path:
        data = data.get(name, {}) if isinstance(data, Mapping) else {}
    return data if isinstance(data, Mapping) else {}


def known(extra: Plugins | None) -> dict[str, Callable[[], Loaded]]:
    """How each plugin that there is can be loaded."""
    announced: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        announced.setdefault(entry.name, []).append(entry)
    installed: dict[str, Callable[[], Loaded]] = {name: partial(_load_one, entries) for name, entries in announced.items()}
    return installed | {name: partial(inspect, name, plugin) for name, plugin in (extra or {}).items()}


def _load_one(entries: Sequence[EntryPoint]) -> Loaded:
    if len(entries) > 1:
        by = " and ".join(sorted(entry.dist.name if entry.dist else entry.value for entry in entries))
        raise PluginError(entries[0].name, f"is installed twice, by {by}")
    return load_entry(entries[0])


def load_entry(entry: EntryPoint) -> Loaded:
    """The plugin behind an entry point. Raises PluginError."""
    plugin = _made(entry.name, "cannot be imported", entry.load)
    distribution = entry.dist
    return inspect(entry.name, plugin, distribution.name if distribution else "", distribution.version if distribution else "")


def inspect(name: str, plugin: object, distribution: str = "", version: str = "") -> Loaded:
    """What a plugin has: a class is made an object of, a module or an object is taken as it is. Raises PluginError for
    hooks that there are not and arguments that a hook does not have."""
    if isinstance(plugin, type):
        plugin = _made(name, "cannot be made", plugin)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(name, str(error).replace("\n", " ")) from error
    functions: list[Function] = []
    for caller in manager.get_hookcallers(plugin) or []:
        if caller.spec is None:
            raise PluginError(name, f"there is no hook {caller.name}; possible: {', '.join(ORDER)}{near(caller.name, ORDER)}")
        for found in caller.get_hookimpls():
            if found.hookwrapper or found.wrapper:
                raise PluginError(name, f"{caller.name} is a wrapper: plugins are called one by one")
            functions.append(Function(caller.name, found.function, tuple(found.argnames)))
    if not functions:
        raise PluginError(name, "has no hook: is the decorator @hookimpl missing?")
    options, model = _made(name, "settings_declared failed", partial(_options, name, functions))
    hooks = tuple(sorted({found.hook for found in functions}, key=ORDER.index))
    return Loaded(name, plugin, distribution, version, hooks, options, _interests(name, plugin), model, tuple(functions))


def _options(name: str, functions: Sequence[Function]) -> tuple[tuple[Option, ...], type[Values]]:
    options: tuple[Option, ...] = ()
    for function in functions:
        if function.hook == "settings_declared":
            options += tuple(function.call())
    return options, model_of(name, options)


def _made(name: str, complaint: str, make: Callable[[], Made]) -> Made:
    """What a plugin's own code makes. Raises PluginError, whatever it raises."""
    try:
        return make()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(name, f"{complaint}: {type(error).__name__}: {error}") from error


def _interests(name: str, plugin: object) -> tuple[str, ...]:
    """What the plugin declares, with names in upper case. Raises PluginError for what is no such declaration."""
    declared: Any = getattr(plugin, "portico_interests", ())
    if isinstance(declared, str) or not isinstance(declared, Iterable):
        raise PluginError(name, "portico_interests: a tuple of texts is expected")
    found = []
    for each in declared:
        if not isinstance(each, str) or _DECLARED.fullmatch(each) is None:
            raise PluginError(name, f"portico_interests: {each!r} is none of 'command NAME', 'response NAME', 'fetch item NAME'")
        kind, _, word = each.rpartition(" ")
        found.append(f"{kind} {word.upper()}" if kind else each)
    return tuple(found)
