"""Messages from the selected mailbox of one leg into a mailbox of another.

Rule of this file: one FETCH streams into one APPEND (RFC 3502: all or nothing) or, where the target has no MULTIAPPEND, into one for each
message. Nothing is held but what came in one reading while the target has not said ``+``; the source is not read meanwhile. Who asked, what
the client is told, what is undone and what is removed is decided in imap.copies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.session.decisions import Decision, HoldServer, ReadServer, SendToServer
from portico.session.imap.link import Link, Pending, announcement
from portico.wire.fetch import sequence_set
from portico.wire.imap import parse_fetch, parse_status, unquoted
from portico.wire.mailbox import astring
from portico.wire.skim import Piece

_BATCH: Final = 500
"""Messages asked for in one FETCH; the first is asked for alone, so that a target that refuses has cost no more."""
_HEAD: Final = re.compile(rb"\* \d{1,10} FETCH \(", re.IGNORECASE)
_BODY: Final = re.compile(rb"[ (]BODY\[\] ", re.IGNORECASE)
_LITERAL: Final = re.compile(rb"\{(\d{1,19})\}\r?\n\Z")
_UID: Final = re.compile(rb"[ (]UID (\d{1,10})[ )\r]", re.IGNORECASE)
_APPENDUID: Final = re.compile(rb"\[APPENDUID (\d{1,10}) ([\d:,]+)\]", re.IGNORECASE)
_DATE: Final = re.compile(rb'"[ \d]?\d-[A-Za-z]{3}-\d{4} \d\d:\d\d:\d\d [+-]\d{4}"')
_FLAG: Final = re.compile(rb"\\?[^\x00-\x20\x7f-\xff()\\\"{}%*]+")
_LOST: Final = b"NO [UNAVAILABLE] The server closed the connection."
_INVALID: Final = b" NIL\r\n"
"""In place of a further message: no APPEND may go on like that, so nothing of it is stored."""


class Message(NamedTuple):
    """What goes along with a message."""

    uid: int
    flags: bytes
    """As FETCH has them, without \\Recent: ``(\\Seen $Label1)``."""
    date: bytes
    """INTERNALDATE, quoted; empty: what the server has is none."""


def metadata_of(raw: bytes) -> Message | None:
    """From ``* 5 FETCH (UID 7 FLAGS (…) INTERNALDATE "…")``; None where something of it is missing."""
    try:
        fetched = parse_fetch(raw)
    except PeerError:
        return None
    flags, date = fetched.value("FLAGS"), fetched.value("INTERNALDATE")
    if fetched.uid is None or flags is None or date is None or flags[:1] != b"(":
        return None
    # They are written into a command for another server: nothing but what they should be gets there.
    kept = [each for each in flags[1:-1].split() if _FLAG.fullmatch(each) and each.lower() != b"\\recent"]
    return Message(fetched.uid, b"(" + b" ".join(kept) + b")", date if _DATE.fullmatch(date) else b"")


def is_message(line: bytes) -> bool:
    """The first line of a FETCH response with a body in it."""
    return _HEAD.match(line) is not None and _BODY.search(line) is not None


class Transfer:
    """One COPY. `over`: nothing more happens; `rest` is then the last answer: OK, or why not."""

    __slots__ = (
        "_append_tag", "_batches", "_blocked", "_current", "_ended", "_fetch_tag", "_in_response", "_left", "_links", "_messages", "_queue",
        "_source_gone", "_tags", "appended", "copied", "cut", "doubtful", "mailbox", "over", "rest", "source", "stored", "target",
        "validity",
    )  # fmt: skip

    def __init__(self, source: int, target: int, mailbox: bytes, messages: Sequence[Message], links: Mapping[int, Link]) -> None:
        self.source = source
        self.target = target
        self.mailbox = mailbox
        self.copied: list[int] = []
        """UIDs at the source of what has been sent whole, in order."""
        self.appended: list[int] = []
        """UIDs at the target of what is stored there, in order, where it says so."""
        self.validity = 0
        self.stored = 0
        """APPENDs that the target said OK to."""
        self.doubtful = False
        """The target had an APPEND whole and did not answer it."""
        self.cut = False
        """The target is in the middle of a message whose rest nobody has: it can be told nothing more."""
        self.over = False
        self.rest = b""
        self._source_gone = False
        self._links = links
        self._messages = {message.uid: message for message in messages}
        uids = [message.uid for message in messages]
        self._batches = [uids[:1], *(uids[start : start + _BATCH] for start in range(1, len(uids), _BATCH))]
        self._tags = 0
        self._fetch_tag = b""
        self._append_tag = b""
        self._blocked = False  # the target has not said what must come before more is sent
        self._queue: list[tuple[Piece, bytes]] = []
        self._in_response = False
        self._current: Message | None = None
        self._left = 0
        self._ended = False  # the APPEND has been sent whole

    def owes(self, leg: int) -> bool | None:
        """Whether the leg has to say something now; None: it has no part in this."""
        if leg == self.target:
            return self._blocked
        return not self._blocked if leg == self.source else None

    @property
    def unanswered(self) -> bool:
        """The target has an APPEND whole and has not answered it yet."""
        return self._ended

    @property
    def multi(self) -> bool:
        return b"MULTIAPPEND" in self._links[self.target].capabilities

    def begin(self, out: list[Decision]) -> None:
        self._fetch(out)

    # -- the source

    def _fetch(self, out: list[Decision]) -> None:
        """The next batch, or the end of it all."""
        if not self._batches or self.rest:
            self._fetched_all(out)
            return
        uids = self._batches.pop(0)
        self._fetch_tag = self._tag()
        self._links[self.source].send_command(
            self._fetch_tag, Pending(""), b"%b UID FETCH %b (UID BODY.PEEK[])\r\n" % (self._fetch_tag, sequence_set(uids)), out
        )

    def _tag(self) -> bytes:
        self._tags += 1
        return b"portico-t%d" % self._tags

    def piece(self, piece: Piece, octets: bytes, out: list[Decision]) -> None:
        """A piece of a FETCH response with a body."""
        self._queue.append((piece, octets))
        self._work(out)

    def _work(self, out: list[Decision]) -> None:
        while self._queue and not self._blocked:
            piece, octets = self._queue.pop(0)
            if piece is Piece.LITERAL:
                self._octets(octets, out)
            elif not self._in_response:
                self._head(octets, out)
            else:
                self._in_response = False  # what stands behind the body
        if not self._queue and not self._blocked and not self._fetch_tag and not self.over:
            self._fetch(out)

    def _head(self, line: bytes, out: list[Decision]) -> None:
        found = _UID.search(line)
        literal = _LITERAL.search(line)
        message = self._messages.pop(int(found[1]), None) if found is not None else None
        self._in_response = literal is not None
        body = b""
        if literal is None:
            try:
                body = unquoted(parse_fetch(line).value("BODY[]") or b"NIL") or b""
            except PeerError:
                body = b""
        size = int(literal[1]) if literal is not None else len(body)
        if self.rest or message is None or not size:
            if not self.rest:
                self.rest = b"NO [CANNOT] A message cannot be read: its server does not say which one it is, or it is empty."
            self._current, self._left = None, size if literal is not None else 0
            return
        self._current, self._left = message, size
        self._announce(message, size, out)
        if literal is None:
            self._queue.insert(0, (Piece.LITERAL, body))

    def _octets(self, octets: bytes, out: list[Decision]) -> None:
        self._left -= len(octets)
        message = self._current
        if message is None:
            return
        out.append(SendToServer(self.target, octets))
        if self._left:
            return
        self._current = None
        if not self._append_tag:
            # Refused before its end: the server takes the octets all the same, and then the end of the line.
            out.append(SendToServer(self.target, b"\r\n"))
            return
        self.copied.append(message.uid)
        if not self.multi:
            self._end_append(b"\r\n", out)

    def fetched(self, rest: bytes, out: list[Decision]) -> None:
        """The source has answered the FETCH."""
        self._fetch_tag = b""
        if rest[:2].upper() != b"OK" and not self.rest:
            self.rest = rest
        self._work(out)

    # -- the target

    def _announce(self, message: Message, size: int, out: list[Decision]) -> None:
        what = b" %b %b " % (message.flags, message.date)
        if self._append_tag:
            out.append(SendToServer(self.target, what + announcement(size, sync=True)))
        else:
            self._append_tag = self._tag()
            line = b"%b APPEND %b%b{%d}" % (self._append_tag, astring(self.mailbox), what, size)
            self._links[self.target].send_head(self._append_tag, Pending(""), line, announcement(size, sync=True), out)
        self._block(out)

    def _end_append(self, end: bytes, out: list[Decision]) -> None:
        out.append(SendToServer(self.target, end))
        self._ended = True
        self._block(out)

    def _block(self, out: list[Decision]) -> None:
        if not self._blocked:
            self._blocked = True
            if not self._source_gone:
                out.append(HoldServer(self.source))

    def _unblock(self, out: list[Decision]) -> None:
        if self._blocked:
            self._blocked = False
            if not self._source_gone:
                out.append(ReadServer(self.source))

    def go_ahead(self, out: list[Decision]) -> None:
        """The target has said ``+``."""
        if self._ended:
            return
        self._unblock(out)
        self._work(out)

    def answered(self, rest: bytes, out: list[Decision]) -> None:
        """The target has answered the APPEND."""
        whole = self._ended
        self._append_tag, self._ended = b"", False
        status = parse_status(rest)
        if status is not None and status.kind == "OK" and not whole:
            self.doubtful = True
            self.rest = self.rest or b"NO [UNAVAILABLE] The server said that it had stored what it had not been given."
        elif status is not None and status.kind == "OK":
            self.stored += 1
            found = _APPENDUID.search(rest)
            if found is not None:
                self.validity = int(found[1])
                self.appended += uids_of(found[2])
        elif not self.rest:
            self.rest = rest
        if self._blocked and self._left and self._current is not None:
            self._current = None  # refused in place of ``+``: the octets are not sent
        self._unblock(out)
        self._work(out)

    def _fetched_all(self, out: list[Decision]) -> None:
        if self._append_tag:
            self._end_append(_INVALID if self.rest else b"\r\n", out)
            return
        self.rest = self.rest or b"OK"
        self.over = True

    def answers(self, leg: int, tag: bytes, rest: bytes, out: list[Decision]) -> bool:
        """A tagged response. False: it is not ours."""
        if leg == self.source and tag == self._fetch_tag:
            self.fetched(rest, out)
        elif leg == self.target and tag == self._append_tag:
            self.answered(rest, out)
        else:
            return False
        return True

    def lost(self, leg: int, out: list[Decision]) -> None:
        """A leg is gone; of an APPEND that was not ended nothing is stored. What was asked of the source is still taken from it."""
        if leg == self.source:
            self._source_lost(out)
            return
        self.doubtful = self.doubtful or self._ended
        self.rest = self.rest or _LOST
        self._append_tag, self._ended, self._current = b"", False, None
        self._unblock(out)
        self._work(out)

    def _source_lost(self, out: list[Decision]) -> None:
        self._source_gone = True
        if self._ended and not (self._batches or self._fetch_tag or self._queue):
            return  # all of it has been given to the target, which is about to answer
        self.rest = self.rest or _LOST
        self._fetch_tag, self._queue = b"", []
        if self._current is not None:
            self.cut = bool(self._append_tag)
            self._append_tag, self._current = b"", None
        if not self._ended:
            self._unblock(out)
            self._work(out)


def uids_of(text: bytes) -> list[int]:
    """The UIDs of a set as APPENDUID and COPYUID have it: in the order in which it stands. At most a million."""
    found: list[int] = []
    for each in text.split(b","):
        low, _, high = each.partition(b":")
        if not low.isdigit() or (high and not high.isdigit()):
            continue
        first, last = int(low), int(high or low)
        if abs(last - first) + len(found) > 1_000_000:
            break
        found += range(first, last + 1) if first <= last else range(first, last - 1, -1)
    return found
