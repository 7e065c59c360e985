"""What a login waits for before anybody is asked: what its address has to pay, and a hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import pytest
from portico.config.sections.penalties import Penalties
from portico.config.settings import Limits, Listener, Server
from portico.errors import Secret
from portico.gate import gate as gate_module
from portico.gate.commons import LocalCommons
from portico.gate.gate import Gate, Verdict
from portico.gate.limits import Counts, Ticket
from portico.gate.way import way_of
from portico.session.context import LoginAttempt, Peer, Refusal, Route, SessionView

LISTENER = Listener(protocol="imap", addresses=["127.0.0.1:1143"], server="main")


class House:
    """A gate whose waiting is noted and takes no time, but moves the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, limits: Limits | None = None, **penalties: Any) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.counts = Counts()
        self.commons = LocalCommons(lambda: self.now)
        self.faults: list[Exception] = []
        self.gate = Gate(
            {"imaps": way_of(LISTENER, {"main": Server(imap="mail.example.org:143")}, plugins_route=False)},
            limits or Limits(),
            self.counts,
            None,
            lambda view, error: self.faults.append(error),
            commons=self.commons,
            penalties=Penalties(**penalties),
            key=b"k",
            held={"imaps": 0.0},
        )
        self.sessions = 0
        monkeypatch.setattr(gate_module.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def come(self, rip: str = "192.0.2.7", *, counted: bool = True) -> tuple[Ticket, SessionView]:
        self.sessions += 1
        ticket, refusal = self.gate.arrive(rip, counted=counted)
        assert refusal is None
        view = SessionView(str(self.sessions), "imap", "imaps", Peer(rip, 1, "192.0.2.1", 993))
        assert self.gate.enter(ticket, view.id) is None
        return ticket, view

    def check(self, ticket: Ticket, view: SessionView, user: str = "alice", password: str = "wonderland") -> Verdict:
        view.user = user
        verdict = self.gate.check(ticket, view, LoginAttempt(user, "PLAIN", Secret(password)))
        if not isinstance(verdict, Awaitable):
            return verdict
        try:
            verdict.__await__().send(None)  # nothing in it takes any time
        except StopIteration as end:
            return cast(Verdict, end.value)
        raise AssertionError("it waits")

    def guess(self, password: str, rip: str = "192.0.2.7") -> float:
        """A session with one wrong password; how long it waited."""
        ticket, view = self.come(rip)
        before = sum(self.slept)
        assert isinstance(self.check(ticket, view, password=password), Route)
        self.gate.failed(ticket, view, counts=True)
        self.gate.leave(ticket)
        return sum(self.slept) - before


def reason(verdict: Verdict) -> str:
    assert isinstance(verdict, Refusal), verdict
    return verdict.reason


def test_each_further_guess_from_an_address_waits_longer_and_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    assert [house.guess(f"guess {number}") for number in range(6)] == [0, 2, 4, 8, 15, 15]
    assert house.guess("guess", "192.0.2.8") == 0
    assert house.counts.delayed == 5 and not house.counts.waiting and not house.faults


def test_within_one_session_what_it_has_waited_itself_is_not_waited_again(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    ticket, view = house.come()
    for number in range(4):
        assert isinstance(house.check(ticket, view, password=f"guess {number}"), Route)
        house.gate.failed(ticket, view, counts=True)
    assert house.slept == []


def test_a_login_that_failed_by_an_outage_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    for number in range(4):
        ticket, view = house.come()
        house.check(ticket, view, password=f"guess {number}")
        house.gate.failed(ticket, view, counts=False)
    assert house.guess("guess") == 0


def test_who_signed_in_before_waits_for_nothing_beside_a_guesser(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    ticket, view = house.come()
    house.check(ticket, view)
    house.gate.succeeded(ticket, view)
    for number in range(5):
        house.guess(f"guess {number}")
    house.slept.clear()
    assert isinstance(house.check(*house.come()), Route) and house.slept == []


def test_how_soon_an_answer_comes_tells_a_guesser_elsewhere_nothing_about_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    ticket, view = house.come("198.51.100.1")
    house.check(ticket, view, password="wonderland")
    house.gate.succeeded(ticket, view)
    for number in range(5):
        house.guess(f"guess {number}")
    house.slept.clear()
    house.check(*house.come(), password="wonderland")
    house.check(*house.come(), password="looking glass")
    assert house.slept == [15, 15]


def test_guessers_who_wait_do_not_take_the_sessions_that_the_user_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, limits=Limits(sessions_per_user=1))
    for number in range(3):
        house.guess(f"guess {number}")
    seen: list[Verdict] = []

    async def sleep(seconds: float) -> None:
        seen.append(house.check(*house.come("198.51.100.1")))

    monkeypatch.setattr(gate_module.asyncio, "sleep", sleep)
    assert reason(house.check(*house.come(), password="one more")) == "limit_user"  # he has come meanwhile, and is there
    assert len(seen) == 1 and isinstance(seen[0], Route)
    assert house.counts.users == {"alice": 1} == house.commons.counts.users


def test_nor_do_those_who_wait_for_the_end_of_a_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act() -> None:
        house = House(monkeypatch, limits=Limits(sessions_per_user=1))
        monkeypatch.undo()  # here somebody waits
        house.gate._held = {"imaps": 60.0}
        house.commons.hold("alice")
        waiting = []
        for _ in range(3):
            ticket, view = house.come()
            view.user = "alice"
            verdict = house.gate.check(ticket, view, LoginAttempt("alice", "PLAIN", Secret("wonderland")))
            assert isinstance(verdict, Awaitable)
            waiting.append(asyncio.ensure_future(verdict))
        for _ in range(10):
            await asyncio.sleep(0)
        assert house.commons.holds()[0]["waiting"] == 3
        assert house.counts.users == {} == house.commons.counts.users
        house.commons.release("alice")
        verdicts = await asyncio.gather(*waiting)
        assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Refusal", "Refusal", "Route"]
        assert house.counts.users == {"alice": 1} == house.commons.counts.users

    asyncio.run(act())


def test_the_exempt_pay_nothing_and_those_who_speak_for_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, exempt=["192.0.2.7/32", "2001:db8::/32"])
    assert [house.guess(f"guess {number}") for number in range(3)] == [0, 0, 0]
    delays = []
    for number in range(3):  # a trusted proxy that has not said for whom it speaks
        ticket, view = house.come("192.0.2.50", counted=False)
        before = sum(house.slept)
        house.check(ticket, view, password=f"guess {number}")
        house.gate.failed(ticket, view, counts=True)
        delays.append(sum(house.slept) - before)
    assert delays == [0, 2, 4]


def test_a_forwarded_address_pays_and_is_counted_in_place_of_the_proxys(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, limits=Limits(sessions_per_address=2))
    for number in range(2):
        ticket, view = house.come("192.0.2.50", counted=False)
        view.peer.rip = "203.0.113.9"
        assert isinstance(house.check(ticket, view, password=f"guess {number}"), Route)
        house.gate.failed(ticket, view, counts=True)
    assert house.counts.networks == {"203.0.113.9": 2} == house.commons.counts.networks
    ticket, view = house.come("192.0.2.50", counted=False)
    view.peer.rip = "203.0.113.9"
    for _ in range(3):
        assert reason(house.check(ticket, view)) == "limit_address"
    assert house.counts.refused == {"limit_address": 3}
    view.peer.rip = "203.0.113.10"
    assert isinstance(house.check(ticket, view), Route)
    house.gate.leave(ticket)
    assert house.counts.networks == {"203.0.113.9": 2} == house.commons.counts.networks


def test_what_all_processes_together_refuse_is_refused_however_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, limits=Limits(sessions_per_address=1))
    assert house.commons.arrive("of another process", "203.0.113.9", {"sessions": 9, "sessions_per_address": 1}) is None
    ticket, view = house.come("192.0.2.50", counted=False)
    view.peer.rip = "203.0.113.9"
    for _ in range(3):
        assert reason(house.check(ticket, view)) == "limit_address" and not house.counts.users
    house.commons.leave("of another process")
    assert isinstance(house.check(ticket, view), Route)
    house.gate.leave(ticket)
    assert not house.counts.networks and not house.commons.counts.networks and not house.commons.counts.users


def test_a_network_of_ipv6_is_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    assert [house.guess(f"guess {number}", f"2001:db8::{number}") for number in range(3)] == [0, 2, 4]
    assert house.guess("guess", "2001:db8:0:1::1") == 0


def test_not_more_than_some_logins_of_an_address_wait_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, waiting=2)
    house.guess("guess")

    async def play() -> None:
        gates = asyncio.Event()

        async def sleep(seconds: float) -> None:
            await gates.wait()

        monkeypatch.setattr(gate_module.asyncio, "sleep", sleep)
        said = []
        for number in range(4):
            ticket, view = house.come()
            said.append(house.gate.check(ticket, view, LoginAttempt("alice", "PLAIN", Secret(f"guess more {number}"))))
        assert [reason(verdict) for verdict in said[2:] if not isinstance(verdict, Awaitable)] == ["limit_waiting"] * 2
        waiting = [asyncio.ensure_future(verdict) for verdict in said[:2] if isinstance(verdict, Awaitable)]
        cancelled = waiting.pop()
        assert house.counts.waiting == {"192.0.2.7": 2}
        await asyncio.wait(waiting, timeout=0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert house.counts.waiting == {"192.0.2.7": 1}  # whoever leaves makes room
        gates.set()
        assert isinstance(await waiting[0], Route) and not house.counts.waiting

    asyncio.run(play())


def test_the_user_of_one_address_has_a_limit_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch, limits=Limits(sessions_per_user_and_address=1))
    assert isinstance(house.check(*house.come()), Route)
    verdict = house.check(*house.come())
    assert reason(verdict) == "limit_user_address" and isinstance(verdict, Refusal) and verdict.code == "LIMIT"
    assert isinstance(house.check(*house.come("192.0.2.8")), Route)


def test_a_held_user_waits_and_is_refused_when_it_lasts_too_long_and_counts_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    house.commons.hold("alice")
    verdict = house.check(*house.come())
    assert reason(verdict) == "held" and isinstance(verdict, Refusal) and verdict.code == "UNAVAILABLE"
    assert not house.counts.users and not house.commons.counts.users
    assert isinstance(house.check(*house.come(), user="bob"), Route)
    house.commons.release("alice")
    assert isinstance(house.check(*house.come()), Route)


def test_a_hundred_guessing_addresses_get_little_and_a_good_user_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    guesses = [0] * 100
    free = [house.now] * 100
    ends = house.now + 1800
    while (first := min(free)) < ends:  # half an hour; each address guesses as soon as it has been answered
        house.now = first
        number = free.index(first)
        house.guess(f"guess {guesses[number]} of {number}", f"198.51.100.{number}")
        guesses[number] += 1
        free[number] = house.now + 0.1
    assert max(guesses) < 1800 / 15 + 10
    ticket, view = house.come("203.0.113.5")
    house.slept.clear()
    assert isinstance(house.check(ticket, view), Route) and house.slept == []
    assert len(house.commons.penalties) == 100 and house.counts.users == {"alice": 1}
