"""Units as people write them: "30s", "64KiB".

Rule of this file: constants to multiply with, and the pydantic types that read text with a unit. What a type is
called in the reference and in mistakes is its `Kind`. A validator that is given a `Reading` (by config.load)
reads from a settings file and is stricter: values made in Python may be plain seconds and octets.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from portico.config.near import near
from portico.errors import Secret

SECONDS: Final = 1.0
MINUTES: Final = 60.0
HOURS: Final = 3600.0
KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_DURATIONS: Final = {"ms": 0.001, "s": SECONDS, "m": MINUTES, "min": MINUTES, "h": HOURS, "d": 24 * HOURS}
_SIZES: Final = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}
_MAX_SECRET: Final = 64 * KIB


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is, for the reference and for the loader."""

    name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Passed as pydantic's context while a settings file is read."""

    directory: Path
    """Relative paths start here: the directory of the settings file."""


def parse_duration(value: Any) -> float:
    """Seconds from ``"30s"``, ``"1.5m"``, ``"2h"``. A bare whole number is refused: it has no unit. A float is taken
    as seconds, for defaults written as ``30 * SECONDS``; a settings file cannot use that (see `Duration`)."""
    if isinstance(value, float):
        return value
    match = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,9})?)\s*([a-z]+)\s*", value.lower()) if isinstance(value, str) else None
    if match is None or match[2] not in _DURATIONS:
        raise ValueError('a time with its unit is expected, as "30s", "5m" or "2h"')
    return float(match[1]) * _DURATIONS[match[2]]


def parse_size(value: Any) -> int:
    """Octets from ``"64KiB"``, ``"10MB"`` or a bare number of octets."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*(\d{1,18})\s*([a-z]*)\s*", value.lower()) if isinstance(value, str) else None
    if match is None or match[2] not in _SIZES:
        raise ValueError('a size is expected, as "64KiB", "10MB" or a number of octets')
    return int(match[1]) * _SIZES[match[2]]


def parse_secret(value: Any, directory: Path | None = None) -> Secret:
    """From a text, ``{file = "path"}`` (a line end at its end is cut off) or ``{env = "NAME"}``.

    `directory` is where a relative path starts; None: the working directory. No message has any part of the secret.
    """
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        secret = Secret(value)
    elif isinstance(value, dict) and len(value) == 1 and isinstance(next(iter(value.values())), str):
        ((key, name),) = value.items()
        if key == "file":
            secret = _secret_from_file(name, directory)
        elif key == "env":
            if name not in os.environ:
                raise ValueError(f"the environment has no variable {name}")
            secret = Secret(os.environb[os.fsencode(name)])
        else:
            raise ValueError(f'unknown key {key!r}; possible: a text, {{file = "path"}} or {{env = "NAME"}}' + near(key, ("file", "env")))
    else:
        raise ValueError('a text, {file = "path"} or {env = "NAME"} is expected')
    if not secret:
        raise ValueError("is empty")
    if b"\0" in secret.reveal():
        raise ValueError("has a NUL octet, which SASL PLAIN cannot carry (RFC 4616 2)")
    return secret


def _secret_from_file(name: str, directory: Path | None) -> Secret:
    path = (directory or Path()) / name
    try:
        with path.open("rb") as file:
            octets = file.read(_MAX_SECRET + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except ValueError:
        raise ValueError("the file's name cannot be used") from None
    if len(octets) > _MAX_SECRET:
        raise ValueError(f"{path}: longer than {_MAX_SECRET} octets")
    return Secret(octets.removesuffix(b"\n").removesuffix(b"\r"))


def _duration(value: Any, info: ValidationInfo) -> float:
    if isinstance(info.context, Reading) and isinstance(value, float):
        raise ValueError('a time with its unit is expected, as "30s", "5m" or "2h"')
    return parse_duration(value)


def _secret(value: Any, info: ValidationInfo) -> Secret:
    return parse_secret(value, info.context.directory if isinstance(info.context, Reading) else None)


def _path(value: str, info: ValidationInfo) -> str:
    if not value or "\0" in value:
        raise ValueError("the name of a file is expected")
    return str(info.context.directory / value) if isinstance(info.context, Reading) else value


def _fingerprint(value: str) -> str:
    plain = value.lower().removeprefix("sha256:").replace(":", "")
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise ValueError('the SHA-256 of a certificate is expected: 64 hex digits, as "portico certs show" prints it')
    return plain


Duration = Annotated[float, BeforeValidator(_duration), Kind("time")]
Size = Annotated[int, BeforeValidator(parse_size), Kind("size")]
SecretText = Annotated[Secret, BeforeValidator(_secret), Kind("secret")]
ReadFile = Annotated[str, AfterValidator(_path), Kind("file")]
"""The name of a file that must be there. From a settings file: made absolute to its directory."""
WrittenFile = Annotated[str, AfterValidator(_path), Kind("file to write")]
Directory = Annotated[str, AfterValidator(_path), Kind("directory")]
Fingerprint = Annotated[str, AfterValidator(_fingerprint), Kind("fingerprint")]
"""64 lower-case hex digits; colons and upper case are taken and removed."""
Address = Annotated[str, Kind("address")]
"""Read by config.address."""
