"""A watched POP3 session whose messages may be annotated.

Rule of this file: which message is asked for, and what becomes of its numbers; bodies are in pop3.annotate. POP3 tells nothing of a message
but its size and its unique-id, so it is looked at when it is first retrieved, and from then on LIST, STAT, RETR and TOP agree. One
question of our own is asked, UIDL, before the first command that needs it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Final

from portico.session.annotations.annotation import MOST_COUNTED, Annotation, Known, Ledger, Mailbox
from portico.session.annotations.judge import Judge
from portico.session.context import Context, SessionView
from portico.session.decisions import Close, Decision, Record, SendToServer
from portico.session.events import MAIN, Event
from portico.session.interests import Compiled
from portico.session.pop3.annotate import Annotated, Examined, Passing
from portico.session.pop3.watch import Pending, Watch
from portico.wire.pop3 import body_lines

_NEEDS_UIDS: Final = frozenset(("RETR", "TOP", "LIST", "STAT"))
_COUNTS: Final = frozenset(("LIST", "STAT", "DELE", "RSET"))
OCTETS: Final = re.compile(rb"\+OK (\d{1,19}) octets", re.IGNORECASE)
_SIZES: Final = re.compile(rb"(\+OK )?(\d{1,10}) (\d{1,19})(?![^ \r\n])")


class AnnotatedWatch(Watch):
    """As Watch; `judge` and `ledger` say and remember what is annotated."""

    __slots__ = (
        "_asking",
        "_delayed",
        "_deleted",
        "_judge",
        "_known",
        "_ledger",
        "_mailbox",
        "_now",
        "_passing",
        "_seen",
        "_shown",
        "_uids",
        "_withheld",
    )

    def __init__(
        self, context: Context, view: SessionView, interests: Compiled | None, judge: Judge, ledger: Ledger, *, traced: bool = False
    ) -> None:
        super().__init__(context, view, interests, traced=traced)
        self._judge = judge
        self._ledger = ledger
        self._mailbox = Mailbox(view.reader, "POP3", 1)
        self._known: Known = ledger.known(self._mailbox)
        self._uids: dict[int, str] | None = None
        self._seen: set[str] = set()  # looked at in this session, and of no interest
        self._shown: set[str] = set()  # with something inserted, or transformed
        self._asking = False
        self._delayed: list[tuple[bytes, bytes]] = []  # the client's command that waits for UIDL
        self._deleted: set[int] = set()
        self._passing: Passing | None = None
        self._withheld = False  # the status line now coming is told with the body
        self._now: list[Decision] = []

    def handle(self, event: Event, out: list[Decision]) -> None:
        self._now = out
        super().handle(event, out)
        if out and isinstance(out[-1], Close) and self._shown:
            out.insert(len(out) - 1, Record("annotations.shown", {"messages": len(self._shown)}))

    def begin(self, from_client: bytes, from_server: bytes, out: list[Decision]) -> None:
        self._now = out
        super().begin(from_client, from_server, out)

    # -- from the client

    def may_read(self) -> bool:
        return super().may_read() and not self._asking

    @property
    def under_way(self) -> bool:
        return bool(self._delayed) or super().under_way

    def _command(self, data: bytes, text: bytes, out: list[Decision]) -> None:
        if self._uids is None and not self._asking and text[:4].upper().decode("latin-1").strip() in _NEEDS_UIDS:
            self._asking = True
            self._delayed.append((data, text))
            self._pending.append(Pending("UIDL", body=True, held=True, errand=True))
            out.append(SendToServer(MAIN, b"UIDL\r\n"))
            return
        super()._command(data, text, out)

    def _pending_for(self, name: str, arguments: bytes) -> Pending:
        made = super()._pending_for(name, arguments)
        words = arguments.split()
        if words and words[0].isdigit() and len(words[0]) < 10:
            made.number = int(words[0])
        if name == "TOP" and len(words) > 1 and words[1].isdigit() and len(words[1]) < 10:
            made.lines = int(words[1])
        made.held = made.held or name in _COUNTS
        return made

    # -- from the server

    def _status(self, line: bytes, out: list[Decision]) -> None:
        pending = self._pending[0] if self._pending else None
        self._passing = None
        if pending is not None and pending.number and line[:3].upper() == b"+OK" and pending.name in ("RETR", "TOP"):
            line = self._begin_body(pending, line)
        super()._status(line, out)

    def _begin_body(self, pending: Pending, line: bytes) -> bytes:
        """Who changes the body that follows; the status line, with the octets of the annotated message."""
        uid = (self._uids or {}).get(pending.number, "")
        made = self._known.annotations.get(uid)
        if made is not None:
            self._passing = Annotated(made, pending.lines if pending.name == "TOP" else -1)
            if pending.name == "RETR":
                self._count(uid)
                line = _grown(line, made.octets)
        elif pending.name == "RETR" and self._is_new(uid):
            size, told = self._told_size(line), partial(_grown, line)
            self._passing = Examined(self._judge, uid, size, lambda: self._now, partial(self._judged, uid), told)
            self._withheld = True
        return line

    def _pass(self, piece: bytes, out: list[Decision]) -> None:
        if self._withheld:
            self._withheld = False
            return
        super()._pass(piece, out)

    def _is_new(self, uid: str) -> bool:
        """Whether nobody has seen the message."""
        return bool(uid) and uid not in self._known.passed and uid not in self._seen

    @staticmethod
    def _told_size(line: bytes) -> int:
        told = OCTETS.match(line)
        return int(told[1]) if told is not None else 0

    def _judged(self, uid: str, made: Annotation | None, interesting: bool) -> Annotation | None:
        """Returns what holds: another session may have seen the message before."""
        if interesting:
            made = self._ledger.judged_one(self._mailbox, uid, made)
        if made is None:
            self._seen.add(uid)
        else:
            self._known = replace(self._known, annotations={**self._known.annotations, uid: made})
            self._count(uid)
        return made

    def _count(self, uid: str) -> None:
        if len(self._shown) < MOST_COUNTED:
            self._shown.add(uid)

    def _pass_body(self, piece: bytes, last: bool, out: list[Decision]) -> None:
        if self._passing is None:
            super()._pass_body(piece, last, out)
            return
        data = self._passing.feed(piece, last=last)
        if data:
            super()._pass_body(data, last, out)

    def _may_pass(self) -> bool:
        return super()._may_pass() and (self._passing is None or self._passing.passes)

    def _errand_done(self, raw: bytes, out: list[Decision]) -> None:
        """UIDL has been answered; where it was refused no message is known, and none is annotated."""
        self._uids = {}
        if raw[:3].upper() == b"+OK":
            for row in body_lines(raw.partition(b"\n")[2]):
                number, _, uid = row.partition(b" ")
                if number.isdigit() and len(number) < 10 and uid:
                    self._uids[int(number)] = uid.strip().decode("latin-1")
            if gone := (self._known.annotations.keys() | self._known.passed) - set(self._uids.values()):
                self._ledger.gone(self._mailbox, gone)
        self._asking = False
        delayed, self._delayed = self._delayed, []
        for data, text in delayed:
            super()._command(data, text, out)

    def _asked_about(self, pending: Pending, raw: bytes, out: list[Decision]) -> bytes:
        if raw[:3].upper() == b"+OK":
            if pending.name == "DELE" and pending.number:
                self._deleted.add(pending.number)
            elif pending.name == "RSET":
                self._deleted.clear()
            elif pending.name == "STAT":
                growth = sum(self._growth(number) for number in self._uids or {} if number not in self._deleted)
                raw = _SIZES.sub(lambda found: b"%b%b %d" % (found[1] or b"", found[2], int(found[3]) + growth), raw, count=1)
            elif pending.name == "LIST":
                raw = self._listed(raw, whole=not pending.number)
        return super()._asked_about(pending, raw, out)

    def _listed(self, raw: bytes, *, whole: bool) -> bytes:
        status, newline, body = raw.partition(b"\n")

        def grown(found: re.Match[bytes]) -> bytes:
            return b"%b%b %d" % (found[1] or b"", found[2], int(found[3]) + self._growth(int(found[2])))

        if not whole:
            return _SIZES.sub(grown, raw, count=1)
        return status + newline + b"\n".join(_SIZES.sub(grown, row, count=1) for row in body.split(b"\n"))

    def _growth(self, number: int) -> int:
        made = self._known.annotations.get((self._uids or {}).get(number, ""))
        return made.octets if made is not None else 0


def _grown(line: bytes, octets: int) -> bytes:
    """A status line for a message that has grown, where it tells how large it is."""
    return OCTETS.sub(lambda found: b"+OK %d octets" % (int(found[1]) + octets), line, count=1) if octets else line
