"""A Redis of our own: Debian's redis-server, unpacked.

Rule of this file: on a loopback port, with a password, nothing written to disk; it may be killed and started again on the same port.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from portico.demo.ports import LOOPBACK, free_ports, wait_until
from redis import Redis as Client
from redis.exceptions import RedisError

PASSWORD: Final = "between-machines"


class Redis:
    """``start`` and ``kill`` as often as wanted. `root`: the tree of tests.live.fetch."""

    def __init__(self, root: Path, directory: Path, port: int) -> None:
        self._root = root
        self._directory = directory
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@{LOOPBACK}:{self.port}/0"

    @property
    def client(self) -> Client:
        return Client(host=LOOPBACK, port=self.port, password=PASSWORD, decode_responses=True, socket_timeout=10)

    def start(self) -> None:
        self._directory.mkdir(exist_ok=True)
        libraries = sorted({str(path.parent) for path in (self._root / "usr" / "lib").rglob("*.so*")})
        command = [
            self._root / "usr" / "bin" / "redis-server",
            "--bind",
            LOOPBACK,
            "--port",
            str(self.port),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        command += ["--requirepass", PASSWORD, "--dir", self._directory, "--daemonize", "no"]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
        with (self._directory / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        wait_until("Redis", self._answers, seconds=30)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except RedisError:
            return False

    def kill(self) -> None:
        """As a machine that loses its power: nothing is kept."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(30)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and questions, and answers nothing meanwhile."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_redis(root: Path, directory: Path) -> Iterator[Redis]:
    """One on a free port. `root`: as of `Redis`."""
    redis = Redis(root, directory, free_ports(1)[0])
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()
