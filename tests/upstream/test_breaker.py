"""The breaker: when a server is left alone, and how it comes back."""

from __future__ import annotations

from portico.config.sections.upstream import Health
from portico.upstream.breaker import Breaker


def breaker(**more: float) -> tuple[Breaker, list[str]]:
    states: list[str] = []
    health = Health.model_validate({"failures": 3, "rest": 5.0, "rest_max": 12.0, "trial": 20.0, **more})
    return Breaker(health, states.append), states


def test_so_many_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    it, states = breaker()
    it.failed(0)
    it.failed(0)
    it.succeeded()
    it.failed(0)
    it.failed(0)
    assert it.may(0) and states == []
    it.failed(0)
    assert states == ["open"] and not it.may(4.9)


def test_failures_that_are_far_from_each_other_are_no_row() -> None:
    it, states = breaker()
    for number in range(9):
        it.failed(number * 12.5)
    assert states == [] and it.failures == 1


def test_after_the_rest_one_is_let_through_and_its_success_closes_it() -> None:
    it, states = breaker()
    for _ in range(3):
        it.failed(0)
    assert it.may(5)
    it.begin(5)
    assert states[-1] == "half_open" and not it.may(6)  # one at a time
    it.succeeded()
    assert states == ["open", "half_open", "closed"] and it.may(6)


def test_each_failed_trial_doubles_the_rest_up_to_its_limit() -> None:
    it, _ = breaker()
    now, rests = 0.0, []
    for _ in range(3):
        it.failed(now)
    for _ in range(3):
        rests.append(it.opens_in(now))
        now += rests[-1]
        it.begin(now)
        it.failed(now)
    assert [*rests, it.opens_in(now)] == [5, 10, 12, 12]


def test_a_trial_of_which_nothing_comes_is_given_up() -> None:
    it, _ = breaker()
    for _ in range(3):
        it.failed(0)
    it.begin(5)
    assert not it.may(24.9) and it.may(25)


def test_failures_of_logins_that_were_under_way_do_not_make_an_open_one_rest_longer() -> None:
    it, states = breaker()
    for _ in range(9):
        it.failed(0)
    assert states == ["open"] and it.may(5)


def test_without_a_number_it_never_opens() -> None:
    it, states = breaker(failures=0)
    for _ in range(100):
        it.failed(0)
    assert it.may(0) and states == []
