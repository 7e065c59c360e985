"""Whether the relay lets octets pass by the session or hands all of them over, client and server are told the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.plugin import Answer, Insertion, Interests, Outline, Refuse, Session, hookimpl
from portico.session.decisions import Decision, Pass
from portico.session.events import CLIENT, MAIN, Closed, Kicked, Passed
from portico.testing import Correspondence

CALENDAR = b"BEGIN:VCALENDAR"
BODY = b"".join(b"line %06d of a long text, and a dot.\r\n" % number for number in range(5000))
INVITATION = (
    b"Subject: Lunch\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    b"--x\r\nContent-Type: text/plain\r\n\r\nCome.\r\n--x\r\nContent-Type: text/calendar\r\n\r\n" + CALENDAR + b"\r\n"
    b"--x\r\nContent-Type: application/octet-stream\r\n\r\n" + BODY + b"\r\n--x--\r\n"
)
ORDINARY = b"Subject: Minutes\r\n\r\n" + BODY
LINES = INVITATION.count(b"\n")


class Annotates:
    """Writes ``see`` into every message with a calendar."""

    portico_interests = ("annotations",)
    types: Sequence[str] = ("text/calendar",)

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(annotator=self)

    def wants(self, session: Session, outline: Outline) -> Sequence[str] | None:
        return ("2",)

    def insertions(self, session: Session, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        return [Insertion("1", "see\n")]


class Watches:
    """Only looks on."""

    portico_interests = ("command NOOP",)

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(commands={"NOOP": lambda session, command: None})


class Relayed(Correspondence):
    """Does with Pass what the relay does; `passed` counts the octets that the session did not see."""

    def __init__(self, *about: Any, obeys: bool = True, **more: Any) -> None:
        self.passing: Pass | None = None
        self.passed = 0
        self.obeys = obeys
        super().__init__(*about, **more)

    def obey(self, decision: Decision) -> None:
        super().obey(decision)
        if isinstance(decision, Pass) and self.obeys:
            self.passing = decision

    def letter(self, leg: int, data: bytes) -> tuple[bytes, bytes]:
        passing = self.passing
        if passing is None or passing.leg != leg:
            return super().letter(leg, data)
        self.to_client = self.to_server = b""
        count, last = passing.take(data)
        self.to_client += data[:count]
        self.passed += count
        if last:
            self.passing = None
            self.tell(Passed(leg, data[count:]))
        return self.to_client, self.to_server


def signed_in(plugin: object, protocol: Any, *, obeys: bool = True) -> Relayed:
    session = Relayed(plugin, protocol=protocol, obeys=obeys)
    session.sign_in()
    return session


def replies(session: Relayed, data: bytes, cuts: Sequence[int]) -> tuple[bytes, bytes]:
    """The server says `data` in pieces."""
    told = asked = b""
    for low, high in pairwise(sorted({0, len(data), *(cut % len(data) for cut in cuts)})):
        one, other = session.letter(MAIN, data[low:high])
        told, asked = told + one, asked + other
    return told, asked


SELECTED = b"* 2 EXISTS\r\n* OK [UIDVALIDITY 9] valid\r\n* OK [UIDNEXT 9] next\r\na1 OK done\r\n"
STRUCTURE = b'(("text" "plain" NIL NIL NIL "7bit" 7 1)("text" "calendar" NIL NIL NIL "7bit" 17 1) "mixed")'


def looked_at(session: Relayed) -> None:
    """INBOX is selected, and of its two messages the first is annotated and located."""
    session.client(b"a1 SELECT INBOX\r\n")
    session.server(SELECTED)
    assert session.asked(b"a2 FETCH 1 (BODY.PEEK[])\r\n").startswith(b"portico")
    answers = {
        b"(UID BODYSTRUCTURE)": b'* 1 FETCH (UID 1 BODYSTRUCTURE %b)\r\n* 2 FETCH (UID 2 BODYSTRUCTURE ("text" "plain" NIL NIL NIL "7bit" 9 1))\r\n'
        % STRUCTURE,
        b"RFC822.SIZE": b"* 1 FETCH (UID 1 RFC822.SIZE %d ENVELOPE NIL)\r\n" % len(INVITATION),
        b"[2]": b'* 1 FETCH (BODY[2] "%b")\r\n' % CALENDAR,
        b"[]<0": b"* 1 FETCH (BODY[]<0> {65536}\r\n%b)\r\n" % INVITATION[:65536],
    }
    asked = session.to_server
    while asked.startswith(b"portico"):
        tag = asked.partition(b" ")[0]
        answer = next(answer for question, answer in answers.items() if question in asked)
        _, asked = session.letter(MAIN, answer + tag + b" OK done\r\n")
    assert asked == b"a2 FETCH 1 (BODY.PEEK[])\r\n"
    session.server(b"* 1 FETCH (BODY[] {%d}\r\n%b)\r\na2 OK done\r\n" % (len(INVITATION), INVITATION))


CUTS = st.lists(st.integers(0, 400_000), max_size=12)


@given(CUTS, st.sampled_from([b"BODY.PEEK[]", b"BODY.PEEK[]<0.200000>", b"BODY.PEEK[]<3.9999999>", b"BODY.PEEK[TEXT]"]))
def test_a_fetch_of_annotated_and_ordinary_messages_is_the_same_either_way(cuts: list[int], item: bytes) -> None:
    said = []
    for obeys in (False, True):
        with signed_in(Annotates(), "imap", obeys=obeys) as session:
            looked_at(session)
            asked = session.asked(b"a3 FETCH 1:2 (%b)\r\n" % item)
            answer = b""
            for number, message in ((1, INVITATION), (2, ORDINARY)):
                name, section = b"BODY[]", message
                if b"TEXT" in item:
                    name, section = b"BODY[TEXT]", message.partition(b"\r\n\r\n")[2]
                elif b"<" in asked:
                    start, count = map(int, asked.partition(b"<")[2].partition(b">")[0].split(b"."))
                    name, section = b"BODY[]<%d>" % start, message[start : start + count]
                answer += b"* %d FETCH (%b {%d}\r\n%b)\r\n" % (number, name, len(section), section)
            said.append(replies(session, answer + b"* 3 EXISTS\r\na3 OK done\r\n", cuts))
    assert said[0] == said[1]
    assert said[0][0].endswith(b"* 3 EXISTS\r\na3 OK done\r\n")


@given(CUTS, st.booleans())
def test_messages_over_pop3_are_the_same_either_way(cuts: list[int], again: bool) -> None:
    said = []
    for obeys in (False, True):
        with signed_in(Annotates(), "pop3", obeys=obeys) as session:
            told = []
            session.client(b"RETR 2\r\n")
            session.server(b"+OK\r\n1 one\r\n2 two\r\n.\r\n")
            for number in (2, 1, 1) if again else (2,):
                message = INVITATION if number == 1 else ORDINARY
                if len(told):
                    session.client(b"RETR %d\r\n" % number)
                told.append(replies(session, b"+OK %d octets\r\n%b.\r\n" % (len(message), message), cuts))
            told.append(session.letter(CLIENT, b"STAT\r\n"))
            told.append(session.letter(MAIN, b"+OK 2 %d\r\n" % (len(INVITATION) + len(ORDINARY))))
            said.append(told)
    assert said[0] == said[1]
    assert said[0][0] == (b"+OK %d octets\r\n%b.\r\n" % (len(ORDINARY), ORDINARY), b"")


@given(CUTS, st.integers(0, 200_000))
def test_commands_that_come_in_the_middle_of_a_body_have_their_own_answers(cuts: list[int], middle: int) -> None:
    answer = b"+OK\r\n%b.\r\n" % ORDINARY
    for obeys in (False, True):
        with signed_in(Annotates(), "pop3", obeys=obeys) as session:
            session.client(b"RETR 2\r\n")
            session.server(b"+OK\r\n1 one\r\n2 two\r\n.\r\n")
            told, _ = session.letter(MAIN, answer[:middle] or b"+")
            _, asked = session.letter(CLIENT, b"RETR 2\r\nFROB\r\nSTAT\r\n")
            rest = answer[middle:] if middle else answer[1:]
            if not asked:
                more, asked = replies(session, rest, cuts)
                told, rest = told + more, b""
            assert asked == b"RETR 2\r\nSTAT\r\n"
            more, _ = replies(session, rest + answer + b"+OK 2 9\r\n", cuts)
            assert told + more == answer + answer + b"-ERR Unknown command\r\n+OK 2 9\r\n"


def test_a_large_literal_passes_by_the_session() -> None:
    with signed_in(Watches(), "imap") as session:
        session.client(b"a1 FETCH 1 (BODY[])\r\n")
        assert session.server(b"* 1 FETCH (BODY[] {200000}\r\nfrom") == b"* 1 FETCH (BODY[] {200000}\r\nfrom"
        assert session.passing == Pass(MAIN, 199_996)
        assert session.server(bytes(199_996) + b")\r\na1 OK done\r\n") == bytes(199_996) + b")\r\na1 OK done\r\n"
        assert session.passed == 199_996


def test_of_an_annotated_message_passes_what_stands_behind_the_last_block() -> None:
    with signed_in(Annotates(), "imap") as session:
        looked_at(session)
        session.client(b"a3 FETCH 1 (BODY.PEEK[])\r\n")
        head = b"* 1 FETCH (BODY[] {%d}\r\n" % len(INVITATION)
        assert b"see" not in session.server(head + INVITATION[:100])
        assert session.passing is None
        assert b"see" in session.server(INVITATION[100:500])
        assert session.passing == Pass(MAIN, len(INVITATION) - 500)


def test_while_a_literal_passes_a_kick_says_nothing_into_it() -> None:
    with signed_in(Watches(), "imap") as session:
        session.client(b"a1 FETCH 1 (BODY[])\r\n")
        session.server(b"* 1 FETCH (BODY[] {200000}\r\n")
        session.to_client = b""
        session.tell(Kicked("Go."))
        assert session.to_client == b""
        assert session.mode == "closed"


def test_while_a_literal_passes_an_answer_of_ours_waits_for_its_end() -> None:
    class Answers:
        portico_interests = ("command NOOP",)

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(commands={"NOOP": lambda session, command: Answer("ours")})

    with signed_in(Answers(), "imap") as session:
        session.client(b"a1 FETCH 1 (BODY[])\r\n")
        session.server(b"* 1 FETCH (BODY[] {200000}\r\n")
        assert session.client(b"a2 NOOP\r\n") == b""
        assert session.server(bytes(200_000)) == bytes(200_000)
        assert session.server(b")\r\n* 9 EXISTS\r\n") == b")\r\na2 OK ours\r\n* 9 EXISTS\r\n"


def test_while_a_body_passes_the_next_command_waits_and_its_answer_is_seen() -> None:
    class Asks:
        portico_interests = ("command DELE",)

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(commands={"DELE": lambda session, command: Refuse("No.")})

    with signed_in(Asks(), "pop3") as session:
        session.client(b"RETR 1\r\n")
        session.server(b"+OK\r\n" + bytes(20_000))
        assert session.passing == Pass(MAIN, until=b"\r\n.\r\n", seen=bytes(4))
        assert session.letter(CLIENT, b"DELE 1\r\nSTAT\r\n") == (b"", b"")
        assert session.letter(MAIN, bytes(20_000) + b"\r\n.\r") == (bytes(20_000) + b"\r\n.\r", b"")
        assert session.letter(MAIN, b"\n") == (b"\n-ERR No.\r\n", b"STAT\r\n")
        assert session.server(b"+OK 0 0\r\n") == b"+OK 0 0\r\n"


def test_a_body_does_not_pass_where_another_answer_may_follow_it() -> None:
    with signed_in(Watches(), "pop3") as session:
        session.client(b"RETR 1\r\nRETR 2\r\n")
        session.server(b"+OK\r\n" + bytes(20_000))
        assert session.passing is None
        session.server(b"\r\n.\r\n+OK\r\n" + bytes(20_000))
        assert session.passing is not None


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_what_ends_while_something_passes_ends_the_session(protocol: str) -> None:
    with signed_in(Watches(), protocol) as session:
        session.client(b"a1 FETCH 1 (BODY[])\r\n" if protocol == "imap" else b"RETR 1\r\n")
        session.server((b"* 1 FETCH (BODY[] {200000}\r\n" if protocol == "imap" else b"+OK\r\n") + bytes(20_000))
        assert session.passing is not None
        session.to_client = b""
        session.tell(Closed(MAIN))
        assert session.to_client == b""
        assert session.end == ("server_closed", "server")


@pytest.mark.parametrize("uid", [False, True])
def test_a_fetch_is_looked_at_where_it_names_an_annotated_message_or_one_that_nobody_has_judged(uid: bool) -> None:
    with signed_in(Annotates(), "imap") as session:
        looked_at(session)
        annotations = session.session._watch._annotations
        for messages in (b"2", b"02", b"2:2", b"2,2"):
            assert annotations.untouched(uid, messages + b" (FLAGS)"), messages
        for messages in (b"1", b"3", b"0", b"1:2", b"2:1", b"2,1", b"2:9", b"2:*", b"*", b"$", b"2:", b":", b",", b"99999999999"):
            assert not annotations.untouched(uid, messages + b" (FLAGS)"), messages
        session.server(b"* 3 EXISTS\r\n")
        assert not annotations.untouched(uid, b"2 (FLAGS)")
