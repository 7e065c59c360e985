"""A watched IMAP session whose messages may be annotated.

Rule of this file: when errands are sent and what of the server's answers is theirs; which messages are annotated is decided in
imap.annotate. An errand is sent only when nothing of the client's is under way, and the client is not read until it is answered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from portico.session.annotations.annotation import Ledger
from portico.session.annotations.judge import Judge
from portico.session.annotations.splice import Range
from portico.session.annotations.transform import Transforms
from portico.session.context import Context, LoginAttempt, SessionView
from portico.session.decisions import Close, Decision, Record
from portico.session.events import MAIN, Event
from portico.session.imap.announced import withheld_for_annotations
from portico.session.imap.errand import Answer, parted
from portico.session.imap.link import Link, Pending
from portico.session.imap.plan import Errand, Job, Plan, Result, Say
from portico.session.imap.rewrite import LITERAL, FetchRewriter, Section, rewrite_whole
from portico.session.imap.sized import SizedWatch
from portico.session.imap.transform import Transformations
from portico.session.imap.watch import UNTAGGED, Watch, pattern
from portico.session.interests import Compiled, Refuse
from portico.wire.imap import CommandLine
from portico.wire.lines import Line
from portico.wire.skim import Piece

_OURS = b"portico"
_NUMBERS = frozenset(["EXISTS", "EXPUNGE", "VANISHED", "STATUS"])
_REFUSED = frozenset(["NOTIFY", "CONVERT", "URLFETCH", "GENURLAUTH"])
"""Commands that show messages in ways that are not handled, of extensions that are not announced."""
_MOVES = frozenset(["SELECT", "EXAMINE", "CLOSE", "UNSELECT"])


class AnnotatedWatch(SizedWatch):
    """As SizedWatch; `judge` and `ledger` say and remember what is annotated."""

    __slots__ = (
        "_annotations", "_answer", "_errand", "_failing", "_for_us", "_job", "_now", "_number", "_plan", "_ranged", "_ranges", "_rewriter",
        "_sent", "_stale", "_waiting",
    )  # fmt: skip

    gathered = Watch.gathered | frozenset(["FETCH", "SEARCH", "SORT", "THREAD", "STATUS", "CLOSE", "UNSELECT", "ID"]) | _REFUSED

    def __init__(
        self,
        context: Context,
        view: SessionView,
        interests: Compiled | None,
        capabilities: list[bytes],
        judge: Judge,
        transforms: Transforms,
        ledger: Ledger,
        *,
        traced: bool = False,
        attempt: LoginAttempt | None = None,
    ) -> None:
        held = context.settings.limits.held
        account = view.reader
        self._annotations = Transformations(judge, transforms, ledger, account, newest=context.newest, held=held)
        self._now: list[Decision] = []
        self._job: Job | None = None
        self._waiting: tuple[CommandLine, bytes, bytes] | None = None  # the client's command that waits for the job
        self._errand: Errand | None = None
        self._sent = b""  # its tag, once it has been sent
        self._answer: Answer | None = None  # what has come of the answer to it
        self._for_us = False  # the response that is being streamed is part of it
        self._plan: Plan | None = None  # the job is done; the command waits until nothing is under way
        self._failing: tuple[bytes, tuple[str, str]] | None = None  # tag of the client's command that is told NO where the server says OK
        self._ranged: bytes | None = None  # tag of the client's command that was sent with other ranges
        self._ranges: dict[Section, Range] = {}
        self._rewriter: FetchRewriter | None = None  # of the response that is being streamed
        self._number = 0
        self._stale = False  # what is cut out of the stream has to be told anew
        super().__init__(context, view, interests, capabilities, traced=traced, guarded=True, attempt=attempt)
        self.links[MAIN].skimmer.streams = self._streams

    @property
    def kinds(self) -> frozenset[str]:
        active = self._annotations.any or self._errand is not None or bool(self._ranges) or self._rewriter is not None
        errands = self._errand.kinds if self._errand is not None else frozenset()
        return super().kinds | _NUMBERS | errands | (frozenset(["FETCH"]) if active else frozenset())

    def announces(self, name: bytes) -> bool:
        return super().announces(name) and not withheld_for_annotations(name)

    def handle(self, event: Event, out: list[Decision]) -> None:
        self._now = out
        super().handle(event, out)
        if out and isinstance(out[-1], Close) and self._annotations.shown:
            out.insert(len(out) - 1, Record("annotations.shown", {"messages": self._annotations.shown}))

    def begin(self, from_client: bytes, from_server: bytes, out: list[Decision]) -> None:
        self._now = out
        super().begin(from_client, from_server, out)

    # -- from the client

    def _must_wait(self) -> bool:
        return (
            super()._must_wait()
            or self._waiting is not None
            or self._ranged is not None
            or any(pending.name in _MOVES for pending in self.links[MAIN].pending.values())
        )

    def _send(self, head: CommandLine, opening: bytes, arguments: bytes, message: Line | None, out: list[Decision]) -> None:
        if head.name in _REFUSED:
            self._refuse_command(head, Refuse("This extension is not offered.", "CANNOT"), message, out)
            return
        if head.name == "ID":
            self._heard_id(arguments)
        elif head.name == "FETCH" and not self.links[MAIN].pending and self._annotations.untouched(head.uid, arguments):
            super()._send(head, opening, arguments, message, out)
            return
        ours = message is None and not (head.name == "SORT" and self._sizes is not None and self._sizes.estimated)  # else by the sizes told
        made = self._annotations.job(head.name, head.uid, arguments, lambda: self._now) if ours else None
        if made is None:
            super()._send(head, opening, arguments, message, out)
            return
        self._waiting = (head, opening, arguments)
        if isinstance(made, Plan):
            self._carry_out(made, out)
        else:
            self._job = made
            self._resume(partial(next, made), out)

    def _selects(self, leg: int, mailbox: bytes | None, out: list[Decision]) -> None:
        super()._selects(leg, mailbox, out)
        if leg == MAIN:
            self._annotations.selecting(mailbox, out)

    # -- errands

    def _resume(self, step: partial[Errand | Say | None], out: list[Decision]) -> None:
        """Go on with the job until it needs the server or is done."""
        assert self._job is not None
        try:
            errand = step()
            while isinstance(errand, Say) or (errand is None and not self.links[MAIN].pending):
                if errand is not None:
                    self._say(errand.lines, out)
                errand = next(self._job)
        except StopIteration as end:
            self._job, self._errand = None, None
            self._plan = end.value or Plan(self._waiting[2] if self._waiting is not None else b"")
            self._when_idle(out)
            return
        self._errand = errand
        self._when_idle(out)

    def _say(self, response: bytes, out: list[Decision]) -> None:
        """A response of ours, which the plugins are asked about as if the server had said it."""
        link = self.links[MAIN]
        held = self.context.settings.limits.held
        if len(response) > held:
            if "FETCH" in super().kinds:
                out.append(Record("plugin.held_too_much", {"octets": held, "what": "FETCH"}))
            self.outlet.put(link.leg, response, True, out)
        else:
            Watch._response(self, link, response, out)

    def _when_idle(self, out: list[Decision]) -> None:
        """Do what had to wait until nothing of the client's is under way."""
        if self._waiting is None or self.links[MAIN].pending:
            return
        if self._plan is not None:
            plan, self._plan = self._plan, None
            self._carry_out(plan, out)
        elif self._job is not None and self._errand is None:
            self._resume(partial(next, self._job), out)
        elif self._errand is not None and not self._sent:
            self._sent = _OURS + b"%d" % self.commands
            self._answer = Answer(self.context.settings.limits.held)
            self._ranges = dict(self._errand.ranges)
            self._tune()
            link = self.links[MAIN]
            link.send_command(self._sent, Pending(""), b"%b %b\r\n" % (self._sent, self._errand.command), out)

    def _carry_out(self, plan: Plan, out: list[Decision]) -> None:
        """Send the client's command as it was planned, or answer it."""
        assert self._waiting is not None
        (head, opening, _), self._waiting = self._waiting, None
        self._tune()
        if plan.refusal:
            self.outlet.compose(b"%b NO [%b] %b\r\n" % (head.tag, plan.code.encode(), plan.refusal.encode()), out)
        elif plan.answer is not None:
            self.outlet.compose(b"%b%b OK Completed.\r\n" % (plan.answer, head.tag), out)
        else:
            if plan.failure is not None:
                self._failing = head.tag, plan.failure
            if plan.ranges:
                self._ranged, self._ranges = head.tag, plan.ranges
                self._tune()
            super()._send(head, opening, plan.arguments, None, out)

    def _usual_streams(self, leg: int) -> Callable[[bytes], bool] | None:
        return self._streams if leg == MAIN else None

    def _tune(self) -> None:
        """What is cut out of the stream depends on what is under way and on whether anything is annotated."""
        self._stale = False
        self.links[MAIN].skimmer.want(pattern(self.kinds), self._numbers)

    def _tune_all(self) -> None:
        super()._tune_all()
        self._tune()

    @property
    def _numbers(self) -> frozenset[bytes] | None:
        """The messages whose FETCH responses are looked at; None: all."""
        if self._errand is not None or self._ranges or "FETCH" in super().kinds:
            return None
        return self._annotations.numbers

    # -- from the server

    def _streams(self, line: bytes) -> bool:
        """What is an errand's is given in pieces, so that none of it reaches the client, whatever its length. FETCH responses to the
        client are given in pieces too, but for those that a plugin wants to see whole and that are not too large for that."""
        match = UNTAGGED.match(line)
        if match is None or self._is_ours(match) or (self._finding and self._asks(match)):
            return match is not None
        if match[2].upper() != b"FETCH":
            return False
        if not self._holds_fetch:
            return True
        found = LITERAL.search(line, max(0, len(line) - 32))
        return found is not None and int(found[1]) + len(line) > self.context.settings.limits.held

    def _is_ours(self, untagged: re.Match[bytes]) -> bool:
        """Whether a response is the answer to an errand, by its kind."""
        return bool(self._sent) and self._errand is not None and untagged[2].upper().decode("ascii") in self._errand.kinds

    def _response(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        match = UNTAGGED.match(raw)
        if match is not None and link.leg == MAIN:
            kind = match[2].decode("ascii").upper()
            number = int(match[1]) if match[1] else None
            if kind == "STATUS":
                raw = self._annotations.status(raw, out)
            elif kind == "FETCH":
                rewriter = self._annotations.rewriter(number or 0, self._ranges)
                raw = rewrite_whole(rewriter, raw)
                self._annotations.ended(number or 0, rewriter, out)
            else:
                self._annotations.heard(kind, number, raw)
                if kind in _NUMBERS:
                    self._tune()
        super()._response(link, raw, out)

    def _streamed(self, link: Link, piece: Piece, octets: bytes, out: list[Decision]) -> None:
        if link.leg != MAIN or self._transfers_from(MAIN):
            super()._streamed(link, piece, octets, out)
            return
        rewriter = self._rewriter
        match = UNTAGGED.match(octets) if rewriter is None and not self._for_us else None  # a response begins
        if self._for_us or (match is not None and self._is_ours(match)):
            assert self._answer is not None
            self._for_us = not self._answer.add(octets, line=piece is Piece.LINE)
            if not self._for_us:
                self._answered(link, self._answer.take(), out)
            return
        if rewriter is None and self._is_found(link, piece, octets, out):
            return
        if rewriter is None:
            self._number = int(match[1]) if match is not None and match[1] else 0
            self._heard_line(octets)
            told = self._exact if self._sizes is not None else None
            self._rewriter = rewriter = self._annotations.rewriter(self._number, self._ranges, told)
        data = rewriter.line(octets) if piece is Piece.LINE else rewriter.literal(octets)
        if rewriter.done:
            self._rewriter = None
            self._annotations.ended(self._number, rewriter, out)
            data = self._with_size(rewriter, data)
        self.outlet.put(link.leg, data, rewriter.done, out)

    def _annotated(self, uid: int) -> int | None:
        selected = self._annotations.selected
        made = selected.known.annotations.get(str(uid)) if selected is not None else None
        return made.size + made.octets if made is not None else None

    def _may_pass(self, link: Link) -> bool:
        if link.leg != MAIN or self._rewriter is None:
            return super()._may_pass(link)
        return super()._may_pass(link) or (not self._traced and self._rewriter.passes)

    def _passed(self, link: Link) -> None:
        super()._passed(link)
        if link.leg == MAIN and self._rewriter is not None:
            self._rewriter.skip()

    def _answered(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        """A response to an errand has come whole (empty: it was too large). What in it is news for the client goes to it."""
        ours, news = parted(raw)
        if ours and raw and self._answer is not None:
            self._answer.keep(raw)
        if news and (not ours or (self._errand is not None and self._errand.news)):
            self._response(link, news, out)

    def _from_server(self, link: Link, data: bytes, out: list[Decision]) -> None:
        super()._from_server(link, data, out)
        if self._sent and link.leg == MAIN and self._sent not in link.pending:
            self._errand_done(False, out)  # its end was too long a line to be understood
        elif self._waiting is not None:
            self._when_idle(out)

    def _errand_done(self, ok: bool, out: list[Decision]) -> None:
        assert self._job is not None and self._answer is not None
        result = Result(ok, self._answer.responses, self._answer.cut)
        self._sent, self._errand, self._answer, self._ranges = b"", None, None, {}
        self._tune()
        self._resume(partial(self._job.send, result), out)

    def _tagged(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        tag, _, rest = raw.partition(b" ")
        if self._sent and tag == self._sent and self._job is not None:
            link.completed(tag)
            self._errand_done(rest[:2].upper() == b"OK", out)
            return
        if self._failing is not None and tag == self._failing[0] and link.leg == MAIN:
            (_, (code, text)), self._failing = self._failing, None
            raw = b"%b NO [%b] %b\r\n" % (tag, code.encode(), text.encode()) if rest[:2].upper() == b"OK" else raw
        super()._tagged(link, raw, out)
        if link.leg != MAIN:
            return
        if self._stale:
            self._tune()
        self._when_idle(out)

    def _completed(self, link: Link, raw: bytes) -> str:
        tag, _, rest = raw.partition(b" ")
        known = tag in link.pending and link.leg == MAIN
        name = super()._completed(link, raw)
        if known and name in ("SELECT", "EXAMINE"):
            self._annotations.select_ended(rest[:2].upper() == b"OK", failed=rest[:2].upper() == b"NO")
            self._stale = True
        elif known and name in _MOVES and rest[:2].upper() == b"OK":
            self._annotations.left()
            self._stale = True
        if tag == self._ranged and link.leg == MAIN:
            self._ranged, self._ranges, self._stale = None, {}, True
        return name
