"""How a tunnelled IMAP session ended, guessed from its last octets."""

from __future__ import annotations

import pytest
from portico.session.close import Reason
from portico.session.imap.ending import judge


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (b"", b""),
        (b"", b"* OK still here\r\n"),
        (b"a1 NOOP\r\n", b"a1 OK Noop completed.\r\n"),
        (b"a2 UID FETCH 1 (BODY[])\r\n", b" FLAGS (\\Seen))\r\na2 OK Fetch completed.\r\n"),
        (b"BODY[])\r\na2 STORE 1 FLAGS (\\Seen)\r\n", b"* 1 FETCH (FLAGS (\\Seen))\r\na2 ok done\r\n"),
        (b"a3 IDLE\r\n", b"+ idling\r\n"),
        (b"a3 idle\r\n", b"+ idling\r\n* 3 EXISTS\r\n"),
        (b"a3 IDLE\r\n", b"* OK Still here\r\n"),
        (b"a3 IDLE\r\nDONE\r\n", b"* 3 EXISTS\r\na3 OK Idle completed (0.1 secs).\r\n"),
        (b"a4 APPEND INBOX {100}\r\n", b"+ OK\r\n"),
        (b"a4 APPEND INBOX {100}\r\nhalf", b"+ OK\r\n"),
        (b"the end of the letter\r\n\r\n", b"a4 OK [APPENDUID 1 9] Append completed.\r\n"),
        (b"a5 FETCH 1 BODY[]\r\n", b"* BYE Server shutting down.\r\na5 BAD no\r\n"),
    ],
)
def test_a_line_of_ours_may_follow_a_whole_status_a_continuation_and_news_in_idle(client: bytes, server: bytes) -> None:
    assert judge(client, server).whole


@pytest.mark.parametrize("client", [b"a2 NOOP\r\n", b"a3 IDLE\r\n", b""])
@pytest.mark.parametrize(
    "server",
    [b"* 3 EXI", b"* 1 FETCH (BODY[] {500}\r\n", b"text\r\nof the letter\r\n", b"a2 OK Fetch compl", b"+ idl", b"a2 OK Fetch completed.\r"],
)
def test_no_line_of_ours_follows_what_is_not_whole(client: bytes, server: bytes) -> None:
    assert not judge(client, server).whole


@pytest.mark.parametrize(
    "fetch",
    [
        b"a5 FETCH 1 BODY[]\r\n",
        b"a5 UID FETCH 1 (UID BODY.PEEK[])\r\n",
        b"a5 FETCH 1 BODY[]<0.1000>\r\n",
        b"a5 FETCH 1 RFC822.TEXT\r\n",
        b"a5 FETCH 1 RFC822\r\n",
        b"a5 FETCH 1:* full\r\n",
        b"9,11,13 (UID BODY.PEEK[])\r\n",
    ],
)
@pytest.mark.parametrize("text", [b"-    return 1\r\n+    return 2\r\n", b"Would Monday do?\r\nThat's OK with me.\r\n", b"a4 OK done\r\n"])
def test_while_text_is_fetched_only_the_commands_own_tag_ends_it(fetch: bytes, text: bytes) -> None:
    assert not judge(fetch, text).whole


@pytest.mark.parametrize(
    ("client", "server", "answered"),
    [
        (b"", b"", True),
        (b"a1 NOOP\r\n", b"", False),
        (b"a1 NOOP\r\n", b"a1 OK done\r\n", True),
        (b"a1 NOOP\r\na2 NOOP\r\n", b"a1 OK done\r\n", False),
        (b"a1 NOOP\r\n", b"* OK still here\r\n", False),
        (b"a3 IDLE\r\n", b"+ idling\r\n* 1 EXISTS\r\n", True),
        (b"a3 IDLE\r\nDONE\r\n", b"* 1 EXISTS\r\n", False),
        (b"a3 IDLE\r\nDONE\r\n", b"a3 OK done\r\n", True),
        (b"a4 APPEND INBOX {100}\r\nhalf", b"+ OK\r\n", False),
        (b"with my regards\r\n\r\n", b"a4 OK Append completed.\r\n", True),
        (b"a5 FETCH 1 BODY[]\r\n", b"* 1 FETCH (BODY[] {100}\r\n", False),
    ],
)
def test_a_stop_ends_a_tunnel_once_the_last_command_is_answered(client: bytes, server: bytes, answered: bool) -> None:
    assert judge(client, server).answered is answered


def test_the_ending_is_named_by_who_said_goodbye() -> None:
    assert judge(b"a6 LOGOUT\r\n", b"* BYE Logging out\r\na6 OK Logout completed.\r\n").reason is Reason.LOGOUT
    assert judge(b"a6 IDLE\r\n", b"+ idling\r\n* BYE Server shutting down.\r\n").reason is Reason.SERVER_BYE
    assert judge(b"a6 IDLE\r\n", b"+ idling\r\n").reason is Reason.SERVER_CLOSED
