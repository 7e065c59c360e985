"""Who calls the plugins.

Rule of this file: one class, which gives each hook a typed method. A plugin is called only on the listeners that
name it; where nobody answers to a hook the method returns at once. A plugin that raises (SystemExit and CancelledError too), or
is too slow, is reported with its name, and the hook's rule applies (plugin.hooks): logins fail closed, observers fail open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable, iscoroutinefunction
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import portico
from portico.config.document import spell
from portico.config.settings import Portico
from portico.config.units import Reading
from portico.errors import PluginError, Secret, SettingsError
from portico.observe.metrics import Counts
from portico.plugin.commands import ConsoleCommand, mistake
from portico.plugin.hooks import ProxyInfo, Summary
from portico.plugin.loading import Loaded, Plugins, known, mistakes, tables
from portico.plugin.options import ENABLED, Values, read
from portico.plugin.timing import SECONDS, timed
from portico.session.ask import raised
from portico.session.context import LoginAttempt, Refusal, RouteChoice, SessionView
from portico.session.interests import Compiled, Interests, Refuse, compile_interests
from portico.session.mounts.mount import Mount

_WRONG_LOGIN: Final = "AUTHENTICATIONFAILED"

Event = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Call:
    """One plugin's implementation of one hook on one listener."""

    plugin: str
    function: Callable[..., Any]
    takes: tuple[str, ...]
    options: Values

    def __call__(self, known: Mapping[str, Any]) -> Any:
        return self.function(*[self.options if name == "options" else known[name] for name in self.takes])


class _TooSlow(Exception):
    """The limit was reached: not any time-out of the plugin's own."""


_BROKEN: Final = object()
"""In place of what a plugin would have said."""


class Host:
    """The plugins of one reading of the settings. Made by `load`."""

    def __init__(
        self, settings: Portico, event: Event, plugins: Sequence[Loaded], directory: Path | None = None, counts: Counts | None = None
    ) -> None:
        self.loaded = tuple(plugins)
        self.options: dict[str, dict[str, Values]] = {}
        """What holds: by listener, and by the name of each plugin that takes part there."""
        self._reading = Reading(directory) if directory is not None else None
        self._settings = settings
        self._event = event
        self._counts = counts if counts is not None else Counts()
        self._calls: dict[tuple[str, str], tuple[_Call, ...]] = {}
        """By listener and hook."""
        self._declared = {loaded.name: frozenset(loaded.interests) for loaded in self.loaded}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._commands: dict[str, tuple[str, ConsoleCommand]] | None = None
        self._limits = {name: listener.timeouts.plugin for name, listener in settings.listeners.items()}
        self._wire()

    def __repr__(self) -> str:
        return f"<Host {' '.join(self.names) or 'nobody'}>"

    # -- loading

    @classmethod
    def load(
        cls, settings: Portico, event: Event, *, directory: Path | None = None, extra: Plugins | None = None, counts: Counts | None = None
    ) -> Host:
        """Load the plugins that the settings name. `directory`: where relative paths in options start. `counts`: where their times and
        errors are counted.

        Raises SettingsError, one line for each name, option or plugin that is wrong.
        """
        data = {
            "servers": {name: {"imap": server.imap, "pop3": server.pop3} for name, server in settings.servers.items()},
            "plugins": settings.plugins,
            "listeners": {
                name: {"protocol": listener.protocol, "plugins": listener.plugins} for name, listener in settings.listeners.items()
            },
        }
        problems = mistakes(data, directory, extra=extra)
        if problems:
            raise SettingsError([f"{spell(problem.key_path)}: {problem.text}" for problem in problems])
        there_are = known(extra)
        names = dict.fromkeys(path[-1] for path, _ in tables(data))
        host = cls(settings, event, [there_are[str(name)]() for name in names], directory, counts)
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
                for found in loaded.functions:
                    call = _Call(loaded.name, found.call, found.takes, values)
                    self._calls[name, found.hook] = (*self._calls.get((name, found.hook), ()), call)
            self.options[name] = active

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
        """Raises PluginError if a plugin cannot start; those that have started are then told that it is over."""
        begun: list[str] = []
        for name in self.names:
            for call, listeners in self._once("proxy_started", [name]):
                try:
                    await self._settle(call({"proxy": ProxyInfo(portico.__version__, listeners)}), max(self._limits.values()))
                except BaseException as error:
                    await self._stop(begun)
                    if _is_ours(error):
                        raise
                    why = "is too slow" if isinstance(error, _TooSlow) else f"failed: {type(error).__name__}: {error}"
                    raise PluginError(name, self._blotted(name, f"proxy_started {why}")) from None
            begun.append(name)

    @property
    def commands(self) -> dict[str, tuple[str, ConsoleCommand]]:
        """By name: the plugin and its command; of several with one name that of the first plugin."""
        if self._commands is None:
            self._commands = {}
            for call, _ in self._once("console_commands", self.names):
                said = self._call(call, "console_commands", None, {})
                for command in said if isinstance(said, Sequence) else () if said is _BROKEN or said is None else (said,):
                    if wrong := mistake(command):
                        self._fault(call.plugin, "console_commands", wrong, None)
                    else:
                        self._commands.setdefault(command.name, (call.plugin, command))
        return self._commands

    async def run_command(self, name: str, arguments: list[str]) -> Any:
        """What a plugin's command answers. Raises PluginError where it raises or is too slow, KeyError where there is none."""
        plugin, command = self.commands[name]
        options = next(active[plugin] for active in self.options.values() if plugin in active)
        call = _Call(plugin, command.run, ("arguments",), options)
        answer = await self._wait(plugin, "console_commands", None, self._call(call, "console_commands", None, {"arguments": arguments}))
        if answer is _BROKEN:
            raise PluginError(plugin, f"{name} failed; the log says where")
        return answer

    async def stopping(self) -> None:
        """What is still being told of sessions comes first."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(self._limits.values()))
        await self._stop(self.names)

    async def _stop(self, names: Sequence[str]) -> None:
        for call, _ in self._once("proxy_stopping", names):
            await self._wait(call.plugin, "proxy_stopping", None, self._call(call, "proxy_stopping", None, {}))

    def _once(self, hook: str, names: Sequence[str]) -> Iterator[tuple[_Call, tuple[str, ...]]]:
        """For each of these plugins that answers to a hook of the proxy: one call, and the listeners on which it takes part."""
        for name in names:
            listeners = tuple(listener for listener, active in self.options.items() if name in active)
            if listeners:
                yield from ((call, listeners) for call in self._calls.get((listeners[0], hook), ()) if call.plugin == name)

    def _blotted(self, plugin: str, text: str) -> str:
        """`text`, which comes from a plugin, without the secrets of its options."""
        for active in self.options.values():
            for _, value in active.get(plugin, ()):
                text = value.blot(text) if isinstance(value, Secret) else text
        return text

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
            if isinstance(said, RouteChoice) and isinstance(said.server, str) and isinstance(said.user, str):
                return said if said.user else RouteChoice(said.server, attempt.user, said.verified)
            return refusal(said)

        known = {"session": view, "attempt": attempt}
        said: RouteChoice | Refusal | Awaitable[RouteChoice | Refusal | None] | None = self._first("route_chosen", view, known, judge)
        return said

    def session_opened(self, view: SessionView) -> Compiled | Awaitable[Compiled | None] | None:
        calls = self._calls.get((view.listener, "session_opened"))
        if calls is None:
            return None
        said = [(call.plugin, self._call(call, "session_opened", view, {"session": view})) for call in calls]
        if any(isawaitable(answer) for _, answer in said):
            return self._compiled_later(view, said)
        return self._compiled(view, said)

    async def _compiled_later(self, view: SessionView, said: list[tuple[str, Any]]) -> Compiled | None:
        answers = await asyncio.gather(*(self._wait(plugin, "session_opened", view, answer) for plugin, answer in said))
        return self._compiled(view, [(plugin, answer) for (plugin, _), answer in zip(said, answers, strict=True)])

    def _compiled(self, view: SessionView, said: list[tuple[str, Any]]) -> Compiled | None:
        good: list[tuple[str, Interests | None]] = []
        for plugin, interests in said:
            if interests is None or interests is _BROKEN:
                continue
            wrong = _unusable(interests) or self._undeclared(plugin, interests)
            if wrong:
                self._fault(plugin, "session_opened", wrong, view)
            else:
                good.append((plugin, interests if self._settings.metrics.address is None else timed(self._counts, plugin, interests)))
        return compile_interests(view, good)

    def _undeclared(self, plugin: str, interests: Interests) -> str:
        """What an operator has not been told of by `portico plugins`; empty: nothing."""
        declared = self._declared[plugin]
        strange = [name for name in spoken(interests) if name not in declared and f"{name.rpartition(' ')[0]} *" not in declared]
        return f"not declared in portico_interests: {', '.join(strange)}" if strange else ""

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
        calls = self._calls.get((view.listener, hook), ())
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
            said = await self._wait(call.plugin, hook, view, waiting if index == 0 else self._call(call, hook, view, known))
            verdict = self._judged(call, hook, view, said, judge)
            if verdict is not None:
                return verdict
        return None

    def _judged(self, call: _Call, hook: str, view: SessionView, said: Any, judge: Callable[[Any], Any]) -> Any:
        if said is None:
            return None
        if said is not _BROKEN:
            verdict = judge(said)
            if verdict is not None:
                return verdict
            self._fault(call.plugin, hook, f"{type(said).__name__} returned", view)
        return Refusal("Temporary failure; try again later.", "UNAVAILABLE", "plugin")

    def _call(self, call: _Call, hook: str, view: SessionView | None, known: Mapping[str, Any]) -> Any:
        began = perf_counter()
        try:
            said = call(known)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's fault is its own, and it does not end the proxy
            self._fault(call.plugin, hook, raised(error), view)
            said = _BROKEN
        if not isawaitable(said):
            self._counts.observe(SECONDS, perf_counter() - began, call.plugin, hook)
        return said

    async def _wait(self, plugin: str, hook: str, view: SessionView | None, answer: Any) -> Any:
        if not isawaitable(answer):
            return answer
        began = perf_counter()
        try:
            return await self._settle(answer, self._limits[view.listener] if view is not None else max(self._limits.values()))
        except BaseException as error:
            if _is_ours(error):
                raise
            self._fault(plugin, hook, "too slow" if isinstance(error, _TooSlow) else raised(error), view)
            return _BROKEN
        finally:
            self._counts.observe(SECONDS, perf_counter() - began, plugin, hook)

    @staticmethod
    async def _settle(answer: Any, seconds: float) -> Any:
        if not isawaitable(answer):
            return answer
        try:
            async with asyncio.timeout(seconds) as limit:
                return await answer
        except TimeoutError:
            if limit.expired():
                raise _TooSlow from None
            raise

    def _fault(self, plugin: str, hook: str, error: str, view: SessionView | None) -> None:
        fields: dict[str, Any] = {"plugin": plugin, "hook": hook, "error": error}
        if view is not None:
            fields |= {"session": view.id, "listener": view.listener, "protocol": view.protocol}
            if view.user:
                fields["user"] = view.user
        self._counts.count("portico_plugin_errors_total", plugin, hook)
        self._event("plugin.failed", fields)


def _is_ours(error: BaseException) -> bool:
    """Whether it was not the plugin that raised it: somebody ends the process, the session, or the loop."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def _refusal(code: str) -> Callable[[Any], Refusal | None]:
    """From what a plugin says to what the client is told; None: it is no Refuse. `code`: where the plugin names none."""

    def judge(said: Any) -> Refusal | None:
        if not isinstance(said, Refuse):
            return None
        return Refusal(said.text, said.code or code, "plugin", counts=said.code.upper() == _WRONG_LOGIN)

    return judge


def _unusable(interests: Any) -> str:
    """What is wrong with an answer to `session_opened`; empty: nothing."""
    if not isinstance(interests, Interests):
        return f"{type(interests).__name__} returned"
    for rows in (interests.commands, interests.responses, interests.fetch_items):
        if not isinstance(rows, Mapping) or not all(isinstance(name, str) and callable(handler) for name, handler in rows.items()):
            return "interests are no names with functions"
        if slow := [name for name, handler in rows.items() if iscoroutinefunction(handler)]:
            return f"a handler cannot be a coroutine: {', '.join(slow)}"
    annotator = interests.annotator
    if annotator is not None and not (
        callable(getattr(annotator, "wants", None))
        and callable(getattr(annotator, "insertions", None))
        and all(isinstance(kind, str) for kind in getattr(annotator, "types", (None,)))
        and callable(getattr(annotator, "serves", callable))
    ):
        return "the annotator is none"
    transformer = interests.transformer
    if transformer is not None and not (
        callable(getattr(transformer, "wants", None))
        and callable(getattr(transformer, "transform", None))
        and all(isinstance(kind, str) for kind in getattr(transformer, "types", (None,)))
    ):
        return "the transformer is none"
    if not all(isinstance(mount, Mount) for mount in interests.mounts):
        return "mounts are no mounts"
    sizer = interests.sizer
    if sizer is not None and not all(callable(getattr(sizer, name, None)) for name in ("serves", "learn", "estimate")):
        return "the sizer is none"
    return ""


def spoken(interests: Interests) -> list[str]:
    """Interests by name, as `portico_interests` declares them."""
    return [
        *(f"command {name.upper()}" for name in interests.commands),
        *(f"response {name.upper()}" for name in interests.responses),
        *(f"fetch item {name.upper()}" for name in interests.fetch_items),
        *(["annotations"] if interests.annotator is not None else []),
        *(["transforms"] if interests.transformer is not None else []),
        *(["mounts"] if interests.mounts else []),
        *(["sizes"] if interests.sizer is not None else []),
    ]
