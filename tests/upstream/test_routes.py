"""The table: the first rule that matches, in any case of letters."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config.settings import Listener, RouteRule, Server
from portico.upstream.routes import Choice, Table, default_server, fill, targets

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
        ("{other}", "a", "{other}"),
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


def test_the_only_server_of_the_protocol_is_the_default_when_nothing_is_said() -> None:
    servers = {"a": Server(imap="a:143", pop3="a:110"), "b": Server(imap="b:143")}
    pop3 = Listener(protocol="pop3", addresses=["127.0.0.1:110"])
    imap = Listener(protocol="imap", addresses=["127.0.0.1:143"])
    assert default_server(pop3, targets(servers, "pop3")) == "a"
    assert default_server(imap, targets(servers, "imap")) is None
    assert default_server(imap.model_copy(update={"server": "b"}), targets(servers, "imap")) == "b"
