"""A login whose server is not there goes on to the next one, until one has been told who comes."""

from __future__ import annotations

from typing import Any

import pytest
from portico.session.context import Route, Target
from portico.session.decisions import Connect, Disconnect, Record, Wait
from portico.session.events import CLIENT, MAIN, Closed, Event, ServerConnected, ServerFailed, TimedOut

from tests.session.life import Life, Pop3Life

ONE, TWO, THREE = (Target(name, f"127.0.0.{number}:143") for number, name in enumerate(("one", "two", "three"), 1))
GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] Hello.\r\n"
LOGIN = b"a1 LOGIN alice secret\r\n"


class Away(Life):
    """Servers of these names cannot be reached."""

    away: tuple[str, ...] = ()

    def answer(self, question: Any) -> Event:
        if isinstance(question, Connect) and question.target.name in self.away:
            return ServerFailed(MAIN, "refused", "")
        return super().answer(question)


def life(*targets: Target, away: tuple[str, ...] = (), retries: int = 0, kind: type[Any] = Away) -> Any:
    routes = [Route(target, "alice") for target in targets]
    it = kind(route=Route(routes[0].target, "alice", others=tuple(routes[1:])))
    it.away = away
    it.session.context.retries = retries
    return it


def tried(it: Any) -> list[str]:
    return [decision.target.name for decision in it.all(Connect)]


def said(it: Any, event: str) -> list[dict[str, Any]]:
    return [decision.fields for decision in it.all(Record) if decision.event == event]


def test_the_next_server_is_tried_when_one_cannot_be_reached() -> None:
    it = life(ONE, TWO, THREE, away=("one", "two"))
    assert it.client(LOGIN) == b""
    assert tried(it) == ["one", "two", "three"]
    assert [fields["server"] for fields in said(it, "upstream.failed")] == ["one", "two"]
    assert said(it, "upstream.failed_over") == [
        {"server": "two", "address": "127.0.0.2:143"},
        {"server": "three", "address": "127.0.0.3:143"},
    ]
    assert it.answered(GREETING).endswith(b"AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n")
    assert it.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\nP1 OK [CAPABILITY IMAP4rev1] in\r\n").startswith(b"a1 OK ")
    assert it.session.view.server == "three"


@pytest.mark.parametrize("greeting", [b"* BYE too many\r\n", b"* NO what\r\n", b"* PREAUTH somebody\r\n"])
def test_a_server_whose_greeting_is_none_is_left_for_the_next(greeting: bytes) -> None:
    it = life(ONE, TWO)
    it.client(LOGIN)
    assert it.server(greeting) == b"" and tried(it) == ["one", "two"]
    assert said(it, "upstream.failed")[0]["phase"] in ("greeting", "sign_in")


@pytest.mark.parametrize("event", [Closed(MAIN), TimedOut("greeting", MAIN)])
def test_so_is_one_that_closes_or_says_nothing(event: Event) -> None:
    it = life(ONE, TWO)
    it.client(LOGIN)
    it.tell(event)
    assert tried(it) == ["one", "two"] and said(it, "upstream.failed")[0]["phase"] == "greeting"
    assert any(isinstance(decision, Disconnect) for decision in it.decisions)


def test_once_a_server_was_told_who_comes_no_other_is() -> None:
    it = life(ONE, TWO, retries=3)
    it.client(LOGIN)
    it.server(GREETING)
    it.to_client = b""
    it.tell(Closed(MAIN))
    assert it.to_client == b"a1 NO [UNAVAILABLE] The mail server cannot be reached.\r\n"
    assert tried(it) == ["one"] and said(it, "upstream.failed")[0]["phase"] == "sign_in"


def test_a_wrong_password_is_an_answer_and_no_reason_to_ask_elsewhere() -> None:
    it = life(ONE, TWO, retries=3)
    it.client(LOGIN)
    it.server(GREETING)
    assert it.server(b"P1 NO [AUTHENTICATIONFAILED] no\r\n").startswith(b"a1 NO [AUTHENTICATIONFAILED]")
    assert tried(it) == ["one"]


def test_when_none_is_there_all_are_tried_again_after_a_pause_as_often_as_is_set() -> None:
    it = life(ONE, TWO, away=("one", "two"), retries=2)
    assert it.client(LOGIN) == b"a1 NO [UNAVAILABLE] The mail server cannot be reached.\r\n"
    assert tried(it) == ["one", "two"] * 3
    assert [decision.seconds for decision in it.all(Wait)] == [1.0, 1.0]
    assert [fields.get("count") for fields in said(it, "upstream.failed_over")] == [None, 1, None, 2, None]


def test_a_client_that_has_left_is_not_taken_from_server_to_server() -> None:
    it = life(ONE, TWO)
    it.client(LOGIN)
    it.tell(Closed(CLIENT))
    it.tell(Closed(MAIN))
    assert tried(it) == ["one"]


def test_the_next_login_begins_with_its_own_first_server() -> None:
    it = life(ONE, TWO, away=("one", "two"))
    it.client(LOGIN)
    it.away = ()
    it.client(b"a2 LOGIN alice secret\r\n")
    assert tried(it) == ["one", "two", "one"]


class AwayPop3(Pop3Life):
    away: tuple[str, ...] = ()

    def answer(self, question: Any) -> Event:
        if isinstance(question, Connect) and question.target.name in self.away:
            return ServerFailed(MAIN, "timeout", "no answer")
        return ServerConnected(MAIN) if isinstance(question, Connect) else super().answer(question)


def test_over_pop3_it_is_the_same() -> None:
    it = life(ONE, TWO, THREE, away=("one",), kind=AwayPop3)
    it.client(b"USER alice\r\nPASS secret\r\n")
    it.server(b"-ERR [SYS/TEMP] not now\r\n")
    assert tried(it) == ["one", "two", "three"]
    it.server(b"+OK hello\r\n")
    it.server(b"+OK\r\nUSER\r\n.\r\n")
    it.tell(Closed(MAIN))
    assert tried(it) == ["one", "two", "three"], "USER was said to it"
