"""Where log lines go: a descriptor that may be slow, full or gone.

Rule of this file: `write` returns at once and raises nothing. A line that the descriptor would not take now is dropped and
counted; a line once begun is finished before another one, so that readers of JSON lines never see two mixed.
"""

from __future__ import annotations

import os
import select
import stat
from typing import Final

_PIECE: Final = 4096  # PIPE_BUF on Linux: a pipe that polls writable takes as much without waiting (pipe(7))


class Sink:
    """Writes whole lines to `fd`, which it owns if `owned`."""

    __slots__ = ("_fd", "_owned", "_poll", "_rest", "dropped", "ready")

    def __init__(self, fd: int, *, owned: bool = False) -> None:
        self._fd = fd
        self._owned = owned
        self._rest = b""
        self.dropped = 0
        """Lines lost since the last `take_dropped`."""
        self.ready = True
        """The last line was taken."""
        try:
            regular = stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError:
            regular = False
        # A regular file never makes one wait. Everything else is asked first; its O_NONBLOCK is not set, because
        # standard error is shared with whoever started us.
        self._poll: select.poll | None = None
        if not regular:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Write `line` (with its line end), or drop it."""
        if self._rest:
            self._rest = self._push(self._rest)
            if self._rest:
                self._drop()
                return
        rest = self._push(line)
        if len(rest) == len(line):
            self._drop()
        else:
            self.ready = True
            self._rest = rest

    def _drop(self) -> None:
        self.dropped += 1
        self.ready = False

    def _push(self, data: bytes) -> bytes:
        """Write what is taken at once; what is left."""
        poll = self._poll
        try:
            if poll is None:
                written = os.write(self._fd, data)
                return data[written:]
            while data:
                happened = poll.poll(0)
                if not happened or not happened[0][1] & select.POLLOUT:
                    break
                data = data[os.write(self._fd, data[:_PIECE]) :]
        except OSError:  # the reader is gone (EPIPE), the disk is full (ENOSPC), the descriptor is closed (EBADF)
            pass
        return data

    def take_dropped(self) -> int:
        """Lines lost since the last call; the count starts again."""
        count, self.dropped = self.dropped, 0
        return count

    def close(self) -> None:
        """Close the descriptor if it is ours; further lines are dropped."""
        fd, self._fd = self._fd, -1
        if self._owned and fd >= 0:
            os.close(fd)


def open_file(path: str) -> Sink:
    """A sink that appends to a file, made if missing, not readable by others. Raises OSError."""
    return Sink(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640), owned=True)
