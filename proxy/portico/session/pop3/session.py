"""A POP3 session: the words of its life.

Rule of this file: what POP3 says where session.life moves on, and APOP, for which the server is asked before the client is greeted.
"""

from __future__ import annotations

from portico.session.annotations.judge import Judge
from portico.session.annotations.transform import Transforms
from portico.session.context import Context, Route, Target
from portico.session.decisions import Connect, Decision, Disconnect, HoldClient, ReadClient, SetPhase
from portico.session.events import (
    MAIN,
    BytesReceived,
    ClientConnected,
    Closed,
    Event,
    LoginAllowed,
    ServerConnected,
    ServerFailed,
    TimedOut,
)
from portico.session.interests import Compiled
from portico.session.life import Life
from portico.session.pop3.ending import BYE, judge
from portico.session.pop3.front import Front
from portico.session.pop3.sign_in import SignIn, pop3_code
from portico.session.pop3.sized import SizedWatch
from portico.session.pop3.transformed import TransformedWatch
from portico.session.pop3.watch import Watch
from portico.session.roles import Wish
from portico.wire.capability import Listed


class Pop3Session(Life):
    """One POP3 session, sans-IO."""

    __slots__ = ("_banner",)

    _bye = BYE
    _judge = staticmethod(judge)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._banner: SignIn | None = None

    def handle(self, event: Event) -> list[Decision]:
        known = self.context.known_target
        if isinstance(event, ClientConnected) and self.context.settings.apop and known is not None and self.context.refusal is None:
            return self._ask_for_banner(known)
        if self._banner is not None and self._phase == "fetching" and self._about_banner(event):
            return self._read_banner(event)
        if self._banner is not None and self._about_banner(event):
            # It does not wait any longer for somebody to sign in.
            self._banner = None
            return [Disconnect(MAIN)]
        return super().handle(event)

    # -- APOP: the server's timestamp becomes ours (RFC 1939 7)

    def _ask_for_banner(self, known: Target) -> list[Decision]:
        self._phase = "fetching"
        self._banner = SignIn(self.context, MAIN, Route(known, ""), None)
        return [HoldClient(), SetPhase("login"), SetPhase("connect", MAIN), Connect(MAIN, known)]

    @staticmethod
    def _about_banner(event: Event) -> bool:
        return isinstance(event, ServerConnected | ServerFailed) or (
            isinstance(event, BytesReceived | Closed | TimedOut) and event.leg == MAIN
        )

    def _read_banner(self, event: Event) -> list[Decision]:
        banner = self._banner
        assert banner is not None and isinstance(self._front, Front)
        out: list[Decision] = []
        if isinstance(event, ServerConnected):
            return [SetPhase("greeting", MAIN)]
        if isinstance(event, BytesReceived):
            banner.feed(event.data)
            failed = banner.advance(out) is not None or (banner.greeted and banner.reader.held > 0)
            if not failed and not banner.greeted:
                return out
        else:
            failed = True
        out.append(SetPhase("", MAIN))
        if failed or not banner.banner:
            self._banner = None
            out.append(Disconnect(MAIN))
        else:
            self._front.banner = banner.banner
        out.append(ReadClient())
        self._phase = "new"
        return out + super().handle(ClientConnected())

    def _login_allowed(self, event: LoginAllowed, out: list[Decision]) -> None:
        banner, self._banner = self._banner, None
        wish = self._wish
        assert wish is not None and isinstance(self._front, Front)
        if wish.attempt.mechanism != "APOP":
            if banner is not None:
                out.append(Disconnect(MAIN))
            super()._login_allowed(event, out)
            return
        self._admitted = True
        if banner is None:
            # Its server has gone, or has said no once: another one would have another timestamp.
            self._apop_ended("UNAVAILABLE", b"Connect again to sign in by APOP.", "closed", out)
        elif event.route.target != banner.route.target:
            out.append(Disconnect(MAIN))
            self._apop_ended("CANNOT", b"APOP cannot be used for this user.", "no_route", out)
        else:
            self.view.server = event.route.target.name
            self._sign_in = banner
            self._phase = "signing_in"
            self._signed(banner.go(event.route, wish.attempt, self._front.digest, out) or banner.advance(out), out)

    def _apop_ended(self, code: str, text: bytes, reason: str, out: list[Decision]) -> None:
        self._login_ended(out, False)
        self._turn_down(code, text, {"reason": reason, "code": code, "side": "portico"}, out)

    def _connect(self, route: Route, out: list[Decision]) -> None:
        if self._banner is not None:  # a mechanism in which the server speaks first: it begins on a leg of its own
            self._banner = None
            out.append(Disconnect(MAIN))
        super()._connect(route, out)

    # -- what POP3 says

    def _make_front(self) -> Front:
        return Front(self.context, self.view)

    def _make_sign_in(self, route: Route, wish: Wish) -> SignIn:
        utf8 = isinstance(self._front, Front) and self._front.utf8
        return SignIn(self.context, MAIN, route, wish.attempt, wish.initial, utf8=utf8)

    def _make_watch(self, interests: Compiled | None, capabilities: list[bytes], traced: bool) -> Watch:
        ledger = self.context.ledger
        wanted = interests is not None and bool(interests.annotators or interests.transformers)
        if not (wanted or self._remembers) and (sized := self._sized(interests, traced)) is not None:
            return sized
        if ledger is None or not (wanted or self._remembers):
            return Watch(self.context, self.view, interests, traced=traced)
        judge = Judge(self.view, interests.annotators if interests is not None else ())
        transforms = Transforms(self.view, interests.transformers if interests is not None else (), self.context.transform)
        return TransformedWatch(self.context, self.view, interests, judge, transforms, ledger, traced=traced)

    def _sized(self, interests: Compiled | None, traced: bool) -> Watch | None:
        """Where sizes are told by estimate. What is annotated has its own, and then all are true."""
        if interests is None or not interests.sizers or self.context.sizes is None:
            return None
        sizer = interests.sizers[0]
        try:
            serves = bool(sizer.sizer.serves(self.view))
        except Exception:
            serves = False
        return SizedWatch(self.context, self.view, interests, sizer, self.context.sizes, traced=traced) if serves else None

    def _filter(self, listed: Listed, interests: Compiled | None) -> tuple[list[bytes], list[bytes]]:
        # The list may be from before the login, where STLS is of use (RFC 2595 4); after it nobody lists or takes it.
        return listed.passed, [line for line in listed.withheld if line.upper() not in (b"STLS", b"XCLIENT")]

    def _yes(self, capabilities: list[bytes], text: bytes) -> bytes:
        return b"+OK %b\r\n" % text

    def _no(self, code: str, text: bytes) -> bytes:
        return b"-ERR %b%b\r\n" % (pop3_code(code), text)

    def _bad(self, text: bytes) -> bytes:
        return b"-ERR %b\r\n" % text

    def _goodbye(self, text: bytes, code: str = "") -> bytes:
        return b"-ERR %b%b\r\n" % (pop3_code(code), text)
