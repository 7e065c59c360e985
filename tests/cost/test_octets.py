"""What an octet costs on its way: the tunnel's system calls and functions, for a round trip and for much at once.

The numbers are exact, whatever the machine. A change that makes one of them larger is felt by every command of every session: it has to be
worth it, and then the number here is changed in the same commit, with the reason.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from portico.relay.channel import Channel
from portico.relay.ports import Dialling
from portico.relay.reactor import BUFFER, IN, Reactor
from portico.relay.table import Sessions
from portico.relay.tunnel import Tunnel
from portico.session import decisions as do
from portico.session.context import Context, Peer, SessionView, Target
from portico.testing.client import eventually
from portico.tls.contexts import client_context, server_context

from tests.cost.counting import Calls, Pipe
from tests.relay import certs as certificates
from tests.relay.rig import PATIENCE, Backend, Rig, TlsClient, Watching, World, echo, judge

ROUNDS = 20
MIB = 1 << 20
MUCH = 8 * MIB


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    certs = certificates.make(tmp_path_factory.mktemp("certs"))
    return server_context(certs.server, certs.server_key), client_context(ca_file=certs.ca)


def round_trips(contexts: tuple[ssl.SSLContext, ssl.SSLContext], session: Any, tls: str) -> Calls:
    """What ROUNDS short commands and their answers cost the relay's thread."""
    calls = Calls()
    with Backend(echo) as backend:
        world = (
            backend.world(session, tls=tls, client_context=contexts[0]) if session else backend.world(tls=tls, client_context=contexts[0])
        )
        with Rig(world, interval=3600) as rig:
            client: Any = TlsClient(rig.connect(), contexts[1]) if tls == "implicit" else rig.connect()

            def trip() -> None:
                if tls == "implicit":
                    client.received.clear()
                    client.send(b"a NOOP\r\n")
                    assert client.read(8) == b"a NOOP\r\n"
                else:
                    client.sendall(b"a NOOP\r\n")
                    assert client.recv(100) == b"a NOOP\r\n"
                # The answer is sent before the relay has come back to where it waits.
                assert eventually(lambda: calls.waits or not calls.system, PATIENCE)

            trip()
            rig.call(calls.begin)
            trip()
            calls.python.clear()
            calls.system.clear()
            for _ in range(ROUNDS):
                trip()
            told = Calls()
            told.python, told.system = Counter(calls.python), Counter(calls.system)
            rig.call(calls.end)
            getattr(client, "sock", client).close()
            world.end()
    return told


def each(counts: Counter[str]) -> dict[str, float]:
    return {name: number / ROUNDS for name, number in sorted(counts.items())}


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_round_trip_through_a_tunnel_is_three_system_calls_each_way(contexts: Any, tls: str) -> None:
    # To wait, to receive, to send: less is not possible without looking for octets that may not be there. A second recv_into in a direction
    # would be a read that finds nothing (epoll(7): a short read has emptied the socket).
    calls = round_trips(contexts, None, tls)
    assert each(calls.system) == {"epoll.poll": 2, "socket.recv_into": 2, "socket.send": 2}


def test_a_round_trip_through_a_watched_session_asks_the_system_for_as_much(contexts: Any) -> None:
    calls = round_trips(contexts, Watching, "implicit")
    assert each(calls.system) == {"epoll.poll": 2, "socket.recv_into": 2, "socket.send": 2}


def test_a_round_trip_through_a_tunnel_is_these_functions_and_no_other(contexts: Any) -> None:
    # Each way: the loop gives its events to the reactor, this to the channel, this to the tunnel, which pulls and pushes once. The metrics,
    # the time-outs, limits and traces have no part in it: they look at what is kept anyway (Channel.received, Tunnel.active).
    calls = round_trips(contexts, None, "implicit")
    assert each(calls.python) == {
        "Channel._decrypt": 1,
        "Channel.pull": 2,
        "Channel.push": 2,
        "Channel.ready": 2,
        "Reactor._serve": 2,
        "Tunnel._pass": 2,
        "Tunnel._pump": 2,
        "Tunnel.ready": 2,
    }


class Bulk:
    """A tunnel whose sockets give and take without end."""

    def __init__(self, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None) -> None:
        self.loop = asyncio.new_event_loop()
        self.reactor = Reactor(self.loop, interval=3600)
        self.client_socket, self.server_socket = Pipe(), Pipe()
        client, server = (self.channel(socket, leg) for leg, socket in ((-1, self.client_socket), (0, self.server_socket)))
        self.peer: ssl.SSLObject | None = None
        if contexts is not None:
            self._shake(client, *contexts)
        world = World(Target("b", "127.0.0.1:1"), Dialling("127.0.0.1:1", None, None))
        context = Context("s", "imap", "l", Peer("192.0.2.1", 1, "192.0.2.2", 2), SimpleNamespace(tls="none"))  # type: ignore[arg-type]
        session: Any = SimpleNamespace(context=context, view=SessionView("s", "imap", "l", context.peer))
        tunnel = Tunnel(client, server, session, world, Sessions(), 0.0, do.Tunnel(0, judge=judge))
        tunnel.start(b"", b"")
        self.client, self.server = client, server
        for socket in (self.client_socket, self.server_socket):
            socket.received = socket.sent = 0

    def channel(self, socket: Any, leg: int) -> Channel:
        return Channel(self.reactor, socket, leg)

    def _shake(self, channel: Channel, ours: ssl.SSLContext, theirs: ssl.SSLContext) -> None:
        incoming, self.from_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = self.peer = theirs.wrap_bio(incoming, self.from_peer, server_hostname="localhost")
        channel.start_tls(ours, server_side=True)
        done = False
        while not done or channel.shaking:
            try:
                peer.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            self.client_socket.inbox = memoryview(self.from_peer.read())
            channel.readable = True
            channel.shake()
            incoming.write(b"".join(self.client_socket.outbox))
            self.client_socket.outbox.clear()
        channel.flush()
        self.client_socket.outbox.clear()

    def through(self, channel: Channel, socket: Pipe, octets: bytes) -> None:
        """Until all of it has passed."""
        socket.inbox = memoryview(octets)
        channel.ready(IN)
        while channel.readable:
            self.reactor.turn()
        self.reactor.close()
        self.loop.close()


@pytest.mark.parametrize("tls", [False, True])
def test_a_download_is_four_reads_and_four_writes_for_a_mebibyte(contexts: Any, tls: bool) -> None:
    # As much as the shared buffer holds with each call: 256 KiB. The one read more finds nothing: the last was a full one.
    bulk = Bulk(contexts if tls else None)
    bulk.through(bulk.server, bulk.server_socket, bytes(MUCH))
    assert (bulk.server_socket.received, bulk.client_socket.sent) == (MUCH // BUFFER + 1, MUCH // BUFFER)
    assert BUFFER == MIB // 4
    assert sum(map(len, bulk.client_socket.outbox)) >= MUCH


@pytest.mark.parametrize("tls", [False, True])
def test_an_upload_is_as_many(contexts: Any, tls: bool) -> None:
    bulk = Bulk(contexts if tls else None)
    octets = bytes(MUCH)
    if bulk.peer is not None:
        for start in range(0, MUCH, MIB):
            bulk.peer.write(octets[start : start + MIB])
        octets = bulk.from_peer.read()  # 22 octets more for each record of 16 KiB (RFC 8446 5.2)
    bulk.through(bulk.client, bulk.client_socket, octets)
    reads = -(-len(octets) // BUFFER) + (len(octets) % BUFFER == 0)
    assert (bulk.client_socket.received, bulk.server_socket.sent) == (reads, -(-len(octets) // BUFFER))
    assert sum(map(len, bulk.server_socket.outbox)) == MUCH
