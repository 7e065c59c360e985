"""Connections that must begin with a PROXY header: what comes in, and as whose."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from portico.relay.ports import Dialling
from portico.session.context import Target
from portico.testing.client import eventually
from portico.wire.proxy_protocol import SIGNATURE, Tls, compose, compose_local

from tests.relay.rig import PATIENCE, Backend, Rig, World, echo, read_exactly

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 993\r\n"
V2 = compose(2, ("2001:db8::7", 40000), ("2001:db8::1", 993), tls=Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256"), authority="mail.example.org")


def _closed(client: socket.socket) -> None:
    """Closed without a word; the system makes a reset of it where something was not read."""
    with suppress(ConnectionResetError):
        assert client.recv(1) == b""


@pytest.mark.parametrize("cut", [1, 16, 1000])
@pytest.mark.parametrize(("header", "rip"), [(V1, "192.0.2.7"), (V2, "2001:db8::7")])
def test_the_session_is_the_clients_and_what_follows_the_header_is_its_own(header: bytes, rip: str, cut: int) -> None:
    with Backend(echo) as backend, Rig(backend.world(header=PATIENCE)) as rig:
        client = rig.connect()
        data = header + b"hello"
        for start in range(0, len(data), cut):
            client.sendall(data[start : start + cut])
        assert read_exactly(client, 5) == b"hello"
        peer = rig.world.born[0].context.peer
        assert (peer.rip, peer.rport, peer.lport, peer.real_rip) == (rip, 40000, 993, "127.0.0.1")
        if header is V2:
            assert peer.tls is not None
            assert (peer.tls.version, peer.tls.sni, peer.tls.client_name) == ("TLSv1.3", "mail.example.org", None)
        else:
            assert peer.tls is None
        client.sendall(b"again")
        assert read_exactly(client, 5) == b"again"


def test_the_header_stands_before_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Backend(echo) as backend, Rig(backend.world(header=PATIENCE, tls="implicit", client_context=server_tls)) as rig:
        sock = rig.connect()
        sock.sendall(V1)
        with client_tls.wrap_socket(sock, server_hostname="localhost") as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        assert rig.world.born[0].context.peer.rip == "192.0.2.7"


@pytest.mark.parametrize("version", [1, 2])
def test_a_question_about_health_is_the_balancers_own(version: int) -> None:
    with Backend(echo) as backend, Rig(backend.world(header=PATIENCE)) as rig:
        client = rig.connect()
        client.sendall(compose_local(version) + b"x")
        assert read_exactly(client, 1) == b"x"
        peer = rig.world.born[0].context.peer
        assert ((peer.rip, peer.rport), peer.real_rip) == (client.getsockname(), "")


@pytest.mark.parametrize("octets", [b"a1 LOGIN alice secret\r\n", b"\x16\x03\x01", SIGNATURE + b"\x21\x11\xff\xff", b"PROXY TCP4 x\r\n"])
def test_who_does_not_say_whose_it_is_is_closed_without_a_word(octets: bytes) -> None:
    world = World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None), header=PATIENCE)
    with Rig(world) as rig:
        client = rig.connect()
        client.sendall(octets)
        _closed(client)
        assert eventually(lambda: world.away, PATIENCE)
        assert (world.away, world.born) == ([("127.0.0.1", "not_proxied")], [])


def test_who_says_nothing_for_too_long_or_only_looks_is_closed() -> None:
    world = World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None), header=0.01)
    with Rig(world) as rig:
        slow = rig.connect()
        slow.sendall(V1[:10])
        assert eventually(lambda: world.away == [("127.0.0.1", "timeout")], PATIENCE)
        world.header = PATIENCE
        rig.connect().close()
        half = rig.connect()
        half.sendall(V1[:10])
        half.shutdown(socket.SHUT_WR)
        _closed(half)
        assert eventually(lambda: len(world.away) == 2 and not rig.listener._entrances, PATIENCE)
        assert world.away[1:] == [("127.0.0.1", "not_proxied")]


def test_who_is_not_listed_is_closed_at_once() -> None:
    world = World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None), header=None)
    with Rig(world) as rig:
        assert rig.connect().recv(1) == b""
        assert eventually(lambda: world.away == [("127.0.0.1", "not_listed")], PATIENCE)


def test_who_waits_at_the_entrance_is_closed_with_the_listener() -> None:
    world = World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None), header=PATIENCE)
    with Rig(world) as rig:
        client = rig.connect()
        client.sendall(V1[:10])
        assert eventually(lambda: rig.listener._entrances, PATIENCE)
        rig.call(rig.listener.close)
        _closed(client)
        assert not world.away


@pytest.mark.parametrize("version", [1, 2])
def test_the_server_is_told_first_whose_connection_it_is(version: int) -> None:
    heard: list[bytes] = []
    header = compose(version, ("192.0.2.7", 40000), ("192.0.2.1", 993), unique_id=b"s1")

    def script(sock: socket.socket) -> None:
        heard.append(read_exactly(sock, len(header)))
        echo(sock)

    with Backend(script) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", None, None, proxy_protocol=version)
        with Rig(backend.world(header=PATIENCE, dial=dial)) as rig:
            client = rig.connect()
            client.sendall(V1 + b"hello")
            assert read_exactly(client, 5) == b"hello"
            assert heard == [header]


def test_over_a_unix_socket_the_client_may_come_from_anywhere(tmp_path: Path) -> None:
    with Backend(echo) as backend, Rig(backend.world(header=PATIENCE), address=f"unix:{tmp_path}/front") as rig:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(f"{tmp_path}/front")
            client.sendall(V1 + b"x")
            assert read_exactly(client, 1) == b"x"
        assert rig.world.born[0].context.peer.rip == "192.0.2.7"
