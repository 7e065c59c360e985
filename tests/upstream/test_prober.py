from __future__ import annotations

import asyncio
from typing import Any

from portico.session.context import ServerFacts, Target
from portico.upstream.probe import ProbeFailed
from portico.upstream.prober import FIRST_RETRY, LAST_RETRY, REFRESH, Prober
from portico.upstream.records import Records

MAIN = Target("main", "mail.example.org:143", "none", "main:imap")
FACTS = ServerFacts((b"IMAP4rev1", b"AUTH=PLAIN"), (), ("PLAIN",))


class Run:
    """A prober whose server answers from a list; the clock is the list of waits."""

    def __init__(self, answers: list[ServerFacts | Exception]) -> None:
        self.answers = answers
        self.waits: list[float] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.records = Records()
        self.record = self.records.of(MAIN, "imap")
        asyncio.run(self.all())

    async def ask(self) -> ServerFacts:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        if not self.answers:
            await asyncio.Event().wait()

    async def all(self) -> None:
        prober = Prober(self.records, lambda event, fields: self.events.append((event, fields)), self.sleep)
        prober.add(self.record, self.ask)
        await prober.start([self.record])
        for _ in range(50):
            await asyncio.sleep(0)
        await prober.stop()


def test_a_server_is_asked_once_and_then_seldom() -> None:
    run = Run([FACTS, FACTS])
    assert run.waits == [REFRESH, REFRESH]
    assert [event for event, _ in run.events] == ["server.probed"]  # nothing new is not said again
    assert run.record.facts == FACTS and run.events[0][1]["capabilities"] == ["IMAP4rev1", "AUTH=PLAIN"]


def test_nothing_new_is_not_said_again_after_a_reload_either() -> None:
    run = Run([FACTS, FACTS])
    run.answers = [FACTS]
    asyncio.run(run.all())
    assert [event for event, _ in run.events] == ["server.probed"]
    run.answers = [ServerFacts((b"IMAP4rev1", b"IMAP4rev2"), (), ("PLAIN",))]
    asyncio.run(run.all())
    assert [fields["capabilities"][-1] for _, fields in run.events] == ["AUTH=PLAIN", "IMAP4rev2"]


def test_a_failure_is_only_logged_and_tried_again_ever_more_slowly() -> None:
    failures: list[ServerFacts | Exception] = [ProbeFailed("refused") for _ in range(8)]
    run = Run([*failures, RuntimeError("x"), FACTS])
    assert run.waits[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert run.waits[-2:] == [LAST_RETRY, REFRESH]
    assert [fields["reason"] for _, fields in run.events[:-1]] == ["refused"] * 8 + ["bug"]
    assert run.record.facts == FACTS


def test_a_server_whose_breaker_opens_is_asked_soon_and_its_answer_closes_it() -> None:
    async def run() -> None:
        records = Records()
        record = records.of(MAIN, "imap")
        waits: list[float] = []
        soon = asyncio.Event()
        asked: list[str] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            await (soon if seconds == FIRST_RETRY else asyncio.Event()).wait()

        async def ask() -> ServerFacts:
            asked.append(record.breaker.state)
            return FACTS

        prober = Prober(records, lambda event, fields: None, sleep, 77.0)
        prober.add(record, ask)
        await prober.start([record])
        for _ in range(5):
            await asyncio.sleep(0)
            records.dialled(record, "refused", 0.1)
        assert record.breaker.state == "open"
        soon.set()
        for _ in range(50):
            await asyncio.sleep(0)
        assert asked == ["closed", "open"] and record.breaker.state == "closed"
        assert waits == [77.0, FIRST_RETRY, 77.0]
        await prober.stop()
        assert records.watchers == []

    asyncio.run(run())


def test_what_a_probe_finds_out_is_told_to_the_breaker() -> None:
    run = Run([ProbeFailed("timeout") for _ in range(5)])
    assert run.record.breaker.state == "open" and run.record.last_error == "timeout"
    assert Run([FACTS]).record.breaker.state == "closed"
