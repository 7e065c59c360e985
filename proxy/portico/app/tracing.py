"""Live traces: what sessions say, shown to an operator as it passes.

Rule of this file: it costs nothing while nobody looks. A session that is watched gives its protocol text free of credentials
(session.decisions.Trace); octets of a tunnel come as they pass, and a sign-in in them is left out here, with all that the client says
until the server has answered it. Lines that nobody fetches in time are counted, not kept.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from portico.observe.trace import shown
from portico.session.context import SessionView

_LINES: Final = 2000
"""That wait for the operator."""
_LONGEST: Final = 4096
"""Octets of a line without an end."""
_IMAP: Final = re.compile(rb"(\S+)[ \t]+(LOGIN|AUTHENTICATE)\b", re.IGNORECASE)
_POP3: Final = re.compile(rb"()(USER|PASS|APOP|AUTH)\b", re.IGNORECASE)


@dataclass(slots=True)
class _Side:
    """One direction of one session."""

    rest: bytes = b""
    open: bool = False
    """A line too long to wait for its end is being shown."""
    hidden: bool = False
    """It is not to be shown."""


@dataclass(slots=True)
class Tap:
    """One operator's trace: of a user's sessions, or of one session."""

    user: str = ""
    session: str = ""
    lines: deque[dict[str, Any]] = field(default_factory=deque)
    lost: int = 0
    over: bool = False
    there: asyncio.Event = field(default_factory=asyncio.Event)
    sides: dict[tuple[str, str], _Side] = field(default_factory=dict)
    secret: dict[str, bytes] = field(default_factory=dict)
    """Sessions whose client signs in anew: the tag whose answer ends it."""

    def wants(self, view: SessionView) -> bool:
        return view.id == self.session or bool(self.user and view.user.casefold() == self.user.casefold())

    def take(self, view: SessionView, direction: str, data: bytes) -> None:
        side = self.sides.setdefault((view.id, direction), _Side())
        *whole, rest = (side.rest + data).split(b"\n")
        for line in whole:
            if side.open:
                side.open = False
                if not side.hidden:
                    self._put(view, direction, line)
            else:
                self._line(view, direction, line)
        side.rest = rest
        if len(rest) > _LONGEST:
            if not side.open:
                side.hidden = self._line(view, direction, rest)
                side.open = True
            side.rest = b""

    def _line(self, view: SessionView, direction: str, line: bytes) -> bool:
        """Show it, or that it is hidden; True: it was."""
        line = line.removesuffix(b"\r")
        awaited = self.secret.get(view.id)
        if not direction.startswith("C"):
            if awaited is not None and (line.startswith((b"+OK", b"-ERR")) if view.protocol == "pop3" else line.split(b" ")[0] == awaited):
                del self.secret[view.id]
            self._put(view, direction, line)
            return False
        found = (_POP3 if view.protocol == "pop3" else _IMAP).match(line)
        if found is not None:
            self.secret[view.id] = found[1]
            self._put(view, direction, b"%b %b <hidden>" % (found[1], found[2]) if found[1] else found[2] + b" <hidden>")
        elif awaited is not None:
            self._put(view, direction, b"<hidden>")
        else:
            self._put(view, direction, line)
        return found is not None or awaited is not None

    def _put(self, view: SessionView, direction: str, line: bytes) -> None:
        if len(self.lines) >= _LINES:
            self.lost += 1
            return
        if self.lost:
            self.lines.append({"session": view.id, "user": view.user, "direction": "--", "text": f"({self.lost} lines not shown)"})
            self.lost = 0
        self.lines.append({"session": view.id, "user": view.user, "direction": direction, "text": shown(line).decode("ascii")})
        self.there.set()

    def end(self, view: SessionView) -> None:
        """The session is over."""
        for key in [key for key in self.sides if key[0] == view.id]:
            del self.sides[key]
        self.secret.pop(view.id, None)
        self._put(view, "--", b"(the session has ended)")
        self.over = view.id == self.session
        self.there.set()


class Tracing:
    """The traces of one process."""

    __slots__ = ("taps", "users")

    def __init__(self) -> None:
        self.taps: list[Tap] = []
        self.users: tuple[str, ...] = ()
        """Patterns (session.context.Context.trace_users) of those whose new sessions are traced from their first line."""

    def told(self, view: SessionView, direction: str, data: bytes) -> None:
        for tap in self.taps:
            if tap.wants(view):
                tap.take(view, direction, data)

    def ended(self, view: SessionView) -> None:
        for tap in self.taps:
            if tap.wants(view):
                tap.end(view)

    def wanted(self, view: SessionView) -> bool:
        return any(tap.wants(view) for tap in self.taps)

    def begin(self, tap: Tap) -> None:
        self.taps.append(tap)
        self._changed()

    def end(self, tap: Tap) -> None:
        self.taps.remove(tap)
        self._changed()

    def _changed(self) -> None:
        self.users = tuple(dict.fromkeys(_pattern(tap.user) for tap in self.taps if tap.user))

    @staticmethod
    async def lines(tap: Tap) -> AsyncIterator[dict[str, Any]]:
        """As they come, until the only session of the trace has ended."""
        while True:
            while tap.lines:
                yield tap.lines.popleft()
            if tap.over:
                return
            tap.there.clear()
            await tap.there.wait()


def _pattern(user: str) -> str:
    """A name in which nothing is a wildcard."""
    return re.sub(r"([*?[])", r"[\1]", user)
