"""check_plugin lets a good sizer pass and says of a bad one what is bad."""

from __future__ import annotations

from typing import Any

import pytest
from portico.plugin import Interests, Session, Sketch, hookimpl
from portico.testing import check_plugin, sizers


class Sizer:
    """A good one, but for what is put in its place."""

    sample: Any = 3

    def __init__(self, **instead: Any) -> None:
        for name, value in instead.items():
            setattr(self, name, value)

    def serves(self, session: Session) -> Any:
        return True

    def learn(self, session: Session, sketch: Sketch, size: int) -> Any:
        return None

    def estimate(self, session: Session, sketch: Sketch) -> Any:
        return 4000 + len(sketch.items.get("ENVELOPE", b""))


def sizes(**instead: Any) -> type[Any]:
    """A plugin with such a sizer."""

    class Sizes:
        portico_interests = ("sizes",)

        @hookimpl
        def session_opened(self, session: Session) -> Interests:
            return Interests(sizer=Sizer(**instead))

    return Sizes


def raises(*_: Any) -> Any:
    raise ValueError("what now")


def test_a_good_sizer_passes() -> None:
    check_plugin(sizes())


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        ({"sample": -1}, "its sample is a number of messages"),
        ({"sample": "many"}, "its sample is a number of messages"),
        ({"serves": lambda session: None}, "serves says yes or no"),
        ({"serves": raises}, "serves raises: ValueError"),
        ({"learn": raises}, "learn raises: ValueError"),
        ({"learn": lambda session, sketch, size: size}, "learn says nothing"),
        ({"estimate": raises}, "a message of which nothing is known: estimate raises: ValueError"),
        ({"estimate": lambda session, sketch: 0}, "1 octet or more"),
        ({"estimate": lambda session, sketch: 1 << 41}, "no more than"),
        ({"estimate": lambda session, sketch: 4000.5}, "a number of octets, and not 4000.5"),
        ({"estimate": lambda session, sketch: None}, "a number of octets, and not None"),
        ({"estimate": lambda session, sketch: int(sketch.items["FLAGS"] == b"") or 1}, "estimate raises: KeyError"),
        ({"estimate": lambda session, sketch: sketch.items.update(X=b"") or 1}, "estimate raises: AttributeError"),
    ],
)
def test_of_a_bad_one_it_is_said_what_is_bad(instead: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_plugin(sizes(**instead))


def test_a_slow_one_keeps_everybody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(sizers, "thread_time", lambda: next(clock) * 0.002)
    with pytest.raises(AssertionError, match=r"estimate takes 2\.0 ms for a message"):
        check_plugin(sizes())
