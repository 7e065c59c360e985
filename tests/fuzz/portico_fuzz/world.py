"""A relay, a gate, clients and servers that may do anything their contracts allow, at any moment.

Rule of this file: events are chosen by a Source among those that can happen now; after each, the promises of a session are
checked. What is asked is answered late, early or never, but nothing is answered that was not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from portico.config.settings import Listener
from portico.errors import Secret
from portico.session.close import Reason
from portico.session.context import Context, Peer, Refusal, Route, ServerFacts, Target, TlsInfo
from portico.session.decisions import (
    CheckLogin,
    Close,
    Connect,
    Decision,
    Disconnect,
    HoldClient,
    HoldServer,
    LoginEnded,
    OpenSession,
    ReadClient,
    ReadServer,
    SendToClient,
    SendToServer,
    SetPhase,
    StartTls,
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

from portico_fuzz import corpus, plugins
from portico_fuzz.source import Source, mutated

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "alice")
_STEPS = 150
_PASSWORD = corpus.PASSWORD.decode()
_CHUNK = 70_000
"""More octets than this never come in at once."""


class Session(Protocol):
    def handle(self, event: Event) -> list[Decision]: ...


class Dialogue(Protocol):
    """What the two ends of a protocol say."""

    def client(self, source: Source, *, signed_in: bool) -> bytes: ...

    def greeting(self, source: Source) -> bytes: ...

    def server(self, source: Source, sent: bytes) -> bytes: ...


class World:
    """One session and all around it."""

    def __init__(self, source: Source, protocol: str, make: Callable[[Context], Session], dialogue: Dialogue) -> None:
        self.source = source
        self.dialogue = dialogue
        mode = source.choice(["implicit", "starttls", "none"])
        listener = Listener.model_validate(
            {
                "protocol": protocol,
                "addresses": ["127.0.0.1:0"],
                "tls": mode,
                "plain_login": source.chance(128),
                "mechanisms": ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "SCRAM-SHA-256", "CRAM-MD5"],
                "apop": protocol == "pop3" and source.chance(128),
                "limits": {
                    "line_before_login": 2000,
                    "literal_before_login": 500,
                    "line": 2000,
                    "literal": 100_000,
                    "held": 3000,
                    "bad_commands": 5,
                },
            }
        )
        self.target = Target("main", "127.0.0.1:143", source.choice(["none", "starttls", "implicit"]))
        known = self.target if source.chance(128) else None
        names = ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN") if known else ()
        list_ = (
            (b"IMAP4rev1", b"SASL-IR", b"AUTH=PLAIN", b"AUTH=SCRAM-SHA-256") if protocol == "imap" else (b"USER", b"SASL PLAIN CRAM-MD5")
        )
        facts = ServerFacts(list_, list_, names) if source.chance(128) else ServerFacts()
        refusal = Refusal("Too many sessions", "UNAVAILABLE", source.choice(["limit_address", "plugin"])) if source.chance(6) else None
        self.traced = source.chance(40)
        traced = ("ali*",) if self.traced else ()
        peer = Peer("192.0.2.1", 4711, "192.0.2.2", 993, TLS if mode == "implicit" else None)
        self.session = make(Context("sid", protocol, "l", peer, listener, facts, known, traced, refusal))  # type: ignore[arg-type]
        self.session.context.trusted = source.chance(60)
        self.over = False
        self.tunnel: Tunnel | None = None
        self.client_open = True
        self.client_held = False
        self.server_held = False
        self.client_tls = False  # a handshake is under way
        self.server = "none"  # none, dialling, up, tls
        self.asked: list[Decision] = []  # questions that wait for an answer
        self.phases: dict[int, str] = {}
        self.signed_in = False
        self.checked = 0  # logins that the gate let pass and that have not ended
        self.from_client = b""
        self.from_server = b""
        self.to_answer = b""  # sent to the server and not yet answered
        self.greeted = False
        self.script = b""  # what the client has still to say
        self.spoilt = False  # it has said something that may hold the password where nobody looks for one
        self.named = False  # the password was said as a user name
        self.letters: list[str] = []
        """What came and what was decided, for the one who has to understand a failure."""

    # -- what may happen now

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            error.add_note("\n".join(self.letters[-40:]))
            raise

    def _run(self) -> None:
        self.tell(ClientConnected())
        for _ in range(_STEPS):
            if self.over or self.source.empty:
                break
            event = self.next_event()
            if event is not None:
                self.tell(event)
        if self.over:
            for event in (BytesReceived(CLIENT, b"x\r\n"), Closed(CLIENT), Kicked("bye"), TimedOut("idle")):
                assert self.tunnel is not None or self.session.handle(event) == [], "nothing comes after a Close"

    def next_event(self) -> Event | None:
        source = self.source
        kind = source.octet()
        if kind < 90:
            return self.client_speaks()
        if kind < 180:
            return self.server_speaks()
        if kind < 240:
            return self.answer(self.asked.pop(source.below(len(self.asked)))) if self.asked else None
        if kind < 244 and self.client_open:
            self.client_open = False
            return Closed(CLIENT, source.chance(200))
        if kind < 247 and self.server in ("up", "tls"):
            self.server = "none"
            return Closed(MAIN, source.chance(200))
        if kind < 250:
            legs = [leg for leg, phase in self.phases.items() if phase and (leg == CLIENT or self.server != "none")]
            if legs:
                leg = source.choice(legs)
                return TimedOut(self.phases[leg], leg)
        if kind == 255:
            return Kicked("An operator ended this session.", shutdown=source.chance(128), patient=source.chance(128))
        return None

    def client_speaks(self) -> Event | None:
        if not self.client_open or self.client_held or self.client_tls:
            return None
        source = self.source
        if not self.script:
            self.script = self.dialogue.client(source, signed_in=self.signed_in)
            if source.chance(30):
                self.spoilt = self.spoilt or self.signed_in or corpus.PASSWORD in self.script
                self.script = mutated(source, self.script)
        size = len(self.script) if source.chance(160) else 1 + source.below(len(self.script) or 1)
        data, self.script = self.script[: min(size, _CHUNK)], self.script[size:]
        self.from_client += data
        return BytesReceived(CLIENT, data) if data else None

    def server_speaks(self) -> Event | None:
        if self.server != "up" or self.server_held:
            return None
        source = self.source
        if not self.greeted:
            self.greeted = True
            data = self.dialogue.greeting(source)
        else:
            data = self.dialogue.server(source, self.to_answer)
            self.to_answer = b""
        if source.chance(20):
            data = mutated(source, data)
        data = data[:_CHUNK]
        self.from_server += data
        return BytesReceived(MAIN, data) if data else None

    def answer(self, asked: Decision) -> Event | None:
        source = self.source
        if isinstance(asked, CheckLogin):
            if source.chance(30):
                refusal = Refusal(
                    "No.", source.choice(["LIMIT", "AUTHENTICATIONFAILED", "UNAVAILABLE"]), "plugin", counts=source.chance(90)
                )
                return LoginRefused(refusal)
            self.checked += 1
            master = source.chance(20)
            return LoginAllowed(
                Route(
                    self.target if source.chance(250) else Target("other", "127.0.0.2:143"),
                    asked.attempt.user,
                    "master" if master else "",
                    Secret(b"m" + corpus.PASSWORD) if master else None,
                    Secret(b"p" + corpus.PASSWORD) if source.chance(10) else None,
                    verified=source.chance(200),
                )
            )
        if isinstance(asked, Connect):
            if source.chance(16):
                self.server = "none"
                return ServerFailed(MAIN, source.choice(["refused", "timeout", "dns"]), "detail")
            self.server, self.greeted, self.from_server, self.to_answer = "up", False, b"", b""
            return ServerConnected(MAIN, TLS if asked.target.tls == "implicit" else None)
        if isinstance(asked, OpenSession):
            compiled: Compiled | None = plugins.compiled(source, asked.view, None if source.chance(100) else source.octets(12))
            return SessionOpened(compiled)
        if isinstance(asked, Wait):
            return WaitEnded()
        if isinstance(asked, StartTls):
            if asked.leg == CLIENT:
                self.client_tls = False
                return TlsStarted(CLIENT, TLS)
            if source.chance(16):
                self.server = "none"
                return ServerFailed(MAIN, "tls", "detail")
            self.server = "up"
            return TlsStarted(MAIN, TLS)
        raise AssertionError(f"{asked} is no question")

    # -- what the session makes of it

    def tell(self, event: Event) -> None:
        self.letters.append(f"{event}")
        out = self.session.handle(event)
        self.letters += [f"    {decision}" for decision in out]
        for index, decision in enumerate(out):
            assert not self.over, f"{decision} follows the end"
            self.obey(decision)
            if isinstance(decision, Close | Tunnel):
                self.over = True
                assert index == len(out) - 1, "nothing follows a Close or a Tunnel"
        self.check_secrets(out)
        self.check_held()

    def obey(self, decision: Decision) -> None:
        if isinstance(decision, SendToClient):
            assert decision.data, "nothing empty is sent"
            assert not self.client_tls, "nothing is sent to the client in the middle of its handshake"
            if not self.signed_in:
                assert decision.data.endswith(b"\r\n"), "before login, whole lines are said"
        elif isinstance(decision, SendToServer):
            assert decision.leg == MAIN and self.server == "up", f"the server is {self.server}"
            self.to_answer += decision.data
        elif isinstance(decision, Connect):
            assert decision.leg == MAIN and self.server == "none", f"the server is {self.server}"
            self.server, self.server_held = "dialling", False
            self.asked.append(decision)
        elif isinstance(decision, Disconnect):
            self.server = "none"
            self.asked = [asked for asked in self.asked if not isinstance(asked, Connect) and not _server_tls(asked)]
        elif isinstance(decision, StartTls):
            if decision.leg == CLIENT:
                assert not self.client_tls
                self.client_tls = True
                self.script = b""
            else:
                assert self.server == "up"
                self.server = "tls"
            self.asked.append(decision)
        elif isinstance(decision, CheckLogin | OpenSession | Wait):
            assert not any(isinstance(asked, type(decision)) for asked in self.asked), "one question at a time"
            if isinstance(decision, CheckLogin):
                assert self.checked == 0, "a login that was let pass ends before another one is checked"
            self.asked.append(decision)
            self.signed_in = self.signed_in or isinstance(decision, OpenSession)
        elif isinstance(decision, HoldServer | ReadServer):
            self.server_held = isinstance(decision, HoldServer)
        elif isinstance(decision, HoldClient):
            self.client_held = True
        elif isinstance(decision, ReadClient):
            self.client_held = False
        elif isinstance(decision, SetPhase):
            self.phases[decision.leg] = decision.phase
        elif isinstance(decision, LoginEnded):
            self.checked -= 1
            assert self.checked >= 0, "a login ends once"
        elif isinstance(decision, Tunnel):
            self.tunnel = decision
            assert self.server == "up"
            assert not self.server_held, "a tunnel is read"
            assert self.from_client.endswith(decision.to_server), "what follows the login goes on first"
            assert self.from_server.endswith(decision.to_client)
            self.check_tunnel(decision)
        elif isinstance(decision, Close):
            assert isinstance(decision.reason, Reason)

    def check_tunnel(self, tunnel: Tunnel) -> None:
        if tunnel.judge is not None:
            tail = self.source.octets(64)
            assert isinstance(tunnel.judge(tail, tail).reason, Reason)

    def check_secrets(self, out: list[Decision]) -> None:
        if any(isinstance(decision, CheckLogin) and _PASSWORD in decision.attempt.user for decision in out):
            self.named = True  # it stands where a name should, and names are seen
        if self.named:
            return
        seen = f"{self.session!r}"
        for decision in out:
            # After login a spoilt command may hold anything, and a trace shows commands.
            if not isinstance(decision, SendToClient | Tunnel) and not (self.spoilt and isinstance(decision, Trace)):
                seen += repr(decision)
        assert not any(secret in seen for secret in corpus.SECRETS), "no password is seen outside of what is sent to a server"

    def check_held(self) -> None:
        assert held(self.session) <= _CHUNK + 50_000, "held memory never passes its limit"


def _server_tls(asked: Decision) -> bool:
    return isinstance(asked, StartTls) and asked.leg == MAIN


def held(thing: Any, seen: set[int] | None = None) -> int:
    """Octets in bytes objects that a session can reach, settings and shared facts not counted."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type | Listener | int | str | float | Secret):
        return 0
    seen.add(id(thing))
    if isinstance(thing, bytes | bytearray):
        return len(thing)
    if isinstance(thing, dict):
        return sum(held(key, seen) + held(value, seen) for key, value in thing.items())
    if isinstance(thing, list | tuple | set | frozenset) or type(thing).__name__ == "deque":
        return sum(held(item, seen) for item in thing)
    if not type(thing).__module__.startswith("portico."):
        return 0
    names = {name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())} | set(getattr(thing, "__dict__", ()))
    return sum(held(getattr(thing, name, None), seen) for name in names)
