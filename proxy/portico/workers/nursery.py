"""The nursery: a process in which everything is imported and nothing runs, so that workers are forked from it at once.

Rule of this file: it forks when it is asked to, and tells who has ended; it has one thread, no event loop, and no socket but its own
and, for a moment, the control socket of the worker to be. The supervisor cannot fork itself: it has threads, and clients of its own.
"""

from __future__ import annotations

import gc
import grp
import json
import os
import pwd
import select
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

_MESSAGE: Final = 4096
_OURS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that go to a whole process group; only the supervisor obeys them, and tells the workers."""

Work = Callable[[int, socket.socket], int]
"""Runs worker number … at the other end of a control socket; returns the exit code of its process."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the processes run as, once everything is bound."""

    uid: int
    gid: int
    name: str

    @classmethod
    def of(cls, user: str | None, group: str | None) -> Account | None:
        """From names or numbers; None: stay as we are. Raises ValueError with what is not known."""
        if user is None and group is None:
            return None
        uid, gid, name = os.geteuid(), os.getegid(), ""
        if user is not None:
            try:
                entry = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
            except KeyError:
                raise ValueError(f"there is no user {user!r}") from None
            uid, gid, name = entry.pw_uid, entry.pw_gid, entry.pw_name
        if group is not None:
            try:
                gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
            except KeyError:
                raise ValueError(f"there is no group {group!r}") from None
        return cls(uid, gid, name)

    def become(self) -> None:
        """Nothing of the old rights is left. Does nothing where we are that already, or are not root."""
        if os.geteuid() != 0 or (self.uid, self.gid) == (0, 0):
            return
        if self.name:
            os.initgroups(self.name, self.gid)
        else:
            os.setgroups([self.gid])
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def start(work: Work, account: Account | None, strangers: Iterable[int] = ()) -> tuple[int, socket.socket]:
    """Fork the nursery; call it before there are threads, an event loop or listening sockets. `strangers`: descriptors that are open
    already and are not to be open in it. Returns its process id and the socket that `ask_for` and `heard` want."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        ours.setblocking(False)
        return pid, ours
    code = 1
    try:
        ours.close()
        for descriptor in strangers:
            with suppress(OSError):
                os.close(descriptor)
        if account is not None:
            account.become()
        _tend(theirs, work)
        code = 0
    finally:
        os._exit(code)


def ask_for(nursery: socket.socket, worker: int, control: socket.socket) -> None:
    """Have worker number `worker` forked, with that end of its control socket; ours is to be closed then. Raises OSError."""
    socket.send_fds(nursery, [json.dumps({"worker": worker}).encode()], [control.fileno()])


def heard(nursery: socket.socket) -> dict[str, Any] | None:
    """What the nursery says: {"forked": pid, "worker": n}, {"ended": pid, "status": waitpid's}; None: it has ended. Raises
    BlockingIOError."""
    try:
        data = nursery.recv(_MESSAGE)
    except ConnectionError:
        return None
    return dict(json.loads(data)) if data else None


def _tend(sock: socket.socket, work: Work) -> None:
    for number in _OURS:
        signal.signal(number, signal.SIG_IGN)
    told, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    gc.collect()
    gc.freeze()  # the collector would write into pages that are shared with the workers
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    poll.register(told, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == told:
                with suppress(BlockingIOError):
                    os.read(told, _MESSAGE)
                _reap(sock)
                continue
            data, control, _, _ = socket.recv_fds(sock, _MESSAGE, 1)
            if not data:
                return
            worker = json.loads(data)["worker"]
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                sock.close()
                os.close(told)
                os.close(wake)
                _work(work, worker, socket.socket(fileno=control[0]))
            os.close(control[0])
            _say(sock, {"forked": pid, "worker": worker})


def _work(work: Work, worker: int, control: socket.socket) -> NoReturn:
    code = 1
    try:
        code = work(worker, control)
    finally:
        os._exit(code)  # nothing of the supervisor's is to be tidied up by a worker


def _reap(sock: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        _say(sock, {"ended": pid, "status": status})


def _say(sock: socket.socket, what: dict[str, Any]) -> None:
    with suppress(OSError):  # the supervisor has gone: so do we, at the next look
        sock.send(json.dumps(what).encode())
