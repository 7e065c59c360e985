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
from portico.session.imap import sized_search
from portico.session.imap.announced import withheld_for_annotations
from portico.session.imap.errand import Answer, parted
from portico.session.imap.link import Link
from portico.session.imap.mounted import MountedWatch
from portico.session.imap.questions import in_pieces, numbers_in
from portico.session.imap.rewrite import LITERAL, FetchRewriter
from portico.session.imap.steps import Ask, Forward, Got, Job, Step
from portico.session.imap.watch import UNTAGGED, Watch
from portico.session.interests import BoundSizer, Compiled
from portico.session.sizes.sizer import Sketch, confident
from portico.session.sizes.sizes import MOST_OCTETS, MOST_UID, Sizes, SizesLedger
from portico.wire.fetch import MACROS, FetchCommand, parse_fetch_command, ranges_of, sequence_set
from portico.wire.imap import CommandLine, FetchResponse, parse_fetch, unquoted
from portico.wire.lines import Line
from portico.wire.skim import Piece

_HEADERS: Final = re.compile(r"(?:\d+(?:\.\d+)*\.)?(?:HEADER(?:\.FIELDS(?:\.NOT)? \(.*\))?|MIME)\Z", re.DOTALL)
"""Sections without a body in them."""
_FREE: Final = frozenset(["BODY", "BODYSTRUCTURE"])
"""To tell these the server reads the message: its size then costs nothing."""
_READS: Final = frozenset(["RFC822", "RFC822.TEXT", "BINARY", "BINARY.PEEK", "BINARY.SIZE"])
_SAMPLED: Final = frozenset(["ENVELOPE", "INTERNALDATE", "BODY.PEEK", "RFC822.HEADER"])
"""Items that may be asked along of messages in a sample: nothing changes by it."""
_OWN: Final = frozenset(["UID", "RFC822.SIZE", "MODSEQ"])
_NUMBERS: Final = frozenset(["EXISTS", "EXPUNGE", "VANISHED", "STATUS"])
_MOVES: Final = frozenset(["SELECT", "EXAMINE", "CLOSE", "UNSELECT"])
_SEARCHES: Final = frozenset(["SEARCH", "SORT", "THREAD"])
_WHOLE: Final = re.compile(rb"[ (](?:BODY\[\]|RFC822) \{(\d{1,19})\}\r?\n\Z", re.IGNORECASE)
_UID: Final = re.compile(rb"[ (]UID (\d{1,10})[ )]", re.IGNORECASE)
_PLAIN: Final = re.compile(rb"\* \d{1,10} FETCH \(UID (\d{1,10})[ )][^{]*(?<=\))\r\n\Z")
_UID_VALIDITY: Final = re.compile(rb"\* OK \[UIDVALIDITY (\d{1,10})\]", re.IGNORECASE)
_STATUS_SIZE: Final = re.compile(rb"[ (]SIZE (\d{1,19})(?=[ )])", re.IGNORECASE)
_DEFAULT: Final = 10_000
"""Octets, where a plugin fails."""
_ANSWER: Final = 32 << 20
"""Octets of one answer to a question of ours."""
_WRITTEN: Final = 2000
"""Sizes that are written down at once: all sessions wait meanwhile."""
_LEFT: Final = 1000
"""And a quarter of the mailbox: when so many messages more are remembered than there are, it is found out which have left."""


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
    """What has been told in one session."""

    estimated: int = 0
    exact: int = 0
    off: list[float] = field(default_factory=list)
    """Estimate by truth, of those whose size became known; at most a thousand."""


class SizedWatch(MountedWatch):
    """As MountedWatch; without a sizer it is one."""

    __slots__ = (
        "_answering", "_blamed", "_blames", "_coming", "_counts", "_exists", "_finding", "_found", "_ledger", "_looked",
        "_mailbox", "_serves", "_sizer", "_sizes", "_sizing", "_telling",
    )  # fmt: skip

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
        self._telling = False  # sizes are being told that nobody else may tell otherwise; only within one event
        self._exists = 0
        self._looked = False  # what could be found out about the mailbox has been asked
        self._finding = False  # the question under way is ours
        self._found: Answer | None = None  # the answer to it that is coming in pieces
        self._sizing: FetchRewriter | None = None  # of the response that passes in pieces
        self._answering: Asked | None = None
        self._counts = Counts()
        self._blamed: set[str] = set()
        self._blames: list[Decision] = []
        super().__init__(context, view, interests, capabilities, traced=traced, guarded=guarded or bool(sizers), attempt=attempt)
        if self._sizer is not None:
            self.named = self.named | {"FETCH", "ID"} | _SEARCHES | _MOVES

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
                self._blame("serves", error)
        if self._serves:
            self._coming = Mailbox(f"{self.view.server}/{self.view.user}", _name(mailbox), 0)

    def _completed(self, link: Link, raw: bytes) -> str:
        tag, _, rest = raw.partition(b" ")
        pending = link.pending.get(tag)
        name = super()._completed(link, raw)
        if self._answering is not None and tag == self._answering.tag:
            self._answering = None
            self._keep()
        if self._sizer is None or pending is None or name not in _MOVES:
            return name
        kind = rest[:2].upper()
        if name in ("SELECT", "EXAMINE"):
            coming, self._coming = self._coming, None
            if kind in (b"OK", b"NO"):
                self._leave(coming if kind == b"OK" and link.leg == MAIN else None)
        elif kind == b"OK":
            self._leave(None)
        return name

    def _leave(self, other: Mailbox | None) -> None:
        """The selected mailbox is not selected any more; but `other` is."""
        self._keep()
        self._mailbox, self._sizes, self._looked = None, None, False
        if other is not None and other.uid_validity and self._ledger is not None:
            self._mailbox, self._sizes = other, self._ledger.sizes(other)
            self._teach()
        if MAIN in self.links:
            self.links[MAIN].skimmer.streams = self._usual_streams(MAIN)
        self._tune_all()

    def _keep(self) -> None:
        self._telling = False
        if self._ledger is not None and self._mailbox is not None and self._sizes is not None:
            self._ledger.keep_sizes(self._mailbox, self._sizes)

    def _unknown(self, uid: int) -> bool:
        """Whether no size has been told of a message, by another process neither. If so nobody else tells one until `_keep`."""
        sizes = self._sizes
        if sizes is None or sizes.get(uid) is not None:
            return False
        if self._ledger is not None and self._mailbox is not None:
            self._telling = True
            self._ledger.begin_sizes(self._mailbox, sizes)
        return sizes.get(uid) is None

    def _teach(self) -> None:
        """What is remembered of true sizes, from before a restart, is told to the sizer; the newest, so many as a sample has."""
        sizes = self._sizes
        if sizes is None or sizes.taught:
            return
        sizes.taught = True
        if self._sample_size:
            for uid, octets in [(uid, octets) for uid, octets, estimated in sizes.each() if not estimated][-self._sample_size :]:
                self._learns(Sketch(self._mailbox.name if self._mailbox is not None else "", uid), octets)

    @property
    def _sample_size(self) -> int:
        sample = getattr(self._sizer.sizer, "sample", 0) if self._sizer is not None else 0
        return max(0, sample) if isinstance(sample, int) else 0

    # -- commands

    def _must_wait(self) -> bool:
        if self._answering is not None or super()._must_wait():
            return True
        # What a command asks for depends on the mailbox that is being selected.
        return self._sizer is not None and any(pending.name in _MOVES for link in self.links.values() for pending in link.pending.values())

    def _send(self, head: CommandLine, opening: bytes, arguments: bytes, message: Line | None, out: list[Decision]) -> None:
        if head.name == "ID":
            self._heard_id(arguments)
        job = self._size_job(head, arguments) if self._sizes is not None and self._mounts.selected in (None, MAIN) else None
        if job is None:
            super()._send(head, opening, arguments, message, out)
        else:
            self._park(head, opening, arguments, message, job, out)

    def _size_job(self, head: CommandLine, arguments: bytes) -> Job | None:
        """What is to be done for a command that asks for sizes."""
        if head.name == "FETCH":
            try:
                command = parse_fetch_command(arguments)
            except PeerError:
                return None  # the server says what is wrong
            return self._fetch(head, command) if "RFC822.SIZE" in command.names else None
        if head.name in _SEARCHES:
            job = sized_search.job(head, arguments, lambda: self._sizes)
            return None if job is None else self._found_out(job)
        return None

    def _found_out(self, job: Job) -> Job:
        """A job whose questions are about messages."""
        self._finding = True
        try:
            return (yield from job)
        finally:
            self._finding = False

    def _fetch(self, head: CommandLine, command: FetchCommand) -> Job:
        items = [word for item in command.items for word in _spelled(command, item.name, command.written(item))]
        lists = not any(item.name in _READS | _FREE and item.section is None for item in command.items) and all(
            item.section is None or (item.name.startswith("BODY") and _HEADERS.match(item.section)) for item in command.items
        )
        lists = lists and "BODY" not in command.names  # FULL
        if lists and self._sizes is not None:
            yield from self._found_out(self._prune())
            count = min(self._sample_size, self._exists)
            if len(self._sizes) < count and not self._looked:
                if self._named(head, command) <= count:
                    lists = False  # they are as good a sample as any
                else:
                    self._looked = True
                    yield from self._found_out(self._sample(command, count))
            lists = lists and self._confident()
        wanted = [item.upper() for item in items]
        asked = [
            b"UID",
            *(item for item, name in zip(items, wanted, strict=True) if name not in (b"UID", b"RFC822.SIZE" if lists else b"UID")),
        ]
        names = [name for item in command.items for name in MACROS.get(item.name, (item.answered_as[0],))]
        self._answering = Asked(head.tag, frozenset(names) - _OWN, head.uid or b"UID" in wanted, lists)
        return Forward(MAIN, command.with_items(asked))

    def _confident(self) -> bool:
        assert self._sizer is not None and self._mailbox is not None
        try:
            return confident(self._sizer.sizer, self.view, self._mailbox.name)
        except Exception as error:
            self._blame("confident", error)
            return False

    def _named(self, head: CommandLine, command: FetchCommand) -> int:
        """How many messages a command names, at most."""
        last = MOST_UID if head.uid else self._exists
        return min(self._exists, sum(high - low + 1 for low, high in ranges_of(command.messages, last)))

    def _sample(self, command: FetchCommand, count: int) -> Generator[Step, Got, Forward]:
        """The truth about a few messages of a mailbox of which nothing is known."""
        spread = sorted({1 + round(index * (self._exists - 1) / max(1, count - 1)) for index in range(count)})
        along = [command.written(item) for item in command.items if item.name in _SAMPLED]
        for part in in_pieces(sequence_set(spread)):
            ask = b"FETCH %b (%b)" % (part, b" ".join([b"UID", b"RFC822.SIZE", *along]))
            yield Ask(MAIN, ask, frozenset(["FETCH"]), take=self._learn)
        return Forward(MAIN, b"")

    def _prune(self) -> Generator[Step, Got, Forward]:
        """Messages that have left are forgotten, once they are many."""
        sizes, mailbox = self._sizes, self._mailbox
        if sizes is None or mailbox is None or self._ledger is None or self._looked:
            return Forward(MAIN, b"")
        if len(sizes) > self._exists + self._exists // 4 + _LEFT:
            self._looked = True
            got = yield Ask(MAIN, b"UID SEARCH ALL", frozenset(["SEARCH", "ESEARCH"]))
            there = set(numbers_in(got.responses, b"SEARCH"))
            if got.ok and len(there) == self._exists:
                self._keep()
                self._ledger.forget_sizes(mailbox, sizes.only(there))
        return Forward(MAIN, b"")

    def _learn(self, raw: bytes) -> None:
        """An answer about a message of the sample."""
        try:
            response = parse_fetch(raw)
        except PeerError:
            return
        size, uid = _number(response.value("RFC822.SIZE")), _uid(response)
        if size is not None and uid is not None:
            self._exact(uid, size, response)

    def _sketch(self, uid: int, response: FetchResponse | None) -> Sketch:
        items = {} if response is None else {name: response.raw[start:end] for name, (start, end) in response.items.items()}
        return Sketch(self._mailbox.name if self._mailbox is not None else "", uid, items)

    # -- answers

    def _response(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        if self._sizer is not None and link.leg == MAIN and (match := UNTAGGED.match(raw)) is not None:
            kind = match[2].upper()
            if kind == b"FETCH" and self._sizes is not None:
                if self._finding and self._asks(match):
                    # What a server volunteers it does not tell again.
                    ours, news = parted(raw)
                    if news:
                        Watch._response(self, link, news, out)
                    if not ours:
                        return
                elif not isinstance(self._step, Ask):
                    raw = self._whole(raw, out)
            elif kind == b"EXISTS" and match[1]:
                self._exists = int(match[1])
            elif kind == b"EXPUNGE":
                self._exists = max(0, self._exists - 1)
            elif kind == b"VANISHED" and not raw[11:].upper().startswith(b"(EARLIER)"):
                self._exists = max(0, self._exists - sum(high - low + 1 for low, high in ranges_of(raw[11:].strip(), 0)))
            elif kind == b"STATUS":
                raw = self._status(raw)
            elif kind == b"OK" and self._coming is not None and (found := _UID_VALIDITY.match(raw)) is not None:
                self._coming = self._coming._replace(uid_validity=int(found[1]))
        super()._response(link, raw, out)
        if self._blames:
            out += self._blames
            self._blames = []

    def _asks(self, untagged: re.Match[bytes]) -> bool:
        """Whether a response of the main server is an answer to a question of ours, by its kind."""
        return isinstance(self._step, Ask) and self._step.leg == MAIN and untagged[2].upper().decode("ascii") in self._step.kinds

    def _whole(self, raw: bytes, out: list[Decision]) -> bytes:
        """A FETCH response as the client gets it."""
        asked, sizes = self._answering, self._sizes
        if asked is not None and asked.removed and asked.uid and sizes is not None and (plain := _PLAIN.match(raw)) is not None:
            known = sizes.get(int(plain[1]))
            if known is not None and b"RFC822.SIZE" not in raw:  # many of a list that has been told before: need not be taken apart
                self._counts.exact += not known.estimated
                self._counts.estimated += known.estimated
                return b"%b RFC822.SIZE %d)\r\n" % (raw[:-3], known.octets)
        try:
            response = parse_fetch(raw)
        except PeerError:
            return raw
        uid = _uid(response)
        if uid is None:
            return raw
        value = _number(response.value("RFC822.SIZE"))
        names = {name.partition("[")[0] for name in response.items}
        belongs = asked is not None and asked.names <= names
        if value is not None:
            told_size = self._exact(uid, value, response)
            if told_size != value:
                raw = response.replaced({"RFC822.SIZE": b"%d" % told_size})
        elif belongs and asked is not None and asked.removed:
            size = self._estimate(uid, response)
            end = raw.rindex(b")")
            raw = raw[:end] + b" RFC822.SIZE %d" % size + raw[end:]
        if asked is not None and not asked.uid and names <= asked.names | _OWN:  # what has more may be volunteered, and need its UID
            raw = _without_uid(raw)
        return raw

    def _exact(self, uid: int, size: int, response: FetchResponse | None = None) -> int:
        """The truth about a message has come: what is told of it all the same."""
        sizes = self._sizes
        if sizes is None or not 0 < uid <= MOST_UID:
            return size
        if self._unknown(uid):
            self._learns(self._sketch(uid, response), size)
            return sizes.tell(uid, size, estimated=False)
        known = sizes.get(uid)
        assert known is not None
        if known.estimated and size and len(self._counts.off) < 1000:
            self._counts.off.append(known.octets / size)
        return known.octets

    def _estimate(self, uid: int, response: FetchResponse | None) -> int:
        sizes, sizer = self._sizes, self._sizer
        assert sizes is not None and sizer is not None
        if self._unknown(uid):
            true = self._annotated(uid)
            if true is not None:
                sizes.tell(uid, true, estimated=False)
            else:
                try:
                    said = sizer.sizer.estimate(self.view, self._sketch(uid, response))
                    size = said if isinstance(said, int) and 0 < said <= MOST_OCTETS else _DEFAULT
                except Exception as error:
                    self._blame("estimate", error)
                    size = _DEFAULT
                sizes.tell(uid, size, estimated=True)
            if len(sizes.new) >= _WRITTEN:
                self._keep()
        known = sizes.get(uid)
        assert known is not None
        self._counts.exact += not known.estimated
        self._counts.estimated += known.estimated
        return known.octets

    def _learns(self, sketch: Sketch, size: int) -> None:
        assert self._sizer is not None
        try:
            self._sizer.sizer.learn(self.view, sketch, size)
        except Exception as error:
            self._blame("learn", error)

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
        """Of the first line of a response, whether it is given in pieces. An answer to a question of ours always is: none of it is the
        client's, whatever its length."""
        match = UNTAGGED.match(line)
        if match is None:
            return False
        if self._finding and self._asks(match):
            return True
        if match[2].upper() != b"FETCH" or isinstance(self._step, Ask):
            return False
        found = LITERAL.search(line, max(0, len(line) - 32))
        return not self._holds_fetch or len(line) + (int(found[1]) if found is not None else 0) > self.context.settings.limits.held

    def _is_found(self, link: Link, piece: Piece, octets: bytes, out: list[Decision]) -> bool:
        """Whether a piece is of an answer to a question of ours; if so it is taken."""
        if self._found is None:
            match = UNTAGGED.match(octets) if self._finding and self._sizing is None and link.leg == MAIN else None
            if match is None or not self._asks(match):
                return False
            self._found = Answer(self.context.settings.limits.held if match[2].upper() == b"FETCH" else _ANSWER)
        if self._found.add(octets, line=piece is Piece.LINE):
            raw, self._found = self._found.take(), None
            if raw:
                self._response(link, raw, out)
        return True

    def _streamed(self, link: Link, piece: Piece, octets: bytes, out: list[Decision]) -> None:
        if link.leg != MAIN or self._sizes is None or self._transfers_from(MAIN):
            super()._streamed(link, piece, octets, out)
            return
        if self._is_found(link, piece, octets, out):
            return
        if self._sizing is None:
            if piece is Piece.LINE and b"822" not in octets and octets[-3:-2] != b"}":
                self.outlet.put(link.leg, octets, True, out)  # flags, most of the time: no size, and no body to tell one
                return
            self._heard_line(octets)
            self._sizing = FetchRewriter(None, {}, self.context.settings.limits.held, self._exact)
        rewriter = self._sizing
        data = rewriter.line(octets) if piece is Piece.LINE else rewriter.literal(octets)
        if rewriter.done:
            self._sizing = None
            data = self._with_size(rewriter, data)
        self.outlet.put(link.leg, data, rewriter.done, out)

    def _with_size(self, rewriter: FetchRewriter, end: bytes) -> bytes:
        """The end of a FETCH response that has passed in pieces, with the size that is missing in it."""
        close, uid = end.rfind(b")"), rewriter.uid
        known = uid is not None and 0 < uid <= MOST_UID and self._sizes is not None
        if rewriter.owed is not None:
            size = self._exact(uid or 0, rewriter.owed) if known else rewriter.owed
        elif known and uid is not None and self._answering is not None and self._answering.removed:
            size = self._estimate(uid, None)
        else:
            return end
        return end[:close] + b" RFC822.SIZE %d" % size + end[close:] if close >= 0 else end

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
        if whole is not None and uid is not None:
            true = self._annotated(int(uid[1]))
            self._exact(int(uid[1]), int(whole[1]) if true is None else true)

    def _status(self, raw: bytes) -> bytes:
        """RFC 8438: never less than the sum of the sizes told."""
        open_ = raw.rfind(b"(")
        found = _STATUS_SIZE.search(raw, max(0, open_))
        name = unquoted(raw[9:open_].strip()) if open_ > 0 else None
        if found is None or name is None or self._ledger is None or self._serves is False:
            return raw
        more = self._ledger.estimated(f"{self.view.server}/{self.view.user}", _name(name))
        return raw[: found.start(1)] + b"%d" % (int(found[1]) + more) + raw[found.end(1) :]

    # -- what is said of it

    def _blame(self, hook: str, error: BaseException) -> None:
        """A plugin's failure is said once in a session: it may be asked about a hundred thousand messages."""
        assert self._sizer is not None
        if hook not in self._blamed:
            self._blamed.add(hook)
            self._blames.append(Record("plugin.failed", {"plugin": self._sizer.plugin, "hook": f"sizer {hook}", "error": raised(error)}))

    def handle(self, event: Event, out: list[Decision]) -> None:
        try:
            super().handle(event, out)
        finally:
            if self._telling:  # written down before a client hears of it
                self._keep()
        if self._sizer is not None and out and isinstance(out[-1], Close):
            self._sum_up(out)

    def _sum_up(self, out: list[Decision]) -> None:
        """For the log, before the session closes: what was told, and how far off it proved to be."""
        counts = self._counts
        self._keep()
        if counts.estimated or counts.exact:
            off = sorted(counts.off)
            fields: dict[str, object] = {"estimated": counts.estimated, "exact": counts.exact}
            if off:
                fields["off"] = round(off[len(off) // 2], 3)
                fields["ratios"] = off  # for who counts; the log has the median
            out.insert(len(out) - 1, Record("sizes.told", fields))


def _name(mailbox: bytes | None) -> str:
    text = (mailbox or b"").decode("utf-8", "replace")
    return "INBOX" if text.upper() == "INBOX" else text


def _spelled(command: FetchCommand, name: str, written: bytes) -> list[bytes]:
    return [each.encode() for each in MACROS[name]] if name in MACROS else [written]


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and len(value) < 20 and value.isdigit() else None


def _uid(response: FetchResponse) -> int | None:
    """One that can be."""
    uid = response.uid
    return uid if uid is not None and 0 < uid <= MOST_UID else None


def _without_uid(raw: bytes) -> bytes:
    """A FETCH response without its UID, which the client has not asked for."""
    response = parse_fetch(raw)
    start, end = response.items["UID"]
    begin = raw.upper().rindex(b"UID", 0, start)
    if raw[begin - 1 : begin] == b"(":
        return raw[:begin] + raw[end:].lstrip(b" ")
    return raw[: begin - 1] + raw[end:]
