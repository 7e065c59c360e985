"""Questions of our own, and what a server may answer to them: nothing of it reaches the client, whatever it is, but news that are its own.

Rule of this file: letters, as in test_annotated.py; each is something that a server, or a message in it, has been seen or suspected to do.
"""

from __future__ import annotations

from typing import Any

import pytest
from portico.session.events import CLIENT, MAIN, Closed
from portico.session.imap.selected import mailbox_name
from portico.testing import Correspondence

from tests.session.imap.test_annotated import BLOCK, LOOK, PLAIN, SELECT, STRUCTURE, Annotates

LIMIT = 1 << 20
"""[limits] held, as it is unless it is set."""


def begun() -> Correspondence:
    session = Correspondence(Annotates())
    session.sign_in()
    return session


def seen() -> Correspondence:
    """A session in which three messages have been looked at; the second is annotated."""
    session = begun()
    session.play(
        f"""
        {SELECT}
        C: a2 FETCH 1:3 (UID RFC822.SIZE)
        {LOOK}
        to S: a2 FETCH 1:3 (UID RFC822.SIZE)
        S: a2 OK done
        """
    )
    return session


def told(session: Correspondence, name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in session.events if event == name]


@pytest.mark.parametrize("cut", [0, 65_536])
@pytest.mark.parametrize("form", ["in one line", "in a literal", "in many literals"])
def test_a_structure_too_large_to_be_held_reaches_nobody_and_leaves_its_message_as_it_is(form: str, cut: int) -> None:
    forms = {
        "in one line": b'("text" "calendar" ("x" "%b"))' % (b"y" * LIMIT),
        "in a literal": b'("text" "calendar" ("x" {%d}\r\n%b))' % (LIMIT, b"y" * LIMIT),
        "in many literals": b'("text" "calendar" (%b))' % (b'"x" {1}\r\n{ ' * (LIMIT // 8)),
    }
    with begun() as session:
        session.play(f"{SELECT}\nC: a2 FETCH 1:3 RFC822.SIZE\nto S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)")
        for number, structure in ((1, PLAIN.encode()), (2, forms[form]), (3, PLAIN.encode())):
            answer = b"* %d FETCH (UID %d0 BODYSTRUCTURE %b)\r\n" % (number, number, structure)
            assert session.pieces(MAIN, answer, cut) == (b"", b"")
        session.play(
            """
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID BODYSTRUCTURE)
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico2 OK done
            to S: a2 FETCH 1:3 RFC822.SIZE
            S: * 2 FETCH (RFC822.SIZE 200)
            S: a2 OK done
            """
        )
        assert [fields["uid"] for fields in told(session, "annotations.passed_over")] == ["20"]


def test_a_part_of_another_length_than_announced_reaches_nobody() -> None:
    with begun() as session:
        session.play(f"{SELECT}\nC: a2 FETCH 1:3 RFC822.SIZE\n{LOOK[: LOOK.index('S: * 2 FETCH (UID 20 BODY[2]')]}")
        for piece in (b"* 2 FETCH (UID 20 BODY[2] {%d}\r\n" % (4 * LIMIT), *[b"x" * 65_536] * (4 * LIMIT // 65_536), b")\r\n"):
            assert session.letter(MAIN, piece) == (b"", b"")
        session.play(
            """
            S: portico2 OK done
            to S: a2 FETCH 1:3 RFC822.SIZE
            S: * 2 FETCH (RFC822.SIZE 200)
            S: a2 OK done
            """
        )
        (fields,) = told(session, "annotations.passed_over")
        assert fields["uid"] == "20"
        assert "too large" in fields["text"]


@pytest.mark.parametrize(
    "structure",
    ['("text" "plain" NIL', "(((", ")", "{99999999999999999999}", '"', "(" * 300 + '"calendar"' + ")" * 300, "NIL", '("calendar")'],
)
def test_a_structure_that_makes_no_sense_reaches_nobody_and_leaves_its_message_as_it_is(structure: str) -> None:
    with begun() as session:
        session.play(
            f"""
            C: a1 SELECT INBOX
            S: * 1 EXISTS
            S: * OK [UIDVALIDITY 9] UIDs valid
            S: a1 OK [READ-WRITE] done

            C: a2 FETCH 1 BODY[]
            to S: portico2 FETCH 1:1 (UID BODYSTRUCTURE)
            S: * 1 FETCH (UID 10 BODYSTRUCTURE {structure})
            to nobody
            """
        )
        answered = 0
        while b"a2 FETCH" not in (asked := session.letter(MAIN, b"portico2 OK done\r\n")[1]):
            assert asked.startswith(b"portico2 FETCH 1 (UID")
            assert session.letter(MAIN, b"* 1 FETCH (UID 10 RFC822.SIZE 5 ENVELOPE NIL)\r\n") == (b"", b"")
            answered += 1
        assert answered <= 1
        session.play("S: * 1 FETCH (BODY[] {5}\nS: hello)\nS: a2 OK done")
        assert not told(session, "session.bug")


def test_a_server_that_speaks_revision_2_answers_by_esearch() -> None:
    session = seen()
    with session:
        session.play(
            f"""
            C: a3 SELECT INBOX
            S: * 4 EXISTS
            S: * OK [UIDVALIDITY 9] UIDs valid
            S: a3 OK [READ-WRITE] done

            C: a4 FETCH 2 RFC822.SIZE
            to S: portico4 SEARCH UID 20
            S: * ESEARCH (TAG "portico4") ALL 2
            to nobody
            S: portico4 OK done
            to S: portico4 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico4 OK done
            to S: portico4 SEARCH UID 31:*
            S: * ESEARCH (TAG "portico4") ALL 4
            to nobody
            S: portico4 OK done
            to S: portico4 FETCH 4:4 (UID BODYSTRUCTURE)
            S: * 4 FETCH (UID 31 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico4 OK done
            to S: a4 FETCH 2 RFC822.SIZE
            S: * 2 FETCH (RFC822.SIZE 200)
            to C: * 2 FETCH (RFC822.SIZE {200 + BLOCK})
            S: a4 OK done
            """
        )


def test_what_comes_while_we_look_is_looked_at_too() -> None:
    with seen() as session:
        session.play(
            f"""
            C: a3 NOOP
            S: * 4 EXISTS
            S: a3 OK done

            C: a4 FETCH 1:* RFC822.SIZE
            to S: portico4 FETCH 4:4 (UID BODYSTRUCTURE)
            S: * 5 EXISTS

            S: * 4 FETCH (UID 31 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico4 OK done
            to S: portico4 FETCH 5:5 (UID BODYSTRUCTURE)
            S: * 5 FETCH (UID 32 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico4 OK done
            to S: a4 FETCH 1:5 RFC822.SIZE
            S: a4 OK done
            """
        )


def test_a_set_that_goes_beyond_what_is_known_is_cut_there() -> None:
    """A message may come between our look and the client's command; it would be shown as it is, and later be another."""
    with seen() as session:
        session.play(
            """
            C: a3 UID FETCH 1:4294967295 RFC822.SIZE
            to S: a3 UID FETCH 1:30 RFC822.SIZE
            S: a3 OK done

            C: a4 UID FETCH 31:* RFC822.SIZE
            to S: a4 UID FETCH 30 RFC822.SIZE
            S: a4 OK done

            C: a5 FETCH 7:* RFC822.SIZE
            to S: a5 FETCH 3 RFC822.SIZE
            S: a5 OK done

            C: a6 UID FETCH 10,25:40,50 RFC822.SIZE
            to S: a6 UID FETCH 10,25:30 RFC822.SIZE
            S: a6 OK done

            C: a7 UID FETCH 50 RFC822.SIZE
            S: a7 OK done

            C: a8 NOOP
            S: * 3 EXPUNGE
            S: a8 OK done

            C: a9 UID FETCH 31:* RFC822.SIZE
            to S: portico9 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico9 OK done
            to S: a9 UID FETCH 20 RFC822.SIZE
            S: a9 OK done
            """
        )


def test_star_waits_for_what_may_still_change_the_numbers() -> None:
    with seen() as session:
        session.play(
            """
            C: a3 EXPUNGE
            to S: a3 EXPUNGE

            C: a4 FETCH 1:* RFC822.SIZE
            to nobody

            S: * 3 EXPUNGE
            S: * 1 EXPUNGE
            S: a3 OK done
            to C: * 3 EXPUNGE
            to C: * 1 EXPUNGE
            to C: a3 OK done
            to S: a4 FETCH 1 RFC822.SIZE
            """
        )


def test_a_server_that_expunges_in_the_middle_of_a_look_mixes_up_no_messages() -> None:
    """RFC 9051 7.5.1 forbids it."""
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:3 (RFC822.SIZE)
            to S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)
            S: * 1 FETCH (UID 10 BODYSTRUCTURE {PLAIN})
            S: * 2 FETCH (UID 20 BODYSTRUCTURE {STRUCTURE})
            S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID RFC822.SIZE ENVELOPE)
            S: * 1 EXPUNGE

            S: * 2 FETCH (UID 30 RFC822.SIZE 300 ENVELOPE NIL)
            to nobody
            S: portico2 OK done
            to S: a2 FETCH 1:3 (RFC822.SIZE)
            S: * 1 FETCH (RFC822.SIZE 200)
            S: * 2 FETCH (RFC822.SIZE 300)
            S: a2 OK done
            """
        )
        assert session.faults == []


def test_a_mailbox_may_be_named_like_a_size() -> None:
    with seen() as session:
        session.play(
            """
            C: a3 STATUS "a SIZE 5 b" (SIZE)
            S: * STATUS "a SIZE 5 b" (SIZE 100)
            S: a3 OK done
            """
        )


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("SEARCH SMALLER 201", "SEARCH (SMALLER 201 NOT UID 20)"),
        ("UID SEARCH NOT (LARGER 210)", "UID SEARCH NOT ((OR LARGER 210 UID 20))"),
        ("SORT (DATE) UTF-8 LARGER 210", "SORT (DATE) UTF-8 (OR LARGER 210 UID 20)"),
        ("UID SORT (SUBJECT SIZE) UTF-8 UNSEEN LARGER 210", "UID SORT (SUBJECT SIZE) UTF-8 UNSEEN (OR LARGER 210 UID 20)"),
        ("THREAD REFERENCES UTF-8 LARGER 210 ALL", "THREAD REFERENCES UTF-8 (OR LARGER 210 UID 20) ALL"),
        ("UID THREAD ORDEREDSUBJECT US-ASCII SMALLER 210", "UID THREAD ORDEREDSUBJECT US-ASCII (SMALLER 210 NOT UID 20)"),
        ("SEARCH LARGER 300 SMALLER 100", "SEARCH LARGER 300 SMALLER 100"),
        ("SEARCH SUBJECT LARGER 210", "SEARCH SUBJECT LARGER 210"),  # a word that is looked for, and a message number
        ('SEARCH SUBJECT "LARGER 210"', 'SEARCH SUBJECT "LARGER 210"'),
        ("SORT (ARRIVAL) UTF-8 FROM LARGER", "SORT (ARRIVAL) UTF-8 FROM LARGER"),
    ],
)
def test_conditions_by_size_are_those_of_the_annotated_sizes_wherever_they_stand(asked: str, sent: str) -> None:
    with seen() as session:
        session.play(
            f"""
            C: a3 {asked}
            to S: a3 {sent}
            S: a3 OK done
            """
        )


@pytest.mark.parametrize("item", ["BODY.PEEK[1.1]", "BODY[01]<0.5>", "BODY[0]", "BODY[1.0.TEXT]", "BINARY[1.1]", "BINARY.SIZE[01]"])
def test_a_part_by_a_name_that_it_does_not_have_is_not_shown_without_its_block(item: str) -> None:
    """Dovecot takes 1.1, 01 and 0 for the part 1."""
    with seen() as session:
        session.play(
            f"""
            C: a3 FETCH 2 ({item})
            to C: a3 NO [CANNOT] There is no such part.

            C: a4 FETCH 1 ({item})
            to S: a4 FETCH 1 ({item})
            S: a4 OK done

            C: a5 FETCH 2 (BODY.PEEK[1.MIME] BODY.PEEK[HEADER.FIELDS (X-01)])
            S: a5 OK done
            """
        )


def test_what_is_sorted_by_size_is_chosen_by_the_annotated_sizes_too() -> None:
    with seen() as session:
        session.play(
            f"""
            C: a3 SORT (SIZE) UTF-8 LARGER 210
            to S: portico3 SORT (SIZE) UTF-8 (OR LARGER 210 UID 20)
            S: * SORT 2 3
            to nobody
            S: portico3 OK done
            to S: portico3 FETCH 2:3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            to nobody
            S: * 3 FETCH (UID 30 RFC822.SIZE {200 + BLOCK - 1})
            to nobody
            S: portico3 OK done
            to C: * SORT 3 2
            to C: a3 OK Completed.
            """
        )


def test_a_search_of_many_open_quotes_costs_no_more_than_its_length() -> None:
    with seen() as session:
        command = b'a3 SEARCH LARGER 1 SUBJECT "' + b'\\"' * 30_000 + b"\r\n"
        _, asked = session.letter(CLIENT, command)
        assert asked == command.replace(b"LARGER 1", b"LARGER 1")


def test_a_range_beside_the_whole_does_not_cut_the_whole() -> None:
    header = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
    body = header + b"01234567890123456\r\n\r\n--b\r\nContent-Type: text/calendar\r\n\r\nBEGIN\r\n--b--\r\n"
    message = body + b"x" * (200 - len(body))
    assert len(message) == 200
    with seen() as session:
        _, asked = session.letter(CLIENT, b"a3 FETCH 2 (BODY.PEEK[] BODY.PEEK[]<0.10>)\r\n")
        assert asked == b"portico3 FETCH 2 (UID BODYSTRUCTURE BODY.PEEK[]<0.65536>)\r\n"
        session.letter(MAIN, b"* 2 FETCH (UID 20 BODYSTRUCTURE %b BODY[]<0> {200}\r\n%b)\r\n" % (STRUCTURE.encode(), message))
        _, asked = session.letter(MAIN, b"portico3 OK done\r\n")
        assert asked == b"a3 FETCH 2 (BODY.PEEK[] BODY.PEEK[]<0.10>)\r\n"
        told, _ = session.letter(MAIN, b"* 2 FETCH (BODY[] {200}\r\n%b BODY[]<0> {10}\r\n%b)\r\n" % (message, message[:10]))
        whole = message[: len(header)] + b"see\r\n" + b"-~" * 18 + b"\r\n\r\n" + message[len(header) :]
        assert told == b"* 2 FETCH (BODY[] {%d}\r\n%b BODY[]<0> {10}\r\n%b)\r\n" % (len(whole), whole, whole[:10])


def test_what_would_show_messages_in_ways_of_its_own_is_refused() -> None:
    with seen() as session:
        session.play(
            """
            C: a3 NOTIFY SET (selected (MessageNew (BODY.PEEK[]) MessageExpunge))
            to C: a3 NO [CANNOT] This extension is not offered.

            C: a4 URLFETCH "imap://x/INBOX;UID=20"
            to C: a4 NO [CANNOT] This extension is not offered.

            C: a5 CONVERT 2 ("text/plain" ("charset" "utf-8")) BINARY[1]
            to C: a5 NO [CANNOT] This extension is not offered.
            """
        )


def test_a_mailbox_is_one_in_whatever_way_it_is_named() -> None:
    assert {mailbox_name(name) for name in ("Entwürfe".encode(), b"Entw&APw-rfe")} == {"Entw&APw-rfe"}
    assert {mailbox_name(name) for name in (b"inbox", b"INBOX", b"Inbox")} == {"INBOX"}
    assert mailbox_name(b"A&-B") == "A&-B"


@pytest.mark.parametrize("end", ["", "S: * BYE shutting down"])
def test_a_server_that_goes_in_the_middle_of_a_look_ends_the_session_in_words(end: str) -> None:
    with begun() as session:
        session.play(f"{SELECT}\nC: a2 FETCH 1:* RFC822.SIZE\nto S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)\n\n{end}")
        session.to_client = b""
        session.tell(Closed(MAIN))
        assert session.end is not None
        assert session.to_client.startswith(b"* BYE") or end


def test_a_client_that_goes_in_the_middle_of_a_look_is_waited_for_no_longer_than_its_command() -> None:
    with begun() as session:
        session.play(f"{SELECT}\nC: a2 FETCH 1:3 RFC822.SIZE\nC: a3 LOGOUT\nto S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)")
        session.tell(Closed(CLIENT))
        assert session.end is None
        asked = b"portico2 FETCH 1:3 (UID BODYSTRUCTURE)\r\n"
        while asked.startswith(b"portico2"):
            answer = b"".join(b"* %d FETCH (UID %d0 BODYSTRUCTURE %b)\r\n" % (each, each, PLAIN.encode()) for each in (1, 2, 3))
            _, asked = session.letter(MAIN, answer + b"portico2 OK done\r\n")
        assert asked == b"a2 FETCH 1:3 RFC822.SIZE\r\na3 LOGOUT\r\n"
        session.letter(MAIN, b"a2 OK done\r\n* BYE bye\r\na3 OK done\r\n")
        assert session.end is not None
