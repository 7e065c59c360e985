"""An IMAP session after login in which somebody is interested.

Rule of this file: what servers say is skimmed, and belongs to a command or to nobody; what nobody
asked for is forwarded as it came, octet for octet. What the client says is in commands.py. Withholding a capability is an
interest of our own. A plugin that raises is recorded, and the original goes on.
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
    Close,
    Decision,
    HoldServer,
    Pass,
    ReadServer,
    Record,
    SetPhase,
)
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked, Passed, TimedOut
from portico.session.imap.commands import Commands, Owner, ends, everything_on_main
from portico.session.imap.link import Link
from portico.session.imap.outlet import answered
from portico.session.interests import Change, Compiled, Drop, FetchItem, Response
from portico.wire.capability import imap_allowed
from portico.wire.imap import (
    FetchResponse,
    parse_fetch,
    parse_status,
)
from portico.wire.lines import count_whole
from portico.wire.skim import Piece, Skimmer

_WORTH_PASSING = 1 << 13
"""Octets of a literal that are worth two words with the relay."""
UNTAGGED = re.compile(rb"\* (?:(\d{1,10}) )?([A-Za-z0-9\-]+)")
_CODE_LIST = re.compile(rb"\[CAPABILITY ([^\]]*)\]", re.IGNORECASE)


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


class Watch(Commands):
    """The watched session. `owner` says which leg a command belongs to (mounts). imap.annotated adds to it."""

    __slots__ = ("_client_gone", "_fetch_items", "_held_legs", "_responses")

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
        super().__init__(context, view, interests, capabilities, traced=traced, owner=owner, guarded=guarded)
        self._responses = interests.responses if interests else {}
        self._fetch_items = interests.fetch_items if interests else {}
        self._held_legs: tuple[int, ...] = ()
        self._client_gone = False
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
        if (self._held or self.reader.held) and not ends(out):
            self._read_client(out)
        if self._client_gone and not self._busy and not ends(out):
            out.append(Close(Reason.LOGOUT if self._logout else Reason.CLIENT_CLOSED, "client"))
        elif skimmer.left > _WORTH_PASSING and outlet.floor == leg and self._may_pass(link) and not ends(out):
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


def _is_value(name: str, value: bytes) -> bool:
    """Whether a plugin's octets can stand in a FETCH response as the value of one item, and are no more than that."""
    response = b"* 1 FETCH (%b %b)\r\n" % (name.encode(), value)
    try:
        return count_whole(response, responses=True) == 1 and list(parse_fetch(response).items) == [name]
    except PeerError:
        return False


def _kind_of(head: bytes) -> str:
    match = UNTAGGED.match(head)
    return match[2].decode("ascii").upper() if match else "TAGGED"
