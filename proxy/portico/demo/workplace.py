"""A temporary directory that a later run can tell to be left over.

Rule of this file: a directory is in use exactly while its lock is held; the kernel drops the lock
of a killed process, and then the next run takes the directory away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "portico-demo-"
LOCK = "lock"


@contextmanager
def workplace(parent: Path | None = None) -> Iterator[Path]:
    """A new directory below `parent` (default: the system's place for temporary files), gone at the end."""
    where = parent or Path(tempfile.gettempdir())
    sweep(where)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where))
    # A Dovecot started by root becomes other users, who have to pass through.
    directory.chmod(0o711)
    try:
        with (directory / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep(where: Path) -> int:
    """Take away what killed runs of this user left below `where`; returns how many directories."""
    gone = 0
    for directory in where.glob(PREFIX + "*"):
        if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
            continue
        try:
            with (directory / LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
                gone += 1
        except OSError:
            # In use, or just being made.
            continue
    return gone
