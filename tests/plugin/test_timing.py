"""Whatever a plugin's object is asked in a session is timed, under its name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from portico.observe.metrics import Counts
from portico.plugin import Interests
from portico.plugin.timing import SECONDS, timed

ASKED = {"annotator": ("wants", "insertions"), "transformer": ("wants", "transform"), "sizer": ("serves", "learn", "estimate", "confident")}


@pytest.mark.parametrize("kind", sorted(ASKED))
def test_each_question_is_timed_and_answered_as_without_a_clock(kind: str) -> None:
    thing = SimpleNamespace(**{name: (lambda *about, name=name: (name, about)) for name in ASKED[kind]}, sample=3)
    counts = Counts()
    given: Any = getattr(timed(counts, "mine", Interests(**{kind: thing})), kind)
    for name in ASKED[kind]:
        assert getattr(given, name)("session", 7) == (name, ("session", 7))
    assert given.sample == 3
    assert [counts.get(SECONDS, "mine", f"{kind} {name}") for name in ASKED[kind]] == [1] * len(ASKED[kind])
