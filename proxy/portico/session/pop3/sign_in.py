"""Signing in at a POP3 server as somebody, from its greeting on.

Rule of this file: the proxy as a client, on one leg, until the leg is ready or has failed. Where TLS is wanted it never falls back to
clear, and what came before it is forgotten. RFC 1939, RFC 2595, RFC 3206 (codes), RFC 5034 (AUTH), RFC 6856 (UTF8); XCLIENT as
Dovecot takes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from portico.errors import PeerError
from portico.session.ask import one_line
from portico.session.context import Context, LoginAttempt, Route
from portico.session.decisions import Decision, Record, SendToClient, SendToServer, SetPhase, StartTls
from portico.session.roles import Failed, SignedIn
from portico.wire import sasl
from portico.wire.capability import pop3_list
from portico.wire.lines import Line, Reader
from portico.wire.pop3 import Status, parse_status, timestamp

_MAX_LINE = 1 << 16
_MAX_LIST = 1 << 14
"""Octets of a capability list."""


class _State(Enum):
    GREETING = auto()
    GREETED = auto()  # waits for somebody to sign in as (APOP)
    STLS = auto()
    HANDSHAKE = auto()
    XCLIENT = auto()
    CAPA = auto()
    UTF8 = auto()
    USER = auto()
    SIGN_IN = auto()
    LIST = auto()  # signed in; the list is asked for
    DONE = auto()


@dataclass(slots=True)
class SignIn:
    """Feed it what the leg sends, then `advance`. Without an attempt it stops behind the greeting, until `go`."""

    context: Context
    leg: int
    route: Route
    attempt: LoginAttempt | None
    initial: bytes | None = field(default=None, repr=False)
    digest: bytes = field(default=b"", repr=False)
    """APOP's."""
    utf8: bool = False
    reader: Reader = field(default_factory=lambda: Reader(_MAX_LINE, 0, literals=False))
    relayed: bool = False
    owed: int = 0
    stage: str = "greeting"
    named: bool = False
    banner: bytes = b""
    """The timestamp of the server's greeting."""
    _state: _State = _State.GREETING
    _takes_xclient: bool = False
    _capabilities: list[bytes] | None = None
    _mechanism: sasl.ClientMechanism | None = None
    _pending: bytes | None = field(default=None, repr=False)
    _text: bytes = b""
    _in_list: bool = False
    _listed: int = 0

    def feed(self, data: bytes) -> None:
        self.reader.feed(data)

    @property
    def greeted(self) -> bool:
        """The greeting has been read, and nobody to sign in as is known yet."""
        return self._state is _State.GREETED

    def advance(self, out: list[Decision]) -> SignedIn | Failed | None:
        while self._state not in (_State.HANDSHAKE, _State.GREETED, _State.DONE):
            try:
                line = self.reader.next()
            except PeerError:
                return self._fail("protocol", b"The mail server cannot be understood.")
            if line is None:
                return None
            assert isinstance(line, Line)
            outcome = self._line(line.text, out)
            if outcome is not None:
                self._state = _State.DONE
                return outcome
        return None

    def go(self, route: Route, attempt: LoginAttempt, digest: bytes, out: list[Decision]) -> Failed | None:
        """Go on from behind the greeting, as somebody, by APOP."""
        self.route, self.attempt, self.digest = route, attempt, digest
        return self._greeted(out)

    def tls_started(self, out: list[Decision]) -> SignedIn | Failed | None:
        self.reader.take_rest()
        self._capabilities = None
        return self._after_tls(out)

    def client_line(self, text: bytes, out: list[Decision]) -> None:
        """The client's answer to a challenge of a relayed mechanism."""
        self.owed -= 1
        out.append(SendToServer(self.leg, text + b"\r\n"))

    # -- one line of the server

    def _line(self, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if self._in_list:
            if text != b".":
                assert self._capabilities is not None
                self._capabilities.append(text)
                self._listed += len(text) + 1
                if self._listed > _MAX_LIST:
                    return self._fail("protocol", b"The mail server cannot be understood.")
                return None
            self._in_list = False
            return self._signed_in() if self._state is _State.LIST else self._after_capa(out)
        if text[:2] == b"+ " or text == b"+":
            return self._continuation(text[2:], out)
        status = parse_status(text)
        if status is None:
            return self._fail("protocol", b"The mail server cannot be understood.")
        return self._STEPS[self._state](self, status, text, out)

    def _on_greeting(self, status: Status, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if not status.ok:
            return self._fail("bye", status.text or b"The mail server said goodbye.", _imap_code(status.code) or "UNAVAILABLE")
        self._takes_xclient = status.code == "XCLIENT"  # Dovecot, to those it trusts
        self.banner = timestamp(text)
        if self.attempt is None:
            self._state = _State.GREETED
            return None
        return self._greeted(out)

    def _greeted(self, out: list[Decision]) -> Failed | None:
        self.stage = "sign_in"
        out.append(SetPhase("sign_in", self.leg))
        if self.route.target.tls == "starttls":
            self._send(b"STLS", _State.STLS, out)
            return None
        return self._after_tls(out)

    def _on_stls(self, status: Status, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if not status.ok:
            return self._fail("no_starttls", b"The mail server does not offer TLS.")
        discarded = len(self.reader.take_rest())
        if discarded:
            out.append(Record("session.plaintext_discarded", {"octets": discarded, "side": "server"}))
        self._state = _State.HANDSHAKE
        out.append(StartTls(self.leg))
        return None

    def _after_tls(self, out: list[Decision]) -> Failed | None:
        if self._takes_xclient and self.route.target.send_client_address:
            peer = self.context.peer
            address = b"ADDR=%b PORT=%d " % (peer.rip.encode(), peer.rport) if peer.rip else b""
            words = b"XCLIENT %bSESSION=%b TTL=%d" % (address, self.context.id.encode(), max(0, self.context.hops - 1))
            self._send(words, _State.XCLIENT, out)
            return None
        return self._on_xclient(None, b"", out)

    def _on_xclient(self, status: Status | None, text: bytes, out: list[Decision]) -> Failed | None:
        # Refused or not: it is for the log of the server, not for us.
        facts = self.context.facts
        self._capabilities = list(facts.plain if self.route.target.tls == "none" else facts.secured) or None
        assert self.attempt is not None
        needs_list = self.route.master_user or self.attempt.mechanism in sasl.BEARER
        if self._capabilities is None and needs_list:
            self._send(b"CAPA", _State.CAPA, out)
            return None
        return self._after_capa(out)

    def _on_capa(self, status: Status, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if not status.ok:
            return self._signed_in() if self._state is _State.LIST else self._after_capa(out)
        self._capabilities = []
        self._listed = 0
        self._in_list = True
        return None

    def _after_capa(self, out: list[Decision]) -> Failed | None:
        if self.utf8:
            self._send(b"UTF8", _State.UTF8, out)
            return None
        return self._sign_in(out)

    def _on_utf8(self, status: Status, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if not status.ok:  # the client has been told OK: it must not go on in the belief
            return self._fail("no_utf8", b"The mail server refused UTF8.")
        return self._sign_in(out)

    def _sign_in(self, out: list[Decision]) -> Failed | None:
        route, attempt = self.route, self.attempt
        assert attempt is not None
        if self.context.hops <= 1:
            return self._fail("loop", b"The mail servers lead to each other in a circle.")
        if (route.master_user or route.password is not None) and not route.verified:
            return self._fail("not_verified", b"This sign-in is not possible here.", "CANNOT")  # or everybody could be anybody
        self.named = True
        if attempt.mechanism == "APOP":
            self._send(b"APOP %b %b" % (route.user.encode(), self.digest), _State.SIGN_IN, out)
        elif self.relayed:
            initial = b" " + self.initial if self.initial else b""
            self._send(b"AUTH " + attempt.mechanism.encode() + initial, _State.SIGN_IN, out)
        elif route.master_user or attempt.mechanism in sasl.BEARER:
            return self._auth(attempt, out)
        else:
            secret = route.password or attempt.password
            if secret is None or any(octet in secret.reveal() for octet in b"\r\n\0"):
                return self._fail("no_mechanism", b"The mail server does not take this kind of sign-in.", "CANNOT")
            self._pending = b"PASS " + secret.reveal() + b"\r\n"
            lead = b""
            if any(line.upper() == b"PIPELINING" for line in self._capabilities or ()):  # RFC 2449 6.6
                lead, self._pending = self._pending, b""
            out.append(SendToServer(self.leg, b"USER %b\r\n" % route.user.encode() + lead))
            self._state = _State.USER
        return None

    def _auth(self, attempt: LoginAttempt, out: list[Decision]) -> Failed | None:
        route = self.route
        offered = {
            word.decode("ascii", "replace").upper()
            for line in self._capabilities or ()
            if line[:5].upper() == b"SASL "
            for word in line[5:].split()
        }
        secret = route.master_password if route.master_user else route.password or attempt.password
        self._mechanism = sasl.choose(offered, attempt.mechanism, route.user, secret, route.master_user)
        if self._mechanism is None:
            return self._fail("no_mechanism", b"The mail server does not take this kind of sign-in.", "CANNOT")
        # Without an initial response: RFC 1734's servers know none, and RFC 5034 4 limits the line to 255 octets.
        self._pending = self._mechanism.initial
        self._send(b"AUTH " + self._mechanism.name.encode(), _State.SIGN_IN, out)
        return None

    def _continuation(self, text: bytes, out: list[Decision]) -> Failed | None:
        if self._state is not _State.SIGN_IN:
            return self._fail("protocol", b"The mail server cannot be understood.")
        if self.relayed:
            self.owed += 1
            out.append(SendToClient(b"+ %b\r\n" % text))
            return None
        if self._mechanism is None:
            return self._fail("protocol", b"The mail server cannot be understood.")
        try:
            if self._pending is not None:
                answer, self._pending = self._pending, None
            else:
                answer = self._mechanism.step(sasl.decode(text))
        except (PeerError, sasl.Cancelled):
            return self._fail("protocol", b"The mail server cannot be understood.")
        out.append(SendToServer(self.leg, sasl.encode(answer) + b"\r\n"))
        return None

    def _on_user(self, status: Status, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if not status.ok:
            return self._refused(status)
        self._state = _State.SIGN_IN
        if self._pending:
            out.append(SendToServer(self.leg, self._pending))
        self._pending = None
        return None

    def _on_sign_in(self, status: Status, text: bytes, out: list[Decision]) -> SignedIn | Failed | None:
        if not status.ok:
            return self._refused(status)
        self._text = text[3:].strip() or b"Signed in."
        if self._capabilities is None:
            self._send(b"CAPA", _State.LIST, out)
            return None
        return self._signed_in()

    def _signed_in(self) -> SignedIn:
        return SignedIn(pop3_list(self._capabilities or []), self._text)

    def _refused(self, status: Status) -> Failed:
        code = _imap_code(status.code)
        counts = code in ("", "AUTHENTICATIONFAILED")
        return Failed("refused_by_server", code, status.text or b"Sign-in failed.", counts=counts)

    def _send(self, line: bytes, state: _State, out: list[Decision]) -> None:
        self._state = state
        out.append(SendToServer(self.leg, line + b"\r\n"))

    def _fail(self, reason: str, text: bytes, code: str = "UNAVAILABLE") -> Failed:
        self._state = _State.DONE
        return Failed(reason, code, text)

    _STEPS = {
        _State.GREETING: _on_greeting,
        _State.STLS: _on_stls,
        _State.XCLIENT: _on_xclient,
        _State.CAPA: _on_capa,
        _State.UTF8: _on_utf8,
        _State.USER: _on_user,
        _State.SIGN_IN: _on_sign_in,
        _State.LIST: _on_capa,
    }


_CODES = {"AUTH": "AUTHENTICATIONFAILED", "SYS/TEMP": "UNAVAILABLE", "SYS/PERM": "CONTACTADMIN", "IN-USE": "INUSE"}
_OURS = {
    "AUTHENTICATIONFAILED": b"AUTH",
    "AUTHORIZATIONFAILED": b"AUTH",
    "EXPIRED": b"AUTH",
    "UNAVAILABLE": b"SYS/TEMP",
    # RFC 2449 8.1.2: the user's other sessions have the maildrop. Clients wait for them to end; SYS/TEMP many take for a wrong password.
    "LIMIT": b"IN-USE",
    "INUSE": b"IN-USE",
    "CONTACTADMIN": b"SYS/PERM",
    "CANNOT": b"SYS/PERM",
    "NOPERM": b"SYS/PERM",
}


def _imap_code(code: str) -> str:
    """A POP3 response code (RFC 2449 8, RFC 3206) in RFC 5530's words, which the life of a session speaks. One that IMAP has no
    word for stays as it is: LOGIN-DELAY, or a server's own."""
    return _CODES.get(code, code)


def pop3_code(code: str) -> bytes:
    """And back, for the client: with brackets, or nothing where POP3 has no word for it (ALERT)."""
    if code in _OURS:
        return b"[" + _OURS[code] + b"] "
    return b"" if code in ("", "ALERT", "PRIVACYREQUIRED") else b"[" + one_line(code) + b"] "
