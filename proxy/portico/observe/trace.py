"""Protocol traces of chosen users, one file per session.

Rule of this file: what it gets is already free of credentials (session.decisions.Trace); here it becomes lines in a
file that only its owner reads, and that has a limit. A trace that cannot be written ends; the session does not.

    # session 9v3k… imap alice rip=192.0.2.7
       0.012 C> a1 SELECT INBOX
       0.013 S> a1 SELECT INBOX
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from portico.errors import PorticoError

_KIB: Final = 1 << 10
MAX_FILE: Final = 16 * _KIB * _KIB
MAX_LINE: Final = 2 * _KIB
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9@._+-]")
_UNPRINTABLE: Final = re.compile(rb"[^\x20-\x7e]")


class TraceFailed(PorticoError):
    """The file cannot be made or written; the text says why and holds nothing of the session."""


class Trace:
    """The file of one session. Writing is immediate: a trace is for finding faults, not for load."""

    __slots__ = ("_fd", "_left", "path")

    def __init__(self, directory: str, session: str, user: str, heading: str, *, limit: int = MAX_FILE) -> None:
        """Make the file, mode 0600, and the directory if it is missing. Raises TraceFailed."""
        name = _NOT_IN_A_NAME.sub("_", user)[:80].lstrip(".-") or "unknown"
        self.path: Final = str(Path(directory) / f"{name}-{session}.trace")
        self._fd = -1
        self._left = limit
        try:
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
            # O_EXCL, O_NOFOLLOW: nobody leads us to another file by a link laid beforehand.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise TraceFailed(error.strerror or "cannot be opened") from error
        self._push(b"# %b\n" % shown(heading.encode("utf-8", "replace")))

    def write(self, elapsed: float, direction: str, data: bytes) -> None:
        """Add `data`, seen `elapsed` seconds after accept, line by line. Raises TraceFailed once, and is closed then."""
        if self._fd < 0:
            return
        lead = b"%9.3f %b " % (elapsed, direction.encode("ascii"))
        lines = data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        for line in lines:
            self._push(lead + shown(line.removesuffix(b"\r")) + b"\n")
            if self._fd < 0:
                return

    def _push(self, line: bytes) -> None:
        if len(line) > self._left:
            line = b"# the limit of this file is reached\n"
            self._left = 0
        else:
            self._left -= len(line)
        try:
            os.write(self._fd, line)
        except OSError as error:
            self.close()
            raise TraceFailed(error.strerror or "cannot be written") from error
        if self._left == 0:
            self.close()

    def close(self) -> None:
        """Nothing is written any more. May be called again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def shown(line: bytes) -> bytes:
    """`line` with what is not printable as \\xNN, and cut where it is very long."""
    more = len(line) - MAX_LINE
    text = _UNPRINTABLE.sub(lambda match: b"\\x%02x" % match[0][0], line[:MAX_LINE])
    return text + b" (and %d octets)" % more if more > 0 else text
