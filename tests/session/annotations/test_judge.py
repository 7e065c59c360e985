"""What plugins say of a message becomes its annotation, and their faults stay their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from portico.session.annotations.judge import MOST_OF_A_PART, Judge
from portico.session.annotations.outline import Insertion, Outline, outline_of
from portico.session.context import Peer, SessionView
from portico.session.decisions import Decision, Record
from portico.session.interests import BoundAnnotator

HELLO = (Insertion("1", "hello\n"),)
VIEW = SessionView("sid", "imap", "here", Peer("192.0.2.1", 1, "192.0.2.2", 2))
TEXT = b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 20 1)'
BIG = b'("text" "calendar" NIL NIL NIL "base64" %d 1)' % (2 * MOST_OF_A_PART)
CALENDAR = b'("text" "calendar" NIL NIL NIL "7bit" 30 1)'
MIXED = b"(%b%b" % (TEXT, CALENDAR) + b' "mixed")'
SIGNED = b"((%b%b" % (TEXT, CALENDAR) + b' "mixed")("application" "pgp-signature" NIL NIL NIL "7bit" 9) "signed")'


class Says:
    """An annotator with prepared answers."""

    def __init__(self, wants: Any = (), insertions: Any = HELLO, types: Sequence[str] = ()) -> None:
        self.types = types
        self._wants, self._insertions = wants, insertions
        self.parts: list[Mapping[str, bytes]] = []

    def wants(self, session: SessionView, outline: Outline) -> Any:
        if isinstance(self._wants, Exception):
            raise self._wants
        return self._wants

    def insertions(self, session: SessionView, outline: Outline, parts: Mapping[str, bytes]) -> Any:
        self.parts.append(parts)
        if isinstance(self._insertions, Exception):
            raise self._insertions
        return self._insertions


def judged(*plugins: Says, structure: bytes = MIXED, parts: Mapping[str, bytes] | None = None) -> tuple[Any, list[str]]:
    judge = Judge(VIEW, [BoundAnnotator(f"p{index}", plugin) for index, plugin in enumerate(plugins, 1)])
    out: list[Decision] = []
    wishes = judge.wishes(outline_of("INBOX", 7, 1, 100, structure, None), out)
    made = judge.annotation(wishes, parts or {}, 100, out) if wishes is not None else None
    told = [f"{each.fields['plugin']} {each.fields['hook']}: {each.fields['error']}" for each in out if isinstance(each, Record)]
    return made, told


def test_several_plugins_go_in_one_after_the_other() -> None:
    made, told = judged(Says(insertions=[Insertion("1", "first\n")]), Says(insertions=(Insertion("1", "second\n"),)))
    (piece,) = made.pieces
    assert piece.octets.index(b"first") < piece.octets.index(b"second")
    assert piece.octets.count(b"\n") == piece.lines
    assert told == []


def test_a_part_that_is_wanted_is_given_and_one_that_was_not_read_is_missed() -> None:
    says = Says(wants=["2"])
    assert judged(says, parts={"2": b"BEGIN"})[0] is not None
    assert says.parts == [{"2": b"BEGIN"}]
    assert judged(Says(wants=["2"]))[0] is None


def test_a_part_that_is_too_large_is_not_read() -> None:
    says = Says(wants=["2"])
    assert judged(says, structure=b"(%b%b" % (TEXT, BIG) + b' "mixed")')[0] is None
    assert judged(Says(wants=["2"]), parts={"2": bytes(MOST_OF_A_PART + 1)})[0] is None
    assert says.parts == []


def test_what_is_signed_is_never_touched() -> None:
    assert judged(Says(insertions=[Insertion("1.1", "hello\n")]), structure=SIGNED)[0] is None


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        (Says(wants=RuntimeError("secret")), "p1 annotator wants: RuntimeError raised"),
        (Says(wants="1"), "p1 annotator wants: parts that the message does not have"),
        (Says(wants=["9"]), "p1 annotator wants: parts that the message does not have"),
        (Says(insertions=RuntimeError("secret")), "p1 annotator insertions: RuntimeError raised"),
        (Says(insertions="text"), "p1 annotator insertions: str returned"),
        (Says(insertions=["text"]), "p1 annotator insertions: str returned, or without a text"),
        (Says(insertions=[Insertion("1", 5)]), "p1 annotator insertions: Insertion returned, or without a text"),  # type: ignore[arg-type]
    ],
)
def test_a_fault_is_told_and_the_others_are_heard(says: Says, fault: str) -> None:
    made, told = judged(says, Says(insertions=[Insertion("1", "the other\n")]))
    assert [each.split(" in ")[0] for each in told] == [fault]
    assert "secret" not in repr(told)
    assert b"the other" in made.pieces[0].octets


def test_a_quick_look_at_the_structure_spares_the_rest() -> None:
    judge = Judge(VIEW, [BoundAnnotator("p", Says(types=("text/calendar",)))])
    assert judge.may_be(MIXED)
    assert judge.may_be(MIXED.replace(b"calendar", b"CALENDAR"))
    assert not judge.may_be(TEXT)
    assert judge.may_be_in(b"Content-Type: multipart/mixed\r\n\r\n--b\r\nContent-Type: text/Calendar")
    assert Judge(VIEW, [BoundAnnotator("p", Says())]).may_be(TEXT)
