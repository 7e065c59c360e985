"""From a choice to routes: groups, hosts that a lookup names, and servers that cannot be used."""

from __future__ import annotations

import pytest
from portico.config.sections.upstream import Group, Member
from portico.config.settings import Listener, RouteRule, Server
from portico.errors import Secret
from portico.gate.way import Way, way_of
from portico.session.context import LoginAttempt, Peer, Refusal, Route, RouteChoice, SessionView, Target
from portico.upstream.groups import order
from portico.upstream.lookups import Found

MASTER = Server(imap="10.0.0.3:993", tls="implicit", master_user="proxy", master_password=Secret("of the master"))
SERVERS = {"a": Server(imap="10.0.0.1:143"), "b": Server(imap="10.0.0.2:143"), "m": MASTER, "p": Server(pop3="10.0.0.4:110")}
GROUP = Group(members=[Member(server="a"), Member(server="b"), Member(server="m", order=1)])
LISTENER = Listener(protocol="imap", addresses=["127.0.0.1:0"], server="all", routes=[RouteRule(users=["pop"], server="p")])
PEER = Peer("192.0.2.7", 1, "192.0.2.1", 993)
ALICE = LoginAttempt("alice", "PLAIN", Secret("wonderland"))


def way(*ill: str, listener: Listener = LISTENER) -> Way:
    return way_of(listener, SERVERS, plugins_route=False, groups={"all": GROUP}, may=lambda target: target.name not in ill)


def route(verdict: Route | Refusal) -> Route:
    assert isinstance(verdict, Route), verdict
    return verdict


def refusal(verdict: Route | Refusal) -> Refusal:
    assert isinstance(verdict, Refusal), verdict
    return verdict


def names(verdict: Route | Refusal) -> list[str]:
    first = route(verdict)
    return [each.target.name for each in (first, *first.others)]


def test_a_group_gives_its_members_in_the_users_order() -> None:
    assert names(way().route(ALICE, None)) == order(GROUP, "alice") and order(GROUP, "alice")[2] == "m"


def test_what_is_remembered_of_a_users_mail_stays_when_another_member_has_him() -> None:
    first = route(way().route(ALICE, None))
    readers = set()
    for each in (first, *first.others):
        view = SessionView("1", "imap", "imaps", PEER, user="alice", server=each.target.name, group=each.target.group)
        readers.add(view.reader)
    assert readers == {"imaps/all/alice"}
    alone = route(way().route(ALICE, RouteChoice("a"))).target
    assert SessionView("1", "imap", "imaps", PEER, user="alice", server=alone.name, group=alone.group).reader == "imaps/a/alice"


def test_members_that_are_ill_or_drained_are_left_out_and_come_back() -> None:
    first, second, _ = order(GROUP, "alice")
    assert names(way(first).route(ALICE, None)) == [second, "m"]
    assert names(way(first, second).route(ALICE, None)) == ["m"]
    said = refusal(way("a", "b", "m").route(ALICE, None))
    assert (said.code, said.reason, said.counts) == ("UNAVAILABLE", "no_server", False)


def test_the_place_in_a_group_is_that_of_the_name_at_the_server() -> None:
    assert names(way().route(LoginAttempt("x", "PLAIN", Secret("y")), RouteChoice("all", "alice"))) == order(GROUP, "alice")


def test_a_server_alone_that_is_ill_is_not_tried() -> None:
    assert refusal(way("a").route(ALICE, RouteChoice("a"))).reason == "no_server"


def test_each_member_is_signed_in_to_as_its_own_settings_say() -> None:
    first = route(way().route(ALICE, Found("all", verified=True)))
    users = {each.target.name: (each.master_user, each.verified) for each in (first, *first.others)}
    assert users == {"a": ("", False), "b": ("", False), "m": ("proxy", True)}


def test_another_password_is_used_only_where_the_client_is_known_by_proof() -> None:
    found = Found("a", password=Secret("of the mailbox"))
    assert route(way().route(ALICE, found)).password is None  # SQL proves nothing
    proved = route(way().route(ALICE, Found("a", password=Secret("of the mailbox"), verified=True)))
    assert proved.verified and proved.password == Secret("of the mailbox")
    by_certificate = route(way().route(LoginAttempt("alice", "EXTERNAL"), found))
    assert by_certificate.verified and by_certificate.password == Secret("of the mailbox")


def test_a_server_that_is_not_there_is_named_to_the_operator_and_not_to_the_client() -> None:
    said = refusal(way().route(ALICE, Found("moved" * 99, lookup="staff")))
    assert (said.text, said.reason) == ("Your mail server is not reachable this way.", "no_route")
    assert said.detail == f"there is no server {'moved' * 20} for this protocol, said staff"


def test_a_host_that_a_server_of_the_settings_has_is_that_server() -> None:
    assert route(way().route(ALICE, Found(host="10.0.0.2", port=143))).target.name == "b"


def test_another_host_is_refused_without_a_template_and_like_the_template_with_one() -> None:
    said = refusal(way().route(ALICE, Found(host="10.9.9.9", port=993, verified=True)))
    assert (said.code, said.reason) == ("UNAVAILABLE", "no_route")
    assert said.detail == "no server of the settings has the address 10.9.9.9:993, and there is no template"
    target = route(way().route(ALICE, Found(host="10.9.9.9", port=993, verified=True, template="m"))).target
    assert target == Target("m", "10.9.9.9:993", "implicit", "m:imap")
    v6 = route(way().route(ALICE, Found(host="2001:db8::9", port=993, verified=True, template="m")))
    assert (v6.target.address, v6.master_user) == ("[2001:db8::9]:993", "proxy")


@pytest.mark.parametrize("host", ["unix:/run/x", "a b", "x@y", "", "[::1"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    found = Found(host=host, port=143, template="m") if host else Found(server="unknown")
    assert refusal(way().route(ALICE, found)).code == "UNAVAILABLE"


def test_a_group_of_one_server_is_known_beforehand_and_others_are_not() -> None:
    only = Group(members=[Member(server="a")])
    listener = Listener(protocol="imap", addresses=["127.0.0.1:0"], server="one")
    one = way_of(listener, SERVERS, plugins_route=False, groups={"one": only})
    assert one.known is not None and one.known.name == "a"
    assert way().known is None and [target.name for target in way().possible].count("a") == 1


def test_where_nobody_knows_the_user_and_there_is_no_default_it_is_as_a_wrong_password() -> None:
    listener = Listener(protocol="imap", addresses=["127.0.0.1:0"], routes=[RouteRule(users=["bob"], server="a")])
    said = refusal(way(listener=listener).route(ALICE, None))
    assert (said.code, said.counts) == ("AUTHENTICATIONFAILED", True)
