"""The table: the first rule that matches, in any case of letters."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config.settings import RouteRule, Server
from portico.session.context import RouteChoice as Choice
from portico.session.context import Target
from portico.upstream.routes import Table, fill, targets

RULES = [
    RouteRule(users=["alice", "*@vip.example"], server="one"),
    RouteRule(users=["*@example.org", "b?b"], server="two", user="{local}"),
    RouteRule(users=["bob", "dave@example.org"], server="three"),
]


@pytest.mark.parametrize(
    ("user", "server", "name"),
    [
        ("alice", "one", "alice"),
        ("ALICE", "one", "ALICE"),
        ("x@VIP.example", "one", "x@VIP.example"),
        ("dave@example.org", "two", "dave"),
        ("bob", "two", "bob"),
        ("carol", "rest", "carol"),
        ("x@example.org\n", "rest", "x@example.org\n"),
    ],
)
def test_the_first_rule_that_matches_decides(user: str, server: str, name: str) -> None:
    assert Table(RULES, "rest").choose(user) == Choice(server, name)


def test_without_a_default_an_unknown_user_has_no_server() -> None:
    assert Table(RULES, None).choose("carol") is None
    assert Table(RULES, None).servers() == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("template", "user", "name"),
    [
        ("{user}", "a@b@c", "a@b@c"),
        ("{local}", "a@b@c", "a@b"),
        ("{local}+x@{domain}", "a@b", "a+x@b"),
        ("{local}|{domain}", "plain", "plain|"),
        ("{local}", "{domain}@x", "{domain}"),
        ("{{x}}{user}", "a", "{x}a"),
    ],
)
def test_a_name_is_filled_in_once(template: str, user: str, name: str) -> None:
    assert fill(template, user) == name


patterns = st.text(alphabet="ab*?[]@.", min_size=1, max_size=6)


@given(st.lists(st.lists(patterns, min_size=1, max_size=3), max_size=6), st.text(alphabet="abAB@.", max_size=6))
@settings(max_examples=150)
def test_the_table_decides_as_reading_it_from_the_top_would(rows: list[list[str]], user: str) -> None:
    table = Table([RouteRule(users=row, server=str(number)) for number, row in enumerate(rows)], None)
    expected = next((str(number) for number, row in enumerate(rows) if any(fnmatchcase(user.casefold(), p) for p in row)), None)
    found = table.choose(user)
    assert (found.server if found else None) == expected


def test_only_servers_that_speak_the_protocol_are_targets() -> None:
    servers = {"a": Server(imap="a:143", pop3="a:110", tls="starttls"), "b": Server(imap="b:143", send_client_address=False)}
    assert targets(servers, "pop3") == {"a": Target("a", "a:110", "starttls", "a:pop3")}
    assert [target.send_client_address for target in targets(servers, "imap").values()] == [True, False]
