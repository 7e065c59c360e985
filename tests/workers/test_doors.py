"""Listening sockets, by whoever they were made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from portico.workers.doors import Doors, given_by_manager, name_of


def listening(family: int = socket.AF_INET, at: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(family)
    sock.bind((at, 0))
    sock.listen()
    return sock


def test_a_socket_that_was_given_is_taken_for_its_address_and_the_rest_is_refused() -> None:
    wanted, strange = listening(), listening()
    doors = Doors([wanted, strange])
    name = name_of(strange)
    door = doors.open(name_of(wanted))
    assert (door.sockets, door.ours) == ([wanted], False)
    assert not wanted.getblocking()
    assert doors.refuse() == [name]
    assert strange.fileno() == -1
    doors.close_all()
    assert wanted.fileno() == -1


def test_what_nobody_gave_is_bound_and_never_blocks() -> None:
    doors = Doors()
    door = doors.open("127.0.0.1:0")
    assert door.ours and not door.sockets[0].getblocking()
    with pytest.raises(OSError, match="in use"):
        Doors().open(door.names[0])
    doors.close_all()


def test_a_unix_socket_of_ours_is_unlinked_unless_somebody_else_has_it_now(tmp_path: Path) -> None:
    path = tmp_path / "imap"
    doors = Doors()
    doors.close(doors.open(f"unix:{path}"))
    assert not path.exists()
    old = Doors()
    door = old.open(f"unix:{path}")
    new = Doors(handed=[type(door)(door.address, [sock.dup() for sock in door.sockets], ours=True)])
    assert new.open(f"unix:{path}").names == [f"unix:{path}"]
    old.handed_on = True
    old.close_all()
    assert path.exists()
    new.take_over()
    new.close_all()
    assert not path.exists()


def test_an_upgrade_that_fails_leaves_the_unix_socket_to_the_process_that_goes_on(tmp_path: Path) -> None:
    path, other = tmp_path / "imap", tmp_path / "pop3"
    old = Doors()
    door = old.open(f"unix:{path}")
    new = Doors(handed=[type(door)(door.address, [sock.dup() for sock in door.sockets], ours=True)])
    new.open(f"unix:{path}")
    new.open(f"unix:{other}")
    assert new.shared and not old.shared
    new.close_all()
    assert path.exists() and not other.exists()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    old.close_all()
    assert not path.exists()


def test_a_service_managers_unix_socket_stays_his(tmp_path: Path) -> None:
    path = tmp_path / "imap"
    with socket.socket(socket.AF_UNIX) as his:
        his.bind(str(path))
        his.listen()
        doors = Doors([his])
        doors.open(f"unix:{path}")
        doors.close_all()
    assert path.exists()


def test_variables_for_another_process_are_not_for_us_and_are_taken_out() -> None:
    environment = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "imap", "PATH": "/bin"}
    assert given_by_manager(environment) == []
    assert environment == {"PATH": "/bin"}
