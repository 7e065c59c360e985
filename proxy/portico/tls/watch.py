"""Looks at certificates from time to time: have the files changed, do they end soon, is it time for other ticket keys.

Rule of this file: it asks the stores and tells the log; what holds is in store.py. Files are read in a thread, because a slow disk must
hold up nobody's mail; what was read is put in place in the loop's own thread.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from portico.config.units import HOURS
from portico.errors import SettingsError
from portico.tls.material import Known, Signature
from portico.tls.store import Loaded, Store

_DAY: Final = 24 * HOURS


class Watch:
    """`stores` by listener; `others`: certificates that we show elsewhere, with the fields that say where.

    `every`: seconds, 0 for never; `warn`: how many seconds before its end a certificate is warned of; `tells`: whether the log hears of it,
    or another process tells it; `warned`: of another Watch before, so that nothing is said twice a day.
    """

    def __init__(
        self,
        stores: Mapping[str, Store],
        report: Callable[[str, dict[str, Any]], None],
        *,
        every: float,
        warn: float,
        others: Sequence[tuple[Mapping[str, Any], Known]] = (),
        tells: bool = True,
        warned: dict[tuple[str, str, str], float] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stores = dict(stores)
        self._others = others
        self._report = report if tells else _nothing
        self._every = every
        self._warn = warn
        self._clock = clock
        self._failing: dict[str, Signature] = {}
        """What could not be used when last looked at; it is told when it is still so at the next look: files that belong together are
        seldom replaced at once."""
        self._told: set[str] = set()
        self._warned = warned if warned is not None else {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; `look` is called from time to time until `stop`."""
        self.expiry()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every or HOURS)
            try:
                await self.look()
            except Exception as error:
                self._report("proxy.bug", {"error": error, "detail": "certificates"})

    async def look(self) -> None:
        """Take up what has changed; say what ends."""
        for listener, store in self._stores.items():
            if store.due and not store.rotate():
                with suppress(SettingsError):  # what is wrong with the files is told below
                    store.adopt(await asyncio.to_thread(store.load))
            if self._every:
                await self._files(listener, store)
        self.expiry()

    async def _files(self, listener: str, store: Store) -> None:
        now = await asyncio.to_thread(store.signature)
        if now == store.loaded.signature:
            self._failing.pop(listener, None)
            self._told.discard(listener)
            return
        if self._failing.get(listener) == now and listener in self._told:
            return
        try:
            loaded = await asyncio.to_thread(store.load)
        except SettingsError as error:
            if self._failing.get(listener) == now:
                self._told.add(listener)
                self._report("certificates.rejected", {"listener": listener, "problems": error.problems})
            else:
                self._told.discard(listener)
            self._failing[listener] = now
            return
        self._failing.pop(listener, None)
        self._told.discard(listener)
        before = store.loaded
        store.adopt(loaded)
        self._report("certificates.reloaded", {"listener": listener, "paths": _changed(before, loaded)})

    def expiry(self) -> None:
        """Say which certificates end soon or have ended, each once a day."""
        now = self._clock()
        for listener, store in self._stores.items():
            for known in store.loaded.known:
                self._ending({"listener": listener}, known.pair.certificate, known.shown.not_after, now, list(known.names))
            if store.loaded.crl_ends is not None:
                self._ending({"listener": listener}, store.policy.client_crl or "", store.loaded.crl_ends, now, None)
        for where, known in self._others:
            self._ending(where, known.pair.certificate, known.shown.not_after, now, list(known.names))

    def _ending(self, where: Mapping[str, Any], path: str, end: datetime.datetime, now: float, names: list[str] | None) -> None:
        """`names`: of a certificate; None for a list of revoked ones."""
        left = end.timestamp() - now
        # A list of revoked certificates lives for days only, and is renewed on its last: a day before is soon enough.
        if left > (self._warn if names is not None else min(self._warn, _DAY)):
            return
        state = "expired" if left <= 0 else "expiring"
        key = (str(sorted(where.items())), path, state)
        if now - self._warned.get(key, 0.0) < _DAY:
            return
        self._warned[key] = now
        fields = {**where, "path": path, "expires": end.isoformat(), "days": int(left // _DAY)}
        if names is None and left <= 0:
            self._report("revocations.expired", fields)
        elif names is None:
            self._report("revocations.expiring", fields)
        elif left <= 0:
            self._report("certificate.expired", {**fields, "names": names})
        else:
            self._report("certificate.expiring", {**fields, "names": names})


def _changed(before: Loaded, after: Loaded) -> list[str]:
    files = [each for each in after.signature if each is not None and each not in before.signature]
    return list(dict.fromkeys(each[0] for each in files))


def _nothing(event: str, fields: dict[str, Any]) -> None:
    """Another process tells it."""
