"""What the declarations in settings.py say about one key.

Rule of this file: pydantic's fields in, plain words out; the mistakes and the reference both speak from here.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from portico.config.settings import Portico
from portico.config.units import Kind

_WORDS = {
    "time": 'a time with its unit, as "30s", "5m" or "2h"',
    "size": 'a size, as "64KiB", "10MB" or a number of octets',
    "secret": 'a text, {file = "path"} or {env = "NAME"}',
    "file": "the name of a file",
    "file to write": "the name of a file",
    "directory": "the name of a directory",
    "fingerprint": "64 hex digits (SHA-256)",
    "network": 'networks, as "10.0.0.0/8", "2001:db8::/32", "192.0.2.7" or "unix"',
    "address": '"host:port", "[v6]:port" or "unix:/path"',
}


def kind_of(field: FieldInfo) -> str:
    """The field's Kind, or an empty text."""
    return next((item.name for item in (*field.metadata, *_metadata(field.annotation)) if isinstance(item, Kind)), "")


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from get_args(annotation)[1:]
    for part in get_args(annotation):
        if get_origin(part) is not None:
            yield from _metadata(part)


def possible(field: FieldInfo) -> str:
    """What may stand there, in words: ``"none", "starttls" or "implicit"``."""
    return _possible(field.annotation, kind_of(field))


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The words of a Literal, else nothing."""
    annotation = _bare(field.annotation)
    return tuple(str(word) for word in get_args(annotation)) if get_origin(annotation) is Literal else ()


def _possible(annotation: Any, kind: str) -> str:
    annotation = _bare(annotation)
    origin = get_origin(annotation)
    if origin is list:
        inner = _bare(get_args(annotation)[0])
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return "tables"
        return "a list of " + (_WORDS[kind] if kind else "texts")
    if kind:
        return _WORDS[kind]
    if origin is Literal:
        words = [f'"{word}"' for word in get_args(annotation)]
        return f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return "a table"
    return {int: "a whole number", bool: "true or false", str: "a text"}.get(annotation, "a value")


def _bare(annotation: Any) -> Any:
    """Without Annotated and without ``| None``."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        else:
            return annotation


def model_in(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a table, or of each table in an array or under names; None for plain values."""
    annotation = _bare(field.annotation)
    candidates = (annotation, *(_bare(part) for part in get_args(annotation)))
    return next((part for part in candidates if isinstance(part, type) and issubclass(part, BaseModel)), None)


def is_named(field: FieldInfo) -> bool:
    """A table of tables under names that the operator chooses."""
    return get_origin(_bare(field.annotation)) is dict


def is_array(field: FieldInfo) -> bool:
    return get_origin(_bare(field.annotation)) is list


def walk(model: type[BaseModel], path: Sequence[str | int]) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model that has the last key of `path`, and the field of that key (also for an element of it); None where there is none."""
    inner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    skip = False
    owner: type[BaseModel] | None = model
    for part in path:
        if skip or isinstance(part, int):  # a chosen name, or a position
            skip = False
            owner = inner
            continue
        if inner is None:
            return None, None
        owner, field = inner, inner.model_fields.get(str(part))
        if field is None:
            return owner, None
        inner, skip = model_in(field), is_named(field)
    return owner, field


def homes(key: str) -> list[str]:
    """The sections that have this key, as ``[servers.<name>]``: for keys that stand in the wrong place."""
    found = [section for section, model in sections() if key in model.model_fields]
    return [f"[{section}]" if section else "the top of the file" for section in found]


def sections(model: type[BaseModel] = Portico, prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """All tables of the file, each with its heading (``listeners.<name>.timeouts``; an array of tables in brackets) and model."""
    yield prefix, model
    for key, field in model.model_fields.items():
        inner = model_in(field)
        if inner is not None:
            path = (f"{prefix}.{key}" if prefix else key) + (".<name>" if is_named(field) else "")
            yield from sections(inner, f"[{path}]" if is_array(field) else path)
