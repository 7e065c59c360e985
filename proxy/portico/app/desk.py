"""What holds for all sessions of one listener, in one reading of the settings.

Rule of this file: it is worked out once, so that a new session costs look-ups only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from portico.config.settings import Listener
from portico.gate.networks import Networks
from portico.gate.way import Way
from portico.relay.ports import Session
from portico.session.context import Context, ServerFacts
from portico.tls.store import Store

_PHASES: Final = (
    "proxy_header", "tls", "login", "connect", "greeting", "sign_in", "write", "half_close", "plugin", "store", "store_idle", "store_retry",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Desk:
    """What holds for all sessions of one listener, worked out once."""

    name: str
    settings: Listener
    way: Way
    session: Callable[[Context], Session]
    certificates: Store | None
    facts: ServerFacts
    timeouts: Mapping[str, float]
    trace_users: tuple[str, ...]
    possible: tuple[ServerFacts, ...]
    balancers: Networks
    """Those from which connections must begin with a PROXY header; none: nobody says one."""
    trusted: Networks
    """Those who may say for whom they speak."""


def desk_of(
    name: str,
    listener: Listener,
    way: Way,
    session: Callable[[Context], Session],
    certificates: Store | None,
    facts: ServerFacts,
    trace_users: tuple[str, ...],
    possible: tuple[ServerFacts, ...] = (),
) -> Desk:
    """The Desk of a listener. `facts`: of the server known beforehand, else empty ones. `possible`: see Context."""
    timeouts: dict[str, float] = {phase: getattr(listener.timeouts, phase) for phase in _PHASES}
    timeouts["idle"] = listener.idle_timeout
    balancers, trusted = Networks(listener.proxy_protocol), Networks(listener.trusted_networks)
    return Desk(name, listener, way, session, certificates, facts, timeouts, trace_users, possible, balancers, trusted)
