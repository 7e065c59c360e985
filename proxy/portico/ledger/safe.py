"""A ledger that may fail, and ends no session by it.

Rule of this file: what cannot be read is unknown, what cannot be written is not done; then a message is shown as it is, and that it was so
is remembered in memory until it can be written. A failure is said once, and a file that failed is left alone for a while: whoever waits for
a lock lets all sessions wait.
"""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from portico.config.units import SECONDS
from portico.ledger.ledger import SqliteLedger
from portico.ledger.shared import LedgerAway, RedisLedger
from portico.session.annotations.annotation import NOTHING_IS_NEW, Annotation, Known, Located, Mailbox, Told, Whole
from portico.session.sizes.sizes import Sizes

_REST: Final = 10 * SECONDS
_MOST: Final = 100_000
"""Messages and mailboxes that are remembered in memory while nothing can be written."""
_T = TypeVar("_T")


class SafeLedger:
    """As SqliteLedger or RedisLedger. `failed` is told why, once until it works again."""

    def __init__(
        self, ledger: SqliteLedger | RedisLedger, failed: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger = ledger
        self._failed = failed
        self._clock = clock
        self._until = 0.0
        self._well = True
        self._shown: dict[Mailbox, int] = {}
        """Messages up to this UID have been shown, and the file does not know it."""
        self._plain: dict[tuple[Mailbox, str], None] = {}
        """Messages that are not annotated, and the file does not know it."""
        self._subscribed: dict[tuple[str, str], bool] = {}
        self._unwritten: dict[Mailbox, Sizes] = {}
        """Sizes that have been told, and the file does not know all of them."""
        self._unread: WeakValueDictionary[Mailbox, Sizes] = WeakValueDictionary()
        """Where the file could not say which had been told; who has selected the mailbox is told the same."""
        self._begun: Sizes | None = None
        """Sizes that nobody else tells until they have been kept."""

    def close(self) -> None:
        self._ledger.close()

    def knows(self, account: str) -> bool:
        return self._read(lambda: self._ledger.knows(account)) or False

    def known(self, mailbox: Mailbox) -> Known:
        known = self._read(lambda: self._ledger.known(mailbox))
        if known is None:
            return Known(NOTHING_IS_NEW, {})
        plain = frozenset(uid for where, uid in self._plain if where == mailbox) if self._plain else frozenset()
        if not plain and mailbox not in self._shown:
            return known
        return replace(
            known,
            watermark=max(known.watermark, self._shown.get(mailbox, 0)),
            annotations={uid: made for uid, made in known.annotations.items() if uid not in plain},
            passed=known.passed | plain,
        )

    def judged(self, mailbox: Mailbox, watermark: int, annotations: Mapping[str, Annotation | None]) -> Known:
        shown = self._shown.get(mailbox, 0)
        watermark = max(watermark, shown)
        annotations = {uid: made for uid, made in annotations.items() if int(uid) > shown}
        if self._done(lambda: self._ledger.judged(mailbox, watermark, annotations)):
            self._shown.pop(mailbox, None)
        else:
            self._shown[mailbox] = watermark
            _bound(self._shown)
        return self.known(mailbox)

    def judged_one(self, mailbox: Mailbox, uid: str, made: Annotation | None) -> Annotation | None:
        found: list[Annotation | None] = []
        if not self._done(lambda: found.append(self._ledger.judged_one(mailbox, uid, made))):
            self._show_plain(mailbox, uid)
        return found[0] if found and (mailbox, uid) not in self._plain else None

    def located(self, mailbox: Mailbox, uid: str, located: Located) -> None:
        self._done(lambda: self._ledger.located(mailbox, uid, located))

    def forget(self, mailbox: Mailbox, uid: str) -> None:
        if not self._done(lambda: self._ledger.forget(mailbox, uid)):
            self._show_plain(mailbox, uid)

    def gone(self, mailbox: Mailbox, uids: Collection[str]) -> None:
        self._done(lambda: self._ledger.gone(mailbox, uids))

    def sizes(self, mailbox: Mailbox) -> Sizes:
        for memory in (self._unwritten, self._unread):
            if (held := memory.get(mailbox)) is not None:
                return held
        found = self._read(lambda: self._ledger.sizes(mailbox))
        if found is None:
            self._unread[mailbox] = found = Sizes(())
        return found

    def begin_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        if self._done(lambda: self._ledger.begin_sizes(mailbox, sizes)):
            self._begun = sizes

    def keep_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        begun = sizes is self._begun
        if begun:
            self._begun = None
        # What was begun is ended although others had told all of it: they wait for that.
        kept = self._done(lambda: self._ledger.keep_sizes(mailbox, sizes)) if sizes.new or begun else True
        if kept or not sizes.new:
            self._unwritten.pop(mailbox, None)
            return
        self._unwritten[mailbox] = sizes
        while len(self._unwritten) > 1 and sum(map(len, self._unwritten.values())) > _MOST:
            del self._unwritten[next(iter(self._unwritten))]

    def forget_sizes(self, mailbox: Mailbox, uids: Collection[int]) -> None:
        self._done(lambda: self._ledger.forget_sizes(mailbox, uids))

    def estimated(self, account: str, name: str) -> int:
        return self._read(lambda: self._ledger.estimated(account, name)) or 0

    def growth(self, account: str, name: str) -> int:
        return self._read(lambda: self._ledger.growth(account, name)) or 0

    def keep(self, octets: int | None) -> None:
        self._done(lambda: self._ledger.keep(octets))

    def show(self, mailbox: Mailbox, uid: str, made: Annotation, message: bytes, told: Told) -> None:
        self._done(lambda: self._ledger.show(mailbox, uid, made, message, told))

    def told(self, mailbox: Mailbox, uid: str, whole: Whole) -> Told | None:
        return self._read(lambda: self._ledger.told(mailbox, uid, whole))

    def message(self, mailbox: Mailbox, uid: str, whole: Whole) -> bytes | None:
        return self._read(lambda: self._ledger.message(mailbox, uid, whole))

    def subscriptions(self, account: str) -> dict[str, bool]:
        found = self._read(lambda: self._ledger.subscriptions(account)) or {}
        return found | {name: on for (whose, name), on in self._subscribed.items() if whose == account}

    def subscribe(self, account: str, name: str, on: bool) -> None:
        if not self._done(lambda: self._ledger.subscribe(account, name, on)):
            self._subscribed[account, name] = on
            _bound(self._subscribed)
        else:
            self._subscribed.pop((account, name), None)

    def _show_plain(self, mailbox: Mailbox, uid: str) -> None:
        self._plain[mailbox, uid] = None
        _bound(self._plain)

    def _done(self, step: Callable[[], object]) -> bool:
        """Whether a change was made."""
        if self._clock() < self._until:
            return False
        try:
            step()
        except (sqlite3.Error, LedgerAway) as error:
            self._until = self._clock() + _REST
            self._say(error)
            return False
        self._well = True
        return True

    def _read(self, step: Callable[[], _T]) -> _T | None:
        """What is known; None: nothing, or it cannot be read. Who writes does not lock readers out."""
        try:
            return step()
        except (sqlite3.Error, LedgerAway, zlib.error, ValueError, TypeError) as error:  # the last two: what is in it was not written by us
            self._say(error)
            return None

    def _say(self, error: Exception) -> None:
        if self._well:
            self._well = False
            self._failed(f"{type(error).__name__}: {error}")


def _bound(kept: dict[_T, Any]) -> None:
    if len(kept) > _MOST:
        del kept[next(iter(kept))]
