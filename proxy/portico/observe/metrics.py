"""What is counted, for Prometheus: every metric that there is, and plain numbers that are counted up.

Rule of this file: declarations, and counting that costs a look-up and an addition; what is written to the world is made in
exposition.py, and only when somebody asks. docs/reference/metrics.md is generated from the declarations (python -m
portico.observe.metrics_reference). No label names a user or an address of a client: their number has no end.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]

Row = list[Any]
"""The values of the labels in their order, then the number; of a histogram the counts of its buckets (the last one without an upper
bound), each for itself, then the sum of all that was observed."""
Samples = dict[str, list[Row]]
"""By the name of the metric. Plain JSON, so that it passes between processes."""

_QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_HOOKS: Final = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
_LONG: Final = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
_RATIOS: Final = (0.25, 0.5, 0.67, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `buckets`: upper bounds, of a histogram. `merge`: what a gauge of several processes is together."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    merge: Merge = "sum"


def _counter(name: str, labels: str, meaning: str) -> Metric:
    return Metric(name, "counter", meaning, tuple(labels.split()))


def _gauge(name: str, labels: str, meaning: str, merge: Merge = "sum") -> Metric:
    return Metric(name, "gauge", meaning, tuple(labels.split()), merge=merge)


def _histogram(name: str, labels: str, meaning: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name, "histogram", meaning, tuple(labels.split()), buckets)


_ALL: Final = (
    # the proxy as a whole
    _gauge("portico_build_info", "version python", "Always 1; the labels say what runs.", "max"),
    _gauge("portico_ready", "", "1 while new sessions are served: what /readyz says.", "min"),
    _gauge("portico_workers", "", "Worker processes that serve; 1 where there is one process."),
    _counter("portico_worker_ends_total", "", "Worker processes that have ended unasked."),
    _counter("portico_log_events_total", "event", "Lines written to the log, by event (log-events.md)."),
    _counter("portico_log_lines_dropped_total", "", "Lines of the log that could not be written."),
    _gauge("portico_certificate_not_after_seconds", "listener server path",
           "When a certificate ends, in Unix time: a listener's, or one that is shown to a server (the other label is empty).", "min"),
    _gauge("portico_process_resident_bytes", "worker", "Resident memory of a process.", "max"),
    _gauge("portico_process_open_fds", "worker", "Open descriptors of a process.", "max"),
    _gauge("portico_process_max_fds", "worker", "The most that it may have.", "max"),
    _counter("portico_process_cpu_seconds_total", "worker", "Processor time of a process and of those that had its number before."),
    _gauge("portico_process_start_time_seconds", "worker", "When it was started, in Unix time.", "max"),
    _gauge("portico_loop_lag_seconds", "worker",
           "The longest that a process was late in the last half minute: for so long it served nobody.", "max"),
    # sessions
    _gauge("portico_sessions", "protocol listener state",
           "Sessions: `login` before the sign-in has ended, then `tunnel` (octets pass unread) or `watch`."),
    _counter("portico_connections_total", "protocol listener", "Connections accepted, those refused at once included."),
    _counter("portico_sessions_closed_total", "protocol reason", "Sessions that have ended, by `reason` of session.closed."),
    _histogram("portico_session_seconds", "protocol", "How long sessions lasted that have signed in, when they ended.", _LONG),
    _counter("portico_bytes_total", "protocol direction",
             "Octets without TLS, `in` from clients and `out` to them; those of running sessions included."),
    _counter("portico_refusals_total", "protocol reason",
             "Connections and logins that Portico itself refused (limits, penalties, holds, plugins), by `reason`."),
    # logins
    _counter("portico_logins_total", "protocol result",
             "Logins: `ok`; `wrong` (user or password, by whomever it was said); `refused` by Portico; `unavailable`: the server could "
             "not be reached, or did not let Portico sign in."),
    _histogram("portico_login_seconds", "protocol", "From the client's login to the server's yes.", _QUICK),
    # commands
    _histogram("portico_command_seconds", "protocol command result",
               "From a command's first line to its tagged answer (POP3: to the end of it). Only of watched sessions: nobody reads what "
               "passes through a tunnel. Without IDLE. `command` is `other` for what no RFC that Portico knows has; `result` is `ok`, "
               "`no` or `bad` (POP3: `ok` or `err`).", _QUICK),
    # servers
    _gauge("portico_server_up", "server protocol", "1: logins are sent to it; 0: its breaker is open, or it is drained.", "min"),
    _counter("portico_server_dials_total", "server protocol result",
             "Connections to a server: `ok`, or why not (`refused`, `timeout`, `dns`, `tls`, `tls_verify`, `unreachable`, …)."),
    _histogram("portico_server_connect_seconds", "server protocol", "Of those that went well: how long, TLS included where it comes first.",
               _QUICK),
    # plugins
    _histogram("portico_plugin_seconds", "plugin hook", "Time in a plugin's hooks and handlers; of a coroutine until it has returned.",
               _HOOKS),
    _counter("portico_plugin_errors_total", "plugin hook", "A plugin raised, took too long or broke its contract."),
    _counter("portico_annotations_shown_total", "protocol",
             "Messages shown with something inserted, or transformed; counted once per session, at its end."),
    _counter("portico_annotation_troubles_total", "protocol kind",
             "Messages that were not shown as a plugin wanted: `contradicted`, `failed`, `passed_over`, `not_transformed`, "
             "`transform_lost`, as the log's events of these names."),
    _counter("portico_mounts_opened_total", "server", "Sessions that have signed in at a mounted store."),
    _counter("portico_mount_failures_total", "server reason", "A mounted store could not be reached, refused the sign-in, or was gone."),
    _counter("portico_mount_commands_total", "server", "Commands in which a mounted store had a part; counted at the session's end."),
    _counter("portico_mount_lists_remembered_total", "server", "LISTs answered from memory, because the store did not answer."),
    _counter("portico_transfers_total", "result",
             "Copies and moves between servers: `completed`, `failed`; `doubled`: failed, and what was stored stays."),
    _counter("portico_transfer_messages_total", "kind", "Messages that were `copied` or `moved` between servers."),
    _counter("portico_sizes_total", "protocol kind",
             "Sizes told by sessions with estimates: `estimated` or `exact`; counted at the session's end."),
    _histogram("portico_sizes_ratio", "protocol", "Estimate by truth, of estimates whose truth became known.", _RATIOS),
)  # fmt: skip

METRICS: Final = {known.name: known for known in _ALL}
HISTOGRAMS: Final = {known.name: known.buckets for known in _ALL if known.kind == "histogram"}


class Counts:
    """The numbers of one process. They outlive a reload of the settings."""

    __slots__ = ("_counters", "_histograms")

    def __init__(self) -> None:
        self._counters: dict[str, dict[tuple[str, ...], float]] = {}
        self._histograms: dict[str, dict[tuple[str, ...], list[float]]] = {}

    def __repr__(self) -> str:
        return f"<Counts {len(self._counters)} counters, {len(self._histograms)} histograms>"

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Count a counter up."""
        rows = self._counters.get(name)
        if rows is None:
            rows = self._counters[name] = {}
        rows[labels] = rows.get(labels, 0) + by

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Put a value into a histogram."""
        rows = self._histograms.get(name)
        if rows is None:
            rows = self._histograms[name] = {}
        buckets = HISTOGRAMS[name]
        row = rows.get(labels)
        if row is None:
            row = rows[labels] = [0] * (len(buckets) + 2)
        row[bisect_left(buckets, value)] += 1
        row[-1] += value

    def get(self, name: str, *labels: str) -> float:
        """A counter's number; of a histogram how often something was observed."""
        if name in HISTOGRAMS:
            return sum(self._histograms.get(name, {}).get(labels, [0])[:-1])
        return self._counters.get(name, {}).get(labels, 0)

    def samples(self) -> Samples:
        """A copy."""
        found: Samples = {name: [[*labels, number] for labels, number in rows.items()] for name, rows in self._counters.items()}
        for name, of_one in self._histograms.items():
            found[name] = [[*labels, list(row)] for labels, row in of_one.items()]
        return found
