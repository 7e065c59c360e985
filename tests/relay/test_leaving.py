"""How all sessions are told to end: at once or one after the other, and who is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from portico.relay.table import Sessions

AGES = 3600.0


class Guest:
    """A session that leaves when it is told to, or stays until it is ended."""

    def __init__(self, sessions: Sessions, name: str, *, stays: bool = False) -> None:
        self.view: Any = self
        self.id = name
        self.said: list[str] = []
        self.told = asyncio.Event()
        self._sessions = sessions
        self._stays = stays
        sessions.put(self)  # type: ignore[arg-type]

    def kick(self, text: str, *, shutdown: bool = False, patient: bool = False) -> None:
        self.said.append(text)
        self.told.set()
        if patient and not self._stays:
            self._sessions.remove(self.id)

    def abort(self) -> None:
        self._sessions.remove(self.id)


def test_all_are_told_at_once_and_nobody_is_waited_for_who_has_left() -> None:
    sessions = Sessions()
    guests = [Guest(sessions, name) for name in "abc"]
    assert asyncio.run(sessions.stop("Bye.", AGES)) == 0
    assert [guest.said for guest in guests] == [["Bye."]] * 3 and len(sessions) == 0


@pytest.mark.parametrize("spread", [0.0, AGES])
def test_a_stop_is_over_when_the_last_has_left_whoever_was_to_be_told_later(spread: float) -> None:
    async def run() -> None:
        sessions = Sessions()
        guests = [Guest(sessions, name, stays=True) for name in "abc"]
        stopping = asyncio.create_task(sessions.stop("Bye.", AGES, spread))
        await guests[0].told.wait()
        assert sessions.end("At once.") == 3  # a second signal
        assert await asyncio.wait_for(stopping, 60) == 0
        assert [guest.said[-1] for guest in guests] == ["At once."] * 3

    asyncio.run(run())


def test_who_stays_too_long_is_ended_and_counted() -> None:
    sessions = Sessions()
    Guest(sessions, "leaves")
    stays = Guest(sessions, "stays", stays=True)
    assert asyncio.run(sessions.stop("Bye.", 0.01)) == 1
    assert stays.said == ["Bye.", "Bye."] and len(sessions) == 0
