"""COPY and MOVE from one server to another, as an exchange of letters."""

from __future__ import annotations

import pytest
from portico.session.events import CLIENT, BytesReceived, Closed

from tests.session.imap.tree import CAPABILITIES, Tree, selected

NO_MULTI = CAPABILITIES.replace("MULTIAPPEND ", "")

ASKED = """
C: c UID COPY 7:9 "Public Folders/Team"
to 0: portico-m4 UID FETCH 7:9 (UID FLAGS INTERNALDATE)
0: * 1 FETCH (UID 7 FLAGS (\\Seen \\Recent) INTERNALDATE "01-Jan-2026 10:00:00 +0100")
0: * 3 FETCH (UID 9 FLAGS ($Label1) INTERNALDATE "02-Jan-2026 10:00:00 +0100")
0: portico-m4 OK done
to 0: portico-t1 UID FETCH 7 (UID BODY.PEEK[])
"""
FIRST = """
0: ~ * 1 FETCH (UID 7 BODY[] {5}\\r\\nhello)\\r\\n
to 1: ~ portico-t2 APPEND "Team" (\\Seen) "01-Jan-2026 10:00:00 +0100" {5}\\r\\n
0: portico-t1 OK done
1: + go
to 1: ~ hello
to 0: portico-t3 UID FETCH 9 (UID BODY.PEEK[])
"""


def test_messages_stream_into_one_append_with_flags_and_date() -> None:
    tree = selected()
    tree.play(
        f"""
        {ASKED}
        {FIRST}
        0: ~ * 3 FETCH (UID 9 BODY[] {{5}}\\r\\nwo
        to 1: ~  ($Label1) "02-Jan-2026 10:00:00 +0100" {{5}}\\r\\n
        1: + go
        to 1: ~ wo
        0: ~ rld)\\r\\n
        to 1: ~ rld
        0: portico-t3 OK done
        to 1: ~ \\r\\n
        1: portico-t2 OK [APPENDUID 99 21:22] done
        to C: c OK [COPYUID 99 7,9 21:22] Completed.
        """
    )
    assert tree.events("transfer.completed") == [{"messages": 2, "moved": False}]
    assert not tree.held


def test_the_source_is_not_read_while_the_target_has_not_said_go() -> None:
    tree = selected()
    tree.play(ASKED)
    tree.event(BytesReceived(0, b"* 1 FETCH (UID 7 BODY[] {5}\r\nhello)\r\n"))
    assert tree.held == {0}
    tree.event(BytesReceived(1, b"+ go\r\n"))
    assert tree.held == set()


def test_without_multiappend_each_message_is_stored_and_a_failure_takes_back_what_was() -> None:
    tree = selected(store=NO_MULTI)
    tree.play(
        f"""
        {ASKED}
        0: ~ * 1 FETCH (UID 7 BODY[] {{5}}\\r\\nhello)\\r\\n
        to 1: ~ portico-t2 APPEND "Team" (\\Seen) "01-Jan-2026 10:00:00 +0100" {{5}}\\r\\n
        0: portico-t1 OK done
        1: + go
        to 1: ~ hello\\r\\n
        1: portico-t2 OK [APPENDUID 99 21] done
        to 0: portico-t3 UID FETCH 9 (UID BODY.PEEK[])
        0: ~ * 3 FETCH (UID 9 BODY[] {{5}}\\r\\nworld)\\r\\nportico-t3 OK done\\r\\n
        to 1: ~ portico-t4 APPEND "Team" ($Label1) "02-Jan-2026 10:00:00 +0100" {{5}}\\r\\n
        1: portico-t4 NO [OVERQUOTA] full
        to 1: portico-m5 SELECT "Team"
        1: * 3 EXISTS
        1: * OK [UIDVALIDITY 99] the same
        1: portico-m5 OK in
        to 1: portico-m6 UID STORE 21 +FLAGS.SILENT (\\Deleted)
        1: portico-m6 OK done
        to 1: portico-m7 UID EXPUNGE 21
        1: * 3 EXPUNGE
        1: portico-m7 OK done
        to 1: portico-m8 UNSELECT
        1: portico-m8 OK done
        to C: c NO [OVERQUOTA] full
        C: d NOOP
        to 0: d NOOP
        """
    )
    assert tree.events("transfer.failed") == [{"messages": 2, "text": "NO [OVERQUOTA] full"}]
    assert tree.events("transfer.doubled") == []


def half_stored() -> Tree:
    """The first of two messages is at a store without MULTIAPPEND; the second is asked for."""
    tree = selected(store=NO_MULTI)
    tree.play(
        f"""
        {ASKED}
        0: ~ * 1 FETCH (UID 7 BODY[] {{5}}\\r\\nhello)\\r\\n
        to 1: ~ portico-t2 APPEND "Team" (\\Seen) "01-Jan-2026 10:00:00 +0100" {{5}}\\r\\n
        0: portico-t1 OK done
        1: + go
        to 1: ~ hello\\r\\n
        1: portico-t2 OK [APPENDUID 99 21] done
        to 0: portico-t3 UID FETCH 9 (UID BODY.PEEK[])
        """
    )
    return tree


def test_a_store_that_is_lost_is_opened_once_more_to_take_back_what_was_stored() -> None:
    tree = half_stored()
    tree.close(1)
    tree.said = []
    tree.event(BytesReceived(0, b"* 3 FETCH (UID 9 BODY[] {5}\r\nworld)\r\nportico-t3 OK done\r\n"))
    assert tree.said == [("1", b'portico-m5 LIST "" ""\r\n')], "it has been signed in at"
    tree.play(
        """
        1: * LIST () "." ""
        1: portico-m5 OK done
        to 1: portico-m6 SELECT "Team"
        1: * OK [UIDVALIDITY 99] the same
        1: portico-m6 OK in
        to 1: portico-m7 UID STORE 21 +FLAGS.SILENT (\\Deleted)
        1: portico-m7 OK
        to 1: portico-m8 UID EXPUNGE 21
        1: portico-m8 OK
        to 1: portico-m9 UNSELECT
        1: portico-m9 OK
        to C: c NO [UNAVAILABLE] The server closed the connection.
        C: d NOOP
        to 0: d NOOP
        """
    )
    assert tree.events("transfer.doubled") == []


def test_a_store_that_stays_away_keeps_what_was_stored_and_the_log_says_so() -> None:
    tree = half_stored()
    tree.answers = False
    tree.close(1)
    tree.event(BytesReceived(0, b"portico-t3 OK done\r\n"))
    tree.said = []
    tree.fail(1)
    assert tree.to_client == b"c NO [UNAVAILABLE] The server closed the connection.\r\n"
    assert [each["messages"] for each in tree.events("transfer.doubled")] == [1]
    assert tree.phases[1] == "store_retry"


def test_of_a_message_that_was_sent_whole_and_not_answered_nobody_knows() -> None:
    tree = half_stored()
    tree.event(BytesReceived(0, b"* 3 FETCH (UID 9 BODY[] {5}\r\nworld)\r\nportico-t3 OK done\r\n"))
    tree.event(BytesReceived(1, b"+ go\r\n"))
    tree.close(1)
    for answer in ("portico-m5 OK", "* OK [UIDVALIDITY 99] x\r\nportico-m6 OK", "portico-m7 OK", "portico-m8 OK", "portico-m9 OK"):
        tree.event(BytesReceived(1, answer.encode() + b"\r\n"))
    assert tree.to_client.startswith(b"c NO [UNAVAILABLE] ")
    assert len(tree.events("transfer.doubled")) == 1


@pytest.mark.parametrize("answer", ["NO [TRYCREATE] none", "NO [OVERQUOTA] full", "NO [NOPERM] not you"])
def test_what_the_target_says_is_told_as_it_said_it_and_nothing_is_stored(answer: str) -> None:
    tree = selected()
    tree.play(
        f"""
        {ASKED}
        0: ~ * 1 FETCH (UID 7 BODY[] {{5}}\\r\\nhello)\\r\\n
        to 1: ~ portico-t2 APPEND "Team" (\\Seen) "01-Jan-2026 10:00:00 +0100" {{5}}\\r\\n
        0: portico-t1 OK done
        1: portico-t2 {answer}
        to C: c {answer}
        """
    )
    assert not tree.held


def test_a_message_that_vanishes_meanwhile_is_left_out() -> None:
    tree = selected()
    tree.play(
        f"""
        {ASKED}
        {FIRST}
        0: * 3 EXPUNGE
        to C: * 3 EXPUNGE
        0: portico-t3 OK done
        to 1: ~ \\r\\n
        1: portico-t2 OK [APPENDUID 99 21] done
        to C: c OK [COPYUID 99 7 21] Completed.
        """
    )


def test_a_source_that_fails_in_the_middle_stores_nothing() -> None:
    """RFC 3502: an APPEND that goes on with what is no message is refused as a whole."""
    tree = selected()
    tree.play(
        f"""
        {ASKED}
        {FIRST}
        0: portico-t3 NO disk
        to 1: ~  NIL\\r\\n
        1: portico-t2 BAD what
        to C: c NO disk
        """
    )
    assert tree.events("transfer.doubled") == []


def test_a_store_that_dies_in_the_middle_of_a_copy_stores_nothing_and_the_session_goes_on() -> None:
    tree = selected()
    tree.play(ASKED + FIRST)
    tree.close(1)
    assert tree.said == [], "what was asked of the source comes first"
    tree.event(BytesReceived(0, b"* 3 FETCH (UID 9 BODY[] {5}\r\nworld)\r\nportico-t3 OK done\r\n"))
    assert tree.to_client == b"c NO [UNAVAILABLE] The server closed the connection.\r\n"
    tree.play("C: d NOOP\nto 0: d NOOP")


def test_a_move_checks_the_right_to_remove_first_and_removes_last() -> None:
    tree = selected()
    tree.play(
        """
        C: m MOVE 2 "Public Folders/Team"
        to 0: portico-m4 MYRIGHTS "INBOX"
        0: * MYRIGHTS INBOX lrswite
        0: portico-m4 OK done
        to 0: portico-m5 FETCH 2 (UID FLAGS INTERNALDATE)
        0: * 2 FETCH (UID 8 FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")
        0: portico-m5 OK done
        to 0: portico-t1 UID FETCH 8 (UID BODY.PEEK[])
        0: ~ * 2 FETCH (UID 8 BODY[] {2}\\r\\nhi)\\r\\nportico-t1 OK done\\r\\n
        to 1: ~ portico-t2 APPEND "Team" () "01-Jan-2026 10:00:00 +0100" {2}\\r\\n
        1: + go
        to 1: ~ hi\\r\\n
        1: portico-t2 OK [APPENDUID 99 21] done
        to C: * OK [COPYUID 99 8 21] Moved.
        to 0: portico-m6 UID STORE 8 +FLAGS.SILENT (\\Deleted)
        0: portico-m6 OK done
        to 0: portico-m7 UID EXPUNGE 8
        0: * 2 EXPUNGE
        to C: * 2 EXPUNGE
        0: portico-m7 OK done
        to C: m OK Completed.
        """
    )


@pytest.mark.parametrize(("rights", "may"), [("lrs", False), ("lrst", False), ("lrsd", True), ("lrste", True)])
def test_a_move_without_the_right_to_remove_does_nothing(rights: str, may: bool) -> None:
    tree = selected()
    tree.play('C: m MOVE 2 "Public Folders/Team"\nto 0: portico-m4 MYRIGHTS "INBOX"')
    tree.said = []
    tree.event(BytesReceived(0, f"* MYRIGHTS INBOX {rights}\r\nportico-m4 OK done\r\n".encode()))
    assert (tree.to_client == b"") is may
    assert may or tree.to_client.startswith(b"m NO [NOPERM]")


def test_a_move_from_a_server_that_cannot_remove_single_messages_is_refused() -> None:
    tree = selected(main=CAPABILITIES.replace("UIDPLUS ", ""))
    tree.said = []
    tree.event(BytesReceived(CLIENT, b'm MOVE 2 "Public Folders/Team"\r\n'))
    assert tree.to_client.startswith(b"m NO [CANNOT] ")


def test_a_message_comes_back_from_the_store_and_moves_within_it_are_its_own() -> None:
    tree = selected("store")
    tree.play(
        """
        C: c COPY 1 INBOX
        to 1: portico-m5 FETCH 1 (UID FLAGS INTERNALDATE)
        1: * 1 FETCH (UID 4 FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")
        1: portico-m5 OK done
        to 1: portico-t1 UID FETCH 4 (UID BODY.PEEK[])
        1: ~ * 1 FETCH (UID 4 BODY[] {2}\\r\\nhi)\\r\\nportico-t1 OK done\\r\\n
        to 0: ~ portico-t2 APPEND "INBOX" () "01-Jan-2026 10:00:00 +0100" {2}\\r\\n
        0: + go
        to 0: ~ hi\\r\\n
        0: portico-t2 OK done
        to C: c OK Completed.
        C: m MOVE 1 "Public Folders/Other"
        to 1: m MOVE 1 "Other"
        """
    )


def test_nothing_to_copy_is_no_error() -> None:
    selected().play(
        """
        C: c UID COPY 500 "Public Folders/Team"
        to 0: portico-m4 UID FETCH 500 (UID FLAGS INTERNALDATE)
        0: portico-m4 OK done
        to C: c OK Nothing to do.
        C: d COPY 500 "Public Folders/Team"
        to 0: portico-m5 FETCH 500 (UID FLAGS INTERNALDATE)
        0: portico-m5 BAD no such message
        to C: d BAD Invalid messages
        """
    )


def test_a_client_that_leaves_in_the_middle_does_not_stop_what_it_asked_for() -> None:
    tree = selected()
    tree.play(ASKED + FIRST)
    tree.event(Closed(CLIENT))
    assert tree.closed is None
    tree.play(
        """
        0: portico-t3 OK done
        to 1: ~ \\r\\n
        1: portico-t2 OK done
        to C: c OK Completed.
        """
    )
    assert tree.closed is not None


def test_a_set_of_ten_thousand_is_asked_for_in_pieces() -> None:
    tree = selected()
    tree.play('C: c COPY 1:* "Public Folders/Team"\nto 0: portico-m4 FETCH 1:* (UID FLAGS INTERNALDATE)')
    tree.said = []
    row = b'* %d FETCH (UID %d FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")\r\n'
    tree.event(BytesReceived(0, b"".join(row % (n, 2 * n) for n in range(1, 10_001)) + b"portico-m4 OK done\r\n"))
    copied, appended = play_store(tree)
    assert copied == list(range(2, 20_001, 2)) and appended == 10_000
    assert tree.to_client.startswith(b"c OK [COPYUID 99 2,4,6,") and tree.to_client.endswith(b"20000 1:10000] Completed.\r\n")


def play_store(tree: Tree) -> tuple[list[int], int]:
    """Answer FETCH with messages and take the APPEND, until neither is asked any more: UIDs asked for, and messages stored."""
    asked: list[int] = []
    stored = 0
    while True:
        said, tree.said = tree.said, []
        if not said or all(whom == "C" for whom, _ in said):
            tree.said = said
            return asked, stored
        for whom, data in said:
            if whom == "0":
                tag, _, _, uids, _ = data.split(b" ", 4)
                now = [int(each) for each in uids.split(b",")]
                assert len(data) < 8000
                asked += now
                letters = b"".join(b"* 1 FETCH (UID %d BODY[] {5}\r\nhello)\r\n" % uid for uid in now)
                tree.event(BytesReceived(0, letters + tag + b" OK done\r\n"))
            elif whom == "1" and data.endswith(b"}\r\n"):
                stored += 1
                tree.event(BytesReceived(1, b"+ go\r\n"))
            elif whom == "1" and data.endswith(b"\r\n"):
                tree.event(BytesReceived(1, b"portico-t2 OK [APPENDUID 99 1:%d] done\r\n" % stored))
