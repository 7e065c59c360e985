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
from portico.session.ask import ask, blame
from portico.session.close import Reason
from portico.session.context import Context, SessionView
from portico.session.decisions import (
    Close,
    Decision,
    HoldClient,
    HoldServer,
    ReadClient,
    ReadServer,
    Record,
    SendToServer,
    SetPhase,
    Trace,
)
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked, TimedOut
from portico.session.imap.gather import GO_AHEAD, Gather
from portico.session.imap.link import Link, Pending
from portico.session.imap.outlet import Outlet
from portico.session.interests import Answer, Change, Command, Compiled, Drop, FetchItem, Refuse, Response
from portico.wire.capability import filter_imap, imap_allowed
from portico.wire.imap import CommandLine, FetchResponse, parse_arguments, parse_command, parse_fetch, parse_status, tag_of
from portico.wire.lines import Line, Literal, Reader
from portico.wire.skim import Piece, Skimmer

_HOLDABLE_LITERAL = 1 << 16
"""A larger literal (APPEND's message) is never held: its command is `head_only`."""
_MAX_PENDING = 1000
"""Commands in flight on one leg; the client is not read until some are answered."""
_NOWHERE = -3
"""In place of a leg: the octets of a refused command that come all the same."""
_WITHHELD = frozenset(["COMPRESS", "STARTTLS", "UNAUTHENTICATE"])
"""Commands of extensions that are not announced because they cannot be kept (wire.capability)."""
_MESSAGE_COMMANDS = frozenset(["APPEND", "REPLACE"])
_UNTAGGED = re.compile(rb"\* (?:(\d{1,10}) )?([A-Za-z0-9\-]+)")
_CODE_LIST = re.compile(rb"\[CAPABILITY ([^\]]*)\]", re.IGNORECASE)

Owner = Callable[[CommandLine], int]


def _everything_on_main(command: CommandLine) -> int:
    return MAIN


@lru_cache(maxsize=64)
def _pattern(kinds: frozenset[str]) -> re.Pattern[bytes]:
    """What is cut out of a leg's stream: tagged responses, ``+``, BYE, capability lists, and `kinds`."""
    names = "|".join(re.escape(kind) for kind in sorted(kinds | {"BYE", "CAPABILITY"}))
    status = rb"\* (?:OK|NO|BAD) \[CAPABILITY "
    untagged = rb"\* (?:\d{1,10} )?(?:" + names.encode() + rb")\b"
    return re.compile(rb"\+|" + status + rb"|" + untagged + rb"|[^*+\s][^ \r\n]* (?:OK|NO|BAD)\b", re.IGNORECASE)


class Watch:
    """The watched session. `owner` says which leg a command belongs to (mounts)."""

    __slots__ = (
        "_client_gone", "_commands", "_fetch_items", "_gather", "_head", "_held", "_held_legs", "_idle", "_idle_leg", "_logout",
        "_responses",
        "_stream_leg", "_stream_sync", "_stream_tag", "_traced", "commands",
        "context", "links", "mailbox", "outlet", "owner", "reader", "view",
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
    ) -> None:
        limits = context.settings.limits
        self.context = context
        self.view = view
        self.reader = Reader(limits.line, limits.literal)
        self.outlet = Outlet(traced=traced)
        self.owner = owner
        self.mailbox: bytes | None = None
        self.commands = 0
        self._commands = interests.commands if interests else {}
        self._responses = interests.responses if interests else {}
        self._fetch_items = interests.fetch_items if interests else {}
        self._traced = traced
        self._gather = Gather(limits.held)
        self._head: CommandLine | None = None  # of the command that is being gathered
        self._stream_tag: bytes | None = None  # of the command whose literals are passing through
        self._stream_leg = MAIN
        self._stream_sync = False  # its literal has been announced and waits for ``+``
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
        kinds = frozenset(self._responses) - {"TAGGED"} | (frozenset(["FETCH"]) if self._fetch_items else frozenset())
        skimmer = Skimmer(_pattern(kinds), self.context.settings.limits.held)
        self.links[leg] = Link(leg, skimmer, frozenset(name.upper() for name in capabilities))

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
        elif isinstance(event, Closed):
            self._closed(event, out)
        elif isinstance(event, TimedOut):
            self._say_bye(b"* BYE Autologout: idle for too long.\r\n", out)
            reason = Reason.TIMEOUT_WRITE if event.phase == "write" else Reason.TIMEOUT_IDLE
            out.append(Close(Reason.CLIENT_CLOSED if self._client_gone else reason, "client", event.phase))
        elif isinstance(event, Kicked):
            self._say_bye(b"* BYE %b\r\n" % event.text.encode(), out)
            out.append(Close(Reason.SHUTDOWN if event.shutdown else Reason.KICKED, "operator"))

    # -- from the client

    def _from_client(self, data: bytes, out: list[Decision]) -> None:
        self.reader.feed(data)
        self._read_client(out)

    def _read_client(self, out: list[Decision]) -> None:
        """Read commands until nothing whole is left, or until a leg must say ``+`` before anything may follow."""
        while True:
            if any(link.blocked or len(link.pending) >= _MAX_PENDING for link in self.links.values()):
                if not self._held:
                    self._held = True
                    out.append(HoldClient())
                return
            try:
                piece = self.reader.next()
                if piece is None:
                    break
                if self._stream_tag is not None:
                    self._stream(piece, out)
                elif self._idle is not None:
                    self._idle_line(piece, out)
                else:
                    self._command_piece(piece, out)
            except PeerError as error:
                if self._refuse(error, out):
                    return
        if self._held:
            self._held = False
            out.append(ReadClient())

    def _command_piece(self, piece: Line | Literal, out: list[Decision]) -> None:
        if self._gather.empty and isinstance(piece, Line) and not self._begin(piece, out):
            return
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
        except PeerError:
            # Not forwarded: another server might make something of it that nobody here has been asked about.
            self._trace("C>", line.data, out)
            self.outlet.compose(b"%b BAD Invalid command\r\n" % tag_of(line.data), out)
            self._pass_over(line)
            return False
        hidden = head.name in ("LOGIN", "AUTHENTICATE")
        self._trace("C>", b"%b %b <credentials>\r\n" % (head.tag, head.name.encode()) if hidden else line.data, out)
        if any(head.tag in link.pending for link in self.links.values()):
            self.outlet.compose(b"%b BAD This tag is in use\r\n" % head.tag, out)
            self._pass_over(line)
            return False
        if head.name in self._commands or head.name in ("SELECT", "EXAMINE") or head.name in _WITHHELD:
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
        return bool(known)

    def _note(self, head: CommandLine, leg: int) -> Pending:
        if head.name == "IDLE":
            self._idle, self._idle_leg = head.tag, leg
            self.reader.literals = False
        elif head.name == "LOGOUT":
            self._logout = True
        return Pending(head.name)

    def _forward(self, leg: int, tag: bytes, pending: Pending, line: Line, out: list[Decision]) -> None:
        """A command nobody is interested in goes on as it comes."""
        self.links[leg].pending[tag] = pending
        out.append(SendToServer(leg, line.data))
        if line.literal >= 0:
            self._begin_stream(tag, leg, line)

    def _begin_stream(self, tag: bytes, leg: int, line: Line) -> None:
        self._stream_tag, self._stream_leg, self._stream_sync = tag, leg, line.sync

    def _pass_over(self, line: Line) -> None:
        """The command that begins with `line` goes nowhere: its literal is not asked for, or swallowed where it comes anyway."""
        if line.literal >= 0:
            if line.sync:
                self.reader.refuse_literal()
            else:
                self._begin_stream(b"", _NOWHERE, line)

    def _stream(self, piece: Line | Literal, out: list[Decision]) -> None:
        """Literals, and the lines between them, of a command that is passing through."""
        if self._stream_leg != _NOWHERE:
            out.append(SendToServer(self._stream_leg, piece.data))
        self._trace("C>", piece.data, out)
        self._stream_sync = isinstance(piece, Line) and piece.sync
        if isinstance(piece, Line) and piece.literal < 0:
            self._stream_tag = None

    def _idle_line(self, piece: Line | Literal, out: list[Decision]) -> None:
        """DONE, or whatever the client says instead: the server's to judge (RFC 9051 6.3.13)."""
        self._trace("C>", piece.data, out)
        self._end_idle()
        out.append(SendToServer(self._idle_leg, piece.data))

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
        self.outlet.compose(b"%b BAD %b\r\n" % (tag_of(first), (code + error.text).encode()), out)
        return False

    # -- a command somebody is interested in

    def _dispatch(self, head: CommandLine, raw: bytes, out: list[Decision], message: Line | None = None) -> None:
        """Ask the plugins about a command gathered whole, or, with `message`, up to the line that announces its message."""
        if head.name in _WITHHELD:
            self.outlet.compose(b"%b NO [CANNOT] This extension is not offered.\r\n" % head.tag, out)
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
                lines = b"".join(b"* %b\r\n" % line for line in said.lines or ())
                self.outlet.compose(lines + b"%b OK %b\r\n" % (head.tag, said.text.encode()), out)
                return
            elif b"\n" in _without_literals(said.data):
                blame(bound, hook, "a changed command holds a line end", out)
            else:
                command.arguments = said.data
                changed = True
        line = raw[: self._offset(head, raw)] + command.arguments + b"\r\n" if changed else raw + b"\r\n"
        leg = self.owner(head)
        pending = self._note(head, leg)
        if head.name in ("SELECT", "EXAMINE"):
            pending.mailbox = _first_string(command.arguments)
        if message is not None:
            self._begin_stream(head.tag, leg, message)
            self.links[leg].send_head(head.tag, pending, line, out)
        else:
            self.links[leg].send_command(head.tag, pending, line, out)
        if changed:
            self._trace("S>", line, out)

    def _refuse_command(self, head: CommandLine, said: Refuse, message: Line | None, out: list[Decision]) -> None:
        code = b"[%b] " % said.code.encode() if said.code else b""
        self.outlet.compose(b"%b NO %b%b\r\n" % (head.tag, code, said.text.encode()), out)
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
                whole = skimmer.at_boundary if index == last else pieces[index + 1][0] is Piece.WANTED
                outlet.put(leg, octets, whole, out)
            elif piece is Piece.WANTED:
                self._response(link, octets, out)
            elif piece is Piece.BOUNDARY:
                outlet.boundary(leg, out)
            else:
                out.append(Record("plugin.held_too_much", {"octets": self.context.settings.limits.held, "what": _kind_of(octets)}))
        if skimmer.at_boundary:
            outlet.boundary(leg, out)
        self._balance(out)
        if self._held or self.reader.held:
            self._read_client(out)
        if self._client_gone and not any(link.pending for link in self.links.values()) and not _ends(out):
            out.append(Close(Reason.LOGOUT if self._logout else Reason.CLIENT_CLOSED, "client"))

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
            if not link.go_ahead(out):
                self.outlet.put(link.leg, raw, True, out)
            return
        match = _UNTAGGED.match(raw)
        if match is None:
            self._tagged(link, raw, out)
            return
        kind = match[2].decode("ascii").upper()
        if kind == "CAPABILITY":
            raw = b"* CAPABILITY %b\r\n" % _announced(raw[13:].split())
        elif kind == "BYE":
            link.said_bye = True
        elif kind in ("OK", "NO", "BAD"):
            raw = _filter_code(raw)
        number = int(match[1]) if match[1] else None
        changed = self._asked(Response(kind, raw, number, "", self.mailbox), out)
        if changed is not None and kind == "FETCH" and self._fetch_items:
            changed = self._fetched(changed, out)
        if changed is not None:
            self.outlet.put(link.leg, changed, True, out)
        if changed != raw:
            self._trace("<S", raw, out)

    def _asked(self, response: Response, out: list[Decision]) -> bytes | None:
        """What the plugins make of a response; None: dropped."""
        for bound in self._responses.get(response.kind, ()):
            said = ask(bound, self.view, f"response {response.kind}", response, (Change, Drop), out)
            if isinstance(said, Change):
                if not said.data.endswith(b"\r\n"):
                    blame(bound, f"response {response.kind}", "a changed response has no line end", out)
                else:
                    response.raw = said.data
            elif isinstance(said, Drop) and response.kind != "TAGGED":
                return None
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
                if said is not None:
                    items[name] = values[name] = said
        return fetch.replaced(values) if values else raw

    def _tagged(self, link: Link, raw: bytes, out: list[Decision]) -> None:
        tag, _, rest = raw.partition(b" ")
        pending = link.completed(tag)
        name = pending.name if pending else ""
        status = parse_status(rest)
        if pending is not None and status is not None:
            if status.kind == "OK" and name in ("SELECT", "EXAMINE", "CLOSE", "UNSELECT"):
                self.mailbox = pending.mailbox
            elif name in ("SELECT", "EXAMINE"):
                self.mailbox = None  # RFC 9051 6.3.2: a failed SELECT unselects
        if tag == self._stream_tag and self._stream_sync:
            # Answered instead of ``+``: the client does not send its literal. One that does not wait is sent all the
            # same, and the server swallows it as we do.
            self.reader.refuse_literal()
            self._stream_tag = None
        if tag == self._idle:
            self._end_idle()
        changed = self._asked(Response("TAGGED", _filter_code(raw), None, name, self.mailbox), out)
        self.outlet.put(link.leg, changed or raw, True, out)

    # -- ends

    def _closed(self, event: Closed, out: list[Decision]) -> None:
        if event.leg == CLIENT:
            if event.clean and self._idle is None and any(link.pending for link in self.links.values()):
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

    def _trace(self, direction: str, data: bytes, out: list[Decision]) -> None:
        if self._traced:
            out.append(Trace(direction, data))


def _ends(out: list[Decision]) -> bool:
    return bool(out) and isinstance(out[-1], Close)


def _announced(names: list[bytes]) -> bytes:
    return b" ".join(filter_imap(names)[0])


def _filter_code(raw: bytes) -> bytes:
    """A status response with the capability list in its code filtered."""
    match = _CODE_LIST.search(raw, 0, 4096)
    if match is None or all(imap_allowed(name) for name in match[1].split()):
        return raw
    return raw[: match.start(1)] + _announced(match[1].split()) + raw[match.end(1) :]


def _kind_of(head: bytes) -> str:
    match = _UNTAGGED.match(head)
    return match[2].decode("ascii").upper() if match else "TAGGED"


def _first_string(arguments: bytes) -> bytes | None:
    try:
        values = parse_arguments(arguments)
    except PeerError:
        return None
    return values[0] if values and isinstance(values[0], bytes) else None


def _without_literals(arguments: bytes) -> bytes:
    """Arguments with the octets of literals, and the line ends that announce them, taken out."""
    out = b""
    pos = 0
    for match in re.finditer(rb"\{(\d{1,20})\+?\}\r\n", arguments):
        if match.start() < pos:
            continue
        out += arguments[pos : match.start()]
        pos = match.end() + int(match[1])
    return out + arguments[pos:]
