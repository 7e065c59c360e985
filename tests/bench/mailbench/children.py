"""The processes of a run.

Rule of this file: what was started here is ended here, and nothing else ever is: a pid counts only together with the time
at which it began.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from mailbench.machine import descendants, processes


class Children:
    """Starts programs with their output in files of `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, argv: list[str]) -> int:
        """The pid of `argv`, started in a session of its own."""
        with (self._directory / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        self._running.append(process)
        return process.pid

    def said(self, name: str) -> str:
        """The last of what a program printed, for the one who has to find out why it does not answer."""
        return (self._directory / f"{name}.out").read_text(errors="replace").strip()[-2000:]

    def stop(self) -> None:
        """Ask all to end; what has not ended in five seconds, descendants included, is killed."""
        among = processes()
        family = {pid: among[pid].began for process in self._running for pid in descendants([process.pid], among)}
        for process in self._running:
            if process.poll() is None:
                process.terminate()
        end = time.monotonic() + 5
        while time.monotonic() < end and any(process.poll() is None for process in self._running):
            time.sleep(0.05)
        among = processes()
        for pid, began in family.items():
            if pid in among and among[pid].began == began:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for process in self._running:
            process.wait(5)
        self._running.clear()
