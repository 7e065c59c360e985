"""How long plugins take.

Rule of this file: what a plugin gave is handed on with a clock around it, and behaves the same. Done once a session, and only
where somebody wants the times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any, Final

from portico.observe.metrics import Counts
from portico.session.interests import Interests

SECONDS: Final = "portico_plugin_seconds"
_METHODS: Final = ("serves", "wants", "insertions", "transform", "estimate", "learn", "confident")


def timed(counts: Counts, plugin: str, interests: Interests) -> Interests:
    """The same interests, their handlers and methods timed by name (`command FETCH`, `annotator wants`)."""

    def rows(kind: str, handlers: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _timed(counts, plugin, f"{kind} {name.upper()}", handler) for name, handler in handlers.items()}

    def whole(kind: str, thing: Any) -> Any:
        return _Timed(counts, plugin, kind, thing) if thing is not None else None

    return replace(
        interests,
        commands=rows("command", interests.commands),
        responses=rows("response", interests.responses),
        fetch_items=rows("fetch item", interests.fetch_items),
        annotator=whole("annotator", interests.annotator),
        transformer=whole("transformer", interests.transformer),
        sizer=whole("sizer", interests.sizer),
    )


class _Timed:
    """A plugin's object: what is asked of it in a session is timed, all else is the object's."""

    def __init__(self, counts: Counts, plugin: str, kind: str, inner: Any) -> None:
        self._inner = inner
        for name in _METHODS:
            method = getattr(inner, name, None)
            if callable(method):
                setattr(self, name, _timed(counts, plugin, f"{kind} {name}", method))

    def __repr__(self) -> str:
        return repr(self._inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _timed(counts: Counts, plugin: str, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
    observe = counts.observe

    def call(*arguments: Any, **named: Any) -> Any:
        began = perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            observe(SECONDS, perf_counter() - began, plugin, hook)

    return call
