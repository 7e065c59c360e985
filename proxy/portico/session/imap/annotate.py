"""Annotations in the selected mailbox of a watched IMAP session.

Rule of this file: what becomes of commands and responses, because messages are annotated; which are, imap.discover finds out. Questions of
our own to the server are yielded as errands by jobs (imap.plan).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final

from portico.errors import PeerError
from portico.session.annotations.annotation import MOST_COUNTED, Annotation, Known, Ledger, Mailbox
from portico.session.annotations.judge import Judge
from portico.session.annotations.splice import Range, asked_of_server
from portico.session.decisions import Decision
from portico.session.imap.discover import Discovery
from portico.session.imap.plan import IDLE, Errand, Job, Plan, Result, Say
from portico.session.imap.questions import fetched, numbers_in, set_of, size_in, some
from portico.session.imap.rewrite import FetchRewriter, Section
from portico.session.imap.selected import Selected, mailbox_name
from portico.wire.fetch import FetchCommand, Item, chosen, parse_fetch_command, ranges_of
from portico.wire.imap import parse_arguments, unquoted
from portico.wire.search import SizeKey, size_keys

_TOUCHED: Final = frozenset(
    ["RFC822.SIZE", "BODY", "BODYSTRUCTURE", "BODY.PEEK", "RFC822", "RFC822.TEXT", "BINARY", "BINARY.PEEK", "BINARY.SIZE"]
)
_MACROS_TOUCHED: Final = frozenset(["RFC822.SIZE"])
_HEADERS: Final = ("HEADER", "MIME")
_SEARCHES: Final = {"SEARCH": 0, "SORT": 2, "THREAD": 2}
"""Commands with a search program, and how many arguments stand before it (RFC 5256)."""
_STATUS_SIZE: Final = re.compile(rb"[ (]SIZE (\d{1,19})(?=[ )])", re.IGNORECASE)
_MOST_LENGTH: Final = 0xFFFFFFFF
"""RFC 9051 9: numbers have 32 bits for most servers."""
_PLAIN_SET: Final = re.compile(rb"((?:\d{1,10}(?::\d{1,10})?,){0,20}\d{1,10}(?::\d{1,10})?) ")
"""A set without ``*`` and ``$``, and not a long one."""


class Annotations(Discovery):
    """What imap.annotated asks. `newest`: as Discovery has it; `held`: octets that may be held of a response."""

    __slots__ = ("_account", "_coming", "_held", "_shown", "_written")

    def __init__(self, judge: Judge, ledger: Ledger, account: str, *, newest: int, held: int) -> None:
        super().__init__(judge, ledger, newest=newest)
        self._account = account
        self._held = held
        self._coming: Selected | None = None
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
                condition = b"(%b NOT UID %b)" % (condition, set_of(go))
            if come:
                condition = b"(OR %b UID %b)" % (condition, set_of(come))
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
        found = numbers_in(result.responses, b"SORT")
        if not result.ok or not found:
            return Plan(arguments)
        known: dict[int, int] = {}
        shown = set(state.numbers.values()) if (state := self.selected) is not None else set()
        for part in some(found):
            sizes = yield Errand((b"UID FETCH " if uid else b"FETCH ") + part + b" (UID RFC822.SIZE)", frozenset(["FETCH"]))
            for response in fetched(sizes):
                # By UID: numbers may have moved since (UID FETCH lets the server announce EXPUNGE).
                made = state.known.annotations.get(str(response.uid)) if state is not None and str(response.uid) in shown else None
                size = size_in(response) + (made.octets if made is not None else 0)
                known[(response.uid or 0) if uid else response.number] = size
        sign = -1 if first[1] else 1
        ordered = sorted(found, key=lambda each: sign * known.get(each, 0))
        return Plan(arguments, answer=b"* SORT " + b" ".join(b"%d" % each for each in ordered) + b"\r\n")

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
