"""What the client of a watched IMAP session says.

Rule of this file: commands are framed, gathered where somebody is interested, and go to the leg that owns them; literals pass as they come.
What servers say to them is in watch.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from portico.errors import PeerError
from portico.session.ask import ask, blame, one_line
from portico.session.close import Reason
from portico.session.context import Context, SessionView
from portico.session.decisions import (
    Began,
    Close,
    Decision,
    HoldClient,
    ReadClient,
    Record,
    SendToServer,
    Trace,
)
from portico.session.events import MAIN
from portico.session.imap.gather import GO_AHEAD, Gather
from portico.session.imap.link import Link, Pending, announced, announced_head, announcement
from portico.session.imap.outlet import Outlet
from portico.session.interests import Answer, Change, Command, Compiled, Refuse
from portico.wire.imap import (
    COMMANDS,
    CommandLine,
    parse_arguments,
    parse_command,
    tag_of,
)
from portico.wire.lines import Line, Literal, Reader, count_whole

_HOLDABLE_LITERAL = 1 << 16
"""A larger literal (APPEND's message) is never held: its command is `head_only`."""
_MAX_PENDING = 1000
"""Commands in flight on one leg; the client is not read until some are answered."""
_NOWHERE = -3
"""In place of a leg: the octets of a refused command that come all the same."""
_WITHHELD = frozenset(["COMPRESS", "STARTTLS", "UNAUTHENTICATE"])
"""Commands of extensions that are not announced because they cannot be kept (wire.capability)."""
_MESSAGE_COMMANDS = {"APPEND": 1, "REPLACE": 2}
"""And how many arguments stand before the message at least."""
_SIGN_IN = frozenset(["LOGIN", "AUTHENTICATE"])
_HIDDEN = b"<hidden>\r\n"
_DOUBTFUL = re.compile(rb"\{[^{}\"]*\}\r?\n\Z|\r(?!\n)|\0")
"""In a line that announces no literal: what some server might take for an announcement, or for the end of the line."""

Owner = Callable[[CommandLine], int]


def everything_on_main(command: CommandLine) -> int:
    return MAIN


class Commands:
    """The client's half of a Watch, which it is the base of."""

    gathered: frozenset[str] = frozenset(["SELECT", "EXAMINE"])
    """Commands that are held until they are whole, whoever is interested."""

    __slots__ = (
        "_commands", "_gather", "_guarded", "_head", "_held", "_hidden", "_idle", "_idle_leg", "_logout", "_stream_answered",
        "_stream_asked", "_stream_leg", "_stream_sync", "_stream_tag", "_timed", "_traced", "commands",
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
        owner: Owner = everything_on_main,
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
        self._traced = traced
        # Somebody relies on being asked about every command: no octets may reach a server that it could take for another one.
        self._guarded = (
            guarded or bool(self._commands) or owner is not everything_on_main or b"UNAUTHENTICATE" in map(bytes.upper, capabilities)
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
        self.links: dict[int, Link] = {}

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

    # -- what is said of it

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


def ends(out: list[Decision]) -> bool:
    return bool(out) and isinstance(out[-1], Close)


def first_string(arguments: bytes) -> bytes | None:
    try:
        values = parse_arguments(arguments)
    except PeerError:
        return None
    return values[0] if values and isinstance(values[0], bytes) else None
