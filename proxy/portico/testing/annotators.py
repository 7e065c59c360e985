"""What every annotator must keep, whatever it annotates.

Rule of this file: it is asked about messages as the proxy would ask it (testing.asked). Nothing here knows what the annotator is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from portico.session.annotations.block import MOST_TEXT, encode
from portico.session.annotations.judge import MOST_OF_A_PART, Judge
from portico.session.annotations.locate import Locator
from portico.session.annotations.outline import Insertion, Outline
from portico.session.annotations.splice import Splice
from portico.session.context import SessionView
from portico.session.decisions import Decision
from portico.session.interests import BoundAnnotator
from portico.testing.asked import Asked, check_messages, nothing_wrong, outline_for
from portico.wire.bodystructure import Part, decoded
from portico.wire.mime import scan

TEXTS: Final = ("text/plain", "text/html")
ODD: Final[Mapping[str, bytes]] = {
    "an empty part": b"",
    "octets that are no text": bytes(range(256)) * 4,
    "a long line": b"x" * MOST_OF_A_PART,
    "very many lines": b"BEGIN:X\r\n" * (MOST_OF_A_PART // 9),
}
"""What a part may hold, whatever its type says."""


def check_annotator(where: str, annotators: Sequence[tuple[SessionView, BoundAnnotator]], messages: Mapping[str, bytes]) -> None:
    """`annotators`: the same one as it was made in several sessions of one user. `messages`: by what they are, beside our own.

    Raises AssertionError in words.
    """
    checks = [_Check(where, view, bound) for view, bound in annotators]
    judge = Judge(checks[0].view, [bound for _, bound in annotators[:1]])  # others are of no type that it wants to be asked about
    check_messages(checks, messages, _differs, judge.may_be_in)


def _differs(what: str, one: object, other: object) -> str:
    return (
        f"of {what} it says {one!r} in one session and {other!r} in another of the same user: "
        "a block is made once and shown in all of them, so it may depend on nothing of a session but user, listener and server"
    )


def shown(view: SessionView, annotators: Sequence[BoundAnnotator], message: bytes) -> bytes:
    """The message as a client gets it. Raises AssertionError where an annotator does something wrong."""
    out: list[Decision] = []
    judge = Judge(view, annotators)
    outline = outline_for(view, message)
    wishes = judge.wishes(outline, out) if judge.settled(out) and judge.may_be_in(message) else None
    made = None
    if wishes is not None:
        read = _read({part.number: part for part in outline.structure.walk()}, wishes.parts, message)
        made = judge.annotation(wishes, read, outline.size, out)
    nothing_wrong(out)
    if made is None:
        return message
    locator = Locator(made)
    locator.feed(message)
    located = locator.finish()
    if located is None or (located.blank and view.protocol == "pop3"):
        return message  # as on the wire: what cannot be found stays as it is, and what carries a block already
    splice = Splice(0, len(message), made.at(located).inserts(""))
    return splice.feed(message) + splice.finish()


class _Check(Asked):
    """One annotator in one session."""

    def __init__(self, where: str, view: SessionView, bound: BoundAnnotator) -> None:
        super().__init__(where, view, bound.annotator, "text/calendar")

    def words(self) -> None:
        super().words()
        if hasattr(self.asked, "serves"):
            said = self.call("serves", "")
            assert isinstance(said, bool), f"{self.where}: serves returned {said!r}, no bool"

    def about(self, what: str, outline: Outline, message: bytes) -> tuple[Any, Any]:
        """What it says of a message: the parts wanted, and the insertions. Asked twice."""
        wanted = self.twice("wants", what, outline)
        if wanted is None:
            return None, None
        numbers = {part.number: part for part in outline.structure.walk()}
        good = not isinstance(wanted, str) and isinstance(wanted, Sequence)
        assert good, f"{self.where}: wants returned {wanted!r} for {what}: a sequence of part numbers is expected, or None"
        for number in wanted:
            assert number in numbers, f"{self.where}: wants named part {number!r}, which {what} does not have ({', '.join(numbers)})"
            assert not numbers[number].parts, (
                f"{self.where}: wants named part {number!r} of {what}, which is a multipart and cannot be read"
            )
        read = _read(numbers, wanted, message)
        said = self._insertions(what, outline, read)
        for odd, octets in ODD.items() if wanted else ():
            self._insertions(f"{what} with {odd}", outline, dict.fromkeys(wanted, octets))
        return tuple(wanted), said

    def _insertions(self, what: str, outline: Outline, parts: Mapping[str, bytes]) -> tuple[Insertion, ...]:
        said = self.twice("insertions", what, outline, parts)
        assert isinstance(said, list | tuple), f"{self.where}: insertions returned {said!r} for {what}: a list is expected"
        numbers = {part.number: part for part in outline.structure.walk()}
        for each in said:
            good = isinstance(each, Insertion) and isinstance(each.text, str)
            assert good, f"{self.where}: insertions returned {each!r} for {what}: an Insertion(part, text) with a text is expected"
            part = numbers.get(each.part)
            assert part is not None, (
                f"{self.where}: an insertion is for part {each.part!r}, which {what} does not have ({', '.join(numbers)})"
            )
            assert part.type in TEXTS, f"{self.where}: an insertion is for part {each.part!r} of {what}, which is {part.type}, no text"
            self._can_be_sent(what, each.text, part)
        named = [each.part for each in said]
        assert len(set(named)) == len(named), f"{self.where}: {what} has several insertions for one part; only one is expected"
        return tuple(said)

    def _can_be_sent(self, what: str, text: str, part: Part) -> None:
        """In a part that can carry anything, something is carried. Whether this one can is not for the plugin to know."""
        assert text.strip(), f"{self.where}: an insertion for part {part.number!r} of {what} is empty"
        assert len(text) <= MOST_TEXT, f"{self.where}: an insertion for part {part.number!r} of {what} has more than {MOST_TEXT} characters"
        ready = replace(part, parameters={"charset": "utf-8"}, encoding="8bit", octets=1, md5="", disposition="")
        carried = encode(ready, text) is not None
        assert carried, f"{self.where}: an insertion for part {part.number!r} of {what} cannot be sent: a word has more than 998 octets"


def _read(numbers: Mapping[str, Part], wanted: Sequence[str], message: bytes) -> dict[str, bytes]:
    scanner = scan(message)
    scanner.finish()
    places = scanner.places
    return {number: decoded(message[places[number].body : places[number].end], numbers[number].encoding) for number in wanted}
