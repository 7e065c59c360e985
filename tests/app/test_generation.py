"""The Generation: what it passes on, what it counts, and what it says in the log."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.app.desk import desk_of
from portico.app.generation import Generation
from portico.app.said import report_fault
from portico.config.settings import Limits, Listener, Portico, RouteRule, Server, Timeouts, Trace
from portico.errors import PluginError, Secret
from portico.gate.gate import Gate
from portico.gate.limits import Counts
from portico.gate.way import way_of
from portico.observe import reference
from portico.observe.ids import Ids
from portico.observe.log import Log
from portico.observe.sink import Sink
from portico.relay.ports import Session, Summary
from portico.session.close import Reason
from portico.session.context import Context, LoginAttempt, Peer, Refusal, Route, ServerFacts, SessionView, TlsInfo
from portico.session.decisions import Decision
from portico.session.events import Event
from portico.upstream.records import Records

VALIDATOR = jsonschema.Draft202012Validator(reference.schema())
TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", client_name="bob", resumed=True, sni="mail.example.org")
SERVERS = {
    "main": Server(imap="127.0.0.1:143"),
    "second": Server(imap="127.0.0.2:143", master_user="proxy", master_password=Secret("mastersecret")),
}


class Bare:
    """A session that says nothing by itself."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.view = SessionView(context.id, context.protocol, context.listener, context.peer)

    def handle(self, event: Event) -> list[Decision]:
        return []


class NoPlugins:
    """The host, as far as a Generation asks it."""

    def __init__(self) -> None:
        self.refusal: Any = None
        self.closed: list[str] = []

    def client_connected(self, view: SessionView) -> Any:
        return self.refusal

    def session_opened(self, view: SessionView) -> None:
        return None

    def session_closed(self, view: SessionView, summary: Summary) -> None:
        self.closed.append(view.id)


class House:
    def __init__(self, directory: Path, *, limits: Limits | None = None, level: str = "debug") -> None:
        directory.mkdir(exist_ok=True)
        self.path = directory / "log"
        self.now = 1000.0
        listener = Listener(
            protocol="imap",
            addresses=["127.0.0.1:0"],
            server="main",
            routes=[RouteRule(users=["bob"], server="second")],
            timeouts=Timeouts(login=7.0),
        )
        settings = Portico(
            servers=SERVERS,
            listeners={"imaps": listener},
            limits=limits or Limits(),
            trace=Trace(directory=str(directory / "traces"), users=["*"]),
        )
        log = Log(Sink(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), owned=True), level=level, strict=True)
        way = way_of(listener, SERVERS, plugins_route=False)
        records = Records()
        by_key = {target.server: records.of(target, "imap") for target in way.targets.values()}
        self.counts = Counts()
        gate = Gate({"imaps": way}, settings.limits, self.counts, None, lambda view, error: report_fault(log, view, error))
        desk = desk_of("imaps", listener, way, Bare, None, ServerFacts(), ("*",))
        self.host = NoPlugins()
        self.generation = Generation(
            settings, {"imaps": desk}, {}, by_key, records, gate, cast(Any, self.host), log, Ids(), clock=lambda: self.now
        )

    def session(self, tls: TlsInfo | None = TLS) -> Session:
        session = self.generation.open_session("imaps", Peer("192.0.2.7", 50000, "192.0.2.1", 993, tls))
        assert session is not None
        return session

    def login(self, session: Session, attempt: LoginAttempt) -> Route | Refusal:
        session.view.user, session.view.mechanism = attempt.user, attempt.mechanism
        verdict = self.generation.check_login(session, attempt)
        assert not isinstance(verdict, Awaitable)
        if isinstance(verdict, Route):
            session.view.server = verdict.target.name
        return verdict

    def end(self, session: Session, reason: Reason = Reason.LOGOUT, **more: Any) -> None:
        said = {"side": "client", "detail": "", "seconds": 1.23456, "bytes_in": 10, "bytes_out": 20, "tunnel": True}
        self.generation.ended(session, Summary(reason, **{**said, **more}))

    @property
    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        for line in lines:
            VALIDATOR.validate(line)
        return lines


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def attempt(user: str = "alice", password: str = "wonderland") -> LoginAttempt:
    return LoginAttempt(user, "PLAIN", Secret(password))


def test_a_session_from_connect_to_close_is_told_in_the_log(house: House) -> None:
    session = house.session()
    assert house.generation.admit(session) is None
    house.now += 1
    route = house.login(session, attempt())
    assert isinstance(route, Route)
    house.generation.connected(route.target, None, 0.002)
    house.now += 0.25
    house.generation.login_ended(session, True, False)
    house.generation.record(session, "login.succeeded", {"method": "PLAIN", "server": "main"})
    assert house.generation.open_plugins(session, session.view) is None
    house.end(session)
    connected, dialled, succeeded, closed = house.lines
    assert connected["event"] == "session.connected" and "user" not in connected
    assert dialled == {**dialled, "event": "upstream.connected", "server": "main", "address": "127.0.0.1:143", "seconds": 0.002}
    expected = {"session": session.context.id, "user": "alice", "rip": "192.0.2.7", "lport": 993, "tls": "TLSv1.3", "cipher": TLS.cipher}
    assert succeeded == {
        **succeeded,
        **expected,
        "address": "127.0.0.1:143",
        "server": "main",
        "seconds": 0.25,
        "method": "PLAIN",
        "sni": "mail.example.org",
    }
    assert closed == {**closed, **expected, "reason": "logout", "side": "client", "seconds": 1.235, "commands": None, "mode": "tunnel"}
    assert house.host.closed == [session.context.id] and not house.generation.visits


def test_a_session_that_ends_before_login_has_neither_user_nor_mode_nor_tls(house: House) -> None:
    session = house.session(tls=None)
    house.end(session, Reason.TIMEOUT_LOGIN, tunnel=False, detail="login")
    closed = house.lines[-1]
    assert closed.keys().isdisjoint({"user", "mode", "server", "method", "tls"}) and closed["detail"] == "login"


def test_plugins_are_not_told_of_the_end_of_a_client_that_they_were_not_told_of(house: House) -> None:
    stranger, guest = house.session(), house.session()
    assert house.generation.admit(guest) is None
    house.end(stranger, Reason.TLS_FAILED)
    house.end(guest)
    assert house.host.closed == [guest.context.id]


def test_what_serves_nobody_any_more_says_so_when_the_last_session_has_ended(house: House) -> None:
    told: list[int] = []
    first, last = house.session(), house.session()
    house.generation.over = lambda: told.append(len(house.generation.visits))
    house.end(first)
    assert told == []
    house.end(last)
    assert told == [0]


def test_connections_above_the_limit_are_refused_and_not_counted(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(sessions=2))
    first, second, third = (house.session() for _ in range(3))
    assert first.context.refusal is None and second.context.refusal is None
    assert third.context.refusal is not None and third.context.refusal.reason == "limit_sessions"
    assert house.generation.admit(third) is None
    house.end(third, Reason.LIMIT_SESSIONS, side="portico")
    assert house.host.closed == []  # plugins have not met it
    assert house.counts.sessions == 2
    house.end(first)
    assert house.session().context.refusal is None


def test_of_those_above_the_limit_some_hundred_at_a_time_are_told_and_the_rest_is_closed_at_once(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(sessions=1), level="error")
    house.session()
    told = [house.session() for _ in range(256)]
    assert all(session.context.refusal is not None for session in told)
    peer = Peer("192.0.2.8", 50000, "192.0.2.1", 993)
    assert house.generation.open_session("imaps", peer) is None
    house.end(told.pop(), Reason.LIMIT_SESSIONS, side="portico")
    house.session()
    assert house.generation.open_session("imaps", peer) is None
    assert (house.counts.sessions, len(house.generation.visits)) == (1, 257)


def test_a_failed_login_frees_the_place_of_its_user(tmp_path: Path) -> None:
    house = House(tmp_path, limits=Limits(sessions_per_user=1))
    first, second = house.session(), house.session()
    assert isinstance(house.login(first, attempt()), Route)
    assert isinstance(house.login(second, attempt()), Refusal)
    house.generation.login_ended(first, False, True)
    assert isinstance(house.login(second, attempt()), Route)
    house.end(second)
    assert isinstance(house.login(first, attempt()), Route)
    house.end(first)
    house.generation.login_ended(first, False, False)  # late, after the end: nothing happens
    assert (house.counts.users, house.counts.sessions) == ({}, 0)


def test_a_plugin_refuses_a_client_at_once_or_later(house: House) -> None:
    refusal = Refusal("Go away.", "CONTACTADMIN", "plugin")
    session = house.session()
    house.host.refusal = refusal
    assert house.generation.admit(session) is None and session.context.refusal is refusal

    async def later() -> Refusal:
        return refusal

    other = house.session()
    house.host.refusal = later()
    waiting = house.generation.admit(other)
    assert waiting is not None

    async def wait() -> None:
        await waiting

    asyncio.run(wait())
    assert other.context.refusal is refusal


def test_times_and_records_are_those_of_the_settings(house: House) -> None:
    session = house.session()
    assert house.generation.timeout(session, "login") == 7.0
    assert house.generation.timeout(session, "idle") == 31 * 60
    route = house.login(session, attempt())
    assert isinstance(route, Route)
    house.generation.connected(route.target, "refused", 0.1)
    assert house.generation.server_records["main:imap"].last_error == "refused"


def test_a_server_without_starttls_is_not_well(house: House) -> None:
    session = house.session()
    route = house.login(session, attempt())
    assert isinstance(route, Route)
    house.generation.connected(route.target, None, 0.1)
    record = house.generation.server_records["main:imap"]
    assert record.failures == 0
    house.generation.record(session, "upstream.failed", {"server": "main", "reason": "no_starttls", "detail": ""})
    house.generation.secured(route.target, "tls")
    assert (record.failures, record.last_error) == (2, "tls")


def test_faults_name_the_plugin_or_us_and_never_the_words(house: House) -> None:
    view = house.session().view
    report_fault(house.generation.log, view, PluginError("nosy", "took too long"))
    report_fault(house.generation.log, view, ValueError("wonderland"))
    house.generation.record(None, "session.bug", {"error": ValueError("wonderland")})
    plugin, bug, outside = house.lines[1:]
    assert outside["event"] == "proxy.bug" and "session" not in outside
    assert (plugin["event"], plugin["plugin"], plugin["error"]) == ("plugin.failed", "nosy", "took too long")
    assert (bug["event"], bug["error"]) == ("session.bug", "ValueError")
    assert "wonderland" not in house.path.read_text()


def test_a_trace_is_opened_when_first_needed_and_closed_at_the_end(house: House) -> None:
    session = house.session()
    house.login(session, attempt())
    house.now += 2
    house.generation.record(session, "trace.started", {})
    house.generation.trace(session, "C>", b"a1 NOOP\r\n")
    visit = house.generation.visits[session.context.id]
    assert visit.trace is not None
    house.end(session)
    house.generation.trace(session, "C>", b"a2 NOOP\r\n")  # late
    assert house.lines[1]["path"] == visit.trace.path
    text = Path(visit.trace.path).read_text()
    assert text.splitlines()[1:] == ["    2.000 C> a1 NOOP"] and "user=alice" in text


def test_a_trace_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    (tmp_path / "traces").write_text("in the way")
    session = house.session()
    for _ in range(3):
        house.generation.trace(session, "C>", b"a1 NOOP\r\n")
    house.end(session)
    assert [line["event"] for line in house.lines] == ["session.connected", "trace.failed", "session.closed"]


passwords = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F), min_size=5, max_size=24).filter(lambda it: it not in "<secret>")


@given(passwords, st.sampled_from(["text", "base64", "in a sentence", "in base64"]))
@settings(max_examples=60, deadline=None)
def test_a_server_that_repeats_the_password_does_not_bring_it_into_the_log(
    tmp_path_factory: pytest.TempPathFactory, password: str, how: str
) -> None:
    house = House(tmp_path_factory.mktemp("house"))
    session = house.session()
    house.login(session, attempt("alice", password))
    said = {
        "text": password,
        "base64": b64encode(password.encode()).decode(),
        "in a sentence": f"Wrong password ({password}) for alice",
        "in base64": "You said: " + b64encode(f"\0alice\0{password}".encode()).decode() + ".",
    }[how]
    house.generation.record(session, "upstream.failed", {"reason": "protocol", "detail": said, "server": "main"})
    fields = {"method": "PLAIN", "code": "", "reason": "refused_by_server", "side": "client", "text": said}
    house.generation.record(session, "login.failed", fields)
    assert house.generation.visits[session.context.id].secrets == ()
    texts = [line.get("text", "") + line.get("detail", "") for line in house.lines[1:]]
    assert len(texts) == 2 and all(password not in text and b64encode(password.encode()).decode() not in text for text in texts)
    assert all("<secret>" in text for text in texts)


@given(
    st.lists(st.tuples(st.sampled_from(["open", "login", "failed", "end"]), st.integers(0, 5), st.sampled_from(["a", "b"])), max_size=40)
)
@settings(max_examples=60, deadline=None)
def test_whatever_sessions_do_nothing_stays_counted_when_they_have_gone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    house = House(tmp_path_factory.mktemp("house"), limits=Limits(sessions=4, sessions_per_user=2), level="error")
    running: list[Session] = []
    for what, number, user in steps:
        if what == "open" or not running:
            running.append(house.session())
            continue
        session = running[number % len(running)]
        if what == "login" and session.context.refusal is None:
            house.login(session, attempt(user))
        elif what == "failed":
            house.generation.login_ended(session, False, True)
        elif what == "end":
            running.remove(session)
            house.end(session)
        assert house.counts.sessions == sum(session.context.refusal is None for session in running) <= 4
        assert all(count <= 2 for count in house.counts.users.values())
    for session in running:
        house.end(session)
    assert (house.counts.sessions, house.counts.users, house.counts.networks) == (0, {}, {})


def test_a_store_that_was_signed_in_to_has_answered(tmp_path: Path) -> None:
    house = House(tmp_path)
    (record,) = (record for record in house.generation.records.all() if record.target.name == "second")
    session = house.session()
    for _ in range(4):
        house.generation.connected(record.target, "refused", 0.1)
    house.generation.record(session, "mount.opened", {"server": "second", "prefix": "Public/"})
    house.generation.connected(record.target, "refused", 0.1)
    assert record.breaker.state == "closed" and record.breaker.failures == 1
    house.end(session)


def test_what_servers_answer_and_how_they_fail_is_told_to_their_breakers(tmp_path: Path) -> None:
    house = House(tmp_path)
    session = house.session()
    record = house.generation.server_records["main:imap"]
    attempt = LoginAttempt("alice", "PLAIN", Secret("secret"))
    for reason, phase in (("timeout", "greeting"), ("closed", "sign_in"), ("bye", "greeting")):
        house.login(session, attempt)
        fields = {"server": "main", "reason": reason, "detail": "", "phase": phase}
        house.generation.record(session, "upstream.failed", fields)
        house.generation.login_ended(session, False, False)
    assert record.breaker.failures == 3
    house.login(session, attempt)
    house.generation.record(session, "upstream.failed", {"server": "main", "reason": "refused_by_server", "detail": "", "phase": "sign_in"})
    assert record.breaker.failures == 3, "about one user"
    house.generation.login_ended(session, False, True)
    assert record.breaker.failures == 0, "a wrong password is an answer"
    house.end(session)
