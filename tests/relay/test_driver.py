"""The Driver: decisions are done in order, what happens becomes events, and whatever escapes harms nobody else."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from portico.relay.ports import Dialling
from portico.session import decisions as do
from portico.session import events
from portico.session.close import Reason
from portico.session.context import LoginAttempt, Refusal, Route, Target
from portico.session.decisions import Decision
from portico.session.events import CLIENT
from portico.testing.client import eventually
from portico.tls.contexts import client_context

from tests.relay.certs import Certs
from tests.relay.rig import PATIENCE, Backend, Plain, Rig, TlsClient, Watching, World, echo, fill, read_all, read_exactly, refusing


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_watched_session_passes_every_octet_however_it_is_cut(tls: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    data = random.Random(3).randbytes(3_000_000)
    chance = random.Random(5)
    with Backend(echo) as backend, Rig(backend.world(Watching, tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls)
        assert client.converse(data, lambda: chance.choice((1, 3, 1460, 16385, 400000)), len(data)) == data
        client.close_notify()
        summary = rig.world.end()
    assert (summary.reason, summary.bytes_in, summary.bytes_out) == (Reason.CLIENT_CLOSED, len(data), len(data))


def test_a_watched_client_that_does_not_read_stops_the_server_from_being_read() -> None:
    filled: list[tuple[int, bytes]] = []

    def waiting() -> int:
        return rig.call(lambda: sum(running._channel.waiting for running in rig.sessions))

    def script(sock: socket.socket) -> None:
        filled.append(fill(sock, waiting))

    with Backend(script) as backend, Rig(backend.world(Watching)) as rig:
        client = rig.connect()
        assert eventually(lambda: filled, PATIENCE)
        count, digest = filled[0]
        assert count < 64 << 20
        assert 0 < waiting() <= 400 << 10
        assert hashlib.sha256(read_exactly(client, count)).digest() == digest


def test_a_watched_server_that_does_not_read_stops_the_client_but_is_read_itself() -> None:
    """Were the server held because its input is full, both would wait for ever."""
    size = 24 << 20

    def script(sock: socket.socket) -> None:
        sock.sendall(os.urandom(size))  # reads nothing before all of this is taken
        read_exactly(sock, size)
        sock.sendall(b"done")

    with Backend(script) as backend, Rig(backend.world(Watching)) as rig:
        client = rig.connect()
        sent = got = 0
        client.setblocking(False)
        chunk = bytes(1 << 16)
        deadline = time.monotonic() + PATIENCE
        while got < size + 4 and time.monotonic() < deadline:
            if sent < size:
                try:
                    sent += client.send(chunk[: size - sent])
                except BlockingIOError:
                    pass
            try:
                got += len(client.recv(1 << 16))
            except BlockingIOError:
                time.sleep(0.001)
        assert got == size + 4


class SignsIn(Plain):
    """Asks the gate, then the plugins, then echoes."""

    def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
        if self.context.refusal is not None:
            return super().ClientConnected(event)
        return [do.SetPhase("login"), do.SendToClient(b"* OK\r\n")]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        if event.data.startswith(b"LOGIN"):
            return [do.HoldClient(), do.CheckLogin(LoginAttempt("alice", "LOGIN"))]
        return [do.SendToClient(b"you: " + event.data)]

    def LoginAllowed(self, event: events.LoginAllowed) -> list[Decision]:
        return [do.LoginEnded(True), do.OpenSession(self.view)]

    def LoginRefused(self, event: events.LoginRefused) -> list[Decision]:
        return [do.Wait(0.3)]

    def WaitEnded(self, event: events.WaitEnded) -> list[Decision]:
        return [do.SendToClient(b"NO\r\n"), do.ReadClient()]

    def SessionOpened(self, event: events.SessionOpened) -> list[Decision]:
        return [do.SendToClient(b"OK\r\n"), do.ReadClient()]


def _world(session: Any = SignsIn, **options: Any) -> World:
    return World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None), session, **options)


@pytest.mark.parametrize("slow", [False, True])
def test_the_gate_and_the_plugins_may_answer_at_once_or_later(slow: bool) -> None:
    async def later(value: Any) -> Any:
        await asyncio.sleep(0.05)
        return value

    route = Route(Target("none", "127.0.0.1:9"), "alice")
    world = _world(verdict=lambda attempt: later(route) if slow else route, plugins=lambda: later(None) if slow else None)
    world.admission = (lambda session: later(None)) if slow else None
    with Rig(world) as rig:
        client = rig.connect()
        client.sendall(b"LOGIN alice\r\n")
        assert read_exactly(client, 10) == b"* OK\r\nOK\r\n"
        client.sendall(b"hello")
        assert read_exactly(client, 10) == b"you: hello"
    assert ("login_ended", True, False) in world.log
    assert events.LoginAllowed(route) in world.log


def test_a_refused_login_waits_and_the_client_is_not_read_meanwhile() -> None:
    with Rig(_world(verdict=lambda attempt: Refusal("no"))) as rig:
        client = rig.connect()
        read_exactly(client, 6)
        began = time.monotonic()
        client.sendall(b"LOGIN alice\r\n")
        assert eventually(lambda: any(isinstance(event, events.LoginRefused) for event in rig.world.log), PATIENCE)
        client.sendall(b"pipelined")
        assert read_exactly(client, 18) == b"NO\r\nyou: pipelined"
        assert time.monotonic() - began > 0.25


def test_a_question_to_the_gate_is_cancelled_when_the_session_ends() -> None:
    asked, cancelled = threading.Event(), threading.Event()

    async def never(attempt: LoginAttempt) -> Refusal:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Refusal("")

    with Rig(_world(verdict=never)) as rig:
        client = rig.connect()
        client.sendall(b"LOGIN alice\r\n")
        read_exactly(client, 6)
        assert asked.wait(PATIENCE)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()  # a reset is noticed although the client is not read
        assert rig.world.end().reason is Reason.CLIENT_RESET
        assert cancelled.wait(PATIENCE)
    assert not rig.world.records


def test_a_plugin_may_refuse_the_client_before_the_greeting() -> None:
    async def refuse(session: Any) -> None:
        session.context.refusal = Refusal("not you")

    with Rig(_world(admission=refuse)) as rig:
        assert read_all(rig.connect()) == b"* BYE refused\r\n"
        assert rig.world.end().reason is Reason.REFUSED


def test_the_time_out_of_a_phase_becomes_an_event_once() -> None:
    with Rig(_world(timeouts={"login": 0.3})) as rig:
        client = rig.connect()
        assert read_all(client) == b"* OK\r\n* BYE timeout\r\n"
        assert rig.world.log.count(events.TimedOut("login", CLIENT)) == 1


def test_each_leg_has_its_own_clock() -> None:
    class Greeted(Plain):
        def ServerConnected(self, event: events.ServerConnected) -> list[Decision]:
            return [do.SetPhase("greeting", 0)]

        def TimedOut(self, event: events.TimedOut) -> list[Decision]:
            return [do.Disconnect(0), do.SendToClient(f"{event.leg} {event.phase}".encode()), do.Close(Reason.SERVER_CLOSED, "server")]

    with Backend(lambda sock: sock.recv(1)) as backend, Rig(backend.world(Greeted, timeouts={"greeting": 0.2})) as rig:
        assert read_all(rig.connect()) == b"0 greeting"


def test_a_tls_handshake_that_never_comes_is_ended(server_tls: ssl.SSLContext) -> None:
    with Rig(_world(tls="implicit", client_context=server_tls, timeouts={"tls": 0.3})) as rig:
        client = rig.connect()
        assert client.recv(10) == b""
        assert rig.world.end().reason is Reason.TIMEOUT_TLS


def test_what_is_no_tls_ends_the_session_and_reaches_nobody(server_tls: ssl.SSLContext) -> None:
    with Rig(_world(tls="implicit", client_context=server_tls)) as rig:
        client = rig.connect()
        client.sendall(b"A1 LOGIN alice secret\r\n")
        assert client.recv(10) == b""
        summary = rig.world.end()
        assert summary.reason is Reason.TLS_FAILED
        assert rig.world.log == []


class Broken(Plain):
    def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
        return [do.SendToClient(b"ready\r\n")]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        if b"break" in event.data:
            raise KeyError("secret")
        return [do.SendToClient(event.data)]


@pytest.mark.parametrize(("protocol", "words"), [("imap", b"* BYE Internal error\r\n"), ("pop3", b"-ERR [SYS/TEMP] Internal error\r\n")])
def test_a_fault_in_a_session_is_told_and_harms_no_other(protocol: str, words: bytes) -> None:
    with Rig(_world(Broken, protocol=protocol)) as rig:
        well, ill = rig.connect(), rig.connect()
        read_exactly(well, 7)
        read_exactly(ill, 7)
        ill.sendall(b"break")
        assert read_all(ill) == words
        assert rig.world.end().reason is Reason.BUG
        well.sendall(b"still here?")
        assert read_exactly(well, 11) == b"still here?"
    ((event, fields),) = rig.world.records
    assert event == "session.bug" and isinstance(fields["error"], KeyError)


def test_a_fault_in_the_middle_of_a_line_is_not_told() -> None:
    with Rig(_world(Broken)) as rig:
        client = rig.connect()
        read_exactly(client, 7)
        client.sendall(b"* 1 FETCH (")
        read_exactly(client, 11)
        client.sendall(b"break")
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_server_that_refuses_is_an_event_and_health_is_told() -> None:
    with refusing() as address:
        world = World(Target("gone", address), Dialling(address, None, None))
        with Rig(world) as rig:
            assert read_all(rig.connect()) == b"* BYE refused\r\n"
    assert world.dials == [("gone", "refused")]


def test_a_server_whose_certificate_is_of_nobody_known_is_not_used(certs: Certs, server_tls: ssl.SSLContext) -> None:
    with Backend(echo, server_tls) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", client_context(), "localhost")
        with Rig(backend.world(mode="implicit", dial=dial)) as rig:
            assert read_all(rig.connect()) == b"* BYE tls_verify\r\n"
        assert rig.world.dials == [("backend", "tls_verify")]


@pytest.mark.parametrize("right", [True, False])
def test_a_pinned_certificate_is_the_only_one_accepted(right: bool, certs: Certs, server_tls: ssl.SSLContext) -> None:
    der = ssl.PEM_cert_to_DER_cert(Path(certs.server).read_text())
    pin = hashlib.sha256(der).digest() if right else bytes(32)
    with Backend(echo, server_tls) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", client_context(fingerprint=pin), "whatever", pin)
        with Rig(backend.world(Watching, mode="implicit", dial=dial)) as rig:
            client = rig.connect()
            client.sendall(b"* BYE tls_verify\r\n")
            assert read_exactly(client, 18) == b"* BYE tls_verify\r\n"
            (outcome,) = [event for event in rig.world.log if isinstance(event, events.ServerConnected | events.ServerFailed)]
            assert isinstance(outcome, events.ServerConnected) is right


class Upgrading(Plain):
    """STARTTLS towards the client on its line, and towards the server on its first line."""

    def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
        return [do.SendToClient(b"* OK\r\n")]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        if event.leg == CLIENT and self.context.peer.tls is None:
            return [do.SendToClient(b"A OK begin\r\n"), do.StartTls(CLIENT)]
        if event.leg == 0 and event.data.startswith(b"+OK begin"):
            return [do.StartTls(0)]
        return super().BytesReceived(event)

    def TlsStarted(self, event: events.TlsStarted) -> list[Decision]:
        if event.leg == CLIENT:
            return [do.Connect(0, self.world.target)]
        return [do.SendToServer(0, b"secured\r\n")]

    def ServerConnected(self, event: events.ServerConnected) -> list[Decision]:
        return []


def test_starttls_on_both_sides_discards_what_was_said_in_clear_behind_it(
    certs: Certs, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"+OK begin TLS\r\n* PREAUTH injected\r\n")
        secured = server_tls.wrap_socket(sock, server_side=True)
        assert secured.recv(100) == b"secured\r\n"
        secured.sendall(b"welcome\r\n")
        echo(secured)

    with Backend(script) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", client_context(ca_file=certs.ca), "localhost")
        with Rig(backend.world(Upgrading, mode="starttls", dial=dial, client_context=server_tls)) as rig:
            sock = rig.connect()
            assert read_exactly(sock, 6) == b"* OK\r\n"
            sock.sendall(b"A STARTTLS\r\nB LOGIN mallory x\r\n")
            assert read_exactly(sock, 12) == b"A OK begin\r\n"
            client = TlsClient(sock, client_tls)
            assert client.read(9) == b"welcome\r\n"
            client.send(b"ping")
            assert client.read(13) == b"welcome\r\nping"
        assert not backend.faults
    kinds = [event for event in rig.world.log if isinstance(event, tuple)]
    assert kinds[0] == ("bytes", CLIENT, 31), "one piece, of which the session looks at the first line only"
    assert rig.world.dials == [("backend", None)]
    assert rig.world.secures == [("backend", None)]
    assert [event.leg for event in rig.world.log if isinstance(event, events.TlsStarted)] == [CLIENT, 0]


def test_a_server_whose_starttls_fails_is_an_event_and_health_is_told(
    certs: Certs, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"+OK begin TLS\r\n")
        server_tls.wrap_socket(sock, server_side=True)

    with Backend(script) as backend:
        dial = Dialling(f"127.0.0.1:{backend.port}", client_context(), "localhost")
        with Rig(backend.world(Upgrading, mode="starttls", dial=dial, client_context=server_tls)) as rig:
            sock = rig.connect()
            read_exactly(sock, 6)
            sock.sendall(b"A STARTTLS\r\n")
            read_exactly(sock, 12)
            assert TlsClient(sock, client_tls).read_end() == b"* BYE tls_verify\r\n"
    assert (rig.world.dials, rig.world.secures) == ([("backend", None)], [("backend", "tls_verify")])


def test_clear_text_that_comes_while_tls_begins_breaks_the_handshake(server_tls: ssl.SSLContext) -> None:
    with Rig(_world(Upgrading, client_context=server_tls)) as rig:
        sock = rig.connect()
        sock.sendall(b"A STARTTLS\r\n")
        read_exactly(sock, 18)
        sock.sendall(b"B LOGIN mallory x\r\n")
        assert read_all(sock) == b""
        assert rig.world.end().reason is Reason.TLS_FAILED


def test_what_came_with_finished_is_read_at_once(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """The last flight of the handshake and the first command in one segment: no event comes for the command."""
    with Rig(_world(Broken, tls="implicit", client_context=server_tls)) as rig:
        client = TlsClient(rig.connect(), client_tls, hold=True)
        client.send(b"early bird")
        assert client.read(17) == b"ready\r\nearly bird"


class Two(Plain):
    """Two servers; what the first says goes to the second, what the second says to the client."""

    def ServerConnected(self, event: events.ServerConnected) -> list[Decision]:
        if event.leg == 0:
            return [do.Connect(1, self.world.target)]
        return [do.ReadClient(), do.SendToServer(0, b"0"), do.SendToServer(1, b"1")]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        if event.leg == 0:
            return [do.SendToServer(1, event.data)]
        return [do.SendToClient(event.data)] if event.leg == 1 else [do.Disconnect(1), do.Close(Reason.LOGOUT, "client")]


def test_a_session_may_have_several_legs_and_a_slow_one_holds_the_one_that_feeds_it() -> None:
    filled: list[tuple[int, bytes]] = []

    def held() -> bool:
        return rig.call(lambda: any(running._legs[1].channel.waiting for running in rig.sessions))

    def script(sock: socket.socket) -> None:
        if sock.recv(1) == b"0":
            filled.append(fill(sock, held))
        else:
            assert eventually(lambda: filled, PATIENCE)
            sock.sendall(hashlib.sha256(read_exactly(sock, filled[0][0])).digest())
        sock.recv(1)

    with Backend(script) as backend, Rig(backend.world(Two)) as rig:
        client = rig.connect()
        assert read_exactly(client, 32) == filled[0][1]
        assert filled[0][0] < 64 << 20
        client.sendall(b"x")
        assert read_all(client) == b""
        assert rig.world.end().reason is Reason.LOGOUT


def test_a_held_server_is_not_read_until_it_is_released() -> None:
    class Holding(Plain):
        def ServerConnected(self, event: events.ServerConnected) -> list[Decision]:
            return [do.HoldServer(0), do.ReadClient()]

        def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
            return [do.ReadServer(0)] if event.leg == CLIENT else [do.SendToClient(event.data)]

    with Backend(lambda sock: (sock.sendall(b"greeting"), sock.recv(1))) as backend, Rig(backend.world(Holding)) as rig:
        client = rig.connect()
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        client.settimeout(PATIENCE)
        client.sendall(b"go")
        assert read_exactly(client, 8) == b"greeting"


def test_what_waits_for_the_client_is_sent_before_the_end() -> None:
    class Generous(Plain):
        def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
            return [do.SendToClient(bytes(20 << 20)), do.Close(Reason.LOGOUT, "client")]

    with Rig(_world(Generous)) as rig:
        client = rig.connect()
        assert eventually(lambda: rig.world.log, PATIENCE)
        assert rig.call(lambda: len(rig.sessions)) == 1, "it counts until everything has been taken"
        assert len(read_all(client)) == 20 << 20
        assert rig.world.end().reason is Reason.LOGOUT


def test_a_last_word_reaches_a_client_that_goes_on_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portico.relay.farewell._LINGER", PATIENCE)

    class Curt(Plain):
        def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
            return []

        def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
            return [do.SendToClient(b"* BYE too long\r\n"), do.Close(Reason.PROTOCOL_ERROR, "client")]

    with Rig(_world(Curt)) as rig:
        client = rig.connect()
        client.sendall(bytes(3 << 20))
        assert rig.world.end().reason is Reason.PROTOCOL_ERROR
        assert read_all(client) == b"* BYE too long\r\n"


def test_stop_tells_everybody_and_ends_those_who_stay() -> None:
    class Deaf(Broken):
        def Kicked(self, event: events.Kicked) -> list[Decision]:
            return [] if self.context.id == "s2" else [do.SendToClient(b"* BYE\r\n"), do.Close(Reason.SHUTDOWN, "operator")]

    with Rig(_world(Deaf)) as rig:
        clients = [rig.connect() for _ in range(3)]
        for client in clients:
            read_exactly(client, 7)
        assert rig.wait(rig.sessions.stop("Maintenance", 0.3)) == 1
        assert read_all(clients[0]) == b"* BYE\r\n"
        with pytest.raises(ConnectionResetError):
            read_all(clients[1])
        assert {rig.world.end().reason for _ in clients} == {Reason.SHUTDOWN, Reason.TIMEOUT_DRAIN}
        assert len(rig.sessions) == 0


def test_records_and_traces_reach_the_generation_in_order() -> None:
    class Telling(Plain):
        def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
            return [do.Record("a.happened", {"n": 1}), do.Trace("<C", b"x"), do.Record("b.happened"), do.Close(Reason.LOGOUT, "client")]

    with Rig(_world(Telling)) as rig:
        assert read_all(rig.connect()) == b""
        assert rig.world.records == [("a.happened", {"n": 1}), ("b.happened", {})]
        assert rig.world.traces == [("<C", b"x")]
