"""An IMAP session after its login: tunnel or watch, what the client is told at its beginning, who is traced, and stops."""

from __future__ import annotations

import pytest
from portico.session.close import Reason
from portico.session.context import Refusal
from portico.session.decisions import (
    Trace,
    Tunnel,
)
from portico.session.events import (
    Kicked,
)
from portico.session.interests import Interests

from tests.session.imap.letters import ALICE, SERVER_GREETING, opened, watched
from tests.session.life import Life


def test_withheld_capabilities_make_it_a_watch() -> None:
    life = opened()
    told = life.server(b"P2 OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE] in\r\n")
    assert told == b"a1 OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"
    assert life.client(b"a2 COMPRESS DEFLATE\r\n") == b"a2 NO [CANNOT] This extension is not offered.\r\n"
    assert life.asked(b"a3 NOOP\r\n") == b"a3 NOOP\r\n"
    assert repr(life.session) == "<ImapSession sid watch alice -> main>"


def test_an_interest_makes_it_a_watch_and_pipelined_commands_are_seen() -> None:
    seen: list[str] = []
    life = Life(interests=Interests(commands={"NOOP": lambda view, command: seen.append(view.user)}))
    life.client(b"a1 LOGIN alice secret\r\na2 NOOP\r\n")
    life.server(SERVER_GREETING)
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    assert seen == ["alice"]
    assert life.to_server == b"a2 NOOP\r\n"


def test_an_alert_of_the_server_reaches_the_client() -> None:
    life = opened()
    told = life.server(b"* OK [ALERT] Password expires\r\nP2 OK [CAPABILITY IMAP4rev1] in\r\n")
    assert told == b"* OK [ALERT] Password expires\r\na1 OK [CAPABILITY IMAP4rev1] in\r\n"


def test_an_alert_in_the_answer_to_the_login_is_told_beside_the_list() -> None:
    life = opened()
    life.server(b"P2 OK [ALERT] Password expires\r\n")
    told = life.server(b"* CAPABILITY IMAP4rev1\r\nP3 OK\r\n")
    assert told == b"* OK [ALERT] Password expires\r\na1 OK [CAPABILITY IMAP4rev1] Password expires\r\n"


def test_an_alert_in_the_servers_greeting_is_told_at_the_login() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(b"* OK [ALERT] Maintenance at noon\r\n")
    life.server(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nP1 OK\r\n")
    told = life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    assert told == b"* OK [ALERT] Maintenance at noon\r\na1 OK [CAPABILITY IMAP4rev1] in\r\n"


def test_what_a_client_says_of_itself_at_length_does_not_cost_it_its_login() -> None:
    life = Life()
    pairs = b" ".join(b'"key%d" "%b"' % (number, b"v" * 1000) for number in range(29))
    assert life.client(b'a0 ID ("name" "Mail" %b)\r\n' % pairs).endswith(b"a0 OK ID completed.\r\n")
    life.client(b"a1 LOGIN alice secret\r\n")
    said = life.answered(SERVER_GREETING)
    assert len(said) < 8192 and b'("name" "Mail"' in said and b'"x-session-id" "sid"' in said


def test_endless_alerts_are_not_all_held() -> None:
    life = opened()
    for _ in range(200):
        life.server(b"* OK [ALERT] " + b"x" * 1000 + b"\r\n")
    assert len(life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")) < 20_000


def test_what_a_plugin_or_an_operator_says_is_one_line() -> None:
    life = Life(route=Refusal("Not you.\r\na1 OK in", "X]\r\n", "plugin"))
    assert life.client(b"a1 LOGIN alice secret\r\n").count(b"\n") == 1
    life.to_client = b""
    life.tell(Kicked("Bye\r\n* OK really"))
    assert life.to_client == b"* BYE Bye * OK really\r\n"


def test_a_trace_begins_with_the_login_and_has_no_secret() -> None:
    life = opened(trace=("ali*",))
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    life.client(b"a2 NOOP\r\n")
    text = b"".join(trace.data for trace in life.all(Trace))
    assert b"a1 LOGIN <hidden>" in text
    assert b"a1 OK [CAPABILITY IMAP4rev1] in\r\n" in text
    assert text.index(b"a1 LOGIN") < text.index(b"a1 OK") < text.index(b"a2 NOOP")
    assert b"secret" not in text
    assert ALICE not in text


def test_a_trace_has_the_refusals_before_the_login_without_what_the_server_repeats_of_the_password() -> None:
    life = Life(trace=("alice",))
    life.client(b"a1 LOGIN alice wonderland\r\n")
    life.server(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready\r\n")
    life.server(b"P1 NO [AUTHENTICATIONFAILED] 'wonderland' is not it\r\n")
    life.client(b"a2 LOGIN alice looking-glass\r\n")
    life.server(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] again\r\n")
    life.server(b"P1 OK [CAPABILITY IMAP4rev1] welcome with looking-glass\r\n")
    text = b"".join(trace.data for trace in life.all(Trace))
    assert b"a1 NO [AUTHENTICATIONFAILED] '<secret>' is not it\r\n" in text
    assert b"a2 OK [CAPABILITY IMAP4rev1] welcome with <secret>\r\n" in text


def test_nobody_else_is_traced() -> None:
    life = opened(trace=("bob",))
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    assert isinstance(life.decisions[-1], Tunnel)
    assert not life.all(Trace)


# -- stops


def test_a_stop_in_the_literal_of_an_append_waits_for_its_end() -> None:
    life = watched()
    life.client(b"a2 APPEND INBOX {10}\r\n")
    life.server(b"+ OK\r\n")
    life.client(b"half ")
    life.to_client = b""
    life.tell(Kicked("Going down", shutdown=True, patient=True))
    assert (life.to_client, life.end) == (b"", None)
    assert life.asked(b"of it\r\n") == b"of it\r\n"
    assert life.server(b"a2 OK Append completed.\r\n") == b"a2 OK Append completed.\r\n* BYE Going down\r\n"
    assert life.end == (Reason.SHUTDOWN, "operator")


def test_a_stop_waits_for_the_end_of_a_response_and_of_a_command_that_is_being_said() -> None:
    life = watched()
    life.client(b"a2 NOOP\r\n")
    life.server(b"* 1 FETCH (BODY[] {4}\r\nab")
    life.tell(Kicked("Going down", shutdown=True, patient=True))
    life.client(b"a3 XYZZY {3}\r\n")
    assert life.server(b"cd)\r\na2 OK done\r\n").endswith(b"a2 OK done\r\n")
    assert life.end is None
    life.client(b"abc\r\n")
    assert life.server(b"a3 OK done\r\n") == b"a3 OK done\r\n* BYE Going down\r\n"


@pytest.mark.parametrize("said", [b"", b"a2 IDLE\r\n"])
def test_a_stop_interrupts_who_waits(said: bytes) -> None:
    life = watched()
    life.client(said)
    life.server(b"+ idling\r\n" if said else b"* 1 EXISTS\r\n")
    life.to_client = b""
    life.tell(Kicked("Going down", shutdown=True, patient=True))
    assert (life.to_client, life.end) == (b"* BYE Going down\r\n", (Reason.SHUTDOWN, "operator"))


def test_whoever_is_patient_no_more_is_obeyed_at_once() -> None:
    life = watched()
    life.client(b"a2 APPEND INBOX {10}\r\n")
    life.tell(Kicked("Going down", shutdown=True, patient=True))
    assert life.end is None
    life.tell(Kicked("Going down", shutdown=True))
    assert life.end == (Reason.SHUTDOWN, "operator")
