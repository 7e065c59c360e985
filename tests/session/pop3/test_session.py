"""The life of a POP3 session as an exchange of letters."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import Secret
from portico.session.close import Reason
from portico.session.context import Refusal, Route, ServerFacts, Target
from portico.session.decisions import (
    CheckLogin,
    Connect,
    Disconnect,
    HoldClient,
    LoginEnded,
    ReadClient,
    Record,
    StartTls,
    Trace,
    Tunnel,
    Wait,
)
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Kicked, ServerFailed, TlsStarted
from portico.session.interests import Answer, Change, Command, Drop, Interests, Refuse, Response
from portico.session.pop3.ending import judge

from tests.session.life import TARGET, TLS, Pop3Life

FACTS = ServerFacts(plain=(b"TOP", b"UIDL", b"PIPELINING", b"USER", b"SASL PLAIN CRAM-MD5", b"UTF8"), mechanisms=("PLAIN", "CRAM-MD5"))
CAPA = b"TOP\r\nUIDL\r\nPIPELINING\r\n.\r\n"


def opened(**how: Any) -> Pop3Life:
    """Signed in at a server that is known beforehand."""
    life = Pop3Life(facts=FACTS, known=TARGET, **how)
    life.client(b"USER alice\r\nPASS secret\r\n")
    life.server(b"+OK ready\r\n+OK\r\n+OK Logged in.\r\n")
    return life


# -- before login


def test_the_proxy_itself_answers_before_login() -> None:
    life = Pop3Life()
    assert life.to_client == b"+OK Portico ready.\r\n"
    assert life.client(b"CAPA\r\n") == (
        b"+OK Capability list follows\r\nTOP\r\nUIDL\r\nPIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nUSER\r\n"
        b"SASL PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n.\r\n"
    )
    assert life.client(b"noop\r\n") == b"+OK\r\n"
    assert life.client(b"AUTH\r\n") == b"+OK\r\nPLAIN\r\nLOGIN\r\nXOAUTH2\r\nOAUTHBEARER\r\n.\r\n"
    assert life.client(b"QUIT\r\n") == b"+OK Bye\r\n"
    assert life.end == (Reason.LOGOUT, "client")


def test_nothing_is_promised_that_the_server_is_known_not_to_have() -> None:
    life = Pop3Life(facts=ServerFacts(plain=(b"USER", b"UIDL")), known=TARGET)
    assert life.client(b"CAPA\r\n").split(b"\r\n")[1:4] == [b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE"]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"STAT\r\n", b"-ERR Unknown command, or sign in first\r\n"),
        (b"\r\n", b"-ERR Invalid command\r\n"),
        (b"PASS x\r\n", b"-ERR USER comes first\r\n"),
        (b"USER\r\n", b"-ERR USER takes a name\r\n"),
        (b"USER a\x01b\r\n", b"-ERR Control character in the user name\r\n"),
        (b"USER \xff\r\n", b"-ERR The user name is not UTF-8\r\n"),
        (b"APOP alice 0123\r\n", b"-ERR APOP is not offered here\r\n"),
        (b"AUTH FOO\r\n", b"-ERR This mechanism is not offered\r\n"),
        (b"AUTH PLAIN !!\r\n", b"-ERR Invalid base64\r\n"),
        (b"AUTH PLAIN YQBiAHgNCkRFTEUgMQ==\r\n", b"-ERR NUL, CR or LF in the password\r\n"),
        (b"STLS\r\n", b"-ERR TLS is already active\r\n"),
        (b"UTF8\r\n", b"-ERR UTF8 is not offered here\r\n"),
    ],
)
def test_bad_input_gets_a_clear_answer_and_the_session_goes_on(said: bytes, answer: bytes) -> None:
    life = Pop3Life()
    assert life.client(said) == answer
    assert life.client(b"NOOP\r\n") == b"+OK\r\n"


def test_an_endless_line_ends_the_session() -> None:
    life = Pop3Life()
    assert life.client(b"x" * 70000) == b"-ERR Line too long\r\n"
    assert life.end == (Reason.PROTOCOL_ERROR, "client")


def test_without_tls_nobody_signs_in() -> None:
    life = Pop3Life(tls=None)
    capa = life.client(b"CAPA\r\n")
    assert b"USER" not in capa
    assert b"SASL" not in capa
    for said in (b"USER alice\r\n", b"PASS secret\r\n", b"AUTH PLAIN AGEAYg==\r\n"):
        assert life.client(said) == b"-ERR Sign in over TLS only\r\n"


def test_what_was_said_in_clear_behind_stls_is_not_believed() -> None:
    life = Pop3Life(tls=None, settings={"tls": "starttls"})
    assert b"STLS\r\n" in life.client(b"CAPA\r\n")
    assert life.client(b"STLS\r\nUSER eve\r\nPASS injected\r\n") == b"+OK Begin TLS negotiation\r\n"
    assert life.decisions[-1] == StartTls(CLIENT)
    life.tell(TlsStarted(CLIENT, TLS))
    assert b"STLS" not in life.client(b"CAPA\r\n")
    assert not life.all(CheckLogin)


# -- signing in


@pytest.mark.parametrize(
    ("said", "method"),
    [
        (b"USER alice\r\nPASS se cret\r\n", "USER"),
        (b"AUTH PLAIN AGFsaWNlAHNlIGNyZXQ=\r\n", "PLAIN"),
        (b"auth login\r\nYWxpY2U=\r\nc2UgY3JldA==\r\n", "LOGIN"),
    ],
)
def test_a_client_signs_in_and_becomes_a_tunnel(said: bytes, method: str) -> None:
    life = Pop3Life(facts=FACTS, known=TARGET)
    life.client(said)
    attempt = life.all(CheckLogin)[0].attempt
    assert (attempt.mechanism, attempt.user, attempt.password) == (method, "alice", Secret("se cret"))
    assert life.answered(b"+OK ready\r\n") == b"USER alice\r\nPASS se cret\r\n"  # PIPELINING is known
    assert life.server(b"+OK\r\n+OK Logged in.\r\n") == b"+OK Logged in.\r\n"
    assert isinstance(life.decisions[-1], Tunnel)
    assert life.all(LoginEnded) == [LoginEnded(True)]


def test_a_server_of_which_nothing_is_known_is_asked_step_by_step_and_for_its_list() -> None:
    life = Pop3Life()
    life.client(b"USER alice\r\nPASS secret\r\nSTAT\r\n")
    assert life.answered(b"+OK ready\r\n") == b"USER alice\r\n"
    assert life.answered(b"+OK\r\n") == b"PASS secret\r\n"
    assert life.letter(MAIN, b"+OK in\r\n") == (b"", b"CAPA\r\n")
    assert life.server(b"+OK\r\n" + CAPA) == b"+OK in\r\n"
    tunnel = life.decisions[-1]
    assert isinstance(tunnel, Tunnel)
    assert tunnel.to_server == b"STAT\r\n"


def test_the_client_address_goes_to_a_server_that_trusts_us() -> None:
    life = Pop3Life(facts=FACTS, known=TARGET)
    life.client(b"USER alice\r\nPASS secret\r\n")
    assert life.answered(b"+OK [XCLIENT] Dovecot ready.\r\n") == b"XCLIENT ADDR=192.0.2.1 PORT=4711 SESSION=sid TTL=4\r\n"
    assert life.answered(b"+OK\r\n") == b"USER alice\r\nPASS secret\r\n"


def test_no_server_is_told_of_fewer_hops_than_none() -> None:
    life = Pop3Life(facts=FACTS, known=TARGET)
    life.client(b"XCLIENT TTL=0\r\nUSER alice\r\nPASS secret\r\n")
    assert life.answered(b"+OK [XCLIENT] Dovecot ready.\r\n").endswith(b" TTL=0\r\n")


@pytest.mark.parametrize(
    ("answer", "told", "waits"),
    [
        (b"-ERR [AUTH] Authentication failed.\r\n", b"-ERR [AUTH] Authentication failed.\r\n", 1),
        (b"-ERR no\r\n", b"-ERR no\r\n", 1),
        (b"-ERR [IN-USE] locked\r\n", b"-ERR [IN-USE] locked\r\n", 0),
        (b"-ERR [SYS/TEMP] later\r\n", b"-ERR [SYS/TEMP] later\r\n", 0),
        (b"-ERR [SYS/PERM] ask\r\n", b"-ERR [SYS/PERM] ask\r\n", 0),
        (b"-ERR [LOGIN-DELAY] wait\r\n", b"-ERR [LOGIN-DELAY] wait\r\n", 0),
        (b"-ERR [X-OWN/CODE] well\r\n", b"-ERR [X-OWN/CODE] well\r\n", 0),
    ],
)
def test_a_refusal_is_told_in_the_servers_words_and_codes(answer: bytes, told: bytes, waits: int) -> None:
    life = Pop3Life(facts=FACTS, known=TARGET)
    life.client(b"USER alice\r\nPASS wrong\r\nNOOP\r\n")
    assert life.server(b"+OK ready\r\n+OK\r\n" + answer) == told + b"+OK\r\n"
    assert len(life.all(Wait)) == waits
    assert life.all(LoginEnded) == [LoginEnded(False, bool(waits))]


def test_wrong_logins_end_the_session() -> None:
    life = Pop3Life(facts=FACTS, known=TARGET, limits={"wrong_logins": 2, "wrong_login_delay": "1s"})
    for _ in range(2):
        life.client(b"USER alice\r\nPASS wrong\r\n")
        life.server(b"+OK ready\r\n-ERR [AUTH] no\r\n")
    assert life.end == (Reason.TOO_MANY_WRONG_LOGINS, "client")
    assert [wait.seconds for wait in life.all(Wait)] == [1.0, 2.0]


@pytest.mark.parametrize(
    "event", [ServerFailed(MAIN, "refused"), Closed(MAIN), BytesReceived(MAIN, b"-ERR full\r\n"), BytesReceived(MAIN, b"* OK imap\r\n")]
)
def test_a_server_that_cannot_be_used_is_told_and_the_client_may_try_again(event: Any) -> None:
    life = Pop3Life()
    life.client(b"USER alice\r\nPASS secret\r\n")
    life.to_client = b""
    life.tell(event)
    assert life.to_client.startswith(b"-ERR [SYS/TEMP] ")
    assert life.end is None
    assert "upstream.failed" in [record.event for record in life.all(Record)]


def test_a_master_user_and_a_token_go_by_auth() -> None:
    life = Pop3Life(route=Route(TARGET, "alice", master_user="boss", master_password=Secret("key"), verified=True))
    life.client(b"USER alice\r\nPASS x\r\n")
    assert life.answered(b"+OK ready\r\n") == b"CAPA\r\n"
    assert life.answered(b"+OK\r\nSASL PLAIN\r\n.\r\n") == b"AUTH PLAIN\r\n"
    assert life.answered(b"+ \r\n") == b"YWxpY2UAYm9zcwBrZXk=\r\n"
    life = Pop3Life()
    life.client(b"AUTH XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2tlbgEB\r\n")
    life.server(b"+OK ready\r\n")
    assert life.answered(b"+OK\r\nSASL XOAUTH2\r\n.\r\n") == b"AUTH XOAUTH2\r\n"
    assert life.answered(b"+ \r\n") == b"dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2tlbgEB\r\n"


def test_an_endless_capability_list_is_not_held() -> None:
    life = Pop3Life()
    life.client(b"USER alice\r\nPASS secret\r\n")
    life.server(b"+OK ready\r\n+OK\r\n+OK in\r\n+OK\r\n")
    told = b"".join(life.server(b"X\r\n" * 1000) for _ in range(20))
    assert told.startswith(b"-ERR [SYS/TEMP] ")
    assert Disconnect(MAIN) in life.decisions


def test_the_servers_stls_is_asked_for_and_it_never_falls_back_to_clear() -> None:
    life = Pop3Life(route=Route(Target("main", "x:110", "starttls"), "alice"))
    life.client(b"USER alice\r\nPASS secret\r\n")
    assert life.answered(b"+OK ready\r\n") == b"STLS\r\n"
    life.server(b"+OK go\r\n+OK injected\r\n")
    assert life.decisions[-1] == StartTls(MAIN)
    life.to_server = b""
    life.tell(TlsStarted(MAIN, TLS))
    assert life.to_server == b"USER alice\r\n"
    life = Pop3Life(route=Route(Target("main", "x:110", "starttls"), "alice"))
    life.client(b"USER alice\r\nPASS secret\r\n")
    life.server(b"+OK ready\r\n")
    assert life.letter(MAIN, b"-ERR what\r\n") == (b"-ERR [SYS/TEMP] The mail server does not offer TLS.\r\n", b"")


def test_utf8_is_said_again_at_the_server_before_the_sign_in() -> None:
    life = Pop3Life(facts=FACTS, known=TARGET)
    assert b"UTF8\r\n" in life.client(b"CAPA\r\n")
    assert life.client(b"UTF8\r\n") == b"+OK\r\n"
    life.client("USER jürgen\r\nPASS secret\r\n".encode())
    assert life.answered(b"+OK ready\r\n") == b"UTF8\r\n"
    assert life.answered(b"+OK\r\n") == "USER jürgen\r\nPASS secret\r\n".encode()


def test_a_mechanism_of_the_only_server_is_relayed_and_the_gate_hears_the_name() -> None:
    life = Pop3Life(mechanisms=["CRAM-MD5"], facts=FACTS, known=TARGET)
    life.client(b"AUTH CRAM-MD5\r\n")
    assert life.answered(b"+OK ready\r\n") == b"AUTH CRAM-MD5\r\n"
    assert life.server(b"+ PDEyMz4=\r\n") == b"+ PDEyMz4=\r\n"
    assert life.asked(b"YWxpY2UgMDA=\r\n") == b"YWxpY2UgMDA=\r\n"
    assert life.all(CheckLogin)[0].attempt.user == "alice"
    assert life.server(b"+OK in\r\n") == b"+OK in\r\n"


# -- APOP

DIGEST = b"c4c9334bac560ecc979e58001b3e22fb"


def apop_life(**how: Any) -> Pop3Life:
    life = Pop3Life(settings={"apop": True}, facts=FACTS, known=TARGET, **how)
    assert life.to_client == b""  # the server is asked first
    assert life.server(b"+OK ready <1896.697170952@dbc.mtview.ca.us>\r\n") == b"+OK Portico ready. <1896.697170952@dbc.mtview.ca.us>\r\n"
    return life


def test_apop_is_relayed_with_the_servers_timestamp() -> None:
    life = apop_life()
    assert life.asked(b"APOP alice " + DIGEST + b"\r\n") == b"APOP alice " + DIGEST + b"\r\n"
    assert life.all(CheckLogin)[0].attempt.user == "alice"
    assert life.server(b"+OK in\r\n") == b"+OK in\r\n"
    assert isinstance(life.decisions[-1], Tunnel)
    assert len(life.all(Connect)) == 1


def test_where_apop_is_offered_others_still_sign_in_by_password() -> None:
    life = apop_life()
    life.client(b"USER alice\r\nPASS secret\r\n")
    assert Disconnect(MAIN) in life.decisions
    assert life.answered(b"+OK ready\r\n") == b"USER alice\r\nPASS secret\r\n"


def test_apop_for_a_user_of_another_server_is_refused() -> None:
    life = apop_life(route=Route(Target("other", "y:110"), "alice"))
    assert life.letter(CLIENT, b"APOP alice " + DIGEST + b"\r\n") == (b"-ERR [SYS/PERM] APOP cannot be used for this user.\r\n", b"")


@pytest.mark.parametrize("event", [Closed(MAIN), Closed(MAIN, clean=False), BytesReceived(MAIN, b"-ERR [IN-USE] Too slow.\r\n")])
def test_a_server_that_does_not_wait_for_apop_is_told_and_a_password_still_works(event: Any) -> None:
    life = apop_life()
    life.tell(event)
    said = life.letter(CLIENT, b"APOP alice " + DIGEST + b"\r\nNOOP\r\n")
    assert said == (b"-ERR [SYS/TEMP] Connect again to sign in by APOP.\r\n+OK\r\n", b"")
    assert life.all(LoginEnded) == [LoginEnded(False)]
    life.client(b"USER alice\r\nPASS secret\r\n")
    assert life.answered(b"+OK ready\r\n") == b"USER alice\r\nPASS secret\r\n"


def test_a_second_apop_is_not_tried_with_the_timestamp_of_another_connection() -> None:
    life = apop_life(limits={"wrong_login_delay": "1s"})
    life.client(b"APOP alice " + DIGEST + b"\r\n")
    assert life.server(b"-ERR [AUTH] wrong\r\n") == b"-ERR [AUTH] wrong\r\n"
    assert life.letter(CLIENT, b"APOP alice " + DIGEST + b"\r\n") == (b"-ERR [SYS/TEMP] Connect again to sign in by APOP.\r\n", b"")
    assert len(life.all(Connect)) == 1


def test_apop_is_for_encrypted_connections_too() -> None:
    life = apop_life(tls=None)
    assert life.client(b"APOP alice " + DIGEST + b"\r\n") == b"-ERR Sign in over TLS only\r\n"
    assert not life.all(CheckLogin)


def test_what_a_server_says_behind_its_greeting_is_no_answer_to_apop() -> None:
    life = Pop3Life(settings={"apop": True}, facts=FACTS, known=TARGET)
    assert life.server(b"+OK ready <1@x>\r\n+OK in\r\n") == b"+OK Portico ready.\r\n"
    assert Disconnect(MAIN) in life.decisions


@pytest.mark.parametrize(("mechanisms", "tokens"), [(("PLAIN",), False), (("OAUTHBEARER",), True)])
def test_tokens_are_offered_where_the_server_takes_them(mechanisms: tuple[str, ...], tokens: bool) -> None:
    life = Pop3Life()
    life.session.context.possible = (ServerFacts((b"UIDL",), (), mechanisms),)
    assert (b"SASL PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n" in life.client(b"CAPA\r\n")) is tokens
    assert life.client(b"AUTH XOAUTH2\r\n") == (b"+ \r\n" if tokens else b"-ERR This mechanism is not offered\r\n")


def test_without_a_timestamp_apop_is_not_offered() -> None:
    life = Pop3Life(settings={"apop": True}, facts=FACTS, known=TARGET)
    assert life.server(b"+OK ready\r\n") == b"+OK Portico ready.\r\n"
    assert life.client(b"APOP alice " + DIGEST + b"\r\n") == b"-ERR APOP is not offered here\r\n"


# -- a watch


def test_responses_and_commands_are_seen_changed_answered_and_refused_in_order() -> None:
    def stat(view: object, response: Response) -> Change:
        return Change(b"+OK 1 99\r\n")

    interests = Interests(
        commands={
            "DELE": lambda view, command: Refuse("Not here.", "SYS/PERM"),
            "NOOP": lambda view, command: Answer("Fine."),
            "UIDL": lambda view, command: Answer("Here.", [b"1 a", b".2 b"]),
            "TOP": lambda view, command: Change(command.arguments + b"0"),
        },
        responses={"STAT": stat},
    )
    life = opened(interests=interests)
    assert life.letter(CLIENT, b"RETR 1\r\nDELE 1\r\nNOOP\r\nSTAT\r\nUIDL\r\nTOP 1 2\r\n") == (b"", b"RETR 1\r\nSTAT\r\nTOP 1 20\r\n")
    assert life.server(b"+OK\r\nhello\r\n.") == b"+OK\r\nhello\r\n."
    assert life.server(b"\r\n+OK 2 5\r\n+OK\r\n.\r\n") == (
        b"\r\n-ERR [SYS/PERM] Not here.\r\n+OK Fine.\r\n+OK 1 99\r\n+OK Here.\r\n1 a\r\n..2 b\r\n.\r\n+OK\r\n.\r\n"
    )


def test_our_own_answers_that_wait_are_within_the_limit() -> None:
    life = opened(interests=Interests(commands={"UIDL": lambda view, command: Answer("Here.", [b"x" * 500])}), limits={"held": 2000})
    life.client(b"RETR 1\r\n" + b"UIDL\r\n" * 20)
    assert isinstance(life.decisions[-1], HoldClient)
    assert life.server(b"+OK\r\n.\r\n").count(b"+OK Here.") == 20
    assert isinstance(life.decisions[-1], ReadClient)


def test_a_command_cannot_hide_behind_a_bare_cr() -> None:
    life = opened(interests=Interests(commands={"DELE": lambda view, command: Refuse("Not here.")}))
    assert life.letter(CLIENT, b"NOOP \rDELE 1\r\nLIST 1\0\r\n") == (b"-ERR Invalid command\r\n" * 2, b"")


def test_a_plugin_cannot_end_its_answer_early() -> None:
    answer = Answer("Here.\r\n+OK forged", [b"a\r\n.\r\n+OK forged", b"b"])
    life = opened(interests=Interests(commands={"UIDL": lambda view, command: answer}))
    assert life.client(b"UIDL\r\n") == b"+OK Here. +OK forged\r\na\r\n..\r\n+OK forged\r\nb\r\n.\r\n"


def test_a_message_with_bare_line_feeds_cannot_end_its_answer_early() -> None:
    seen: list[bytes] = []
    life = opened(interests=Interests(responses={"STAT": lambda view, response: seen.append(response.raw)}))
    life.client(b"RETR 1\r\nSTAT\r\n")
    body = b"+OK\r\nbare\n.\n+OK forged\r\n..\r\n.\r\n"
    assert life.server(body + b"+OK 1 2\r\n") == body + b"+OK 1 2\r\n"
    assert seen == [b"+OK 1 2\r\n"]


def test_withheld_capabilities_are_taken_out_of_capa() -> None:
    life = Pop3Life()
    life.client(b"USER alice\r\nPASS secret\r\n")
    life.server(b"+OK ready\r\n+OK\r\n+OK in\r\n+OK\r\nTOP\r\nX-ODD 1\r\nSTLS\r\n.\r\n")
    life.client(b"CAPA\r\n")
    assert life.server(b"+OK list\r\nTOP\r\nX-ODD 1\r\nSTLS\r\n.\r\n") == b"+OK list\r\nTOP\r\n.\r\n"
    assert life.client(b"XCOMPRESS\r\n") == b"-ERR Unknown command\r\n"


def test_what_is_too_large_to_hold_passes_untouched_and_is_recorded() -> None:
    life = opened(interests=Interests(responses={"RETR": lambda view, response: Change(b"+OK\r\n.\r\n")}), limits={"held": 1000})
    life.client(b"RETR 1\r\n")
    raw = b"+OK\r\n" + b"x" * 5000 + b"\r\n.\r\n"
    assert life.server(raw[:2000]) + life.server(raw[2000:]) == raw
    assert "plugin.held_too_much" in [record.event for record in life.all(Record)]


@pytest.mark.parametrize(
    "fault", [lambda view, thing: 1 / 0, lambda view, thing: Drop(), lambda view, thing: Change(b"+OK\r\n+OK two\r\n")]
)
def test_a_plugin_that_fails_is_named_and_the_original_goes_on(fault: Callable[..., Any]) -> None:
    life = opened(interests=Interests(responses={"STAT": fault}))
    life.client(b"STAT\r\n")
    assert life.server(b"+OK 1 2\r\n") == b"+OK 1 2\r\n"
    assert "plugin.failed" in [record.event for record in life.all(Record)]


def test_ends_are_named_and_told_only_where_no_answer_is_open() -> None:
    watched = Interests(responses={"STAT": lambda view, response: None})
    life = opened(interests=watched)
    life.client(b"RETR 1\r\n")
    life.server(b"+OK\r\nhalf a mess")
    life.to_client = b""
    life.tell(Closed(MAIN, clean=False))
    assert (life.to_client, life.end) == (b"", (Reason.SERVER_RESET, "server"))
    life = opened(interests=watched)
    life.client(b"STAT\r\n")
    life.to_client = b""
    life.tell(Closed(MAIN))
    assert life.to_client == b"-ERR [SYS/TEMP] The mail server closed the connection.\r\n"
    life = opened(interests=watched)
    life.client(b"QUIT\r\n")
    life.server(b"+OK bye\r\n")
    life.tell(Closed(MAIN))
    assert life.end == (Reason.LOGOUT, "client")
    life = opened(interests=watched)
    life.to_client = b""
    life.tell(Kicked("Maintenance"))
    assert (life.to_client, life.end) == (b"-ERR Maintenance\r\n", (Reason.KICKED, "operator"))


def test_a_trace_has_the_dialogue_and_no_secret() -> None:
    life = opened(trace=("alice",))
    life.client(b"STAT\r\nPASS again-secret\r\n")
    life.server(b"+OK 1 2\r\n")
    text = b"".join(trace.data for trace in life.all(Trace))
    assert b"PASS <hidden>" in text
    assert 0 < text.index(b"+OK", text.index(b"PASS")) < text.index(b"STAT\r\n")
    assert b"+OK 1 2\r\n" in text
    assert b"secret" not in text


def test_a_user_with_too_many_sessions_is_told_that_the_maildrop_is_in_use() -> None:
    life = Pop3Life(route=Refusal("Too many sessions of this user.", "LIMIT", "limit_user"))
    life.client(b"USER alice\r\n")
    assert life.client(b"PASS secret\r\n") == b"-ERR [IN-USE] Too many sessions of this user.\r\n"


def test_a_stop_lets_the_answer_that_is_under_way_end_first() -> None:
    life = opened(interests=Interests(commands={"NOOP": lambda view, command: None}))
    life.client(b"RETR 1\r\n")
    life.server(b"+OK\r\nhalf of the ")
    life.tell(Kicked("Going down", shutdown=True, patient=True))
    assert life.end is None
    assert life.server(b"letter\r\n.\r\n") == b"letter\r\n.\r\n-ERR Going down\r\n"
    assert life.end == (Reason.SHUTDOWN, "operator")


def test_a_connection_that_is_not_admitted_is_told_in_place_of_the_greeting() -> None:
    life = Pop3Life(refusal=Refusal("Too many sessions.", "UNAVAILABLE", "limit_sessions"))
    assert life.to_client == b"-ERR [SYS/TEMP] Too many sessions.\r\n"
    assert life.end == (Reason.LIMIT_SESSIONS, "portico")


def test_the_end_of_a_tunnel_is_told_from_its_last_octets() -> None:
    assert judge(b"RETR 1\r\nQUIT\r\n", b"+OK Logging out.\r\n") == (Reason.LOGOUT, "client", True, True)
    assert judge(b"STAT\r\n", b"-ERR Disconnected for inactivity.\r\n") == (Reason.SERVER_BYE, "server", True, True)
    assert judge(b"RETR 1\r\n", b"half a message") == (Reason.SERVER_CLOSED, "server", False, False)


# -- properties

ANSWERS = [
    (b"STAT\r\n", b"+OK 1 2\r\n"),
    (b"RETR 1\r\n", b"+OK\r\n.. dot\r\nbare\n.\nx\r\n.\r\n"),
    (b"RETR 9\r\n", b"-ERR no\r\n"),
    (b"LIST\r\n", b"+OK\r\n.\r\n"),
    (b"LIST 1\r\n", b"+OK 1 2\r\n"),
    (b"TOP 1 0\r\n", b"+OK\r\na: b\r\n\r\n.\r\n"),
    (b"NOOP\r\n", b"+OK\r\n"),
]


@given(st.lists(st.sampled_from(ANSWERS), max_size=8), st.lists(st.integers(0, 500), max_size=12), st.booleans())
def test_however_the_octets_are_cut_nothing_is_changed_where_nobody_wants_it(
    letters: list[tuple[bytes, bytes]], points: list[int], watched: bool
) -> None:
    seen: list[Command] = []
    interests = Interests(commands={"STAT": lambda view, command: seen.append(command)}, responses={"LIST": lambda view, response: None})
    life = opened(interests=interests if watched else None, trace=() if watched else ("alice",))
    client, server = (b"".join(letter[side] for letter in letters) for side in (0, 1))
    got_server = got_client = b""
    for leg, data in ((CLIENT, client), (MAIN, server)):
        edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
        for start, end in itertools.pairwise(edges):
            if start < end:
                to_client, to_server = life.letter(leg, data[start:end])
                got_client += to_client
                got_server += to_server
    assert (got_server, got_client) == (client, server)
    assert len(seen) == (sum(letter[0] == b"STAT\r\n" for letter in letters) if watched else 0)


@given(st.lists(st.tuples(st.sampled_from([CLIENT, MAIN]), st.binary(min_size=1, max_size=60)), max_size=15), st.integers(0, 2))
def test_any_octets_from_anybody_give_decisions_and_never_an_exception(letters: list[tuple[int, bytes]], how: int) -> None:
    watched = Interests(responses={"STAT": lambda view, response: None})
    life = opened(interests=watched) if how == 2 else Pop3Life(facts=FACTS, known=TARGET)
    if how == 1:
        life.client(b"USER alice\r\nPASS hunter2\r\n")
    for leg, data in letters:
        if life.end is None and not isinstance(life.decisions[-1], Tunnel):
            life.tell(BytesReceived(leg, data))
    assert "hunter2" not in repr(life.decisions)
