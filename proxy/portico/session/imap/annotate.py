"""Annotations in the selected mailbox of a watched IMAP session.

Rule of this file: which messages are annotated, and what therefore becomes of commands and responses. Questions of our own to the
server are yielded as Errands by generators (*jobs*); imap.annotated sends them when the leg has nothing under way, and the client sees
nothing of them. Errands name messages by number, because UID FETCH would let the server announce EXPUNGE, which a client that has asked by
number may not be told (RFC 9051 7.5.1). They never set \\Seen, and never ask for flags: a server that has told them once does not tell
them again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.session.annotations.annotation import MOST_COUNTED, NOTHING_IS_NEW, Annotation, Known, Ledger, Located, Mailbox
from portico.session.annotations.judge import Judge
from portico.session.annotations.locate import Locator
from portico.session.annotations.outline import Outline, outline_of
from portico.session.annotations.splice import Range, asked_of_server
from portico.session.decisions import Decision, Record
from portico.session.imap.errand import STRUCTURE
from portico.session.imap.rewrite import FetchRewriter, Section
from portico.wire.bodystructure import Part, decoded, parse_structure
from portico.wire.fetch import FetchCommand, Item, chosen, parse_fetch_command, ranges_of
from portico.wire.imap import FetchResponse, parse_arguments, parse_fetch, unquoted
from portico.wire.mailbox import encode
from portico.wire.search import SizeKey, size_keys

_BATCH: Final = 200
"""Messages whose structure is asked for in one errand."""
_SET: Final = 8000
"""Octets of a sequence set in one command."""
_CHUNK: Final = 64 * 1024
_TOUCHED: Final = frozenset(
    ["RFC822.SIZE", "BODY", "BODYSTRUCTURE", "BODY.PEEK", "RFC822", "RFC822.TEXT", "BINARY", "BINARY.PEEK", "BINARY.SIZE"]
)
_MACROS_TOUCHED: Final = frozenset(["RFC822.SIZE"])
_HEADERS: Final = ("HEADER", "MIME")
_SEARCHES: Final = {"SEARCH": 0, "SORT": 2, "THREAD": 2}
"""Commands with a search program, and how many arguments stand before it (RFC 5256)."""
_STATUS_SIZE: Final = re.compile(rb"[ (]SIZE (\d{1,19})(?=[ )])", re.IGNORECASE)
_ALL: Final = re.compile(rb" ALL ([0-9:,]+)", re.IGNORECASE)
_TRIES: Final = 3
_ROUNDS: Final = 10
"""Looks at what came while we looked; what comes then waits for the next command."""
_MANY: Final = 5000
"""Messages of which a number is asked for in one errand."""
_MOST_LENGTH: Final = 0xFFFFFFFF
"""RFC 9051 9: numbers have 32 bits for most servers."""
_MOST_FOUND: Final = 1_000_000
"""Messages in one range of an answer."""
_FOUND: Final = frozenset(["SEARCH", "ESEARCH"])
"""A server that has enabled IMAP4rev2 answers by ESEARCH."""


class Errand(NamedTuple):
    """A command of ours, without tag and line end. Of its answer responses of these kinds are kept from the client."""

    command: bytes
    kinds: frozenset[str]
    ranges: Mapping[Section, Range] = MappingProxyType({})
    """As those of a Plan, where the answers are for the client."""
    news: bool = True
    """Flags that come with the answer were not asked for, and go to the client by themselves."""


class Say(NamedTuple):
    """Whole untagged responses of ours, for the client."""

    lines: bytes


class Result(NamedTuple):
    """What the server answered."""

    ok: bool
    responses: list[bytes]
    cut: bool = False
    """Some of it was too large to be held."""

    @property
    def whole(self) -> bool:
        return self.ok and not self.cut


@dataclass(slots=True)
class Plan:
    """What becomes of the client's command. `ranges`: what the client asked where the server is asked for another range.
    `answer`: it does not go to the server; these lines and OK are its answer."""

    arguments: bytes
    ranges: dict[Section, Range] = field(default_factory=dict)
    answer: bytes | None = None
    refusal: str = ""
    code: str = "CANNOT"
    """Of the refusal."""
    failure: tuple[str, str] | None = None
    """Code and text: where the server says OK, the client is told NO, because not all could be answered."""


IDLE: Final = None
"""Yielded in place of an Errand: go on when the leg has nothing under way, so that no message can change its number meanwhile."""

_PLAIN_SET: Final = re.compile(rb"((?:\d{1,10}(?::\d{1,10})?,){0,20}\d{1,10}(?::\d{1,10})?) ")
"""A set without ``*`` and ``$``, and not a long one."""

Job = Generator[Errand | Say | None, Result, Plan | None]
Steps = Generator[Errand | Say | None, Result, None]


@dataclass(slots=True)
class Selected:
    """The selected mailbox. `judged`: messages 1 to this number have been judged. `last`: UID of the last of them; 0: not known."""

    mailbox: Mailbox
    known: Known
    exists: int = 0
    judged: int = 0
    last: int = 0
    gone: int = 0
    """How many messages have left it since it was selected."""
    looked: bool = False
    failures: int = 0
    uid_next: int = 0
    """RFC 9051 2.3.1.1, when it was selected; 0: the server did not say."""
    numbers: dict[int, str] = field(default_factory=dict)
    """Message number to UID, of the annotated ones."""

    def expunged(self, number: int) -> None:
        """RFC 9051 7.5.1: those behind it move down by one."""
        self.exists = max(0, self.exists - 1)
        self.gone += 1
        if number == self.judged:
            self.last = 0
        if number <= self.judged:
            self.judged -= 1
        self.numbers = {each - (each > number): uid for each, uid in self.numbers.items() if each != number}

    def vanished(self, uids: bytes) -> None:
        """RFC 7162 3.2.10, without (EARLIER): each UID named was a message."""
        for low, high in ranges_of(uids, 0):
            gone = high - low + 1
            self.exists = max(0, self.exists - gone)
            self.gone += gone
            self.last = 0 if low <= self.last <= high else self.last
            # Another session may have judged more than this one has heard of: then some are looked at again, which does no harm.
            self.judged = max(0, self.judged - max(0, min(high, self.known.watermark) - low + 1))
            kept = {}
            for number, uid in self.numbers.items():
                if int(uid) > high:
                    kept[number - gone] = uid
                elif int(uid) < low:
                    kept[number] = uid
            self.numbers = kept


class Annotations:
    """What imap.watch asks. `newest`: of a mailbox never seen before, so many messages are looked at; older ones are not annotated."""

    __slots__ = ("_account", "_coming", "_held", "_judge", "_ledger", "_newest", "_shown", "_written", "selected")

    def __init__(self, judge: Judge, ledger: Ledger, account: str, *, newest: int, held: int) -> None:
        self._judge = judge
        self._ledger = ledger
        self._account = account
        self._newest = newest
        self._held = held
        self._coming: Selected | None = None
        self.selected: Selected | None = None
        self._written: tuple[dict[int, str], frozenset[bytes]] = {}, frozenset()
        self._shown: set[tuple[Mailbox, str]] = set()

    @property
    def shown(self) -> int:
        """Messages whose text has been shown with something inserted, or transformed; counted up to MOST_COUNTED."""
        return len(self._shown)

    # -- what passes

    def selecting(self, name: bytes | None, out: list[Decision]) -> None:
        """SELECT or EXAMINE has been sent: what follows is about the new mailbox."""
        if not self._settled(out):
            return
        self._coming = Selected(Mailbox(self._account, mailbox_name(name or b""), 0), Known(0, {}))

    def _settled(self, out: list[Decision]) -> bool:
        """Whether anything is done for this client."""
        return self._judge.settled(out)

    def select_ended(self, ok: bool, *, failed: bool) -> None:
        """SELECT or EXAMINE was answered; `failed`: by NO, which leaves nothing selected (RFC 9051 6.3.2)."""
        coming, self._coming = self._coming, None
        if ok or failed:
            self.selected = coming if ok and coming is not None and coming.mailbox.uid_validity else None

    def left(self) -> None:
        """CLOSE or UNSELECT."""
        self.selected = None

    def heard(self, kind: str, number: int | None, raw: bytes) -> None:
        """An untagged response that is not FETCH."""
        state = self._coming or self.selected
        if state is None:
            return
        if kind == "EXISTS" and number is not None:
            state.exists = number
        elif kind == "EXPUNGE" and number is not None:
            state.expunged(number)
        elif kind == "VANISHED" and not raw[11:].upper().startswith(b"(EARLIER)"):
            state.vanished(raw[11:].strip())
        elif kind == "OK" and self._coming is not None:
            found = re.match(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", raw, re.IGNORECASE)
            if found is not None:
                state.mailbox = state.mailbox._replace(uid_validity=int(found[1]))
                state.known = self._ledger.known(state.mailbox)
            found = re.match(rb"\* OK \[UIDNEXT (\d{1,10})\]", raw, re.IGNORECASE)
            if found is not None:
                state.uid_next = int(found[1])

    @property
    def any(self) -> bool:
        """Some message of the selected mailbox is annotated."""
        return self.selected is not None and bool(self.selected.numbers)

    @property
    def numbers(self) -> frozenset[bytes]:
        """Those that are annotated, as responses have them."""
        if self.selected is None:
            return frozenset()
        numbers, written = self._written
        if numbers is not self.selected.numbers or len(numbers) != len(written):
            numbers = self.selected.numbers
            written = frozenset(b"%d" % number for number in numbers)
            self._written = numbers, written
        return written

    def rewriter(self, number: int, ranges: Mapping[Section, Range], told: Callable[[int, int], int] | None = None) -> FetchRewriter:
        """Who changes the FETCH response of a message; one that is not annotated passes through it. `told`: as FetchRewriter has it."""
        return FetchRewriter(self._annotation(number), ranges, self._held, told)

    def ended(self, number: int, rewriter: FetchRewriter, out: list[Decision]) -> None:
        """A response has been rewritten: where it was not what the annotation promised, the message is not annotated again."""
        if self.selected is None or not (rewriter.trouble or rewriter.inserted):
            return
        uid = self.selected.numbers.get(number, "")
        if not rewriter.trouble:
            self._count(uid)
            return
        self._contradicted(uid, rewriter.trouble, out)

    def _count(self, uid: str) -> None:
        if self.selected is not None and len(self._shown) < MOST_COUNTED:
            self._shown.add((self.selected.mailbox, uid))

    def status(self, raw: bytes, out: list[Decision]) -> bytes:
        """An untagged STATUS with the growth of the mailbox added to SIZE (RFC 8438)."""
        if not self._settled(out):
            return raw
        open_ = raw.rfind(b"(")
        found = _STATUS_SIZE.search(raw, max(0, open_))  # not in the mailbox's name
        if found is None or open_ < 0:
            return raw
        name = unquoted(raw[9:open_].strip())
        if name is None:
            return raw
        growth = self._ledger.growth(self._account, mailbox_name(name))
        return raw[: found.start(1)] + b"%d" % (int(found[1]) + growth) + raw[found.end(1) :]

    # -- commands

    def job(self, name: str, uid: bool, arguments: bytes, out: Callable[[], list[Decision]]) -> Job | Plan | None:
        """What becomes of a command, or what has to be done before that is known; None: it goes as it is."""
        state = self.selected
        if state is None:
            return None
        if name == "FETCH":
            try:
                command = parse_fetch_command(arguments)
            except PeerError:
                return self._not_understood()
            if not self._changes(command):
                return None
            if self.any or self._unjudged or b"*" in command.messages:
                return self._fetch(command, uid, out)
            return Plan(self._closed(command, uid))
        elif not self.any and not self._unjudged:
            return None
        elif name == "STATUS" and self._sums_selected(arguments):
            return self._status(out)
        elif name in _SEARCHES:
            keys = size_keys(arguments, skip=_SEARCHES[name])
            if name == "SORT" and re.match(rb"\([^)]*\bSIZE\b", arguments, re.IGNORECASE):
                return self._sort(arguments, keys, uid, out)
            return self._search(arguments, keys, out) if keys else None
        return None

    def untouched(self, uid: bool, arguments: bytes) -> bool:
        """Whether a FETCH names only messages that have been judged and are not annotated. That is told by its set alone, so that most
        commands need not be taken apart; by number it holds while nothing else is under way."""
        state, found = self.selected, _PLAIN_SET.match(arguments)
        if state is None or found is None or state.judged < state.exists:
            return False
        top = state.known.watermark if uid else state.judged
        if found[1].isdigit():
            number = int(found[1])
            return 0 < number <= top and not (str(number) in state.known.annotations if uid else number in state.numbers)
        if not all(low > 0 and high <= top for low, high in ranges_of(found[1], 0)):
            return False
        return not chosen(found[1], map(int, state.numbers.values()) if uid else state.numbers, 0)

    def _not_understood(self) -> Plan | None:
        """What becomes of a FETCH that makes no sense: the server will say what is wrong."""
        return None

    def _changes(self, command: FetchCommand) -> bool:
        """Whether the answer may be another than the server's."""
        return any(_touched(item) for item in command.items) or bool(command.names & _MACROS_TOUCHED)

    @property
    def _unjudged(self) -> bool:
        state = self.selected
        return state is not None and state.judged < state.exists and state.failures < _TRIES

    def _closed(self, command: FetchCommand, uid: bool) -> bytes:
        """The arguments of a FETCH, its set without messages that nobody has judged: one may come between, and be shown as it is.
        ``*`` is written as the last one that is known."""
        state, messages = self.selected, command.messages
        top = 0 if state is None else state.known.watermark if uid else state.judged
        if (
            state is None
            or not top
            or b"$" in messages
            or not (uid or b"*" in messages)
            or (state.judged < state.exists and not self._unjudged)
        ):
            return command.raw
        last = (state.last or top) if uid else top
        closed = []
        for piece in messages.split(b","):
            low, high = next(ranges_of(piece, last))
            if b"*" in piece:
                closed.append(b"%d:%d" % (low, last) if low < last else b"%d" % last)
            elif not uid or high <= top:
                closed.append(piece)
            elif low <= top:
                closed.append(b"%d:%d" % (low, top))
        return (b",".join(closed) or messages) + command.raw[len(messages) :]

    def _begun(
        self, command: FetchCommand, uid: bool, out: Callable[[], list[Decision]]
    ) -> Generator[Errand | Say | None, Result, FetchCommand]:
        """All messages are judged; the command, its set without those that come from now on."""
        yield IDLE
        yield from self._discover(out)
        state = self.selected
        if state is not None and uid and b"*" in command.messages and not state.last and state.judged:
            told = fetched((yield Errand(b"FETCH %d (UID)" % state.judged, frozenset(["FETCH"]))))
            state.last = next((each.uid or 0 for each in told if each.number == state.judged), 0)
        return parse_fetch_command(self._closed(command, uid))

    def _fetch(self, command: FetchCommand, uid: bool, out: Callable[[], list[Decision]]) -> Job:
        command = yield from self._begun(command, uid, out)
        return (yield from self._planned(command, uid, out))

    def _planned(self, command: FetchCommand, uid: bool, out: Callable[[], list[Decision]]) -> Generator[Errand | Say | None, Result, Plan]:
        """What the server is asked in place of a FETCH, once all messages have been judged."""
        bodies = [item for item in command.items if _is_body(item)]
        sections = {item.section for item in command.items if item.section and (_is_body(item) or item.name == "BINARY.SIZE")}
        hit = self._hit(command.messages, uid) if bodies or sections else {}
        if any(made.misnames(section) for section in sections for made in hit.values()):
            return Plan(command.raw, refusal="There is no such part.")
        touched = {section for made in hit.values() for section in made.sections}
        bodies = [item for item in bodies if _key(item) in touched]
        if not bodies or any(item.length == 0 for item in bodies):
            return Plan(command.raw)  # a range of nothing is the server's to refuse
        wanted_sections = {_key(item) for item in bodies}
        for number, made in hit.items():
            if made.located is None and not made.sections.isdisjoint(wanted_sections):
                yield from self._locate(number, made, out)
        ranged = {item.span for item in bodies if item.start >= 0}
        if not ranged:
            return Plan(command.raw)
        most = max((made.octets for made in self._hit(command.messages, uid).values()), default=0)
        ranges: dict[Section, Range] = {}
        asked: list[tuple[int, int] | None] = []
        for item in command.items:
            if item.span not in ranged:
                asked.append(None)
                continue
            key, wanted = _key(item), Range(item.start, item.length)
            if ranges.setdefault(key, wanted) != wanted:
                return Plan(command.raw, refusal="Two ranges of one section in one command cannot be answered.")
            start, length = asked_of_server(wanted, most)
            asked.append((start, length if wanted.length > _MOST_LENGTH else min(length, _MOST_LENGTH)))
        return Plan(command.with_ranges(asked), ranges)

    def _sums_selected(self, arguments: bytes) -> bool:
        """Whether a STATUS asks for SIZE of the selected mailbox (RFC 8438): then its new messages are judged before they are summed."""
        try:
            values = parse_arguments(arguments)
        except PeerError:
            return False
        if len(values) != 2 or not isinstance(values[0], bytes) or not isinstance(values[1], list) or self.selected is None:
            return False
        name = mailbox_name(values[0])
        return name == self.selected.mailbox.name and any(isinstance(item, bytes) and item.upper() == b"SIZE" for item in values[1])

    def _status(self, out: Callable[[], list[Decision]]) -> Job:
        yield IDLE
        yield from self._discover(out)
        return None

    def _search(self, arguments: bytes, keys: Sequence[SizeKey], out: Callable[[], list[Decision]]) -> Job:
        yield IDLE
        yield from self._discover(out)
        return Plan(self._by_size(arguments, keys)) if self.any else None

    def _by_size(self, arguments: bytes, keys: Sequence[SizeKey]) -> bytes:
        """RFC 9051 6.4.4: LARGER and SMALLER of the annotated sizes, told by the sizes that the server knows."""
        state = self.selected
        assert state is not None
        shown = [(int(uid), state.known.annotations[uid]) for uid in state.numbers.values()]
        changed, pos = b"", 0
        for key in keys:
            condition = arguments[key.start : key.end]
            go = [uid for uid, made in shown if key.holds(made.size) and not key.holds(made.size + made.octets)]
            come = [uid for uid, made in shown if key.holds(made.size + made.octets) and not key.holds(made.size)]
            if go:
                condition = b"(%b NOT UID %b)" % (condition, _set(go))
            if come:
                condition = b"(OR %b UID %b)" % (condition, _set(come))
            changed += arguments[pos : key.start] + condition
            pos = key.end
        return changed + arguments[pos:]

    def _sort(self, arguments: bytes, keys: Sequence[SizeKey], uid: bool, out: Callable[[], list[Decision]]) -> Job:
        """RFC 5256: the server sorts by its own sizes. Where SIZE is the first key we sort again; behind other keys it only breaks ties."""
        yield IDLE
        yield from self._discover(out)
        first = re.match(rb"\( *(REVERSE +)?SIZE\b", arguments, re.IGNORECASE)
        if not self.any:
            return None
        arguments = self._by_size(arguments, keys)
        if first is None:
            return Plan(arguments)
        result = yield Errand((b"UID SORT " if uid else b"SORT ") + arguments, frozenset(["SORT"]))
        if result.cut:
            return Plan(arguments, refusal="Too many messages to be sorted by size.", code="LIMIT")
        found = _numbers(result.responses, b"SORT")
        if not result.ok or not found:
            return Plan(arguments)
        known: dict[int, int] = {}
        shown = set(state.numbers.values()) if (state := self.selected) is not None else set()
        for part in _some(found):
            sizes = yield Errand((b"UID FETCH " if uid else b"FETCH ") + part + b" (UID RFC822.SIZE)", frozenset(["FETCH"]))
            for response in fetched(sizes):
                # By UID: numbers may have moved since (UID FETCH lets the server announce EXPUNGE).
                made = state.known.annotations.get(str(response.uid)) if state is not None and str(response.uid) in shown else None
                size = _size(response) + (made.octets if made is not None else 0)
                known[(response.uid or 0) if uid else response.number] = size
        sign = -1 if first[1] else 1
        ordered = sorted(found, key=lambda each: sign * known.get(each, 0))
        return Plan(arguments, answer=b"* SORT " + b" ".join(b"%d" % each for each in ordered) + b"\r\n")

    # -- finding out

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
            state.judged, state.looked = last, True
            return
        if not state.looked:
            if state.known.annotations:
                yield from self._number(state)
            if watermark:
                result = yield Errand(b"SEARCH UID %d:*" % (watermark + 1), _FOUND)
                found = [number for number in _numbers(result.responses, b"SEARCH") if number <= last]
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
                state.known = self._ledger.judged(state.mailbox, max([watermark, *uids.values()]), made)
        # Messages whose UID is not told were shown as they are, and stay so as far as that can be known: nobody will judge them later.
        watermark = max([watermark, *uids.values(), state.uid_next - 1 if state.failures else 0])
        state.known = self._ledger.judged(state.mailbox, watermark, made)
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
        for uids in _some(sorted(map(int, state.known.annotations))):
            result = yield Errand(b"SEARCH UID " + uids, _FOUND)
            found += _numbers(result.responses, b"SEARCH")
            whole = whole and result.whole
        for numbers in _some(found):
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
            result = yield Errand(b"FETCH " + _set(untold) + b" (UID)", frozenset(["FETCH"]))
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
        result = yield Errand(b"FETCH " + _set(likely) + b" (UID RFC822.SIZE ENVELOPE)", frozenset(["FETCH"]))
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
            structure, uid, size = likely.get(response.number), response.uid, _size(response)
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
                        locator = Locator(made, _structure_in(response))
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

    def _annotation(self, number: int) -> Annotation | None:
        state = self.selected
        uid = state.numbers.get(number) if state is not None else None
        return state.known.annotations.get(uid) if state is not None and uid is not None else None

    def _hit(self, messages: bytes, uid: bool) -> dict[int, Annotation]:
        """The annotated messages that a set names, by number."""
        state = self.selected
        if state is None or not state.numbers:
            return {}
        if uid:
            uids = {int(each): number for number, each in state.numbers.items()}
            # ``*`` is the largest UID there is; which, is not known here: a set with it may name every one (RFC 9051 9).
            last = max([*uids, state.known.watermark])
            numbers = [uids[each] for each in chosen(messages, uids, last)]
        else:
            numbers = chosen(messages, state.numbers, state.exists)
        return {number: state.known.annotations[state.numbers[number]] for number in numbers}


def _structure_in(response: FetchResponse) -> Part | None:
    """What the server says the message is; None: it does not, or not so that it can be understood."""
    try:
        return parse_structure(response.value("BODYSTRUCTURE") or b"")
    except PeerError:
        return None


def mailbox_name(octets: bytes) -> str:
    """One name for a mailbox, in modified UTF-7, whether the client names it so or in UTF-8 (RFC 6855 3)."""
    text = octets.decode("utf-8", "replace")
    text = text if text.isascii() else encode(text).decode("ascii")
    return "INBOX" if text.upper() == "INBOX" else text


def _is_body(item: Item) -> bool:
    if item.name in ("RFC822", "RFC822.TEXT"):
        return True
    if item.name not in ("BODY", "BODY.PEEK", "BINARY", "BINARY.PEEK") or item.section is None:
        return False
    return not any(word in item.section for word in _HEADERS)


def _touched(item: Item) -> bool:
    """Whether the answer to this item changes with an annotation."""
    return item.name in _TOUCHED and (item.section is None or item.name == "BINARY.SIZE" or _is_body(item))


def _key(item: Item) -> Section:
    if item.name == "RFC822":
        return "BODY", ""
    if item.name == "RFC822.TEXT":
        return "BODY", "TEXT"
    return item.name.removesuffix(".PEEK"), item.section or ""


def _size(response: FetchResponse) -> int:
    value = response.value("RFC822.SIZE")
    return int(value) if value is not None and len(value) < 20 and value.isdigit() else 0


def fetched(result: Result) -> list[FetchResponse]:
    """The FETCH responses that can be understood."""
    found = []
    for raw in result.responses:
        try:
            found.append(parse_fetch(raw))
        except PeerError:
            continue
    return found


def _numbers(responses: Iterable[bytes], kind: bytes) -> list[int]:
    """All numbers of ``* SEARCH …`` or ``* SORT …``, or of what ``* ESEARCH`` names."""
    found: list[int] = []
    for raw in responses:
        if raw[2 : 2 + len(kind)].upper() == kind:
            found += [int(word) for word in raw[2 + len(kind) :].split() if word.isdigit() and len(word) < 20]
        elif raw[2:9].upper() == b"ESEARCH" and (everything := _ALL.search(raw)) is not None:
            ranges = [(low, min(high, low + _MOST_FOUND)) for low, high in ranges_of(everything[1], 0)]
            found += [number for low, high in ranges for number in range(low, high + 1)]
    return found


def _set(numbers: Iterable[int]) -> bytes:
    """A sequence set, runs written short."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in runs)


def _some(numbers: Sequence[int]) -> Iterator[bytes]:
    """Messages in sets of which each can be asked about, and answered, at once."""
    for start in range(0, len(numbers), _MANY):
        yield from in_pieces(_set(numbers[start : start + _MANY]))


def in_pieces(messages: bytes) -> Iterator[bytes]:
    """A sequence set in pieces that fit a command; an empty one: none."""
    pos = 0
    while pos < len(messages):
        end = len(messages) if len(messages) - pos <= _SET else messages.rindex(b",", pos, pos + _SET)
        yield messages[pos:end]
        pos = end + 1
