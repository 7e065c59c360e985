"""One epoll for asyncio and the relay, or one nested in the other: the relay and asyncio work in both."""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable

import pytest
from portico.relay.loop import RelayLoop, SharedSelector
from portico.relay.reactor import IN, Reactor

from tests.relay.rig import PATIENCE, Backend, Rig, echo

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


@pytest.mark.parametrize("loop", LOOPS)
def test_who_gives_way_several_times_in_a_turn_is_come_back_to_once(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Else who is always busy, and is told of each new octet, would have more and more turns in each turn."""

    async def count() -> list[str]:
        reactor = Reactor(asyncio.get_running_loop())
        turns: list[str] = []

        class Busy:
            def __init__(self, name: str, left: int) -> None:
                self.name, self.left = name, left

            def resume(self) -> None:
                turns.append(self.name)
                self.left -= 1
                for _ in range(3 if self.left else 0):
                    reactor.later(self)

        one, two = Busy("one", 3), Busy("two", 2)
        for busy in (one, two, one):
            reactor.later(busy)
        await asyncio.sleep(0.05)
        reactor.close()
        return turns

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(count()) == ["one", "two", "one", "two", "one"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_reactor_that_is_closed_while_somebody_is_busy_serves_nobody_more(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def close_at_once() -> list[dict[str, object]]:
        running = asyncio.get_running_loop()
        faults: list[dict[str, object]] = []
        running.set_exception_handler(lambda _, context: faults.append(context))
        reactor = Reactor(running)

        class Busy:
            def resume(self) -> None:
                raise AssertionError("served")

        reactor.later(Busy())
        reactor.close()
        await asyncio.sleep(0.01)
        return faults

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(close_at_once()) == []


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("why", ["events without pause", "somebody always busy"])
def test_a_relay_that_never_rests_leaves_asyncio_its_timers_tasks_and_other_threads(
    why: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def beside() -> tuple[int, int]:
        running = asyncio.get_running_loop()
        reactor = Reactor(running)
        near, far = socket.socketpair()
        far.send(b"x")

        class Restless:
            turns = 0

            def ready(self, mask: int) -> None:
                self.turns += 1  # reads nothing: a level-triggered descriptor stays ready

            def resume(self) -> None:
                self.turns += 1
                reactor.later(self)

        restless = Restless()
        if why == "events without pause":
            reactor.listen(near.fileno(), restless, exclusive=False)
        else:
            reactor.later(restless)
        done = 0
        async with asyncio.timeout(PATIENCE):
            for _ in range(20):
                await asyncio.sleep(0.005)
                await asyncio.create_task(asyncio.sleep(0))
                await asyncio.to_thread(lambda: None)
                done += 1
        reactor.close()
        near.close()
        far.close()
        return done, restless.turns

    with asyncio.Runner(loop_factory=loop) as runner:
        done, turns = runner.run(beside())
    assert done == 20
    assert turns > done, "and it had its turns too"
