"""Units as people write them: "30s", "64KiB".

Rule of this file: constants to multiply with, and the pydantic types that read text with a unit.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from portico.errors import Secret

SECONDS: Final = 1.0
MINUTES: Final = 60.0
HOURS: Final = 3600.0
KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_DURATIONS: Final = {"ms": 0.001, "s": SECONDS, "m": MINUTES, "min": MINUTES, "h": HOURS, "d": 24 * HOURS}
_SIZES: Final = {"": 1, "b": 1, "kib": KIB, "mib": MIB, "gib": GIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def parse_duration(value: Any) -> float:
    """Seconds from ``"30s"``, ``"1.5m"``, ``"2h"``. A bare number is refused: it has no unit."""
    if isinstance(value, float):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", value.lower()) if isinstance(value, str) else None
    if match is None or match[2] not in _DURATIONS:
        raise ValueError('a time with its unit is expected, as "30s", "5m" or "2h"')
    return float(match[1]) * _DURATIONS[match[2]]


def parse_size(value: Any) -> int:
    """Octets from ``"64KiB"``, ``"10MB"`` or a bare number of octets."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", value.lower()) if isinstance(value, str) else None
    if match is None or match[2] not in _SIZES:
        raise ValueError('a size is expected, as "64KiB", "10MB" or a number of octets')
    return int(match[1]) * _SIZES[match[2]]


def parse_secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise ValueError('a text, {file = "path"} or {env = "NAME"} is expected')


Duration = Annotated[float, BeforeValidator(parse_duration)]
Size = Annotated[int, BeforeValidator(parse_size)]
SecretText = Annotated[Secret, BeforeValidator(parse_secret)]
