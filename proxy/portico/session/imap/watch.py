"""An IMAP session after login in which somebody is interested.

Rule of this file: commands are framed and go to the leg that owns them, responses are skimmed; what nobody
asked for is forwarded as it came, octet for octet. Withholding a capability is an interest of our own. A plugin that
raises is recorded, and the original goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from portico.errors import PeerError
from portico.session.ask import ask, blame, one_line
from portico.session.close import Reason
from portico.session.context import Context, SessionView
from portico.session.decisions import (
    Began,
    Close,
    Decision,
    HoldClient,
    HoldServer,
    Pass,
    ReadClient,
    ReadServer,
    Record,
    SendToServer,
    SetPhase,
    Trace,
)
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked, Passed, TimedOut
from portico.session.imap.gather import GO_AHEAD, Gather
from portico.session.imap.link import Link, Pending, announced, announced_head, announcement
from portico.session.imap.outlet import Outlet, answered
from portico.session.interests import Answer, Change, Command, Compiled, Drop, FetchItem, Refuse, Response
from portico.wire.capability import imap_allowed
from portico.wire.imap import (
    COMMANDS,
    CommandLine,
    FetchResponse,
    parse_arguments,
    parse_command,
    parse_fetch,
    parse_status,
    tag_of,
)
from portico.wire.lines import Line, Literal, Reader, count_whole
from portico.wire.skim import Piece, Skimmer

_HOLDABLE_LITERAL = 1 << 16
"""A larger literal (APPEND's message) is never held: its command is `head_only`."""
_MAX_PENDING = 1000
"""Commands in flight on one leg; the client is not read until some are answered."""
_WORTH_PASSING = 1 << 13
"""Octets of a literal that are worth two words with the relay."""
_NOWHERE = -3
"""In place of a leg: the octets of a refused command that come all the same."""
_WITHHELD = frozenset(["COMPRESS", "STARTTLS", "UNAUTHENTICATE"])
"""Commands of extensions that are not announced because they cannot be kept (wire.capability)."""
_MESSAGE_COMMANDS = {"APPEND": 1, "REPLACE": 2}
"""And how many arguments stand before the message at least."""
_SIGN_IN = frozenset(["LOGIN", "AUTHENTICATE"])
_HIDDEN = b"<hidden>\r\n"
UNTAGGED = re.compile(rb"\* (?:(\d{1,10}) )?([A-Za-z0-9\-]+)")
_DOUBTFUL = re.compile(rb"\{[^{}\"]*\}\r?\n\Z|\r(?!\n)|\0")
"""In a line that announces no literal: what some server might take for an announcement, or for the end of the line."""
_CODE_LIST = re.compile(rb"\[CAPABILITY ([^\]]*)\]", re.IGNORECASE)

Owner = Callable[[CommandLine], int]


def _everything_on_main(command: CommandLine) -> int:
    return MAIN


@lru_cache(maxsize=64)
def pattern(kinds: frozenset[str]) -> re.Pattern[bytes]:
    """What is cut out of a leg's stream: tagged responses, ``+``, BYE, capability lists, what SELECT says of UIDs, and `kinds`."""
    names = "|".join(re.escape(kind) for kind in sorted(kinds | {"BYE", "CAPABILITY"}))
    status = rb"\* (?:OK|NO|BAD) \[(?:CAPABILITY|UIDVALIDITY|UIDNEXT) "
    untagged = rb"\* (?:\d{1,10} )?(?:" + names.encode() + rb")\b"
    return re.compile(rb"\+|" + status + rb"|" + untagged + rb"|[^*+\s][^ \r\n]{0,127} (?:OK|NO|BAD)\b", re.IGNORECASE)


@lru_cache(maxsize=64)
def _upper(capabilities: tuple[bytes, ...]) -> frozenset[bytes]:
    """One set for all sessions at servers that announce the same: it would be a quarter of what an idle one keeps."""
    return frozenset(name.upper() for name in capabilities)


class Watch:
    """The watched session. `owner` says which leg a command belongs to (mounts). imap.annotated adds to it."""

    gathered: frozenset[str] = frozenset(["SELECT", "EXAMINE"])
    """Commands that are held until they are whole, whoever is interested."""

    __slots__ = (
        "_client_gone", "_commands", "_fetch_items", "_gather", "_guarded", "_head", "_held", "_held_legs", "_hidden", "_idle",
        "_idle_leg", "_logout", "_responses", "_stream_answered", "_stream_asked", "_stream_leg", "_stream_sync", "_stream_tag",
        "_timed", "_traced", "commands",
        "context", "links", "mailbox", "named", "outlet", "owner", "reader", "view",
    )  # fmt: skip

    def __init__(
        self,
        context: Context,
        view: SessionView,
        interests: Compiled | None,
        capabilities: list[bytes],
        *,
        traced: bool = False,
        owner: Owner = _everything_on_main,
        guarded: bool = False,
    ) -> None:
        limits = context.settings.limits
        self.context = context
        self.view = view
        self.reader = Reader(limits.line, limits.literal)
        self._timed = context.timed
        self.outlet = Outlet(traced=traced, timed=context.timed)
        self.owner = owner
        self.mailbox: bytes | None = None
        self.named = frozenset[str]()
        """Further commands that are held until they are whole, in this session."""
        self.commands = 0
        self._commands = interests.commands if interests else {}
        self._responses = interests.responses if interests else {}
        self._fetch_items = interests.fetch_items if interests else {}
        self._traced = traced
        # Somebody relies on being asked about every command: no octets may reach a server that it could take for another one.
        self._guarded = (
            guarded or bool(self._commands) or owner is not _everything_on_main or b"UNAUTHENTICATE" in map(bytes.upper, capabilities)
        )
        self._gather = Gather(limits.held)
        self._head: CommandLine | None = None  # of the command that is being gathered
        self._stream_tag: bytes | None = None  # of the command whose literals are passing through
        self._stream_leg = MAIN
        self._stream_sync = False  # its literal has been announced and waits for ``+``
        self._stream_asked = False  # its literal comes unasked, but the leg must say ``+`` first
        self._stream_answered = False  # the leg has answered it before it was sent whole
        self._hidden = False  # what the client is saying may hold a password
        self._idle: bytes | None = None
        self._idle_leg = MAIN
        self._logout = False
        self._held = False  # the client is not read
        self._held_legs: tuple[int, ...] = ()
        self._client_gone = False
        self.links: dict[int, Link] = {}
        self.add_link(MAIN, capabilities)

    def add_link(self, leg: int, capabilities: list[bytes]) -> None:
        """A leg that is signed in takes part from now on."""
        skimmer = Skimmer(pattern(self.kinds), self.context.settings.limits.held)
        self.links[leg] = Link(leg, skimmer, _upper(tuple(capabilities)), asks=self._guarded)

    @property
    def kinds(self) -> frozenset[str]:
        """Untagged responses that are cut out of what servers send, beside those that every watch needs."""
        return frozenset(self._responses) - {"TAGGED"} | (frozenset(["FETCH"]) if self._fetch_items else frozenset())

    def begin(self, from_client: bytes, from_server: bytes, out: list[Decision]) -> None:
        """Go on where the sign-in stopped: with what both sides have already sent."""
        if from_server:
            self._from_server(self.links[MAIN], from_server, out)
        if from_client:
            self._from_client(from_client, out)

    def handle(self, event: Event, out: list[Decision]) -> None:
        if isinstance(event, BytesReceived):
            if event.leg == CLIENT:
                self._from_client(event.data, out)
            elif event.leg in self.links:
                self._from_server(self.links[event.leg], event.data, out)
        elif isinstance(event, Passed):
            if event.leg in self.links:
                self._passed(self.links[event.leg])
                if event.data:
                    self._from_server(self.links[event.leg], event.data, out)
        elif isinstance(event, Closed):
            self._closed(event, out)
        elif isinstance(event, TimedOut):
            self._say_bye(b"* BYE Autologout: idle for too long.\r\n", out)
            reason = Reason.TIMEOUT_WRITE if event.phase == "write" else Reason.TIMEOUT_IDLE
            out.append(Close(Reason.CLIENT_CLOSED if self._client_gone else reason, "client", event.phase))
        elif isinstance(event, Kicked):
            self._say_bye(b"* BYE %b\r\n" % one_line(event.text), out)
            out.append(Close(Reason.SHUTDOWN if event.shutdown else Reason.KICKED, "operator"))

    def let_go(self) -> None:
        """See session.roles.Watch: a leg's Skimmer asks us, what it is to show in pieces."""
        self.links.clear()

    # -- from the client

    def _from_client(self, data: bytes, out: list[Decision]) -> None:
        self.reader.feed(data)
        self._read_client(out)

    def _read_client(self, out: list[Decision]) -> None:
        """Read commands until nothing whole is left, or until a leg must say ``+`` before anything may follow."""
        while True:
            if self._must_wait():
                self._hold(out)
                return
            try:
                piece = self.reader.next()
                if piece is None:
                    break
                if self._stream_tag is not None:
                    self._stream(piece, out)
                elif self._idle is not None:
                    assert isinstance(piece, Line)
                    if not self._idle_line(piece, out):
                        self.reader.put_back(piece)
                        self._hold(out)
                        return
                else:
                    self._command_piece(piece, out)
            except PeerError as error:
                if self._refuse(error, out):
                    return
        if self._held:
            self._held = False
            out.append(ReadClient())

    @property
    def waits_for_server(self) -> bool:
        """A server must say ``+``, or refuse, before more of what the client says may be looked at. A client that does not wait for
        ``+`` itself has sent a command, or a literal: only the server's answer tells which."""
        return self._stream_asked or (self._stream_sync and self._guarded) or any(link.blocked for link in self.links.values())

    def _must_wait(self) -> bool:
        """Whether nothing more of the client may be looked at."""
        return (
            self.waits_for_server
            or self.outlet.waiting > self.context.settings.limits.held  # answers of ours to what it said before
            or any(len(link.pending) >= _MAX_PENDING for link in self.links.values())
        )

    def _hold(self, out: list[Decision]) -> None:
        if not self._held:
            self._held = True
            out.append(HoldClient())

    def _command_piece(self, piece: Line | Literal, out: list[Decision]) -> None:
        if self._gather.empty and isinstance(piece, Line):
            if not self._begin(piece, out):
                return
        else:
            self._heard(piece.data, out)
        head = self._head
        assert head is not None
        message = isinstance(piece, Line) and piece.literal >= 0 and self._announces_message(head, piece)
        complete = self._gather.add(piece, count_announced=not message)
        if complete or message:
            self._head = None
            self._dispatch(head, self._gather.take(), out, piece if message and isinstance(piece, Line) else None)
        elif isinstance(piece, Line) and piece.sync:
            self.outlet.compose(GO_AHEAD, out)

    def _begin(self, line: Line, out: list[Decision]) -> bool:
        """The first line of a command. True: it is to be gathered; else it is dealt with."""
        self.commands += 1
        try:
            head = parse_command(line.text)
            if self._guarded and line.literal < 0 and _DOUBTFUL.search(line.data):
                raise PeerError("Invalid literal")
        except PeerError:
            # Not forwarded: another server might make something of it that nobody here has been asked about.
            self._hidden = True
            self._heard(line.data, out)
            self._bad(tag_of(line.data), b"Invalid command", out)
            self._pass_over(line)
            return False
        self._hidden = head.name in _SIGN_IN or head.name not in COMMANDS
        if head.name in _SIGN_IN:
            self._trace("C>", b"%b %b <hidden>\r\n" % (head.tag, head.name.encode()), out)
        else:
            self._heard(line.data, out)
        if head.name == "IDLE" and line.literal >= 0:
            self._bad(head.tag, b"IDLE takes no arguments", out)
            self._pass_over(line)
            return False
        if any(head.tag in link.pending for link in self.links.values()):
            self.outlet.compose(b"%b BAD This tag is in use\r\n" % head.tag, out)
            self._pass_over(line)
            return False
        if self._timed and head.name != "IDLE":
            out.append(Began(head.tag, head.name))
        if head.name in self._commands or head.name in self.gathered or head.name in self.named or head.name in _WITHHELD:
            self._head = head
            return True
        leg = self.owner(head)
        self._forward(leg, head.tag, self._note(head, leg), line, out)
        return False

    @staticmethod
    def _offset(head: CommandLine, raw: bytes) -> int:
        """Where the arguments of a gathered command begin."""
        line_end = raw.find(b"\n")
        line = raw if line_end < 0 else raw[:line_end].removesuffix(b"\r")
        return len(line) - len(head.arguments)

    def _announces_message(self, head: CommandLine, line: Line) -> bool:
        """Whether the literal announced is too large to be held, or APPEND's message: the mailbox has been named already."""
        if line.literal > _HOLDABLE_LITERAL:
            return True
        if head.name not in _MESSAGE_COMMANDS:
            return False
        so_far = self._gather.so_far + line.data
        arguments = so_far[self._offset(head, so_far) :]
        try:
            known = parse_arguments(arguments[: arguments.rfind(b"{")].rstrip(b"~"))
        except PeerError:
            return False
        return len(known) >= _MESSAGE_COMMANDS[head.name]

    def _note(self, head: CommandLine, leg: int) -> Pending:
        if head.name == "IDLE":
            self._idle, self._idle_leg = head.tag, leg
            self.reader.literals = False
        elif head.name == "LOGOUT":
            self._logout = True
        return Pending(head.name, waits=head.name == "IDLE")

    def _forward(self, leg: int, tag: bytes, pending: Pending, line: Line, out: list[Decision]) -> None:
        """A command nobody is interested in goes on as it comes."""
        self.links[leg].pending[tag] = pending
        if line.literal >= 0:
            self._begin_stream(tag, leg, line)
        out.append(SendToServer(leg, announced(line, sync=True) if self._stream_asked else line.data))

    def _begin_stream(self, tag: bytes, leg: int, line: Line) -> None:
        self._stream_tag, self._stream_leg, self._stream_sync, self._stream_answered = tag, leg, line.sync, False
        self._stream_asked = leg != _NOWHERE and not line.sync and self.links[leg].asks

    def _pass_over(self, line: Line) -> None:
        """The command that begins with `line` goes nowhere: its literal is not asked for, or swallowed where it comes anyway."""
        if line.literal >= 0:
            if line.sync:
                self.reader.refuse_literal()
            else:
                self._begin_stream(b"", _NOWHERE, line)

    def _stream(self, piece: Line | Literal, out: list[Decision]) -> None:
        """Literals, and the lines between them, of a command that is passing through."""
        leg = self._stream_leg
        self._heard(piece.data, out)
        self._stream_sync = isinstance(piece, Line) and piece.sync
        if isinstance(piece, Literal) or piece.literal < 0:
            if leg != _NOWHERE:
                out.append(SendToServer(leg, piece.data))
            if isinstance(piece, Line):
                self._stream_tag = None
            return
        if (leg == _NOWHERE or self._stream_answered) and (piece.sync or self._guarded):
            # The command has had its answer: nobody asks for another literal, and none of it is sent on.
            if leg != _NOWHERE:
                out.append(SendToServer(leg, announced_head(piece) + b"\r\n"))
            self._stream_leg = _NOWHERE
            if piece.sync:
                self._unannounce()
            return
        if leg != _NOWHERE:
            self._stream_asked = not piece.sync and self.links[leg].asks
            out.append(SendToServer(leg, announced(piece, sync=True) if self._stream_asked else piece.data))

    def _stream_ended(self, whole: bool) -> None:
        """The leg has answered the command that is passing through. `whole`: nothing of it waits here for the leg."""
        if self._stream_sync:
            # Answered instead of ``+``: the client does not send its literal.
            self._unannounce()
        elif self._stream_asked or not whole:
            self._stream_leg, self._stream_asked = _NOWHERE, False
        else:
            # The literal is on its way, and the server swallows it as we do.
            self._stream_answered = True

    def _unannounce(self) -> None:
        """The literal that waits for ``+`` does not come: what follows is a command."""
        self.reader.refuse_literal()
        self._stream_tag, self._stream_sync = None, False

    def _idle_line(self, line: Line, out: list[Decision]) -> bool:
        """DONE, or whatever the client says instead: the server's to judge (RFC 9051 6.3.13). False: not before the server has said
        whether it idles; else it might take the line for a command that nobody here has been asked about."""
        done = line.text.strip(b" ").upper() == b"DONE"
        pending = self.links[self._idle_leg].pending.get(self._idle or b"")
        if self._guarded and not done and pending is not None and pending.waits:
            return False
        self._hidden = not done
        self._heard(line.data, out)
        self._end_idle()
        out.append(SendToServer(self._idle_leg, line.data))
        return True

    def _end_idle(self) -> None:
        self._idle = None
        self.reader.literals = True

    def _refuse(self, error: PeerError, out: list[Decision]) -> bool:
        """The client's command cannot be taken. True: the session ends."""
        first = self._gather.first or self.reader.refused
        self.reader.refused = b""
        self._gather.take()
        self._head = None
        out.append(Record("session.protocol_error", {"text": error.text}))
        if error.fatal or self._stream_tag is not None:
            self._say_bye(b"* BYE %b\r\n" % error.text.encode(), out)
            out.append(Close(Reason.PROTOCOL_ERROR, "client", error.text))
            return True
        self.reader.refuse_literal()
        code = f"[{error.code}] " if error.code else ""
        self._bad(tag_of(first), (code + error.text).encode(), out)
        return False

    def _bad(self, tag: bytes, text: bytes, out: list[Decision]) -> None:
        """The tag of what is no command may be a password."""
        line = b"%b BAD %b\r\n" % (tag, text)
        self.outlet.compose(line, out, shown=b"<hidden> BAD %b\r\n" % text if self._hidden else b"")

    # -- a command somebody is interested in

    def _dispatch(self, head: CommandLine, raw: bytes, out: list[Decision], message: Line | None = None) -> None:
        """Ask the plugins about a command gathered whole, or, with `message`, up to the line that announces its message."""
        if head.name in _WITHHELD:
            self._refuse_command(head, Refuse("This extension is not offered.", "CANNOT"), message, out)
            return
        hook = f"command {head.name}"
        command = Command(head.name, raw[self._offset(head, raw) :], head.tag, head.uid, message is not None, self.mailbox)
        changed = False
        for bound in self._commands.get(head.name, ()):
            said = ask(bound, self.view, hook, command, (Change, Refuse, Answer), out)
            if said is None:
                continue
            if isinstance(said, Refuse):
                self._refuse_command(head, said, message, out)
                return
            if message is not None:
                blame(bound, hook, "a command with a message can only be refused", out)
            elif isinstance(said, Answer):
                lines = [b"* %b\r\n" % line for line in said.lines or ()]
                if any(count_whole(line, responses=True) != 1 for line in lines):
                    blame(bound, hook, "a line of an answer holds a line end, or a literal of another length", out)
                    continue
                self.outlet.compose(b"".join(lines) + b"%b OK %b\r\n" % (head.tag, one_line(said.text)), out)
                return
            elif count_whole(b"%b %b\r\n" % (head.tag, said.data)) != 1:
                blame(bound, hook, "a changed command holds a line end, or a literal of another length", out)
            else:
                command.arguments = said.data
                changed = True
        self._send(head, raw[: self._offset(head, raw)], command.arguments, message, out)
        if changed:
            line = b"%b %b %b\r\n" % (head.tag, head.name.encode(), command.arguments.lstrip(b" "))
            self._trace("S>", _HIDDEN if self._hidden else line, out)

    def _send(self, head: CommandLine, opening: bytes, arguments: bytes, message: Line | None, out: list[Decision]) -> None:
        """Send a gathered command: `opening` is what stands before its arguments."""
        line = opening + arguments + b"\r\n"
        leg = self.owner(head)
        pending = self._note(head, leg)
        if head.name in ("SELECT", "EXAMINE"):
            pending.mailbox = first_string(arguments)
            self._selects(leg, pending.mailbox, out)
        if message is not None:
            link = self.links[leg]
            self._begin_stream(head.tag, leg, message)
            self._stream_asked = not message.sync and not link.takes_unasked(message.literal)
            said_so = announcement(message.literal, sync=message.sync or self._stream_asked)
            link.send_head(head.tag, pending, line, said_so, out)
        else:
            self.links[leg].send_command(head.tag, pending, line, out)

    def _selects(self, leg: int, mailbox: bytes | None, out: list[Decision]) -> None:
        """SELECT or EXAMINE is about to be sent."""

    def _refuse_command(self, head: CommandLine, said: Refuse, message: Line | None, out: list[Decision]) -> None:
        code = b"[%b] " % one_line(said.code) if said.code else b""
        self.outlet.compose(b"%b NO %b%b\r\n" % (head.tag, code, one_line(said.text)), out)
        if message is not None:
            self._pass_over(message)

    # -- from a server

    def _from_server(self, link: Link, data: bytes, out: list[Decision]) -> None:
        skimmer, outlet, leg = link.skimmer, self.outlet, link.leg
        if outlet.waiting and outlet.floor == leg:
            skimmer.stop_at_boundary = True
        pieces = skimmer.feed(data)
        last = len(pieces) - 1
        for index, (piece, octets) in enumerate(pieces):
            if piece is Piece.RUN:
                whole = skimmer.at_boundary if index == last else pieces[index + 1][0] in (Piece.WANTED, Piece.LINE)
                self._run(link, octets, whole, out)
            elif piece is Piece.WANTED:
                self._response(link, octets, out)
            elif piece is Piece.BOUNDARY:
                outlet.boundary(leg, out)
            elif piece is not Piece.TOO_MUCH:
                self._streamed(link, piece, octets, out)
            else:
                kind = _kind_of(octets)
                out.append(Record("plugin.held_too_much", {"octets": self.context.settings.limits.held, "what": kind}))
                self._not_held(link, kind, octets, out)
        if skimmer.at_boundary:
            outlet.boundary(leg, out)
        self._balance(out)
        if (self._held or self.reader.held) and not _ends(out):
            self._read_client(out)
        if self._client_gone and not self._busy and not _ends(out):
            out.append(Close(Reason.LOGOUT if self._logout else Reason.CLIENT_CLOSED, "client"))
        elif skimmer.left > _WORTH_PASSING and outlet.floor == leg and self._may_pass(link) and not _ends(out):
            out.append(Pass(leg, skimmer.left))

    def _run(self, link: Link, octets: bytes, whole: bool, out: list[Decision]) -> None:
        """What nobody wants to see. `whole`: no line and no literal is open behind it."""
        self.outlet.put(link.leg, octets, whole, out)

    def _not_held(self, link: Link, kind: str, head: bytes, out: list[Decision]) -> None:
        """A response that somebody wanted is too large; it comes as runs."""
        if kind == "TAGGED" and head[:1] != b"+":
            self._completed(link, head)  # nobody can be asked, but the command has ended
            if self._timed:
                self._said_all(head, out)

    @property
    def _busy(self) -> bool:
        """A command of the client has not been answered."""
        return any(link.pending for link in self.links.values())

    @property
    def under_way(self) -> bool:
        """See session.life.Watch."""
        saying = not self._gather.empty or self._stream_tag is not None
        return saying or not self.outlet.at_boundary or self._must_wait() or (self._busy and self._idle is None)

    def _usual_streams(self, leg: int) -> Callable[[bytes], bool] | None:
        """Which responses of a leg are given in pieces (wire.skim), where nothing special is going on."""
        return None

    def _may_pass(self, link: Link) -> bool:
        """Whether nobody looks at the rest of the literal that the leg is in."""
        return not self._traced and not link.skimmer.streaming

    def _passed(self, link: Link) -> None:
        """The rest of a literal has gone to the client."""
        link.skimmer.skip()

    def _balance(self, out: list[Decision]) -> None:
        """Legs that have to wait for the floor are not read once too much of theirs waits."""
        if not self._held_legs:
            if self.outlet.waiting > self.context.settings.limits.held:
                self._held_legs = tuple(leg for leg in self.links if leg != self.outlet.floor)
                out.extend(HoldServer(leg) for leg in self._held_legs)
        elif not self.outlet.waiting:
            out.extend(ReadServer(leg) for leg in self._held_legs)
            self._held_legs = ()

    def _response(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        if raw[:1] == b"+":
            self._continuation(link, raw, out)
            return
        match = UNTAGGED.match(raw)
        if match is None:
            self._tagged(link, raw, out)
            return
        kind = match[2].decode("ascii").upper()
        if kind == "CAPABILITY":
            names = raw[match.end() :].split()
            if not all(self.announces(name) for name in names):
                raw = b"* CAPABILITY %b\r\n" % self._announced(names)
        elif kind == "BYE":
            link.said_bye = True
        elif kind in ("OK", "NO", "BAD"):
            raw = self._filter_code(raw)
        number = int(match[1]) if match[1] else None
        changed = self._asked(Response(kind, raw, number, "", self.mailbox), out)
        if changed is not None and kind == "FETCH" and self._fetch_items:
            changed = self._fetched(changed, out)
        if changed is not None:
            self.outlet.put(link.leg, changed, True, out)
        if changed != raw:
            self._trace("<S", raw, out)

    def _continuation(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        """``+``: for the oldest command that waits for one, which is an IDLE before it is a literal; the client's, or ours."""
        idle = next((pending for pending in link.pending.values() if pending.waits), None)
        if idle is not None:
            idle.waits = False
        elif link.go_ahead(out):
            return
        elif link.leg == self._stream_leg and self._stream_asked:
            self._stream_asked = False
            return
        elif link.leg == self._stream_leg:
            self._stream_sync = False  # the client sends its literal now, whatever else the server says
        self.outlet.put(link.leg, raw, True, out)

    def _asked(self, response: Response, out: list[Decision]) -> bytes | None:
        """What the plugins make of a response; None: dropped."""
        for bound in self._responses.get(response.kind, ()):
            said = ask(bound, self.view, f"response {response.kind}", response, (Change, Drop), out)
            if isinstance(said, Change):
                if not count_whole(said.data, responses=True):
                    blame(bound, f"response {response.kind}", "a changed response is not whole", out)
                else:
                    response.raw = said.data
            elif isinstance(said, Drop):
                if response.kind != "TAGGED":
                    return None
                blame(bound, "response TAGGED", "the end of a command cannot be dropped", out)
        return response.raw

    def _fetched(self, raw: bytes, out: list[Decision]) -> bytes:
        """A FETCH response with the items that plugins look at."""
        try:
            fetch: FetchResponse = parse_fetch(raw)
        except PeerError:
            return raw  # an odd server; the client may understand it
        values: dict[str, bytes] = {}
        items = {name: raw[start:end] for name, (start, end) in fetch.items.items()}
        for name, handlers in self._fetch_items.items():
            if name not in items:
                continue
            for bound in handlers:
                item = FetchItem(name, items[name], fetch.number, fetch.uid, self.mailbox, items)
                said = ask(bound, self.view, f"fetch item {name}", item, (bytes,), out)
                if said is not None and not _is_value(name, said):
                    blame(bound, f"fetch item {name}", "what is returned is not one value", out)
                elif said is not None:
                    items[name] = values[name] = said
        return fetch.replaced(values) if values else raw

    def _tagged(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        name = self._completed(link, raw)
        if self._timed:
            self._said_all(raw, out)
        changed = self._asked(Response("TAGGED", self._filter_code(raw), None, name, self.mailbox), out)
        self.outlet.put(link.leg, changed or raw, True, out)

    def _said_all(self, raw: bytes, out: list[Decision]) -> None:
        """For those who want to know how long it took."""
        if (ends := answered(raw)) is not None:
            out.append(ends)

    def _completed(self, link: Link, raw: bytes) -> str:
        """The leg has answered a command: its name, or nothing where nobody knows of it."""
        tag, _, rest = raw.partition(b" ")
        pending, whole = link.completed(tag)
        name = pending.name if pending else ""
        status = parse_status(rest)
        if pending is not None and status is not None:
            if status.kind == "OK" and name in ("SELECT", "EXAMINE", "CLOSE", "UNSELECT"):
                self.mailbox = pending.mailbox
            elif status.kind == "NO" and name in ("SELECT", "EXAMINE"):
                self.mailbox = None  # RFC 9051 6.3.2: a failed SELECT unselects
        if tag == self._stream_tag and link.leg == self._stream_leg:
            self._stream_ended(whole)
        if tag == self._idle:
            self._end_idle()
        return name

    def _streamed(self, link: Link, piece: Piece, octets: bytes, out: list[Decision]) -> None:
        """A piece of a response that the link's skimmer was told to stream."""
        self.outlet.put(link.leg, octets, link.skimmer.at_boundary, out)

    # -- capabilities

    def announces(self, name: bytes) -> bool:
        """Whether a capability of the server is told to the client."""
        return imap_allowed(name)

    def _announced(self, names: list[bytes]) -> bytes:
        return b" ".join(name for name in names if self.announces(name))

    def _filter_code(self, raw: bytes) -> bytes:
        """A status response with the capability list in its code filtered."""
        match = _CODE_LIST.search(raw, 0, 4096)
        if match is None or all(self.announces(name) for name in match[1].split()):
            return raw
        return raw[: match.start(1)] + self._announced(match[1].split()) + raw[match.end(1) :]

    # -- ends

    def _closed(self, event: Closed, out: list[Decision]) -> None:
        if event.leg == CLIENT:
            if event.clean and self._idle is None and self._busy:
                self._client_gone = True  # the rest of the answer still goes to it
                out.append(SetPhase("half_close"))
                return
            reason = Reason.LOGOUT if self._logout else Reason.CLIENT_CLOSED if event.clean else Reason.CLIENT_RESET
            out.append(Close(reason, "client", event.detail))
            return
        link = self.links.pop(event.leg, None)
        if link is None:
            return
        if event.leg != MAIN and self.outlet.floor != event.leg:
            if self._stream_tag is not None and self._stream_leg == event.leg:
                self._stream_ended(False)
            if self._idle is not None and self._idle_leg == event.leg:
                self._end_idle()
            for tag in link.pending:
                self.outlet.compose(b"%b NO [UNAVAILABLE] The mail server of this folder closed the connection.\r\n" % tag, out)
            out.append(Record("upstream.failed", {"server": str(event.leg), "reason": "closed", "detail": event.detail}))
            return
        if link.said_bye:
            out.append(Close(Reason.LOGOUT if self._logout else Reason.SERVER_BYE, "client" if self._logout else "server"))
            return
        self._say_bye(b"* BYE [UNAVAILABLE] The mail server closed the connection.\r\n", out)
        out.append(Close(Reason.SERVER_CLOSED if event.clean else Reason.SERVER_RESET, "server", event.detail))

    def _say_bye(self, line: bytes, out: list[Decision]) -> None:
        """Only at a boundary: inside a literal it would become part of a message."""
        if self.outlet.at_boundary:
            self.outlet.compose(line, out)

    def _heard(self, data: bytes, out: list[Decision]) -> None:
        self._trace("C>", _HIDDEN if self._hidden else data, out)

    def trace(self, on: bool) -> None:
        """Decide Trace from now on, or no more."""
        self._traced = on
        self.outlet.trace(on)

    def _trace(self, direction: str, data: bytes, out: list[Decision]) -> None:
        if self._traced:
            out.append(Trace(direction, data))


def _is_value(name: str, value: bytes) -> bool:
    """Whether a plugin's octets can stand in a FETCH response as the value of one item, and are no more than that."""
    response = b"* 1 FETCH (%b %b)\r\n" % (name.encode(), value)
    try:
        return count_whole(response, responses=True) == 1 and list(parse_fetch(response).items) == [name]
    except PeerError:
        return False


def _ends(out: list[Decision]) -> bool:
    return bool(out) and isinstance(out[-1], Close)


def _kind_of(head: bytes) -> str:
    match = UNTAGGED.match(head)
    return match[2].decode("ascii").upper() if match else "TAGGED"


def first_string(arguments: bytes) -> bytes | None:
    try:
        values = parse_arguments(arguments)
    except PeerError:
        return None
    return values[0] if values and isinstance(values[0], bytes) else None
