"""Transformed messages as an exchange of letters: nothing of the server's octets reaches the client, and all that is told agrees."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.plugin import FetchItem, Insertion, Interests, Outline, Session, hookimpl
from portico.session.imap.transform import wish_of
from portico.wire.fetch import parse_fetch_command

from tests.session.imap.scans import (
    BODY,
    ENVELOPE,
    ORIGINAL,
    SELECT,
    SHOWN,
    TOLD,
    Scans,
    begun,
    listed,
    look,
    read,
)


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_listing_reads_the_messages_that_are_wanted_and_tells_their_new_size(cut: int) -> None:
    plugin = Scans()
    with begun(plugin) as session:
        listed(session, cut)
        assert session.faults == []
    assert plugin.asked == [ORIGINAL]


def test_what_is_told_of_it_is_of_the_new_octets_and_flags_are_the_servers() -> None:
    with begun(Scans()) as session:
        listed(session)
        session.play(
            f"""
            C: a3 UID FETCH 20 (FLAGS ENVELOPE BODYSTRUCTURE BODY INTERNALDATE)
            to S: portico3 FETCH 2 (UID RFC822.SIZE FLAGS INTERNALDATE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)} FLAGS (\\Seen) INTERNALDATE "x")
            to nobody
            S: portico3 OK done
            to C: * 2 FETCH (UID 20 FLAGS (\\Seen) INTERNALDATE "x" ENVELOPE {ENVELOPE} BODYSTRUCTURE {TOLD} BODY {BODY})
            to C: a3 OK Completed.

            C: a4 FETCH 2 ALL
            to S: portico4 FETCH 2 (UID RFC822.SIZE FLAGS INTERNALDATE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)} FLAGS () INTERNALDATE "x")
            to nobody
            S: portico4 OK done
            to C: * 2 FETCH (FLAGS () INTERNALDATE "x" RFC822.SIZE {len(SHOWN)} ENVELOPE {ENVELOPE})
            to C: a4 OK Completed.
            """
        )


def test_a_body_that_is_read_is_seen_and_one_that_is_peeked_at_is_not() -> None:
    with begun(Scans()) as session:
        listed(session)
        session.play(
            f"""
            C: a3 FETCH 2 (BODY[TEXT] BODY[HEADER.FIELDS (X-Scan)]<0.6>)
            to S: portico3 FETCH 2 (UID RFC822.SIZE BODY[]<0.1>)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)} BODY[]<0> "S" FLAGS (\\Seen))
            to nobody
            S: portico3 OK done
            to C: * 2 FETCH (FLAGS (\\Seen) BODY[TEXT] {{12}}
            to C: Taken out.
            to C:  BODY[HEADER.FIELDS (X-SCAN)]<0> {{6}}
            to C: X-Scan)
            to C: a3 OK Completed.

            C: a4 FETCH 2 (BODY.PEEK[1] BINARY.PEEK[1]<6.100> BINARY.SIZE[1] RFC822.HEADER)
            to S: portico4 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (FLAGS (\\Flagged))
            to C: * 2 FETCH (FLAGS (\\Flagged))
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico4 OK done
            to C: * 2 FETCH (BODY[1] {{12}}
            to C: Taken out.
            to C:  BINARY[1]<6> {{6}}
            to C: out.
            to C:  BINARY.SIZE[1] 12 RFC822.HEADER {{29}}
            to C: Subject: buy
            to C: X-Scan: yes
            to C:
            to C: )
            to C: a4 OK Completed.
            """
        )


def test_messages_are_answered_apart_and_the_others_pass() -> None:
    with begun(Scans()) as session:
        listed(session)
        session.play(
            f"""
            C: a3 UID FETCH 1:* (UID RFC822.TEXT) (CHANGEDSINCE 7 VANISHED)
            to S: portico3 FETCH 2 (UID RFC822.SIZE BODY[]<0.1>) (CHANGEDSINCE 7)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)} BODY[]<0> "S" MODSEQ (9))
            to nobody
            S: portico3 OK done
            to C: * 2 FETCH (UID 20 MODSEQ (9) RFC822.TEXT {{12}}
            to C: Taken out.
            to C: )
            to S: a3 UID FETCH 1:19,21:30 (UID RFC822.TEXT) (CHANGEDSINCE 7 VANISHED)
            S: * VANISHED (EARLIER) 11

            S: * 1 FETCH (UID 10 RFC822.TEXT "hi")

            S: a3 OK done

            C: a4 FETCH $ RFC822.SIZE
            to S: portico4 FETCH $ (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: * 3 FETCH (UID 30)
            to nobody
            S: portico4 OK done
            to S: portico4 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico4 OK done
            to C: * 2 FETCH (RFC822.SIZE {len(SHOWN)})
            to S: a4 FETCH 3 RFC822.SIZE
            S: * 3 FETCH (RFC822.SIZE 100)

            S: a4 OK done
            """
        )


def test_what_makes_no_sense_or_cannot_be_decoded_is_refused() -> None:
    with begun(Scans()) as session:
        listed(session)
        session.play(
            f"""
            C: a3 FETCH 2 (BODY[1.NONSENSE])
            to C: a3 NO [CANNOT] Invalid section

            C: a4 FETCH 2 (BODY[
            to C: a4 NO [CANNOT] This FETCH is not understood.

            C: a5 FETCH 2 (BODY.PEEK[7] BINARY.PEEK[7])
            to S: portico5 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico5 OK done
            to C: * 2 FETCH (BODY[7] {{0}}
            to C:  BINARY[7] {{0}}
            to C: )
            to C: a5 OK Completed.

            C: a6 FETCH 2 (X-STRANGE ENVELOPE)
            to S: portico6 FETCH 2 (UID RFC822.SIZE X-STRANGE)
            S: portico6 BAD unknown
            to C: a6 NO [CANNOT] The server did not answer.
            """
        )


def test_searches_and_sorts_by_size_know_the_new_one() -> None:
    with begun(Scans()) as session:
        listed(session)
        session.play(
            f"""
            C: a3 SEARCH OR LARGER 30 SMALLER 30
            to S: a3 SEARCH OR (OR LARGER 30 UID 20) (SMALLER 30 NOT UID 20)
            S: * SEARCH 1 2 3
            S: a3 OK done

            C: a4 SORT (SIZE) UTF-8 ALL
            to S: portico4 SORT (SIZE) UTF-8 ALL
            S: * SORT 2 1 3
            to nobody
            S: portico4 OK done
            to S: portico4 FETCH 1:3 (UID RFC822.SIZE)
            S: * 1 FETCH (UID 10 RFC822.SIZE 30)
            to nobody
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: * 3 FETCH (UID 30 RFC822.SIZE 100)
            to nobody
            S: portico4 OK done
            to C: * SORT 1 2 3
            to C: a4 OK Completed.
            """
        )


def test_a_transformed_message_gets_no_block_and_the_others_get_theirs() -> None:
    class Both(Scans):
        portico_interests = ("transforms", "annotations")

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(transformer=self, annotator=Blocks())

    class Blocks:
        types: Sequence[str] = ()

        def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
            return ()

        def insertions(self, session: Session, outline: Outline, parts: object) -> Sequence[Insertion]:
            return [Insertion("1", "see\n")]

    with begun(Both()) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:* RFC822.SIZE
            {look()}
            {read()}
            to S: portico2 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico2 OK done
            to C: * 2 FETCH (RFC822.SIZE {len(SHOWN)})
            to S: a2 FETCH 1,3 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 100)
            to C: * 1 FETCH (RFC822.SIZE 145)
            S: * 3 FETCH (RFC822.SIZE 100)
            to C: * 3 FETCH (RFC822.SIZE 145)
            S: a2 OK done
            """
        )


def test_a_saved_result_that_is_empty_names_nothing() -> None:
    with begun(Scans()) as session:
        listed(session)
        session.play(
            """
            C: a3 FETCH $ RFC822.SIZE
            to S: portico3 FETCH $ (UID)
            S: portico3 OK done
            to S: a3 FETCH $ RFC822.SIZE
            S: a3 OK done
            """
        )


def test_other_plugins_are_asked_about_the_message_that_is_shown() -> None:
    class Both(Scans):
        portico_interests = ("transforms", "fetch item RFC822.SIZE")

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(transformer=self, fetch_items={"RFC822.SIZE": self.tenfold})

        @staticmethod
        def tenfold(session: Session, item: FetchItem) -> bytes | None:
            return item.value + b"0"

    with begun(Both()) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:2 RFC822.SIZE
            {look()}
            {read()}
            to S: portico2 FETCH 2 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
            to nobody
            S: portico2 OK done
            to C: * 2 FETCH (RFC822.SIZE {len(SHOWN)}0)
            to S: a2 FETCH 1 RFC822.SIZE
            S: * 1 FETCH (RFC822.SIZE 100)
            to C: * 1 FETCH (RFC822.SIZE 1000)
            S: a2 OK done
            """
        )


SECTIONS = {
    "BODY[]": SHOWN,
    "BODY[HEADER]": SHOWN[:29],
    "BODY[TEXT]": SHOWN[29:],
    "BODY[1]": SHOWN[29:],
    "BODY[1.MIME]": SHOWN[:29],
    "BODY[HEADER.FIELDS (X-SCAN)]": b"X-Scan: yes\r\n\r\n",
    "BODY[HEADER.FIELDS.NOT (X-SCAN)]": b"Subject: buy\r\n\r\n",
    "BINARY[1]": SHOWN[29:],
    "BODY[2]": b"",
}


@given(st.lists(st.tuples(st.sampled_from(sorted(SECTIONS)), st.integers(-1, 50), st.integers(1, 50)), min_size=1, max_size=5))
def test_a_range_of_a_section_is_that_range_of_it_however_many_are_asked_for(asked: list[tuple[str, int, int]]) -> None:
    def item(name: str, start: int, length: int, *, told: bool) -> str:
        partial = "" if start < 0 else f"<{start}>" if told else f"<{start}.{length}>"
        return (name if told else name.replace("[", ".PEEK[", 1)) + partial

    with begun(Scans()) as session:
        listed(session)
        session.client(f"a3 FETCH 2 ({' '.join(item(*each, told=False) for each in asked)})\r\n".encode())
        told = session.server(b"* 2 FETCH (UID 20 RFC822.SIZE %d)\r\nportico3 OK done\r\n" % len(ORIGINAL))
    values = []
    for name, start, length in asked:
        octets = SECTIONS[name] if start < 0 else SECTIONS[name][start : start + length]
        values.append(f"{item(name, start, length, told=True)} {{{len(octets)}}}\r\n".encode() + octets)
    assert told == b"* 2 FETCH (%b)\r\na3 OK Completed.\r\n" % b" ".join(values)


@pytest.mark.parametrize(
    ("arguments", "errand", "modifiers"),
    [
        (b"1 FULL", b"(UID RFC822.SIZE FLAGS INTERNALDATE)", b""),
        (b"1 (UID BODY[])", b"(UID RFC822.SIZE BODY[]<0.1>)", b""),
        (b"1 (BINARY.SIZE[1] BODY.PEEK[1] RFC822.HEADER BODY)", b"(UID RFC822.SIZE)", b""),
        (b"1 RFC822", b"(UID RFC822.SIZE BODY[]<0.1>)", b""),
        (b"1 (FLAGS) (CHANGEDSINCE 12)", b"(UID RFC822.SIZE FLAGS)", b" (CHANGEDSINCE 12)"),
        (b"1 FLAGS (CHANGEDSINCE 12 VANISHED)", b"(UID RFC822.SIZE FLAGS)", b" (CHANGEDSINCE 12)"),
    ],
)
def test_the_server_is_asked_for_what_only_it_knows(arguments: bytes, errand: bytes, modifiers: bytes) -> None:
    wish = wish_of(parse_fetch_command(arguments))
    assert (wish.errand, wish.modifiers) == (errand, modifiers)
