"""A POP3 session after login in which somebody is interested.

Rule of this file: answers come in the order of the commands (RFC 1939 3), so one queue says whose answer is next; what we
answer ourselves waits in it for its turn. What nobody asked for is forwarded as it came. A command whose answer cannot be
framed is refused: no server announces one through us.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

from portico.errors import PeerError
from portico.session.ask import ask, blame, one_line
from portico.session.close import Reason
from portico.session.context import Context, SessionView
from portico.session.decisions import (
    Answered,
    Began,
    Close,
    Decision,
    HoldClient,
    Pass,
    ReadClient,
    Record,
    SendToClient,
    SendToServer,
    SetPhase,
    Trace,
)
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked, Passed, TimedOut
from portico.session.interests import Answer, Change, Command, Compiled, Drop, Refuse, Response
from portico.wire.capability import filter_pop3
from portico.wire.lines import Line, Reader
from portico.wire.pop3 import END, TRANSACTION, Body, body_lines, has_body, parse_command, stuffed

_SIGN_IN = frozenset(("USER", "PASS", "APOP", "AUTH"))
_MAX_PENDING = 1000
"""Commands in flight; the client is not read until some are answered."""

_WORTH_PASSING = 1 << 14
"""Octets of a body in one piece: where so many come at once, the rest is worth two words with the relay."""
_MOST_ASKED = 1 << 24
"""Octets of the answer to a question of our own; a longer one counts as refused."""


@dataclass(slots=True)
class Pending:
    """A command whose answer has not gone to the client."""

    name: str
    body: bool = False
    held: bool = False
    """Its answer is collected whole, for a plugin or for us."""
    ours: bytes | None = None
    """Our own answer; it only waits for its turn."""
    errand: bool = False
    """A question of our own: its answer is not for the client."""
    number: int = 0
    """The message that it names; 0: none."""
    lines: int = -1
    """TOP: the lines of text asked for."""
    key: bytes = b""
    """Where it is timed: decisions.Began."""
    ok: bool = False
    """Likewise: the answer began with +OK."""


class Watch:
    """The watched session. pop3.annotated adds to it."""

    __slots__ = (
        "_answer", "_body", "_client_gone", "_commands", "_held", "_line", "_passing_by", "_pending", "_quit", "_responses",
        "_traced", "_waiting", "commands", "context", "reader", "view",
    )  # fmt: skip

    def __init__(self, context: Context, view: SessionView, interests: Compiled | None, *, traced: bool = False) -> None:
        self.context = context
        self.view = view
        self.commands = 0
        self.reader = Reader(context.settings.limits.line, 0, literals=False)
        self._commands = interests.commands if interests else {}
        self._responses = interests.responses if interests else {}
        self._traced = traced
        self._pending: deque[Pending] = deque()
        self._line = b""  # a status line that has not come whole
        self._body: Body | None = None  # of the answer that is passing
        self._answer: list[bytes] | None = None  # its pieces, where it is collected
        self._passing_by = False  # the rest of the body goes to the client without us
        self._waiting = 0  # octets of our own answers that wait for their turn
        self._held = False
        self._quit = False
        self._client_gone = False

    def begin(self, from_client: bytes, from_server: bytes, out: list[Decision]) -> None:
        """Go on where the sign-in stopped."""
        if from_server:
            self._from_server(from_server, out)
        if from_client:
            self._from_client(from_client, out)

    def let_go(self) -> None:
        """See session.roles.Watch: nothing here leads back."""

    def handle(self, event: Event, out: list[Decision]) -> None:
        if isinstance(event, BytesReceived):
            if event.leg == CLIENT:
                self._from_client(event.data, out)
            else:
                self._from_server(event.data, out)
        elif isinstance(event, Passed):
            self._complete(out)
            self._from_server(event.data, out)
        elif isinstance(event, Closed):
            self._closed(event, out)
        elif isinstance(event, TimedOut):
            # RFC 1939 3: an autologout sends no response and deletes nothing.
            reason = Reason.TIMEOUT_WRITE if event.phase == "write" else Reason.TIMEOUT_IDLE
            out.append(Close(Reason.CLIENT_CLOSED if self._client_gone else reason, "client", event.phase))
        elif isinstance(event, Kicked):
            self._last_words(one_line(event.text), out)
            out.append(Close(Reason.SHUTDOWN if event.shutdown else Reason.KICKED, "operator"))

    @property
    def under_way(self) -> bool:
        """See session.life.Watch."""
        return bool(self._pending or self._line) or self._body is not None or self._answer is not None

    # -- from the client

    def _from_client(self, data: bytes, out: list[Decision]) -> None:
        self.reader.feed(data)
        self._read_client(out)

    def _read_client(self, out: list[Decision]) -> None:
        while self.may_read():
            try:
                line = self.reader.next()
            except PeerError as error:
                out.append(Record("session.protocol_error", {"text": error.text}))
                self._last_words(error.text.encode(), out)
                out.append(Close(Reason.PROTOCOL_ERROR, "client", error.text))
                return
            if line is None:
                if self._held:
                    self._held = False
                    out.append(ReadClient())
                return
            assert isinstance(line, Line)
            self._command(line.data, line.text, out)
        if not self._held:
            self._held = True
            out.append(HoldClient())

    def may_read(self) -> bool:
        """Whether more of what the client says may be looked at."""
        return not self._passing_by and len(self._pending) < _MAX_PENDING and self._waiting <= self.context.settings.limits.held

    def _command(self, data: bytes, text: bytes, out: list[Decision]) -> None:
        self.commands += 1
        try:
            head = parse_command(text)
        except PeerError as error:
            self._trace("C>", b"<not a command>\r\n", out)
            self._ours(error.text.encode(), False, None, out)
            return
        if head.name not in TRANSACTION:
            # What is no command may be a password.
            self._trace("C>", head.name.encode() + b" <hidden>\r\n" if head.name in _SIGN_IN else b"<hidden>\r\n", out)
            self._ours(b"Unknown command", False, None, out)
            return
        self._trace("C>", data, out)
        command = Command(head.name, head.arguments)
        changed = False
        hook = f"command {head.name}"
        for bound in self._commands.get(head.name, ()):
            said = ask(bound, self.view, hook, command, (Change, Refuse, Answer), out)
            if isinstance(said, Change):
                if b"\r" in said.data or b"\n" in said.data:
                    blame(bound, hook, "a changed command holds a line end", out)
                else:
                    command.arguments, changed = said.data, True
            elif isinstance(said, Refuse):
                code = f"[{said.code}] " if said.code else ""
                self._ours(one_line(code + said.text), False, None, out)
                return
            elif isinstance(said, Answer):
                lines = said.lines and [part for line in said.lines for part in re.split(rb"\r?\n", line)]
                self._ours(one_line(said.text), True, None if lines is None else list(lines), out)
                return
        line = head.name.encode() + (b" " + command.arguments if command.arguments else b"") + b"\r\n" if changed else data
        pending = self._pending_for(head.name, command.arguments)
        self._pending.append(pending)
        if self.context.timed:
            pending.key = b"%d" % self.commands
            out.append(Began(pending.key, head.name))
        self._quit = self._quit or head.name == "QUIT"
        out.append(SendToServer(MAIN, line))
        if changed:
            self._trace("S>", line, out)

    def _pending_for(self, name: str, arguments: bytes) -> Pending:
        return Pending(name, has_body(name, arguments), held=name in self._responses or name == "CAPA")

    def _ours(self, text: bytes, ok: bool, lines: list[bytes] | None, out: list[Decision]) -> None:
        """An answer of our own, in its turn."""
        answer = (b"+OK " if ok else b"-ERR ") + text + b"\r\n" + (stuffed(lines) if lines is not None else b"")
        self._pending.append(Pending("", ours=answer))
        self._waiting += len(answer)
        self._turn(out)

    def _turn(self, out: list[Decision]) -> None:
        """Send those of our answers that are next."""
        while self._pending and (ours := self._pending[0].ours) is not None:
            self._pending.popleft()
            self._waiting -= len(ours)
            self._send(ours, out)

    # -- from the server

    def _from_server(self, data: bytes, out: list[Decision]) -> None:
        worth_passing = len(data) >= _WORTH_PASSING
        while data:
            if self._body is not None:
                end = self._body.end(data, alone=len(self._pending) == 1)
                piece, data = (data, b"") if end < 0 else (data[:end], data[end:])
                self._pass_body(piece, end >= 0, out)
                if end >= 0:
                    self._complete(out)
                continue
            end = data.find(b"\n") + 1
            if not end:
                self._line += data
                if len(self._line) > self.context.settings.limits.line:
                    self._pass_open(out)
                break
            line, data = self._line + data[:end], data[end:]
            self._line = b""
            self._status(line, out)
        self._afterwards(out)
        if worth_passing and self._body is not None and self._may_pass() and not (out and isinstance(out[-1], Close)):
            self._passing_by = True
            out.append(Pass(MAIN, until=END, seen=self._body.seen))

    def _may_pass(self) -> bool:
        """Whether nobody looks at the rest of the body. Where nothing else has been asked (and nothing will be before it ends), nothing
        can follow its end in one read: it need not be looked for."""
        return self._answer is None and len(self._pending) == 1 and not self._traced

    def _afterwards(self, out: list[Decision]) -> None:
        """What the server said has been dealt with."""
        if self._held or self.reader.held:
            self._read_client(out)
        if self._client_gone and not self._pending and not (out and isinstance(out[-1], Close)):
            out.append(Close(Reason.LOGOUT if self._quit else Reason.CLIENT_CLOSED, "client"))

    def _status(self, line: bytes, out: list[Decision]) -> None:
        """The first line of an answer."""
        if not self._pending:
            self._send(line, out)  # nobody asked: -ERR before it closes
            return
        pending = self._pending[0]
        pending.ok = line[:3].upper() == b"+OK"
        self._answer = [] if pending.held else None
        self._pass(line, out)
        if pending.body and pending.ok:
            self._body = Body()
        else:
            self._complete(out)

    def _pass_body(self, piece: bytes, last: bool, out: list[Decision]) -> None:
        """A piece of a multi-line answer behind its first line."""
        self._pass(piece, out)

    def _pass(self, piece: bytes, out: list[Decision]) -> None:
        if self._answer is None:
            self._send(piece, out)
            return
        self._answer.append(piece)
        if self._pending[0].errand:
            if sum(map(len, self._answer)) > _MOST_ASKED:
                self._answer = [b"-ERR too much\r\n"]
            return
        if sum(map(len, self._answer)) > self.context.settings.limits.held:
            name = self._pending[0].name
            out.append(Record("plugin.held_too_much", {"octets": self.context.settings.limits.held, "what": name}))
            collected, self._answer = b"".join(self._answer), None
            self._send(collected, out)

    def _pass_open(self, out: list[Decision]) -> None:
        """A status line without end: nobody can frame it, and it is not ours to hold."""
        line, self._line = self._line, b""
        self._send(line, out)

    def _complete(self, out: list[Decision]) -> None:
        """The answer to the oldest command has come whole."""
        self._body = None
        self._passing_by = False
        pending = self._pending.popleft()
        if pending.key:
            out.append(Answered(pending.key, "ok" if pending.ok else "err"))
        if self._answer is not None:
            raw, self._answer = b"".join(self._answer), None
            if pending.errand:
                self._errand_done(raw, out)
                self._turn(out)
                return
            changed = self._asked_about(pending, raw, out)
            self._send(changed, out)
            if changed != raw:
                self._trace("<S", raw, out)
        self._turn(out)

    def _errand_done(self, raw: bytes, out: list[Decision]) -> None:
        """The answer to a question of our own."""

    def _asked_about(self, pending: Pending, raw: bytes, out: list[Decision]) -> bytes:
        """What becomes of an answer that was collected."""
        return self._asked(pending.name, raw, out)

    def _asked(self, name: str, raw: bytes, out: list[Decision]) -> bytes:
        if name == "CAPA" and raw[:3].upper() == b"+OK":
            status, _, body = raw.partition(b"\n")
            passed, withheld = filter_pop3(body_lines(body))
            raw = status + b"\n" + stuffed(passed) if withheld else raw
        response = Response(name, raw, None, name)
        hook = f"response {name}"
        for bound in self._responses.get(name, ()):
            said = ask(bound, self.view, hook, response, (Change, Drop), out)
            if isinstance(said, Drop):
                blame(bound, hook, "a POP3 response cannot be dropped", out)
            elif isinstance(said, Change):
                if not _is_answer(said.data, has_body=raw.endswith(b"\r\n.\r\n")):
                    blame(bound, hook, "a changed response is no answer", out)
                else:
                    response.raw = said.data
        return response.raw

    # -- ends

    def _closed(self, event: Closed, out: list[Decision]) -> None:
        if event.leg == CLIENT:
            if event.clean and self._pending:
                self._client_gone = True  # the rest of the answer still goes to it
                out.append(SetPhase("half_close"))
                return
            reason = Reason.LOGOUT if self._quit else Reason.CLIENT_CLOSED if event.clean else Reason.CLIENT_RESET
            out.append(Close(reason, "client", event.detail))
        elif self._quit and not self._pending:
            out.append(Close(Reason.LOGOUT, "client"))
        else:
            if self._pending:
                self._last_words(b"[SYS/TEMP] The mail server closed the connection.", out)
            out.append(Close(Reason.SERVER_CLOSED if event.clean else Reason.SERVER_RESET, "server", event.detail))

    def _last_words(self, text: bytes, out: list[Decision]) -> None:
        """``-ERR``, but never into an answer that has begun."""
        if self._body is None and not self._line and self._answer is None:
            self._send(b"-ERR %b\r\n" % text, out)

    def _send(self, data: bytes, out: list[Decision]) -> None:
        if data:
            out.append(SendToClient(data))
            self._trace("<C", data, out)

    def trace(self, on: bool) -> None:
        """Decide Trace from now on, or no more."""
        self._traced = on

    def _trace(self, direction: str, data: bytes, out: list[Decision]) -> None:
        if self._traced:
            out.append(Trace(direction, data))


def _is_answer(data: bytes, *, has_body: bool) -> bool:
    """Whether a plugin's octets are one whole answer and no more."""
    status, found, body = data.partition(b"\r\n")
    if not found or status[:3] not in (b"+OK", b"-ER") or b"\n" in status:
        return False
    if not has_body or status[:3] == b"-ER":
        return not body
    return Body().end(body) == len(body)
