"""The Control of a whole Portico: an operator's verb goes to all workers, and their answers become one.

Rule of this file: what concerns sessions is asked of the workers; what the supervisor itself knows or does (settings, holds, the end) it
answers. What an operator has set is remembered for workers to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

from portico.config.units import SECONDS
from portico.console.control import ControlError, Machines, merge, of_machines
from portico.gate.commons import LocalCommons
from portico.observe.health import Health, together
from portico.observe.log import LEVELS
from portico.observe.metrics import Samples
from portico.observe.process import log_samples, process_samples
from portico.observe.totals import Totals
from portico.workers.link import LATER, Refused
from portico.workers.supervisor import Supervisor, Worker

_PATIENCE: Final = 10 * SECONDS
"""A worker that has not answered by then is left out."""
_OPEN: Final = 1000
"""What may wait of that which is followed; a reader that is slower loses what comes then."""
_AT_ONCE: Final = 2 * SECONDS
"""Prometheus does not wait longer than ten: a worker that is late is represented by what it said last."""


_AT_EVERY_LOGIN: Final = frozenset(("arrive", "claim", "unclaim", "leave", "wrong", "right"))


class SupervisorControl:
    """See console.control.Control. `drains`: ends Portico, the sessions being given so many seconds (None: as the settings have it)."""

    def __init__(self, supervisor: Supervisor, commons: LocalCommons, drains: Callable[[float | None], None]) -> None:
        self._supervisor = supervisor
        self._commons = commons
        self._drains = drains
        self._totals = Totals()
        self.machines: Machines | None = None
        """Set where there are others."""
        supervisor.on_question["commons"] = self._commons_asked
        if type(commons) is LocalCommons:
            supervisor.at_once = self._commons_at_once
        supervisor.on_gone.append(self._forget)

    def __repr__(self) -> str:
        return f"<SupervisorControl {self._supervisor!r}>"

    async def ask(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        own: Callable[[dict[str, Any]], Coroutine[Any, Any, Any]] | None = getattr(self, f"_do_{verb}", None)
        return await own(dict(arguments)) if own is not None else await self._all(verb, arguments)

    async def _all(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        try:
            answers = await self._supervisor.ask_all(verb, dict(arguments), seconds=_PATIENCE)
        except Refused as error:
            raise ControlError(str(error), error.details) from None
        return merge(verb, list(answers.values()))

    async def follow(self, verb: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """What all workers have to tell, until the iterator is closed or all of them have ended it."""
        queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue(_OPEN)
        links = [worker.link for worker in self._supervisor.workers if worker.state == "serving" and worker.link is not None]

        async def listen(link: Any) -> None:
            try:
                async for item in link.follow(verb, arguments):
                    if queue.qsize() < _OPEN - len(links):
                        queue.put_nowait(("item", item))
                queue.put_nowait(("end", None))
            except Refused as error:
                queue.put_nowait(("end", error))

        tasks = [asyncio.create_task(listen(link)) for link in links]
        ended: list[Any] = []
        try:
            while len(ended) < len(tasks):
                kind, item = await queue.get()
                if kind == "item":
                    yield item
                else:
                    ended.append(item)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        refusals = [error for error in ended if error is not None]
        if not tasks or len(refusals) == len(tasks):
            raise ControlError(str(refusals[0]) if refusals else "no worker answers")

    # -- what the supervisor answers

    async def _do_reload(self, _: dict[str, Any]) -> dict[str, Any]:
        if self._supervisor.reading.path is None:
            raise ControlError("these settings came from no file")
        problems = await self._supervisor.reload()
        if problems:
            raise ControlError("the settings have mistakes; those that hold stay", problems)
        said = {"path": str(self._supervisor.reading.path), "sessions": self._supervisor.sessions}
        return {**said, "warnings": self._supervisor.doubts}

    async def _do_drain(self, arguments: dict[str, Any]) -> dict[str, Any]:
        sessions = self._supervisor.sessions
        self._drains(arguments.get("seconds"))
        return {"sessions": sessions}

    async def _do_log_level(self, arguments: dict[str, Any]) -> dict[str, Any]:
        log, level = self._supervisor.log, arguments.get("level")
        before = log.level
        if level is not None:
            if level not in LEVELS:
                raise ControlError(f"the level is one of {', '.join(LEVELS)}")
            log.set_level(level)
            self._supervisor.remember("log_level", "log_level", {"level": level})
            await self._all("log_level", {"level": level})
        return {"level": level or before, "before": before}

    async def _do_drain_server(self, arguments: dict[str, Any]) -> Any:
        answer = await self._all("drain_server", arguments)
        self._supervisor.remember(f"server {arguments.get('server')}", "drain_server", arguments)
        return answer

    async def _do_undrain_server(self, arguments: dict[str, Any]) -> Any:
        answer = await self._all("undrain_server", arguments)
        self._supervisor.forget(f"server {arguments.get('server')}")
        return answer

    async def _do_hold(self, arguments: dict[str, Any]) -> dict[str, Any]:
        user, seconds = _user(arguments), arguments.get("seconds")
        self._commons.hold(user, seconds)
        return {"user": user, "seconds": seconds}

    async def _do_release(self, arguments: dict[str, Any]) -> bool:
        return self._commons.release(_user(arguments))

    async def _do_holds(self, _: dict[str, Any]) -> list[dict[str, Any]]:
        return self._commons.holds()

    async def _do_machines(self, arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return await of_machines(self.machines, arguments)

    # -- metrics

    async def _do_metrics(self, _: dict[str, Any]) -> Samples:
        """Of all processes, also of those that are not there any more."""
        links = {worker.number: worker.link for worker in self._supervisor.workers}
        try:
            answers = await self._supervisor.ask_all("metrics", {}, seconds=_AT_ONCE)
        except Refused:
            answers = {}
        for worker in self._supervisor.workers:
            link = links[worker.number]
            # One that has ended meanwhile has been counted to the dead already.
            if worker.number in answers and link is worker.link and link is not None and not link.gone.done():
                self._totals.said(worker.number, answers[worker.number])
        log = self._supervisor.log
        own = {"portico_worker_ends_total": [[log.counts.get("worker.ended", 0)]]}
        samples = self._totals.together(own, log_samples(log), process_samples("supervisor"))
        samples["portico_workers"] = [[self._supervisor.serving]]
        samples["portico_ready"] = [[int((await self._do_ready({}))["ready"])]]
        return samples

    async def _do_ready(self, _: dict[str, Any]) -> Health:
        try:
            answers = await self._supervisor.ask_all("ready", {}, seconds=_AT_ONCE)
        except Refused:
            answers = {}
        return together(answers.values(), draining=self._supervisor.stopping)

    # -- the commons

    async def _commons_asked(self, worker: Worker, verb: str, arguments: dict[str, Any]) -> Any:
        return await self._commons.answer(str(worker.number), verb.removeprefix("commons."), arguments)

    def _commons_at_once(self, worker: Worker, verb: str, arguments: dict[str, Any]) -> Any:
        """What is asked at every login, and waits for nobody: the coroutine ends with its first step."""
        method = verb.removeprefix("commons.")
        if method not in _AT_EVERY_LOGIN:
            return LATER
        answering = self._commons.answer(str(worker.number), method, arguments)
        try:
            answering.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError(f"{method} waits")

    def _forget(self, worker: Worker) -> None:
        self._commons.gone(str(worker.number))
        self._totals.ended(worker.number)


def _user(arguments: Mapping[str, Any]) -> str:
    user = arguments.get("user")
    if not isinstance(user, str) or not user:
        raise ControlError("user must be said")
    return user
