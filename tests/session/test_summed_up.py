"""What a session says of itself in the log when it ends, besides session.closed."""

from __future__ import annotations

import pytest
from portico.app.said import program_of
from portico.session.context import Peer, SessionView
from portico.session.events import CLIENT, MAIN, Closed
from portico.session.imap.rewrite import FetchRewriter, rewrite_whole
from portico.testing import Correspondence

from tests.session.imap.scans import ORIGINAL, Scans, begun, listed
from tests.session.imap.test_rewrite import LIMIT, MADE, MESSAGE
from tests.session.imap.tree import selected
from tests.session.pop3.test_annotate import Says


def shown(session: Correspondence) -> list[dict[str, object]]:
    session.tell(Closed(CLIENT))
    return [fields for event, fields in session.events if event == "annotations.shown"]


@pytest.mark.parametrize(
    ("response", "inserted"),
    [
        (b"* 5 FETCH (RFC822.SIZE 100)\r\n", False),
        (b"* 5 FETCH (BODY[] {100}\r\n" + MESSAGE + b")\r\n", True),
        (b"* 5 FETCH (BODY[HEADER] {20}\r\n" + MESSAGE[:20] + b")\r\n", False),
        (b'* 5 FETCH (BODY[1.1] "x")\r\n', True),
    ],
)
def test_only_a_text_with_the_block_in_it_counts_as_shown(response: bytes, inserted: bool) -> None:
    rewriter = FetchRewriter(MADE, {}, LIMIT)
    rewrite_whole(rewriter, response)
    assert rewriter.inserted == inserted


def test_a_transformed_message_counts_when_its_octets_are_shown_and_once() -> None:
    size = f"* 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})\r\n".encode()
    with begun(Scans()) as session:
        listed(session)
        for number in (3, 4):
            assert session.asked(b"a%d FETCH 2 BODY.PEEK[TEXT]\r\n" % number) == b"portico%d FETCH 2 (UID RFC822.SIZE)\r\n" % number
            session.server(size + b"portico%d OK done\r\n" % number)
        assert shown(session) == [{"messages": 1}]
    with begun(Scans()) as session:
        listed(session)
        assert shown(session) == []


def test_over_pop3_a_message_counts_when_it_is_retrieved_and_once() -> None:
    body = b"Subject: x\r\n\r\nHello!\r\n.\r\n"
    with Correspondence(Says(()), protocol="pop3") as session:
        session.sign_in()
        assert session.asked(b"RETR 1\r\n") == b"UIDL\r\n"
        session.server(b"+OK\r\n1 u1\r\n2 u2\r\n.\r\n")
        for _ in range(2):
            session.pieces(MAIN, b"+OK 40 octets\r\n" + body, 0)
            session.asked(b"RETR 1\r\n")
        session.pieces(MAIN, b"+OK 40 octets\r\n" + body, 0)
        assert shown(session) == [{"messages": 1}]


@pytest.mark.parametrize("where", ["INBOX", "store"])
def test_a_mounted_store_is_said_to_have_been_used(where: str) -> None:
    tree = selected(where)
    tree.event(Closed(CLIENT))
    (used,) = [fields for event, fields in tree.log if event == "mount.used"]
    asked, opened = (2, 1) if where == "store" else (1, 0)
    assert used == {"server": "public", "prefix": "Public Folders", "asked": asked, "opened": opened}


def test_a_program_is_what_it_says_of_itself_and_harms_no_terminal() -> None:
    view = SessionView("sid", "imap", "imaps", Peer("192.0.2.1", 1, "192.0.2.2", 993))
    assert program_of(view) == ""
    view.client_id = {"name": "Thunderbird", "version": "128.6.0", "os": "x"}
    assert program_of(view) == "Thunderbird 128.6.0"
    view.client_id = {"name": "\x1b[31mA" + "b" * 200}
    assert program_of(view) == "[31mA" + "b" * 94
