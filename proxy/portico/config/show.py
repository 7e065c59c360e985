"""The settings that hold, as a settings file: ``portico check --show``.

Rule of this file: what is printed can be read by config.load again, save the secrets, which are blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from portico.config.schema import kind_of
from portico.config.units import GIB, HOURS, KIB, MIB, MINUTES
from portico.errors import Secret

BLOT = "<secret>"
SECRET_NAME = re.compile(r"pass(word|wd|phrase)?|secret|token|key$|credential", re.IGNORECASE)


def as_toml(settings: BaseModel) -> str:
    """Every key with its value; keys that are not set are comments. Options of plugins whose name sounds like a secret are blotted out."""
    return "\n".join(_table("", settings)).lstrip("\n") + "\n"


def duration_text(seconds: float) -> str:
    """``"31m"``: the largest unit in which it is a whole number."""
    for unit, size in (("h", HOURS), ("m", MINUTES), ("s", 1.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    if seconds == 0:
        return "0s"
    return f"{seconds * 1000:.15g}ms" if seconds < 1 else f"{seconds:.15g}s"


def size_text(octets: int) -> str:
    """``"64KiB"``, likewise."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if octets >= size and octets % size == 0:
            return f"{octets // size}{unit}"
    return f"{octets}B"


def key_text(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else value_text(key)


def value_text(value: Any, kind: str = "") -> str:
    """One value as TOML writes it; `kind` is its Kind's name."""
    if isinstance(value, Secret):
        return f'"{BLOT}"'
    if kind == "time" and isinstance(value, int | float):
        return f'"{duration_text(float(value))}"'
    if kind == "size" and isinstance(value, int):
        return f'"{size_text(value)}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(item, kind) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key_text(key)} = {_option(key, inner)}" for key, inner in value.items()) + "}"
    return str(value)  # numbers, dates and times


def _option(key: str, value: Any) -> str:
    return f'"{BLOT}"' if SECRET_NAME.search(key) else value_text(value)


def _table(path: str, settings: BaseModel) -> list[str]:
    plain: list[str] = []
    below: list[str] = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        inner = f"{path}.{key}" if path else key
        if isinstance(value, BaseModel):
            below += _headed(inner, value)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            for element in value:
                below += ["", f"[[{inner}]]", *_table(inner, element)]
        elif isinstance(value, Mapping) and all(isinstance(element, BaseModel | Mapping) for element in value.values()):
            for name, element in value.items():
                heading = f"{inner}.{key_text(name)}"
                below += _headed(heading, element) if isinstance(element, BaseModel) else _options(heading, element)
        elif value is None:
            plain.append(f"# {key} is not set")
        else:
            plain.append(f"{key} = {value_text(value, kind_of(field))}")
    return plain + below


def _headed(heading: str, settings: BaseModel) -> list[str]:
    return ["", f"[{heading}]", *_table(heading, settings)]


def _options(heading: str, options: Mapping[str, Any]) -> list[str]:
    return ["", f"[{heading}]", *(f"{key_text(key)} = {_option(key, value)}" for key, value in options.items())]
