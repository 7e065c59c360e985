"""Annotations as an exchange of letters: what the server is asked on the side, and what the client never sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from portico.plugin import Insertion, Interests, Outline, Session, hookimpl
from portico.testing import Correspondence

STRUCTURE = '(("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 20 1)("text" "calendar" NIL NIL NIL "7bit" 5 1) "mixed")'
GROWN = '(("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 65 4)("text" "calendar" NIL NIL NIL "7bit" 5 1) "mixed")'
PLAIN = '("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 9 1)'
BLOCK = 45
"""Octets of ``see\\n`` in the first part: a line, the row below it, an empty line."""


class Annotates:
    portico_interests = ("annotations",)
    types: Sequence[str] = ("text/calendar",)

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(annotator=self)

    def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
        return ("2",)

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        return [Insertion("1", "see\n")] if parts["2"] == b"BEGIN" else []


SELECT = """
C: a1 SELECT INBOX
S: * 3 EXISTS
S: * OK [UIDVALIDITY 9] UIDs valid
S: * OK [UIDNEXT 31] next
S: a1 OK [READ-WRITE] done
"""
LOOK = f"""
to S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)
S: * 1 FETCH (UID 10 BODYSTRUCTURE {PLAIN})
to nobody
S: * 2 FETCH (UID 20 BODYSTRUCTURE {STRUCTURE})
to nobody
S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
to nobody
S: portico2 OK done
to S: portico2 FETCH 2 (UID RFC822.SIZE ENVELOPE)
S: * 2 FETCH (UID 20 RFC822.SIZE 200 ENVELOPE (NIL "Lunch" NIL NIL NIL NIL NIL NIL NIL "<m@x>"))
to nobody
S: portico2 OK done
to S: portico2 FETCH 2 (UID BODY.PEEK[2])
S: * 2 FETCH (UID 20 BODY[2] "BEGIN")
to nobody
S: portico2 OK done
"""


def begun() -> Correspondence:
    session = Correspondence(Annotates())
    assert b"NOTIFY" not in session.sign_in()
    return session


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_listing_waits_for_a_look_and_tells_the_annotated_size(cut: int) -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            {LOOK}
            to S: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: * 1 FETCH (UID 10 RFC822.SIZE 100)

            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            to C: * 2 FETCH (UID 20 RFC822.SIZE {200 + BLOCK})
            S: * 3 FETCH (UID 30 RFC822.SIZE 100)
            S: a2 OK done

            C: a3 UID FETCH 20 BODYSTRUCTURE
            S: * 2 FETCH (UID 20 BODYSTRUCTURE {STRUCTURE})
            to C: * 2 FETCH (UID 20 BODYSTRUCTURE {GROWN})
            S: a3 OK done

            C: a4 SEARCH LARGER 210
            to S: a4 SEARCH (OR LARGER 210 UID 20)
            S: * SEARCH 2
            S: a4 OK done
            """,
            cut=cut,
        )
        assert session.faults == []


def test_what_touches_no_size_and_no_body_is_sent_at_once() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 UID FETCH 1:* (FLAGS INTERNALDATE)
            S: a2 OK done

            C: a3 FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]
            S: a3 OK done

            C: a4 IDLE
            S: + idling
            S: * 4 EXISTS
            C: DONE
            S: a4 OK done
            """
        )


def test_new_mail_is_looked_at_before_it_is_shown_and_only_that() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            {LOOK}
            to S: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: a2 OK done

            C: a3 NOOP
            S: * 4 EXISTS
            S: a3 OK done

            C: a4 UID FETCH 31:* (RFC822.SIZE)
            to S: portico4 FETCH 4:4 (UID BODYSTRUCTURE)
            S: * 4 FETCH (UID 31 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico4 OK done
            to S: a4 UID FETCH 31 (RFC822.SIZE)
            S: * 4 FETCH (UID 31 RFC822.SIZE 5)
            S: a4 OK done
            """
        )


def test_flags_that_the_server_volunteers_meanwhile_are_the_clients() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1 RFC822.SIZE
            to S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)
            S: * 3 FETCH (FLAGS (\\Seen))
            S: * 3 EXISTS

            S: * 1 FETCH (UID 10 BODYSTRUCTURE {PLAIN})
            to nobody
            S: * 2 FETCH (UID 20 FLAGS (\\Seen) MODSEQ (7) BODYSTRUCTURE {PLAIN})
            to C: * 2 FETCH (UID 20 FLAGS (\\Seen) MODSEQ (7))
            S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico2 OK done
            to S: a2 FETCH 1 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 5)
            S: a2 OK done
            """
        )


def test_numbers_follow_what_is_expunged() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* RFC822.SIZE
            {LOOK}
            to S: a2 FETCH 1:3 RFC822.SIZE
            S: a2 OK done

            C: a3 NOOP
            S: * 1 EXPUNGE
            S: a3 OK done

            C: a4 FETCH 1:2 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 200)
            to C: * 1 FETCH (RFC822.SIZE {200 + BLOCK})
            S: * 2 FETCH (RFC822.SIZE 100)
            S: a4 OK done

            C: a5 NOOP
            S: * VANISHED 20
            S: a5 OK done

            C: a6 FETCH 1 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 100)
            S: a6 OK done
            """
        )


def test_a_server_that_tells_no_structure_is_not_asked_for_ever_and_shows_its_messages_as_they_are() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1 RFC822.SIZE
            to S: portico2 FETCH 1:3 (UID BODYSTRUCTURE)
            S: portico2 NO internal error
            to S: portico2 FETCH 1:3 (UID)
            S: portico2 NO internal error
            to S: a2 FETCH 1 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 5)
            S: a2 OK done

            C: a3 FETCH 1 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 5)
            S: a3 OK done
            """
        )


class Serves(Annotates):
    """Annotates for all but one mail program."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def serves(self, session: Session) -> bool:
        self.asked.append(session.client_id.get("name", ""))
        return self.asked[-1] != "Outlook"


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_program_that_says_what_it_is_after_its_login_gets_what_the_server_says(cut: int) -> None:
    plugin = Serves()
    with Correspondence(plugin) as session:
        session.sign_in()
        session.play(
            f"""
            C: a0 ID ("name" "Outlook" "x-originating-ip" "192.0.2.9")
            S: * ID ("name" "Server")
            S: a0 OK done
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE BODYSTRUCTURE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200 BODYSTRUCTURE {STRUCTURE})
            S: a2 OK done

            C: a3 ID ("name" "Another")
            S: a3 OK done

            C: a4 EXAMINE INBOX
            S: * 3 EXISTS
            S: * OK [UIDVALIDITY 9] UIDs valid
            S: a4 OK done

            C: a5 STATUS Other (SIZE)
            S: * STATUS Other (SIZE 200)
            S: a5 OK done

            C: a6 UID SEARCH LARGER 210
            S: * SEARCH
            S: a6 OK done
            """,
            cut=cut,
        )
        assert plugin.asked == ["Outlook"]
        assert session.view.client_id == {"name": "Another"}
        assert session.faults == []


@pytest.mark.parametrize("said", [b"", b'a0 ID ("name" "Mutt")\r\n', b"a0 ID (broken\r\n", b"a0 ID NIL\r\n", b'a0 ID ("name" NIL)\r\n'])
def test_others_get_their_block_and_are_asked_about_once(said: bytes) -> None:
    plugin = Serves()
    with Correspondence(plugin) as session:
        session.sign_in()
        if said:
            assert session.asked(said) == said
            session.server(b"a0 OK or not\r\n")
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            {LOOK.replace("portico2", "portico3") if said else LOOK}
            to S: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            to C: * 2 FETCH (UID 20 RFC822.SIZE {200 + BLOCK})
            S: a2 OK done
            """
        )
        assert plugin.asked == ["Mutt" if b"Mutt" in said else ""]
        assert session.faults == []


def test_what_is_asked_about_a_program_and_raises_counts_as_no() -> None:
    class Breaks(Annotates):
        def serves(self, session: Session) -> bool:
            raise OSError("my list is gone")

    with Correspondence(Breaks()) as session:
        session.sign_in()
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            S: a2 OK done
            """
        )
        (fault,) = session.faults
        assert fault.startswith("annotator serves: OSError raised")


def test_where_the_server_means_other_parts_than_we_read_the_message_stays_as_it_is() -> None:
    """Its BODY[1] would be other octets than those behind which we put the block in BODY[]."""
    lines = ["Subject: no parts in here", "", "text"]
    size = sum(len(line) + 2 for line in lines)
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 2 BODY.PEEK[1]
            {LOOK.replace("RFC822.SIZE 200", f"RFC822.SIZE {size}")}
            to S: portico2 FETCH 2 (UID BODYSTRUCTURE BODY.PEEK[]<0.65536>)
            S: * 2 FETCH (UID 20 BODYSTRUCTURE {STRUCTURE} BODY[]<0> {{{size}}}
            to nobody
            S: {lines[0]}
            to nobody
            S:
            to nobody
            S: {lines[2]}
            to nobody
            S: )
            to nobody
            S: portico2 OK done
            to S: a2 FETCH 2 BODY.PEEK[1]
            S: * 2 FETCH (BODY[1] "text")
            S: a2 OK done

            C: a3 FETCH 2 (RFC822.SIZE BODY.PEEK[])
            S: a3 OK done
            """
        )
        contradicted = [fields for name, fields in session.events if name == "annotations.contradicted"]
        assert contradicted == [{"mailbox": "INBOX", "uid": "20", "text": "the message has other parts than the structure says"}]


def test_the_sum_of_sizes_of_the_selected_mailbox_is_told_when_its_messages_have_been_judged() -> None:
    """RFC 8438: never below the sum of the sizes that are told afterwards."""
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 STATUS Other (SIZE)
            S: * STATUS Other (SIZE 300)
            S: a2 OK done

            C: a3 STATUS "inbox" (MESSAGES SIZE)
            {LOOK.replace("portico2", "portico3")}
            to S: a3 STATUS "inbox" (MESSAGES SIZE)
            S: * STATUS inbox (MESSAGES 3 SIZE 400)
            to C: * STATUS inbox (MESSAGES 3 SIZE {400 + BLOCK})
            S: a3 OK done

            C: a4 STATUS INBOX (SIZE)
            S: * STATUS INBOX (SIZE 400)
            to C: * STATUS INBOX (SIZE {400 + BLOCK})
            S: a4 OK done
            """
        )
