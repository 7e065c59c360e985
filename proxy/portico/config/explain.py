"""Pydantic's findings in the words of our mistakes.

Rule of this file: no value of a key that may hold a secret, and no table or array, gets into a message; unknown
keys are named, their values never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from portico.config.document import KeyPath, Problem
from portico.config.near import near, near_name
from portico.config.schema import choices, homes, kind_of, possible, walk

_MAX_SHOWN = 60


def explain(model: type[BaseModel], data: Mapping[str, Any], details: Sequence[ErrorDetails]) -> list[Problem]:
    """One Problem per finding, except keys that seem missing because they stand there misspelt."""
    unknown: dict[KeyPath, str] = {}
    for detail in details:
        if detail["type"] == "extra_forbidden":
            owner, _ = walk(model, detail["loc"])
            unknown[detail["loc"]] = _near_key(str(detail["loc"][-1]), owner)
    meant = {(*path[:-1], name) for path, name in unknown.items() if name}
    found = []
    for detail in details:
        path = detail["loc"]
        if detail["type"] == "extra_forbidden":
            found.append(Problem(path, _unknown_key(str(path[-1]), unknown[path], walk(model, path)[0])))
        elif detail["type"] != "missing" or path not in meant:
            found.append(Problem(path, _text(model, data, detail)))
    return found


def _text(model: type[BaseModel], data: Mapping[str, Any], detail: ErrorDetails) -> str:
    _, field = walk(model, detail["loc"])
    wanted = possible(field) if field is not None else "a value"
    if field is not None and detail["loc"] and isinstance(detail["loc"][-1], int):
        wanted = wanted.removeprefix("a list of ").replace("texts", "a text").replace("tables", "a table")
    if detail["type"] == "missing":
        return f"is missing; possible: {wanted}"
    value = _at(data, detail["loc"])
    secret = field is not None and kind_of(field) == "secret"
    shown = "" if secret else f"found {show(value)}; "
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return shown + str(context.get("error", detail["msg"]))
        case "too_short":
            return "is empty; at least one is needed"
        case "greater_than":
            return f"{shown}must be more than {context['gt']:g}"
        case "greater_than_equal":
            return f"{shown}must be at least {context['ge']:g}"
        case "finite_number":
            return f"{shown}possible: {wanted}"
    text = f"{shown}possible: {wanted}"
    if field is not None and isinstance(value, str):
        text += near(value, choices(field), cutoff=0.5)
    return text


def show(value: Any) -> str:
    """A value as TOML writes it, cut short; tables and arrays only as such, and nothing that may have a password in it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        if "@" in value and ":" in value:
            return "a text with @"  # user:password@host
        text = value if len(value) <= _MAX_SHOWN else value[:_MAX_SHOWN] + "…"
        return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + '"'
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "an array"
    return str(value)


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _near_key(key: str, owner: type[BaseModel] | None) -> str:
    return near_name(key, owner.model_fields) if owner is not None else ""


def _unknown_key(key: str, meant: str, owner: type[BaseModel] | None) -> str:
    if meant:
        return f"unknown key; did you mean {meant}"
    places = homes(key)
    if places:
        return f"unknown key here; it belongs to {' or '.join(places)}"
    names = sorted(owner.model_fields) if owner is not None else []
    return "unknown key; possible: " + ", ".join(names) if names else "unknown key"
