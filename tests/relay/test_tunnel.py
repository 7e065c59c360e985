"""The tunnel, with real sockets and real TLS."""

from __future__ import annotations

import asyncio
import hashlib
import os
import queue
import random
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import pytest
from portico.config.units import MINUTES
from portico.relay.ports import Dialling
from portico.relay.tunnel import Tunnel
from portico.session.close import Reason
from portico.testing.client import eventually
from portico.tls.contexts import client_context

from tests.relay.certs import Certs
from tests.relay.rig import PATIENCE, Backend, Rig, TlsClient, Tunnelling, echo, fill, read_all, read_exactly

RESET = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("server_side", ["none", "implicit"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_octet_passes_however_the_stream_is_cut(
    version: ssl.TLSVersion, server_side: str, certs: Certs, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    client_tls.maximum_version = version
    to_server = client_context(ca_file=certs.ca)
    to_server.maximum_version = version
    data = random.Random(7).randbytes(1_500_000)
    chance = random.Random(11)

    def cuts() -> int:
        return chance.choice((1, 2, 5, 100, 1460, 16384, 16385, 70000, 300000))

    with Backend(echo, server_tls if server_side == "implicit" else None) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", to_server, "localhost")
        world = backend.world(Tunnelling, tls="implicit", client_context=server_tls, mode=server_side, dial=dial)
        with Rig(world) as rig:
            client = TlsClient(rig.connect(), client_tls)
            assert client.tls.version() == ("TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
            assert client.converse(data, cuts, len(data)) == data
            client.sock.close()
            summary = world.end()
    assert (summary.bytes_in, summary.bytes_out, summary.tunnel) == (len(data), len(data), True)
    assert world.dials == [("backend", None)]


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_fifty_megabytes_pass_each_way_unchanged(tls: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    down, up = os.urandom(1 << 20) * 50, os.urandom(1 << 20) * 50
    sums: list[bytes] = []

    def script(sock: socket.socket) -> None:
        sums.append(hashlib.sha256(read_exactly(sock, len(up))).digest())
        sock.sendall(down)
        read_all(sock)

    with Backend(script) as backend, Rig(backend.world(tls=tls, client_context=server_tls)) as rig:
        client = rig.connect(client_tls if tls == "implicit" else None)
        client.sendall(up)
        assert hashlib.sha256(read_exactly(client, len(down))).digest() == hashlib.sha256(down).digest()
        client.close()
        summary = rig.world.end()
    assert sums == [hashlib.sha256(up).digest()]
    assert (summary.bytes_in, summary.bytes_out) == (len(up), len(down))


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_client_that_does_not_read_stops_the_server_from_being_read(
    tls: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    filled: list[tuple[int, bytes]] = []

    def waiting() -> int:
        return rig.call(lambda: sum(running._client.waiting for running in rig.sessions))

    def script(sock: socket.socket) -> None:
        filled.append(fill(sock, waiting))

    with Backend(script) as backend, Rig(backend.world(tls=tls, client_context=server_tls)) as rig:
        client = rig.connect(client_tls if tls == "implicit" else None)
        assert eventually(lambda: filled, PATIENCE)
        count, digest = filled[0]
        assert 0 < waiting() <= 400 << 10
        assert count < 64 << 20, "the kernel's buffers, and no more"
        assert hashlib.sha256(read_exactly(client, count)).digest() == digest


def test_a_server_that_does_not_read_stops_the_client_from_being_read() -> None:
    full = threading.Event()
    sums: list[bytes] = []

    def waiting() -> int:
        return rig.call(lambda: sum(running._server.waiting for running in rig.sessions))

    def script(sock: socket.socket) -> None:
        assert full.wait(PATIENCE)
        sums.append(hashlib.sha256(read_all(sock)).digest())

    with Backend(script) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        sent, digest = fill(client, waiting)
        assert sent < 64 << 20
        assert 0 < waiting() <= 400 << 10
        full.set()
        client.shutdown(socket.SHUT_WR)
        assert rig.world.end().bytes_in == sent
    assert sums == [digest]


def _answer_at_the_end(sock: socket.socket) -> None:
    question = read_all(sock)
    sock.sendall(b"you said " + question + b"x" * 3_000_000 + b"\r\nA1 OK done\r\n")


def test_a_client_that_ends_its_half_still_gets_the_whole_answer() -> None:
    with Backend(_answer_at_the_end) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        client.sendall(b"A1 NOOP\r\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b"you said A1 NOOP\r\n" + b"x" * 3_000_000 + b"\r\nA1 OK done\r\n"
        assert rig.world.end().reason is Reason.CLIENT_CLOSED


def test_close_notify_in_tls_1_3_ends_only_the_half_of_the_client(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with Backend(_answer_at_the_end) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls)
        client.send(b"A1 NOOP\r\n")
        client.close_notify()
        answer = client.read_end()
        assert answer.startswith(b"you said A1 NOOP") and answer.endswith(b"A1 OK done\r\n")
        assert client.notified
        assert rig.world.end().reason is Reason.CLIENT_CLOSED


def test_the_answer_of_a_server_that_never_ends_is_bounded_by_the_half_close_time() -> None:
    seen = threading.Event()

    def script(sock: socket.socket) -> None:
        read_all(sock)
        seen.wait(PATIENCE)

    with Backend(script) as backend, Rig(backend.world(timeouts={"half_close": 0.3})) as rig:
        client = rig.connect()
        client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            read_all(client)
        summary = rig.world.end()
        seen.set()
    assert (summary.reason, summary.detail) == (Reason.CLIENT_CLOSED, "the server did not end")


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_server_that_resets_is_never_made_to_look_complete(tls: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* 1 FETCH (BODY[] {1000}\r\nabc")
        sock.recv(10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    with Backend(script) as backend, Rig(backend.world(tls=tls, client_context=server_tls)) as rig:
        sock = rig.connect()
        if tls == "implicit":
            client = TlsClient(sock, client_tls)
            client.read(29)
            client.send(b"go\r\n")
            assert client.read_end() == b"* 1 FETCH (BODY[] {1000}\r\nabc"
            assert not client.notified
        else:
            read_exactly(sock, 29)
            sock.sendall(b"go\r\n")
            with pytest.raises(ConnectionResetError):
                read_all(sock)
        assert rig.world.end().reason is Reason.SERVER_RESET


def test_a_server_that_ends_tls_without_close_notify_is_not_made_to_look_complete(
    certs: Certs, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* 1 FETCH (BODY[] {1000}\r\nabc")
        sock.recv(10)

    with Backend(script, server_tls) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", client_context(ca_file=certs.ca), "localhost")
        with Rig(backend.world(tls="implicit", client_context=server_tls, mode="implicit", dial=dial)) as rig:
            client = TlsClient(rig.connect(), client_tls)
            client.read(29)
            client.send(b"go\r\n")
            client.read_end()
            assert not client.notified
            assert rig.world.end().detail == "without close_notify"


def test_the_end_of_a_tunnel_is_named_from_its_last_octets(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def script(sock: socket.socket) -> None:
        read_exactly(sock, len(b"A1 LOGOUT\r\n"))
        sock.sendall(b"* BYE Logging out\r\n")
        sock.sendall(b"A1 OK Logout completed.\r\n")

    with Backend(script) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls)
        client.send(b"A1 LOG")
        client.send(b"OUT\r\n")
        assert client.read_end() == b"* BYE Logging out\r\nA1 OK Logout completed.\r\n"
        assert client.notified
        summary = rig.world.end()
    assert (summary.reason, summary.side) == (Reason.LOGOUT, "client")


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_goes_without_a_word_is_told_where_a_line_may_stand(
    reset: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"a1 OK Noop completed.\r\n")
        read_exactly(sock, len(b"a2 NOOP\r\n"))
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    with Backend(script) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls)
        assert client.read(23) == b"a1 OK Noop completed.\r\n"
        client.send(b"a2 NOOP\r\n")
        assert client.read_end() == b"a1 OK Noop completed.\r\n* BYE The mail server closed the connection.\r\n"
        assert client.notified
        summary = rig.world.end()
    assert (summary.reason, summary.side) == (Reason.SERVER_RESET if reset else Reason.SERVER_CLOSED, "server")


def test_a_server_that_goes_in_the_middle_of_a_response_is_told_by_the_end_alone() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* 2 EXISTS\r\n* 1 FETCH (FLAGS (")
        read_exactly(sock, 4)

    with Backend(script) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        client.sendall(b"go\r\n")
        assert read_all(client) == b"* 2 EXISTS\r\n* 1 FETCH (FLAGS ("
        assert rig.world.end().reason is Reason.SERVER_CLOSED


def test_a_kick_is_told_where_a_line_may_stand() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* OK ready\r\n")
        read_all(sock)

    with Backend(script) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        assert read_exactly(client, 12) == b"* OK ready\r\n"
        assert rig.call(lambda: rig.sessions.kick("Maintenance", id="s1")) == ["s1"]
        assert read_all(client) == b"* BYE Maintenance\r\n"
        assert rig.world.end().reason is Reason.KICKED


def test_a_kick_in_the_middle_of_a_literal_says_nothing_and_looks_broken(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* 1 FETCH (BODY[] {1000}\r\nabc")
        read_all(sock)

    with Backend(script) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls)
        client.read(29)
        rig.call(lambda: rig.sessions.kick("Maintenance", user="", address="127.0.0.1"))
        assert client.read_end() == b"* 1 FETCH (BODY[] {1000}\r\nabc"
        assert not client.notified


def test_a_stop_waits_for_the_answer_that_is_under_way() -> None:
    stopping = threading.Event()

    def script(sock: socket.socket) -> None:
        sock.sendall(b"* 1 FETCH (BODY[] {6}\r\nabc")
        assert stopping.wait(PATIENCE)
        sock.sendall(b"def)\r\na1 OK done\r\n")
        read_all(sock)

    with Backend(script) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        client.sendall(b"a1 FETCH 1 BODY[]\r\n")
        read_exactly(client, 26)
        stop = asyncio.run_coroutine_threadsafe(rig.sessions.stop("Maintenance", PATIENCE), rig.loop)
        assert rig.call(lambda: len(rig.sessions)) == 1
        stopping.set()
        assert read_all(client) == b"def)\r\na1 OK done\r\n* BYE Maintenance\r\n"
        assert stop.result(PATIENCE) == 0
        assert rig.world.end().reason is Reason.SHUTDOWN


def test_a_stop_does_not_wait_for_ever() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* 1 FETCH (BODY[] {6}\r\nabc")
        read_all(sock)

    with Backend(script) as backend, Rig(backend.world()) as rig:
        client = rig.connect()
        read_exactly(client, 26)
        assert rig.wait(rig.sessions.stop("Maintenance", 0.2)) == 1
        with pytest.raises(ConnectionResetError):
            read_all(client)
        assert rig.world.end().reason is Reason.SHUTDOWN


def test_an_idle_tunnel_ends_and_says_so() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"* OK still here\r\n")
        read_all(sock)

    with Backend(script) as backend, Rig(backend.world(timeouts={"idle": 0.4})) as rig:
        client = rig.connect()
        assert read_all(client) == b"* OK still here\r\n* BYE Autologout; idle for too long.\r\n"
        assert rig.world.end().reason is Reason.TIMEOUT_IDLE


@pytest.mark.parametrize("talker", ["client", "server"])
def test_what_passes_keeps_a_tunnel_alive(talker: str) -> None:
    """By the clock of the test: an octet passes 59 minutes after the one before, and is looked for 59 minutes later; then none comes."""
    servers: queue.Queue[socket.socket] = queue.Queue()
    over = threading.Event()

    def script(sock: socket.socket) -> None:
        servers.put(sock)
        over.wait(PATIENCE)

    with Backend(script) as backend, Rig(backend.world(timeouts={"idle": 60 * MINUTES})) as rig:
        client, server = rig.connect(), servers.get(timeout=PATIENCE)
        speaker, listener = (client, server) if talker == "client" else (server, client)
        speaker.sendall(b"x")
        assert read_exactly(listener, 1) == b"x"
        (running,) = rig.sessions
        for _ in range(3):
            rig.call(lambda: setattr(running, "active", running.active - 59 * MINUTES))
            speaker.sendall(b"x")
            assert read_exactly(listener, 1) == b"x"
            rig.call(lambda: running.sweep(rig.reactor.tick() + 59 * MINUTES))
            assert list(rig.sessions) == [running]
        rig.call(lambda: running.sweep(rig.reactor.tick() + 61 * MINUTES))
        assert rig.world.end().reason is Reason.TIMEOUT_IDLE
        over.set()


def test_a_client_that_takes_nothing_is_ended_after_the_write_time() -> None:
    def script(sock: socket.socket) -> None:
        while True:
            sock.sendall(bytes(1 << 16))

    with Backend(script) as backend, Rig(backend.world(timeouts={"write": 0.4})) as rig:
        client = rig.connect()
        summary = rig.world.end()
        assert (summary.reason, summary.side) == (Reason.TIMEOUT_WRITE, "client")
        client.close()


def test_a_key_update_is_answered_and_disturbs_nothing(certs: Certs, server_tls: ssl.SSLContext) -> None:
    with Backend(echo) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{rig.port}", "-CAfile", certs.ca, "-tls1_3"]
        client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert client.stdin is not None and client.stdout is not None

        def until(word: bytes) -> bytes:
            seen = b""
            while word not in seen:
                assert select.select([client.stdout], [], [], PATIENCE)[0], seen
                part = os.read(client.stdout.fileno(), 1 << 16)
                assert part, seen
                seen += part
            return seen

        try:
            until(b"Verify return code: 0 (ok)\n---\n")
            # s_client takes a K for a command only if it reads it alone, so each line waits for what the one before has brought.
            for line, answer in (
                (b"before\n", b"before\n"),
                (b"K\n", b"KEYUPDATE"),
                (b"between\n", b"between\n"),
                (b"k\n", b"KEYUPDATE"),
                (b"after\n", b"after\n"),
            ):
                client.stdin.write(line)
                client.stdin.flush()
                until(answer)
            client.stdin.write(b"Q\n")
            client.stdin.flush()
            client.communicate(timeout=PATIENCE)
        finally:
            client.kill()
            client.wait()
        assert rig.world.end().bytes_out == len(b"before\nbetween\nafter\n")


GREEDY = """
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
sock = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))), server_hostname="localhost")
sock.sendall(b"b")
while sock.recv(1 << 20):
    pass
"""


def test_one_download_does_not_starve_a_conversation(certs: Certs, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    def script(sock: socket.socket) -> None:
        if sock.recv(1) == b"b":
            while True:
                sock.sendall(bytes(1 << 20))
        else:
            echo(sock)

    with Backend(script) as backend, Rig(backend.world(tls="implicit", client_context=server_tls)) as rig:

        def passed() -> int:
            return rig.call(lambda: sum(running._client.sent for running in rig.sessions if isinstance(running, Tunnel)))

        # In another process, so that only the relay is shared.
        greedy = subprocess.Popen([sys.executable, "-c", GREEDY, str(rig.port), certs.ca])
        try:
            assert eventually(lambda: passed() > 1 << 20, PATIENCE)
            talker = rig.connect(client_tls)
            talker.sendall(b"t")
            times = []
            before = passed()
            for _ in range(100):
                began = time.monotonic()
                talker.sendall(b"ping")
                assert read_exactly(talker, 4) == b"ping"
                times.append(time.monotonic() - began)
            assert passed() > before, "the download went on"
            # Whoever is starved waits every time; a machine with other work makes us wait now and then.
            assert sorted(times)[25] < 0.1
        finally:
            greedy.kill()
            greedy.wait()
