"""The process above the workers: it has the listening sockets, and no client's octet ever passes it.

Rule of this file: which workers there are and what they are told; how a worker does it is in app.worker, how it is forked in nursery.py.
A worker that ends costs its own sessions and is replaced; one that cannot start is tried again, later each time. All that an operator
has asked for reaches all of them, and those that come later.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import portico
from portico.config.settings import Portico
from portico.config.units import SECONDS
from portico.errors import PorticoError, SettingsError
from portico.observe.log import Log
from portico.relay.spread import Shares
from portico.workers.doors import Door, Doors
from portico.workers.link import LATER, OURS, Gone, Link, Refused, Sockets
from portico.workers.notify import Notifier
from portico.workers.nursery import ask_for, heard

BEAT: Final = 1 * SECONDS
_STEADY: Final = 10 * SECONDS
"""A worker that served so long is replaced at once; one that did not, after a pause that grows."""
_FIRST_PAUSE: Final = 0.1 * SECONDS
_LAST_PAUSE: Final = 30 * SECONDS
_GRACE: Final = 5 * SECONDS
"""How long after its time a worker that should have ended is killed."""
_STATUS: Final = 5 * SECONDS
"""For the nursery to say how a worker has ended."""

State = Literal["starting", "serving", "leaving"]


@dataclass(frozen=True, slots=True)
class Reading:
    """Settings that were checked. Workers get the text: what somebody has written into the file since is nobody's yet."""

    settings: Portico
    path: Path | None
    text: str | None
    """None: what the processes have inherited."""
    warnings: tuple[str, ...] = ()

    def message(self) -> dict[str, Any]:
        directory = str(self.path.absolute().parent) if self.path is not None else None
        return {"text": self.text, "path": str(self.path) if self.path is not None else None, "directory": directory}


class NotStarted(PorticoError):
    """`reason`: settings, address or plugin. `problems`: one finished line each."""

    def __init__(self, reason: str, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.reason = reason
        self.problems = problems


@dataclass(slots=True)
class Worker:
    """One of the processes, and those that take its place: the number stays."""

    number: int
    state: State = "starting"
    link: Link | None = None
    pid: int = 0
    began: float = 0.0
    pause: float = 0.0
    stale: bool = False
    """It has been started with settings that do not hold any more."""
    plugins: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Worker {self.number} {self.state} pid={self.pid}>"


@dataclass(frozen=True, slots=True)
class _First:
    """The first start of a worker. `ready`: it could accept; NotStarted if it cannot. `over`: it does, or it is tried again."""

    ready: asyncio.Future[None]
    over: asyncio.Future[None]


class Supervisor:
    """Made in a running loop; `start`, `accept`, any number of `reload`, then `stop`.

    `nursery`: its socket. `read`: reads and checks the settings again; raises SettingsError. `ticket_secret`, `ledger`: what all workers
    have in common.
    """

    def __init__(
        self,
        reading: Reading,
        read: Callable[[], Reading],
        *,
        log: Log,
        nursery: socket.socket,
        shares: Shares,
        doors: Doors,
        notifier: Notifier,
        ticket_secret: bytes,
        ledger: str | None = None,
    ) -> None:
        self.reading = reading
        self.log = log
        self.doors = doors
        self.notifier = notifier
        self.shares = shares
        self.workers = [Worker(number) for number in range(shares.workers)]
        self.ticket_secret = ticket_secret
        self.ledger = ledger
        self.told: dict[str, tuple[str, dict[str, Any]]] = {}
        """What an operator has set, and each new worker is told: by what it is about, the verb and its arguments."""
        self.on_question: dict[str, Callable[[Worker, str, dict[str, Any]], Coroutine[Any, Any, Any]]] = {}
        """Answers to what workers ask, by the first part of the verb."""
        self.at_once: Callable[[Worker, str, dict[str, Any]], Any] = lambda worker, verb, arguments: LATER
        """Asked before `on_question`: the answer to what need not be waited for, or LATER."""
        self.on_reload: list[Callable[[Portico], Coroutine[Any, Any, None]]] = []
        """Told of settings that hold from now on."""
        self.on_gone: list[Callable[[Worker], None]] = []
        """Told of each worker that has ended."""
        self.on_barren: Callable[[], None] = lambda: None
        """Told once when a worker has to be replaced and cannot be: the nursery is gone."""
        self._barren = False
        self._halt = asyncio.Event()
        """Nobody is replaced any more."""
        self._may_accept = asyncio.Event()
        """Before, who is let in may be thrown out again because something else cannot start."""
        self._firsts: list[_First] = []
        self.stopping = False
        self.doubts: list[str] = []
        """Warnings of the settings, as the last reload has told them."""
        self._read = read
        self._nursery = nursery
        self._loop = asyncio.get_running_loop()
        self._listening: dict[str, list[Door]] = {}
        self._ended: dict[int, asyncio.Future[int]] = {}
        """By process id: waitpid's status."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()
        self._beating: asyncio.TimerHandle | None = None
        self._alive_at = 0.0

    def __repr__(self) -> str:
        return f"<Supervisor {self.serving} of {len(self.workers)} workers serve>"

    @property
    def serving(self) -> int:
        return sum(worker.state == "serving" for worker in self.workers)

    @property
    def sessions(self) -> int:
        """Of all workers, as they last said."""
        return sum(self.shares.sessions(worker.number) for worker in self.workers)

    @property
    def addresses(self) -> dict[str, list[str]]:
        """Where each listener listens, with the ports that the system chose."""
        return {name: [each for door in doors for each in door.names] for name, doors in self._listening.items()}

    @property
    def status(self) -> str:
        """One line for people."""
        return f"{self.sessions} sessions, {self.serving} of {len(self.workers)} workers"

    # -- start

    def bind(self) -> None:
        """Listen on all addresses. Raises NotStarted, and then on none."""
        problems: list[str] = []
        for name, listener in self.reading.settings.listeners.items():
            self._listening[name] = self._open(name, listener.addresses, problems)
        if problems:
            self.doors.close_all()
            raise NotStarted("address", problems)

    async def start(self) -> None:
        """Returns when all workers could accept; who comes before `accept` waits in the kernel. Raises NotStarted; none is left then."""
        self._loop.add_reader(self._nursery, self._nursery_says)
        self._firsts = [_First(self._loop.create_future(), self._loop.create_future()) for _ in self.workers]
        self._keepers = [
            self._loop.create_task(self._keep(worker, first)) for worker, first in zip(self.workers, self._firsts, strict=True)
        ]
        said = await asyncio.gather(*[first.ready for first in self._firsts], return_exceptions=True)
        for error in said:
            if error is not None:
                for worker in self.workers:
                    self._leave(worker)
                self._may_accept.set()
                await self._wait(_GRACE)
                self.doors.close_all()
                self._loop.remove_reader(self._nursery)
                raise error

    async def accept(self) -> None:
        """Let clients in, now that nothing can go wrong with the start any more. Returns when all workers do."""
        self._may_accept.set()
        await asyncio.gather(*[first.over for first in self._firsts])
        for name, listener in self.reading.settings.listeners.items():
            for address in self.addresses[name]:
                self.log.event("listener.opened", {"listener": name, "protocol": listener.protocol, "address": address})
        addresses = [address for each in self.addresses.values() for address in each]
        fields = {"version": portico.__version__, "pid": os.getpid(), "addresses": addresses, "plugins": self.workers[0].plugins}
        self.log.event("proxy.started", {**fields, "workers": len(self.workers)})
        self._beat()

    def _open(self, name: str, addresses: Iterable[str], problems: list[str]) -> list[Door]:
        opened = []
        for address in addresses:
            try:
                opened.append(self.doors.open(address))
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                problems.append(f"listener {name}: {address}: {why}")
        return opened

    # -- one worker

    async def _keep(self, worker: Worker, first: _First) -> None:
        """Have it there until it is to leave."""
        while worker.state != "leaving" and not self._halt.is_set():
            worker.state, worker.began, worker.stale = "starting", time.monotonic(), False
            try:
                await self._launch(worker, first)
            except Refused as error:
                failure = _failure(error)
                if not first.ready.done():
                    first.ready.set_exception(failure)
                    self._leave(worker)
                    return
                if not worker.stale and not self._leaves(worker):
                    self.log.event("worker.failed", {"worker": worker.number, "reason": failure.reason, "problems": failure.problems})
                self._hang_up(worker)
            _done(first.over)
            assert worker.link is not None
            await worker.link.gone
            await self._buried(worker)
            if not self._leaves(worker) and not worker.stale:
                await self._rest(worker)

    async def _launch(self, worker: Worker, first: _First) -> None:
        ours, theirs = socket.socketpair()
        worker.pid = 0
        link = worker.link = Link(ours, partial(self._answer, worker))
        link.at_once = partial(self._at_once, worker)
        link.on_fault = lambda error, verb: self.log.event("proxy.bug", {"error": error, "detail": verb})
        try:
            ask_for(self._nursery, worker.number, theirs)
        except OSError as error:
            if self._barren:
                tell, self.on_barren = self.on_barren, lambda: None
                tell()
            raise Refused(f"no worker can be forked: {error.strerror}") from None
        finally:
            theirs.close()
        listening, sockets = self._given(self._listening)
        message = {
            **self.reading.message(),
            "listening": listening,
            "workers": len(self.workers),
            "ticket_secret": self.ticket_secret.hex(),
            "ledger": self.ledger,
            "told": list(self.told.values()),
        }
        answer = await link.ask(OURS + "start", message, sockets)
        worker.pid, worker.plugins = answer["pid"], answer["plugins"]
        _done(first.ready)
        await self._may_accept.wait()
        if not self._leaves(worker) and not worker.stale:
            await link.ask(OURS + "accept")
        if self._leaves(worker) or worker.stale:
            raise Refused("not wanted any more")
        worker.state = "serving"
        self.log.event("worker.started", {"worker": worker.number, "pid": worker.pid})

    def _leaves(self, worker: Worker) -> bool:
        """Asked anew: others may have said so meanwhile."""
        return worker.state == "leaving" or self._halt.is_set()

    @staticmethod
    def _given(listening: dict[str, list[Door]]) -> tuple[dict[str, list[tuple[str, int]]], Sockets]:
        named = {name: [(door.address, len(door.sockets)) for door in doors] for name, doors in listening.items()}
        return named, [sock for doors in listening.values() for door in doors for sock in door.sockets]

    async def _buried(self, worker: Worker) -> None:
        """Its link is gone: say how it ended, and tell those who counted its sessions."""
        sessions = self.shares.sessions(worker.number)
        self.shares.clear(worker.number)
        if worker.pid:
            text = await self._how(worker.pid)
            if worker.state == "serving":
                fields = {"worker": worker.number, "pid": worker.pid, "sessions": sessions, "text": text}
                self.log.event("worker.ended", fields)
        for tell in self.on_gone:
            tell(worker)

    async def _how(self, pid: int) -> str:
        ended = self._ended.setdefault(pid, self._loop.create_future())
        if self._barren and not ended.done():
            return "nobody knows how"
        try:
            async with asyncio.timeout(_STATUS):
                status = await ended
        except TimeoutError:
            return "nobody knows how"
        finally:
            self._ended.pop(pid, None)
        if os.WIFSIGNALED(status):
            return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"exit code {os.WEXITSTATUS(status)}"

    async def _rest(self, worker: Worker) -> None:
        """Do not start one after the other that fails at once."""
        if worker.state == "serving" and time.monotonic() - worker.began >= _STEADY:
            worker.pause = 0.0
            return
        worker.pause = min(max(worker.pause * 2, _FIRST_PAUSE), _LAST_PAUSE)
        with suppress(TimeoutError):
            async with asyncio.timeout(worker.pause):
                await self._halt.wait()

    async def _answer(self, worker: Worker, verb: str, arguments: dict[str, Any], sockets: Sockets) -> Any:
        for sock in sockets:
            sock.close()
        answers = self.on_question.get(verb.partition(".")[0])
        if answers is None:
            raise Refused(f"{verb}: nobody here knows")
        return await answers(worker, verb, arguments)

    def _at_once(self, worker: Worker, verb: str, arguments: dict[str, Any]) -> Any:
        return self.at_once(worker, verb, arguments)

    def _nursery_says(self) -> None:
        try:
            said = heard(self._nursery)
        except BlockingIOError:
            return
        if said is None:
            # It has nothing to do and hardly any memory of its own: somebody has killed it. Workers that live go on.
            self._loop.remove_reader(self._nursery)
            self._barren = True
            if not self.stopping:
                self.log.event("proxy.barren", {"text": "The nursery has ended. Workers go on; should one have to be replaced, all are."})
        elif "ended" in said:
            ended = self._ended.setdefault(said["ended"], self._loop.create_future())
            if not ended.done():
                ended.set_result(said["status"])
        elif not (worker := self.workers[said["worker"]]).pid:
            worker.pid = said["forked"]

    # -- asking them

    async def ask_all(self, verb: str, arguments: dict[str, Any], *, seconds: float | None = None) -> dict[int, Any]:
        """The answers of all that serve, by their number; those that end meanwhile give none. Raises Refused if all that answer refuse."""
        asked = {worker.number: worker.link for worker in self.workers if worker.state == "serving" and worker.link is not None}
        said = await asyncio.gather(*[self._ask(link, verb, arguments, seconds) for link in asked.values()], return_exceptions=True)
        answers: dict[int, Any] = {}
        refused: Refused | None = None
        for number, answer in zip(asked, said, strict=True):
            if isinstance(answer, Refused):
                if not isinstance(answer, Gone):
                    refused = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers[number] = answer
        if refused is not None and not answers:
            raise refused
        return answers

    @staticmethod
    async def _ask(link: Link, verb: str, arguments: dict[str, Any], seconds: float | None) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await link.ask(verb, arguments)
        except TimeoutError:
            raise Gone("it does not answer") from None

    def remember(self, about: str, verb: str, arguments: dict[str, Any]) -> None:
        """Tell it to each worker that is started from now on; `about` replaces what was said of the same before."""
        self.told[about] = (verb, arguments)

    def forget(self, about: str) -> None:
        self.told.pop(about, None)

    # -- reload

    async def reload(self) -> list[str]:
        """Read the settings again. Returns what is wrong with them: then it is logged too, and everything stays as it is.

        All workers prepare, then all change; if one cannot, none does. Running sessions keep what they began with. Addresses that stay are
        never closed in between.
        """
        async with self._turn:
            if self.stopping:
                return ["Portico is stopping"]
            self.notifier.reloading()
            try:
                problems = await self._reload()
            finally:
                self.notifier.ready(self.status)
            if problems:
                self.log.event("settings.rejected", {"path": str(self.reading.path), "problems": problems})
            return problems

    async def _reload(self) -> list[str]:
        try:
            reading = self._read()
        except SettingsError as error:
            return error.problems
        problems: list[str] = []
        added: list[Door] = []
        kept = Counter(door.address for doors in self._listening.values() for door in doors)
        for name, listener in reading.settings.listeners.items():
            wanted = Counter(listener.addresses)
            added += self._open(name, (wanted - kept).elements(), problems)
            kept -= wanted
        try:
            self.log.check(reading.settings.log.file)
        except OSError as error:
            problems.append(f"log.file: {reading.settings.log.file}: {error.strerror}")
        ready: list[Worker] = []
        if not problems:
            ready, problems = await self._prepare(reading, added)
        if problems:
            for door in added:
                self.doors.close(door)
            for worker in ready:
                if worker.link is not None:
                    worker.link.tell(OURS + "discard")
            return problems
        self.reading = reading
        for worker in self.workers:
            if worker in ready and worker.link is not None and worker.state == "serving":
                with suppress(Refused):  # it has ended meanwhile: its successor begins with the new settings
                    await worker.link.ask(OURS + "commit")
            elif worker.state == "starting":
                worker.stale = True
                self._hang_up(worker)
        self.forget("log_level")
        with suppress(OSError):
            log = reading.settings.log
            self.log.adopt(level=log.level, format=log.format, file=log.file, names=log.names)
        number = reading.settings.workers.count
        waits = [f"workers.count = {number} waits for a restart or an upgrade"] if number not in (None, self.shares.workers) else []
        self.doubts = [*reading.warnings, *waits]
        for text in self.doubts:
            self.log.event("settings.warning", {"text": text})
        self._swap(added)
        for tell in self.on_reload:
            await tell(reading.settings)
        self.log.event("settings.reloaded", {"path": str(reading.path), "sessions": self.sessions})
        return []

    async def _prepare(self, reading: Reading, added: list[Door]) -> tuple[list[Worker], list[str]]:
        """Those that are ready to change, and what is wrong."""
        asked = [worker for worker in self.workers if worker.state == "serving" and worker.link is not None]
        message = {**reading.message(), "added": [(door.address, len(door.sockets)) for door in added]}
        sockets = [sock for door in added for sock in door.sockets]
        said = await asyncio.gather(
            *[worker.link.ask(OURS + "prepare", message, sockets) for worker in asked if worker.link is not None], return_exceptions=True
        )
        ready, problems = [], []
        for worker, answer in zip(asked, said, strict=True):
            if isinstance(answer, Gone):
                continue
            if isinstance(answer, Refused):
                problems += _failure(answer).problems
            elif isinstance(answer, BaseException):
                raise answer
            else:
                ready.append(worker)
        return ready, list(dict.fromkeys(problems))

    def _swap(self, added: list[Door]) -> None:
        """Give each address to the listener that now has it, as app.Proxy does."""
        listeners = self.reading.settings.listeners
        pool: dict[str, list[tuple[str, Door]]] = {}
        for door in added:
            pool.setdefault(door.address, []).append(("", door))
        for name, doors in list(self._listening.items()):
            wanted = listeners.get(name)
            if wanted is None or wanted.addresses != [door.address for door in doors]:
                for door in doors:
                    pool.setdefault(door.address, []).append((name, door))
                del self._listening[name]
        for name, listener in listeners.items():
            if name not in self._listening:
                taken = [pool[address].pop() for address in listener.addresses]
                self._listening[name] = [door for _, door in taken]
                for before, door in taken:
                    if before != name:
                        for address in door.names:
                            fields = {"listener": name, "protocol": listener.protocol, "address": address}
                            self.log.event("listener.opened", fields)
        for address, left in pool.items():
            for name, door in left:
                self.doors.close(door)
                self.log.event("listener.closed", {"listener": name, "address": address})

    def reopen_log(self) -> None:
        """All processes open the log file anew (after logrotate)."""
        settings = self.reading.settings.log
        with suppress(OSError):
            self.log.adopt(level=self.log.level, format=settings.format, file=settings.file, names=settings.names)
        for worker in self.workers:
            if worker.link is not None and worker.state == "serving":
                worker.link.tell(OURS + "reopen_log")

    # -- signs of life

    def _beat(self) -> None:
        self._beating = self._loop.call_later(BEAT, self._beat)
        now = time.monotonic()
        hung = self.reading.settings.workers.hung
        for worker in self.workers:
            seen = self.shares.seen(worker.number)
            if worker.state == "serving" and worker.pid and seen and now - seen > hung:
                fields = {"worker": worker.number, "pid": worker.pid, "seconds": round(now - seen, 1)}
                self.log.event("worker.hung", fields)
                self.shares.clear(worker.number)
                _kill(worker)
        if self.notifier.watchdog is not None and now - self._alive_at >= self.notifier.watchdog:
            self._alive_at = now
            self.notifier.alive(self.status)

    # -- stop

    async def stop(self, seconds: float, spread: float = 0.0, *, signal: str = "") -> None:
        """Accept nothing more, let the sessions end, at most for `seconds`, end the rest. May be called once.

        `spread`: idle sessions are told one after the other for so long.
        """
        self.stopping = True
        self._halt.set()
        self._may_accept.set()
        async with self._turn:
            began = time.monotonic()
            self.log.event("proxy.stopping", {"sessions": self.sessions} | ({"signal": signal} if signal else {}))
            if not self.doors.shared:
                self.notifier.stopping(f"Waiting for {self.sessions} sessions.")
            leaving = [self._loop.create_task(self._drain(worker, seconds, spread)) for worker in self.workers]
            self.doors.close_all()
            cut = sum(await asyncio.gather(*leaving))
            await self._wait(_GRACE)
            if self._beating is not None:
                self._beating.cancel()
            self._loop.remove_reader(self._nursery)
            self.log.event("proxy.stopped", {"seconds": round(time.monotonic() - began, 3), "sessions": cut})

    def abort(self) -> None:
        """End all sessions now; `stop` is under way."""
        for worker in self.workers:
            if worker.link is not None:
                worker.link.tell(OURS + "abort")

    async def _drain(self, worker: Worker, seconds: float, spread: float) -> int:
        served = worker.state == "serving"
        worker.state = "leaving"
        cut = 0
        if served and worker.link is not None:
            try:
                async with asyncio.timeout(seconds + _GRACE):
                    cut = (await worker.link.ask(OURS + "drain", {"seconds": seconds, "spread": spread}))["cut"]
            except TimeoutError:
                cut = self.shares.sessions(worker.number)
                _kill(worker)
            except Refused:
                pass
        self._hang_up(worker)
        return cut

    def _leave(self, worker: Worker) -> None:
        worker.state = "leaving"
        self._hang_up(worker)

    @staticmethod
    def _hang_up(worker: Worker) -> None:
        """It ends when it sees that we are gone."""
        if worker.link is not None:
            worker.link.close()

    async def _wait(self, seconds: float) -> None:
        """Until all have ended; who has not after `seconds` is killed."""
        if not self._keepers:
            return
        _, late = await asyncio.wait(self._keepers, timeout=seconds)
        for worker, keeper in zip(self.workers, self._keepers, strict=True):
            if keeper in late and worker.pid:  # the number of one that has ended may be another process's by now
                _kill(worker)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something beside; a fault in it is logged."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.event("proxy.bug", {"error": error, "detail": "supervisor"})


def _done(step: asyncio.Future[None]) -> None:
    if not step.done():
        step.set_result(None)


def _kill(worker: Worker) -> None:
    with suppress(OSError):
        os.kill(worker.pid, signal.SIGKILL)


def _failure(error: Refused) -> NotStarted:
    details = error.details if isinstance(error.details, dict) else {}
    return NotStarted(details.get("reason", "worker"), details.get("problems", [str(error)]))
