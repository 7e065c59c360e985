"""The gate: what it lets in, where to, and in which words it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config.settings import Limits, Listener, RouteRule, Server
from portico.errors import Secret
from portico.gate.gate import Gate, Plugins
from portico.gate.limits import Counts, Ticket
from portico.gate.way import way_of
from portico.session.context import LoginAttempt, Peer, Refusal, Route, SessionView, Target, TlsInfo
from portico.session.context import RouteChoice as Choice

SERVERS = {
    "main": Server(imap="mail.example.org:143"),
    "second": Server(imap="second.example.org:143", master_user="proxy", master_password=Secret("of the master")),
    "pop": Server(pop3="pop.example.org:110"),
}
LISTENER = Listener(
    protocol="imap",
    addresses=["127.0.0.1:1143"],
    server="main",
    routes=[RouteRule(users=["*@second.example"], server="second", user="{local}"), RouteRule(users=["lost"], server="pop")],
)

VIEW = SessionView("1", "imap", "imaps", Peer("192.0.2.7", 1, "192.0.2.1", 993))


class Said:
    """Plugins that answer what they are told to."""

    def __init__(self, attempted: Any = None, routed: Any = None, *, later: bool = False) -> None:
        self.answers = {"attempted": attempted, "routed": routed}
        self.later = later

    def _say(self, what: str) -> Any:
        answer = self.answers[what]
        if self.later:
            return self._wait(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _wait(self, answer: Any) -> Any:
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def attempted(self, view: SessionView, attempt: LoginAttempt) -> Any:
        return self._say("attempted")

    def routed(self, view: SessionView, attempt: LoginAttempt) -> Any:
        return self._say("routed")


class House:
    """A gate with what is around it."""

    def __init__(self, plugins: Plugins | None = None, *, listener: Listener = LISTENER, per_user: int = 2) -> None:
        self.counts = Counts()
        self.faults: list[Exception] = []
        way = way_of(listener, SERVERS, plugins_route=plugins is not None)
        limits = Limits(sessions_per_user=per_user)
        self.gate = Gate({"imaps": way}, limits, self.counts, plugins, lambda view, error: self.faults.append(error))

    def check(self, attempt: LoginAttempt, tls: TlsInfo | None = None) -> Route | Refusal:
        self.ticket, refusal = self.gate.arrive("192.0.2.7")
        assert refusal is None
        view = SessionView("1", "imap", "imaps", Peer("192.0.2.7", 1, "192.0.2.1", 993, tls))
        verdict = self.gate.check(self.ticket, view, attempt)
        self.waited = isinstance(verdict, Awaitable)
        if isinstance(verdict, Awaitable):

            async def wait() -> Route | Refusal:
                return await verdict

            return asyncio.run(wait())
        return verdict


def login(user: str, password: str = "wonderland", **more: Any) -> LoginAttempt:
    return LoginAttempt(user, "PLAIN", Secret(password), **more)


def refusal_of(verdict: Route | Refusal) -> Refusal:
    assert isinstance(verdict, Refusal)
    return verdict


def route_of(verdict: Route | Refusal) -> Route:
    assert isinstance(verdict, Route), verdict
    return verdict


def test_a_user_without_a_rule_goes_to_the_default_server_at_once() -> None:
    house = House()
    route = route_of(house.check(login("alice")))
    assert (route.target.name, route.target.address, route.user) == ("main", "mail.example.org:143", "alice")
    assert not house.waited and house.counts.users == {"alice": 1}


def test_a_rule_changes_the_name_and_the_master_user_is_not_used_for_an_unproved_password() -> None:
    route = route_of(House().check(login("Bob@SECOND.example")))
    assert (route.target.name, route.user, route.master_user, route.verified) == ("second", "Bob", "", False)


def test_a_choice_without_a_name_is_for_the_clients_own() -> None:
    assert route_of(House(Said(routed=Choice("main"))).check(login("alice"))).user == "alice"


@pytest.mark.parametrize("name", ["alice\r\nDELE 1", "a\x00b", "a\u2028b"])
def test_a_chosen_name_that_would_be_more_than_a_name_is_refused_and_nobody_is_counted(name: str) -> None:
    for said in (Choice("main", name), Route(Target("main", "x:1"), name)):
        house = House(Said(routed=said))
        assert refusal_of(house.check(login("alice"))).reason == "bad_user_name"
        assert not house.counts.users


def test_a_certificate_signs_in_by_the_master_user() -> None:
    tls = TlsInfo("TLSv1.3", "x", client_name="bob@second.example")
    route = route_of(House().check(LoginAttempt("bob@second.example", "EXTERNAL"), tls))
    assert (route.user, route.master_user, route.verified) == ("bob", "proxy", True)
    assert route.master_password == Secret("of the master")


def test_a_certificate_is_refused_where_there_is_no_master_user() -> None:
    tls = TlsInfo("TLSv1.3", "x", client_name="alice")
    refusal = refusal_of(House().check(LoginAttempt("alice", "EXTERNAL"), tls))
    assert (refusal.code, refusal.reason) == ("AUTHORIZATIONFAILED", "no_master_user")


@pytest.mark.parametrize("tls", [None, TlsInfo("TLSv1.3", "x"), TlsInfo("TLSv1.3", "x", client_name="mallory")])
def test_external_needs_a_certificate_of_this_name(tls: TlsInfo | None) -> None:
    assert refusal_of(House().check(LoginAttempt("bob@second.example", "EXTERNAL"), tls)).reason == "no_certificate"


def test_a_server_that_does_not_speak_the_protocol_is_unavailable() -> None:
    refusal = refusal_of(House().check(login("lost")))
    assert (refusal.code, refusal.reason, refusal.counts) == ("UNAVAILABLE", "no_route", False)


def test_nobody_acts_for_another_user() -> None:
    house = House()
    refusal = refusal_of(house.check(login("alice", authzid="bob")))
    assert (refusal.code, refusal.counts) == ("AUTHORIZATIONFAILED", True)
    assert house.counts.users == {}
    route_of(house.check(login("alice", authzid="alice")))


@pytest.mark.parametrize("name", ["", "a\0b", "a\r\nb", "a\x1b[31m", "a\x7f", "x" * 513, "a\u2028b", "a\ud800"])
def test_names_that_harm_logs_and_lines_are_refused(name: str) -> None:
    assert refusal_of(House().check(login(name))).reason == "bad_user_name"


def test_a_relayed_mechanism_without_a_name_goes_to_the_only_server() -> None:
    alone = Listener(protocol="imap", addresses=["127.0.0.1:1143"], server="main")
    house = House(listener=alone)
    assert route_of(house.check(LoginAttempt("", "CRAM-MD5"))).target.name == "main"
    assert house.counts.users == {}
    assert refusal_of(House().check(LoginAttempt("", "CRAM-MD5"))).reason == "bad_user_name"


def test_the_third_session_of_a_user_is_refused_until_one_has_gone_or_failed() -> None:
    house = House(per_user=2)
    route_of(house.check(login("alice")))
    first = house.ticket
    route_of(house.check(login("ALICE")))
    assert (refusal := refusal_of(house.check(login("alice")))).reason == "limit_user" and refusal.code == "LIMIT"
    house.gate.failed(first, VIEW, counts=False)
    route_of(house.check(login("alice")))
    house.gate.leave(house.ticket)
    route_of(house.check(login("alice")))


@pytest.mark.parametrize("later", [False, True])
def test_a_plugin_refuses_and_nobody_stays_counted(later: bool) -> None:
    house = House(Said(Refusal("Not today.", "CONTACTADMIN", "plugin"), later=later))
    assert refusal_of(house.check(login("alice"))).text == "Not today."
    assert house.waited is later and house.counts.users == {}


@pytest.mark.parametrize("later", [False, True])
def test_a_plugin_chooses_before_the_table_does(later: bool) -> None:
    house = House(Said(routed=Choice("second", "al"), later=later))
    route = route_of(house.check(login("alice")))
    assert (route.target.name, route.user) == ("second", "al")
    assert house.waited is later and house.counts.users == {"alice": 1}


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("where", ["attempted", "routed"])
def test_what_fails_inside_refuses_the_login_and_is_reported(where: str, later: bool) -> None:
    house = House(Said(**{where: RuntimeError("boom")}, later=later))
    refusal = refusal_of(house.check(login("alice")))
    assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "bug")
    assert len(house.faults) == 1 and house.counts.users == {}


def test_a_plugin_cannot_lend_credentials_to_somebody_unproved() -> None:
    target = route_of(House().check(login("alice"))).target
    lent = Route(target, "alice", master_user="proxy", master_password=Secret("x"))
    assert refusal_of(House(Said(routed=lent)).check(login("alice"))).reason == "unproved"
    proved = Route(target, "alice", password=Secret("x"), verified=True)
    assert House(Said(routed=proved)).check(login("alice")) is proved


@given(st.text(max_size=30), st.text(max_size=30))
@settings(max_examples=100)
def test_any_name_gives_a_route_or_a_refusal_and_a_refusal_repeats_nothing(user: str, authzid: str) -> None:
    house = House()
    verdict = house.check(LoginAttempt(user, "PLAIN", Secret("p"), authzid))
    assert not house.faults
    if isinstance(verdict, Refusal):
        assert house.counts.users == {}
        assert verdict.text in {"Sign-in failed.", "You cannot act for another user here.", "Your mail server is not reachable this way."}
    else:
        assert user.isprintable() and authzid in ("", user)


def test_the_only_server_is_known_beforehand_and_several_are_not() -> None:
    alone = Listener(protocol="pop3", addresses=["127.0.0.1:110"], server="pop")
    known = way_of(alone, SERVERS, plugins_route=False).known
    assert known is not None and known.name == "pop"
    assert way_of(alone, SERVERS, plugins_route=True).known is None
    assert way_of(LISTENER, SERVERS, plugins_route=False).known is None
    assert {target.name for target in way_of(LISTENER, SERVERS, plugins_route=False).possible} == {"main", "second"}
    assert way_of(LISTENER, SERVERS, plugins_route=True).possible == ()


def test_a_ticket_that_was_not_admitted_counts_nothing() -> None:
    counts = Counts()
    counts.leave(Ticket("", counted=False))
    assert counts.sessions == 0
