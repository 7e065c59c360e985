"""Two ends of a control socket in one loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from portico.errors import PorticoError
from portico.workers.link import Gone, Link, Refused, Sockets


class Answerer:
    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.sockets: Sockets = []
        self.ended = asyncio.Event()
        self.stuck = asyncio.Event()

    async def answer(self, verb: str, arguments: dict[str, Any], sockets: Sockets) -> Any:
        self.heard.append((verb, arguments))
        self.sockets += sockets
        if verb == "refuse":
            raise PorticoError("not today")
        if verb == "break":
            raise ZeroDivisionError("with words of a client")
        if verb == "wait":
            await self.stuck.wait()
        return arguments.get("what")

    async def follow(self, verb: str, arguments: dict[str, Any]) -> AsyncIterator[Any]:
        try:
            for number in range(arguments["count"]):
                yield number
            if verb == "for ever":
                await self.stuck.wait()
        finally:
            self.ended.set()


def play(act: Callable[[Link, Link, Answerer], Awaitable[None]]) -> None:
    async def both() -> None:
        one, other = socket.socketpair()
        answerer = Answerer()
        asker, answering = Link(one, answerer.answer), Link(other, answerer.answer, answerer.follow)
        async with asyncio.timeout(60):
            await act(asker, answering, answerer)
        asker.close()
        answering.close()

    asyncio.run(both())


def test_many_questions_at_once_get_each_its_answer_and_both_sides_may_ask() -> None:
    async def act(asker: Link, answering: Link, _: Answerer) -> None:
        said = await asyncio.gather(*[(asker, answering)[n % 2].ask("echo", {"what": [n, "ä" * 50_000]}) for n in range(40)])
        assert [answer[0] for answer in said] == list(range(40))

    play(act)


def test_a_refusal_is_told_in_its_words_and_a_fault_without_them() -> None:
    async def act(asker: Link, answering: Link, _: Answerer) -> None:
        faults: list[tuple[str, str]] = []
        answering.on_fault = lambda error, verb: faults.append((type(error).__name__, verb))
        with pytest.raises(Refused, match="not today"):
            await asker.ask("refuse")
        with pytest.raises(Refused, match=r"^a fault of Portico: ZeroDivisionError$"):
            await asker.ask("break")
        assert faults == [("ZeroDivisionError", "break")]

    play(act)


def test_open_sockets_arrive_in_their_order_with_the_question_that_names_them() -> None:
    async def act(asker: Link, answering: Link, answerer: Answerer) -> None:
        doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(300)]  # more than one message of the kernel takes
        for door in doors:
            door.setblocking(False)
        names = [door.getsockname() for door in doors]
        first = asker.ask("take", {"what": "x" * 500_000}, doors[:280])
        second = asker.ask("take", {}, doors[280:])
        await asyncio.gather(first, second)
        for door in doors:
            door.close()
        assert [sock.getsockname() for sock in answerer.sockets] == names
        assert not any(sock.getblocking() for sock in answerer.sockets)
        for sock in answerer.sockets:
            sock.close()

    play(act)


def test_what_is_followed_comes_in_order_and_ends_when_nobody_reads_it_any_more() -> None:
    async def act(asker: Link, answering: Link, answerer: Answerer) -> None:
        assert [item async for item in asker.follow("count", {"count": 2000})] == list(range(2000))
        answerer.ended.clear()
        items = asker.follow("for ever", {"count": 3})
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        await items.aclose()  # type: ignore[attr-defined]
        await answerer.ended.wait()
        with pytest.raises(Refused, match="cannot be followed"):
            [item async for item in answering.follow("count", {"count": 1})]

    play(act)


def test_who_waits_for_an_answer_learns_that_the_other_side_has_ended() -> None:
    async def act(asker: Link, answering: Link, answerer: Answerer) -> None:
        waiting = asyncio.create_task(asker.ask("wait"))
        following = asyncio.create_task(anext(asker.follow("for ever", {"count": 0})))
        while not answerer.heard:  # noqa: ASYNC110 (one turn after the other)
            await asyncio.sleep(0)
        answering.close()
        with pytest.raises(Gone):
            await waiting
        with pytest.raises(Gone):
            await following
        await asker.gone
        with pytest.raises(Gone):
            await asker.ask("echo")
        asker.tell("anything")  # nobody hears it, and nothing happens

    play(act)
