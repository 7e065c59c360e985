"""The life of a session, the same for IMAP and POP3.

Rule of this file: everything that moves a session from one phase to the next is here; what is said in a phase is in the front.py,
sign_in.py and watch.py of each protocol (session.roles). It does not know on which side TLS ends, and opens nothing itself.

    new -> front -> checking -> connecting -> signing_in -> opening -> tunnel | watch -> closed
                ^                ^--- pausing (Wait) <-|
                '------- refusing (Wait) <-------------'
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, Final

from portico.errors import PeerError
from portico.session.ask import one_line
from portico.session.close import Reason
from portico.session.context import Context, Refusal, Route, SessionView
from portico.session.decisions import (
    CheckLogin,
    Close,
    Connect,
    Decision,
    Disconnect,
    Ending,
    HoldClient,
    HoldServer,
    LoginEnded,
    OpenSession,
    ReadClient,
    ReadServer,
    Record,
    SendToClient,
    SetPhase,
    Trace,
    Tunnel,
    Wait,
)
from portico.session.events import (
    CLIENT,
    MAIN,
    BytesReceived,
    ClientConnected,
    Closed,
    Event,
    Kicked,
    LoginAllowed,
    LoginRefused,
    ServerConnected,
    ServerFailed,
    SessionOpened,
    TimedOut,
    TlsStarted,
    WaitEnded,
)
from portico.session.interests import Compiled
from portico.session.roles import Failed, Front, SignedIn, SignIn, Watch, Wish
from portico.wire import sasl
from portico.wire.capability import Listed
from portico.wire.lines import Line

_REFUSED: Final = {"limit_address": Reason.LIMIT_ADDRESS, "plugin": Reason.REFUSED, "shutdown": Reason.SHUTDOWN}
"""How a session ends that has not begun, by Refusal.reason; all others are limits."""
_TIMEOUT_REASONS = {
    "tls": Reason.TIMEOUT_TLS,
    "login": Reason.TIMEOUT_LOGIN,
    "idle": Reason.TIMEOUT_IDLE,
    "write": Reason.TIMEOUT_WRITE,
    "half_close": Reason.CLIENT_CLOSED,
}
# Decisions that are the same in each session; who obeys changes none.
_HOLD_CLIENT: Final = HoldClient()
_READ_CLIENT: Final = ReadClient()
_LOGIN: Final = SetPhase("login")
_CONNECT: Final = SetPhase("connect", MAIN)
_GREETING: Final = SetPhase("greeting", MAIN)
_NO_PHASE: Final = SetPhase("", MAIN)
_IDLE: Final = SetPhase("idle")
_ELSEWHERE = ("bye", "protocol", "preauth", "no_starttls")
"""A server that fails so may have a neighbour that does not."""
_LOGGED = 1000
"""Octets of a server's words in the log."""
_ENOUGH = 1 << 16
"""Octets of a server that wait while the gate or the plugins are asked; above this it is not read."""


class Life:
    """One session, sans-IO. A protocol says its words by the methods below `what a protocol says`."""

    __slots__ = (
        "_admitted",
        "_answer",
        "_before_watch",
        "_client_gone",
        "_front",
        "_leaving",
        "_phase",
        "_prelude",
        "_refusal",
        "_refusal_shown",
        "_rounds",
        "_route",
        "_routes",
        "_sign_in",
        "_signed_in",
        "_watch",
        "_wish",
        "_wrong",
        "commands",
        "context",
        "view",
    )

    def __init__(self, context: Context) -> None:
        self.context = context
        self.view = SessionView(context.id, context.protocol, context.listener, context.peer)
        self.commands = 0
        """Commands seen so far; a tunnel counts none."""
        self._phase = "new"
        self._front: Front | None = self._make_front()
        self._wish: Wish | None = None
        self._sign_in: SignIn | None = None
        self._signed_in: SignedIn | None = None
        self._watch: Watch | None = None
        self._refusal = self._refusal_shown = b""  # what the client is told, and what the trace shows of it
        self._answer = b""  # the client's first line of a relayed mechanism, until the gate has let it pass
        self._admitted = False  # the gate let a login pass that has not ended
        self._route: Route | None = None  # as the gate gave it
        self._routes: list[Route] = []  # where this login may still go
        self._rounds = 0  # how often all of them may be tried again
        self._wrong = 0
        self._before_watch = 0
        self._client_gone = False
        self._leaving: Kicked | None = None  # how it ends once nothing is under way
        self._prelude: list[Trace] = []

    def __repr__(self) -> str:
        view = self.view
        return f"<{type(self).__name__} {view.id} {self._phase} {view.user or '-'} -> {view.server or '-'}>"

    @property
    def phase(self) -> str:
        """As in the drawing above."""
        return self._phase

    def trace(self, on: bool) -> None:
        """From now on the protocol text is traced, free of credentials, or is no more. A session that has not been opened yet is watched
        then, and never becomes a tunnel."""
        if self._watch is not None:
            self._watch.trace(on)
        else:
            others = tuple(pattern for pattern in self.context.trace_users if pattern != "*")
            self.context.trace_users = (*others, "*") if on else others

    # -- events in, decisions out

    def handle(self, event: Event) -> list[Decision]:
        """What is to be done about `event`, in order. Raises nothing on purpose; an exception is a bug."""
        out: list[Decision] = []
        if self._phase == "closed":
            return out
        if self._watch is not None:
            if isinstance(event, Kicked) and event.patient:
                self._leaving = Kicked(event.text, event.shutdown)
            else:
                self._watch.handle(event, out)
            if self._leaving is not None and not self._watch.under_way and not (out and isinstance(out[-1], Close)):
                self._watch.handle(self._leaving, out)
        else:
            getattr(self, _HANDLERS[type(event)])(event, out)
        if self.context.trace_users and self._watch is None:
            self._prelude += [decision for decision in out if isinstance(decision, Trace)]
            del self._prelude[:-100]
            out = [decision for decision in out if not isinstance(decision, Trace)]
        self.commands = self._count()
        if out and isinstance(out[-1], Close | Tunnel):
            self._phase = "tunnel" if isinstance(out[-1], Tunnel) else "closed"
            if self._watch is not None:
                self._watch.let_go()
            self._front = self._sign_in = self._watch = None
        return out

    def _count(self) -> int:
        if self._watch is not None:
            return self._before_watch + self._watch.commands
        return self._front.commands if self._front is not None else self.commands

    def _client_connected(self, event: ClientConnected, out: list[Decision]) -> None:
        assert self._front is not None
        refusal = self.context.refusal
        if refusal is not None:
            out.append(SendToClient(self._goodbye(one_line(refusal.text), refusal.code)))
            reason = _REFUSED.get(refusal.reason, Reason.LIMIT_SESSIONS)
            out.append(Close(reason, "operator" if reason is Reason.SHUTDOWN else "portico", refusal.reason))
            return
        self._phase = "front"
        out.append(_LOGIN)
        out.append(SendToClient(self._front.greeting()))

    def _tls_started(self, event: TlsStarted, out: list[Decision]) -> None:
        if event.leg == CLIENT:
            assert self._front is not None
            self.context.peer.tls = event.info
            self._front.tls_started()
            self._advance(out)
        elif self._sign_in is not None:
            self._signed(self._sign_in.tls_started(out) or self._sign_in.advance(out), out)

    def _bytes_received(self, event: BytesReceived, out: list[Decision]) -> None:
        if event.leg == CLIENT:
            assert self._front is not None
            self._front.feed(event.data)
            self._advance(out)
        elif self._sign_in is not None and event.leg == MAIN:
            self._sign_in.feed(event.data)
            if self._phase in ("checking", "opening"):
                # Somebody else is being asked: what the server says is not looked at before the answer.
                if self._sign_in.reader.held > _ENOUGH:
                    out.append(HoldServer(MAIN))
                return
            self._server_said(out)

    def _server_said(self, out: list[Decision]) -> None:
        assert self._sign_in is not None
        self._signed(self._sign_in.advance(out), out)
        if self._phase == "signing_in" and self._sign_in.owed:
            out.append(_READ_CLIENT)
            self._advance(out)

    def _advance(self, out: list[Decision]) -> None:
        """Go on with what the client said, as far as this phase lets it."""
        front = self._front
        assert front is not None
        if self._phase == "front":
            wish = front.advance(out)
            if wish is not None:
                self._check(wish, out)
            elif self._client_gone and not (out and isinstance(out[-1], Close)):
                out.append(Close(Reason.CLIENT_CLOSED, "client"))
        elif self._phase == "signing_in" and self._sign_in is not None and self._sign_in.relayed:
            self._relay(out)

    # -- signing in

    def _check(self, wish: Wish, out: list[Decision]) -> None:
        self._wish = wish
        self.view.user = wish.attempt.user
        self.view.mechanism = wish.attempt.mechanism
        out.append(_HOLD_CLIENT)
        if not wish.attempt.user and self.context.known_target is not None:
            # A relayed mechanism in which the server speaks first: who comes is known from the client's answer.
            self._connect(Route(self.context.known_target, ""), out)
            return
        self._phase = "checking"
        out.append(CheckLogin(wish.attempt))

    def _login_allowed(self, event: LoginAllowed, out: list[Decision]) -> None:
        self._admitted = True
        route: Route = event.route
        answer, self._answer = self._answer, b""
        if self._sign_in is None and answer:
            self._outage("closed", out)  # the server has left while the gate was asked
        elif self._sign_in is None:
            self._route, self._routes, self._rounds = route, [route, *route.others], self.context.retries
            self._connect(self._routes.pop(0), out)
        elif route.target != self._sign_in.route.target:
            out.append(Disconnect(MAIN))
            self._login_ended(out, False)
            self._turn_down("CANNOT", b"This mechanism cannot be used for this user.", _by_us("no_route", "CANNOT"), out)
        else:
            self._phase = "signing_in"
            if self._sign_in.reader.held > _ENOUGH:
                out.append(ReadServer(MAIN))
            self._sign_in.client_line(answer, out)
            self._server_said(out)

    def _connect(self, route: Route, out: list[Decision]) -> None:
        assert self._wish is not None and self._front is not None
        self.view.server, self.view.group = route.target.name, route.target.group
        self._phase = "connecting"
        self._sign_in = self._make_sign_in(route, self._wish)
        out.append(_CONNECT)
        out.append(Connect(MAIN, route.target))

    def _relay(self, out: list[Decision]) -> None:
        """The client's answers in a relayed mechanism, one for each challenge; it is read only while it owes one."""
        front, sign_in, wish = self._front, self._sign_in, self._wish
        assert front is not None and sign_in is not None and wish is not None
        front.in_exchange = True
        try:
            while self._phase == "signing_in" and sign_in.owed and isinstance(line := front.reader.next(), Line):
                out.append(_HOLD_CLIENT)
                response = sasl.decode(line.text)
                if self.view.user:
                    sign_in.client_line(line.text, out)
                    continue
                self.view.user = wish.attempt.user = sasl.name_in(wish.attempt.mechanism, response)
                self._answer = line.text
                self._phase = "checking"
                out.append(CheckLogin(wish.attempt))
        except PeerError as error:
            out.append(Disconnect(MAIN))
            self._login_ended(out, False)
            out.append(Record("session.protocol_error", {"text": error.text}))
            self._sign_in = self._wish = None
            self._wrong += 1  # or somebody could have connections to the server made for ever
            if error.fatal:
                out.append(SendToClient(self._goodbye(error.text.encode())))
                out.append(Close(Reason.PROTOCOL_ERROR, "client", error.text))
                return
            self._refusal = self._refusal_shown = self._bad(error.text.encode())
            self._told(out)

    def _login_refused(self, event: LoginRefused, out: list[Decision]) -> None:
        refusal: Refusal = event.refusal
        self._answer = b""
        if self._sign_in is not None:
            out.append(Disconnect(MAIN))
        fields = _by_us(refusal.reason, refusal.code)
        if refusal.counts:
            fields["side"] = "client"  # whoever has found the password wrong
        if refusal.detail:
            fields["detail"] = refusal.detail
        self._turn_down(refusal.code, one_line(refusal.text), fields, out, counts=refusal.counts)

    def _server_connected(self, event: ServerConnected, out: list[Decision]) -> None:
        self._phase = "signing_in"
        out.append(_GREETING)
        if self._sign_in is not None:
            self._sign_in.relayed = sasl.relayable(self.view.mechanism)

    def _server_failed(self, event: ServerFailed, out: list[Decision]) -> None:
        out.append(Record("upstream.failed", {"server": self.view.server, "reason": event.reason, "detail": event.detail}))
        if not self._failed_over(out):
            self._outage(event.reason, out)

    def _failed_over(self, out: list[Decision]) -> bool:
        """Go on with the next server, as long as none has been told who comes."""
        sign_in, first = self._sign_in, self._route
        if first is None or not self._admitted or self._client_gone or (sign_in is not None and (sign_in.named or sign_in.relayed)):
            return False
        pause = not self._routes
        if pause:
            if not self._rounds:
                return False
            self._rounds -= 1
            self._routes = [first, *first.others]
        out.append(Disconnect(MAIN))
        target = self._routes[0].target
        fields: dict[str, Any] = {"server": target.name, "address": target.address}
        out.append(Record("upstream.failed_over", fields | ({"count": self.context.retries - self._rounds} if pause else {})))
        if pause and self.context.retry_wait:
            self._sign_in = None
            self._phase = "pausing"
            out.append(_NO_PHASE)
            out.append(Wait(self.context.retry_wait))
        else:
            self._connect(self._routes.pop(0), out)
        return True

    def _outage(self, reason: str, out: list[Decision]) -> None:
        fields = {"reason": reason, "code": "UNAVAILABLE", "side": "server"}
        self._login_ended(out, False)
        self._turn_down("UNAVAILABLE", b"The mail server cannot be reached.", fields, out)

    def _signed(self, outcome: SignedIn | Failed | None, out: list[Decision]) -> None:
        if outcome is None:
            return
        if isinstance(outcome, Failed):
            out.append(Disconnect(MAIN))
            if not outcome.counts:
                fields = {"server": self.view.server, "reason": outcome.reason, "detail": _logged(outcome.text)}
                out.append(Record("upstream.failed", {**fields, "phase": self._stage}))
                if outcome.reason in _ELSEWHERE and self._failed_over(out):
                    return
            if outcome.untagged:
                out.append(SendToClient(outcome.untagged))
            self._login_ended(out, False, outcome.counts)
            fields = {"reason": outcome.reason, "code": outcome.code, "side": "client" if outcome.counts else "server"}
            self._turn_down(outcome.code, outcome.text, fields, out, counts=outcome.counts)
            return
        self._signed_in = outcome
        self._route, self._routes = None, []  # with them their passwords
        self._phase = "opening"
        out.append(_NO_PHASE)
        self.view.capabilities = outcome.listed.words
        self._login_ended(out, True)
        out.append(Record("login.succeeded", {"method": self.view.mechanism, "server": self.view.server}))
        out.append(OpenSession(self.view))

    def _turn_down(self, code: str, text: bytes, fields: dict[str, str], out: list[Decision], *, counts: bool = False) -> None:
        """Tell the client NO; a wrong login waits first, each longer than the one before."""
        assert self._front is not None
        self._refusal = self._no(code, text)
        self._refusal_shown = self._shown(self._refusal)
        self._sign_in = self._wish = self._route = None
        self._routes = []
        out.append(_NO_PHASE)
        method = self.view.mechanism
        out.append(Record("login.failed", {"method": method, "text": _logged(text), **fields}))
        self.view.server = self.view.group = ""
        if not counts:
            self._told(out)
            return
        limits = self.context.settings.limits
        self._wrong += 1
        self._phase = "refusing"
        out.append(Wait(min(limits.wrong_login_delay * 2 ** (self._wrong - 1), limits.wrong_login_delay_max)))

    def _wait_ended(self, event: WaitEnded, out: list[Decision]) -> None:
        if self._phase == "refusing":
            self._told(out)
        elif self._phase == "pausing":
            self._connect(self._routes.pop(0), out)

    def _told(self, out: list[Decision]) -> None:
        assert self._front is not None
        out.append(SendToClient(self._refusal))
        if self.context.trace_users:
            out.append(Trace("<C", self._refusal_shown))
        if self._wrong >= self.context.settings.limits.wrong_logins:
            out.append(SendToClient(self._goodbye(b"Too many wrong logins")))
            out.append(Close(Reason.TOO_MANY_WRONG_LOGINS, "client"))
            return
        self._phase = "front"
        self._front.in_exchange = False
        out.append(_READ_CLIENT)
        self._advance(out)  # what was sent behind the login is still there

    def _shown(self, answer: bytes) -> bytes:
        """`answer` to a login, for the trace: a server may repeat what was secret in it."""
        if not self.context.trace_users:
            return b""
        text = answer.decode("utf-8", "surrogateescape")
        route = self._sign_in.route if self._sign_in is not None else None
        secrets = [self._wish.attempt.password] if self._wish is not None else []
        for secret in (*secrets, *((route.password, route.master_password) if route is not None else ())):
            if secret is not None:
                text = secret.blot(text)
        return text.encode("utf-8", "surrogateescape")

    def _login_ended(self, out: list[Decision], ok: bool, counts: bool = False) -> None:
        """Said once for each login that the gate let pass; where the server failed before anybody was named, there was none."""
        if self._admitted:
            self._admitted = False
            out.append(LoginEnded(ok, counts))

    # -- open

    @property
    def _remembers(self) -> bool:
        """Something has been shown to this user as a plugin wanted it: it stays so, though nobody may want it now."""
        ledger = self.context.ledger
        return ledger is not None and ledger.knows(self.view.reader)

    def _session_opened(self, event: SessionOpened, out: list[Decision]) -> None:
        front, sign_in, signed_in = self._front, self._sign_in, self._signed_in
        assert front is not None and sign_in is not None and signed_in is not None
        interests: Compiled | None = event.interests
        passed, withheld = self._filter(signed_in.listed, interests)
        patterns = self.context.trace_users
        traced = bool(patterns) and any(fnmatchcase(self.view.user, pattern) for pattern in patterns)
        if sign_in.reader.held > _ENOUGH:
            out.append(ReadServer(MAIN))
        out.append(_IDLE)
        answer = signed_in.untagged + self._yes(passed, signed_in.text)
        out.append(SendToClient(answer))
        if withheld:
            names = [name.decode("ascii", "replace") for name in withheld]
            out.append(Record("session.capabilities_withheld", {"names": names}))
        watched = interests is not None or bool(withheld) or traced or self._remembers
        plugins = interests.plugins if interests is not None else []
        out.append(Record("session.opened", {"mode": "watch" if watched else "tunnel", "plugins": plugins}))
        if not watched:
            out.append(Tunnel(MAIN, sign_in.reader.take_rest(), front.reader.take_rest(), self._judge, self._bye))
            return
        if traced:
            out.append(Record("trace.started", {}))
            out.extend(self._prelude)
            out.append(Trace("<C", self._shown(answer)))
        self._prelude = []
        self._phase = "watch"
        self._before_watch = front.commands
        self._front = self._sign_in = self._signed_in = None
        self._watch = self._make_watch(interests, signed_in.capabilities, traced)
        self._wish = None  # with it the password, unless the watch needs it
        out.append(_READ_CLIENT)
        self._watch.begin(front.reader.take_rest(), sign_in.reader.take_rest(), out)
        if self._client_gone and not isinstance(out[-1], Close):
            self._watch.handle(Closed(CLIENT), out)

    # -- ends

    def _closed(self, event: Closed, out: list[Decision]) -> None:
        if event.leg == CLIENT:
            if event.clean and self._phase in ("front", "checking", "connecting", "signing_in", "pausing", "refusing", "opening"):
                # Its half is closed; what it has asked for is still answered.
                self._client_gone = True
                if self._phase == "front":
                    out.append(Close(Reason.CLIENT_CLOSED, "client"))
                return
            out.append(Close(Reason.CLIENT_CLOSED if event.clean else Reason.CLIENT_RESET, "client", event.detail))
        elif self._sign_in is not None and self._phase in ("checking", "connecting", "signing_in"):
            self._server_gone("closed", event.detail, out)
        elif self._phase == "opening":
            out.append(SendToClient(self._goodbye(b"The mail server closed the connection.", "UNAVAILABLE")))
            out.append(Close(Reason.SERVER_CLOSED if event.clean else Reason.SERVER_RESET, "server", event.detail))

    def _server_gone(self, reason: str, detail: str, out: list[Decision]) -> None:
        """While signing in. Where the gate is being asked (a relayed mechanism), its answer comes first."""
        out.append(Disconnect(MAIN))
        out.append(Record("upstream.failed", {"server": self.view.server, "reason": reason, "detail": detail, "phase": self._stage}))
        if self._phase == "checking":
            self._sign_in = None
            out.append(_NO_PHASE)
        elif not self._failed_over(out):
            self._outage(reason, out)

    @property
    def _stage(self) -> str:
        return self._sign_in.stage if self._sign_in is not None else "sign_in"

    def _timed_out(self, event: TimedOut, out: list[Decision]) -> None:
        if event.leg == MAIN:
            self._server_gone("timeout", event.phase, out)
            return
        self._say_bye(b"Autologout: too slow or idle for too long.", out)
        out.append(Close(_TIMEOUT_REASONS.get(event.phase, Reason.TIMEOUT_LOGIN), "client", event.phase))

    def _kicked(self, event: Kicked, out: list[Decision]) -> None:
        self._say_bye(one_line(event.text), out)
        out.append(Close(Reason.SHUTDOWN if event.shutdown else Reason.KICKED, "operator"))

    def _say_bye(self, text: bytes, out: list[Decision]) -> None:
        """Not before the greeting, and not into a handshake."""
        if self._phase != "new" and not (self._front is not None and self._front.starting_tls):
            out.append(SendToClient(self._goodbye(text)))

    # -- what a protocol says

    _bye = b""
    """What Tunnel.bye is."""

    @staticmethod
    def _judge(client: bytes, server: bytes) -> Ending:
        """What Tunnel.judge is."""
        raise AssertionError("each protocol has its own")

    def _make_front(self) -> Front:
        raise AssertionError("each protocol has its own")

    def _make_sign_in(self, route: Route, wish: Wish) -> SignIn:
        raise AssertionError("each protocol has its own")

    def _make_watch(self, interests: Compiled | None, capabilities: list[bytes], traced: bool) -> Watch:
        raise AssertionError("each protocol has its own")

    def _filter(self, listed: Listed, interests: Compiled | None) -> tuple[list[bytes], list[bytes]]:
        """The server's list after login: announced, withheld."""
        raise AssertionError("each protocol has its own")

    def _yes(self, capabilities: list[bytes], text: bytes) -> bytes:
        """The answer to a login that succeeded."""
        raise AssertionError("each protocol has its own")

    def _no(self, code: str, text: bytes) -> bytes:
        """The answer to a login that did not; `code` is IMAP's (RFC 5530)."""
        raise AssertionError("each protocol has its own")

    def _bad(self, text: bytes) -> bytes:
        """The answer to a login that made no sense."""
        raise AssertionError("each protocol has its own")

    def _goodbye(self, text: bytes, code: str = "") -> bytes:
        """The last line before we close."""
        raise AssertionError("each protocol has its own")


def _logged(text: bytes) -> str:
    """What a server said, for the log."""
    return text[:_LOGGED].decode("utf-8", "replace")


def _by_us(reason: str, code: str) -> dict[str, str]:
    return {"reason": reason, "code": code, "side": "portico"}


_HANDLERS: dict[type[Any], str] = {  # by name: a protocol may have its own
    ClientConnected: "_client_connected",
    TlsStarted: "_tls_started",
    BytesReceived: "_bytes_received",
    LoginAllowed: "_login_allowed",
    LoginRefused: "_login_refused",
    ServerConnected: "_server_connected",
    ServerFailed: "_server_failed",
    SessionOpened: "_session_opened",
    WaitEnded: "_wait_ended",
    Closed: "_closed",
    TimedOut: "_timed_out",
    Kicked: "_kicked",
}
