"""`portico run`: one proxy in one process.

Rule of this file: signals in, an exit code out; everything it has to say goes to the log.
"""

from __future__ import annotations

import asyncio
import resource
import signal
from functools import partial
from pathlib import Path
from typing import Any, Final

from portico.app.proxy import CannotStart, Proxy, build
from portico.config.load import read
from portico.config.settings import Portico
from portico.errors import SettingsError
from portico.observe.log import Log
from portico.plugin.loading import mistakes
from portico.relay.loop import RelayLoop
from portico.relay.reactor import settle_memory

OK: Final = 0
FAILED: Final = 1
SETTINGS: Final = 3
ADDRESS: Final = 4

_PER_SESSION: Final = 2
"""Descriptors: the client's and the server's."""
_BESIDES: Final = 64
"""Listeners, log, traces, the loop's own."""


def run(settings: Portico, path: Path | None = None) -> int:
    """Serve until SIGTERM or SIGINT; a second one does not wait for the sessions. SIGHUP reads the settings at `path` again.

    Returns 0 after an orderly end, 3 when the settings (a plugin, a certificate, the log file) cannot be used, 4 when an
    address cannot be listened on.
    """
    log = Log()
    try:
        log.adopt(level=settings.log.level, format=settings.log.format, file=settings.log.file)
    except OSError as error:
        return _fail(log, SETTINGS, "log", [f"{settings.log.file}: {error.strerror}"])
    try:
        warnings = list(read(path).warnings) if path is not None else []
        for warning in warnings + open_descriptors(settings.limits.sessions):
            log.event("settings.warning", {"text": warning})
        proxy = build(settings, path, log=log)
    except SettingsError as error:
        return _fail(log, SETTINGS, "settings", error.problems)
    try:
        with asyncio.Runner(loop_factory=RelayLoop) as runner:
            return runner.run(_serve(proxy))
    except CannotStart as error:
        return _fail(log, ADDRESS if error.reason == "address" else SETTINGS, error.reason, error.problems)
    finally:
        log.close()


def open_descriptors(sessions: int) -> list[str]:
    """Let this process have as many descriptors as the system allows it. Returns a warning if `sessions` may want more."""
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


async def _serve(proxy: Proxy) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _fault(proxy.log, context))
    asked: asyncio.Queue[signal.Signals] = asyncio.Queue()
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in watched:
        loop.add_signal_handler(number, asked.put_nowait, number)
    try:
        await proxy.start()
        settle_memory()
        while (number := await asked.get()) is signal.SIGHUP:
            try:
                await proxy.reload(partial(read, further=mistakes))
            except Exception as error:  # a fault of ours in a reload ends no session
                proxy.log.event("proxy.bug", {"error": error, "detail": "reload"})
        stopping = asyncio.create_task(proxy.stop(signal=number.name))
        await _until(stopping, asked, proxy)
    finally:
        for number in watched:
            loop.remove_signal_handler(number)
    return OK


def _fault(log: Log, context: dict[str, Any]) -> None:
    """What a callback or a task raised that nobody waits for; asyncio would print it."""
    error = context.get("exception")
    log.event("proxy.bug", {"error": error if error is not None else "asyncio", "detail": str(context.get("message", ""))})


async def _until(stopping: asyncio.Task[int], asked: asyncio.Queue[signal.Signals], proxy: Proxy) -> None:
    """Wait for the end; who asks again gets it now."""
    again = asyncio.create_task(asked.get())
    while not stopping.done():
        await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
        if again.done():
            if again.result() is not signal.SIGHUP:
                for running in proxy.sessions:
                    running.abort()
            again = asyncio.create_task(asked.get())
    again.cancel()
    await stopping
