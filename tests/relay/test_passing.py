"""What a session lets pass: octets go to the client without an event, and the session hears when it has its turn again."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable
from functools import partial

import pytest
from portico.session import decisions as do
from portico.session import events
from portico.session.close import Reason
from portico.session.context import Context
from portico.session.decisions import Decision, Pass
from portico.session.events import CLIENT
from portico.testing.client import eventually

from tests.relay.rig import PATIENCE, Backend, Rig, Watching, World, fill, read_all, read_exactly

DATA = random.Random(7).randbytes(2_000_000)
END = b"\r\n.\r\n"


class LetsPass(Watching):
    """Looks at the first octet from the server, then lets `passes` pass."""

    def __init__(self, passes: Pass, context: Context, world: World) -> None:
        super().__init__(context, world)
        self.passes: Pass | None = passes

    def Passed(self, event: events.Passed) -> list[Decision]:
        return [do.SendToClient(event.data)]

    def BytesReceived(self, event: events.BytesReceived) -> list[Decision]:
        if event.leg == CLIENT or self.passes is None:
            return super().BytesReceived(event)
        passes, self.passes = self.passes, None
        assert event.data == b"!"
        return [do.SendToClient(event.data), passes]


def heard(rig: Rig) -> list[object]:
    """What the session was told since the first octet."""
    log = rig.world.log
    return log[log.index(("bytes", 0, 1)) + 1 :]


def announced_first(*pieces: bytes) -> Callable[[socket.socket], None]:
    """A server that says ``!``, waits until that has been seen, and then says the rest."""

    def script(sock: socket.socket) -> None:
        sock.sendall(b"!")
        for piece in pieces:
            assert sock.recv(1)
            sock.sendall(piece)
        sock.recv(1)

    return script


@pytest.mark.parametrize("tls", [False, True])
def test_counted_octets_pass_and_what_follows_them_is_an_event_again(
    tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with (
        Backend(announced_first(DATA + b"rest")) as backend,
        Rig(backend.world(partial(LetsPass, Pass(0, len(DATA))), tls="implicit" if tls else "none", client_context=server_tls)) as rig,
    ):
        client = rig.connect(client_tls if tls else None)
        assert read_exactly(client, 1) == b"!"
        client.sendall(b".")
        assert read_exactly(client, len(DATA) + 4) == DATA + b"rest"
        passed, *more = [event for event in heard(rig) if event != ("bytes", CLIENT, 1)]
        assert isinstance(passed, events.Passed)
        assert len(passed.data) + sum(size for _, leg, size in more if leg == 0) == 4


def test_octets_pass_up_to_the_end_that_was_named_however_it_is_cut() -> None:
    with (
        Backend(announced_first(DATA + b"\r\n", b".", b"\r", b"\n", b"after")) as backend,
        Rig(backend.world(partial(LetsPass, Pass(0, until=END, seen=b"x\r\n")))) as rig,
    ):
        client = rig.connect()
        assert read_exactly(client, 1) == b"!"
        for expected in (DATA + b"\r\n", b".", b"\r", b"\n"):
            client.sendall(b".")
            assert read_exactly(client, len(expected)) == expected
        assert eventually(lambda: events.Passed(0) in heard(rig), PATIENCE)
        client.sendall(b".")
        assert read_exactly(client, 5) == b"after"
        assert ("bytes", 0, 5) in heard(rig)


def test_what_was_seen_before_counts_for_the_end() -> None:
    with (
        Backend(announced_first(b".\r\n")) as backend,
        Rig(backend.world(partial(LetsPass, Pass(0, until=END, seen=b"last line\r\n")))) as rig,
    ):
        client = rig.connect()
        assert read_exactly(client, 1) == b"!"
        client.sendall(b".")
        assert read_exactly(client, 3) == b".\r\n"
        assert eventually(lambda: events.Passed(0) in heard(rig), PATIENCE)


def test_a_client_that_does_not_read_stops_what_passes() -> None:
    filled: list[int] = []

    def script(sock: socket.socket) -> None:
        sock.sendall(b"!")
        assert sock.recv(1)
        filled.append(fill(sock, waiting)[0])

    def waiting() -> int:
        return rig.call(lambda: sum(running._channel.waiting for running in rig.sessions))

    with Backend(script) as backend, Rig(backend.world(partial(LetsPass, Pass(0, 1 << 40)))) as rig:
        client = rig.connect()
        assert read_exactly(client, 1) == b"!"
        client.sendall(b".")
        assert eventually(lambda: filled, PATIENCE)
        assert filled[0] < 64 << 20
        assert 0 < waiting() <= 600 << 10
        assert len(read_exactly(client, filled[0])) == filled[0]


def test_a_server_that_ends_in_the_middle_has_not_passed_all() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(b"!")
        assert sock.recv(1)
        sock.sendall(b"half")

    with Backend(script) as backend, Rig(backend.world(partial(LetsPass, Pass(0, 8)))) as rig:
        client = rig.connect()
        assert read_exactly(client, 1) == b"!"
        client.sendall(b".")
        assert read_all(client) == b"half"
        assert rig.world.end().reason is Reason.SERVER_CLOSED
        assert events.Passed(0) not in heard(rig)


def test_what_the_client_says_meanwhile_is_heard() -> None:
    with Backend(announced_first(b"1234", b"5678")) as backend, Rig(backend.world(partial(LetsPass, Pass(0, 8)))) as rig:
        client = rig.connect()
        assert read_exactly(client, 1) == b"!"
        for expected in (b"1234", b"5678"):
            client.sendall(b".")
            assert read_exactly(client, 4) == expected
        assert eventually(lambda: events.Passed(0) in heard(rig), PATIENCE)
        assert heard(rig) == [("bytes", CLIENT, 1), ("bytes", CLIENT, 1), events.Passed(0)]
