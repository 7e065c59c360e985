"""A process that the demo starts, and everything that process starts.

Rule of this file: whatever was started here is ended by `Child.stop`, and also when the starter
is killed: the kernel then sends it a signal (`setpriv --pdeathsig`), which needs no code of ours to run.
"""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from portico.errors import PorticoError

STOP_SECONDS = 5.0
"""How long a process may take to end before it is killed."""


class DemoError(PorticoError):
    """The demo cannot go on; the text says what to do about it."""


class Child:
    """A command that runs until `stop`; its output goes to `log`. Its process group is its own.

    `account` is whom to run it as, where root starts it; default: as whoever starts it. `stop_signal` is what
    ends it, by `stop` or when the starter dies.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        account: pwd.struct_passwd | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.command = [*_wrapper(account, stop_signal), *command]
        self._stop_signal = stop_signal
        self.log = log
        self._environment = dict(os.environ if environment is None else environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, once; raises `DemoError` if the program cannot be run."""
        # A second process would take the place of the first, which nobody would end.
        assert self._process is None, self
        try:
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise DemoError(f"{self.command[0]} cannot be started: {error.strerror}") from error

    @property
    def pid(self) -> int:
        """The process id; 0 before `start`."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: ended by that signal."""
        return self._process.poll() if self._process else None

    def signal(self, number: int) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the process and its whole group; returns when they are gone. May be called again."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self._stop_signal)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                pass
        # What the process itself left behind, and the process if it did not listen.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()

    def last_words(self, lines: int = 15) -> str:
        """The end of its output, for an error message."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> Child:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Child {self.command[-1]} pid={self.pid} {'running' if self.running else 'not running'}>"


def _wrapper(account: pwd.struct_passwd | None, stop_signal: signal.Signals) -> list[str]:
    """util-linux's programs that set what a child shall inherit; they replace themselves by the command."""
    wrapper: list[str] = []
    if prlimit := shutil.which("prlimit"):
        # A thousand sessions need more descriptors than the usual soft limit of 1024.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        number = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        wrapper += [prlimit, f"--nofile={number}:{number}"]
    if setpriv := shutil.which("setpriv"):
        wrapper += [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG")]
        if account is not None and account.pw_uid != os.geteuid():
            wrapper += ["--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--clear-groups"]
    return wrapper
