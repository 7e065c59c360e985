"""A nursery in a process of its own, and whom the processes run as."""

from __future__ import annotations

import os
import pwd
import select
import signal
import socket

import pytest
from portico.workers import nursery
from portico.workers.nursery import Account


def work(number: int, control: socket.socket) -> int:
    while word := control.recv(1):
        control.send(word + str(number).encode())
        if word == b"x":
            return 7
    return 0


def said(sock: socket.socket) -> dict[str, int] | None:
    assert select.select([sock], [], [], 60)[0]
    return nursery.heard(sock)


def test_it_forks_whoever_is_asked_for_and_tells_how_each_has_ended() -> None:
    pid, sock = nursery.start(work, None)
    controls = []
    for number in (3, 4):
        ours, theirs = socket.socketpair()
        nursery.ask_for(sock, number, theirs)
        theirs.close()
        controls.append(ours)
    forked = {}
    for _ in controls:
        told = said(sock)
        assert told is not None
        forked[told["worker"]] = told["forked"]
    for number, control in zip((3, 4), controls, strict=True):
        control.send(b"a")
        assert control.recv(9) == b"a" + str(number).encode()
    os.kill(forked[3], signal.SIGTERM)  # as to a whole process group: it is not for them
    controls[0].send(b"x")
    told = said(sock)
    assert told is not None
    assert (told["ended"], os.waitstatus_to_exitcode(told["status"])) == (forked[3], 7)
    os.kill(forked[4], signal.SIGKILL)
    told = said(sock)
    assert told is not None
    assert (told["ended"], os.waitstatus_to_exitcode(told["status"])) == (forked[4], -signal.SIGKILL)
    sock.close()
    assert os.waitpid(pid, 0) == (pid, 0)
    for control in controls:
        control.close()


def test_an_account_is_found_by_name_or_number_and_one_that_is_not_there_is_said() -> None:
    us = pwd.getpwuid(os.getuid())
    assert Account.of(None, None) is None
    assert Account.of(us.pw_name, None) == Account(us.pw_uid, us.pw_gid, us.pw_name) == Account.of(str(us.pw_uid), None)
    assert Account.of(us.pw_name, "4711") == Account(us.pw_uid, 4711, us.pw_name)
    with pytest.raises(ValueError, match="no user 'nobody-of-that-name'"):
        Account.of("nobody-of-that-name", None)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_root_becomes_the_account_for_good() -> None:
    def who(_: int, control: socket.socket) -> int:
        with pytest.raises(PermissionError):
            os.setuid(0)
        control.send(repr((os.getresuid(), os.getresgid(), 0 in os.getgroups())).encode())
        return 0

    _, sock = nursery.start(who, Account(65534, 65534, "nobody"))
    ours, theirs = socket.socketpair()
    nursery.ask_for(sock, 0, theirs)
    theirs.close()
    with ours:
        assert ours.recv(999).decode() == repr(((65534,) * 3, (65534,) * 3, False))
    sock.close()
    os.wait()
