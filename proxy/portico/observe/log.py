"""The log: structlog, configured once per proxy.

Rule of this file: an event goes in by its registered name with plain values, a line comes out; nothing
else writes to the log. Nothing that is a Secret, or that is named like one, gets through, whoever
sends it. Below the level set, an event costs a look-up in a dictionary.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json import JSONEncoder
from traceback import extract_tb
from typing import Any, Final, Literal, TextIO

import structlog

from portico.errors import PorticoError, Secret
from portico.observe.ecs import to_ecs
from portico.observe.events import EVENTS
from portico.observe.fields import EVERY_LINE, FIELDS, SESSION_ALWAYS, SESSION_WHEN_KNOWN
from portico.observe.sink import Sink, open_file

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_LIKE_A_SECRET: Final = re.compile(r"passw|passphrase|passwd|secret|token|credential|private_key|api_key|authorization", re.IGNORECASE)
_WITHHELD: Final = "<withheld>"
_ALLOWED: Final = {
    name: frozenset((*known.fields, *known.optional, *((*SESSION_ALWAYS, *SESSION_WHEN_KNOWN) if known.session or known.either else ())))
    for name, known in EVENTS.items()
}
_MOST_FRAMES: Final = 30
Format = Literal["auto", "json", "console", "journal"]
Names = Literal["portico", "ecs"]


class LogContractError(PorticoError):
    """An event or field that is not registered, or a value that must not be logged (strict logs only)."""


class Log:
    """Writes events. `strict` (tests): what is not registered raises LogContractError; else it is written and marked.
    `worker`: the number of the process, in each of its lines.

    Make one per process; `adopt` changes its settings while it is in use.
    """

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        level: str = "info",
        format: Format = "json",
        names: Names = "portico",
        strict: bool = False,
        worker: int | None = None,
    ) -> None:
        self.strict = strict
        self.counts: dict[str, int] = {}
        """Lines written, by event."""
        self._lost = 0
        self._stamp = _stamp if worker is None else _stamp_of(worker)
        self._sink = sink if sink is not None else Sink(sys.stderr.fileno())
        self._names = names
        self._configure(level, format, colours=False)

    def adopt(self, *, level: str, format: Format, file: str | None, names: Names) -> None:
        """Go on with other settings; a file is opened anew (after logrotate). Raises OSError, and then nothing has changed.

        `names`: those of the reference, or of ECS (observe.ecs), where lines are JSON.
        """
        if file is not None:
            new = open_file(file)
            terminal = False
        else:
            new = Sink(sys.stderr.fileno())
            terminal = sys.stderr.isatty()
        old, self._sink = self._sink, new
        self._lost += old.dropped
        old.close()
        if format == "auto":
            format = "console" if terminal else "json"
        self._names = names
        self._configure(level, format, colours=terminal and not os.environ.get("NO_COLOR"))

    @staticmethod
    def check(file: str | None) -> None:
        """Raises OSError if a file could not be adopted."""
        if file is not None:
            open_file(file).close()

    def _configure(self, level: str, format: str, *, colours: bool) -> None:
        self._least = least = LEVELS[level]
        self._format, self._colours = format, colours
        console = format == "console"
        processors: list[Any] = [self._stamp, self._guard]
        if console:
            processors += [_printable, _console(colours)]
        else:
            processors += [_in_ecs] if self._names == "ecs" else []
            processors.append(structlog.processors.JSONRenderer(serializer=_to_json))
        logger = structlog.wrap_logger(
            _Journal(self._sink) if format == "journal" else _Lines(self._sink),
            processors=processors,
            wrapper_class=structlog.make_filtering_bound_logger(least),
            context_class=dict,
        ).bind()
        methods: dict[str, Callable[..., Any]] = {name: getattr(logger, name) for name in LEVELS}
        # None: below the level. One look-up decides, before anything is put together.
        self._methods = {name: methods[known.level] if LEVELS[known.level] >= least else None for name, known in EVENTS.items()}
        self._unknown = methods["warning"]

    @property
    def level(self) -> str:
        """The least level written."""
        return next(name for name, number in LEVELS.items() if number == self._least)

    def set_level(self, level: str) -> None:
        """Write from this level on, until it is set again or settings are adopted."""
        self._configure(level, self._format, colours=self._colours)

    def enabled(self, event: str) -> bool:
        """Whether `event` would be written."""
        return self._methods.get(event, self._unknown) is not None

    def event(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write `event`. An exception as `error` becomes its class and a traceback without values. Raises nothing but LogContractError."""
        method = self._methods.get(event, self._unknown)
        if method is None and not self.strict:
            return
        if isinstance(fields.get("error"), BaseException):
            fields = {**fields, **fault(fields["error"])}
        allowed = _ALLOWED.get(event)
        if allowed is None or not fields.keys() <= allowed:
            fields = self._unregistered(event, fields, allowed)
        elif self.strict:
            self._complete(event, fields)
        if method is None:
            return
        self.counts[event] = self.counts.get(event, 0) + 1
        method(event, **fields)
        sink = self._sink
        if sink.dropped and sink.ready and (tell := self._methods["log.dropped"]) is not None:
            lost = sink.take_dropped()
            self._lost += lost
            tell("log.dropped", count=lost)

    def _unregistered(self, event: str, fields: Mapping[str, Any], allowed: frozenset[str] | None) -> dict[str, Any]:
        strange = sorted(fields.keys() - (allowed or FIELDS.keys()))
        if allowed is None:
            strange.insert(0, event)
        if self.strict:
            raise LogContractError(f"not in the registry of log events: {event} {' '.join(strange)}")
        # structlog's own parameter names would collide with these.
        kept = {name if name not in _TAKEN else f"{name}_": value for name, value in fields.items()}
        return {**kept, "unregistered": strange}

    def _complete(self, event: str, fields: Mapping[str, Any]) -> None:
        known = EVENTS[event]
        needed = (*known.fields, *(SESSION_ALWAYS if known.session else ()))
        missing = [name for name in needed if name not in fields]
        if missing:
            raise LogContractError(f"{event} lacks {' '.join(missing)}")

    def _guard(self, _logger: Any, _level: str, line: dict[str, Any]) -> dict[str, Any]:
        """No secret passes: no Secret at any depth, and nothing that is named like one."""
        for name, value in line.items():
            kind = type(value)
            if kind is str or kind is int or kind is float or value is None:
                if name not in FIELDS and _LIKE_A_SECRET.search(name):
                    line[name] = self._withhold(name)
            else:
                line[name] = self._without_secrets(name, value)
        return line

    def _without_secrets(self, name: str, value: Any) -> Any:
        if isinstance(value, Secret) or (name not in FIELDS and _LIKE_A_SECRET.search(name)):
            return self._withhold(name)
        if isinstance(value, Mapping):
            return {str(key): self._without_secrets(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._without_secrets(name, inner) for inner in value]
        if isinstance(value, str | int | float) or value is None:
            return value
        return _other(value)

    def _withhold(self, name: str) -> str:
        if self.strict:
            raise LogContractError(f"a secret was sent to the log as {name}")
        return _WITHHELD

    @property
    def lost(self) -> int:
        """Lines lost in all, reported or not."""
        return self._lost + self._sink.dropped

    @property
    def dropped(self) -> int:
        """Lines lost and not yet reported."""
        return self._sink.dropped

    def close(self) -> None:
        self._sink.close()


_TAKEN: Final = frozenset(("event", "self", *EVERY_LINE))


def fault(error: BaseException) -> dict[str, Any]:
    """`error` as fields: its class, and the frames. Its words are left out: they may quote what a client sent."""
    frames = [f"{frame.filename.rpartition('/portico/')[2]}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)]
    return {"error": type(error).__name__, "traceback": frames[-_MOST_FRAMES:]}


def _other(value: Any) -> str:
    """A value that JSON does not know. Octets are counted, not shown: they may be anything."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} octets>"
    return _WITHHELD if isinstance(value, Secret) else str(value)


_encode: Final = JSONEncoder(default=_other, separators=(",", ":"), check_circular=False).encode


def _to_json(line: dict[str, Any], **_: Any) -> str:
    return _encode(line)


def _stamp(_logger: Any, level: str, line: dict[str, Any]) -> dict[str, Any]:
    """The three fields that each line begins with."""
    return {"timestamp": datetime.now(UTC).isoformat(timespec="microseconds"), "level": level, "event": line.pop("event"), **line}


def _stamp_of(worker: int) -> Any:
    def stamp(_logger: Any, level: str, line: dict[str, Any]) -> dict[str, Any]:
        return _stamp(_logger, level, {"event": line.pop("event"), "worker": worker, **line})

    return stamp


def _in_ecs(_logger: Any, _level: str, line: dict[str, Any]) -> dict[str, Any]:
    return to_ecs(line)


def _printable(_logger: Any, _level: str, line: dict[str, Any]) -> dict[str, Any]:
    """Nothing that a peer said may steer the terminal of the reader."""
    for name, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            line[name] = value.encode("unicode_escape").decode("ascii")
    return line


def _console(colours: bool) -> Any:
    return structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False, pad_event_to=22, timestamp_key="timestamp")


class _Lines:
    """structlog's logger: takes a rendered line."""

    __slots__ = ("_write",)

    def __init__(self, sink: Sink) -> None:
        self._write = sink.write

    def msg(self, line: str) -> None:
        self._write(line.encode("utf-8", "backslashreplace") + b"\n")

    debug = info = warning = error = msg


class _Journal(_Lines):
    """As `_Lines`, each with its priority in front (sd-daemon(3): ``<6>`` is LOG_INFO), which the journal takes off."""

    __slots__ = ()

    def debug(self, line: str) -> None:
        self.msg("<7>" + line)

    def info(self, line: str) -> None:
        self.msg("<6>" + line)

    def warning(self, line: str) -> None:
        self.msg("<4>" + line)

    def error(self, line: str) -> None:
        self.msg("<3>" + line)


def to_stream(stream: TextIO, **options: Any) -> Log:
    """A log to an open stream that has a descriptor."""
    return Log(Sink(stream.fileno()), **options)
