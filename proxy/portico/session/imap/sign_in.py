"""Signing in at an IMAP server as somebody, from its greeting to its capability list.

Rule of this file: the proxy as a client, on one leg, until the leg is ready or has failed. It is
the same for the main leg and for any further one. Nothing that came before STARTTLS is believed after it; where
TLS is wanted it never falls back to clear. RFC 9051 6.1-6.2, RFC 2971, RFC 4959, RFC 5530.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto

from portico.errors import PeerError
from portico.session.context import Context, LoginAttempt, Route
from portico.session.decisions import Decision, Record, SendToClient, SendToServer, SetPhase, StartTls
from portico.session.roles import Failed, SignedIn
from portico.wire import sasl
from portico.wire.capability import Listed, imap_list
from portico.wire.imap import Status, parse_status, quote
from portico.wire.lines import Line, Reader

_MAX_LINE = 1 << 16  # a capability list or an ID of a server; servers are not held to 8,192 octets (RFC 2683 3.2.1.5)
_MAX_LITERAL = 1 << 16
_MAX_CLIENT_PAIRS = 23  # of an ID's 30 (RFC 2971 3.3); the rest are ours
_MAX_CLIENT_ID = 1 << 12
"""Octets of what the client says of itself that go on to the server: some take lines of 8,192 octets and no more."""
_NAMES_ONLY = re.compile(r"[0-9A-Za-z.:%]*")
"""Addresses and a session's id: nothing that a quoted string would have to escape."""
_MAX_ALERTS = 1 << 14
"""Octets of alerts that are kept for the client."""


class _State(Enum):
    GREETING = auto()
    STARTTLS = auto()  # the command was sent
    HANDSHAKE = auto()  # the relay is at it
    CAPABILITY = auto()
    SIGN_IN = auto()
    LIST = auto()  # signed in; the list is asked for
    DONE = auto()


@dataclass(slots=True)
class SignIn:
    """Feed it what the leg sends, then `advance`."""

    context: Context
    leg: int
    route: Route
    attempt: LoginAttempt
    client_id: dict[str, str] = field(default_factory=dict)
    initial: bytes | None = field(default=None, repr=False)
    """Of a relayed mechanism, in base64."""
    reader: Reader = field(default_factory=lambda: Reader(_MAX_LINE, _MAX_LITERAL, responses=True))
    relayed: bool = False
    """The client speaks the mechanism itself: its lines are passed on by `client_line`, one for each challenge."""
    owed: int = 0
    """Challenges of a relayed mechanism that the client has not answered."""
    stage: str = "greeting"
    named: bool = False
    _state: _State = _State.GREETING
    _tag: bytes = b""
    _count: int = 0
    _listed: Listed | None = None
    _mechanism: sasl.ClientMechanism | None = None
    _pending: list[bytes] = field(default_factory=list, repr=False)
    _untagged: list[bytes] = field(default_factory=list)
    _text: bytes = b""
    _inside: bool = False

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)

    def advance(self, out: list[Decision]) -> SignedIn | Failed | None:
        """Read responses until more is needed (None) or it is decided."""
        while self._state not in (_State.HANDSHAKE, _State.DONE):
            try:
                piece = self.reader.next()
            except PeerError:
                return self._fail("protocol", b"The mail server cannot be understood.")
            if piece is None:
                return None
            if not isinstance(piece, Line):
                continue
            inside, self._inside = self._inside, piece.literal >= 0
            if inside:
                continue  # the rest of a response with a literal; nothing we look for has one
            outcome = self._line(piece.text, out)
            if outcome is not None:
                self._state = _State.DONE
                return outcome
        return None

    def tls_started(self, out: list[Decision]) -> SignedIn | Failed | None:
        """The leg is encrypted now; all that was learned before is forgotten."""
        self.reader.take_rest()
        self._untagged.clear()
        self._listed = _of_facts(self.context.facts.secured)
        return self._after_capabilities(out)

    def client_line(self, text: bytes, out: list[Decision]) -> None:
        """The client's answer to a challenge of a relayed mechanism."""
        self.owed -= 1
        out.append(SendToServer(self.leg, text + b"\r\n"))

    # -- one line of the server

    def _line(self, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if text[:1] == b"+":
            return self._continuation(text[1:].lstrip(b" "), out)
        tag, _, rest = text.partition(b" ")
        status = parse_status(rest)
        if tag == b"*":
            return self._untagged_line(text, rest, status, out)
        if tag != self._tag or status is None:
            return None  # the end of the ID that went along, or something that nobody asked for
        if status.code == "CAPABILITY":
            self._listed = imap_list(status.code_arguments)
        return self._tagged(status, rest, out)

    def _untagged_line(self, text: bytes, rest: bytes, status: Status | None, out: list[Decision]) -> SignedIn | Failed | None:
        if status is None:
            if rest[:11].upper() == b"CAPABILITY ":
                self._listed = imap_list(rest[11:])
            return None
        if status.kind == "BYE":
            return self._fail("bye", status.text or b"The mail server said goodbye.", _code_of(status) or "UNAVAILABLE")
        if self._state is _State.GREETING:
            if status.kind != "OK":
                # PREAUTH would be somebody else's session, and before STARTTLS an attack on it (RFC 9051 11.2).
                return self._fail("preauth" if status.kind == "PREAUTH" else "protocol", b"The mail server cannot be used.")
            if status.code == "CAPABILITY":
                self._listed = imap_list(status.code_arguments)
            elif status.code == "ALERT":
                self._alert(text)
            return self._greeted(out)
        if status.code == "CAPABILITY":
            self._listed = imap_list(status.code_arguments)
        elif status.code == "ALERT":
            self._alert(text)
        return None

    def _alert(self, line: bytes) -> None:
        """RFC 9051 7.1: it must be shown to the user."""
        if sum(map(len, self._untagged)) + len(line) <= _MAX_ALERTS:
            self._untagged.append(line + b"\r\n")

    def _greeted(self, out: list[Decision]) -> SignedIn | Failed | None:
        self.stage = "sign_in"
        out.append(SetPhase("sign_in", self.leg))
        if self.route.target.tls == "starttls":
            # Asked for without looking at the list: a list that hides STARTTLS must not talk us out of it.
            self._command(b"STARTTLS", out)
            self._state = _State.STARTTLS
            return None
        if self._listed is None:
            facts = self.context.facts
            self._listed = _of_facts(facts.plain if self.route.target.tls == "none" else facts.secured)
        return self._after_capabilities(out)

    def _after_capabilities(self, out: list[Decision]) -> SignedIn | Failed | None:
        if self._listed is None:
            self._command(b"CAPABILITY", out)
            self._state = _State.CAPABILITY
            return None
        return self._sign_in(out)

    def _tagged(self, status: Status, rest: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        state = self._state
        if state is _State.STARTTLS:
            if status.kind != "OK":
                return self._fail("no_starttls", b"The mail server does not offer TLS.")
            discarded = len(self.reader.take_rest())
            if discarded:
                out.append(Record("session.plaintext_discarded", {"octets": discarded, "side": "server"}))
            self._state = _State.HANDSHAKE
            out.append(StartTls(self.leg))
            return None
        if state is _State.CAPABILITY:
            if self._listed is None:
                self._listed = imap_list(b"")
            return self._sign_in(out)
        if state is _State.LIST:
            listed = self._listed if self._listed is not None and self._listed.names else imap_list(b"IMAP4rev1")
            return SignedIn(listed, self._text, b"".join(self._untagged))
        if state is not _State.SIGN_IN:
            return None
        if status.kind != "OK":
            return Failed(
                "refused_by_server",
                _code_of(status),
                status.text or b"Sign-in failed.",
                counts=status.code in ("", "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "CAPABILITY", "EXPIRED", "ALERT"),
                untagged=b"".join(self._untagged),
            )
        self._text = status.text or b"Signed in."
        if status.code == "ALERT":
            self._alert(b"* OK [ALERT] " + self._text)  # its place in the client's answer is the list's
        if self._listed is None:
            self._command(b"CAPABILITY", out)
            self._state = _State.LIST
            return None
        return SignedIn(self._listed, self._text, b"".join(self._untagged))

    # -- what we say

    def _command(self, text: bytes, out: list[Decision]) -> None:
        self._count += 1
        self._tag = b"P%d" % self._count
        out.append(SendToServer(self.leg, b"%b %b\r\n" % (self._tag, text)))

    def _sign_in(self, out: list[Decision]) -> Failed | None:
        listed = self._listed if self._listed is not None else imap_list(b"")
        offered = listed.upper
        self._state = _State.SIGN_IN
        lead = b""
        if b"ID" in offered and self.route.target.send_client_address:
            self._count += 1
            lead = b"P%d ID %b\r\n" % (self._count, self._identification())
        route, attempt = self.route, self.attempt
        if self.context.hops <= 1:
            return self._fail("loop", b"The mail servers lead to each other in a circle.")
        if (route.master_user or route.password is not None) and not route.verified:
            return self._fail("not_verified", b"This sign-in is not possible here.", "CANNOT")  # or everybody could be anybody
        self._listed = None  # another list holds after login
        initial: bytes | None
        if self.relayed:
            name, initial = attempt.mechanism.encode(), self.initial
        else:
            mechanisms = listed.mechanisms
            by_login = b"LOGINDISABLED" not in offered or "LOGIN" not in mechanisms
            if not route.master_user and attempt.mechanism not in sasl.BEARER and "PLAIN" not in mechanisms and by_login:
                return self._login(lead, offered, out)
            secret = route.master_password if route.master_user else route.password or attempt.password
            self._mechanism = sasl.choose(mechanisms, attempt.mechanism, route.user, secret, route.master_user)
            if self._mechanism is None:
                return self._fail("no_mechanism", b"The mail server does not take this kind of sign-in.", "CANNOT")
            name = self._mechanism.name.encode()
            first = self._mechanism.initial
            initial = None if first is None else sasl.encode(first) or b"="
        self._count += 1
        self._tag = b"P%d" % self._count
        line = b"%b AUTHENTICATE %b" % (self._tag, name)
        if initial is not None and b"SASL-IR" in offered:
            line += b" " + initial
        elif initial is not None:
            self._pending.append(initial if initial != b"=" else b"")
        self.named = True
        out.append(SendToServer(self.leg, lead + line + b"\r\n"))
        return None

    def _login(self, lead: bytes, offered: frozenset[bytes], out: list[Decision]) -> Failed | None:
        password = self.route.password or self.attempt.password
        if b"LOGINDISABLED" in offered or password is None:
            return self._fail("no_mechanism", b"The mail server does not take this kind of sign-in.", "CANNOT")
        self._count += 1
        self._tag = b"P%d" % self._count
        line = lead + self._tag + b" LOGIN"
        plus = b"+" if b"LITERAL+" in offered or b"LITERAL-" in offered else b""
        for octets in (self.route.user.encode(), password.reveal()):
            quoted = quote(octets)
            if quoted is not None:
                line += b" " + quoted
            elif plus and len(octets) <= 4096:  # RFC 7888 5
                line += b" {%d+}\r\n" % len(octets) + octets
            else:
                self._pending.append(line + b" {%d}\r\n" % len(octets))
                line = octets
        self._pending.append(line + b"\r\n")
        self.named = True
        out.append(SendToServer(self.leg, self._pending.pop(0)))
        return None

    def _continuation(self, text: bytes, out: list[Decision]) -> Failed | None:
        """``+``: the server waits for the next piece of LOGIN or of the mechanism."""
        if self._state is not _State.SIGN_IN:
            return None
        if self._pending:
            piece = self._pending.pop(0)
            # A piece of LOGIN has its own line end or is followed by another; one of SASL is a line.
            is_login = self._mechanism is None and not self.relayed
            out.append(SendToServer(self.leg, piece if is_login else piece + b"\r\n"))
        elif self.relayed:
            self.owed += 1
            out.append(SendToClient(b"+ %b\r\n" % text))
        elif self._mechanism is not None:
            try:
                answer = self._mechanism.step(sasl.decode(text))
            except (PeerError, sasl.Cancelled):
                return self._fail("protocol", b"The mail server cannot be understood.")
            out.append(SendToServer(self.leg, sasl.encode(answer) + b"\r\n"))
        return None

    def _identification(self) -> bytes:
        """The ID list (RFC 2971): what the client said of itself, then whose session this is, in Dovecot's names."""
        peer = self.context.peer
        # Mostly there are no others.
        own = f'"x-originating-ip" "{peer.rip}" "x-originating-port" "{peer.rport}" ' if peer.rip else ""
        own += f'"x-connected-ip" "{peer.lip}" "x-connected-port" "{peer.lport}" ' if peer.lip else ""
        if not self.client_id and not self.context.outer_id and _NAMES_ONLY.fullmatch(peer.rip + self.context.id + peer.lip):
            return b'("x-session-id" "%b" %b"x-proxy-ttl" "%d")' % (self.context.id.encode(), own.encode(), self.context.hops - 1)
        pairs: list[tuple[str, str]] = []
        left = _MAX_CLIENT_ID
        for name, value in self.client_id.items():
            left -= len(name) + 4 * len(value)
            if left > 0 and len(pairs) < _MAX_CLIENT_PAIRS and not name.startswith("x-"):
                pairs.append((name, value))
        if self.context.outer_id:
            pairs.append(("x-session-ext-id", self.context.outer_id))
        pairs.append(("x-session-id", self.context.id))  # Dovecot takes the last of both for its own log
        if peer.rip:
            pairs += [("x-originating-ip", peer.rip), ("x-originating-port", str(peer.rport))]
        if peer.lip:
            pairs += [("x-connected-ip", peer.lip), ("x-connected-port", str(peer.lport))]
        pairs.append(("x-proxy-ttl", str(self.context.hops - 1)))
        words = []
        for name, value in pairs:
            key, quoted = quote(name.encode()), quote(value.encode("utf-8", "replace"))
            if key is not None and quoted is not None:
                words.append(key + b" " + quoted)
        return b"(" + b" ".join(words) + b")"

    def _fail(self, reason: str, text: bytes, code: str = "UNAVAILABLE") -> Failed:
        self._state = _State.DONE
        return Failed(reason, code, text)


def _of_facts(names: tuple[bytes, ...]) -> Listed | None:
    """What is known of the server from before; None: nothing."""
    return imap_list(b" ".join(names)) if names else None


def _code_of(status: Status) -> str:
    """The server's response code as it is told to the client. A referral would lead it round the proxy (RFC 2221), and the list of
    the server's leg is not the client's."""
    if status.code == "REFERRAL":
        return "UNAVAILABLE"
    if status.code == "CAPABILITY":
        return ""
    return f"{status.code} {status.code_arguments.decode('latin-1')}" if status.code_arguments else status.code
