"""Choices drawn from octets.

Rule of this file: the same octets give the same choices; where they end, every choice is the first one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Source:
    """Reads its octets from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    @property
    def empty(self) -> bool:
        return self._pos >= len(self._data)

    def octet(self) -> int:
        if self.empty:
            return 0
        self._pos += 1
        return self._data[self._pos - 1]

    def below(self, bound: int) -> int:
        """A number from 0 to `bound` - 1."""
        value = self.octet()
        return (value << 8 | self.octet() if bound > 256 else value) % bound

    def chance(self, of_256: int) -> bool:
        """True `of_256` times out of 256; never once the octets have ended."""
        return 255 - self.octet() < of_256

    def choice(self, among: Sequence[T]) -> T:
        return among[self.below(len(among))]

    def octets(self, count: int) -> bytes:
        taken = self._data[self._pos : self._pos + count]
        self._pos += len(taken)
        return taken

    def rest(self) -> bytes:
        return self.octets(len(self._data))

    def cut(self, data: bytes) -> list[bytes]:
        """`data` in up to 16 pieces, none of them empty."""
        edges = sorted({self.below(len(data) + 1) for _ in range(self.below(16))} | {0, len(data)}) if data else []
        return [data[a:b] for a, b in itertools.pairwise(edges)]


TOKENS = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b'"', b"\\", b"(", b")", b"{5}\r\n", b"{3+}\r\nabc", b"{0}\r\n", b"{99999999999}\r\n", b"~{2}\r\nab",
    b"+ ", b"+\r\n", b"* ", b"* BYE x\r\n", b"NIL", b"[", b"]", b"<0>", b"\xff\xfe", b"\xc3\xa9", b"=", b".\r\n", b"..", b"a1 OK ",
    b"{18446744073709551616}\r\n", b"{-1}\r\n", b"UID", b"BODY[", b"4294967296", b"x" * 300, b"(" * 70,
)  # fmt: skip


def mutated(source: Source, data: bytes) -> bytes:
    """`data` with up to four small changes."""
    for _ in range(1 + source.below(4)):
        at = source.below(len(data) + 1)
        kind = source.below(5)
        if kind == 0:
            data = data[:at] + source.choice(TOKENS) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + 1 + source.below(12) :]
        elif kind == 2:
            data = data[:at] + bytes([source.octet()]) + data[at + 1 :]
        elif kind == 3:
            data = data[: at + source.below(40)] + data[at:]
        else:
            data = data[:at] + source.octets(source.below(8)) + data[at:]
    return data
