"""What is known about each server: capabilities seen, how the last dials and sign-ins went, whether it may be used.

Rule of this file: values and counting; no I/O. A record outlives a reload of the settings as long as the server is reached in the same
way. Whether a server is ill is its breaker's to say (breaker.py), whether it is drained an operator's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from portico.config.sections.upstream import Health
from portico.session.context import Protocol, ServerFacts, Target
from portico.upstream.breaker import Breaker, State

_ACCUSERS: Final = 1000
"""Networks that are remembered of one server."""


@dataclass(slots=True)
class ServerRecord:
    """One server for one protocol. Times are of the clock given to Records, None: never."""

    target: Target
    protocol: Protocol
    facts: ServerFacts = field(default_factory=ServerFacts)
    """Changed in place when they are learned, so that all who hold it know."""
    dials: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    """The reason word of the last failure; it stays after a success."""
    last_failure: float | None = None
    last_success: float | None = None
    last_seconds: float = 0.0
    """How long the last successful dial took."""
    probed: float | None = None
    """When the facts were learned."""
    told: ServerFacts | None = field(default=None, repr=False)
    """What the log was told of the facts last."""
    breaker: Breaker = field(default_factory=lambda: Breaker(Health()), repr=False)
    accusers: set[str] = field(default_factory=set, repr=False)
    """Networks of clients in whose sign-in it has failed since it last answered one."""

    def __repr__(self) -> str:
        state = "unused" if not self.dials else f"failing ({self.last_error})" if self.failures_in_a_row else "well"
        return f"<server {self.target.name} {self.protocol} {self.target.address} {state}>"


_Key = tuple[str, Protocol, str, str]
_STATES: dict[State, str] = {"open": "open", "half_open": "trying"}


class Records:
    """All records of one process. `report`: tells the log of breakers."""

    __slots__ = ("_clock", "_drained", "_health", "_records", "_report", "watchers")

    def __init__(self, clock: Callable[[], float] = time.monotonic, report: Callable[[str, dict[str, Any]], None] | None = None) -> None:
        self._clock = clock
        self._report = report
        self._health = Health()
        self._records: dict[_Key, ServerRecord] = {}
        self._drained: set[str] = set()
        self.watchers: list[Callable[[ServerRecord], None]] = []
        """Called with each record whose breaker has opened."""

    def adopt(self, health: Health, servers: Iterable[ServerRecord] | None = None) -> None:
        """What holds from now on, for all. `servers`: those of the settings; all others are forgotten."""
        self._health = health
        if servers is not None:
            current = {id(record) for record in servers}
            self._records = {key: record for key, record in self._records.items() if id(record) in current}
        for record in self._records.values():
            record.breaker.health = health

    def of(self, target: Target, protocol: Protocol) -> ServerRecord:
        """The record of `target`, made when first asked for. Another address or way of TLS is another record."""
        key = (target.server or target.name, protocol, target.address, target.tls)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = ServerRecord(target, protocol)
            record.breaker = Breaker(self._health, lambda state: self._changed(record, state))
        return record

    # -- what happened

    def dialled(self, record: ServerRecord, error: str | None, seconds: float) -> None:
        """A dial ended: well (None), or with a reason word of session.events.ServerFailed."""
        record.dials += 1
        if error is None:
            record.last_seconds = seconds
        if error is not None or record.target.tls != "starttls":  # else it is of use only when it is secured
            self._ended(record, error)

    def secured(self, record: ServerRecord, error: str | None) -> None:
        """STARTTLS, after a dial that went well, ended: well (None), or with a reason word."""
        self._ended(record, error)

    def ill(self, record: ServerRecord, error: str, accuser: str = "") -> None:
        """It was reached, and then did not behave as a server does: silence, an end, words that are none.

        `accuser`: the network of a client of whom it had been told. It counts once in a row: a server that is well may hang up on what a
        client has sent for a password, and nobody is to close it to all others by that.
        """
        if accuser in record.accusers and record.breaker.state == "closed":
            record.failures += 1
            record.last_error, record.last_failure = error, self._clock()
            return
        if accuser and len(record.accusers) < _ACCUSERS:
            record.accusers.add(accuser)
        self._ended(record, error)

    def answered(self, record: ServerRecord) -> None:
        """It has answered a login, with yes or no, or a question of ours."""
        record.failures_in_a_row = 0
        record.accusers.clear()
        record.breaker.succeeded()

    def _ended(self, record: ServerRecord, error: str | None) -> None:
        if error is None:
            record.failures_in_a_row = 0
            record.last_success = self._clock()
        else:
            record.failures += 1
            record.failures_in_a_row += 1
            record.last_error = error
            record.last_failure = self._clock()
            record.breaker.failed(self._clock())

    def learned(self, record: ServerRecord, facts: ServerFacts) -> None:
        """The server was asked for its capabilities."""
        record.facts.plain, record.facts.secured, record.facts.mechanisms = facts.plain, facts.secured, facts.mechanisms
        record.probed = self._clock()
        self.answered(record)

    def unanswered(self, record: ServerRecord, error: str) -> None:
        """It was asked, and did not answer."""
        record.last_error = error
        record.last_failure = self._clock()
        record.breaker.failed(self._clock())

    def _changed(self, record: ServerRecord, state: State) -> None:
        if self._report is not None:
            target, breaker = record.target, record.breaker
            fields: dict[str, Any] = {"server": target.name, "protocol": record.protocol, "address": target.address}
            if state == "open":
                why = {"reason": record.last_error, "count": breaker.failures, "seconds": round(breaker.opens_in(self._clock()), 1)}
                self._report("breaker.opened", fields | why)
            elif state == "half_open":
                self._report("breaker.half_opened", fields)
            else:
                self._report("breaker.closed", fields)
        if state == "open":
            for watcher in self.watchers:
                watcher(record)

    # -- whether it may be used

    def may(self, record: ServerRecord) -> bool:
        """Whether a new login may go there."""
        return record.target.name not in self._drained and record.breaker.may(self._clock())

    def begin(self, record: ServerRecord) -> None:
        """A login goes there."""
        record.breaker.begin(self._clock())

    def drain(self, name: str) -> None:
        """No new session goes to the server of this name until `undrain`; those that run stay."""
        self._drained.add(name)

    def undrain(self, name: str) -> None:
        self._drained.discard(name)

    @property
    def drained(self) -> frozenset[str]:
        """Names of servers."""
        return frozenset(self._drained)

    def state(self, record: ServerRecord) -> str:
        """drained, open, trying (half open), failing, well or unused."""
        if record.target.name in self._drained:
            return "drained"
        known = _STATES.get(record.breaker.state)
        if known is not None:
            return known
        if record.failures_in_a_row or record.breaker.failures:
            return "failing"
        return "well" if record.dials or record.probed is not None else "unused"

    def report(self, records: Iterable[ServerRecord]) -> list[dict[str, Any]]:
        """Some in plain values, for people. Seconds since: None where it never happened."""
        now = self._clock()
        return [
            {
                "server": record.target.name,
                "protocol": record.protocol,
                "address": record.target.address,
                "state": self.state(record),
                "breaker": record.breaker.state,
                "opens_in": round(record.breaker.opens_in(now), 1),
                "dials": record.dials,
                "failures": record.failures,
                "last_error": record.last_error,
                "last_seconds": round(record.last_seconds, 4),
                "last_failure": _since(record.last_failure, now),
                "last_success": _since(record.last_success, now),
                "probed": _since(record.probed, now),
            }
            for record in records
        ]

    def all(self) -> list[ServerRecord]:
        """In the order in which they were made."""
        return list(self._records.values())


def _since(when: float | None, now: float) -> float | None:
    return round(now - when, 1) if when is not None else None
