"""A soak can fail: what it makes of curves that are made up. Nothing is started, and no time is measured."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from tests.bench.soak_looks import Held, Sample, growths, verdict

Curve = Callable[[int], float]
NAMES = ("supervisor", "nursery", "worker1", "worker2")


def flat(number: int) -> float:
    return 50.0


def noisy(number: int) -> float:
    return 50.0 + random.Random(number).uniform(-0.5, 0.5)


def settling(number: int) -> float:
    """What an allocator does that keeps what it needed once."""
    return 50.0 - 10 * math.exp(-number / 3)


def leaking(number: int) -> float:
    return noisy(number) + 0.3 * number


def samples(
    worker: Curve = flat, *, descriptors: Curve = lambda _: 26, threads: Curve = lambda _: 2, count: int = 20, pid: Curve = lambda _: 7
) -> list[Sample]:
    """Of a run in which one worker is not like the others."""
    return [
        Sample(
            30.0 * number,
            200 * number,
            2.0 * number,
            tuple(
                Held(int(pid(number)), name, worker(number), 9.0, 30.0, int(descriptors(number)), int(threads(number)))
                if name == "worker2"
                else Held(place, name, noisy(number + 100 * place), 9.0, 30.0, 26, 1)
                for place, name in enumerate(NAMES)
            ),
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.parametrize("curve", [flat, noisy, settling])
def test_memory_that_stays_or_comes_to_rest_is_well(curve: Curve) -> None:
    assert verdict(samples(curve)) == []


def test_memory_that_rises_in_one_process_is_not_well_though_the_others_stay() -> None:
    (wrong,) = verdict(samples(leaking))
    assert wrong.startswith("memory has grown: worker2: +")


def test_a_leak_is_told_for_each_visit() -> None:
    worker = growths(samples(lambda number: 50 + 0.2 * number))[3]
    assert round(worker.per_visit, 3) == round(0.2 * 1024 / 200, 3)


def test_one_sample_that_is_off_is_no_growth() -> None:
    assert verdict(samples(lambda number: 90.0 if number == 20 else 50.0)) == []


def test_a_step_that_stays_is_growth() -> None:
    assert verdict(samples(lambda number: 50.0 if number < 14 else 60.0)) != []


def test_a_descriptor_left_open_in_each_interval_is_said() -> None:
    assert verdict(samples(descriptors=lambda number: 26 + number)) == ["descriptors of the worker2 have grown from 32 to 46"]


def test_what_is_opened_at_first_use_is_not_left_open() -> None:
    assert verdict(samples(descriptors=lambda number: 26 if number < 3 else 30, threads=lambda number: 1 if number < 3 else 2)) == []


def test_threads_that_stay_are_said() -> None:
    assert verdict(samples(threads=lambda number: 2 + number // 10)) == ["threads of the worker2 have grown from 2 to 4"]


def test_a_process_that_was_replaced_is_said() -> None:
    assert verdict(samples(pid=lambda number: 7 if number < 15 else 8)) == ["the processes are not those of the beginning"]


def test_a_run_of_few_samples_is_no_run() -> None:
    assert verdict(samples(count=5)) == ["5 samples are too few"]


def test_a_sample_is_written_and_read_again() -> None:
    for sample in samples(noisy):
        assert Sample.read(sample.json()) == sample
