"""What is known about each server: capabilities seen, how the last dials went.

Rule of this file: values and counting; no I/O, no decisions. A record outlives a reload of the settings as long
as the server is reached in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from portico.session.context import Protocol, ServerFacts, Target


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

    def __repr__(self) -> str:
        state = "unused" if not self.dials else f"failing ({self.last_error})" if self.failures_in_a_row else "well"
        return f"<server {self.target.name} {self.protocol} {self.target.address} {state}>"


_Key = tuple[str, Protocol, str, str]


class Records:
    """All records of one process."""

    __slots__ = ("_clock", "_records")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[_Key, ServerRecord] = {}

    def of(self, target: Target, protocol: Protocol) -> ServerRecord:
        """The record of `target`, made when first asked for. Another address or way of TLS is another record."""
        key = (target.server or target.name, protocol, target.address, target.tls)
        record = self._records.get(key)
        if record is None:
            record = self._records[key] = ServerRecord(target, protocol)
        return record

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

    def _ended(self, record: ServerRecord, error: str | None) -> None:
        if error is None:
            record.failures_in_a_row = 0
            record.last_success = self._clock()
        else:
            record.failures += 1
            record.failures_in_a_row += 1
            record.last_error = error
            record.last_failure = self._clock()

    def learned(self, record: ServerRecord, facts: ServerFacts) -> None:
        """The server was asked for its capabilities."""
        record.facts.plain, record.facts.secured, record.facts.mechanisms = facts.plain, facts.secured, facts.mechanisms
        record.probed = self._clock()

    def all(self) -> list[ServerRecord]:
        """In the order in which they were made."""
        return list(self._records.values())
