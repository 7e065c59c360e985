"""Binding and accepting."""

from __future__ import annotations

import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portico.relay.listener import Listener, bind
from portico.relay.ports import Dialling
from portico.session.close import Reason
from portico.session.context import Target
from portico.testing.client import eventually

from tests.relay.rig import PATIENCE, Backend, Rig, World, echo, read_all, read_exactly


def _world() -> World:
    return World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None))


def test_a_name_binds_all_its_addresses_and_ipv6_stands_by_itself() -> None:
    sockets = bind("[::1]:0")
    port = sockets[0].getsockname()[1]
    try:
        assert sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        sockets += bind(f"127.0.0.1:{port}")
        assert {sock.family for sock in sockets} == {socket.AF_INET, socket.AF_INET6}
    finally:
        for sock in sockets:
            sock.close()


def test_an_address_that_is_taken_is_an_os_error() -> None:
    (first,) = bind("127.0.0.1:0")
    with first, pytest.raises(OSError) as caught:
        bind(f"127.0.0.1:{first.getsockname()[1]}")
    assert caught.value.errno == errno.EADDRINUSE


def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/imap"
    (first,) = bind(address, mode=0o600)
    assert stat.S_IMODE((tmp_path / "imap").stat().st_mode) == 0o600
    with pytest.raises(OSError, match="another process answers"):
        bind(address)
    first.close()
    (second,) = bind(address)
    second.close()


def test_a_file_in_the_place_of_a_unix_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "imap").write_text("mail")
    with pytest.raises(OSError, match="not a socket"):
        bind(f"unix:{tmp_path}/imap")
    assert (tmp_path / "imap").read_text() == "mail"


def test_a_session_over_unix_sockets_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "backend"
    with socket.socket(socket.AF_UNIX) as backend:
        backend.bind(str(path))
        backend.listen()
        world = World(Target("b", f"unix:{path}"), Dialling(f"unix:{path}", None, None))
        with Rig(world, address=f"unix:{tmp_path}/front") as rig, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(f"{tmp_path}/front")
            server, _ = backend.accept()
            with server:
                server.sendall(b"* OK\r\n")
                assert read_exactly(client, 6) == b"* OK\r\n"
            assert read_all(client) == b"* BYE The mail server closed the connection.\r\n"
            assert rig.world.end().reason is Reason.SERVER_CLOSED
            assert rig.listener.addresses == [f"unix:{tmp_path}/front"]
        assert not (tmp_path / "front").exists()


def test_a_session_knows_both_ends_of_its_connection() -> None:
    with Backend(echo) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        client.sendall(b"x")
        read_exactly(client, 1)
        peer = rig.world.born[0].context.peer
        assert (peer.rip, peer.rport) == client.getsockname()
        assert (peer.lip, peer.lport) == client.getpeername()


def test_new_connections_get_the_new_generation() -> None:
    with Backend(echo) as backend, Rig(backend.world()) as rig:
        first = rig.connect()
        first.sendall(b"x")
        read_exactly(first, 1)
        new = backend.world()
        rig.call(lambda: setattr(rig.listener, "generation", new))
        second = rig.connect()
        second.sendall(b"x")
        read_exactly(second, 1)
        assert (rig.world.count, new.count) == (1, 1)
        for client, world in ((first, rig.world), (second, new)):
            client.close()
            world.end()


class _Poor:
    """A listening socket of a process that has no descriptor left, as long as `poor` (accept(2), EMFILE: the connection stays queued).

    Not the real limit: it is the whole process's, and other threads' descriptors come and go.
    """

    def __init__(self, accept: Callable[[], tuple[int, Any]]) -> None:
        self._accept = accept
        self.poor = True
        self.asked = 0

    def accept(self) -> tuple[int, Any]:
        if self.poor:
            self.asked += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._accept()


def test_without_descriptors_accepting_pauses_and_goes_on_by_itself() -> None:
    with Backend(echo) as backend, Rig(backend.world()) as rig:
        (door,) = rig.listener._doors
        poor = _Poor(door.accept)
        door.accept = poor.accept
        clients = [rig.connect() for _ in range(3)]
        began = time.monotonic()
        assert eventually(lambda: rig.world.records, PATIENCE)
        time.sleep(0.2)
        asked, seconds = poor.asked, time.monotonic() - began
        assert 1 <= asked <= 1 + seconds / 0.5, "it does not wait for descriptors as fast as it can"
        poor.poor = False
        for client in clients:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            client.close()
        assert {event for event, _ in rig.world.records} == {"listener.accept_failed"}


def test_who_came_before_we_listened_is_served_as_fast_as_who_comes_later() -> None:
    # Options of a listening socket are inherited by those who come afterwards (tcp(7)); an inherited one may have had none.
    with Backend(echo) as backend:
        (inherited,) = bind("127.0.0.1:0")
        at = inherited.getsockname()[:2]
        clients = [socket.create_connection(at, PATIENCE) for _ in range(3)]
        with Rig(backend.world()) as rig:
            listener = rig.call(lambda: Listener(rig.reactor, "more", [inherited], rig.world, rig.sessions))
            assert eventually(lambda: len(rig.sessions) == 3, PATIENCE)
            clients += [socket.create_connection(at, PATIENCE) for _ in range(3)]
            assert eventually(lambda: len(rig.sessions) == 6, PATIENCE)
            options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
            for running in rig.sessions:
                channel = getattr(running, "_channel", None) or running._client  # type: ignore[attr-defined]
                assert all(channel.sock.getsockopt(*option) for option in options)
                assert not channel.sock.getblocking()
            rig.call(listener.close)
            for client in clients:
                client.close()


def test_a_generation_that_fails_costs_one_connection_only() -> None:
    world = _world()
    healthy = world.open_session
    world.open_session = lambda listener, peer: 1 / 0  # type: ignore[method-assign]
    with Rig(world) as rig:
        assert rig.connect().recv(1) == b""
        assert [event for event, _ in world.records] == ["session.bug"]
        world.open_session = healthy  # type: ignore[method-assign]
        assert read_all(rig.connect()) == b"* BYE refused\r\n"


def test_whom_nobody_wants_to_talk_to_is_closed_without_a_word() -> None:
    world = _world()
    world.open_session = lambda listener, peer: None  # type: ignore[method-assign]
    with Rig(world) as rig:
        assert rig.connect().recv(1) == b""
        assert (world.records, len(rig.sessions)) == ([], 0)


def test_a_connection_that_cannot_be_watched_costs_itself_only() -> None:
    """epoll_ctl(2), ENOSPC: fs.epoll.max_user_watches."""
    world = _world()
    with Rig(world) as rig:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(rig.reactor), "register", full)
            rig.connect().close()
            assert world.end().reason is Reason.BUG
        assert len(rig.sessions) == 0
        assert read_all(rig.connect()) == b"* BYE refused\r\n"


def test_a_closed_listener_accepts_nothing() -> None:
    with Rig(_world()) as rig:
        rig.call(rig.listener.close)
        with pytest.raises(ConnectionRefusedError):
            rig.connect()


def test_sockets_made_elsewhere_can_be_listened_on() -> None:
    with Backend(echo) as backend, Rig(backend.world()) as rig:
        inherited = socket.create_server(("127.0.0.1", 0))
        extra = rig.call(lambda: Listener(rig.reactor, "inherited", [inherited], rig.world, rig.sessions))
        with socket.create_connection(inherited.getsockname(), timeout=PATIENCE) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
        rig.call(extra.close)


def test_a_client_of_ipv4_on_a_socket_for_both_families_has_its_own_address() -> None:
    with Backend(echo) as backend, Rig(backend.world()) as rig:
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        extra = rig.call(lambda: Listener(rig.reactor, "inherited", [both], rig.world, rig.sessions))
        with socket.create_connection(("127.0.0.1", both.getsockname()[1]), timeout=PATIENCE) as client:
            client.sendall(b"x")
            assert read_exactly(client, 1) == b"x"
            peer = rig.world.born[0].context.peer
            assert (peer.rip, peer.rport) == client.getsockname() and peer.lip == "127.0.0.1"
        rig.call(extra.close)
