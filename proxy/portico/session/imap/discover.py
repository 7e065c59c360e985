"""Which messages of the selected mailbox are annotated, found out.

Rule of this file: messages that are new since the watermark of the ledger are looked at, and judged by the plugins, before the client is
told of them; each once. Errands name messages by number, because UID FETCH would let the server announce EXPUNGE, which a client that has
asked by number may not be told (RFC 9051 7.5.1). They never set \\Seen, and never ask for flags: a server that has told them once does
not tell them again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from portico.errors import PeerError
from portico.session.annotations.annotation import NOTHING_IS_NEW, Annotation, Ledger, Located
from portico.session.annotations.judge import Judge
from portico.session.annotations.locate import Locator
from portico.session.annotations.outline import Outline, outline_of
from portico.session.decisions import Decision, Record
from portico.session.imap.errand import STRUCTURE
from portico.session.imap.plan import Errand, Result, Steps
from portico.session.imap.questions import fetched, numbers_in, set_of, size_in, some, structure_in
from portico.session.imap.selected import Selected
from portico.wire.bodystructure import Part, decoded
from portico.wire.imap import unquoted

_BATCH: Final = 200
"""Messages whose structure is asked for in one errand."""
_CHUNK: Final = 64 * 1024
_TRIES: Final = 3
_ROUNDS: Final = 10
"""Looks at what came while we looked; what comes then waits for the next command."""
_FOUND: Final = frozenset(["SEARCH", "ESEARCH"])
"""A server that has enabled IMAP4rev2 answers by ESEARCH."""


class Discovery:
    """`newest`: of a mailbox never seen before, so many messages are looked at; older ones are not annotated."""

    __slots__ = ("_judge", "_ledger", "_newest", "selected")

    def __init__(self, judge: Judge, ledger: Ledger, *, newest: int) -> None:
        self._judge = judge
        self._ledger = ledger
        self._newest = newest
        self.selected: Selected | None = None

    @property
    def _unjudged(self) -> bool:
        state = self.selected
        return state is not None and state.judged < state.exists and state.failures < _TRIES

    def _discover(self, out: Callable[[], list[Decision]]) -> Steps:
        """Judge the messages that have not been judged, and those that come meanwhile."""
        for _ in range(_ROUNDS):
            if self.selected is None or not self._unjudged:
                return
            yield from self._judge_new(self.selected, out)

    def _judge_new(self, state: Selected, out: Callable[[], list[Decision]]) -> Steps:
        first, last, gone = state.judged + 1, state.exists, state.gone
        watermark = state.known.watermark
        if watermark >= NOTHING_IS_NEW:
            if not state.looked and state.uid_next:  # they are shown as they are now: whoever can write that down some day does
                self._ledger.judged(state.mailbox, state.uid_next - 1, {})
            state.judged, state.looked = last, True
            return
        if not state.looked:
            if state.known.annotations:
                yield from self._number(state)
            if watermark:
                result = yield Errand(b"SEARCH UID %d:*" % (watermark + 1), _FOUND)
                found = [number for number in numbers_in(result.responses, b"SEARCH") if number <= last]
                first = min(found, default=last + 1)
                if not result.whole:
                    first = last + 1
                    self._failed(state, out)
            else:
                first = max(1, last - self._newest + 1)
        made: dict[str, Annotation] = {}
        uids: dict[int, int] = {}
        for low in range(first, last + 1, _BATCH):
            if state.failures >= _TRIES:
                break
            yield from self._look(state, low, min(low + _BATCH - 1, last), uids, made, out)
            if made and not state.failures:
                # A client that does not wait for all of a large mailbox finds this much done when it comes again.
                seen = max([watermark, *uids.values()])
                state.learn(self._ledger.judged(state.mailbox, seen, made), seen)
        # Messages whose UID is not told were shown as they are, and stay so as far as that can be known: nobody will judge them later.
        watermark = max([watermark, *uids.values(), state.uid_next - 1 if state.failures else 0])
        state.learn(self._ledger.judged(state.mailbox, watermark, made), watermark)
        state.looked = True
        if state.gone != gone:  # no server should tell EXPUNGE now (RFC 9051 7.5.1); who does has changed the numbers
            last -= state.gone - gone
            yield from self._number(state)
            uids = {}
        else:
            # Whether annotated by us now, or by another session before.
            state.numbers |= {number: str(uid) for number, uid in uids.items() if str(uid) in state.known.annotations}
        if last > state.judged:
            state.judged, state.last = max(0, min(last, state.exists)), uids.get(last, 0)

    def _failed(self, state: Selected, out: Callable[[], list[Decision]]) -> None:
        state.failures += 1
        out().append(
            Record("annotations.failed", {"mailbox": state.mailbox.name, "text": "the server did not tell the structure of new messages"})
        )

    def _may_be(self, structure: bytes) -> bool:
        return self._judge.may_be(structure)

    def _number(self, state: Selected) -> Steps:
        """Find the numbers of messages that were annotated in another session."""
        state.numbers = {}
        found: list[int] = []
        whole = True
        for uids in some(sorted(map(int, state.known.annotations))):
            result = yield Errand(b"SEARCH UID " + uids, _FOUND)
            found += numbers_in(result.responses, b"SEARCH")
            whole = whole and result.whole
        for numbers in some(found):
            result = yield Errand(b"FETCH " + numbers + b" (UID)", frozenset(["FETCH"]))
            whole = whole and result.whole
            for response in fetched(result):
                if str(response.uid) in state.known.annotations:
                    state.numbers[response.number] = str(response.uid)
        gone = state.known.annotations.keys() - state.numbers.values()
        if gone and whole and len(found) == len(state.numbers):
            self._ledger.gone(state.mailbox, gone)

    def _look(
        self, state: Selected, low: int, high: int, uids: dict[int, int], made: dict[str, Annotation], out: Callable[[], list[Decision]]
    ) -> Steps:
        """Look at messages, and judge those whose structure is interesting. `uids` and `made` are filled."""
        likely: dict[int, bytes] = {}
        told: set[int] = set()
        result = yield Errand(b"FETCH %d:%d (UID BODYSTRUCTURE)" % (low, high), frozenset(["FETCH"]))
        self._first_look(state, result, uids, likely, told)
        if result.cut:
            for number in [each for each in range(low, high + 1) if each not in told]:
                result = yield Errand(b"FETCH %d (UID BODYSTRUCTURE)" % number, frozenset(["FETCH"]))
                self._first_look(state, result, uids, likely, told)
        untold = [number for number in range(low, high + 1) if number not in uids]
        if untold:
            # Too large, or the server did not tell it: they are not annotated, now or later.
            result = yield Errand(b"FETCH " + set_of(untold) + b" (UID)", frozenset(["FETCH"]))
            for each in fetched(result):
                if each.uid and low <= each.number <= high:
                    uids[each.number] = each.uid
                    if each.uid > state.known.watermark:
                        self._passed_over(state, each.uid, "its structure is too large, or the server did not tell it", out)
            if any(number not in uids for number in untold):
                self._failed(state, out)
        if likely:
            yield from self._ask(state, likely, uids, made, out)

    def _first_look(self, state: Selected, result: Result, uids: dict[int, int], likely: dict[int, bytes], told: set[int]) -> None:
        for raw in result.responses:
            usual = STRUCTURE.match(raw)
            if usual is not None and (int(usual[2]) <= state.known.watermark or not self._may_be(usual[3])):
                uids[int(usual[1])] = int(usual[2])  # few are of interest, so the others are not taken apart
                told.add(int(usual[1]))
                continue
            for each in fetched(Result(True, [raw])):
                structure = each.value("BODYSTRUCTURE")
                if not each.uid or structure is None:
                    continue
                uids[each.number] = each.uid
                told.add(each.number)
                if each.uid > state.known.watermark and self._may_be(structure):
                    likely[each.number] = structure

    def _ask(
        self,
        state: Selected,
        likely: Mapping[int, bytes],
        uids: Mapping[int, int],
        made: dict[str, Annotation],
        out: Callable[[], list[Decision]],
    ) -> Steps:
        """Ask the plugins about messages whose structure is interesting."""
        result = yield Errand(b"FETCH " + set_of(likely) + b" (UID RFC822.SIZE ENVELOPE)", frozenset(["FETCH"]))
        if result.cut:
            for number in likely:
                result = yield Errand(b"FETCH %d (UID RFC822.SIZE ENVELOPE)" % number, frozenset(["FETCH"]))
                yield from self._ask_about(state, result, likely, uids, made, out)
        else:
            yield from self._ask_about(state, result, likely, uids, made, out)

    def _ask_about(
        self,
        state: Selected,
        result: Result,
        likely: Mapping[int, bytes],
        uids: Mapping[int, int],
        made: dict[str, Annotation],
        out: Callable[[], list[Decision]],
    ) -> Steps:
        for response in fetched(result):
            structure, uid, size = likely.get(response.number), response.uid, size_in(response)
            if structure is None or not uid or uid != uids.get(response.number) or not size:
                continue
            try:
                outline = outline_of(state.mailbox.name, uid, state.mailbox.uid_validity, size, structure, response.value("ENVELOPE"))
            except PeerError as error:
                self._passed_over(state, uid, error.text, out)
                continue
            whole = yield from self._transformed(response.number, outline, out)
            if whole is not None:
                made[str(uid)] = whole
                continue
            wishes = self._judge.wishes(outline, out())
            if wishes is None:
                continue
            parts = yield from self._parts(response.number, uid, wishes.parts, outline.structure)
            annotation = self._judge.annotation(wishes, parts, size, out())
            if annotation is not None:
                made[str(uid)] = annotation
            else:
                self._passed_over(state, uid, wishes.reason, out)

    def _passed_over(self, state: Selected, uid: int, text: str, out: Callable[[], list[Decision]]) -> None:
        out().append(Record("annotations.passed_over", {"mailbox": state.mailbox.name, "uid": str(uid), "text": text}))

    def _transformed(
        self, number: int, outline: Outline, out: Callable[[], list[Decision]]
    ) -> Generator[Errand, Result, Annotation | None]:
        """The message is read and shown as another one; None: it is not. In imap.transform."""
        yield from ()
        return None

    def _parts(self, number: int, uid: int, wanted: Sequence[str], structure: Part) -> Generator[Errand | None, Result, dict[str, bytes]]:
        """Read parts of a message, transfer-decoded."""
        encodings = {part.number: part.encoding for part in structure.walk()}
        read: dict[str, bytes] = {}
        for part in wanted:
            result = yield Errand(b"FETCH %d (UID BODY.PEEK[%b])" % (number, part.encode()), frozenset(["FETCH"]))
            for response in fetched(result):
                octets = unquoted(response.value(f"BODY[{part}]") or b"")
                if response.number == number and response.uid in (None, uid) and octets is not None:
                    read[part] = decoded(octets, encodings.get(part, ""))
        return read

    def _locate(self, number: int, made: Annotation, out: Callable[[], list[Decision]]) -> Steps:
        """Find the places of the pieces by reading the message from its start, as far as needed."""
        state = self.selected
        uid = state.numbers.get(number, "") if state is not None else ""
        if state is None or not uid:
            return
        locator: Locator | None = None
        start = 0
        while (locator is None or locator.wants_more) and start < made.size:
            also = b"" if start else b"BODYSTRUCTURE "
            result = yield Errand(b"FETCH %d (UID %bBODY.PEEK[]<%d.%d>)" % (number, also, start, _CHUNK), frozenset(["FETCH"]))
            octets = b""
            for response in fetched(result):
                if response.number == number and response.uid in (None, int(uid)):
                    octets = unquoted(response.value(f"BODY[]<{start}>") or b"") or octets
                    if locator is None:
                        locator = Locator(made, structure_in(response))
            if not octets and not result.ok:
                return  # not now; what it shows of the message, if anything, contradicts what was said, and nobody can help it
            if not octets or locator is None:
                break
            locator.feed(octets)
            start += len(octets)
        located: Located | None = locator.finish() if locator is not None else None
        if located is None:
            self._contradicted(uid, (locator.trouble if locator is not None else "") or "its parts were not found", out())
            return
        if located.blank:
            self._passed_over(state, int(uid), "it carries a block already; blanks stand in place of another", out)
        self._ledger.located(state.mailbox, uid, located)
        state.known = replace(state.known, annotations={**state.known.annotations, uid: made.at(located)})

    def _contradicted(self, uid: str, trouble: str, out: list[Decision]) -> None:
        state = self.selected
        if state is None or not uid:
            return
        out.append(Record("annotations.contradicted", {"mailbox": state.mailbox.name, "uid": uid, "text": trouble}))
        self._ledger.forget(state.mailbox, uid)
        state.numbers = {number: each for number, each in state.numbers.items() if each != uid}
