"""A whole command, gathered: its first line, its literals, the lines between.

Rule of this file: it holds what a Reader gives until the command is complete, within a limit, and asks for
synchronising literals itself. It is used where a command must be understood before it goes
on: before login, and for commands somebody is interested in.
"""

from __future__ import annotations

from portico.errors import PeerError
from portico.wire.lines import Line, Literal

GO_AHEAD = b"+ OK\r\n"


class Gather:
    """`add` pieces in order until it returns True: the command is complete in `raw`."""

    __slots__ = ("_raw", "first", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.first = b""
        """The first line, or nothing."""
        self._raw = bytearray()  # not a list of pieces: a client that sends octets one by one would have each held as an object

    def add(self, piece: Line | Literal, *, count_announced: bool = True) -> bool:
        """Take a piece. True: that was the last. Raises PeerError TOOBIG (fatal where the octets come anyway).

        `count_announced` False: the literal announced will not be gathered here.
        """
        self.first = self.first or piece.data
        announced = (piece.literal if isinstance(piece, Line) else piece.left) if count_announced else 0
        if len(self._raw) + len(piece.data) + max(announced, 0) > self.limit:
            fatal = not (isinstance(piece, Line) and piece.sync)
            raise PeerError("Command too large", fatal=fatal, code="TOOBIG")
        self._raw += piece.data
        return isinstance(piece, Line) and piece.literal < 0

    @property
    def empty(self) -> bool:
        return not self._raw

    @property
    def so_far(self) -> bytes:
        return bytes(self._raw)

    def take(self) -> bytes:
        """The whole command without its final line end; empty for the next one."""
        raw = bytes(self._raw)
        self._raw, self.first = bytearray(), b""
        return raw[:-2] if raw.endswith(b"\r\n") else raw.removesuffix(b"\n")
