"""Who takes a new session, by the numbers that all workers see."""

from __future__ import annotations

from portico.relay.spread import Shares


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_with_much_more_than_the_least_loaded_one_is_over() -> None:
    shares = Shares(3, Clock())
    for number, sessions in enumerate((10, 14, 15)):
        shares.of(number).beat(sessions)
    assert [shares.of(number).over(sessions) for number, sessions in enumerate((10, 14, 15))] == [False, False, True]
    assert [shares.sessions(number) for number in range(3)] == [10, 14, 15]


def test_the_more_sessions_there_are_the_less_a_few_matter() -> None:
    shares = Shares(2, Clock())
    shares.of(0).beat(6400)
    assert not shares.of(1).over(6400 + 104)
    assert shares.of(1).over(6400 + 105)


def test_nobody_rests_for_one_that_rests_itself_or_does_not_beat_or_has_left() -> None:
    clock = Clock()
    shares = Shares(2, clock)
    idle, busy = shares.of(0), shares.of(1)
    assert not busy.over(100)  # there is no other yet
    idle.beat(0)
    assert busy.over(100)
    idle.resting = True
    idle.note(0)
    assert not busy.over(100)
    idle.resting = False
    idle.note(0)
    clock.now += 4
    assert not busy.over(100)
    idle.beat(0)
    assert busy.over(100)
    idle.leave()
    assert not busy.over(100)
    assert shares.seen(0) == 0
