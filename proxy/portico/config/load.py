"""From a file to settings that can be used, or to all mistakes at once.

Rule of this file: everything wrong with a file is found in one go, and each mistake is one line:
``file:line: key: what was found; what is possible; did you mean X``. A value is shown only
where it cannot be a secret.

    load(path) -> Portico       raises SettingsError, whose `problems` are such lines
    read(path) -> Loaded        the same, with the warnings and the Document
    console_of(path) -> Console one table of it, whatever the rest is like

Options of plugins stay tables of TOML here; `further` checks them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from portico.config.advice import warnings
from portico.config.check import Parts, mistakes
from portico.config.document import Document, KeyPath, Problem, read_document
from portico.config.explain import explain
from portico.config.sections.console import Console
from portico.config.sections.log import Log
from portico.config.sections.metrics import Metrics
from portico.config.sections.penalties import Penalties
from portico.config.sections.upstream import AuthHttp, Group, Sql
from portico.config.sections.workers import Workers
from portico.config.settings import Annotations, Listener, Portico, Server, Trace
from portico.config.units import Reading
from portico.errors import SettingsError

Model = TypeVar("Model", bound=BaseModel)
_STAND_INS: Final[Mapping[str, Any]] = {"protocol": "imap", "addresses": ["127.0.0.1:0"]}
_BLANK: Final = "?"
_STAND_INS_OF_A_ROUTE: Final[Mapping[str, Any]] = {"users": [_BLANK], "server": _BLANK}
_STAND_INS_OF_A_CERTIFICATE: Final[Mapping[str, Any]] = {"certificate": _BLANK}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A settings file that can be used."""

    settings: Portico
    warnings: list[str]
    """Finished lines: what works but is probably not wanted."""
    document: Document


Check = Callable[[Mapping[str, Any], Path], list[Problem]]
"""Finds further mistakes in a file's tables, good or not; relative paths in them start at the directory given."""


def load(path: Path | str, *, further: Check | None = None) -> Portico:
    """The settings in the file. SettingsError with every mistake in it."""
    return read(path, further=further).settings


def read(path: Path | str, *, further: Check | None = None) -> Loaded:
    """The settings, what to warn of, and the lines of the keys. SettingsError with every mistake in the file.

    `further`: looks at what is not known here, the options of plugins (plugin.loading.mistakes).
    """
    document = read_document(path)
    return understand(document, Path(path).absolute().parent, further=further)


def console_of(path: Path | str) -> Console:
    """[console] of a file in which anything else may be wrong: who wants a word with a Portico that runs need not mend it first.
    SettingsError where it is no TOML."""
    document = read_document(path)
    return _salvage(Console, document.data.get("console", {}), Reading(Path(path).absolute().parent)) or Console()


def understand(document: Document, directory: Path, *, further: Check | None = None) -> Loaded:
    """As `read`; relative paths in the document start at `directory`."""
    reading = Reading(directory)
    settings, found, broken = _validate(Portico, document.data, reading)
    parts = _with_ways(_parts(document.data, settings, reading), document.data, settings, reading)
    for problem in mistakes(parts):
        if not any(_within(path, (problem.key_path, *problem.depends)) for path in broken):
            found.append(problem)
    if further is not None:
        found += further(document.data, directory)
    if found or settings is None:
        raise SettingsError(document.problems(found))
    return Loaded(settings, document.problems(warnings(parts, Path(document.name))), document)


def _validate(model: type[Model], data: Mapping[str, Any], reading: Reading) -> tuple[Model | None, list[Problem], set[KeyPath]]:
    """The model; or what is wrong, and every key that is not as it should be."""
    try:
        return model.model_validate(dict(data), context=reading), [], set()
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
    # Outside of the except block: the exception holds the input.
    return None, explain(model, data, details), {detail["loc"] for detail in details}


def _parts(data: Mapping[str, Any], settings: Portico | None, reading: Reading) -> Parts:
    """What can be checked further: all of good settings; of bad ones what is left without the bad values."""
    if settings is not None:
        names = frozenset(settings.servers)
        known = (settings.servers, settings.listeners, settings.log, settings.trace, settings.annotations)
        further = (settings.workers, settings.metrics, settings.console, settings.penalties)
        return Parts(*known, names, *further, shared=settings.shared)
    servers = _salvage_each(Server, data.get("servers"), reading)
    listeners = _salvage_each(Listener, data.get("listeners"), reading)
    named = data.get("servers")
    log = _salvage(Log, data.get("log", {}), reading) or Log()
    trace = _salvage(Trace, data.get("trace", {}), reading) or Trace()
    annotations = _salvage(Annotations, data.get("annotations", {}), reading) or Annotations()
    workers = _salvage(Workers, data.get("workers", {}), reading) or Workers()
    metrics = _salvage(Metrics, data.get("metrics", {}), reading) or Metrics()
    console = _salvage(Console, data.get("console", {}), reading) or Console()
    names = frozenset(named if isinstance(named, dict) else ())
    penalties = _salvage(Penalties, data.get("penalties", {}), reading) or Penalties()
    return Parts(servers, listeners, log, trace, annotations, names, workers, metrics, console, penalties)


def _with_ways(parts: Parts, data: Mapping[str, Any], settings: Portico | None, reading: Reading) -> Parts:
    """Likewise the groups and lookups, and all names of these, good or not."""
    groups = settings.groups if settings is not None else _salvage_each(Group, data.get("groups"), reading)
    sql = settings.sql if settings is not None else _salvage_each(Sql, data.get("sql"), reading)
    auth_http = settings.auth_http if settings is not None else _salvage_each(AuthHttp, data.get("auth_http"), reading)
    named = {key: data[key] if isinstance(data.get(key), dict) else {} for key in ("groups", "sql", "auth_http")}
    lookups = frozenset((*named["sql"], *named["auth_http"]))
    return replace(parts, groups=groups, sql=sql, auth_http=auth_http, group_names=frozenset(named["groups"]), lookup_names=lookups)


def _salvage_each(model: type[Model], tables: Any, reading: Reading) -> dict[str, Model]:
    if not isinstance(tables, dict):
        return {}
    made = {name: _salvage(model, table, reading) for name, table in tables.items()}
    return {name: value for name, value in made.items() if value is not None}


def _salvage(model: type[Model], table: Any, reading: Reading) -> Model | None:
    """The model without the values that are wrong; None where nothing can be made of the rest."""
    if not isinstance(table, dict):
        return None
    table = copy.deepcopy(table)
    while True:
        try:
            return model.model_validate(table, context=reading)
        except ValidationError as error:
            bad = [detail["loc"] for detail in error.errors(include_url=False, include_input=False, include_context=False)]
        repaired = [_remove(table, path) or _stand_in(table, path) for path in bad]
        if not any(repaired):
            return None


def _remove(table: dict[str, Any], path: KeyPath) -> bool:
    """Take the value at `path` out; in an array something takes its place, because its positions must not shift. False: it is not there."""
    inner: Any = _inner(table, path[:-1])
    if not path or not isinstance(inner, dict | list) or _inner(inner, path[-1:]) is None:
        return False
    key: Any = path[-1]
    if isinstance(inner, dict):
        del inner[key]
        return True
    blank: Any = {} if path[-2] in ("routes", "certificates") else _BLANK
    if inner[key] == blank:
        return _remove(table, path[:-1]) if blank == _BLANK else False  # nothing can take its place: the array goes
    inner[key] = blank
    return True


def _inner(value: Any, path: KeyPath) -> Any:
    """What stands at `path` in `value`; None: nothing."""
    for part in path:
        if isinstance(value, list) and isinstance(part, int):
            value = value[part] if part < len(value) else None
        elif isinstance(value, dict):
            value = value.get(part)
        else:
            return None
    return value


def _stand_in(table: dict[str, Any], path: KeyPath) -> bool:
    """Something harmless for a key that must be there, so that the rest of its table can be checked. Its lack is reported already,
    and what depends on it says so (Problem.depends)."""
    inner, key = _inner(table, path[:-1]), str(path[-1])
    stand_ins = _STAND_INS_OF_A_ROUTE if "routes" in path else _STAND_INS_OF_A_CERTIFICATE if "certificates" in path else _STAND_INS
    if not isinstance(inner, dict) or key in inner or key not in stand_ins:
        return False
    inner[key] = copy.copy(stand_ins[key])
    return True


def _within(path: KeyPath, places: Iterable[KeyPath]) -> bool:
    """Whether what is broken at `path` is one of `places`, or stands in one of them or above it."""
    return any(path[: len(place)] == place or place[: len(path)] == path for place in places)
