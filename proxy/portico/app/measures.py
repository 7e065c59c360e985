"""What one process tells of itself: its counts, what is so at the moment, and whether it serves.

Rule of this file: from the rooms to plain samples (observe.metrics), when somebody asks. Nothing is added to what the rooms keep anyway.
"""

from __future__ import annotations

import datetime
import platform
from collections import Counter
from typing import Any, Final

import portico
from portico.app.proxy import Proxy
from portico.observe.health import Health, together
from portico.observe.metrics import Samples
from portico.observe.process import Lag, log_samples, process_samples
from portico.observe.totals import summed

_UNWELL: Final = ("open", "trying", "drained")
"""States of a server to which logins are not sent, or only as a test."""


def build_samples() -> Samples:
    return {"portico_build_info": [[portico.__version__, platform.python_version(), 1]]}


def measured(proxy: Proxy, worker: str, lag: Lag | None = None) -> Samples:
    """All that this process knows."""
    return summed(
        [
            proxy.metrics.samples(),
            _sessions(proxy),
            _servers(proxy),
            _certificates(proxy),
            {"portico_workers": [[1]], "portico_ready": [[int(together([health(proxy)])["ready"])]]},
            build_samples(),
            log_samples(proxy.log),
            process_samples(worker, lag),
        ]
    )


def _sessions(proxy: Proxy) -> Samples:
    states: Counter[tuple[str, str, str]] = Counter()
    octets: Counter[tuple[str, str]] = Counter()
    for running in proxy.sessions:
        view, now = running.view, running.now()
        if now.state != "closing":
            states[view.protocol, view.listener, now.state] += 1
        octets[view.protocol, "in"] += now.bytes_in
        octets[view.protocol, "out"] += now.bytes_out
    for name, listener in proxy.settings.listeners.items():  # none is a number too
        for state in ("login", "tunnel", "watch"):
            states[listener.protocol, name, state] += 0
    return {
        "portico_sessions": [[*labels, count] for labels, count in states.items()],
        "portico_bytes_total": [[*labels, count] for labels, count in octets.items()],
    }


def _servers(proxy: Proxy) -> Samples:
    generation = proxy.generation
    up: dict[tuple[str, str], int] = {}
    for record in generation.server_records.values():
        key = (record.target.name, record.protocol)
        up[key] = max(up.get(key, 0), int(generation.records.state(record) not in _UNWELL))
    return {"portico_server_up": [[*labels, well] for labels, well in up.items()]}


def _certificates(proxy: Proxy) -> Samples:
    rows = []
    for known in proxy.certificates():
        ends = datetime.datetime.fromisoformat(known["not_after"]).timestamp()
        rows.append([known.get("listener", ""), known.get("server", ""), known["path"], ends])
    return {"portico_certificate_not_after_seconds": rows}


def health(proxy: Proxy) -> Health:
    """See observe.health. Where a plugin chooses the server, all servers of the protocol count. One whose breaker would let a login
    through counts as well: were it ill until somebody has tried, a balancer in front would send nobody who could."""
    generation, addresses = proxy.generation, proxy.addresses
    records = generation.records
    listeners: dict[str, Any] = {}
    for name, desk in generation.desks.items():
        servers: dict[str, bool] = {}
        for target in desk.way.possible or desk.way.targets.values():
            record = generation.server_records[target.server]
            well = records.state(record) not in _UNWELL or (record.breaker.state == "open" and records.may(record))
            servers[target.name] = servers.get(target.name, False) or well
        listeners[name] = {"open": bool(addresses.get(name)), "servers": servers}
    return {"draining": proxy.stopping, "listeners": listeners}
