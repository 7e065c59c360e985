"""A private OpenSSH server from Debian's unpacked package, and an agent.

Rule of this file: sshd runs as an ordinary user, who then is the only one that can sign in; it forwards and does nothing else.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
from portico.demo.child import Child
from portico.demo.ports import LOOPBACK, accepts, free_ports, wait_until

from tests.bench.mailbench import machine
from tests.live.mail_server import own, passable


@dataclass
class Sshd:
    """`key` is the user's, `known_hosts` has the host's."""

    root: Path
    directory: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    child: Child | None = None

    def __post_init__(self) -> None:
        # Not nobody: systemd's name service says of him that he is locked.
        self.account = pwd.getpwnam("daemon") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.directory.mkdir()
        self.programs = passable(self.root, self.directory)
        host = asyncssh.generate_private_key("ssh-ed25519")
        user = asyncssh.generate_private_key("ssh-ed25519")
        for key, file in ((host, self.directory / "host_key"), (user, self.key)):
            file.touch(0o600)
            key.write_private_key(file)
        user.write_public_key(self.directory / "authorized_keys")
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {host.export_public_key().decode()}")
        self.fingerprint = host.get_fingerprint()
        config = f"""ListenAddress {LOOPBACK}:{self.port}
HostKey {self.directory}/host_key
AuthorizedKeysFile {self.directory}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitTTY no
AllowAgentForwarding no
X11Forwarding no
LogLevel VERBOSE
"""
        for word, name in (("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")):  # OpenSSH 9.8, 10.0
            program = self.programs / "usr/lib/openssh" / name
            if program.exists():
                config += f"{word} {program}\n"
        (self.directory / "sshd_config").write_text(config)
        if os.geteuid() == 0:
            own(self.directory / "host_key", self.account)
            (self.directory / "authorized_keys").chmod(0o644)
            self.directory.chmod(0o711)

    @property
    def key(self) -> Path:
        return self.directory / "id"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def log(self) -> Path:
        return self.directory / "sshd.log"

    def settings(self, **changes: object) -> str:
        """The table [servers.server.ssh]; None takes a line out."""
        known: dict[str, object] = {
            "host": LOOPBACK,
            "port": self.port,
            "user": self.account.pw_name,
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
        }
        lines = [
            f"{name} = {value if isinstance(value, int) else chr(34) + str(value) + chr(34)}\n"
            for name, value in {**known, **changes}.items()
            if value is not None
        ]
        return "[servers.server.ssh]\n" + "".join(lines)

    def start(self) -> Sshd:
        libraries = sorted({str(path.parent) for path in self.programs.glob("**/*.so*")})
        self.child = Child(
            [str(self.programs / "usr/sbin/sshd"), "-D", "-e", "-f", str(self.directory / "sshd_config")],
            log=self.log,
            environment=os.environ | ({"LD_LIBRARY_PATH": os.pathsep.join(libraries)} if libraries else {}),
            account=self.account if os.geteuid() == 0 else None,
        )
        self.child.start()
        try:
            wait_until("sshd", lambda: accepts(self.port), seconds=60, alive=lambda: self.child is not None and self.child.running)
        except Exception:
            print(self.child.last_words(60))
            self.stop()
            raise
        return self

    def sign_ins(self) -> int:
        """How many connections have been signed in."""
        return self.log.read_text("utf-8", "replace").count("Accepted publickey for ")

    def stop(self) -> None:
        """Kill it with all its connections, which are processes of their own session."""
        if self.child is None:
            return
        for pid in machine.descendants([self.child.pid], machine.processes()) - {self.child.pid}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.stop()
        self.child = None


@dataclass
class Agent:
    """ssh-agent with the key of an Sshd."""

    sshd: Sshd
    child: Child | None = None

    @property
    def socket(self) -> Path:
        return self.sshd.directory / "agent"

    def start(self) -> Agent:
        program = shutil.which("ssh-agent") or str(self.sshd.programs / "usr/bin/ssh-agent")
        self.child = Child([program, "-D", "-a", str(self.socket)], log=self.sshd.directory / "agent.log")
        self.child.start()
        wait_until("ssh-agent", self.socket.exists, seconds=60, alive=lambda: self.child is not None and self.child.running)
        return self

    async def add(self) -> None:
        async with await asyncssh.connect_agent(str(self.socket)) as agent:
            await agent.add_keys([str(self.sshd.key)])

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None
