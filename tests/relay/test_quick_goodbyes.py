"""A client that ends in the same breath in which its handshake does, as health checks and port scanners do: no further event tells it."""

from __future__ import annotations

import socket
import ssl

import pytest
from portico.relay.ports import Dialling
from portico.session import decisions as do
from portico.session import events
from portico.session.close import Reason
from portico.session.context import Target
from portico.session.decisions import Decision

from tests.relay.rig import Plain, Rig, TlsClient, World, read_exactly


class Greets(Plain):
    """Says ready, and waits for the client for as long as it takes; STARTTLS where it is asked for in clear."""

    def ClientConnected(self, event: events.ClientConnected) -> list[Decision]:
        return [do.SendToClient(b"ready\r\n")]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        if self.context.peer.tls is None:
            return [do.SendToClient(b"begin\r\n"), do.StartTls(event.leg)]
        return [do.SendToClient(event.data)]


@pytest.mark.parametrize("begin", ["implicit", "starttls"])
@pytest.mark.parametrize("how", ["close_notify", "close_notify and FIN", "FIN"])
def test_an_end_that_came_with_the_end_of_the_handshake_is_seen(
    begin: str, how: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    world = World(Target("none", "127.0.0.1:9"), Dialling("127.0.0.1:9", None, None), Greets, tls=begin, client_context=server_tls)
    with Rig(world) as rig:
        sock = rig.connect()
        if begin == "starttls":
            read_exactly(sock, 7)
            sock.sendall(b"STARTTLS\r\n")
            read_exactly(sock, 7)
        client = TlsClient(sock, client_tls, hold=True)

        def at_once() -> None:
            """On the relay's thread, so that it finds all of it in one event."""
            if "close_notify" in how:
                client.close_notify()
            client.flush()
            if "FIN" in how:
                sock.shutdown(socket.SHUT_WR)

        rig.call(at_once)
        assert world.end().reason is Reason.CLIENT_CLOSED
        sock.close()
