"""Sizes by estimate over POP3, as an exchange of letters: LIST and STAT are answered without the server, and all else passes."""

from __future__ import annotations

import pytest
from portico.ledger.ledger import SqliteLedger
from portico.plugin import Answer, Command, Interests, Session, Sketch, hookimpl
from portico.session.events import CLIENT, MAIN, Closed
from portico.testing import Correspondence


class Guesses:
    """Says 5000, and counts on."""

    portico_interests = ("sizes",)

    def __init__(self, sample: int = 0, says: object = None) -> None:
        self.sample = sample
        self.says = says
        self.asked = 0
        self.learned: list[int] = []

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(sizer=self)

    def serves(self, session: Session) -> bool:
        return session.user != "exact"

    def learn(self, session: Session, sketch: Sketch, size: int) -> None:
        self.learned.append(size)

    def estimate(self, session: Session, sketch: Sketch) -> int:
        if isinstance(self.says, Exception):
            raise self.says
        self.asked += 1
        return 4999 + self.asked


def begun(plugin: object | None = None, user: str = "alice", ledger: SqliteLedger | None = None) -> Correspondence:
    session = Correspondence(plugin or Guesses(), protocol="pop3")
    if ledger is not None:
        session.session.context.sizes = session.session.context.ledger = ledger
    session.sign_in(user)
    return session


UIDS = b"+OK\r\n1 aa\r\n2 bb\r\n3 cc\r\n.\r\n"
LISTED = b"+OK 3 messages\r\n1 5000\r\n2 5001\r\n3 5002\r\n.\r\n"


def test_list_and_stat_are_answered_from_unique_ids_and_stay() -> None:
    with begun() as session:
        assert session.asked(b"LIST\r\n") == b"UIDL\r\n"
        assert session.server(UIDS) == LISTED
        assert session.client(b"STAT\r\n") == b"+OK 3 15003\r\n"
        assert session.client(b"LIST 2\r\n") == b"+OK 2 5001\r\n"
        assert session.client(b"LIST 4\r\n").startswith(b"-ERR ")
        assert session.client(b"LIST x\r\n").startswith(b"-ERR ")
        assert session.asked(b"UIDL\r\n") == b"UIDL\r\n"
        assert session.server(UIDS) == UIDS


def test_a_message_that_was_retrieved_is_listed_by_its_size_and_one_that_was_listed_keeps_the_one_it_had() -> None:
    plugin = Guesses()
    ledger = SqliteLedger()
    with begun(plugin, ledger=ledger) as session:
        session.client(b"LIST 1\r\n")
        session.server(UIDS)
        for number in (1, 2):
            assert session.asked(b"RETR %d\r\n" % number) == b"RETR %d\r\n" % number
            assert session.server(b"+OK 77 octets\r\nx\r\n.\r\n") == b"+OK 77 octets\r\nx\r\n.\r\n"
        assert session.client(b"LIST\r\n") == b"+OK 3 messages\r\n1 5000\r\n2 77\r\n3 5001\r\n.\r\n"
        session.client(b"QUIT\r\n")
        session.server(b"+OK bye\r\n")
        session.tell(Closed(MAIN))
    assert [fields for event, fields in session.events if event == "sizes.told"] == [{"estimated": 3, "exact": 1}]
    with begun(Guesses(), ledger=ledger) as session:
        session.client(b"STAT\r\n")
        assert session.server(b"+OK\r\n1 cc\r\n2 bb\r\n.\r\n") == b"+OK 2 5078\r\n"
    assert plugin.learned == [77, 77]


def test_deleted_messages_are_not_counted_though_the_question_comes_before_the_answer() -> None:
    with begun() as session:
        session.client(b"STAT\r\n")
        session.server(UIDS)
        assert session.letter(CLIENT, b"DELE 1\r\nDELE 9\r\nSTAT\r\nRSET\r\nLIST\r\n") == (b"", b"DELE 1\r\nDELE 9\r\n")
        assert session.letter(MAIN, b"+OK gone\r\n") == (b"+OK gone\r\n", b"")
        assert session.letter(MAIN, b"-ERR none\r\n") == (b"-ERR none\r\n+OK 2 10003\r\n", b"RSET\r\n")
        assert session.server(b"+OK back\r\n") == b"+OK back\r\n" + LISTED


def test_a_few_sizes_are_asked_for_first_one_at_a_time() -> None:
    plugin = Guesses(sample=2)
    with begun(plugin) as session:
        session.client(b"LIST\r\n")
        assert session.letter(MAIN, UIDS) == (b"", b"LIST 2\r\n")
        assert session.letter(MAIN, b"+OK 2 77\r\n") == (b"", b"LIST 1\r\n")
        assert session.server(b"-ERR not now\r\n") == b"+OK 3 messages\r\n1 5000\r\n2 77\r\n3 5001\r\n.\r\n"
    assert plugin.learned == [77]


def test_where_there_are_no_unique_ids_the_server_says_the_sizes() -> None:
    with begun() as session:
        session.client(b"LIST\r\n")
        assert session.answered(b"-ERR what\r\n") == b"LIST\r\n"
        assert session.server(b"+OK\r\n1 7\r\n.\r\n") == b"+OK\r\n1 7\r\n.\r\n"
        assert session.asked(b"STAT\r\n") == b"STAT\r\n"


def test_an_empty_maildrop_is_the_servers_to_tell() -> None:
    with begun() as session:
        session.client(b"STAT\r\n")
        assert session.answered(b"+OK\r\n.\r\n") == b"STAT\r\n"
        assert session.server(b"+OK 0 0\r\n") == b"+OK 0 0\r\n"


def test_who_is_told_the_truth_and_a_plugin_that_fails() -> None:
    with begun(user="exact") as session:
        assert session.asked(b"LIST\r\n") == b"LIST\r\n"
    with begun(Guesses(says=ZeroDivisionError())) as session:
        session.client(b"STAT\r\n")
        assert session.server(UIDS) == b"+OK 3 30000\r\n"
        assert len(session.faults) == 1


@pytest.mark.parametrize("cut", [1, 2, 7])
def test_however_the_octets_arrive_the_answers_are_the_same(cut: int) -> None:
    with begun(Guesses(sample=1)) as session:
        assert session.pieces(CLIENT, b"LIST\r\nRETR 2\r\nSTAT\r\n", cut) == (b"", b"UIDL\r\n")
        assert session.pieces(MAIN, UIDS, cut) == (b"", b"LIST 1\r\n")
        told, asked = session.pieces(MAIN, b"+OK 1 77\r\n", cut)
        assert told == b"+OK 3 messages\r\n1 77\r\n2 5000\r\n3 5001\r\n.\r\n" and asked == b"RETR 2\r\n"
        body = b"+OK 5 octets\r\n..a\r\n.\r\n"
        assert session.pieces(MAIN, body, cut) == (body + b"+OK 3 10078\r\n", b"")


class Looks(Guesses):
    """Another interest in LIST."""

    portico_interests = ("sizes", "command LIST")

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(sizer=self, commands={"LIST": self.listed})

    def listed(self, session: Session, command: Command) -> Answer | None:
        return Answer("none of it") if command.arguments else None


def test_a_plugin_that_looks_at_list_is_asked_and_the_server_answers() -> None:
    with begun(Looks()) as session:
        assert session.asked(b"LIST\r\n") == b"LIST\r\n"
        session.server(b"+OK\r\n1 7\r\n.\r\n")
        assert session.client(b"LIST 1\r\n") == b"+OK none of it\r\n"
