"""What is counted: Python functions and system calls of a thread, octets that sessions keep, sockets that take and give all at once.

Rule of this file: nothing here depends on the machine's speed, on its kernel's buffers or on its load; the tests beside it say what the
numbers have to be, and why.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import portico

ROOT: Final = str(Path(portico.__file__).parent)
_OURS: Final = tuple(f"{ROOT}/{room}/" for room in ("app", "gate", "observe", "plugin", "relay", "session", "tls", "upstream", "wire"))
_FREE: Final = frozenset(["socket.fileno", "epoll.fileno"])
"""Methods of these objects that ask the system nothing."""
_DEPTH: Final = 8


class Calls:
    """Calls made by the proxy's own code in the thread in which `begin` was called."""

    def __init__(self) -> None:
        self.python: Counter[str] = Counter()
        """Functions by name. Comprehensions are not: some Pythons call them, others do not."""
        self.system: Counter[str] = Counter()
        """Methods of sockets and of the epoll; each is one system call."""
        self.waits = False
        """The thread is in the system call in which it waits for events."""

    def begin(self) -> None:
        sys.setprofile(self._seen)

    @staticmethod
    def end() -> None:
        sys.setprofile(None)

    def _seen(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(_OURS):
            return
        if event == "call":
            if not code.co_name.startswith("<"):
                self.python[code.co_qualname] += 1
        elif event.startswith("c_"):
            name = getattr(argument, "__qualname__", "")
            if name.startswith(("socket.", "epoll.")) and name not in _FREE:
                self.waits = event == "c_call" and name == "epoll.poll"
                if event == "c_call":
                    self.system[name] += 1


def kept(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot) -> int:
    """Octets that the proxy's own code has allocated in between and not given back. What OpenSSL and the kernel keep is not seen."""

    def of(snapshot: tracemalloc.Snapshot) -> int:
        traces = snapshot.traces
        return sum(trace.size for trace in traces if any(frame.filename.startswith(_OURS) for frame in trace.traceback))

    return of(after) - of(before)


def watch_memory() -> None:
    """Deep enough that what the standard library allocates for us is ours."""
    tracemalloc.start(_DEPTH)


class Pipe:
    """Stands for a socket: gives as much of `inbox` as fits, takes all; counts how often it was asked."""

    def __init__(self, inbox: bytes = b"") -> None:
        self.inbox = memoryview(inbox)
        self.outbox: list[bytes] = []
        self.received = 0
        self.sent = 0

    def recv_into(self, buffer: memoryview) -> int:
        self.received += 1
        count = min(len(buffer), len(self.inbox))
        if not count:
            raise BlockingIOError
        buffer[:count] = self.inbox[:count]
        self.inbox = self.inbox[count:]
        return count

    def send(self, data: bytes | memoryview) -> int:
        self.sent += 1
        self.outbox.append(bytes(data))
        return len(data)
