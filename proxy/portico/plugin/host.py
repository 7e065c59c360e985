"""Who calls the plugins.

Rule of this file: one class owns pluggy's manager and gives each hook a typed method. A plugin is called only on the listeners that
name it; where nobody answers to a hook the method returns at once. A plugin that raises, or is too slow, is reported with its name, and
the hook's rule applies (plugin.hooks): logins fail closed, observers fail open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from inspect import isawaitable
from pathlib import Path
from typing import Any, Final

import pluggy

import portico
from portico.config.document import KeyPath, Problem, spell
from portico.config.near import near
from portico.config.settings import Portico
from portico.config.units import Reading
from portico.errors import PluginError, SettingsError
from portico.plugin.hooks import ORDER, PROJECT, Hooks, ProxyInfo, Summary
from portico.plugin.options import ENABLED, Option, Values, model_of, read
from portico.session.context import LoginAttempt, Refusal, RouteChoice, SessionView
from portico.session.interests import Compiled, Interests, Refuse, compile_interests

GROUP: Final = "portico.plugins"

Event = Callable[[str, dict[str, Any]], None]
Plugins = Mapping[str, object]
"""Plugins by name that are not installed, or stand in for installed ones (tests)."""


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
    """What it may be interested in, as its attribute `portico_interests` says: ``command SELECT``, ``fetch item UID``, …"""
    model: type[Values]


@dataclass(frozen=True, slots=True)
class _Call:
    """One plugin's implementation of one hook on one listener."""

    plugin: str
    function: Callable[..., Any]
    takes: tuple[str, ...]
    options: Values | None

    def __call__(self, known: Mapping[str, Any]) -> Any:
        return self.function(*[self.options if name == "options" else known[name] for name in self.takes])


@dataclass(frozen=True, slots=True)
class _Broken:
    """In place of what a plugin would have said."""

    plugin: str


class Host:
    """The plugins of one reading of the settings. Made by `load`."""

    def __init__(self, settings: Portico, event: Event, plugins: Sequence[Loaded], directory: Path | None = None) -> None:
        self.loaded = tuple(plugins)
        self._reading = Reading(directory) if directory is not None else None
        self._settings = settings
        self._event = event
        self._calls: dict[tuple[str, str], tuple[_Call, ...]] = {}
        """By listener and hook."""
        self._tasks: set[asyncio.Future[Any]] = set()
        self._limits = {name: listener.timeouts.plugin for name, listener in settings.listeners.items()}
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Hooks)
        for loaded in reversed(self.loaded):  # pluggy calls the last one first; we want the order of the settings
            self._manager.register(loaded.plugin, loaded.name)
        self._wire()

    def __repr__(self) -> str:
        return f"<Host {' '.join(self.names) or 'nobody'}>"

    # -- loading

    @classmethod
    def load(cls, settings: Portico, event: Event, *, directory: Path | None = None, extra: Plugins | None = None) -> Host:
        """Load the plugins that the settings name. `directory`: where relative paths in options start.

        Raises SettingsError, one line for each name, option or plugin that is wrong.
        """
        data = {
            "plugins": settings.plugins,
            "listeners": {name: {"plugins": listener.plugins} for name, listener in settings.listeners.items()},
        }
        problems = mistakes(data, directory, extra=extra)
        if problems:
            raise SettingsError([f"{spell(problem.key_path)}: {problem.text}" for problem in problems])
        known = _known(extra)
        names = dict.fromkeys(path[-1] for path, _ in _tables(data))
        host = cls(settings, event, [known[str(name)]() for name in names], directory)
        for loaded in host.loaded:
            event("plugin.loaded", {"plugin": loaded.name, "version": loaded.version})
        return host

    def _wire(self) -> None:
        """Who is called for what on which listener, with which options."""
        for name, listener in self._settings.listeners.items():
            active: dict[str, Values] = {}
            for loaded in self.loaded:
                general, own = self._settings.plugins.get(loaded.name), listener.plugins.get(loaded.name)
                table = {**(general or {}), **(own or {})}
                if (general is None and own is None) or not table.get(ENABLED, True):
                    continue
                values, wrong = read(loaded.model, table, self._reading)
                if values is None:
                    raise SettingsError([f"plugin {loaded.name}: {key}: {text}" for key, text in wrong])
                active[loaded.name] = values
            for hook in ORDER:
                impls = reversed(getattr(self._manager.hook, hook).get_hookimpls())
                calls = tuple(
                    _Call(impl.plugin_name, impl.function, tuple(impl.argnames), active[impl.plugin_name])
                    for impl in impls
                    if impl.plugin_name in active
                )
                if calls:
                    self._calls[name, hook] = calls

    # -- what others ask

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(loaded.name for loaded in self.loaded)

    @property
    def active(self) -> bool:
        """Whether any plugin is called on any listener."""
        return bool(self._calls)

    def chooses_routes(self, listener: str) -> bool:
        """Whether some plugin may choose the server there, so that none is known beforehand."""
        return (listener, "route_chosen") in self._calls

    # -- the life of the proxy

    async def started(self) -> None:
        """Raises PluginError if a plugin cannot start."""
        for call, listeners in self._each("proxy_started"):
            try:
                await self._settle(call({"proxy": ProxyInfo(portico.__version__, listeners)}), max(self._limits.values()))
            except Exception as error:
                raise PluginError(call.plugin, f"proxy_started failed: {type(error).__name__}: {error}") from error

    async def stopping(self) -> None:
        for call, _ in self._each("proxy_stopping"):
            try:
                await self._settle(call({}), max(self._limits.values()))
            except Exception as error:
                self._fault(call.plugin, "proxy_stopping", error, None)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)

    def _each(self, hook: str) -> Iterator[tuple[_Call, tuple[str, ...]]]:
        """Each plugin that answers to a hook of the proxy, once, with its listeners."""
        listeners: dict[str, list[str]] = {}
        first: dict[str, _Call] = {}
        for (listener, name), calls in self._calls.items():
            for call in calls:
                if name == hook:
                    listeners.setdefault(call.plugin, []).append(listener)
                    first.setdefault(call.plugin, call)
        for plugin, call in first.items():
            yield call, tuple(listeners[plugin])

    # -- the life of a session

    def client_connected(self, view: SessionView) -> Refusal | Awaitable[Refusal | None] | None:
        said: Refusal | Awaitable[Refusal | None] | None = self._first("client_connected", view, {"session": view}, _refusal("UNAVAILABLE"))
        return said

    def attempted(self, view: SessionView, attempt: LoginAttempt) -> Refusal | Awaitable[Refusal | None] | None:
        known = {"session": view, "attempt": attempt}
        said: Refusal | Awaitable[Refusal | None] | None = self._first("login_attempted", view, known, _refusal("AUTHORIZATIONFAILED"))
        return said

    def routed(self, view: SessionView, attempt: LoginAttempt) -> RouteChoice | Refusal | Awaitable[RouteChoice | Refusal | None] | None:
        refusal = _refusal("AUTHORIZATIONFAILED")

        def judge(said: Any) -> RouteChoice | Refusal | None:
            if isinstance(said, RouteChoice):
                return said if said.user else RouteChoice(said.server, attempt.user, said.verified)
            return refusal(said)

        said: RouteChoice | Refusal | Awaitable[RouteChoice | Refusal | None] | None = self._first(
            "route_chosen", view, {"session": view, "attempt": attempt}, judge
        )
        return said

    def session_opened(self, view: SessionView) -> Compiled | Awaitable[Compiled | None] | None:
        calls = self._calls.get((view.listener, "session_opened"))
        if calls is None:
            return None
        said: list[tuple[str, Any]] = []
        waits = False
        for call in calls:
            answer = self._call(call, "session_opened", view, {"session": view})
            waits = waits or isawaitable(answer)
            said.append((call.plugin, answer))
        if not waits:
            return self._compiled(view, said)
        return self._compiled_later(view, said)

    async def _compiled_later(self, view: SessionView, said: list[tuple[str, Any]]) -> Compiled | None:
        settled = [(plugin, await self._wait(plugin, "session_opened", view, answer)) for plugin, answer in said]
        return self._compiled(view, settled)

    def _compiled(self, view: SessionView, said: list[tuple[str, Any]]) -> Compiled | None:
        declared = {loaded.name: loaded.interests for loaded in self.loaded}
        good: list[tuple[str, Interests | None]] = []
        for plugin, interests in said:
            if interests is None or isinstance(interests, _Broken):
                continue
            if not isinstance(interests, Interests):
                self._fault(plugin, "session_opened", TypeError(f"{type(interests).__name__} returned"), view)
            elif strange := [name for name in spoken(interests) if name not in declared[plugin]]:
                self._fault(plugin, "session_opened", ValueError(f"not declared in portico_interests: {', '.join(strange)}"), view)
            else:
                good.append((plugin, interests))
        return compile_interests(view, good)

    def session_closed(self, view: SessionView, summary: Summary) -> None:
        for call in self._calls.get((view.listener, "session_closed"), ()):
            answer = self._call(call, "session_closed", view, {"session": view, "summary": summary})
            if isawaitable(answer):
                task = asyncio.ensure_future(self._wait(call.plugin, "session_closed", view, answer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    # -- calling

    def _first(self, hook: str, view: SessionView, known: Mapping[str, Any], judge: Callable[[Any], Any]) -> Any:
        """The first verdict of the plugins in order; at once where nobody has to be waited for."""
        calls = self._calls.get((view.listener, hook))
        if calls is None:
            return None
        for index, call in enumerate(calls):
            said = self._call(call, hook, view, known)
            if isawaitable(said):
                return self._first_later(calls[index:], said, hook, view, known, judge)
            verdict = self._judged(call, hook, view, said, judge)
            if verdict is not None:
                return verdict
        return None

    async def _first_later(
        self, calls: Sequence[_Call], waiting: Any, hook: str, view: SessionView, known: Mapping[str, Any], judge: Callable[[Any], Any]
    ) -> Any:
        for index, call in enumerate(calls):
            said = waiting if index == 0 else self._call(call, hook, view, known)
            if isawaitable(said):
                said = await self._wait(call.plugin, hook, view, said)
            verdict = self._judged(call, hook, view, said, judge)
            if verdict is not None:
                return verdict
        return None

    def _judged(self, call: _Call, hook: str, view: SessionView, said: Any, judge: Callable[[Any], Any]) -> Any:
        if said is None:
            return None
        if not isinstance(said, _Broken):
            verdict = judge(said)
            if verdict is not None:
                return verdict
            self._fault(call.plugin, hook, TypeError(f"{type(said).__name__} returned"), view)
        return Refusal("Temporary failure; try again later.", "UNAVAILABLE", "plugin")

    def _call(self, call: _Call, hook: str, view: SessionView, known: Mapping[str, Any]) -> Any:
        try:
            return call(known)
        except (Exception, SystemExit) as error:  # a plugin's fault is its own, and it does not end the proxy
            self._fault(call.plugin, hook, error, view)
            return _Broken(call.plugin)

    async def _wait(self, plugin: str, hook: str, view: SessionView, answer: Any) -> Any:
        if not isawaitable(answer):
            return answer
        try:
            return await self._settle(answer, self._limits[view.listener])
        except (Exception, SystemExit) as error:
            self._fault(plugin, hook, error, view)
            return _Broken(plugin)

    @staticmethod
    async def _settle(answer: Any, seconds: float) -> Any:
        if not isawaitable(answer):
            return answer
        async with asyncio.timeout(seconds):
            return await answer

    def _fault(self, plugin: str, hook: str, error: BaseException, view: SessionView | None) -> None:
        """Say whose fault it was. The error's own text may hold anything that the plugin saw: only its kind and place are told."""
        fields: dict[str, Any] = {"plugin": plugin, "hook": hook, "error": f"{type(error).__name__} raised{_place(error)}"}
        if isinstance(error, TypeError | ValueError) and error.__traceback__ is None:
            fields["error"] = str(error)  # one of ours, made above
        elif isinstance(error, TimeoutError):
            fields["error"] = "too slow"
        if view is not None:
            fields |= {"session": view.id, "listener": view.listener, "protocol": view.protocol, "user": view.user}
        self._event("plugin.failed", fields)


def _refusal(code: str) -> Callable[[Any], Refusal | None]:
    """From what a plugin says to what the client is told; None: it is no Refuse."""

    def judge(said: Any) -> Refusal | None:
        return Refusal(said.text, said.code or code, "plugin") if isinstance(said, Refuse) else None

    return judge


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" in {code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"


def mistakes(data: Mapping[str, Any], directory: Path | None = None, *, extra: Plugins | None = None) -> list[Problem]:
    """What is wrong with the plugins that a settings file names and with their options; each plugin named is imported.

    `data`: the file's tables, good or not. Each mistake is told once, where it stands.
    """
    known = _known(extra)
    problems: dict[Problem, None] = {}
    loaded: dict[str, Loaded | None] = {}
    for path, _ in _tables(data):
        name = str(path[-1])
        if name not in known:
            possible = f"installed: {', '.join(sorted(known))}" if known else "none is installed"
            problems[Problem(path, f"there is no such plugin; {possible}{near(name, known)}")] = None
            continue
        if name not in loaded:
            try:
                loaded[name] = known[name]()
            except PluginError as error:
                loaded[name] = None
                problems[Problem(path, error.text)] = None
    reading = Reading(directory) if directory is not None else None
    for path, table in _tables(data):
        plugin = loaded.get(str(path[-1]))
        if plugin is None:
            continue
        general = _table(data, "plugins", plugin.name)
        if path[0] == "plugins" and all(plugin.name in _table(each, "plugins") for each in _listeners(data).values()):
            continue  # it holds nowhere alone, and is looked at with each listener's own
        whole = {**general, **table}
        for key, text in read(plugin.model, whole, reading)[1]:
            own = key in table or key not in general
            where = path if own else ("plugins", plugin.name)
            problems[Problem((*where, key) if key else where, text)] = None
    return list(problems)


def _tables(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
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


def _known(extra: Plugins | None) -> dict[str, Callable[[], Loaded]]:
    """How each plugin that there is can be loaded."""
    known: dict[str, Callable[[], Loaded]] = {entry.name: partial(load_entry, entry) for entry in entry_points(group=GROUP)}
    return known | {name: partial(inspect, name, plugin) for name, plugin in (extra or {}).items()}


def spoken(interests: Interests) -> list[str]:
    """Interests by name, as `portico_interests` declares them."""
    return [
        *(f"command {name.upper()}" for name in interests.commands),
        *(f"response {name.upper()}" for name in interests.responses),
        *(f"fetch item {name.upper()}" for name in interests.fetch_items),
    ]


def load_entry(entry: EntryPoint) -> Loaded:
    """The plugin behind an entry point. Raises PluginError."""
    try:
        plugin = entry.load()
    except Exception as error:
        raise PluginError(entry.name, f"cannot be imported: {type(error).__name__}: {error}") from error
    distribution = entry.dist
    return inspect(entry.name, plugin, distribution.name if distribution else "", distribution.version if distribution else "")


def inspect(name: str, plugin: object, distribution: str = "", version: str = "") -> Loaded:
    """What a plugin has: a class is made an object of, a module or an object is taken as it is. Raises PluginError for
    hooks that there are not and arguments that a hook does not have."""
    if isinstance(plugin, type):
        try:
            plugin = plugin()
        except Exception as error:
            raise PluginError(name, f"cannot be made: {type(error).__name__}: {error}") from error
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(name, str(error).replace("\n", " ")) from error
    hooks = []
    for caller in manager.get_hookcallers(plugin) or []:
        if caller.spec is None:
            raise PluginError(name, f"there is no hook {caller.name}; possible: {', '.join(ORDER)}{near(caller.name, ORDER)}")
        if any(impl.hookwrapper or impl.wrapper for impl in caller.get_hookimpls()):
            raise PluginError(name, f"{caller.name} is a wrapper: plugins are called one by one")
        hooks.append(caller.name)
    if not hooks:
        raise PluginError(name, "has no hook: is the decorator @hookimpl missing?")
    options: tuple[Option, ...] = ()
    if "settings_declared" in hooks:
        try:
            declared: Any = manager.hook.settings_declared.get_hookimpls()[0].function()
            options = tuple(declared)
            model = model_of(name, options)
        except Exception as error:
            raise PluginError(name, f"settings_declared failed: {type(error).__name__}: {error}") from error
    else:
        model = model_of(name, ())
    interests = tuple(getattr(plugin, "portico_interests", ()))
    return Loaded(name, plugin, distribution, version, tuple(sorted(hooks, key=ORDER.index)), options, interests, model)
