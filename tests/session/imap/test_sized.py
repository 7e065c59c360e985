"""Sizes by estimate, as an exchange of letters: what the server is spared, and what the client is told all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.ledger.ledger import SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.plugin import Interests, Session, Sketch, hookimpl
from portico.session.annotations.annotation import Mailbox
from portico.session.events import MAIN, Closed
from portico.testing import Correspondence

from tests.session.imap.test_annotated import BLOCK, LOOK, STRUCTURE, Annotates
from tests.session.imap.test_annotated import SELECT as ANNOTATED_SELECT


class Guesses:
    """Says the UID times a thousand, or what it was told to say."""

    portico_interests = ("sizes",)

    def __init__(self, sample: int = 0, says: object = None) -> None:
        self.sample = sample
        self.says = says
        self.learned: list[tuple[int, int]] = []
        self.seen: list[Sketch] = []

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(sizer=self)

    def serves(self, session: Session) -> bool:
        return session.user != "exact"

    def learn(self, session: Session, sketch: Sketch, size: int) -> None:
        self.learned.append((sketch.uid, size))

    def estimate(self, session: Session, sketch: Sketch) -> int:
        self.seen.append(sketch)
        if self.says is None:
            return 1000 * sketch.uid
        if isinstance(self.says, Exception):
            raise self.says
        return self.says  # type: ignore[return-value]


SELECT = """
C: a1 SELECT INBOX
S: * 3 EXISTS
S: * OK [UIDVALIDITY 9] UIDs valid
S: a1 OK [READ-WRITE] done
"""


def begun(plugin: Guesses | None = None, user: str = "alice") -> Correspondence:
    session = Correspondence(plugin or Guesses())
    assert b"OBJECTID" not in session.sign_in(user)
    return session


def test_the_server_is_not_asked_for_sizes_and_the_client_gets_them() -> None:
    plugin = Guesses()
    with begun(plugin) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 UID FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)
            to S: a2 UID FETCH 1:* (UID FLAGS ENVELOPE)
            S: * 1 FETCH (UID 5 FLAGS () ENVELOPE (NIL "RFC822.SIZE 7" NIL NIL NIL NIL NIL NIL NIL NIL))
            to C: * 1 FETCH (UID 5 FLAGS () ENVELOPE (NIL "RFC822.SIZE 7" NIL NIL NIL NIL NIL NIL NIL NIL) RFC822.SIZE 5000)
            S: * 2 FETCH (FLAGS (\\Seen))
            to C: * 2 FETCH (FLAGS (\\Seen))
            S: a2 OK done

            C: a3 NOOP

            S: a3 OK done
            """
        )
    assert [sketch.uid for sketch in plugin.seen] == [5]
    assert plugin.seen[0].mailbox == "INBOX" and b"RFC822.SIZE 7" in plugin.seen[0].items["ENVELOPE"]


@pytest.mark.parametrize(
    ("asked", "sent", "said", "told"),
    [
        ("FETCH 1 RFC822.SIZE", "FETCH 1 (UID)", "UID 5", "RFC822.SIZE 5000"),
        ("FETCH 1 (RFC822.SIZE)", "FETCH 1 (UID)", "UID 5", "RFC822.SIZE 5000"),
        ("FETCH 1 FAST", "FETCH 1 (UID FLAGS INTERNALDATE)", 'UID 5 FLAGS () INTERNALDATE "x"', 'FLAGS () INTERNALDATE "x" RFC822.SIZE 5000'),
        ("FETCH 1 (FLAGS RFC822.SIZE) (CHANGEDSINCE 7)", "FETCH 1 (UID FLAGS) (CHANGEDSINCE 7)", "UID 5 FLAGS () MODSEQ (9)", "FLAGS () MODSEQ (9) RFC822.SIZE 5000"),
        ("UID FETCH 5 (RFC822.SIZE FLAGS)", "UID FETCH 5 (UID FLAGS)", "FLAGS () UID 5", "FLAGS () UID 5 RFC822.SIZE 5000"),
        (
            "FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER.FIELDS (From)])",
            "FETCH 1 (UID BODY.PEEK[HEADER.FIELDS (From)])",
            "BODY[HEADER.FIELDS (From)] {2}\r\n\r\n UID 5",
            "BODY[HEADER.FIELDS (From)] {2}\r\n\r\n RFC822.SIZE 5000",
        ),
    ],
)  # fmt: skip
def test_each_way_to_ask_for_a_list(asked: str, sent: str, said: str, told: str) -> None:
    with begun() as session:
        session.play(SELECT)
        assert session.asked(f"a2 {asked}\r\n".encode()) == f"a2 {sent}\r\n".encode()
        assert session.server(f"* 1 FETCH ({said})\r\n".encode()) == f"* 1 FETCH ({told})\r\n".encode()
        assert session.server(b"a2 OK done\r\n") == b"a2 OK done\r\n"


@pytest.mark.parametrize(
    "items", ["RFC822.SIZE BODYSTRUCTURE", "RFC822.SIZE BODY", "RFC822.SIZE BODY.PEEK[]", "RFC822.SIZE BODY[1]", "RFC822.SIZE RFC822", "RFC822.SIZE BODY[TEXT]<0.10>"]
)  # fmt: skip
def test_what_reads_the_message_anyway_is_told_the_truth(items: str) -> None:
    with begun() as session:
        session.play(SELECT)
        assert session.asked(f"a2 FETCH 1 ({items})\r\n".encode()) == f"a2 FETCH 1 (UID {items})\r\n".encode()
        assert session.server(b"* 1 FETCH (UID 5 RFC822.SIZE 77)\r\na2 OK done\r\n").endswith(b"RFC822.SIZE 77)\r\na2 OK done\r\n")


def test_a_size_once_told_stays_whatever_the_truth_is() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 UID FETCH 5 (UID RFC822.SIZE)
            to S: a2 UID FETCH 5 (UID)
            S: * 1 FETCH (UID 5)
            to C: * 1 FETCH (UID 5 RFC822.SIZE 5000)
            S: a2 OK done

            C: a3 UID FETCH 5 (RFC822.SIZE BODY.PEEK[])
            to S: a3 UID FETCH 5 (UID RFC822.SIZE BODY.PEEK[])
            S: * 1 FETCH (UID 5 RFC822.SIZE 7 BODY[] "letters")
            to C: * 1 FETCH (UID 5 RFC822.SIZE 5000 BODY[] "letters")
            S: a3 OK done

            C: a4 UID FETCH 5 FAST
            to S: a4 UID FETCH 5 (UID FLAGS INTERNALDATE)
            S: * 1 FETCH (UID 5 FLAGS () INTERNALDATE "x")
            to C: * 1 FETCH (UID 5 FLAGS () INTERNALDATE "x" RFC822.SIZE 5000)
            S: a4 OK done
            """
        )
        session.client(b"z LOGOUT\r\n")
        session.server(b"* BYE\r\nz OK bye\r\n")
        session.tell(Closed(MAIN))
    (told,) = [fields for event, fields in session.events if event == "sizes.told"]
    assert told == {"estimated": 2, "exact": 0, "off": 714.286, "ratios": [5000 / 7]}


def test_a_size_that_came_with_a_body_is_told_in_lists_from_then_on() -> None:
    plugin = Guesses()
    with begun(plugin) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 UID FETCH 5 (UID BODY.PEEK[])

            S: * 1 FETCH (UID 5 BODY[] {{7}}
            S: letters)

            S: a2 OK done

            C: a3 UID FETCH 5 (UID RFC822.SIZE)
            to S: a3 UID FETCH 5 (UID)
            S: * 1 FETCH (UID 5)
            to C: * 1 FETCH (UID 5 RFC822.SIZE 7)
            S: a3 OK done
            """
        )
    assert plugin.seen == []


def test_a_few_messages_are_asked_for_the_truth_where_nothing_is_known() -> None:
    plugin = Guesses(sample=2)
    with begun(plugin) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:3 (FLAGS RFC822.SIZE ENVELOPE BODY.PEEK[HEADER])
            to S: portico-m1 FETCH 1,3 (UID RFC822.SIZE ENVELOPE BODY.PEEK[HEADER])
            S: * 1 FETCH (UID 5 RFC822.SIZE 77 ENVELOPE NIL BODY[HEADER] "")
            to nobody
            S: * 2 EXISTS

            S: * 3 FETCH (UID 9 RFC822.SIZE 99 ENVELOPE NIL BODY[HEADER] "")
            to nobody
            S: portico-m1 OK done
            to S: a2 FETCH 1:3 (UID FLAGS ENVELOPE BODY.PEEK[HEADER])
            S: * 1 FETCH (UID 5 FLAGS () ENVELOPE NIL BODY[HEADER] "")
            to C: * 1 FETCH (FLAGS () ENVELOPE NIL BODY[HEADER] "" RFC822.SIZE 77)
            S: * 2 FETCH (UID 6 FLAGS () ENVELOPE NIL BODY[HEADER] "")
            to C: * 2 FETCH (FLAGS () ENVELOPE NIL BODY[HEADER] "" RFC822.SIZE 6000)
            S: a2 OK done
            """
        )
    assert plugin.learned == [(5, 77), (9, 99)]


@pytest.mark.parametrize("says", [0, -1, "many", None, ZeroDivisionError()])
def test_a_plugin_that_cannot_say_does_no_harm(says: object) -> None:
    plugin = Guesses(says=says if says is not None else 1 << 50)
    with begun(plugin) as session:
        session.play(SELECT)
        session.client(b"a2 FETCH 1 RFC822.SIZE\r\n")
        assert session.server(b"* 1 FETCH (UID 5)\r\na2 OK done\r\n") == b"* 1 FETCH (RFC822.SIZE 10000)\r\na2 OK done\r\n"
        assert bool(session.faults) is isinstance(says, Exception)


def test_searching_and_sorting_go_by_the_sizes_told() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 UID FETCH 1:* RFC822.SIZE
            to S: a2 UID FETCH 1:* (UID)
            S: * 1 FETCH (UID 5)
            to C: * 1 FETCH (UID 5 RFC822.SIZE 5000)
            S: * 2 FETCH (UID 6)
            to C: * 2 FETCH (UID 6 RFC822.SIZE 6000)
            S: a2 OK done

            C: a3 SEARCH LARGER 5500 SUBJECT "LARGER 5"
            to S: a3 SEARCH (OR (LARGER 5500 NOT UID 5:6) UID 6) SUBJECT "LARGER 5"
            S: * SEARCH 2
            S: a3 OK done

            C: a4 UID SEARCH SMALLER 100
            to S: a4 UID SEARCH (SMALLER 100 NOT UID 5:6)
            S: a4 OK done

            C: a5 UID SORT (REVERSE SIZE) UTF-8 ALL
            to S: portico-m1 UID SORT (ARRIVAL) UTF-8 ALL
            S: * SORT 9 5 6
            to nobody
            S: portico-m1 OK done
            to S: portico-m2 UID FETCH 9 (UID RFC822.SIZE)
            S: * 3 FETCH (UID 9 RFC822.SIZE 5500)
            to nobody
            S: portico-m2 OK done
            to C: * SORT 6 9 5
            to C: a5 OK done
            """
        )


def test_the_size_of_a_mailbox_is_never_less_than_the_sum() -> None:
    with begun() as session:
        session.play(SELECT)
        session.client(b"a2 FETCH 1 RFC822.SIZE\r\n")
        session.server(b"* 1 FETCH (UID 5)\r\na2 OK done\r\n")
        session.client(b"a3 STATUS INBOX (SIZE)\r\n")
        assert session.server(b"* STATUS INBOX (SIZE 10)\r\n") == b"* STATUS INBOX (SIZE 5010)\r\n"
        assert session.server(b"* STATUS Other (SIZE 10)\r\n") == b"* STATUS Other (SIZE 10)\r\n"


def test_who_is_told_the_truth_has_a_session_in_which_nothing_changes() -> None:
    with begun(user="exact") as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (FLAGS RFC822.SIZE)

            S: * 1 FETCH (FLAGS () RFC822.SIZE 77)

            S: a2 OK done
            """
        )


def test_a_mailbox_under_another_uidvalidity_is_another_one() -> None:
    with begun() as session:
        session.play(SELECT)
        session.client(b"a2 FETCH 1 RFC822.SIZE\r\n")
        session.server(b"* 1 FETCH (UID 5)\r\na2 OK done\r\n")
        session.client(b"b1 SELECT INBOX\r\n")
        session.server(b"* 3 EXISTS\r\n* OK [UIDVALIDITY 10] new\r\nb1 OK done\r\n")
        session.client(b"b2 FETCH 1 (RFC822.SIZE BODY)\r\n")
        assert b"RFC822.SIZE 77" in session.server(b"* 1 FETCH (UID 5 RFC822.SIZE 77 BODY NIL)\r\nb2 OK done\r\n")


# -- other sessions, other times


def remembering(ledger: SqliteLedger, plugin: object) -> Correspondence:
    """A session whose process has this memory."""
    session = Correspondence(plugin)
    session.session.context.sizes = session.session.context.ledger = ledger
    session.sign_in()
    return session


def test_after_a_restart_the_sizes_are_those_that_were_told_and_the_sizer_knows_the_true_ones(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with remembering(SqliteLedger(path), Guesses(sample=1)) as session:
        session.play(SELECT)
        session.client(b"a2 FETCH 1:* RFC822.SIZE\r\n")
        session.server(b"* 1 FETCH (UID 5 RFC822.SIZE 77)\r\nportico-m1 OK\r\n")
        session.server(b"* 1 FETCH (UID 5)\r\n* 2 FETCH (UID 6)\r\na2 OK done\r\n")
    plugin = Guesses(sample=1, says=1)
    with remembering(SqliteLedger(path), plugin) as session:
        session.play(SELECT)
        assert session.asked(b"a2 FETCH 1:* RFC822.SIZE\r\n") == b"a2 FETCH 1:* (UID)\r\n"
        told = session.server(b"* 1 FETCH (UID 5)\r\n* 2 FETCH (UID 6)\r\n* 3 FETCH (UID 7)\r\na2 OK done\r\n")
        assert told == b"* 1 FETCH (RFC822.SIZE 77)\r\n* 2 FETCH (RFC822.SIZE 6000)\r\n* 3 FETCH (RFC822.SIZE 1)\r\na2 OK done\r\n"
    assert plugin.learned == [(5, 77)]


def test_the_size_of_a_mailbox_is_never_less_than_the_sum_before_anything_is_selected_either(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger")
    with remembering(ledger, Guesses()) as session:
        session.play(SELECT)
        listed(session, 5)
    with remembering(ledger, Guesses()) as session:
        session.client(b"a1 STATUS INBOX (SIZE)\r\n")
        assert session.server(b"* STATUS INBOX (SIZE 10)\r\n") == b"* STATUS INBOX (SIZE 5010)\r\n"


def test_messages_that_have_left_are_forgotten_once_they_are_many(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger")
    with remembering(ledger, Guesses()) as session:
        session.play(SELECT)
        scattered(session, 3000)
    with remembering(ledger, Guesses()) as session:
        session.play(SELECT)
        assert session.asked(b"a2 FETCH 1 RFC822.SIZE\r\n") == b"portico-m1 UID SEARCH ALL\r\n"
        session.server(b"* SEARCH 7 8 2999\r\nportico-m1 OK done\r\n")
        assert session.to_server.endswith(b"a2 FETCH 1 (UID)\r\n")
        session.server(b"* 1 FETCH (UID 7)\r\na2 OK done\r\n")
    told = [uid for uid, _, _ in SqliteLedger(tmp_path / "ledger").sizes(Mailbox("main/alice", "INBOX", 9)).each()]
    assert told == [7, 8, 2999, 3000], "what came after the last one that is there may be new"


def test_a_memory_that_fails_ends_no_session_and_changes_no_size(tmp_path: Path) -> None:
    said: list[str] = []
    inner = SqliteLedger(tmp_path / "ledger")
    ledger = SafeLedger(inner, said.append)
    inner._db.execute("PRAGMA query_only = ON")
    for says in (None, 1):
        with remembering(ledger, Guesses(says=says)) as session:  # type: ignore[arg-type]
            session.play(SELECT)
            listed(session, 5, 6)
    assert len(said) == 1


class Everything(Annotates, Guesses):
    """Annotates invitations, and estimates sizes."""

    portico_interests = ("annotations", "sizes")

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(annotator=self, sizer=self)


def test_an_annotated_message_has_its_own_size_however_it_became_known() -> None:
    message = b"x" * 200
    with Correspondence(Everything()) as session:
        session.sign_in()
        session.play(
            f"""
            {ANNOTATED_SELECT}
            C: a2 UID FETCH 20 (UID FLAGS RFC822.SIZE)
            {LOOK}
            to S: a2 UID FETCH 20 (UID FLAGS)
            S: * 2 FETCH (UID 20 FLAGS ())
            to C: * 2 FETCH (UID 20 FLAGS () RFC822.SIZE {200 + BLOCK})
            S: * 3 FETCH (UID 30 FLAGS ())
            to C: * 3 FETCH (UID 30 FLAGS () RFC822.SIZE 30000)
            S: a2 OK done
            """
        )
        session.play(
            """
            C: s1 UID SORT (SIZE) UTF-8 ALL
            to S: portico-m1 UID SORT (ARRIVAL) UTF-8 ALL
            S: * SORT 10 20 30
            to nobody
            S: portico-m1 OK done
            to S: portico-m2 UID FETCH 10 (UID RFC822.SIZE)
            S: * 1 FETCH (UID 10 RFC822.SIZE 900)
            to nobody
            S: portico-m2 OK done
            to C: * SORT 20 10 30
            to C: s1 OK done
            """
        )
        session.client(b"a3 SELECT Other\r\n")
        session.server(b"* 1 EXISTS\r\n* OK [UIDVALIDITY 1] v\r\n* OK [UIDNEXT 2] n\r\na3 OK in\r\n")
        session.client(b"a4 UID FETCH 1 (UID BODY.PEEK[])\r\n")
        assert session.to_server.endswith(b"FETCH 1:1 (UID BODYSTRUCTURE)\r\n")
        tag = session.to_server.rpartition(b"\r\n")[0].rpartition(b"\n")[2].partition(b" ")[0]
        session.server(b"* 1 FETCH (UID 1 BODYSTRUCTURE %b)\r\n%b OK done\r\n" % (STRUCTURE.encode(), tag))
        session.server(b'* 1 FETCH (UID 1 RFC822.SIZE 200 ENVELOPE (NIL "L" NIL NIL NIL NIL NIL NIL NIL "<m@x>"))\r\n%b OK done\r\n' % tag)
        session.server(b'* 1 FETCH (UID 1 BODY[2] "BEGIN")\r\n%b OK done\r\n' % tag)
        while not session.to_server.endswith(b"(UID BODY.PEEK[])\r\n"):
            # Where the first part stands is found out from the whole; it is refused here, and the message stays as it is.
            session.server(b"%b NO not now\r\n" % tag)
        session.server(b"* 1 FETCH (UID 1 BODY[] {200}\r\n%b)\r\na4 OK done\r\n" % message)
        session.client(b"a5 UID FETCH 1 (UID RFC822.SIZE)\r\n")
        assert session.server(b"* 1 FETCH (UID 1)\r\na5 OK done\r\n") == b"* 1 FETCH (UID 1 RFC822.SIZE 245)\r\na5 OK done\r\n"


# -- attacks, and servers with ways of their own


def listed(session: Correspondence, *uids: int) -> None:
    """All messages of these UIDs are told of."""
    assert session.asked(b"l UID FETCH 1:* RFC822.SIZE\r\n") == b"l UID FETCH 1:* (UID)\r\n"
    for number, uid in enumerate(uids, 1):
        said = b"* %d FETCH (UID %d)\r\n" % (number, uid)
        assert session.server(said) == said[:-3] + b" RFC822.SIZE %d000)\r\n" % uid
    session.server(b"l OK done\r\n")


def test_who_asks_ahead_of_the_answer_to_select_is_told_of_the_mailbox_that_gets_selected() -> None:
    with begun() as session:
        session.play(SELECT)
        assert session.asked(b"b1 SELECT Other\r\nb2 FETCH 1 RFC822.SIZE\r\n") == b"b1 SELECT Other\r\n"
        session.server(b"b1 NO there is none\r\n")
        assert session.to_server.endswith(b"b2 FETCH 1 RFC822.SIZE\r\n"), "nothing is selected: the server says what is wrong"
        assert session.server(b"b2 BAD nothing is selected\r\n") == b"b2 BAD nothing is selected\r\n"


def test_one_message_is_told_truly_where_nothing_is_known_because_a_sample_would_be_dearer() -> None:
    plugin = Guesses(sample=2)
    with begun(plugin) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 UID FETCH 6 (UID RFC822.SIZE FLAGS)
            to S: a2 UID FETCH 6 (UID RFC822.SIZE FLAGS)
            S: * 2 FETCH (UID 6 RFC822.SIZE 77 FLAGS ())

            S: a2 OK done
            """
        )
    assert plugin.learned == [(6, 77)]


def test_what_the_server_volunteers_during_a_sample_reaches_the_client_and_an_answer_too_large_does_not() -> None:
    plugin = Guesses(sample=2)
    with begun(plugin) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:3 (RFC822.SIZE RFC822.HEADER)
            to S: portico-m1 FETCH 1,3 (UID RFC822.SIZE RFC822.HEADER)
            S: * 2 FETCH (FLAGS (\\Seen))
            to C: * 2 FETCH (FLAGS (\\Seen))
            S: * 3 FETCH (UID 9 FLAGS (x) RFC822.SIZE 99 RFC822.HEADER "")
            to C: * 3 FETCH (UID 9 FLAGS (x))
            """
        )
        header = b"X" * 3_000_000
        assert session.server(b"* 1 FETCH (UID 5 RFC822.SIZE 3000000 RFC822.HEADER {%d}\r\n%b)\r\n" % (len(header), header)) == b""
        session.server(b"portico-m1 OK done\r\n")
        assert session.to_server.endswith(b"a2 FETCH 1:3 (UID RFC822.HEADER)\r\n")
    assert plugin.learned == [(9, 99)]


def test_a_list_too_large_to_be_held_has_its_size_too() -> None:
    header = b"X" * 3_000_000
    with begun() as session:
        session.play(SELECT)
        session.client(b"a2 FETCH 1 (RFC822.SIZE RFC822.HEADER FLAGS)\r\n")
        said = b"* 1 FETCH (UID 5 RFC822.HEADER {%d}\r\n%b FLAGS (x))\r\n" % (len(header), header)
        assert session.server(said) == said[:-3] + b" RFC822.SIZE 5000)\r\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"UID 5 BODY[] {3}\r\nabc RFC822.SIZE 3", b"UID 5 BODY[] {3}\r\nabc RFC822.SIZE 5000"),
        (b"RFC822.SIZE 3 BODY[] {3}\r\nabc UID 5", b"BODY[] {3}\r\nabc UID 5 RFC822.SIZE 5000"),
        (b"FLAGS () RFC822.SIZE 3 BODY[] {3}\r\nabc UID 5", b"FLAGS () BODY[] {3}\r\nabc UID 5 RFC822.SIZE 5000"),
        (b"RFC822.SIZE 3 BODY[] {3}\r\nabc", b"BODY[] {3}\r\nabc RFC822.SIZE 3"),
    ],
)
def test_beside_a_body_the_size_that_was_told_stands_wherever_the_server_puts_the_uid(said: bytes, told: bytes) -> None:
    with begun() as session:
        session.play(SELECT)
        listed(session, 5)
        assert session.asked(b"a2 FETCH 1 (RFC822.SIZE BODY.PEEK[] UID)\r\n") == b"a2 FETCH 1 (UID RFC822.SIZE BODY.PEEK[])\r\n"
        assert session.server(b"* 1 FETCH (%b)\r\n" % said) == b"* 1 FETCH (%b)\r\n" % told


@pytest.mark.parametrize("uid", ["4294967296", "9999999999", "0"])
@pytest.mark.parametrize("size", ["", " RFC822.SIZE 7", " RFC822.SIZE " + "9" * 5000, f" RFC822.SIZE {(1 << 63) + 7}"])
def test_numbers_that_cannot_be_do_no_harm(uid: str, size: str) -> None:
    plugin = Guesses(sample=1)
    with begun(plugin) as session:
        session.play(SELECT)
        session.client(b"a2 FETCH 1:* RFC822.SIZE\r\n")
        session.server(f"* 1 FETCH (UID {uid}{size})\r\nportico-m1 OK\r\n".encode())
        assert session.server(f"* 1 FETCH (UID {uid}{size})\r\n".encode()) == f"* 1 FETCH (UID {uid}{size})\r\n".encode()
        assert session.server(f"* 1 FETCH (UID 5{size})\r\na2 OK done\r\n".encode()).endswith(b"a2 OK done\r\n")
    assert not session.faults


def test_what_is_volunteered_under_qresync_keeps_its_uid() -> None:
    with begun() as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1 RFC822.SIZE
            to S: a2 FETCH 1 (UID)
            S: * 2 FETCH (UID 6 FLAGS (x) MODSEQ (7))
            to C: * 2 FETCH (UID 6 FLAGS (x) MODSEQ (7) RFC822.SIZE 6000)
            S: * 1 FETCH (UID 5)
            to C: * 1 FETCH (RFC822.SIZE 5000)
            S: a2 OK done
            """
        )


def test_a_sample_is_of_messages_that_are_there_though_some_have_vanished() -> None:
    with begun(Guesses(sample=1)) as session:
        session.play(SELECT)
        session.server(b"* VANISHED 1:2\r\n* 7 EXISTS\r\n* VANISHED 3,8\r\n* 1 EXPUNGE\r\n* VANISHED (EARLIER) 1:900\r\n")
        session.client(b"a2 UID FETCH 1:* RFC822.SIZE\r\n")
        assert session.to_server.endswith(b"portico-m1 FETCH 1 (UID RFC822.SIZE)\r\n")
        session.server(b"portico-m1 BAD no\r\n* 1 FETCH (UID 9)\r\na2 OK\r\n")
        assert session.asked(b"a3 UID FETCH 1:* RFC822.SIZE\r\n") == b"a3 UID FETCH 1:* (UID)\r\n", (
            "a question that failed is not asked again"
        )


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("SEARCH SUBJECT LARGER 5", "SEARCH SUBJECT LARGER 5"),
        ('SEARCH OR (NOT LARGER 5500) HEADER X LARGER SMALLER "1"', "SEARCH OR (NOT (OR (LARGER 5500 NOT UID 5:6) UID 6)) HEADER X LARGER (SMALLER \"1\" NOT UID 5:6)"),
        ("SEARCH RETURN (SAVE) LARGER 5500", "SEARCH RETURN (SAVE) (OR (LARGER 5500 NOT UID 5:6) UID 6)"),
        ("UID SEARCH $ SMALLER 5500", "UID SEARCH $ (OR (SMALLER 5500 NOT UID 5:6) UID 5)"),
        ("SORT (DATE) UTF-8 LARGER 9999", "SORT (DATE) UTF-8 (LARGER 9999 NOT UID 5:6)"),
        ("THREAD REFERENCES UTF-8 LARGER 9999", "THREAD REFERENCES UTF-8 (LARGER 9999 NOT UID 5:6)"),
    ],
)  # fmt: skip
def test_conditions_by_size_are_known_from_words_that_look_like_them(asked: str, sent: str) -> None:
    with begun() as session:
        session.play(SELECT)
        listed(session, 5, 6)
        assert session.asked(f"a2 {asked}\r\n".encode()) == f"a2 {sent}\r\n".encode()


def test_sorting_by_size_leaves_equal_ones_to_what_comes_next() -> None:
    with begun(Guesses(says=5000)) as session:
        session.play(
            f"""
            {SELECT}
            C: l FETCH 1:* RFC822.SIZE
            to S: l FETCH 1:* (UID)
            S: * 1 FETCH (UID 5)
            to C: * 1 FETCH (RFC822.SIZE 5000)
            S: * 2 FETCH (UID 6)
            to C: * 2 FETCH (RFC822.SIZE 5000)
            S: l OK done

            C: a2 SORT (SIZE SUBJECT) UTF-8 ALL
            to S: portico-m1 SORT (SUBJECT) UTF-8 ALL
            S: * SORT 3 2 1
            to nobody
            S: portico-m1 OK done
            to S: portico-m2 FETCH 1:3 (UID)
            S: * 1 FETCH (UID 5)
            to nobody
            S: * 2 FETCH (UID 6)
            to nobody
            S: * 3 FETCH (UID 7)
            to nobody
            S: portico-m2 OK done
            to S: portico-m3 FETCH 3 (UID RFC822.SIZE)
            S: * 3 FETCH (UID 7 RFC822.SIZE 9)
            to nobody
            S: portico-m3 OK done
            to C: * SORT 3 2 1
            to C: a2 OK done
            """
        )


class Alternating(Guesses):
    """Small, large, small, large: no set of them is short."""

    def estimate(self, session: Session, sketch: Sketch) -> int:
        return 9000 if sketch.uid % 2 else 100


def scattered(session: Correspondence, messages: int) -> None:
    session.client(b"l FETCH 1:* RFC822.SIZE\r\n")
    session.server(b"".join(b"* %d FETCH (UID %d)\r\n" % (each, each) for each in range(1, messages + 1)) + b"l OK done\r\n")


def test_a_search_longer_than_servers_take_is_asked_in_several() -> None:
    with begun(Alternating()) as session:
        session.play(SELECT)
        scattered(session, 5000)
        session.to_server = session.to_client = b""
        session.client(b"a2 UID SEARCH RETURN (MIN MAX COUNT) LARGER 5000 UNSEEN\r\n")
        asked = []
        while not session.to_client.endswith(b"a2 OK Search completed.\r\n"):
            asked.append(session.to_server)
            assert len(session.to_server) < 8192
            tag, _, command = session.to_server.partition(b" ")
            low, _, _ = command.rpartition(b" ")[2].partition(b":")
            session.to_server = b""
            session.server(b"* SEARCH %b\r\n%b OK done\r\n" % (low, tag))
        assert len(asked) > 10 and all(b"RETURN" not in each for each in asked)
        assert b'* ESEARCH (TAG "a2") UID MIN 1 MAX' in session.to_client and b"COUNT %d" % len(asked) in session.to_client


@pytest.mark.parametrize(
    "asked", ["SEARCH RETURN (SAVE) LARGER 5000", "THREAD REFERENCES UTF-8 LARGER 5000", "SEARCH" + " LARGER 5000" * 21]
)
def test_a_search_that_cannot_be_asked_so_is_refused(asked: str) -> None:
    with begun(Alternating()) as session:
        session.play(SELECT)
        scattered(session, 30_000)
        assert session.asked(f"a2 {asked}\r\n".encode()) == b""
        assert session.to_client.endswith(b"a2 NO [LIMIT] Too much to be searched by size.\r\n")


def test_a_plugin_that_fails_for_every_message_is_blamed_once() -> None:
    with begun(Guesses(says=ZeroDivisionError())) as session:
        session.play(SELECT)
        scattered(session, 100)
        assert [event for event, _ in session.events].count("plugin.failed") == 1
