"""Which size has been told of which message of a mailbox.

Rule of this file: what was told stays; twelve octets a message, because a mailbox may have a hundred thousand of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple, Protocol

from portico.session.annotations.annotation import Mailbox

_ESTIMATED: Final = 1 << 63
_FRESH: Final = 4096
"""Messages that wait to be put in their places: one at a time would move all that are behind it."""
MOST_UID: Final = (1 << 32) - 1
MOST_OCTETS: Final = 1 << 40
"""A size above is told as this."""

Row = tuple[int, int, bool]
"""UID, octets and whether that was an estimate."""


class Size(NamedTuple):
    """A size, and whether it was estimated when it was told."""

    octets: int
    estimated: bool


class Sizes:
    """The sizes told of one mailbox, by UID (1 to MOST_UID)."""

    __slots__ = ("__weakref__", "_fresh", "_sizes", "_uids", "edition", "estimated", "new", "taught")

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._uids = array("I")
        self._sizes = array("Q")
        self._fresh: dict[int, int] = {}
        self.new: list[Row] = []
        """What has been told and not been written down (SizesLedger)."""
        self.estimated = 0
        """How many of them are estimates."""
        self.taught = False
        """The sizer knows the true ones."""
        self.edition = 0
        """What is written down is known up to here (SizesLedger)."""
        for uid, octets, estimated in rows:
            self._put(uid, octets, estimated)

    def __len__(self) -> int:
        return len(self._uids) + len(self._fresh)

    def get(self, uid: int) -> Size | None:
        size = self._fresh.get(uid)
        if size is None:
            at = bisect_left(self._uids, uid)
            if at == len(self._uids) or self._uids[at] != uid:
                return None
            size = self._sizes[at]
        return Size(size & ~_ESTIMATED, bool(size & _ESTIMATED))

    def tell(self, uid: int, octets: int, *, estimated: bool) -> int:
        """The size to be told of a message: what was told before, else `octets`, from now on."""
        known = self.get(uid)
        if known is not None:
            return known.octets
        octets = min(octets, MOST_OCTETS)
        self._put(uid, octets, estimated)
        self.new.append((uid, octets, estimated))
        return octets

    def add(self, rows: Iterable[Row]) -> None:
        """What others have told meanwhile. What was told here before stays."""
        for uid, octets, estimated in rows:
            if self.get(uid) is None:
                self._put(uid, octets, estimated)

    def _put(self, uid: int, octets: int, estimated: bool) -> None:
        size = octets | _ESTIMATED if estimated else octets
        self.estimated += estimated
        if not self._uids or uid > self._uids[-1]:
            self._uids.append(uid)
            self._sizes.append(size)
        else:
            self._fresh[uid] = size
            if len(self._fresh) >= _FRESH:
                self._settle()

    def _settle(self) -> None:
        """Put what is new in its place."""
        if not self._fresh:
            return
        uids, sizes = array("I"), array("Q")
        pos = 0
        for uid in sorted(self._fresh):
            at = bisect_left(self._uids, uid, pos)
            uids += self._uids[pos:at]
            sizes += self._sizes[pos:at]
            uids.append(uid)
            sizes.append(self._fresh[uid])
            pos = at
        self._uids, self._sizes = uids + self._uids[pos:], sizes + self._sizes[pos:]
        self._fresh = {}

    def each(self) -> Iterator[tuple[int, int, bool]]:
        """All, rising."""
        self._settle()
        for uid, size in zip(self._uids, self._sizes, strict=True):
            yield uid, size & ~_ESTIMATED, bool(size & _ESTIMATED)

    def only(self, there: Collection[int]) -> list[int]:
        """Forget messages that have left the mailbox, in which `there` are; those above have come since. Which were forgotten."""
        last = max(there, default=0)
        gone = [uid for uid, _, _ in self.each() if uid <= last and uid not in there]
        if gone:
            kept = [row for row in self.each() if row[0] > last or row[0] in there]
            self._uids = array("I", [uid for uid, _, _ in kept])
            self._sizes = array("Q", [octets | _ESTIMATED if estimated else octets for _, octets, estimated in kept])
            self.estimated = sum(estimated for _, _, estimated in kept)
            self.new = [row for row in self.new if row[0] > last or row[0] in there]
        return gone


class SizesLedger(Protocol):
    """Remembers what was told (portico.ledger supplies it)."""

    def sizes(self, mailbox: Mailbox) -> Sizes:
        """What was told of a mailbox; as long as somebody has it, others get the same."""
        ...

    def begin_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        """A size that is not known is about to be told: whatever others have told is known now, and nobody else tells one until
        `keep_sizes`, which must come before anything is waited for. May be called again before that."""
        ...

    def keep_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        """Write down what is new."""
        ...

    def forget_sizes(self, mailbox: Mailbox, uids: Collection[int]) -> None:
        """These messages have left the mailbox."""
        ...

    def estimated(self, account: str, name: str) -> int:
        """Octets of all estimates told of a mailbox; for STATUS SIZE (RFC 8438)."""
        ...
