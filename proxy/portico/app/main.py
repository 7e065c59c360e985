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
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from portico.app.services import Services
from portico.app.worker import work
from portico.config.document import parse_document, read_text
from portico.config.load import understand
from portico.config.settings import Portico
from portico.errors import SettingsError
from portico.gate.commons import LocalCommons
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

OK: Final = 0
FAILED: Final = 1
SETTINGS: Final = 3
ADDRESS: Final = 4

_PER_SESSION: Final = 2
"""Descriptors: the client's and the server's."""
_BESIDES: Final = 64
"""Listeners, log, traces, the loop's own."""
_ENDS: Final = (signal.SIGTERM, signal.SIGINT)
_SECRET: Final = 32


def run(settings: Portico, path: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; a second one does not wait for the sessions. SIGHUP reads the settings at `path` again.

    Returns 0 after an orderly end, 3 when the settings (a plugin, a certificate, the log file) cannot be used, 4 when an
    address cannot be listened on.
    """
    path = Path(path) if path is not None else None
    given = given_by_manager()
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
    _, nursery = start_nursery(partial(work, settings, shares), account, [sock.fileno() for sock in given])
    runtime = Runtime(account)
    try:
        log.adopt(level=settings.log.level, format=settings.log.format, file=settings.log.file, names=settings.log.names)
        if account is not None and settings.log.file is not None and os.geteuid() == 0:
            os.chown(settings.log.file, account.uid, account.gid)
        for text in doubts:
            log.event("settings.warning", {"text": text})
        with asyncio.Runner() as runner:
            return runner.run(_supervise(reading, log, nursery, shares, Doors(given), account, runtime))
    except NotStarted as error:
        return _fail(log, ADDRESS if error.reason == "address" else SETTINGS, error.reason, error.problems)
    except OSError as error:
        return _fail(log, SETTINGS, "log", [f"{settings.log.file}: {error.strerror}"])
    finally:
        nursery.close()
        runtime.close()
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


async def _supervise(
    reading: Reading, log: Log, nursery: socket.socket, shares: Shares, doors: Doors, account: Account | None, runtime: Runtime
) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _fault(log, context))
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    watched = (*_ENDS, signal.SIGHUP)
    for number in watched:
        loop.add_signal_handler(number, asked.put_nowait, number)
    supervisor = Supervisor(
        reading,
        partial(_read, reading),
        log=log,
        nursery=nursery,
        shares=shares,
        doors=doors,
        notifier=Notifier(),
        ticket_secret=secrets.token_bytes(_SECRET),
        ledger=runtime.ledger if shares.workers > 1 else None,
    )
    wanted: dict[str, float | None] = {}
    control = SupervisorControl(supervisor, LocalCommons(), lambda seconds: _drain(wanted, asked, seconds))
    services = Services(control, doors, log)
    supervisor.on_reload.append(services.adopt)
    try:
        supervisor.bind()
        for address in doors.refuse():
            log.event("settings.warning", {"text": f"a socket for {address} was left open for us, and no listener has that address"})
        if account is not None:
            account.become()
        await supervisor.start()
        await services.start(supervisor.reading.settings)
        while (number := await asked.get()) not in _ENDS:
            await _safely(log, "reload", supervisor.reload)
        workers = supervisor.reading.settings.workers
        seconds = wanted.get("drain")
        seconds, spread = (workers.drain, workers.drain_spread) if seconds is None else (seconds, min(workers.drain_spread, seconds))
        await services.stop()
        stopping = asyncio.create_task(supervisor.stop(seconds, spread, signal=number.name))
        await _until(stopping, asked, supervisor)
    finally:
        for number in watched:
            loop.remove_signal_handler(number)
    return OK


def _drain(wanted: dict[str, float | None], asked: asyncio.Queue[signal.Signals], seconds: float | None) -> None:
    """An operator wants what SIGTERM does."""
    wanted["drain"] = seconds
    asked.put_nowait(signal.SIGTERM)


def _read(reading: Reading) -> Reading:
    return read_again(reading.path) if reading.path is not None else reading


async def _safely(log: Log, what: str, work: Callable[[], Any]) -> None:
    try:
        await work()
    except Exception as error:  # a fault of ours ends no session
        log.event("proxy.bug", {"error": error, "detail": what})


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
