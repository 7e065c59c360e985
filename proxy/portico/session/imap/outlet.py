"""The one ordered path to the client.

Rule of this file: octets of one leg are never put into an open line or literal of another, and what we compose
goes in only at a boundary. Who began a response has the floor until it is whole; others wait.
"""

from __future__ import annotations

from portico.session.decisions import Answered, Decision, SendToClient, Trace

_OURS = -2
"""In place of a leg: composed by us."""
_RESULTS = {b"OK ": "ok", b"NO ": "no", b"BAD": "bad"}


def answered(line: bytes) -> Answered | None:
    """What a line says of the command that it ends; None: it ends none."""
    tag, _, rest = line.partition(b" ")
    result = _RESULTS.get(rest[:3].upper())
    return Answered(tag, result) if result is not None and tag != b"*" else None


class Outlet:
    """`put` what comes from a leg, `compose` what is ours."""

    __slots__ = ("_floor", "_timed", "_traced", "_waiting", "waiting")

    def __init__(self, *, traced: bool = False, timed: bool = False) -> None:
        self._floor: int | None = None
        self._waiting: list[tuple[int, bytes, bool, bytes]] = []  # an empty deque would be 600 octets in each session
        self._traced = traced
        self._timed = timed
        self.waiting = 0
        """Octets that wait for a boundary."""

    def trace(self, on: bool) -> None:
        """Decide Trace from now on, or no more."""
        self._traced = on

    @property
    def at_boundary(self) -> bool:
        return self._floor is None

    @property
    def floor(self) -> int | None:
        """The leg in the middle of a response, or None."""
        return self._floor

    def put(self, leg: int, data: bytes, whole: bool, out: list[Decision], shown: bytes = b"") -> None:
        """Octets of `leg`; `whole`: no line or literal of it is open behind them. `shown`: what the trace says instead."""
        if self._floor is not None and self._floor != leg:
            self._waiting.append((leg, data, whole, shown))
            self.waiting += len(data)
            return
        self._send(data, shown, out)
        self._floor = None if whole else leg
        if whole and self._waiting:
            self._drain(out)

    def compose(self, data: bytes, out: list[Decision], shown: bytes = b"") -> None:
        """Whole lines of our own: now, or at the next boundary."""
        if self._timed and (ends := answered(data[data.rfind(b"\n", 0, -1) + 1 :])) is not None:
            out.append(ends)
        self.put(_OURS, data, True, out, shown)

    def boundary(self, leg: int, out: list[Decision]) -> None:
        """`leg` has come to a boundary that its last `put` did not know of."""
        if self._floor == leg:
            self._floor = None
            self._drain(out)

    def _drain(self, out: list[Decision]) -> None:
        while self._waiting:
            index = 0
            if self._floor is not None:
                index = next((i for i, entry in enumerate(self._waiting) if entry[0] == self._floor), -1)
                if index < 0:
                    return
            leg, data, whole, shown = self._waiting[index]
            del self._waiting[index]
            self.waiting -= len(data)
            self._send(data, shown, out)
            self._floor = None if whole else leg

    def _send(self, data: bytes, shown: bytes, out: list[Decision]) -> None:
        if data:
            out.append(SendToClient(data))
            if self._traced:
                out.append(Trace("<C", shown or data))
