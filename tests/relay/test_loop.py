"""One epoll for asyncio and the relay, or one nested in the other: the relay and asyncio work in both."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable

import pytest
from portico.relay.loop import RelayLoop, SharedSelector
from portico.relay.reactor import IN, Reactor

from tests.relay.rig import Backend, Rig, echo

LOOPS = [RelayLoop, asyncio.SelectorEventLoop]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_session_works_in_any_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with Backend(echo) as backend, Rig(backend.world(), loop=loop) as rig, rig.connect() as client:
        for size in (1, 1000, 300_000):
            sent = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            client.sendall(sent)
            got = b""
            while len(got) < size:
                got += client.recv(1 << 16)
            assert got == sent


@pytest.mark.parametrize("loop", LOOPS)
def test_asyncio_sees_its_own_sockets_and_timers_beside_the_relays(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def both() -> list[str]:
        running = asyncio.get_running_loop()
        reactor = Reactor(running)
        ours, far = socket.socketpair()
        ours.setblocking(False)
        heard: list[str] = []

        class Handler:
            def ready(self, mask: int) -> None:
                if mask & IN:
                    heard.append(ours.recv(100).decode())

        def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"hello")
            writer.close()

        reactor.register(ours.fileno(), Handler())
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        for word in ("one", "two"):
            far.send(word.encode())
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            heard.append((await reader.read()).decode())
            writer.close()
            await asyncio.sleep(0.01)
        server.close()
        reactor.close()
        ours.close()
        far.close()
        return heard

    with asyncio.Runner(loop_factory=loop) as runner:
        assert sorted(runner.run(both())) == ["hello", "hello", "one", "two"]


def test_two_reactors_may_be_in_one_loop() -> None:
    async def two() -> set[int]:
        running = asyncio.get_running_loop()
        reactors = [Reactor(running), Reactor(running)]
        pairs = [socket.socketpair() for _ in reactors]
        seen: set[int] = set()

        class Handler:
            def __init__(self, number: int) -> None:
                self.number = number

            def ready(self, mask: int) -> None:
                if mask & IN:
                    seen.add(self.number)

        for number, (reactor, (near, far)) in enumerate(zip(reactors, pairs, strict=True)):
            near.setblocking(False)
            reactor.register(near.fileno(), Handler(number))
            far.send(b"x")
        await asyncio.sleep(0.05)
        for reactor, pair in zip(reactors, pairs, strict=True):
            reactor.close()
            for sock in pair:
                sock.close()
        return seen

    with asyncio.Runner(loop_factory=RelayLoop) as runner:
        assert runner.run(two()) == {0, 1}


def test_a_descriptor_that_is_gone_when_asyncio_has_its_turn_is_passed_over() -> None:
    selector = SharedSelector()
    ours, far = socket.socketpair()
    selector.register(ours, selectors.EVENT_READ)
    far.send(b"x")

    def leave(events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        selector.unregister(ours)
        return events

    selector.serve = leave
    assert selector.select(1) == []
    selector.close()
    ours.close()
    far.close()
