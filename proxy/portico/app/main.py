"""`portico run`: a supervisor and its workers.

Rule of this file: signals in, an exit code out; everything it has to say goes to the log. What is done here before the event loop
is there is done in an order that matters: the nursery is forked first, so that nothing it should not have is open in it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portico.app.commons import commons_of, give_back, machines_of
from portico.app.services import Services
from portico.app.worker import work
from portico.config.document import parse_document, read_text
from portico.config.load import understand
from portico.config.settings import Portico
from portico.errors import PorticoError, SettingsError
from portico.observe.log import Log
from portico.plugin.loading import mistakes
from portico.relay.spread import Shares
from portico.workers.control import SupervisorControl
from portico.workers.doors import Doors, given_by_manager
from portico.workers.notify import Notifier
from portico.workers.nursery import Account
from portico.workers.nursery import start as start_nursery
from portico.workers.runtime import Runtime
from portico.workers.supervisor import NotStarted, Reading, Supervisor
from portico.workers.upgrade import Estate, Predecessor, Successor, UpgradeFailed, before_us

if TYPE_CHECKING:
    from portico.gate.machines import Machines

OK: Final = 0
FAILED: Final = 1
SETTINGS: Final = 3
ADDRESS: Final = 4

_PER_SESSION: Final = 2
"""Descriptors: the client's and the server's."""
_BESIDES: Final = 64
"""Listeners, log, traces, the loop's own."""
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
_WATCHED: Final = (*_ENDS, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_SECRET: Final = 32


def run(settings: Portico, path: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; a second one does not wait for the sessions. SIGHUP reads the settings at `path` again, SIGUSR1 opens
    the log file anew, SIGUSR2 has another process take our place.

    Returns 0 after an orderly end, 3 when the settings (a plugin, a certificate, the log file) cannot be used, 4 when an
    address cannot be listened on.
    """
    path = Path(path) if path is not None else None
    before, given = before_us(), given_by_manager()
    log = Log()
    try:
        reading = read_again(path) if path is not None else Reading(settings, None, None)
        account = Account.of(reading.settings.workers.user, reading.settings.workers.group)
    except SettingsError as error:
        return _fail(log, SETTINGS, "settings", error.problems)
    except ValueError as error:
        return _fail(log, SETTINGS, "settings", [f"workers: {error}"])
    settings = reading.settings
    doubts = [*reading.warnings, *open_descriptors(settings.limits.sessions)]
    shares = Shares(settings.workers.count or cores())
    strangers = [sock.fileno() for sock in (*given, *([before] if before is not None else []))]
    _, nursery = start_nursery(partial(work, settings, shares), account, strangers)
    try:
        log.adopt(level=settings.log.level, format=settings.log.format, file=settings.log.file, names=settings.log.names)
        if account is not None and settings.log.file is not None and os.geteuid() == 0:
            os.chown(settings.log.file, account.uid, account.gid)
        for text in doubts:
            log.event("settings.warning", {"text": text})
    except OSError as error:
        nursery.close()
        return _fail(log, SETTINGS, "log", [f"{settings.log.file}: {error.strerror}"])
    try:
        with asyncio.Runner() as runner:
            return runner.run(_House(reading, log, account).keep(nursery, shares, given, before))
    except NotStarted as error:
        if settings.log.file is not None:
            for text in error.problems:  # who starts us by hand would see nothing
                print(f"portico: {text}", file=sys.stderr)
        return _fail(log, ADDRESS if error.reason == "address" else SETTINGS, error.reason, error.problems)
    finally:
        nursery.close()
        log.close()


def read_again(path: Path) -> Reading:
    """The settings in the file, checked, with their text. Raises SettingsError."""
    text = read_text(path)
    loaded = understand(parse_document(str(path), text), path.absolute().parent, further=mistakes)
    return Reading(loaded.settings, path, text, tuple(loaded.warnings))


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def open_descriptors(sessions: int) -> list[str]:
    """Let this process, and those that it forks, have as many descriptors as the system allows. Returns a warning if `sessions` may want
    more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # some systems promise more than they give
            hard = soft
    wanted = sessions * _PER_SESSION + _BESIDES
    if hard == resource.RLIM_INFINITY or hard >= wanted:
        return []
    return [
        f"limits.sessions = {sessions} may need {wanted} descriptors, and the system allows {hard}: LimitNOFILE= of systemd, or ulimit -n"
    ]


def _fail(log: Log, code: int, reason: str, problems: list[str]) -> int:
    log.event("proxy.failed", {"reason": reason, "text": "Portico cannot start.", "problems": problems})
    return code


class _House:
    """What lives as long as the event loop of the supervisor."""

    def __init__(self, reading: Reading, log: Log, account: Account | None) -> None:
        self._reading = reading
        self._log = log
        self._account = account
        self._asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._drain: float | None = None
        """Seconds that an operator gives the sessions."""
        self._commons = commons_of(reading.settings, log)
        self._machines: Machines | None = None

    async def keep(self, nursery: socket.socket, shares: Shares, given: Sequence[socket.socket], before: socket.socket | None) -> int:
        """Serve until the end; the exit code. Raises NotStarted."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: _fault(self._log, context))
        for number in _WATCHED:
            loop.add_signal_handler(number, self._asked.put_nowait, number)
        predecessor = Predecessor(before) if before is not None else None
        estate, handed = await predecessor.estate() if predecessor is not None else (None, [])
        runtime = Runtime(self._account, estate.runtime if estate is not None else None, owned=estate is None)
        try:
            doors = Doors(given, handed)
            supervisor = Supervisor(
                self._reading,
                self._read,
                log=self._log,
                nursery=nursery,
                shares=shares,
                doors=doors,
                notifier=Notifier(),
                ticket_secret=estate.ticket_secret if estate is not None else secrets.token_bytes(_SECRET),
                ledger=runtime.ledger if shares.workers > 1 else None,
            )
            if estate is not None:
                supervisor.told |= estate.told
                for held in estate.holds:
                    self._commons.hold(held["user"], held["seconds"])
            control = SupervisorControl(supervisor, self._commons, self._drained)
            services = Services(control, doors, self._log)
            supervisor.on_reload.append(services.adopt)
            supervisor.on_barren = partial(self._asked.put_nowait, signal.SIGUSR2)
            supervisor.bind()
            if self._account is not None:
                self._account.become()
            await supervisor.start()
            control.machines = self._machines = machines_of(self._reading.settings, self._commons, control, self._log)
            await self._start(services, supervisor)
            await supervisor.accept()
            if predecessor is not None:
                await predecessor.we_serve()
                doors.take_over()
                runtime.owned = True
            supervisor.notifier.ready(supervisor.status)
            for address in doors.refuse():
                self._log.event("settings.warning", {"text": f"{address} was left open for us, and no listener has that address"})
            number = await self._serve(supervisor, runtime)
            await services.stop()
            await self._stop(supervisor, number)
        finally:
            runtime.close()
            if self._machines is not None:
                await self._machines.close()
            await give_back(self._commons)
            for number in _WATCHED:
                loop.remove_signal_handler(number)
        return OK

    async def _start(self, services: Services, supervisor: Supervisor) -> None:
        try:
            await services.start(self._reading.settings)
        except (PorticoError, OSError) as error:
            await services.stop()
            await supervisor.stop(0.1)
            reason = "address" if isinstance(error, OSError) else "settings"
            raise NotStarted(reason, error.problems if isinstance(error, SettingsError) else [str(error)]) from error

    async def _serve(self, supervisor: Supervisor, runtime: Runtime) -> signal.Signals:
        """Until somebody wants the end: the signal that says so."""
        while (number := await self._asked.get()) not in _ENDS:
            try:
                if number is signal.SIGHUP:
                    await supervisor.reload()
                elif number is signal.SIGUSR1:
                    supervisor.reopen_log()
                elif await self._upgraded(supervisor, runtime):
                    break
            except Exception as error:  # a fault of ours ends no session
                self._log.event("proxy.bug", {"error": error, "detail": number.name})
        return number

    async def _upgraded(self, supervisor: Supervisor, runtime: Runtime) -> bool:
        """Another process serves in our place."""
        successor = None
        try:
            successor = Successor(os.environ, supervisor.notifier.address)
            self._log.event("proxy.upgrading", {"pid": successor.pid})
            estate = Estate(supervisor.ticket_secret, str(runtime.path), supervisor.told, self._commons.holds())
            await successor.take_over(estate, supervisor.doors)
        except UpgradeFailed as error:
            self._log.event("proxy.upgrade_failed", {"text": str(error)} | ({"pid": successor.pid} if successor is not None else {}))
            return False
        supervisor.doors.handed_on = True
        runtime.owned = False
        self._log.event("proxy.upgraded", {"pid": successor.pid, "sessions": supervisor.sessions})
        return True

    async def _stop(self, supervisor: Supervisor, number: signal.Signals) -> None:
        workers = supervisor.reading.settings.workers
        if supervisor.doors.handed_on:
            seconds = spread = workers.upgrade_drain
        else:
            seconds = workers.drain if self._drain is None else self._drain
            spread = min(workers.drain_spread, seconds)
        stopping = asyncio.create_task(supervisor.stop(seconds, spread, signal=number.name))
        await _until(stopping, self._asked, supervisor)

    def _drained(self, seconds: float | None) -> None:
        """An operator wants what SIGTERM does."""
        self._drain = seconds
        self._asked.put_nowait(signal.SIGTERM)

    def _read(self) -> Reading:
        return read_again(self._reading.path) if self._reading.path is not None else self._reading


def _fault(log: Log, context: dict[str, Any]) -> None:
    """What a callback or a task raised that nobody waits for; asyncio would print it."""
    error = context.get("exception")
    log.event("proxy.bug", {"error": error if error is not None else "asyncio", "detail": str(context.get("message", ""))})


async def _until(stopping: asyncio.Task[None], asked: asyncio.Queue[signal.Signals], supervisor: Supervisor) -> None:
    """Wait for the end; who asks again gets it now."""
    again = asyncio.create_task(asked.get())
    while not stopping.done():
        await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
        if again.done():
            if again.result() in _ENDS:
                supervisor.abort()
            again = asyncio.create_task(asked.get())
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    await stopping
