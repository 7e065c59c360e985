"""A private PostgreSQL from Debian's unpacked package.

Rule of this file: it runs as an ordinary user, on a free port of the loopback address, and ends at once, whoever is connected (SIGINT).
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from portico.demo.child import Child
from portico.demo.ports import LOOPBACK, free_ports, wait_until

from tests.live.mail_server import own, passable

USER = "portico"
PASSWORD = "of the database"


@dataclass
class Postgres:
    root: Path
    directory: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    child: Child | None = None

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.account = pwd.getpwnam("daemon") if os.geteuid() == 0 else None
        (programs,) = sorted(passable(self.root, self.directory).glob("usr/lib/postgresql/*/bin"))
        self.programs = programs
        (self.directory / "password").write_text(PASSWORD)
        self.directory.chmod(0o700)
        if self.account is not None:
            own(self.directory, self.account)
        options = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={self.directory}/password", "--no-sync", "--encoding=UTF8"]
        self._run("initdb", "--pgdata", str(self.data), "--locale=C", "-L", str(self._share), *options)

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        return f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@{LOOPBACK}:{self.port}/postgres"

    @property
    def _share(self) -> Path:
        return self.programs.parents[3] / "share/postgresql" / self.programs.parent.name

    def _run(self, program: str, *arguments: str) -> None:
        command = Child([str(self.programs / program), *arguments], log=self.directory / "log", account=self.account).command
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=self.directory)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> Postgres:
        """Start it, also again after `stop`: what was in it is still there."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "dynamic_library_path": f"{self.programs.parent}/lib",
            "jit": "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.child = Child(
            [str(self.programs / "postgres"), "-D", str(self.data), *options],
            log=self.directory / "log",
            account=self.account,
            stop_signal=signal.SIGINT,
        )
        self.child.start()
        wait_until("PostgreSQL", self._answers, seconds=60, alive=lambda: self.child is not None and self.child.running)
        return self

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def execute(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None
