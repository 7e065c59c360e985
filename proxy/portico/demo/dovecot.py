"""A private Dovecot: own ports, own directories, own users; nothing of the system's is touched.

Rule of this file: everything that this Dovecot writes is below `directory`. It runs as root or as
an ordinary user, and is the one that `portico demo` shows and the live tests talk to.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from portico.demo import dovecot_conf
from portico.demo.child import Child, DemoError
from portico.demo.ports import MailPorts, accepts, greets, wait_until

PACKAGES = ("dovecot-imapd", "dovecot-pop3d")
"""Debian's and Ubuntu's names of what is needed."""
SYSTEM_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/sbin")


def find() -> str | None:
    """The path of the program; an ordinary user's PATH often lacks the directory it is in."""
    return shutil.which("dovecot") or shutil.which("dovecot", path=os.pathsep.join(SYSTEM_DIRECTORIES))


def missing() -> list[str]:
    """Names of the packages that have to be installed first; empty if Dovecot can be started."""
    libraries = [Path("/usr/lib/dovecot"), Path("/usr/libexec/dovecot")]
    parts = zip(PACKAGES, ("imap-login", "pop3-login"), strict=True)
    return [package for package, part in parts if find() is None or not any((library / part).exists() for library in libraries)]


class Dovecot:
    """Dovecot 2.3 or 2.4 with IMAP and POP3, each plain (STARTTLS, STLS) and with implicit TLS.

    `users` and `masters` map names to passwords; a master signs in for another user by the SASL
    authorization identity or as ``user*master``. The user `owner` has every right below ``Public/``.
    `sessions_per_process` above 1 lets one process serve many sessions, for loads. `more` is further text of its configuration,
    in the language of the version that is installed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: Mapping[str, str],
        certificate: Path,
        key: Path,
        masters: Mapping[str, str] | None = None,
        owner: str = "postmaster",
        ports: MailPorts | None = None,
        mechanisms: str = "plain login",
        sessions_per_process: int = 1,
        compress: bool = False,
        more: str = "",
    ) -> None:
        self.directory = directory
        self.users = dict(users)
        self.masters = dict(masters or {})
        self.owner = owner
        self.ports = ports or MailPorts.free()
        mail = _mail_account()
        self._plan = dovecot_conf.Plan(
            directory=directory,
            ports=self.ports,
            certificate=certificate,
            key=key,
            mail_user=mail.pw_name,
            mail_uid=mail.pw_uid,
            mail_gid=mail.pw_gid,
            private_user=None if os.geteuid() == 0 else (mail.pw_name, grp.getgrgid(mail.pw_gid).gr_name),
            mechanisms=mechanisms,
            sessions_per_process=sessions_per_process,
            compress=compress,
            more=more,
        )
        self._child: Child | None = None

    @property
    def log(self) -> Path:
        """Its log file."""
        return self._plan.log

    @property
    def pid(self) -> int:
        """The master process; 0 while not running."""
        return self._child.pid if self._child else 0

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.running

    def start(self, seconds: float = 20.0) -> None:
        """Write the configuration, start it, return when both protocols answer. Raises `DemoError`."""
        if packages := missing():
            raise DemoError(f"Dovecot is not installed: apt-get install {' '.join(packages)}")
        program = find()
        assert program is not None
        configuration = self.write(version(program))
        self._child = Child([program, "-F", "-c", str(configuration)], log=self.directory / "dovecot.out")
        self._child.start()
        try:
            wait_until("Dovecot", self.answers, seconds=seconds, alive=lambda: self.running)
        except DemoError as error:
            words = self._child.last_words() + "\n" + (self.log.read_text("utf-8", "replace")[-2000:] if self.log.exists() else "")
            self.stop()
            raise DemoError(f"{error}\n{words.strip()}") from error

    def answers(self) -> bool:
        ports = self.ports
        return greets(ports.imap) and greets(ports.pop3) and accepts(ports.imaps) and accepts(ports.pop3s)

    def stop(self) -> None:
        """End all its processes; the directory stays. May be called again."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def write(self, version: tuple[int, ...]) -> Path:
        """Write configuration and user lists for that version; returns the configuration's path."""
        # Dovecot's own users must be able to pass through to the sockets and mail below it.
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        if os.geteuid() == 0:
            _must_be_passable(self.directory)
        for name in ("mail", "public"):
            below = self.directory / name
            below.mkdir(mode=0o700, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(below, self._plan.mail_uid, self._plan.mail_gid)
        for name in ("run", "state"):
            (self.directory / name).mkdir(mode=0o755, exist_ok=True)
        self._secret_file("users", dovecot_conf.passwd_file(self.users))
        self._secret_file("masters", dovecot_conf.passwd_file(self.masters))
        (self.directory / "acl").write_text(dovecot_conf.global_acl(self.owner, list(self.masters)))
        text = dovecot_conf.for_2_3(self._plan) if version < (2, 4) else dovecot_conf.for_2_4(self._plan, ".".join(map(str, version)))
        path = self.directory / "dovecot.conf"
        path.write_text(text)
        return path

    def _secret_file(self, name: str, text: str) -> None:
        path = self.directory / name
        path.touch(mode=0o640)
        path.write_text(text)
        if os.geteuid() == 0:
            # Dovecot's auth process runs as this user and reads it.
            os.chown(path, pwd.getpwnam("dovecot").pw_uid, -1)

    def __enter__(self) -> Dovecot:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Dovecot imap={self.ports.imap} imaps={self.ports.imaps} pop3={self.ports.pop3} pop3s={self.ports.pop3s} pid={self.pid}>"


def version(program: str) -> tuple[int, ...]:
    """The first three numbers of its version, as (2, 3, 19)."""
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=20).stdout
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", answer)
    if numbers is None:
        raise DemoError(f"{program} --version says no version")
    return tuple(int(number) for number in numbers.groups(default="0"))


def _must_be_passable(directory: Path) -> None:
    for above in directory.resolve().parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            raise DemoError(
                f"{above} is closed to other users, and Dovecot, started by root, becomes one: choose another directory (TMPDIR=/tmp)"
            )


def _mail_account() -> pwd.struct_passwd:
    """Who owns the mail: Dovecot never gives mail to root, so `nobody` where root starts it."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())
