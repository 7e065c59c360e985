"""Commands that somebody times: the session says when each begins and ends, and otherwise does what it does."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from portico.config.settings import Listener
from portico.session.context import Context, Peer, ServerFacts, SessionView
from portico.session.decisions import Answered, Began, Close, Decision
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed
from portico.session.imap.watch import Watch
from portico.session.interests import Answer, Interests, Refuse, compile_interests

from tests.session.imap import test_mounted, test_mounted_lists, test_mounted_lost, test_mounted_rights, test_transfer, tree
from tests.session.life import TARGET, Pop3Life


class Timed:
    """A watched IMAP session, and what it said of its commands."""

    def __init__(self, interests: Interests | None = None, *, timed: bool = True) -> None:
        peer = Peer("192.0.2.1", 1, "192.0.2.2", 993)
        view = SessionView("s1", "imap", "l", peer, user="alice", server="main")
        settings = Listener.model_validate({"protocol": "imap", "addresses": ["127.0.0.1:0"]})
        context = Context("s1", "imap", "l", peer, settings, timed=timed)
        self.watch = Watch(context, view, compile_interests(view, [("p", interests)]), [b"IMAP4rev1", b"LITERAL+"])
        self.said: list[tuple[bytes, str]] = []

    def _tell(self, leg: int, data: bytes) -> list[tuple[bytes, str]]:
        out: list[Decision] = []
        self.watch.handle(BytesReceived(leg, data), out)
        return said_of(out)

    def client(self, data: bytes) -> list[tuple[bytes, str]]:
        return self._tell(CLIENT, data)

    def server(self, data: bytes) -> list[tuple[bytes, str]]:
        return self._tell(MAIN, data)


def said_of(out: Sequence[Decision]) -> list[tuple[bytes, str]]:
    found = []
    for decision in out:
        if isinstance(decision, Began):
            found.append((decision.key, decision.command))
        elif isinstance(decision, Answered):
            found.append((decision.key, decision.result))
    return found


def test_a_command_begins_with_its_first_line_and_ends_with_its_tagged_answer() -> None:
    session = Timed()
    assert session.client(b"a FETCH 1 FLAGS\r\nb uid fetch 1 (FLAGS)\r\n") == [(b"a", "FETCH"), (b"b", "FETCH")]
    assert session.server(b"* 1 FETCH (FLAGS ())\r\n") == []
    assert session.server(b"a OK done\r\nb NO not ") == [(b"a", "ok")]
    assert session.server(b"now\r\n") == [(b"b", "no")]
    assert session.client(b"c APPEND INBOX {4}\r\n") == [(b"c", "APPEND")]
    assert session.server(b"+ go on\r\n") == []
    assert session.client(b"mail\r\n") == []
    assert session.server(b"c BAD no\r\n") == [(b"c", "bad")]


def test_what_plugins_answer_or_refuse_ends_at_once() -> None:
    session = Timed(Interests(commands={"NOOP": lambda view, command: Answer(), "CHECK": lambda view, command: Refuse("no")}))
    assert session.client(b"a NOOP\r\n") == [(b"a", "NOOP"), (b"a", "ok")]
    assert session.client(b"b CHECK\r\n") == [(b"b", "CHECK"), (b"b", "no")]
    assert session.client(b"c COMPRESS DEFLATE\r\n") == [(b"c", "COMPRESS"), (b"c", "no")]


def test_idle_is_not_timed_and_what_is_no_command_has_not_begun() -> None:
    session = Timed()
    assert session.client(b"a IDLE\r\n") == []
    session.server(b"+ idling\r\n")
    assert session.client(b"DONE\r\n") == []
    assert session.server(b"a OK done\r\n") == [(b"a", "ok")]  # of a command that has not begun: nobody's
    assert [key for key, word in session.client(b"\x01 FETCH\r\n") if word.isupper()] == []


def test_a_message_that_looks_like_an_answer_is_none() -> None:
    session = Timed(Interests(commands={"NOOP": lambda view, command: None}))
    session.client(b"a FETCH 1 BODY[]\r\n")
    assert session.server(b"* 1 FETCH (BODY[] {10}\r\na OK done\r\n)\r\n") == []
    assert session.server(b"a OK done\r\n") == [(b"a", "ok")]


def test_where_nobody_wants_to_know_nothing_is_said() -> None:
    session = Timed(Interests(commands={"NOOP": lambda view, command: Answer()}), timed=False)
    assert session.client(b"a NOOP\r\nb FETCH 1 FLAGS\r\n") == session.server(b"b OK done\r\n") == []


def test_an_answer_comes_before_the_end_of_the_session() -> None:
    session = Timed()
    session.client(b"z LOGOUT\r\n")
    out: list[Decision] = []
    session.watch.handle(BytesReceived(MAIN, b"* BYE bye\r\nz OK bye\r\n"), out)
    session.watch.handle(Closed(MAIN), out)
    assert said_of(out) == [(b"z", "ok")]
    assert isinstance(out[-1], Close)


def test_pop3_answers_come_in_the_order_of_the_commands_and_end_with_their_last_line() -> None:
    facts = ServerFacts(secured=(b"USER", b"UIDL"), plain=(b"USER", b"UIDL"))
    life = Pop3Life(facts=facts, known=TARGET, interests=Interests(commands={"NOOP": lambda view, command: Answer("mine")}))
    life.session.context.timed = True
    life.client(b"USER alice\r\nPASS secret\r\n")
    life.server(b"+OK ready\r\n")
    for _ in range(6):  # whatever the sign-in asks
        life.server(b"+OK\r\n")
    assert life.session.phase == "watch"
    del life.decisions[:]
    life.client(b"STAT\r\nRETR 1\r\nDELE 9\r\nNOOP\r\n")
    life.server(b"+OK 1 120\r\n+OK follows\r\nSubject: x\r\n")
    assert [word for _, word in said_of(life.decisions)] == ["STAT", "RETR", "DELE", "ok"]
    life.server(b"\r\n.\r\n-ERR no such message\r\n")
    said = said_of(life.decisions)
    assert [word for _, word in said[4:]] == ["ok", "err"]
    began = [key for key, word in said if word.isupper()]
    assert [key for key, word in said if word.islower()] == began


_LETTERS = [
    function
    for module in (test_mounted, test_mounted_lists, test_mounted_lost, test_mounted_rights, test_transfer)
    for name, function in inspect.getmembers(module, inspect.isfunction)
    if name.startswith("test_") and not inspect.signature(function).parameters
]


@pytest.mark.parametrize("letters", _LETTERS, ids=lambda function: function.__name__)
def test_no_letter_of_a_session_with_mounts_is_another_because_it_is_timed(
    letters: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "Context", partial(Context, timed=True))
    letters()


def test_a_copy_to_a_mounted_store_is_one_command_however_many_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[bytes, str]] = []
    obey = tree.Tree._do

    def listen(self: tree.Tree, out: Sequence[Decision]) -> None:
        heard.extend(said_of(out))
        obey(self, out)

    monkeypatch.setattr(tree, "Context", partial(Context, timed=True))
    monkeypatch.setattr(tree.Tree, "_do", listen)
    test_transfer.test_messages_stream_into_one_append_with_flags_and_date()
    assert [each for each in heard if each[0] == b"c"] == [(b"c", "COPY"), (b"c", "ok")]
    assert [each for each in heard if each[1].isupper() and each[0].startswith(b"portico-")] == []
