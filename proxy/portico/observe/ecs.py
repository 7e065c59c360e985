"""The log in the names of the Elastic Common Schema (ECS 8.11).

Rule of this file: one table from our fields to ECS fields, and the few values that have another unit there. What ECS has no name for
is called ``portico.`` and our name, so that nothing is lost and nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

VERSION: Final = "8.11"

NAMES: Final[Mapping[str, str]] = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "event": "event.action",
    "reason": "event.reason",
    "seconds": "event.duration",
    "code": "event.code",
    "text": "message",
    "error": "error.type",
    "traceback": "error.stack_trace",
    "protocol": "network.protocol",
    "rip": "source.ip",
    "rport": "source.port",
    "bytes_in": "source.bytes",
    "lip": "destination.ip",
    "lport": "destination.port",
    "bytes_out": "destination.bytes",
    "user": "user.name",
    "client": "user_agent.original",
    "tls": "tls.version",
    "cipher": "tls.cipher",
    "resumed": "tls.resumed",
    "sni": "tls.client.server_name",
    "address": "server.address",
    "path": "file.path",
    "pid": "process.pid",
    "version": "service.version",
}
"""All others: ``portico.`` and the name."""

_OUTCOMES: Final = {"login.succeeded": "success", "login.failed": "failure"}
NANOSECONDS: Final = 1_000_000_000

VALUES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "seconds": lambda value: round(value * NANOSECONDS) if isinstance(value, int | float) else None,
    "traceback": lambda value: "\n".join(value) if isinstance(value, list | tuple) else value,
    "tls": lambda value: value.removeprefix("TLSv") if isinstance(value, str) else value,
    "rip": lambda value: value or None,
    "lip": lambda value: value or None,
}
"""Where ECS has another unit or form; None: the field is left out (an IP address that a unix socket has not)."""


def to_ecs(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line with our names as one with those of ECS."""
    made: dict[str, Any] = {}
    for name, value in line.items():
        change = VALUES.get(name)
        if change is not None and (value := change(value)) is None:
            continue
        made[NAMES.get(name) or f"portico.{name}"] = value
    made["ecs.version"] = VERSION
    made["event.dataset"] = "portico.log"
    event = str(line.get("event", ""))
    if event in _OUTCOMES:
        made["event.category"] = ["authentication"]
        made["event.outcome"] = _OUTCOMES[event]
    return made
