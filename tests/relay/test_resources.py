"""What sessions cost, and that they give everything back."""

from __future__ import annotations

import gc
import socket
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest
from portico.relay import channel, driver, farewell, tunnel
from portico.relay.ports import Dialling
from portico.session.close import Reason
from portico.session.context import Target
from portico.testing.client import eventually

from tests.relay.rig import PATIENCE, Backend, Rig, TlsClient, Tunnelling, Watching, World, echo, read_exactly


def _rss() -> int:
    """KiB of this process."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise AssertionError("no Anonymous")


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


KINDS = (channel.Channel, driver.Driver, tunnel.Tunnel, tunnel.Remains, farewell.Farewell, ssl.SSLObject)


def _living() -> dict[str, int]:
    counts: dict[str, int] = {}
    for thing in gc.get_objects():
        if isinstance(thing, KINDS):
            counts[type(thing).__name__] = counts.get(type(thing).__name__, 0) + 1
    return counts


@pytest.mark.parametrize("session", [Tunnelling, Watching])
def test_sessions_leave_no_descriptor_and_nothing_for_the_collector(
    session: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with Backend(echo) as backend, Rig(backend.world(session, tls="implicit", client_context=server_tls)) as rig:

        def visit(ending: int) -> None:
            client = TlsClient(rig.connect(), client_tls)
            client.send(b"hello")
            client.read(5)
            rig.world.born.clear()
            if ending % 3 == 0:
                client.close_notify()
            elif ending % 3 == 1:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            else:
                rig.call(lambda: rig.sessions.kick("x", address="127.0.0.1"))
            client.sock.close()
            rig.world.end()

        def settled() -> bool:
            """The clients' ends have come, and the listener is alone again."""
            return rig.call(lambda: (len(rig.reactor._handlers), len(rig.reactor._timed))) == (1, 0)

        visit(0)
        assert eventually(settled, PATIENCE)
        gc.collect()
        before, descriptors = _living(), _descriptors()
        gc.disable()
        try:
            for number in range(30):
                visit(number)
            assert eventually(settled, PATIENCE)
            assert eventually(lambda: _living() == before, PATIENCE), "freed by reference counting alone"
        finally:
            gc.enable()
        assert eventually(lambda: _descriptors() <= descriptors + 1, PATIENCE)  # the server's go in threads of its own


def test_the_session_is_let_go_once_it_is_a_tunnel(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Backend(echo) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls)
        client.send(b"hello")
        client.read(5)
        gone = weakref.ref(rig.world.born.pop())
        rig.world.log.clear()
        assert eventually(lambda: gone() is None, PATIENCE)
        assert len(rig.sessions) == 1
        client.sock.close()
        assert rig.world.end().reason is Reason.CLIENT_CLOSED


def test_a_thousand_idle_sessions_over_tls_are_small_and_alive(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    # The backend's kernel accepts, nobody else: so the memory of this process is the relay's, and the clients', which are plain sockets by then.
    count = 1000
    with socket.create_server(("127.0.0.1", 0), backlog=2000) as backend:
        address = f"127.0.0.1:{backend.getsockname()[1]}"
        world = World(Target("b", address), Dialling(address, None, None), Tunnelling, tls="implicit", client_context=server_tls)
        with Rig(world) as rig:

            def arrive() -> TlsClient:
                client = TlsClient(rig.connect(), client_tls)
                world.born.clear()
                world.log.clear()
                return client

            first = arrive()
            socks = [arrive().sock for _ in range(50)]  # warm
            gc.collect()
            before = _rss()
            socks += [arrive().sock for _ in range(count)]
            world.born.clear()
            world.log.clear()
            assert eventually(lambda: rig.call(lambda: sum(isinstance(one, tunnel.Tunnel) for one in rig.sessions)) == count + 51, PATIENCE)
            gc.collect()
            each = (_rss() - before) / count
            assert each < 20, f"{each:.1f} KiB for an idle session, a client's socket and what is counted here included"
            server, _ = backend.accept()
            server.settimeout(PATIENCE)
            first.send(b"ping")
            assert server.recv(10) == b"ping"
            server.sendall(b"pong")
            assert first.read(4) == b"pong"
            for sock in socks:
                sock.close()
            for _ in socks:
                world.end()
            server.close()


def test_many_short_sessions_at_once_all_get_their_answer(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Backend(echo) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        socks = [rig.connect() for _ in range(100)]
        clients = [TlsClient(sock, client_tls) for sock in socks]
        for number, client in enumerate(clients):
            client.send(b"%04d" % number)
        for number, client in enumerate(clients):
            assert client.read(4) == b"%04d" % number
            client.sock.close()
        for _ in clients:
            rig.world.end()
        plain = rig.connect()
        plain.close()
        assert read_exactly(plain, 0) == b""
