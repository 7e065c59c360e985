"""A message that passes over POP3, when another one may be shown in its place.

Rule of this file: as pop3.annotate; but what the server says is held from the status line on, so that nothing is said of a message before
it is known which one it is. A message larger than the bound passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from portico.session.annotations.transform import Made
from portico.session.pop3.annotate import Passing, Stuffed, Unstuffed

LOST: Final = b"-ERR [SYS/TEMP] This message cannot be shown as it was before; try again later.\r\n"


def shown(message: bytes, lines: int = -1) -> bytes:
    """The body of an answer: a message, or its header and so many lines of its text (RFC 1939 7, TOP); -1: all."""
    if lines >= 0:
        end = message.index(b"\r\n\r\n") + 4
        while lines and end < len(message):
            end = message.index(b"\n", end) + 1
            lines -= 1
        message = message[:end]
    out = Stuffed()
    return out.feed(message) + out.end()


class Replaced:
    """What the server gives is of no interest: `answer` is told in its place. It is asked for when the server's has ended."""

    __slots__ = ("_answer",)
    passes: Final = False

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        return self._answer() if last else b""


class _Held:
    """Gathers a body, `most` octets of it without the dots of RFC 1939 3."""

    __slots__ = ("_most", "_pieces", "_size", "too_large")

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0
        self.too_large = False

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._size += len(piece) - piece.count(b"\n.")
        self.too_large = self.too_large or self._size > self._most + 2  # of the end, CR and LF

    def take(self) -> bytes:
        raw = b"".join(self._pieces)
        self._pieces = []
        return raw


class Considered:
    """A message that nobody has seen: `made` says what is shown in its place. If nothing is, all of it goes `on`, or passes.

    `status`: the server's line, and `told` what becomes of it for a message of so many octets.
    """

    __slots__ = ("_decided", "_held", "_made", "_on", "_passed", "_status", "_told")

    def __init__(
        self,
        status: bytes,
        most: int,
        made: Callable[[bytes], Made | None],
        told: Callable[[int], bytes],
        passed: Callable[[], None],
        on: Passing | None,
    ) -> None:
        self._status = status
        self._held = _Held(most)
        self._made = made
        self._told = told
        self._passed = passed
        self._on = on
        self._decided = False

    @property
    def passes(self) -> bool:
        return self._decided and (self._on is None or self._on.passes)

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        if self._decided:
            return self._on.feed(piece, last=last) if self._on is not None else piece
        self._held.add(piece)
        if not last and not self._held.too_large:
            return b""
        self._decided = True
        raw = self._held.take()
        made = self._made(Unstuffed().feed(raw, last=True)) if not self._held.too_large else None
        if made is not None:
            return self._told(len(made.message)) + shown(made.message)
        if self._on is None:
            self._passed()
            return self._status + raw
        return self._status + self._on.feed(raw, last=last)


class Again:
    """A message whose transformed octets found no room: it is made again, and is what it was, or it is not shown."""

    __slots__ = ("_held", "_made", "_status")
    passes: Final = False

    def __init__(self, status: bytes, most: int, made: Callable[[bytes], bytes | None]) -> None:
        self._status = status
        self._held = _Held(most)
        self._made = made

    def feed(self, piece: bytes, *, last: bool) -> bytes:
        self._held.add(piece)
        if self._held.too_large:
            self._held.take()
        if not last:
            return b""
        message = self._made(Unstuffed().feed(self._held.take(), last=True)) if not self._held.too_large else None
        return LOST if message is None else self._status + shown(message)
