"""A mail server from unpacked packages: IMAP and POP3, each plain (STARTTLS, STLS) and with implicit TLS.

Rule of this file: what all of them have in common, whatever they are; everything is below `directory`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.ports import MailPorts, accepts, greets, wait_until


class MailServer:
    """`start` it, whatever that takes, ends in `_run`; `users`: names and passwords."""

    def __init__(self, root: Path, directory: Path, *, users: Mapping[str, str], certificates: Certificates) -> None:
        self.root = root
        self.directory = directory
        self.users = dict(users)
        self.certificates = certificates
        self.ports = MailPorts.free()
        self._child: Child | None = None

    @property
    def log(self) -> Path:
        return self.directory / f"{type(self).__name__.lower()}.out"

    def _run(self, child: Child) -> None:
        """Returns when it answers, and what its mailboxes need has been made."""
        self._child = child
        child.start()
        ports = self.ports
        try:
            wait_until(
                type(self).__name__,
                lambda: greets(ports.imap) and greets(ports.pop3) and accepts(ports.imaps) and accepts(ports.pop3s),
                seconds=30,
                alive=lambda: child.running,
            )
            self._make_mailboxes()
        except Exception:
            print(child.last_words(50))
            self.stop()
            raise

    def _make_mailboxes(self) -> None:
        """Once it answers."""

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.stop()


def own(directory: Path, account: pwd.struct_passwd) -> None:
    """Give a tree to somebody."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def passable(root: Path, place: Path) -> Path:
    """`root`, or a copy of it below `place` where others than root could not come to it."""
    if os.geteuid() != 0 or all(above.stat().st_mode & stat.S_IXOTH for above in root.resolve().parents):
        return root.resolve()
    shutil.copytree(root, place / "programs", symlinks=True, dirs_exist_ok=True)
    return place / "programs"
