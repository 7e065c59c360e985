"""What every annotator must keep, whatever it annotates.

Rule of this file: it is asked about messages as the proxy would ask it, in two sessions of one user, which differ in all that is a
session's own; a block must not depend on that, for it is made once and shown for ever. It knows nothing of what the annotator is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from time import perf_counter, thread_time
from typing import Any, Final

from portico.errors import PeerError
from portico.session.annotations.block import MOST_TEXT, encode
from portico.session.annotations.judge import MOST_OF_A_PART, Judge
from portico.session.annotations.locate import Locator
from portico.session.annotations.outline import Insertion, Outline, outline_of_message
from portico.session.annotations.splice import Splice
from portico.session.ask import raised
from portico.session.context import SessionView
from portico.session.decisions import Decision, Record
from portico.session.interests import BoundAnnotator
from portico.testing.samples import MESSAGES
from portico.wire.bodystructure import Part, decoded
from portico.wire.mime import scan

MOST_SECONDS: Final = 1.0
"""Of computing, for one call. Every session of the worker waits for it."""
MOST_WAITING: Final = 5.0
"""Seconds that one call may take by the clock, on whatever machine: whoever asks a server does not get by."""
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
    for check in checks:
        check.words()
    judge = Judge(checks[0].view, [bound for _, bound in annotators[:1]])
    for what, message in (MESSAGES | dict(messages)).items():
        if not judge.may_be_in(message):
            continue  # of no type that it wants to be asked about
        try:
            outline = outline_for(checks[0].view, message)
        except PeerError as error:
            raise AssertionError(f"{where}: {what} is no message that Portico reads: {error.text}") from error
        said = [check.about(what, outline, message) for check in checks]
        assert all(each == said[0] for each in said), (
            f"{where}: of {what} it says {said[0]!r} in one session and {said[-1]!r} in another of the same user: "
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
    wrong = "; ".join(f"{each.fields['hook']}: {each.fields['error']}" for each in out if isinstance(each, Record))
    assert not wrong, wrong
    if made is None:
        return message
    locator = Locator(made)
    locator.feed(message)
    located = locator.finish()
    if located is None or (located.blank and view.protocol == "pop3"):
        return message  # as on the wire: what cannot be found stays as it is, and what carries a block already
    splice = Splice(0, len(message), made.at(located).inserts(""))
    return splice.feed(message) + splice.finish()


def outline_for(view: SessionView, message: bytes) -> Outline:
    """What the annotator is told of a message in the inbox."""
    scanner = scan(message)
    outline = outline_of_message("uidl-1" if view.protocol == "pop3" else "", len(message), scanner)
    return outline if view.protocol == "pop3" else replace(outline, uid=7, uid_validity=1)


class _Check:
    """One annotator in one session."""

    def __init__(self, where: str, view: SessionView, bound: BoundAnnotator) -> None:
        self.where = where
        self.view = view
        self.annotator = bound.annotator

    def words(self) -> None:
        """What it says of itself."""
        types = self.annotator.types
        good = not isinstance(types, str) and all("/" in kind and kind == kind.lower() for kind in types)
        assert good, f"{self.where}: types {types!r}: content types in lower case are expected, as ('text/calendar',)"
        if hasattr(self.annotator, "serves"):
            said = self._call("serves", "")
            assert isinstance(said, bool), f"{self.where}: serves returned {said!r}, no bool"

    def about(self, what: str, outline: Outline, message: bytes) -> tuple[Any, Any]:
        """What it says of a message: the parts wanted, and the insertions. Asked twice."""
        wanted = self._twice("wants", what, outline)
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
        said = self._twice("insertions", what, outline, parts)
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

    # -- one call

    def _twice(self, method: str, what: str, outline: Outline, *about: Any) -> Any:
        before, parts = deepcopy(outline.structure), deepcopy(about)
        first = self._call(method, what, outline, *about)
        again = self._call(method, what, outline, *about)
        assert outline.structure == before and about == parts, f"{self.where}: {method} changes what it is told of {what}"
        assert first == again, f"{self.where}: {method} answers twice about {what}, and differently: {first!r}, then {again!r}"
        return first

    def _call(self, method: str, what: str, *about: Any) -> Any:
        function: Callable[..., Any] = getattr(self.annotator, method)
        of = f" of {what}" if what else ""
        computed, began = thread_time(), perf_counter()
        try:
            said = function(self.view, *about)
        except Exception as error:
            raise AssertionError(f"{self.where}: {method}{of}: {raised(error)}") from error
        computed, waited = thread_time() - computed, perf_counter() - began
        assert computed <= MOST_SECONDS, f"{self.where}: {method}{of} computes for {computed:.1f} s; all sessions wait meanwhile"
        assert waited <= MOST_WAITING, f"{self.where}: {method}{of} takes {waited:.1f} s; it must not wait for anything"
        return said


def _read(numbers: Mapping[str, Part], wanted: Sequence[str], message: bytes) -> dict[str, bytes]:
    scanner = scan(message)
    scanner.finish()
    places = scanner.places
    return {number: decoded(message[places[number].body : places[number].end], numbers[number].encoding) for number in wanted}
