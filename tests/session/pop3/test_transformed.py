"""Transformed messages over POP3, as an exchange of letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.ledger.ledger import SqliteLedger
from portico.plugin import Insertion, Interests, Outline, Session, hookimpl
from portico.session.annotations.annotation import Mailbox
from portico.session.events import MAIN
from portico.session.pop3.transform import shown
from portico.testing import Correspondence

ORIGINAL = b"Subject: buy\r\n\r\n.secret\r\n"
SHOWN = b"Subject: buy\r\nX-Scan: yes\r\n\r\n.Taken out.\r\nBy us.\r\n"


class Scans:
    """Takes the text out of messages about buying."""

    portico_interests = ("transforms", "annotations")
    types: Sequence[str] = ()
    result: bytes | None = SHOWN

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.annotator: Blocks | None = None

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(transformer=self, annotator=self.annotator)

    def wants(self, session: Session, outline: Outline) -> bool:
        return outline.subject == "buy"

    def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
        self.asked.append(message)
        return self.result


class Blocks:
    """A block in each message of two parts."""

    types: Sequence[str] = ()

    def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
        return ()

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        return [Insertion("1", "see\n")]


def begun(plugin: object, ledger: SqliteLedger | None = None, most: int = 0) -> Correspondence:
    session = Correspondence(plugin, protocol="pop3")
    context = session.session.context
    context.ledger = ledger or context.ledger
    context.transform = most or context.transform
    session.sign_in()
    return session


UIDL = """
to S: UIDL
S: +OK
to nobody
S: 1 one
to nobody
S: 2 two
to nobody
S: .
"""
ASKED = f"""
S: +OK {len(ORIGINAL)} octets
to nobody
S: Subject: buy
to nobody
S:
to nobody
S: ..secret
to nobody
S: .
"""
TOLD = f"""
to C: +OK {len(SHOWN)} octets
to C: Subject: buy
to C: X-Scan: yes
to C:
to C: ..Taken out.
to C: By us.
to C: .
"""
RETR = f"""
C: RETR 1
{UIDL}
to S: RETR 1
{ASKED}
{TOLD}
"""


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_message_that_is_retrieved_is_another_one_and_every_number_is_of_that(cut: int) -> None:
    plugin = Scans()
    with begun(plugin) as session:
        session.play(
            f"""
            {RETR}

            C: LIST 1
            S: +OK 1 {len(ORIGINAL)}
            to C: +OK 1 {len(SHOWN)}

            C: STAT
            S: +OK 2 {len(ORIGINAL) + 100}
            to C: +OK 2 {len(SHOWN) + 100}

            C: TOP 1 1
            S: +OK

            S: Subject: buy
            to nobody
            S:
            to nobody
            S: .
            to C: Subject: buy
            to C: X-Scan: yes
            to C:
            to C: ..Taken out.
            to C: .
            """,
            cut=cut,
        )
        assert session.faults == []
    assert plugin.asked == [ORIGINAL]


def test_another_message_passes_as_it_came() -> None:
    plugin, ledger = Scans(), SqliteLedger()
    letters = """
        to S: RETR 2
        S: +OK here
        to nobody
        S: Subject: tea
        to nobody
        S:
        to nobody
        S: ..dots
        to nobody
        S: .
        to C: +OK here
        to C: Subject: tea
        to C:
        to C: ..dots
        to C: .
        """
    with begun(plugin, ledger) as session:
        session.play(f"C: RETR 2\n{UIDL}\n{letters}")
    assert plugin.asked == []


def test_one_that_was_seen_as_it_is_stays_so_whatever_the_plugin_says_later() -> None:
    plugin, ledger = Scans(), SqliteLedger()
    plugin.result = None
    with begun(plugin, ledger) as session:
        session.play(RETR.replace(TOLD, ASKED.replace("to nobody\n", "").replace("S:", "to C:")))
    plugin.result = SHOWN
    with begun(plugin, ledger) as session:
        session.play(f"C: RETR 1\n{UIDL}\nto S: RETR 1\n{ASKED.replace('to nobody', '')}")
    assert plugin.asked == [ORIGINAL]


def test_another_session_shows_the_same_and_asks_nobody() -> None:
    first, second, ledger = Scans(), Scans(), SqliteLedger()
    second.result = b"Subject: other\r\n\r\n"
    with begun(first, ledger) as session:
        session.play(RETR)
    with begun(second, ledger) as session:
        told = f"S: +OK {len(ORIGINAL)} octets\nto C: +OK {len(SHOWN)} octets\nS: Subject: buy\nto nobody\nS: .\n"
        session.play(f"C: RETR 1\n{UIDL}\nto S: RETR 1\n{told}{TOLD.replace(f'to C: +OK {len(SHOWN)} octets', '')}")
    assert second.asked == []


@pytest.mark.parametrize("same", [True, False])
def test_what_found_no_room_is_made_again_and_is_the_same_or_is_not_shown(same: bool) -> None:
    plugin, ledger = Scans(), SqliteLedger()
    ledger.keep(0)
    lost = "to C: -ERR [SYS/TEMP] This message cannot be shown as it was before; try again later."
    with begun(plugin, ledger) as session:
        session.play(RETR)
        plugin.result = SHOWN if same else SHOWN.replace(b"yes", b"no.")
        session.play(
            f"""
            C: RETR 1
            to S: RETR 1
            {ASKED}
            {TOLD if same else lost}

            C: TOP 1 0
            S: +OK
            to nobody
            S: Subject: buy
            to nobody
            S:
            to nobody
            S: .
            {lost}

            C: NOOP
            S: +OK
            """
        )
        assert len([event for event, _ in session.events if event == "annotations.transform_lost"]) == (1 if same else 2)
    assert plugin.asked == [ORIGINAL, ORIGINAL]


def test_a_message_that_is_too_large_is_not_held() -> None:
    plugin = Scans()
    with begun(plugin, most=1000) as session:
        session.play(
            f"""
            C: RETR 1
            {UIDL}
            to S: RETR 1
            S: +OK 2000 octets
            to nobody
            S: Subject: buy
            to nobody
            S:
            to nobody
            S: {"x" * 500}
            to nobody
            S: {"x" * 500}
            to C: +OK 2000 octets
            to C: Subject: buy
            to C:
            to C: {"x" * 500}
            to C: {"x" * 500}
            S: {"x" * 500}

            S: .

            """
        )
    assert plugin.asked == []


def test_the_largest_one_is_still_transformed() -> None:
    plugin = Scans()
    with begun(plugin, most=len(SHOWN)) as session:
        message = b"Subject: buy\r\n\r\n".ljust(len(SHOWN) - 2, b"x") + b"\r\n"
        session.client(b"RETR 1\r\n")
        session.server(b"+OK\r\n1 one\r\n.\r\n")
        assert session.server(b"+OK\r\n" + message + b".\r\n") == b"+OK\r\n" + shown(SHOWN)
    assert plugin.asked == [message]


def test_a_message_that_nobody_transforms_gets_its_block() -> None:
    plugin = Scans()
    plugin.annotator = Blocks()
    message = b"Subject: tea\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b--\r\n"
    with begun(plugin) as session:
        session.client(b"RETR 1\r\n")
        session.server(b"+OK\r\n1 one\r\n.\r\n")
        told = session.server(b"+OK %d octets\r\n%b.\r\n" % (len(message), message))
        assert told.endswith(b"--b\r\n\r\nsee\r\n%b\r\n\r\ntext\r\n--b--\r\n.\r\n" % (b"-~" * 18))
        session.client(b"LIST 1\r\n")
        assert session.server(b"+OK 1 %d\r\n" % len(message)) == b"+OK 1 %d\r\n" % (len(message) + 45)
    assert plugin.asked == []


def test_what_is_not_there_any_more_is_not_kept() -> None:
    ledger, mailbox = SqliteLedger(), Mailbox("here/main/alice", "POP3", 1)
    with begun(Scans(), ledger) as session:
        session.play(RETR)
    made = ledger.known(mailbox).annotations["one"].whole
    assert made is not None
    assert ledger.message(mailbox, "one", made) == SHOWN
    with begun(Scans(), ledger) as session:
        session.client(b"LIST\r\n")
        session.server(b"+OK\r\n1 two\r\n.\r\n")
    assert ledger.message(mailbox, "one", made) is None


def test_a_refusal_of_the_server_is_told_as_it_is() -> None:
    with begun(Scans()) as session:
        session.play(
            f"""
            C: RETR 1
            {UIDL}
            to S: RETR 1
            S: -ERR no such message
            C: NOOP
            S: +OK
            """
        )


ANSWERS = [
    b"-ERR no\r\n",
    b"+OK\r\n" + ORIGINAL.replace(b"\r\n.", b"\r\n..") + b".\r\n",
    b"+OK 99999999999999999999 octets\r\nsecret\r\n.\r\n",
    b"+OK\r\n.\r\n",
    b"+OK\r\nsecret" + b"x" * 2000 + b"\r\nx\r\n.\r\n",
    b"+OK\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nsecret\0\r\n.\r\n",
    b"+OK\r\nsecret without an end",
]


@given(st.lists(st.sampled_from(ANSWERS), max_size=2), st.integers(1, 60), st.booleans(), st.booleans())
def test_whatever_the_server_says_a_transformed_message_is_not_shown_as_it_was(said: list[bytes], cut: int, room: bool, top: bool) -> None:
    ledger = SqliteLedger()
    if not room:
        ledger.keep(0)
    with begun(Scans(), ledger, most=1000) as session:
        session.play(RETR)
        session.client(b"TOP 1 1\r\nRETR 1\r\n" if top else b"RETR 1\r\nTOP 1 1\r\n")
        told, _ = session.pieces(MAIN, b"".join(said), cut)
        assert b"secret" not in told
        assert told.count(b"+OK") + told.count(b"-ERR") <= len(said)
        session.client(b"NOOP\r\n")


LINES = st.lists(st.sampled_from([b"", b".", b"..", b"a", b".a", b"text of a line"]), max_size=8)


@given(LINES, st.integers(-1, 10))
def test_a_top_is_the_header_and_so_many_lines(lines: list[bytes], count: int) -> None:
    message = b"Subject: x\r\n\r\n" + b"".join(line + b"\r\n" for line in lines)
    told = [line[1:] if line.startswith(b".") else line for line in shown(message, count).split(b"\r\n")[:-2]]
    assert told == [b"Subject: x", b"", *lines[: count if count >= 0 else None]]
    assert shown(message, count).endswith(b"\r\n.\r\n")
