"""Asking all servers at start, and again now and then.

Rule of this file: when to probe and what to say in the log about it; how is in probe.py. Nothing waits for it but the start
of listeners that offer only what their server offers (APOP, relayed mechanisms). A server whose breaker has opened is asked soon, so that
it comes back without a login having to find out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from portico.config.units import HOURS, MINUTES, SECONDS
from portico.session.context import ServerFacts
from portico.upstream.probe import ProbeFailed
from portico.upstream.records import Records, ServerRecord

FIRST_RETRY: Final = 5 * SECONDS
LAST_RETRY: Final = 5 * MINUTES
REFRESH: Final = 1 * HOURS
"""A server that was upgraded is known anew after this time at the latest."""

Ask = Callable[[], Awaitable[ServerFacts]]
"""Asks one server; raises ProbeFailed."""


@dataclass(slots=True)
class _Asked:
    record: ServerRecord
    ask: Ask
    ill: asyncio.Event = field(default_factory=asyncio.Event)
    """Its breaker has opened."""


class Prober:
    """Keeps the facts of its servers. `start` once, `stop` once; both inside a running event loop."""

    def __init__(
        self,
        records: Records,
        report: Callable[[str, dict[str, Any]], None],
        sleep: Callable[[float], Awaitable[None]],
        interval: float = REFRESH,
    ) -> None:
        self._interval = interval
        self._records = records
        self._report = report
        self._sleep = sleep
        self._asked: list[_Asked] = []
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, record: ServerRecord, ask: Ask) -> None:
        """Another server to ask; before `start`."""
        self._asked.append(_Asked(record, ask))

    async def start(self, needed: Iterable[ServerRecord] = ()) -> None:
        """Begin asking; returns when those in `needed` have answered or failed once."""
        self._records.watchers.append(self._opened)
        names = {id(record) for record in needed}
        waited: list[asyncio.Event] = []
        for asked in self._asked:
            first = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._keep(asked, first), name=f"probe {asked.record.target.name}"))
            if id(asked.record) in names:
                waited.append(first)
        for first in waited:
            await first.wait()

    async def stop(self) -> None:
        """Ask no more."""
        if self._opened in self._records.watchers:
            self._records.watchers.remove(self._opened)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, asked: _Asked, first: asyncio.Event) -> None:
        retry = FIRST_RETRY
        while True:
            known = await self._once(asked)
            first.set()
            if known:
                retry = FIRST_RETRY
                if await self._pause(asked, self._interval):
                    await self._sleep(retry)
            else:
                await self._sleep(retry)
                retry = min(retry * 2, max(FIRST_RETRY, min(self._interval, LAST_RETRY)))

    def _opened(self, record: ServerRecord) -> None:
        for asked in self._asked:
            if asked.record is record:
                asked.ill.set()

    async def _pause(self, asked: _Asked, seconds: float) -> bool:
        """Wait so long, or until its breaker opens (True)."""
        asked.ill.clear()
        if asked.record.breaker.state == "open":
            return True
        sleep = asyncio.ensure_future(self._sleep(seconds))
        ill = asyncio.ensure_future(asked.ill.wait())
        try:
            done, _ = await asyncio.wait((sleep, ill), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            ill.cancel()
        return ill in done

    async def _once(self, asked: _Asked) -> bool:
        record = asked.record
        target = record.target
        fields: dict[str, Any] = {"server": target.name, "protocol": record.protocol, "address": target.address}
        began = time.monotonic()
        try:
            facts = await asked.ask()
        except ProbeFailed as error:
            self._report("server.probe_failed", {**fields, "reason": error.reason, "detail": error.detail})
            self._records.unanswered(record, error.reason)
            return False
        except Exception as error:  # a fault of ours must not end the asking
            self._report("server.probe_failed", {**fields, "reason": "bug", "detail": type(error).__name__})
            return False
        self._records.learned(record, facts)
        if facts != record.told:
            record.told = facts
            names = [name.decode("ascii", "replace") for name in facts.secured or facts.plain]
            more = {"capabilities": names, "mechanisms": list(facts.mechanisms), "seconds": round(time.monotonic() - began, 4)}
            self._report("server.probed", {**fields, **more})
        return True
