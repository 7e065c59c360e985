"""A watched IMAP session whose messages may be annotated.

Rule of this file: when errands are sent and what of the server's answers is theirs; which messages are annotated is decided in
imap.annotate. An errand is sent only when nothing of the client's is under way, and the client is not read until it is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from portico.errors import PeerError
from portico.session.annotations.annotation import Ledger
from portico.session.annotations.judge import Judge
from portico.session.annotations.splice import Range
from portico.session.annotations.transform import Transforms
from portico.session.context import Context, LoginAttempt, SessionView
from portico.session.decisions import Decision
from portico.session.events import MAIN, Event
from portico.session.imap.annotate import STRUCTURE, Errand, Job, Plan, Result, Say, withheld_for_annotations
from portico.session.imap.client_id import client_id
from portico.session.imap.link import Link, Pending
from portico.session.imap.mounted import MountedWatch
from portico.session.imap.rewrite import LITERAL, FetchRewriter, Section, rewrite_whole
from portico.session.imap.transform import Transformations
from portico.session.imap.watch import UNTAGGED, Watch, pattern
from portico.session.interests import Compiled
from portico.wire.imap import CommandLine, fetch_items
from portico.wire.lines import Line
from portico.wire.skim import Piece

_OURS = b"portico"
_NUMBERS = frozenset(["EXISTS", "EXPUNGE", "VANISHED", "STATUS"])
_MOVES = frozenset(["SELECT", "EXAMINE", "CLOSE", "UNSELECT"])
_ASKED_FOR = ("BODYSTRUCTURE", "ENVELOPE", "RFC822.SIZE")


class AnnotatedWatch(MountedWatch):
    """As MountedWatch; `judge` and `ledger` say and remember what is annotated."""

    __slots__ = (
        "_annotations", "_collected", "_errand", "_failing", "_job", "_now", "_number", "_plan", "_ranged", "_ranges", "_rewriter", "_sent",
        "_waiting",
    )  # fmt: skip

    gathered = Watch.gathered | frozenset(["FETCH", "SEARCH", "SORT", "CLOSE", "UNSELECT", "ID"])

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
        account = f"{view.server}/{view.user}"
        self._annotations = Transformations(judge, transforms, ledger, account, newest=context.newest, held=held)
        self._now: list[Decision] = []
        self._job: Job | None = None
        self._waiting: tuple[CommandLine, bytes, bytes] | None = None  # the client's command that waits for the job
        self._errand: Errand | None = None
        self._sent = b""  # its tag, once it has been sent
        self._collected: list[bytes] = []
        self._plan: Plan | None = None  # the job is done; the command waits until nothing is under way
        self._failing: tuple[bytes, tuple[str, str]] | None = None  # tag of the client's command that is told NO where the server says OK
        self._ranged: bytes | None = None  # tag of the client's command that was sent with other ranges
        self._ranges: dict[Section, Range] = {}
        self._rewriter: FetchRewriter | None = None  # of the response that is being streamed
        self._number = 0
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
        if head.name == "ID":
            self._heard_id(arguments)
        made = self._annotations.job(head.name, head.uid, arguments, lambda: self._now) if message is None else None
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
        if leg == MAIN:
            self._annotations.selecting(mailbox, out)

    def _heard_id(self, arguments: bytes) -> None:
        """Most mail programs say who they are when they have signed in (RFC 2971); annotators are asked about them at the first SELECT."""
        try:
            self.view.client_id = client_id(arguments)
        except PeerError:
            return  # the server will say what is wrong

    # -- errands

    def _resume(self, step: partial[Errand | Say | None], out: list[Decision]) -> None:
        """Go on with the job until it needs the server or is done."""
        assert self._job is not None
        try:
            errand = step()
            while isinstance(errand, Say) or (errand is None and not self.links[MAIN].pending):
                if errand is not None:
                    self.outlet.compose(errand.lines, out)
                errand = next(self._job)
        except StopIteration as end:
            self._job, self._errand = None, None
            self._plan = end.value or Plan(self._waiting[2] if self._waiting is not None else b"")
            self._when_idle(out)
            return
        self._errand = errand
        self._when_idle(out)

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
            self._collected = []
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
        self.links[MAIN].skimmer.want(pattern(self.kinds), self._numbers)

    @property
    def _numbers(self) -> frozenset[bytes] | None:
        """The messages whose FETCH responses are looked at; None: all."""
        if self._errand is not None or self._ranges or "FETCH" in super().kinds:
            return None
        return self._annotations.numbers

    # -- from the server

    def _streams(self, line: bytes) -> bool:
        """FETCH responses to the client are given in pieces. Those of an errand are held, and those that a plugin wants to see whole,
        unless they are too large for that."""
        match = UNTAGGED.match(line)
        if match is None or match[2].upper() != b"FETCH" or (self._sent and self._errand is not None and "FETCH" in self._errand.kinds):
            return False
        if "FETCH" not in super().kinds:
            return True
        found = LITERAL.search(line, max(0, len(line) - 32))
        return found is not None and int(found[1]) + len(line) > self.context.settings.limits.held

    def _response(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        match = UNTAGGED.match(raw)
        if match is not None and link.leg == MAIN:
            kind = match[2].decode("ascii").upper()
            number = int(match[1]) if match[1] else None
            if self._sent and self._errand is not None and kind in self._errand.kinds and (kind != "FETCH" or _answers_us(raw)):
                self._collected.append(raw)
                return
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
        if rewriter is None:
            match = UNTAGGED.match(octets)
            self._number = int(match[1]) if match is not None and match[1] else 0
            self._rewriter = rewriter = self._annotations.rewriter(self._number, self._ranges)
        data = rewriter.line(octets) if piece is Piece.LINE else rewriter.literal(octets)
        if rewriter.done:
            self._rewriter = None
            self._annotations.ended(self._number, rewriter, out)
        self.outlet.put(link.leg, data, rewriter.done, out)

    def _may_pass(self, link: Link) -> bool:
        if link.leg != MAIN or self._rewriter is None:
            return super()._may_pass(link)
        return super()._may_pass(link) or (not self._traced and self._rewriter.passes)

    def _passed(self, link: Link) -> None:
        super()._passed(link)
        if link.leg == MAIN and self._rewriter is not None:
            self._rewriter.skip()

    def _tagged(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        tag, _, rest = raw.partition(b" ")
        if self._sent and tag == self._sent and self._job is not None:
            link.completed(tag)
            result = Result(rest[:2].upper() == b"OK", self._collected)
            self._sent, self._errand, self._collected, self._ranges = b"", None, [], {}
            self._tune()
            self._resume(partial(self._job.send, result), out)
            return
        pending = link.pending.get(tag)
        if self._failing is not None and tag == self._failing[0] and link.leg == MAIN:
            (_, (code, text)), self._failing = self._failing, None
            raw = b"%b NO [%b] %b\r\n" % (tag, code.encode(), text.encode()) if rest[:2].upper() == b"OK" else raw
        super()._tagged(link, raw, out)
        if link.leg != MAIN:
            return
        if pending is not None:
            ok, no = rest[:2].upper() == b"OK", rest[:2].upper() == b"NO"
            if pending.name in ("SELECT", "EXAMINE"):
                self._annotations.select_ended(ok, failed=no)
            elif pending.name in _MOVES and ok:
                self._annotations.left()
        if tag == self._ranged:
            self._ranged, self._ranges = None, {}
        self._tune()
        self._when_idle(out)


def _answers_us(raw: bytes) -> bool:
    """Whether a FETCH response is the answer to an errand. Flags that the server volunteers meanwhile are the client's."""
    if STRUCTURE.match(raw) is not None:
        return True
    match = UNTAGGED.match(raw)
    start = raw.find(b"(", match.end() if match is not None else 0) + 1
    try:
        names = {name for name, _, _ in fetch_items(raw, start)[0]}
    except Exception:
        return False
    return "FLAGS" not in names or any(name in _ASKED_FOR or name.startswith("BODY[") for name in names)
