"""How a tunnelled POP3 session ended, guessed from its last octets."""

from __future__ import annotations

import pytest
from portico.session.close import Reason
from portico.session.pop3.ending import judge


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (b"", b""),
        (b"NOOP\r\n", b"+OK\r\n"),
        (b"LIST 3\r\n", b"+OK 3 1000\r\n"),
        (b"DELE 1\r\n", b"-ERR no such message\r\n"),
        (b"RETR 9\r\n", b"-ERR no such message\r\n"),
        (b"RETR 1\r\n", b"the end.\r\n.\r\n"),
        (b"UIDL\r\n", b"+OK\r\n.\r\n"),
    ],
)
def test_a_line_of_ours_may_follow_a_whole_response(client: bytes, server: bytes) -> None:
    assert judge(client, server).whole


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (b"RETR 1\r\n", b"+OK 1200 octets\r\n"),
        (b"NOOP\r\ntop 1 0\r\n", b"+OK\r\n"),
        (b"LIST\r\n", b"+OK 2 messages\r\n"),
        (b"UIDL\r\n", b"+OK\r\n1 a\r\n"),
        (b"CAPA\r\n", b"+OK\r\n"),
        (b"RETR 1\r\n", b"+OK 1200 octets\r\nFrom: alice\r\n..\r\n"),
        (b"RETR 1\r\n", b"the end.\r\n."),
        (b"NOOP\r\n", b"+O"),
    ],
)
def test_no_line_of_ours_follows_a_response_that_is_not_whole(client: bytes, server: bytes) -> None:
    assert not judge(client, server).whole


def test_the_ending_is_named_by_who_said_goodbye() -> None:
    assert judge(b"QUIT\r\n", b"+OK bye\r\n").reason is Reason.LOGOUT
    assert judge(b"NOOP\r\n", b"-ERR [SYS/TEMP] going down\r\n").reason is Reason.SERVER_BYE
    assert judge(b"NOOP\r\n", b"+OK\r\n").reason is Reason.SERVER_CLOSED
