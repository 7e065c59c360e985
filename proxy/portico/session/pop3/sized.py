"""A watched POP3 session in which sizes of messages are told by estimate.

Rule of this file: LIST and STAT are answered here, from the unique-ids that the server has told (for UIDL it need not read a message) and
the sizes that were told of them before; all else passes. RFC 1939 5 and 11 want exact numbers, so this is off unless asked for.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from portico.errors import PeerError
from portico.session.annotations.annotation import Mailbox
from portico.session.ask import raised
from portico.session.context import Context, SessionView
from portico.session.decisions import Close, Decision, Record, SendToServer
from portico.session.events import MAIN, Event
from portico.session.interests import BoundSizer, Compiled
from portico.session.pop3.annotated import OCTETS
from portico.session.pop3.watch import Pending, Watch
from portico.session.sizes.sizer import Sketch, confident
from portico.session.sizes.sizes import MOST_OCTETS, MOST_UID, SizesLedger
from portico.wire.pop3 import body_lines, parse_command

_ONE: Final = re.compile(rb"\+OK (\d{1,9}) (\d{1,19})(?![^ \r\n])", re.IGNORECASE)
_SIZES: Final = frozenset(["LIST", "STAT"])
_DEFAULT: Final = 10_000
"""Octets, where a plugin fails."""
_LEFT: Final = 1000
"""And a quarter of the maildrop: when so many messages more are remembered than there are, those that have left are forgotten."""


class SizedWatch(Watch):
    """As Watch. `ledger` remembers what was told."""

    __slots__ = (
        "_asking", "_blamed", "_delayed", "_deleted", "_estimated", "_exact", "_ledger", "_mailbox", "_sample", "_sizer", "_sizes",
        "_telling", "_uids",
    )  # fmt: skip

    def __init__(
        self, context: Context, view: SessionView, interests: Compiled, sizer: BoundSizer, ledger: SizesLedger, *, traced: bool = False
    ) -> None:
        super().__init__(context, view, interests, traced=traced)
        self._sizer = sizer
        self._ledger = ledger
        self._mailbox = Mailbox(f"{view.server}/{view.user}", "POP3", 1)
        self._sizes = ledger.sizes(self._mailbox)
        self._uids: dict[int, int] | None = None
        """Number to unique-id, as a number; None: UIDL has not been answered; empty: it was refused, and the server says the sizes."""
        self._asking = False
        self._delayed: tuple[bytes, bytes] | None = None
        """The client's command that waits for the unique-ids, or for what was asked before it."""
        self._deleted: set[int] = set()
        self._sample: list[int] = []  # messages whose sizes are to be asked for
        self._estimated = self._exact = 0
        self._blamed = False
        self._telling = False  # sizes are being told that nobody else may tell otherwise; only within one event

    # -- from the client

    def may_read(self) -> bool:
        return super().may_read() and self._delayed is None

    @property
    def under_way(self) -> bool:
        return self._delayed is not None or super().under_way

    def _command(self, data: bytes, text: bytes, out: list[Decision]) -> None:
        try:
            head = parse_command(text)
        except PeerError:
            super()._command(data, text, out)
            return
        # Another plugin that looks at these commands looks at what the server says of them.
        ours = head.name in _SIZES and not self._commands.get(head.name) and not self._responses.get(head.name)
        if ours and self._uids is None:
            self._delayed = data, text
            self._ask(out)
        elif ours and self._uids and self._pending:
            self._delayed = data, text  # what is under way may delete messages
        elif ours and self._uids:
            self.commands += 1
            self._trace("C>", data, out)
            self._answer_sizes(head.name, head.arguments.strip(), out)
        else:
            super()._command(data, text, out)

    def _ask(self, out: list[Decision]) -> None:
        if not self._asking:
            self._asking = True
            self._pending.append(Pending("UIDL", body=True, held=True, errand=True))
            out.append(SendToServer(MAIN, b"UIDL\r\n"))

    def _pending_for(self, name: str, arguments: bytes) -> Pending:
        made = super()._pending_for(name, arguments)
        made.held = made.held or name in ("DELE", "RSET")
        word = arguments.strip()
        made.number = int(word) if word.isdigit() and len(word) < 10 else 0
        return made

    # -- from the server

    def _errand_done(self, raw: bytes, out: list[Decision]) -> None:
        if self._uids is None:
            self._heard_uids(raw)
        elif (found := _ONE.match(raw)) is not None and (uid := self._uids.get(int(found[1]))) is not None:
            self._learn(uid, int(found[2]), out)
        if self._sample:
            number = self._sample.pop()
            # One at a time: not every server takes several at once (RFC 2449 6.6).
            self._pending.append(Pending("LIST", held=True, errand=True))
            out.append(SendToServer(MAIN, b"LIST %d\r\n" % number))
        elif not self._sizes.estimated and not self._confident(out):
            self._uids = {}  # the server is asked; where estimates were told before, they stay

    def _confident(self, out: list[Decision]) -> bool:
        try:
            return confident(self._sizer.sizer, self.view, "POP3")
        except Exception as error:
            self._blame("confident", error, out)
            return False

    def _heard_uids(self, raw: bytes) -> None:
        self._asking = False
        self._uids = {}
        if raw[:3].upper() == b"+OK":
            for row in body_lines(raw.partition(b"\n")[2]):
                number, _, uid = row.partition(b" ")
                if number.isdigit() and len(number) < 10 and uid:
                    self._uids[int(number)] = _as_number(uid.strip())
        if self._uids and len(self._sizes) > len(self._uids) * 5 // 4 + _LEFT:
            # Unique-ids have no order: all that is above the last one is kept, until it is not.
            self._ledger.forget_sizes(self._mailbox, self._sizes.only(set(self._uids.values())))
        sample = getattr(self._sizer.sizer, "sample", 0)
        count = min(sample, len(self._uids)) if isinstance(sample, int) else 0
        if count > 0 and len(self._sizes) < count:
            numbers = sorted(self._uids)
            self._sample = [numbers[index * len(numbers) // count] for index in range(count)]

    def _complete(self, out: list[Decision]) -> None:
        super()._complete(out)
        if self._delayed is not None and not self._pending:
            (data, text), self._delayed = self._delayed, None
            self._command(data, text, out)

    def _status(self, line: bytes, out: list[Decision]) -> None:
        pending = self._pending[0] if self._pending else None
        told = OCTETS.match(line) if pending is not None and pending.name == "RETR" and self._uids else None
        if told is not None and pending is not None and self._uids and (uid := self._uids.get(pending.number)) is not None:
            self._learn(uid, int(told[1]), out)
        super()._status(line, out)

    def _asked_about(self, pending: Pending, raw: bytes, out: list[Decision]) -> bytes:
        if raw[:3].upper() == b"+OK":
            if pending.name == "DELE":
                self._deleted.add(pending.number)
            elif pending.name == "RSET":
                self._deleted.clear()
        return super()._asked_about(pending, raw, out)

    # -- answers

    def _answer_sizes(self, name: str, argument: bytes, out: list[Decision]) -> None:
        """RFC 1939 5. Messages that are marked as deleted are not there."""
        assert self._uids
        there = {number: uid for number, uid in self._uids.items() if number not in self._deleted}
        if name == "LIST" and argument:
            uid = there.get(int(argument)) if argument.isdigit() and len(argument) < 10 else None
            if uid is None:
                self._ours(b"There is no such message", False, None, out)
            else:
                self._ours(b"%d %d" % (int(argument), self._size(uid, out)), True, None, out)
        else:
            sizes = [(number, self._size(uid, out)) for number, uid in sorted(there.items())]
            total = sum(size for _, size in sizes)
            if name == "STAT":
                self._ours(b"%d %d" % (len(sizes), total), True, None, out)
            else:
                self._ours(b"%d messages" % len(sizes), True, [b"%d %d" % row for row in sizes], out)

    def _unknown(self, uid: int) -> bool:
        """Whether no size has been told of a message, by another process neither. If so nobody else tells one until it is kept."""
        if self._sizes.get(uid) is not None:
            return False
        self._telling = True
        self._ledger.begin_sizes(self._mailbox, self._sizes)
        return self._sizes.get(uid) is None

    def _keep(self) -> None:
        self._telling = False
        self._ledger.keep_sizes(self._mailbox, self._sizes)

    def _size(self, uid: int, out: list[Decision]) -> int:
        if self._unknown(uid):
            size = _DEFAULT
            try:
                said = self._sizer.sizer.estimate(self.view, Sketch("POP3", 0))
                size = said if isinstance(said, int) and 0 < said <= MOST_OCTETS else _DEFAULT
            except Exception as error:
                self._blame("estimate", error, out)
            self._estimated += 1
            return self._sizes.tell(uid, size, estimated=True)
        known = self._sizes.get(uid)
        assert known is not None
        self._estimated += known.estimated
        self._exact += not known.estimated
        return known.octets

    def _learn(self, uid: int, size: int, out: list[Decision]) -> None:
        """A message that is retrieved tells its size in the first line of the answer, with most servers."""
        if size and self._unknown(uid):
            self._sizes.tell(uid, size, estimated=False)
        try:
            self._sizer.sizer.learn(self.view, Sketch("POP3", 0), min(size, MOST_OCTETS))
        except Exception as error:
            self._blame("learn", error, out)

    def _blame(self, hook: str, error: BaseException, out: list[Decision]) -> None:
        """Once in a session: it may be about each message."""
        if not self._blamed:
            self._blamed = True
            out.append(Record("plugin.failed", {"plugin": self._sizer.plugin, "hook": f"sizer {hook}", "error": raised(error)}))

    def handle(self, event: Event, out: list[Decision]) -> None:
        try:
            super().handle(event, out)
        finally:
            if self._telling:  # written down before a client hears of it
                self._keep()
        if out and isinstance(out[-1], Close):
            self._keep()
            if self._estimated or self._exact:
                out.insert(len(out) - 1, Record("sizes.told", {"estimated": self._estimated, "exact": self._exact}))


def _as_number(uid: bytes) -> int:
    """A unique-id as sizes are kept by it. In one of a hundred maildrops of ten thousand messages two share a number, and a size."""
    return int.from_bytes(blake2b(uid, digest_size=4).digest(), "big") % MOST_UID + 1
