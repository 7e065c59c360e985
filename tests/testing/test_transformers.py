"""check_plugin lets a good transformer pass and says of a bad one what is bad."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from portico.plugin import Interests, Outline, Session, hookimpl
from portico.testing import check_plugin, transformed

MESSAGE = b"From: bob@example.org\r\nSubject: Hello\r\n\r\nHello!\r\n"


def always(session: Session, outline: Outline) -> Any:
    return True


def signed(session: Session, outline: Outline, message: bytes) -> Any:
    return message + b"Seen by %b.\r\n" % session.user.encode() if message.endswith(b"\n") else None


def transforms(
    transform: Callable[[Session, Outline, bytes], Any] = signed,
    wants: Callable[[Session, Outline], Any] = always,
    types: Sequence[str] = ("text/plain",),
) -> type[Any]:
    """A plugin with such a transformer."""

    class Transforms:
        portico_interests = ("transforms",)

        @hookimpl
        def session_opened(self, session: Session) -> Interests:
            return Interests(transformer=Judgement())

    class Judgement:
        def __init__(self) -> None:
            self.types = types

        def wants(self, session: Session, outline: Outline) -> Any:
            return wants(session, outline)

        def transform(self, session: Session, outline: Outline, message: bytes) -> Any:
            return transform(session, outline, message)

    return Transforms


def test_a_good_transformer_passes_and_what_it_makes_can_be_looked_at() -> None:
    check_plugin(transforms(), messages=[MESSAGE])
    assert transformed(transforms(), MESSAGE) == MESSAGE + b"Seen by alice.\r\n"
    assert transformed(transforms(types=("text/html",)), MESSAGE) == MESSAGE
    assert transformed(transforms(wants=lambda session, outline: False), MESSAGE, protocol="pop3") == MESSAGE


def test_a_plugin_without_one_shows_the_message() -> None:
    class Nothing:
        @hookimpl
        def session_opened(self) -> None:
            return None

    assert transformed(Nothing(), MESSAGE) == MESSAGE


numbers = count()


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (transforms(lambda session, outline, message: message[:-1]), "becomes is no message"),
        (transforms(lambda session, outline, message: "text"), "transform returned str"),
        (transforms(lambda session, outline, message: message + b"x" * (1 << 20) + b"\r\n"), "octets; 1048576 are allowed"),
        (transforms(lambda session, outline, message: 1 // 0), "ZeroDivisionError raised"),
        (transforms(lambda session, outline, message: message + b"%d\r\n" % next(numbers)), "answers twice"),
        (transforms(lambda session, outline, message: message + session.id.encode() + b"\r\n"), "another message in another session"),
        (transforms(wants=lambda session, outline: "yes"), "wants returned 'yes'"),
        (transforms(types="text/plain"), "content types in lower case are expected"),
        (transforms(types=("Text/Plain",)), "content types in lower case are expected"),
    ],
)
def test_of_a_bad_one_it_is_said_what_is_bad(plugin: type[Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_plugin(plugin, messages=[MESSAGE])


def test_one_that_keeps_all_sessions_waiting_is_no_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(session: Session, outline: Outline, message: bytes) -> bytes | None:
        time.sleep(0.05)
        return None

    monkeypatch.setattr("portico.testing.asked.MOST_WAITING", 0.01)
    with pytest.raises(AssertionError, match="it must not wait for anything"):
        check_plugin(transforms(waits))


def test_what_is_no_message_can_not_be_looked_at() -> None:
    with pytest.raises(AssertionError, match="no line end behind the last line"):
        transformed(transforms(lambda session, outline, message: message[:-2]), MESSAGE)
