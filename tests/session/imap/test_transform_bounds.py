"""What bounds transforms, what outlives them, and what goes wrong with them, as an exchange of letters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.ledger.ledger import SqliteLedger
from portico.plugin import Drop, Insertion, Interests, Outline, Session, hookimpl
from portico.session.annotations.annotation import Mailbox
from portico.session.events import CLIENT, MAIN
from portico.session.imap.transform import _sets
from portico.testing import Correspondence
from portico.wire.fetch import ranges_of

from tests.session.imap.scans import (
    ENVELOPE,
    ORIGINAL,
    PLAIN,
    SELECT,
    SHOWN,
    Scans,
    begun,
    bulky,
    listed,
    look,
    many,
    read,
    small,
)


def test_a_client_cannot_ask_for_the_same_octets_without_end() -> None:
    with begun(Scans(), most=100) as session:
        listed(session)
        many = " ".join(["BODY.PEEK[]"] * 20)
        session.play(
            f"""
            C: a3 FETCH 2 ({many})
            to S: portico3 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico3 OK done
            to C: a3 NO [LIMIT] Too much is asked for at once.
            """
        )


def test_a_message_that_is_too_large_is_not_read() -> None:
    plugin = Scans()
    with begun(plugin, most=1000) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            {look(size=1001)}
            to S: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 1001)

            S: a2 OK done
            """
        )
        assert ("annotations.not_transformed", "1001 octets, 1000 are allowed") in texts(session)
    assert plugin.asked == []


def texts(session: Correspondence) -> list[tuple[str, object]]:
    return [(event, fields.get("text")) for event, fields in session.events]


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (None, ""),
        (ORIGINAL, ""),
        (b"Subject: x\r\n\r\nno end", "what is returned is no message: no line end behind the last line"),
        (b"Subject: x\n\n", "what is returned is no message: a bare CR or LF, or NUL"),
        (b"text\r\n", "what is returned is no message: no header, or no empty line behind it"),
        (b"Subject: x\r\n\r\n" + b"x" * 999 + b"\r\n", "1015 octets returned, 1000 are allowed"),
        ("Subject: x\r\n\r\n", "str returned"),
    ],
)
def test_what_is_no_message_changes_nothing(result: bytes | None, fault: str) -> None:
    plugin = Scans()
    plugin.result = result
    with begun(plugin, most=1000) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            {look()}
            {read()}
            to S: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})

            S: a2 OK done

            C: a3 FETCH 2 BODY[]
            S: * 2 FETCH (BODY[] "server's")

            S: a3 OK done
            """
        )
        assert session.faults == ([f"transformer transform: {fault}"] if fault else [])
    assert plugin.asked == [ORIGINAL]


def test_a_transformer_that_raises_changes_nothing_and_ends_nothing() -> None:
    class Raises(Scans):
        def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
            raise SystemExit(message)

    with begun(Raises()) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* (UID RFC822.SIZE)
            {look()}
            {read()}
            to S: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: a2 OK done
            """
        )
        (fault,) = session.faults
        assert "SystemExit raised" in fault
        assert "secret" not in fault


def test_another_session_reads_nothing_and_shows_the_same_whatever_the_plugin_now_says(tmp_path: Path) -> None:
    first, second = Scans(), Scans()
    second.result = b"Subject: other\r\n\r\n"
    with begun(first, SqliteLedger(tmp_path / "ledger")) as session:
        listed(session)
    with begun(second, SqliteLedger(tmp_path / "ledger")) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 2 BODY.PEEK[TEXT]
            to S: portico2 SEARCH UID 20
            S: * SEARCH 2
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico2 OK done
            to S: portico2 SEARCH UID 31:*
            S: * SEARCH 3
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 3:3 (UID BODYSTRUCTURE)
            S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico2 OK done
            to C: * 2 FETCH (BODY[TEXT] {{12}}
            to C: Taken out.
            to C: )
            to C: a2 OK Completed.
            """
        )
    assert second.asked == []


@pytest.mark.parametrize("same", [True, False])
def test_what_found_no_room_is_made_again_and_is_the_same_or_is_not_shown(same: bool) -> None:
    plugin, ledger = Scans(), SqliteLedger()
    ledger.keep(0)
    with begun(plugin, ledger) as session:
        listed(session)
        plugin.result = SHOWN if same else SHOWN.replace(b"yes", b"no.")
        told = f"""
            to S: portico3 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico3 OK done
            to C: * 2 FETCH (BODY[TEXT] {{12}}
            to C: Taken out.
            to C: )
            """
        session.play(
            f"""
            C: a3 FETCH 1:2 BODY.PEEK[TEXT]
            to S: portico3 FETCH 2 (UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 25 ENVELOPE (NIL "buy" NIL NIL NIL NIL NIL NIL NIL NIL) BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico3 OK done
            {read(3)}
            {told if same else ""}
            to S: a3 FETCH 1 BODY.PEEK[TEXT]
            S: * 1 FETCH (BODY[TEXT] "hi")

            S: a3 OK done
            to C: {"a3 OK done" if same else "a3 NO [UNAVAILABLE] A message cannot be shown as it was before; try again later."}

            C: a4 FETCH 2 (RFC822.SIZE ENVELOPE)
            to S: portico4 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico4 OK done
            to C: * 2 FETCH (RFC822.SIZE {len(SHOWN)} ENVELOPE {ENVELOPE})
            to C: a4 OK Completed.
            """
        )
        lost = [event for event, _ in session.events if event == "annotations.transform_lost"]
        assert len(lost) == (0 if same else 1)
    assert plugin.asked == [ORIGINAL, ORIGINAL]


def test_of_many_messages_no_more_is_held_than_of_a_large_one() -> None:
    most = 100_000

    class Doubles(Scans):
        def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
            return message + message.partition(b"\r\n\r\n")[2]

    with begun(Doubles(), most=most) as session:
        session.play("C: a1 SELECT INBOX\nS: * 20 EXISTS\nS: * OK [UIDVALIDITY 9] valid\nS: a1 OK done")
        tellings, _ = many(session, b"a2 FETCH 1:20 BODY.PEEK[]\r\n", bulky)
        assert max(map(len, tellings)) < most
        whole = b"".join(tellings)
        assert whole.count(b" FETCH (BODY[] {59984}\r\n") == 20
        assert whole.endswith(b"a2 OK Completed.\r\n")


def test_a_client_that_leaves_in_the_middle_finds_what_was_done_when_it_comes_again() -> None:
    ledger = SqliteLedger()
    with begun(Scans(), ledger) as session:
        session.play("C: a1 SELECT INBOX\nS: * 500 EXISTS\nS: * OK [UIDVALIDITY 9] valid\nS: a1 OK done")
        _, askings = many(session, b"a2 FETCH 1:* RFC822.SIZE\r\n", bulky, until=300)
    known = ledger.known(Mailbox("here/main/alice", "INBOX", 9))
    assert len(askings) == 300
    assert known.watermark == 1200
    assert sorted(map(int, known.annotations)) == list(range(1001, 1201))


def test_what_is_not_there_any_more_is_not_kept() -> None:
    ledger, mailbox = SqliteLedger(), Mailbox("here/main/alice", "INBOX", 9)
    with begun(Scans(), ledger) as session:
        listed(session)
    made = ledger.known(mailbox).annotations["20"]
    assert made.whole is not None
    told = ledger.told(mailbox, "20", made.whole)
    assert told is not None
    ledger.show(mailbox, "19", made, SHOWN, told)
    ledger.judged_one(mailbox, "19", made)
    with begun(Scans(), ledger) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1 RFC822.SIZE
            to S: portico2 SEARCH UID 19:20
            S: * SEARCH 2
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico2 OK done
            to S: portico2 SEARCH UID 31:*
            """
        )
    assert ledger.told(mailbox, "19", made.whole) is None
    assert ledger.message(mailbox, "20", made.whole) == SHOWN


def test_where_only_an_annotator_is_left_what_was_transformed_stays_so() -> None:
    class Annotates:
        portico_interests = ("annotations",)
        types: Sequence[str] = ("text/calendar",)

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(annotator=self)

        def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
            return None

        def insertions(self, session: Session, outline: Outline, parts: object) -> Sequence[Insertion]:
            return []

    ledger = SqliteLedger()
    with begun(Scans(), ledger) as session:
        listed(session)
    with begun(Annotates(), ledger) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 2 ENVELOPE
            to S: portico2 SEARCH UID 20
            S: * SEARCH 2
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico2 OK done
            to S: portico2 SEARCH UID 31:*
            S: * SEARCH 3
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 3:3 (UID BODYSTRUCTURE)
            S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico2 OK done
            to C: * 2 FETCH (ENVELOPE {ENVELOPE})
            to C: a2 OK Completed.

            C: a3 NOOP
            S: * 2 FETCH (RFC822.SIZE {len(ORIGINAL)})
            to C: * 2 FETCH (RFC822.SIZE {len(SHOWN)})
            S: a3 OK done
            """
        )


def test_a_message_too_large_to_be_held_for_other_plugins_is_shown_without_them() -> None:
    class Both(Scans):
        portico_interests = ("transforms", "response FETCH")

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(transformer=self, responses={"FETCH": lambda session, response: Drop()})

        def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
            return message + b"x" * 70_000 + b"\r\n"

    with Correspondence(Both(), listener={"limits": {"held": 65_536}}) as session:
        session.sign_in()
        session.play("C: a1 SELECT INBOX\nS: * 1 EXISTS\nS: * OK [UIDVALIDITY 9] valid\nS: a1 OK done")
        told = b"".join(many(session, b"a2 FETCH 1 RFC822.SIZE\r\n", small)[0])
        assert told == b"a2 OK Completed.\r\n"
        told = b"".join(many(session, b"a3 FETCH 1 BODY.PEEK[TEXT]\r\n", small)[0])
        assert told.startswith(b"* 1 FETCH (BODY[TEXT] {70010}\r\nsecret\r\nxxx")
        assert [event for event, _ in session.events if event == "plugin.held_too_much"] == ["plugin.held_too_much"]


PIECES = [
    b"* 2 FETCH (UID 20 RFC822.SIZE 24)\r\n", b"* 2 FETCH (UID 20 RFC822.SIZE 99999999999999999999)\r\n", b"portico3 OK done\r\n",
    b"portico2 OK done\r\n", b"portico3 NO\r\n", b"portico3 BAD no\r\n", b"* 2 FETCH (BODY[] {5}\r\n", b"hello", b")\r\n", b"* 2 FETCH (",
    b"* 1 EXPUNGE\r\n", b"* 2 EXPUNGE\r\n", b"* 9 EXISTS\r\n", b"* VANISHED 20\r\n", b"* 2 FETCH (FLAGS (\\Seen))\r\n", b"\r\n", b"\0",
    b"* 2 FETCH (UID 20 RFC822.SIZE 24 BODY[]<0> NIL)\r\n", b"* 2 FETCH (UID 20 RFC822.SIZE 24 BODYSTRUCTURE (NIL) ENVELOPE NIL)\r\n",
    b"a3 OK done\r\n", b"* BYE\r\n", b"* 2 FETCH (UID 21 RFC822.SIZE 24)\r\n", b"+ go\r\n",
]  # fmt: skip


@given(
    st.sampled_from([b"FETCH 1:* (FLAGS BODY[])", b"UID FETCH 20 ALL", b"FETCH 2 BODY[1]<3.4>", b"FETCH $ ENVELOPE"]),
    st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join),
    st.booleans(),
)
def test_whatever_the_server_says_nothing_of_its_own_octets_is_shown_and_nothing_raises(command: bytes, said: bytes, room: bool) -> None:
    ledger = SqliteLedger()
    if not room:
        ledger.keep(0)
    with begun(Scans(), ledger) as session:
        listed(session)
        session.client(b"a3 " + command + b"\r\n")
        told = b""
        for line in said.splitlines(keepends=True):
            told += session.server(line)
        assert b"secret" not in told
        session.client(b"a4 NOOP\r\n")


def test_a_set_too_long_for_one_command_is_asked_in_pieces_and_the_client_sees_one_answer() -> None:
    ledger, uids = SqliteLedger(), range(1, 9999)  # every second one is transformed
    with begun(Scans(), ledger) as session:
        listed(session)
        mailbox = Mailbox("here/main/alice", "INBOX", 9)
        made = ledger.known(mailbox).annotations["20"]
        told = ledger.told(mailbox, "20", made.whole) if made.whole is not None else None
        assert told is not None
        mailbox = mailbox._replace(uid_validity=10)
        for uid in uids[1::2]:
            ledger.show(mailbox, str(uid), made, SHOWN, told)
        ledger.judged(mailbox, 9998, {str(uid): made for uid in uids[1::2]})
        session.play(f"C: a3 SELECT INBOX\nS: * {len(uids)} EXISTS\nS: * OK [UIDVALIDITY 10] valid\nS: a3 OK done")
        _, asked = session.letter(CLIENT, b"a4 UID FETCH 1:9999 RFC822.SIZE\r\n")
        told_to_client, commands = b"", []
        while asked:
            commands.append(asked)
            told, asked = session.letter(MAIN, answer_of(asked))
            told_to_client += told
        assert commands[-1].startswith(b"a4 UID FETCH ")
        assert sum(command.startswith(b"portico4 UID FETCH 1,3,5,") for command in commands) == 1
        assert max(map(len, commands[1:])) < 8100
        assert told_to_client.endswith(b"a4 OK done\r\n")
        sizes = dict(re.findall(rb"\* \d+ FETCH \(UID (\d+) RFC822.SIZE (\d+)\)", told_to_client))
        assert sizes == {b"%d" % uid: b"100" if uid % 2 else b"%d" % len(SHOWN) for uid in uids}
        assert told_to_client.count(b"\n") == len(uids) + 1


def answer_of(command: bytes) -> bytes:
    """A server whose messages have their numbers for UIDs."""
    tag, rest = command.split(b" ", 1)
    done = b"%b OK done\r\n" % tag
    if b"SEARCH UID " in rest:
        numbers = rest.split(b"UID ")[1].strip()
        return b"* SEARCH %b\r\n%b" % (b"" if b"*" in numbers else numbers.replace(b",", b" "), done)
    messages, items = rest.removeprefix(b"UID ").removeprefix(b"FETCH ").split(b" ", 1)
    size = b" RFC822.SIZE 100" if b"SIZE" in items else b""
    numbers = [number for low, high in ranges_of(messages, 9998) for number in range(low, min(high, 9998) + 1)]
    return b"".join(b"* %d FETCH (UID %d%b)\r\n" % (number, number, size) for number in numbers) + done


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=5), st.sets(st.integers(1, 30)))
def test_a_set_without_some_messages_names_all_others(ranges: list[tuple[int, int]], without: set[int]) -> None:
    messages = b",".join(b"%d:%d" % each for each in ranges)
    named = {number for low, high in ranges_of(messages, 30) for number in range(low, high + 1)}
    left = [number for piece in _sets(messages, without, 30) for low, high in ranges_of(piece, 30) for number in range(low, high + 1)]
    assert sorted(left) == left
    assert set(left) == named - without
    assert len(left) == len(set(left))


def test_a_long_set_comes_in_pieces() -> None:
    pieces = list(_sets(b"1:9999", range(2, 9999, 2), 9999))
    assert len(pieces) > 2
    assert all(len(piece) <= 8000 for piece in pieces)
