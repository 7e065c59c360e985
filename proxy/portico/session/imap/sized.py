"""A watched IMAP session in which sizes of messages are told by estimate.

Rule of this file: RFC822.SIZE is taken out of a FETCH that only lists messages, and put into its answers; whatever else tells a size tells
the one that was told before. Nothing here depends on who estimates. Only the personal mailboxes: their server is the one that is spared.
RFC 9051 6.4.5; RFC 2683 3.4.5 says why this is done with care.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final

from portico.errors import PeerError
from portico.session.annotations.annotation import Mailbox
from portico.session.ask import raised
from portico.session.context import Context, LoginAttempt, SessionView
from portico.session.decisions import Close, Decision, Record
from portico.session.events import MAIN, Event
from portico.session.imap.annotate import withheld_for_annotations
from portico.session.imap.link import Link
from portico.session.imap.mounted import MountedWatch
from portico.session.imap.mounts import Ask, Done, Forward, Got, Job, Say, Step
from portico.session.imap.rewrite import LITERAL, FetchRewriter
from portico.session.imap.watch import UNTAGGED
from portico.session.interests import BoundSizer, Compiled
from portico.session.sizes.sizer import Sketch
from portico.session.sizes.sizes import Sizes, SizesLedger
from portico.wire.fetch import MACROS, FetchCommand, parse_fetch_command, sequence_set
from portico.wire.imap import CommandLine, FetchResponse, outside_strings, parse_fetch, unquoted
from portico.wire.lines import Line
from portico.wire.skim import Piece

_HEADERS: Final = re.compile(r"(?:\d+(?:\.\d+)*\.)?(?:HEADER(?:\.FIELDS(?:\.NOT)? \(.*\))?|MIME)\Z", re.DOTALL)
"""Sections without a body in them."""
_FREE: Final = frozenset(["BODY", "BODYSTRUCTURE"])
"""To tell these the server reads the message: its size then costs nothing."""
_READS: Final = frozenset(["RFC822", "RFC822.TEXT", "BINARY", "BINARY.PEEK", "BINARY.SIZE"])
_SAMPLED: Final = frozenset(["ENVELOPE", "INTERNALDATE", "BODY.PEEK", "RFC822.HEADER"])
"""Items that may be asked along of messages in a sample: nothing changes by it."""
_NUMBERS: Final = frozenset(["EXISTS", "EXPUNGE", "VANISHED", "STATUS"])
_WHOLE: Final = re.compile(rb"[ (](?:BODY\[\]|RFC822) \{(\d{1,19})\}\r?\n\Z", re.IGNORECASE)
_UID: Final = re.compile(rb"[ (]UID (\d{1,10})[ )]", re.IGNORECASE)
_UID_VALIDITY: Final = re.compile(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)
_STATUS_SIZE: Final = re.compile(rb"[ (]SIZE (\d{1,19})(?=[ )])", re.IGNORECASE)
_BY_SIZE: Final = re.compile(rb"(?<![^ (])(LARGER|SMALLER) +(\d{1,19})(?![^ )])", re.IGNORECASE)
_SORT_SIZE: Final = re.compile(rb"\( *(REVERSE +)?SIZE\b", re.IGNORECASE)
_DEFAULT: Final = 10_000
"""Octets, where a plugin fails."""
_MOST_UID: Final = (1 << 32) - 1
_MOST: Final = 1 << 40


@dataclass(slots=True)
class Asked:
    """A FETCH of the client that is under way."""

    tag: bytes
    names: frozenset[str]
    """What its answers have, as the server was asked."""
    uid: bool
    """The client wants UID."""
    removed: bool
    """The server was not asked for the size."""


@dataclass(slots=True)
class Counts:
    """What has been told in one mailbox."""

    estimated: int = 0
    exact: int = 0
    off: list[float] = field(default_factory=list)
    """Estimate by truth, of those whose size became known; at most a thousand."""


class SizedWatch(MountedWatch):
    """As MountedWatch; without a sizer it is one."""

    __slots__ = ("_answering", "_coming", "_counts", "_exists", "_ledger", "_mailbox", "_serves", "_sizer", "_sizes", "_sizing")

    def __init__(
        self,
        context: Context,
        view: SessionView,
        interests: Compiled | None,
        capabilities: list[bytes],
        *,
        traced: bool = False,
        guarded: bool = False,
        attempt: LoginAttempt | None = None,
    ) -> None:
        sizers = interests.sizers if interests is not None and context.sizes is not None else ()
        self._sizer: BoundSizer | None = sizers[0] if sizers else None
        self._ledger: SizesLedger | None = context.sizes
        self._serves: bool | None = None
        self._coming: Mailbox | None = None  # the mailbox that is being selected
        self._mailbox: Mailbox | None = None
        self._sizes: Sizes | None = None  # of the selected mailbox, where sizes are estimated in it
        self._exists = 0
        self._sizing: FetchRewriter | None = None  # of the response that passes in pieces
        self._answering: Asked | None = None
        self._counts = Counts()
        super().__init__(context, view, interests, capabilities, traced=traced, guarded=guarded or bool(sizers), attempt=attempt)
        if self._sizer is not None:
            self.named = self.named | {"FETCH", "SEARCH", "SORT", "SELECT", "EXAMINE", "CLOSE", "UNSELECT"}

    @property
    def kinds(self) -> frozenset[str]:
        if self._sizer is None:
            return super().kinds
        return super().kinds | _NUMBERS | (frozenset(["FETCH"]) if self._sizes is not None else frozenset())

    def announces(self, name: bytes) -> bool:
        return super().announces(name) and not (self._sizer is not None and withheld_for_annotations(name))

    # -- the selected mailbox

    def _selects(self, leg: int, mailbox: bytes | None, out: list[Decision]) -> None:
        super()._selects(leg, mailbox, out)
        self._coming = None
        if self._sizer is None or leg != MAIN:
            return
        if self._serves is None:
            try:
                self._serves = bool(self._sizer.sizer.serves(self.view))
            except Exception as error:
                self._serves = False
                self._blame("serves", error, out)
        if self._serves:
            self._coming = Mailbox(f"{self.view.server}/{self.view.user}", _name(mailbox), 0)

    def _completed(self, link: Link, raw: bytes) -> str:
        tag, _, rest = raw.partition(b" ")
        pending = link.pending.get(tag)
        name = super()._completed(link, raw)
        if self._answering is not None and tag == self._answering.tag:
            self._answering = None
            if self._ledger is not None and self._mailbox is not None and self._sizes is not None:
                self._ledger.keep_sizes(self._mailbox, self._sizes)
        if self._sizer is None or pending is None or not name:
            return name
        kind = rest[:2].upper()
        if name in ("SELECT", "EXAMINE"):
            coming, self._coming = self._coming, None
            if kind == b"OK" and link.leg == MAIN and coming is not None and coming.uid_validity and self._ledger is not None:
                self._mailbox, self._sizes = coming, self._ledger.sizes(coming)
            elif kind in (b"OK", b"NO"):
                self._mailbox, self._sizes = None, None
            self._settle_streams()
        elif name in ("CLOSE", "UNSELECT") and kind == b"OK":
            self._mailbox, self._sizes = None, None
            self._settle_streams()
        return name

    def _settle_streams(self) -> None:
        if MAIN in self.links:
            self.links[MAIN].skimmer.streams = self._usual_streams(MAIN)
        self._tune_all()

    # -- commands

    def _must_wait(self) -> bool:
        return self._answering is not None or super()._must_wait()

    def _send(self, head: CommandLine, opening: bytes, arguments: bytes, message: Line | None, out: list[Decision]) -> None:
        job = self._size_job(head, arguments) if self._sizes is not None and self._mounts.selected in (None, MAIN) else None
        if job is None:
            super()._send(head, opening, arguments, message, out)
        else:
            self._park(head, opening, arguments, message, job, out)

    def _size_job(self, head: CommandLine, arguments: bytes) -> Job | None:
        """What is to be done for a command that asks for sizes."""
        assert self._sizes is not None
        if head.name == "FETCH":
            try:
                command = parse_fetch_command(arguments)
            except PeerError:
                return None  # the server says what is wrong
            return self._fetch(head, command) if "RFC822.SIZE" in command.names else None
        if not self._sizes.estimated:
            return None
        if head.name == "SEARCH" and _BY_SIZE.search(arguments):
            return self._search(arguments)
        if head.name == "SORT" and _SORT_SIZE.match(arguments):
            return self._sort(head, arguments)
        return None

    def _fetch(self, head: CommandLine, command: FetchCommand) -> Job:
        items = [word for item in command.items for word in _spelled(command, item.name, command.written(item))]
        lists = not any(item.name in _READS | _FREE and item.section is None for item in command.items) and all(
            item.section is None or (item.name.startswith("BODY") and _HEADERS.match(item.section)) for item in command.items
        )
        lists = lists and "BODY" not in command.names  # FULL
        if lists and self._sizes is not None and not len(self._sizes):
            yield from self._sample(command)
        uid = head.uid or b"UID" in (item.upper() for item in items)
        asked = [item for item in items if item.upper() != b"RFC822.SIZE"] if lists else items
        if b"UID" not in (item.upper() for item in asked):
            asked = [b"UID", *asked]
        names = frozenset(item.name.replace(".PEEK", "") for item in command.items if item.name not in MACROS)
        self._answering = Asked(head.tag, names - {"RFC822.SIZE"} if lists else names, uid, lists)
        return Forward(MAIN, command.with_items(asked))

    def _sample(self, command: FetchCommand) -> Generator[Step, Got, None]:
        """The truth about a few messages of a mailbox of which nothing is known."""
        sizer = self._sizer
        count = min(max(0, getattr(sizer.sizer, "sample", 0)), self._exists) if sizer is not None else 0
        if not count:
            return
        numbers = sorted({1 + round(index * (self._exists - 1) / max(1, count - 1)) for index in range(count)})
        along = [command.written(item) for item in command.items if item.name in _SAMPLED]
        ask = b"FETCH %b (%b)" % (sequence_set(numbers), b" ".join([b"UID", b"RFC822.SIZE", *along]))
        yield Ask(MAIN, ask, frozenset(["FETCH"]), take=self._learn)

    def _learn(self, raw: bytes) -> None:
        try:
            response = parse_fetch(raw)
        except PeerError:
            return
        size, uid = response.value("RFC822.SIZE"), response.uid
        if size is None or not size.isdigit() or uid is None or self._sizes is None or self._sizer is None:
            return
        self._sizes.tell(uid, min(int(size), _MOST), estimated=False)
        try:
            self._sizer.sizer.learn(self.view, self._sketch(response), int(size))
        except Exception as error:
            self._blame("learn", error, [])

    def _sketch(self, response: FetchResponse) -> Sketch:
        items = {name: response.raw[start:end] for name, (start, end) in response.items.items()}
        return Sketch(self._mailbox.name if self._mailbox is not None else "", response.uid or 0, items)

    def _search(self, arguments: bytes) -> Job:
        """RFC 9051 6.4.4: LARGER and SMALLER by the sizes that were told; the server does not know the estimates."""
        yield from ()
        assert self._sizes is not None
        estimates = list(self._sizes.estimates())
        every = sequence_set(uid for uid, _ in estimates)

        def told(found: re.Match[bytes]) -> bytes:
            limit, larger = int(found[2]), found[1].upper() == b"LARGER"
            inside = [uid for uid, size in estimates if (size > limit if larger else size < limit)]
            others = b"(%b NOT UID %b)" % (found[0], every)
            return b"(OR %b UID %b)" % (others, sequence_set(inside)) if inside else others

        return Forward(MAIN, _changed(arguments, told))

    def _sort(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 5256: the server sorts by its own sizes; we sort again by those that were told."""
        assert self._sizes is not None
        got = yield Ask(MAIN, (b"UID SORT " if head.uid else b"SORT ") + arguments, frozenset(["SORT"]))
        found = [int(each) for raw in got.responses for each in raw[6:].split() if each.isdigit()]
        if not got.ok or not found:
            for raw in got.responses:
                yield Say(raw)
            return Done(got.rest or b"NO [UNAVAILABLE] The server closed the connection.")
        known: dict[int, int] = {}

        def take(raw: bytes) -> None:
            try:
                response = parse_fetch(raw)
            except PeerError:
                return
            size = response.value("RFC822.SIZE") or b"0"
            told = self._sizes.get(response.uid) if self._sizes is not None and response.uid is not None else None
            known[(response.uid or 0) if head.uid else response.number] = told.octets if told is not None else int(size)

        yield Ask(
            MAIN,
            b"%bFETCH %b (UID RFC822.SIZE)" % (b"UID " if head.uid else b"", sequence_set(sorted(found))),
            frozenset(["FETCH"]),
            take=take,
        )
        first = _SORT_SIZE.match(arguments)
        sign = -1 if first is not None and first[1] else 1
        ordered = sorted(found, key=lambda each: sign * known.get(each, 0))
        yield Say(b"* SORT " + b" ".join(b"%d" % each for each in ordered) + b"\r\n")
        return Done(got.rest)

    # -- answers

    def _response(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        if self._sizer is not None and link.leg == MAIN and (match := UNTAGGED.match(raw)) is not None:
            kind = match[2].upper()
            if kind == b"FETCH" and self._sizes is not None and not isinstance(self._step, Ask):
                raw = self._whole(raw, out)
            elif kind == b"EXISTS" and match[1]:
                self._exists = int(match[1])
            elif kind == b"EXPUNGE":
                self._exists = max(0, self._exists - 1)
            elif kind == b"STATUS":
                raw = self._status(raw)
            elif kind == b"OK" and self._coming is not None and (found := _UID_VALIDITY.match(raw)) is not None:
                self._coming = self._coming._replace(uid_validity=int(found[1]))
        super()._response(link, raw, out)

    def _whole(self, raw: bytes, out: list[Decision]) -> bytes:
        """A FETCH response as the client gets it."""
        asked, sizes = self._answering, self._sizes
        assert sizes is not None
        try:
            response = parse_fetch(raw)
        except PeerError:
            return raw
        uid = response.uid
        if uid is None or uid > _MOST_UID:
            return raw
        value = response.value("RFC822.SIZE")
        belongs = asked is not None and all(
            any(name == each or name.startswith(each + "[") for name in response.items) for each in asked.names
        )
        if value is not None and value.isdigit():
            told_size = self._exact(uid, int(value))
            if told_size != int(value):
                raw = response.replaced({"RFC822.SIZE": b"%d" % told_size})
        elif belongs and asked is not None and asked.removed:
            known = self._annotated(uid)
            if known is not None:
                size = sizes.tell(uid, known, estimated=False)
                self._counts.exact += 1
            else:
                size = self._estimate(uid, response, out)
            end = raw.rindex(b")")
            raw = raw[:end] + b" RFC822.SIZE %d" % size + raw[end:]
        if belongs and asked is not None and not asked.uid:
            raw = _without_uid(raw)
        return raw

    def _exact(self, uid: int, size: int) -> int:
        """The truth about a message has come: what is told of it all the same."""
        assert self._sizes is not None
        known = self._sizes.get(uid)
        if known is None:
            return self._sizes.tell(uid, min(size, _MOST), estimated=False)
        if known.estimated and size and len(self._counts.off) < 1000:
            self._counts.off.append(known.octets / size)
        return known.octets

    def _estimate(self, uid: int, response: FetchResponse, out: list[Decision]) -> int:
        assert self._sizes is not None and self._sizer is not None
        known = self._sizes.get(uid)
        if known is not None:
            self._counts.exact += not known.estimated
            self._counts.estimated += known.estimated
            return known.octets
        try:
            said = self._sizer.sizer.estimate(self.view, self._sketch(response))
            size = said if isinstance(said, int) and 0 < said <= _MOST else _DEFAULT
        except Exception as error:
            self._blame("estimate", error, out)
            size = _DEFAULT
        self._counts.estimated += 1
        return self._sizes.tell(uid, size, estimated=True)

    def _annotated(self, uid: int) -> int | None:
        """The size of a message that is known because it is annotated."""
        return None

    # -- answers that pass in pieces

    @property
    def _holds_fetch(self) -> bool:
        """FETCH responses of the main server are given whole, unless they are too large for that."""
        if "FETCH" in MountedWatch.kinds.fget(self):  # type: ignore[attr-defined]
            return True
        return self._answering is not None and self._answering.removed

    def _usual_streams(self, leg: int) -> Callable[[bytes], bool] | None:
        return self._in_pieces if leg == MAIN and self._sizes is not None else None

    def _in_pieces(self, line: bytes) -> bool:
        """Of the first line of a response, whether it is given in pieces."""
        match = UNTAGGED.match(line)
        if match is None or match[2].upper() != b"FETCH" or isinstance(self._step, Ask):
            return False
        found = LITERAL.search(line, max(0, len(line) - 32))
        return not self._holds_fetch or (found is not None and int(found[1]) + len(line) > self.context.settings.limits.held)

    def _streamed(self, link: Link, piece: Piece, octets: bytes, out: list[Decision]) -> None:
        if link.leg != MAIN or self._sizes is None or self._transfers_from(MAIN):
            super()._streamed(link, piece, octets, out)
            return
        if self._sizing is None:
            self._heard_line(octets)
            self._sizing = FetchRewriter(None, {}, self.context.settings.limits.held, self._exact)
        rewriter = self._sizing
        data = rewriter.line(octets) if piece is Piece.LINE else rewriter.literal(octets)
        if rewriter.done:
            self._sizing = None
        self.outlet.put(link.leg, data, rewriter.done, out)

    def _may_pass(self, link: Link) -> bool:
        return super()._may_pass(link) or (link.leg == MAIN and not self._traced and self._sizing is not None and self._sizing.passes)

    def _passed(self, link: Link) -> None:
        super()._passed(link)
        if link.leg == MAIN and self._sizing is not None:
            self._sizing.skip()

    def _heard_line(self, line: bytes) -> None:
        """The first line of a FETCH response that passes in pieces: a whole message tells its size."""
        whole = _WHOLE.search(line) if self._sizes is not None else None
        uid = _UID.search(line) if whole is not None else None
        if whole is not None and uid is not None and int(uid[1]) <= _MOST_UID:
            self._exact(int(uid[1]), int(whole[1]))

    def _status(self, raw: bytes) -> bytes:
        """RFC 8438: never less than the sum of the sizes told."""
        open_ = raw.rfind(b"(")
        found = _STATUS_SIZE.search(raw, max(0, open_))
        name = unquoted(raw[9:open_].strip()) if open_ > 0 else None
        if found is None or name is None or self._ledger is None or not self._serves:
            return raw
        more = self._ledger.estimated(f"{self.view.server}/{self.view.user}", _name(name))
        return raw[: found.start(1)] + b"%d" % (int(found[1]) + more) + raw[found.end(1) :]

    # -- what is said of it

    def _blame(self, hook: str, error: BaseException, out: list[Decision]) -> None:
        assert self._sizer is not None
        out.append(Record("plugin.failed", {"plugin": self._sizer.plugin, "hook": f"sizer {hook}", "error": raised(error)}))

    def handle(self, event: Event, out: list[Decision]) -> None:
        super().handle(event, out)
        if self._sizer is not None and out and isinstance(out[-1], Close):
            self._sum_up(out)

    def _sum_up(self, out: list[Decision]) -> None:
        """For the log, before the session closes: what was told, and how far off it proved to be."""
        counts = self._counts
        if self._ledger is not None and self._mailbox is not None and self._sizes is not None:
            self._ledger.keep_sizes(self._mailbox, self._sizes)
        if counts.estimated or counts.exact:
            off = sorted(counts.off)
            fields: dict[str, object] = {"estimated": counts.estimated, "exact": counts.exact}
            if off:
                fields["off"] = round(off[len(off) // 2], 3)
            out.insert(len(out) - 1, Record("sizes.told", fields))


def _name(mailbox: bytes | None) -> str:
    text = (mailbox or b"").decode("utf-8", "replace")
    return "INBOX" if text.upper() == "INBOX" else text


def _spelled(command: FetchCommand, name: str, written: bytes) -> list[bytes]:
    return [each.encode() for each in MACROS[name]] if name in MACROS else [written]


def _without_uid(raw: bytes) -> bytes:
    """A FETCH response without its UID, which the client has not asked for."""
    response = parse_fetch(raw)
    start, end = response.items["UID"]
    begin = raw.upper().rindex(b"UID", 0, start)
    if raw[begin - 1 : begin] == b"(":
        return raw[:begin] + raw[end:].lstrip(b" ")
    return raw[: begin - 1] + raw[end:]


def _changed(arguments: bytes, change: Callable[[re.Match[bytes]], bytes]) -> bytes:
    """The arguments of a SEARCH with other conditions by size."""
    made, pos = b"", 0
    for start, end in outside_strings(arguments):
        made += arguments[pos:start] + _BY_SIZE.sub(change, arguments[start:end])
        pos = end
    return made + arguments[pos:]
