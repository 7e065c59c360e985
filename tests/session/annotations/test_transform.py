"""Who is asked what becomes of a message, in which order, and whose word counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from portico.session.annotations.outline import Outline, outline_of_message
from portico.session.annotations.transform import Transforms, made_of
from portico.session.context import Peer, SessionView
from portico.session.decisions import Decision, Record
from portico.session.interests import BoundTransformer
from portico.wire.mime import scan

MESSAGE = b"From: bob@example.org\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n<p>\r\n"
OTHER = b"Subject: y\r\n\r\ntext\r\n"
VIEW = SessionView("sid", "imap", "l", Peer("192.0.2.1", 1, "192.0.2.2", 993))


class Says:
    """A transformer that says what it is told to."""

    def __init__(self, wants: Any = True, transform: Any = OTHER, types: Sequence[str] = ()) -> None:
        self.types = types
        self._wants = wants
        self._transform = transform
        self.calls: list[str] = []

    def wants(self, session: Any, outline: Outline) -> Any:
        self.calls.append("wants")
        return self._wants

    def transform(self, session: Any, outline: Outline, message: bytes) -> Any:
        self.calls.append("transform")
        if isinstance(self._transform, BaseException):
            raise self._transform
        return self._transform


def played(*asked: Says, most: int = 1000) -> tuple[bytes | None, list[str]]:
    """What is shown in place of MESSAGE, and what was recorded."""
    out: list[Decision] = []
    transforms = Transforms(VIEW, [BoundTransformer(f"p{number}", each) for number, each in enumerate(asked)], most)
    outline = outline_of_message("", len(MESSAGE), scan(MESSAGE))
    made = transforms.made(transforms.wanted(outline, out), outline, MESSAGE, out)
    return (
        None if made is None else made.message,
        [f"{each.fields['plugin']} {each.fields['hook']}: {each.fields['error']}" for each in out if isinstance(each, Record)],
    )


def test_the_first_that_answers_has_said_it_and_the_others_are_not_asked() -> None:
    second = Says(transform=OTHER + b"second\r\n")
    assert played(Says(), second) == (OTHER, [])
    assert second.calls == ["wants"]


@pytest.mark.parametrize("first", [Says(transform=None), Says(transform=MESSAGE), Says(wants=False), Says(types=("text/plain",))])
def test_one_that_has_nothing_to_say_leaves_it_to_the_next(first: Says) -> None:
    assert played(first, Says()) == (OTHER, [])


def test_one_of_other_types_is_not_asked_at_all() -> None:
    asked = Says(types=("text/plain", "text/calendar"))
    assert played(asked) == (None, [])
    assert asked.calls == []


@pytest.mark.parametrize(
    ("first", "fault"),
    [
        (Says(wants="yes"), "transformer wants: str returned"),
        (Says(transform="text"), "transformer transform: str returned"),
        (Says(transform=OTHER * 100), "transformer transform: 1800 octets returned, 1000 are allowed"),
        (Says(transform=b"\r\n"), "transformer transform: what is returned is no message: no header, or no empty line behind it"),
        (Says(transform=bytearray(OTHER)), "transformer transform: bytearray returned"),
    ],
)
def test_one_that_says_what_it_may_not_is_blamed_and_the_next_is_asked(first: Says, fault: str) -> None:
    shown, faults = played(first, Says())
    assert shown == OTHER
    assert [each.replace(str(len(OTHER * 100)), "1800") for each in faults] == [f"p0 {fault}"]


def test_one_that_raises_is_blamed_without_its_words() -> None:
    shown, (fault,) = played(Says(transform=ValueError(MESSAGE)))
    assert shown is None
    assert fault.startswith("p0 transformer transform: ValueError raised in test_transform.py:")
    assert "bob" not in fault


@pytest.mark.parametrize(
    ("types", "structure", "likely"),
    [
        ((), b'("text" "plain" NIL)', True),
        (("text/html",), b'(("TEXT" "HTML" NIL)("image" "png" NIL) "related")', True),
        (("text/html",), b'("text" "plain" NIL)', False),
    ],
)
def test_a_structure_is_looked_at_quickly(types: Sequence[str], structure: bytes, likely: bool) -> None:
    assert Transforms(VIEW, [BoundTransformer("p", Says(types=types))], 1).may_be(structure) == likely


def test_where_there_is_no_transformer_nothing_is_likely() -> None:
    none = Transforms(VIEW, [], 1000)
    assert not none
    assert not none.may_be(b'("text" "plain" NIL)')


def test_what_is_made_is_known_by_its_octets() -> None:
    one, same, other = made_of(OTHER, 10), made_of(OTHER, 10), made_of(OTHER + b"x\r\n", 10)
    assert one == same
    assert one.annotation.octets == len(OTHER) - 10
    assert one.annotation.whole != other.annotation.whole
    assert one.told.structure == b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)'
