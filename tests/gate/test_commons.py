"""What processes know together: limits over all of them, holds, and what happens when one ends or nobody answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from portico.config.sections.penalties import Penalties
from portico.config.settings import Limits
from portico.gate.commons import METHODS, Commons, LocalCommons, RemoteCommons, bounds_of

LIMITS = Limits(sessions=4, sessions_per_user=3, sessions_per_address=3, sessions_per_user_and_address=2)
BOUNDS = bounds_of(LIMITS, Penalties())
EIGHT = 8.0


def claim(commons: LocalCommons, session: str, user: str = "alice", network: str = "192.0.2.1") -> Any:
    return commons.claim(session, user, network, False, "", BOUNDS)


class Link:
    """A control socket: all that passes is JSON."""

    def __init__(self, commons: LocalCommons, process: str) -> None:
        self.commons, self.process = commons, process
        self.broken: Exception | None = None
        self.asked = 0

    async def ask(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        self.asked += 1
        if self.broken is not None:
            raise self.broken
        await asyncio.sleep(0)
        said = await self.commons.answer(self.process, verb.removeprefix("commons."), json.loads(json.dumps(dict(arguments))))
        return json.loads(json.dumps(said))

    def tell(self, verb: str, arguments: Mapping[str, Any]) -> None:
        asyncio.ensure_future(self.ask(verb, arguments)).add_done_callback(lambda task: task.exception())


def test_limits_hold_over_all_sessions_and_a_session_that_goes_makes_room() -> None:
    commons = LocalCommons()
    assert [commons.arrive(name, "192.0.2.1", BOUNDS) for name in "abcd"] == [None, None, None, "limit_address"]
    assert commons.arrive("e", "192.0.2.2", BOUNDS) is None
    assert commons.arrive("f", "192.0.2.3", BOUNDS) == "limit_sessions"
    commons.leave("a")
    commons.leave("a")
    commons.leave("never came")
    assert commons.arrive("d", "192.0.2.1", BOUNDS) is None
    assert commons.counts.sessions == 4


def test_a_user_has_so_many_sessions_from_one_address_and_so_many_in_all() -> None:
    commons = LocalCommons()
    for name, network in (("a", "192.0.2.1"), ("b", "192.0.2.1"), ("c", "192.0.2.1"), ("d", "192.0.2.2")):
        assert commons.arrive(name, network, BOUNDS) is None
    assert [claim(commons, name)["refusal"] for name in "ab"] == [None, None]
    assert claim(commons, "c")["refusal"] == "limit_user_address"
    assert claim(commons, "c", user="bob")["refusal"] is None
    assert claim(commons, "d", network="192.0.2.2")["refusal"] is None
    commons.unclaim("a")
    assert claim(commons, "c")["refusal"] is None and claim(commons, "c")["refusal"] is None
    assert claim(commons, "a", network="192.0.2.1")["refusal"] == "limit_user"


def test_a_session_that_turns_out_to_come_from_elsewhere_is_counted_there() -> None:
    commons = LocalCommons()
    assert commons.arrive("a", "", BOUNDS) is None
    assert commons.arrive("a", "192.0.2.1", BOUNDS) is None
    assert (commons.counts.sessions, commons.counts.networks) == (1, {"192.0.2.1": 1})


def test_a_process_that_ends_gives_all_its_sessions_back_and_those_of_others_stay() -> None:
    async def play() -> None:
        commons = LocalCommons()
        for process, network, sessions in (("one", "192.0.2.1", "ab"), ("two", "192.0.2.2", "c")):
            for session in sessions:
                assert await commons.answer(process, "arrive", {"session": session, "network": network, "bounds": BOUNDS}) is None
                arguments = {"session": session, "user": "alice", "network": network, "exempt": False, "digest": "", "bounds": BOUNDS}
                assert (await commons.answer(process, "claim", arguments))["refusal"] is None
        assert commons.gone("one") == 2 and commons.gone("one") == 0
        assert commons.counts.sessions == 1 and commons.counts.users == {"alice": 1}
        await commons.answer("two", "leave", {"session": "c"})
        assert commons.gone("two") == 0 and not commons.counts.users and not commons.counts.networks and not commons.counts.both

    asyncio.run(play())


def test_nothing_but_the_commons_own_methods_is_answered() -> None:
    async def play() -> None:
        for method in ("gone", "answer", "__init__", "counts", ""):
            with pytest.raises(ValueError, match="the commons have no"):
                await LocalCommons().answer("one", method, {})

    asyncio.run(play())
    assert {name for name in vars(Commons) if not name.startswith("_")} == METHODS


def test_a_held_login_goes_on_when_the_user_is_released_or_the_hold_has_passed() -> None:
    async def play() -> None:
        now = [0.0]
        commons = LocalCommons(lambda: now[0])
        link = Link(commons, "one")
        worker = RemoteCommons(link.ask, link.tell, lambda text: None)
        await worker.hold("Alice", None)
        assert claim(commons, "a")["held"] is True and claim(commons, "b", user="bob")["held"] is False
        waiting = asyncio.ensure_future(worker.pass_hold("alice", 60))
        for _ in range(10):  # turns of the loop until the question has come to the commons
            await asyncio.sleep(0)
        assert await worker.holds() == [{"user": "Alice", "seconds": None, "waiting": 1}]
        assert await worker.release("ALICE") is True and await waiting is True
        assert await worker.release("alice") is False
        commons.hold("alice", EIGHT)
        assert commons.holds() == [{"user": "alice", "seconds": EIGHT, "waiting": 0}]
        now[0] = EIGHT
        assert await worker.pass_hold("alice", 60) is True and commons.holds() == []

    asyncio.run(play())


def test_who_is_held_for_too_long_is_told_so() -> None:
    async def play() -> None:
        commons = LocalCommons()
        commons.hold("alice")
        said = commons.pass_hold("alice", 0.01)
        assert not isinstance(said, bool) and await said is False

    asyncio.run(play())


def test_when_nobody_answers_everybody_is_let_in_which_is_said_once_until_somebody_does() -> None:
    async def play() -> None:
        now, said = [0.0], list[str]()
        link = Link(LocalCommons(), "one")
        worker = RemoteCommons(link.ask, link.tell, said.append, lambda: now[0])
        link.broken = OSError("the supervisor is away")
        assert await worker.arrive("a", "192.0.2.1", BOUNDS) is None
        assert await worker.claim("a", "alice", "192.0.2.1", False, "", BOUNDS) == {"refusal": None, "delay": 0.0, "held": False}
        assert await worker.pass_hold("alice", 1) is True
        assert said == ["the supervisor is away"] and link.asked == 1  # nobody waits for it again and again
        now[0] = 10.0
        assert await worker.arrive("b", "192.0.2.1", BOUNDS) is None and len(said) == 1 and link.asked == 2
        link.broken, now[0] = None, 20.0
        assert await worker.arrive("c", "192.0.2.1", BOUNDS) is None and link.commons.counts.sessions == 1
        link.broken = OSError("again")
        assert await worker.arrive("d", "192.0.2.1", BOUNDS) is None and said[1:] == ["again"]

    asyncio.run(play())


def test_commons_that_say_nothing_at_all_are_away_too() -> None:
    async def play() -> None:
        said = list[str]()

        async def never(verb: str, arguments: Mapping[str, Any]) -> Any:
            await asyncio.Event().wait()

        worker = RemoteCommons(never, lambda verb, arguments: None, said.append, patience=0.01)
        assert await worker.arrive("a", "192.0.2.1", BOUNDS) is None and said == ["TimeoutError"]

    asyncio.run(play())
