"""The life of an IMAP session as an exchange of letters: C client, S server, and the gate in between."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import Secret
from portico.session.close import Reason
from portico.session.context import Refusal, Route, ServerFacts, Target, TlsInfo
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
from portico.session.events import (
    CLIENT,
    MAIN,
    BytesReceived,
    Closed,
    Event,
    Kicked,
    ServerFailed,
    TimedOut,
    TlsStarted,
)
from portico.session.interests import Interests

from tests.session.life import TARGET, TLS, Life, Pop3Life

GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] Portico ready.\r\n"
SERVER_GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN] Dovecot ready.\r\n"
ID = (
    b'P1 ID ("x-session-id" "sid" "x-originating-ip" "192.0.2.1" "x-originating-port" "4711" '
    b'"x-connected-ip" "192.0.2.2" "x-connected-port" "993" "x-proxy-ttl" "4")\r\n'
)
ALICE = b"AGFsaWNlAHNlY3JldA=="  # \0alice\0secret


# -- before login


def test_the_proxy_itself_answers_before_login() -> None:
    life = Life()
    assert life.to_client == GREETING
    assert life.client(b"a1 NOOP\r\n") == b"a1 OK Nothing done.\r\n"
    assert life.client(b"a2 capability\r\n").startswith(b"* CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN")
    assert (
        life.client(b'a3 ID ("name" "Old Mail" "version" NIL "x-originating-ip" "10.0.0.1")\r\n')
        == b'* ID ("name" "Portico")\r\na3 OK ID completed.\r\n'
    )
    assert life.session.view.client_id == {"name": "Old Mail"}
    assert life.client(b"a4 LOGOUT\r\n") == b"* BYE Logging out\r\na4 OK Logout completed.\r\n"
    assert life.end == (Reason.LOGOUT, "client")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"a1 SELECT INBOX\r\n", b"a1 BAD Sign in first\r\n"),
        (b"a1 FROB\r\n", b"a1 BAD Unknown command\r\n"),
        (b"a1\r\n", b"a1 BAD Invalid tag or command\r\n"),
        (b"\r\n", b"* BAD Empty line\r\n"),
        (b"a1 LOGIN alice\r\n", b"a1 BAD LOGIN takes a user name and a password\r\n"),
        (b"a1 LOGIN (alice) x\r\n", b"a1 BAD LOGIN takes a user name and a password\r\n"),
        (b'a1 LOGIN "ali\x01ce" x\r\n', b"a1 BAD Control character in the user name\r\n"),
        (b"a1 LOGIN %b x\r\n" % (b"a" * 513), b"a1 BAD The user name is too long\r\n"),
        (b"a1 LOGIN {99999999999}\r\n", b"a1 BAD [TOOBIG] Literal too large\r\n"),
        (b"a1 NOOP now\r\n", b"a1 BAD NOOP takes no arguments\r\n"),
        (b"a1 STARTTLS\r\n", b"a1 BAD TLS is already active\r\n"),
        (b"a1 AUTHENTICATE FOO\r\n", b"a1 NO [CANNOT] This mechanism is not offered.\r\n"),
        (b"a1 AUTHENTICATE PLAIN !!\r\n", b"a1 BAD Invalid base64\r\n"),
        (b"a1 AUTHENTICATE PLAIN eA==\r\n", b"a1 BAD Invalid PLAIN response\r\n"),
        (b"a1 ID x\r\n", b"a1 BAD ID takes a list or NIL\r\n"),
    ],
)
def test_bad_input_gets_a_clear_answer_and_the_session_goes_on(said: bytes, answer: bytes) -> None:
    life = Life()
    assert life.client(said) == answer
    assert life.client(b"a2 NOOP\r\n") == b"a2 OK Nothing done.\r\n"


def test_a_literal_that_comes_unasked_and_is_too_large_ends_the_session() -> None:
    life = Life()
    assert life.client(b"a1 LOGIN {99999999999+}\r\n") == b"* BYE Literal too large\r\n"
    assert life.end == (Reason.PROTOCOL_ERROR, "client")


def test_nonsense_with_sense_between_does_not_fill_the_log() -> None:
    for life in (Life(limits={"bad_commands": 3}), Pop3Life(limits={"bad_commands": 3})):
        for _ in range(20):
            life.client(b"\r\n" + (b"a1 NOOP\r\n" if life.protocol == "imap" else b"NOOP\r\n"))
        assert life.end is None
        assert len(life.all(Record)) == 3


def test_endless_nonsense_ends_the_session() -> None:
    life = Life(limits={"bad_commands": 3})
    life.client(b"x\r\ny\r\n")
    assert life.end is None
    assert life.client(b"z\r\na NOOP\r\n").endswith(b"* BYE Too many bad commands\r\n")
    assert life.end == (Reason.TOO_MANY_BAD_COMMANDS, "client")


def test_without_tls_nobody_signs_in() -> None:
    life = Life(tls=None)
    assert b"LOGINDISABLED" in life.to_client
    assert b"AUTH=" not in life.to_client
    assert life.client(b"a1 LOGIN alice secret\r\n") == b"a1 NO [PRIVACYREQUIRED] Sign in over TLS only.\r\n"
    assert life.client(b"a2 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n") == b"a2 NO [PRIVACYREQUIRED] Sign in over TLS only.\r\n"
    assert not life.all(CheckLogin)


def test_what_was_said_in_clear_behind_starttls_is_not_believed() -> None:
    life = Life(tls=None, settings={"tls": "starttls"})
    assert b" STARTTLS LOGINDISABLED" in life.to_client
    life.client(b'a0 ID ("name" "x")\r\n')
    assert life.client(b"a1 STARTTLS\r\na2 LOGIN eve injected\r\n") == b"a1 OK Begin TLS negotiation now.\r\n"
    assert life.decisions[-1] == StartTls(CLIENT)
    life.tell(TlsStarted(CLIENT, TLS))
    assert life.client(b"a3 CAPABILITY\r\n").startswith(b"* CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN")
    assert life.session.view.client_id == {}
    assert not life.all(CheckLogin)


# -- signing in

LOGINS = [
    (b"a1 LOGIN alice secret\r\n", "LOGIN"),
    (b'a1 login "alice" "secret"\r\n', "LOGIN"),
    (b"a1 LOGIN {5+}\r\nalice {6+}\r\nsecret\r\n", "LOGIN"),
    (b"a1 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n", "PLAIN"),
]


@pytest.mark.parametrize(("said", "method"), LOGINS)
def test_a_client_signs_in_and_becomes_a_tunnel(said: bytes, method: str) -> None:
    life = Life()
    assert life.client(said) == b""
    assert life.all(CheckLogin)[0].attempt.mechanism == method
    assert life.answered(SERVER_GREETING) == ID + b"P2 AUTHENTICATE PLAIN " + ALICE + b"\r\n"
    told = life.server(b"* ID NIL\r\nP1 OK ID\r\nP2 OK [CAPABILITY IMAP4rev1 IDLE LITERAL+] Logged in\r\n")
    assert told == b"a1 OK [CAPABILITY IMAP4rev1 IDLE LITERAL+] Logged in\r\n"
    assert isinstance(life.decisions[-1], Tunnel)
    assert repr(life.session) == "<ImapSession sid tunnel alice -> main>"
    assert life.all(LoginEnded) == [LoginEnded(True)]


def test_synchronising_literals_are_asked_for_one_by_one() -> None:
    life = Life()
    assert life.client(b"a1 LOGIN {5}\r\n") == b"+ OK\r\n"
    assert life.client(b"alice {6}\r\n") == b"+ OK\r\n"
    assert life.client(b"secret\r\n") == b""
    assert life.all(CheckLogin)[0].attempt.password == Secret("secret")


@pytest.mark.parametrize(
    ("mechanism", "letters", "user", "secret"),
    [
        ("PLAIN", [(b"+ \r\n", ALICE)], "alice", "secret"),
        ("LOGIN", [(b"+ VXNlcm5hbWU6\r\n", b"YWxpY2U="), (b"+ UGFzc3dvcmQ6\r\n", b"c2VjcmV0")], "alice", "secret"),
        ("XOAUTH2", [(b"+ \r\n", b"dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0b2tlbgEB")], "alice", "token"),
        ("OAUTHBEARER", [(b"+ \r\n", b"bixhPWFsaWNlLAFhdXRoPUJlYXJlciB0b2tlbgEB")], "alice", "token"),
    ],
)
def test_a_mechanism_without_initial_response_goes_step_by_step(
    mechanism: str, letters: list[tuple[bytes, bytes]], user: str, secret: str
) -> None:
    life = Life()
    said = b"a1 AUTHENTICATE %b\r\n" % mechanism.encode()
    for challenge, response in letters:
        assert life.client(said) == challenge
        said = response + b"\r\n"
    assert life.client(said) == b""
    attempt = life.all(CheckLogin)[0].attempt
    assert (attempt.mechanism, attempt.user, attempt.password) == (mechanism, user, Secret(secret))


def test_a_cancelled_exchange_is_over_and_the_next_command_is_a_command() -> None:
    life = Life()
    life.client(b"a1 AUTHENTICATE PLAIN\r\n")
    assert life.client(b"*\r\n") == b"a1 BAD Authentication cancelled.\r\n"
    assert life.client(b"a2 NOOP\r\n") == b"a2 OK Nothing done.\r\n"


@pytest.mark.parametrize(
    ("greeting", "commands"),
    [
        (b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] x\r\n", [b"P1 AUTHENTICATE PLAIN\r\n", b"+ \r\n", ALICE + b"\r\n"]),
        (b"* OK [CAPABILITY IMAP4rev1] x\r\n", [b'P1 LOGIN "alice" "secret"\r\n']),
        (b"* OK hello\r\n", [b"P1 CAPABILITY\r\n", b"* CAPABILITY IMAP4rev1\r\nP1 OK\r\n", b'P2 LOGIN "alice" "secret"\r\n']),
    ],
)
def test_the_server_is_addressed_in_the_way_it_offers(greeting: bytes, commands: list[bytes]) -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    server = [greeting, *commands[1::2]]
    for said, expected in zip(server, commands[::2], strict=True):
        assert life.answered(said) == expected


def test_a_password_that_needs_a_literal_gets_one() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice {4+}\r\np\xc3\xa4s\r\n")
    assert life.answered(b"* OK [CAPABILITY IMAP4rev1] x\r\n") == b'P1 LOGIN "alice" {4}\r\n'
    assert life.answered(b"+ go\r\n") == b"p\xc3\xa4s\r\n"
    life = Life()
    life.client(b"a1 LOGIN alice {4+}\r\np\xc3\xa4s\r\n")
    assert life.answered(b"* OK [CAPABILITY IMAP4rev1 LITERAL+] x\r\n") == b'P1 LOGIN "alice" {4+}\r\np\xc3\xa4s\r\n'


def test_the_list_is_asked_for_where_the_server_does_not_volunteer_it() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(SERVER_GREETING)
    assert life.answered(b"P2 OK hello\r\n") == b"P3 CAPABILITY\r\n"
    told = life.server(b"* CAPABILITY IMAP4rev1 QUOTA\r\nP3 OK\r\n")
    assert told == b"a1 OK [CAPABILITY IMAP4rev1 QUOTA] hello\r\n"


def test_commands_behind_the_login_are_neither_lost_nor_reordered() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\na2 SELECT INBOX\r\na3 FETCH 1 {5}")
    life.server(SERVER_GREETING)
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n* 1 EXISTS\r\n")
    tunnel = life.decisions[-1]
    assert isinstance(tunnel, Tunnel)
    assert (tunnel.to_server, tunnel.to_client) == (b"a2 SELECT INBOX\r\na3 FETCH 1 {5}", b"* 1 EXISTS\r\n")


def test_a_wrong_login_is_told_in_the_servers_words_after_a_growing_delay() -> None:
    life = Life(limits={"wrong_login_delay": "1s", "wrong_logins": 3})
    for attempt, delay in ((1, 1.0), (2, 2.0)):
        life.client(b"a%d LOGIN alice wrong\r\n" % attempt)
        life.server(SERVER_GREETING)
        told = life.server(b"P2 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")
        assert told == b"a%d NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" % attempt
        assert life.all(Wait)[-1].seconds == delay
    life.client(b"a3 LOGIN alice wrong\r\n")
    life.server(SERVER_GREETING)
    assert life.server(b"P2 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n").endswith(b"* BYE Too many wrong logins\r\n")
    assert life.end == (Reason.TOO_MANY_WRONG_LOGINS, "client")
    assert life.all(LoginEnded) == [LoginEnded(False, True)] * 3


def test_commands_behind_a_wrong_login_are_answered_after_it() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice wrong\r\na2 NOOP\r\n")
    life.server(SERVER_GREETING)
    assert life.server(b"P2 NO no\r\n") == b"a1 NO no\r\na2 OK Nothing done.\r\n"


@pytest.mark.parametrize(
    ("code", "counts"), [(b"[UNAVAILABLE] later", False), (b"[AUTHORIZATIONFAILED] x", True), (b"[REFERRAL imap://x/] go", False)]
)
def test_an_outage_is_not_a_wrong_login(code: bytes, counts: bool) -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(SERVER_GREETING)
    told = life.server(b"P2 NO %b\r\n" % code)
    assert told == b"a1 NO %b\r\n" % code.replace(b"REFERRAL imap://x/", b"UNAVAILABLE")
    assert bool(life.all(Wait)) is counts


@pytest.mark.parametrize(
    "event",
    [ServerFailed(MAIN, "refused"), Closed(MAIN), TimedOut("connect", MAIN), BytesReceived(MAIN, b"* BYE [UNAVAILABLE] full\r\n")],
)
def test_a_server_that_cannot_be_used_is_told_and_the_client_may_try_again(event: Event) -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    life.to_client = b""
    life.tell(event)
    assert life.to_client.startswith(b"a1 NO [UNAVAILABLE] ")
    assert life.end is None
    life.client(b"a2 LOGIN alice secret\r\n")
    assert len(life.all(Connect)) == 2


@pytest.mark.parametrize("greeting", [b"* PREAUTH welcome\r\n", b"220 smtp\r\n" * 3 + b"* BAD x\r\n", b"x" * (2 << 20)])
def test_a_greeting_that_is_none_is_an_outage(greeting: bytes) -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    assert life.server(greeting).startswith(b"a1 NO [UNAVAILABLE] ")
    assert Disconnect(MAIN) in life.decisions


def test_the_gate_refuses_in_its_own_words() -> None:
    life = Life(route=Refusal("Too many sessions.", "LIMIT", "limit_user"))
    assert life.client(b"a1 LOGIN alice secret\r\n") == b"a1 NO [LIMIT] Too many sessions.\r\n"
    assert not life.all(Connect)
    assert not life.all(LoginEnded)


def test_a_master_user_signs_in_for_whom_the_proxy_has_verified_and_for_nobody_else() -> None:
    target = Route(TARGET, "alice", master_user="boss", master_password=Secret("key"), verified=True)
    life = Life(route=target)
    life.client(b"a1 LOGIN alice whatever\r\n")
    assert life.answered(SERVER_GREETING) == ID + b"P2 AUTHENTICATE PLAIN YWxpY2UAYm9zcwBrZXk=\r\n"
    life = Life(route=Route(TARGET, "alice", master_user="boss", master_password=Secret("key")))
    life.client(b"a1 LOGIN alice whatever\r\n")
    assert life.server(SERVER_GREETING).startswith(b"a1 NO [CANNOT] ")


def test_external_is_offered_to_whom_has_a_certificate_only() -> None:
    certain = TlsInfo("TLSv1.3", "x", client_name="alice@example.org")
    life = Life(tls=certain, mechanisms=["PLAIN", "EXTERNAL"], client_certificates="optional")
    assert b"AUTH=EXTERNAL" in life.to_client
    life.client(b"a1 AUTHENTICATE EXTERNAL =\r\n")
    assert life.all(CheckLogin)[0].attempt.user == "alice@example.org"
    assert b"EXTERNAL" not in Life(mechanisms=["PLAIN", "EXTERNAL"]).to_client


def test_a_literal_that_is_of_no_use_is_not_asked_for() -> None:
    life = Life()
    for number, (said, answer) in enumerate([
        (b"APPEND INBOX {70}", b"BAD Sign in first"),
        (b"FROB {5}", b"BAD Unknown command"),
        (b"LOGOUT {5}", b"BAD LOGOUT takes no arguments"),
        (b"AUTHENTICATE {5}", b"NO [CANNOT] This mechanism is not offered."),
        (b"AUTHENTICATE PLAIN {5}", b"BAD Invalid base64"),
    ]):  # fmt: skip
        tag = b"a%d " % number
        assert life.client(tag + said + b"\r\n") == tag + answer + b"\r\n"
        assert life.client(b"b NOOP\r\n") == b"b OK Nothing done.\r\n"
    assert life.client(b"c ID ({4}\r\n") == b"+ OK\r\n"


def test_a_password_is_not_asked_for_in_clear() -> None:
    life = Life(tls=None)
    assert life.client(b"a1 LOGIN alice {6}\r\n") == b"a1 NO [PRIVACYREQUIRED] Sign in over TLS only.\r\n"
    assert life.client(b"a2 NOOP\r\n") == b"a2 OK Nothing done.\r\n"


def test_the_servers_list_in_a_refusal_is_not_the_clients_and_it_is_still_a_wrong_login() -> None:
    life = opened()
    told = life.server(b"P2 NO [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE AUTH=PLAIN] Wrong.\r\n")
    assert told == b"a1 NO Wrong.\r\n"
    assert life.all(LoginEnded) == [LoginEnded(False, True)]
    life = opened()
    assert life.server(b"* BYE [REFERRAL imap://other/] go there\r\n") == b"a1 NO [UNAVAILABLE] go there\r\n"


def test_a_server_that_hides_the_password_behind_a_mechanism_only_gets_it_so() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\n")
    assert life.answered(b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=LOGIN] x\r\n") == b"P1 AUTHENTICATE LOGIN\r\n"
    assert life.answered(b"+ VXNlcm5hbWU6\r\n") == b"YWxpY2U=\r\n"
    assert life.answered(b"+ UGFzc3dvcmQ6\r\n") == b"c2VjcmV0\r\n"


# -- starttls towards the server


def test_an_alert_from_before_tls_is_not_believed() -> None:
    life = Life(route=Route(Target("main", "x:143", "starttls"), "alice"))
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(b"* OK hello\r\n* OK [ALERT] Call this number\r\nP1 OK go\r\n")
    life.tell(TlsStarted(MAIN, TLS))
    life.server(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nP2 OK\r\n")
    assert life.server(b"P3 OK [CAPABILITY IMAP4rev1] in\r\n") == b"a1 OK [CAPABILITY IMAP4rev1] in\r\n"


def test_the_servers_starttls_is_asked_for_whatever_its_list_says_and_its_words_before_are_forgotten() -> None:
    life = Life(route=Route(Target("main", "x:143", "starttls"), "alice"))
    life.client(b"a1 LOGIN alice secret\r\n")
    assert life.answered(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] x\r\n") == b"P1 STARTTLS\r\n"
    life.server(b"P1 OK go\r\nP2 OK [CAPABILITY EVIL] injected\r\n")
    assert life.decisions[-1] == StartTls(MAIN)
    life.to_server = b""
    life.tell(TlsStarted(MAIN, TLS))
    assert life.to_server == b"P2 CAPABILITY\r\n"
    assert life.answered(b"* CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\r\nP2 OK\r\n") == b"P3 AUTHENTICATE PLAIN " + ALICE + b"\r\n"


def test_a_server_without_starttls_never_gets_the_password() -> None:
    life = Life(route=Route(Target("main", "x:143", "starttls"), "alice"))
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] x\r\n")
    assert life.server(b"P1 BAD what\r\n") == b"a1 NO [UNAVAILABLE] The mail server does not offer TLS.\r\n"
    assert life.to_server == b""


# -- relayed mechanisms

SCRAM = "SCRAM-SHA-256"
FACTS = ServerFacts(plain=(b"IMAP4rev1", b"SASL-IR", b"AUTH=SCRAM-SHA-256", b"AUTH=CRAM-MD5"), mechanisms=(SCRAM, "CRAM-MD5"))
FIRST = b"biwsbj1hbGljZSxyPW5vbmNl"  # n,,n=alice,r=nonce


def test_a_mechanism_of_the_only_server_is_relayed_step_by_step() -> None:
    life = Life(mechanisms=["PLAIN", SCRAM], facts=FACTS, known=TARGET)
    assert b"AUTH=SCRAM-SHA-256" in life.to_client
    life.client(b"a1 AUTHENTICATE SCRAM-SHA-256 " + FIRST + b"\r\n")
    assert life.all(CheckLogin)[0].attempt.user == "alice"
    assert life.answered(b"* OK [CAPABILITY IMAP4rev1 SASL-IR] x\r\n") == b"P1 AUTHENTICATE SCRAM-SHA-256 " + FIRST + b"\r\n"
    assert life.server(b"+ cj1ub25jZQ==\r\n") == b"+ cj1ub25jZQ==\r\n"
    assert life.decisions[-1] == ReadClient()
    assert life.asked(b"Yz1iaXdz\r\n") == b"Yz1iaXdz\r\n"
    assert life.decisions[-2] == HoldClient()
    assert life.server(b"+ dj1vaw==\r\n") == b"+ dj1vaw==\r\n"
    assert life.asked(b"\r\n") == b"\r\n"
    assert life.server(b"P1 OK [CAPABILITY IMAP4rev1] in\r\n") == b"a1 OK [CAPABILITY IMAP4rev1] in\r\n"


def test_what_is_no_answer_in_a_relayed_exchange_ends_the_exchange_not_the_session() -> None:
    life = Life(mechanisms=[SCRAM], facts=FACTS, known=TARGET)
    life.client(b"a1 AUTHENTICATE SCRAM-SHA-256 " + FIRST + b"\r\n")
    life.server(b"* OK [CAPABILITY IMAP4rev1 SASL-IR] x\r\n")
    life.server(b"+ cj1ub25jZQ==\r\n")
    assert life.letter(CLIENT, b"*\r\na2 NOOP\r\n") == (b"a1 BAD Authentication cancelled\r\na2 OK Nothing done.\r\n", b"")
    assert Disconnect(MAIN) in life.decisions


def test_a_client_that_asks_and_cancels_is_not_connected_for_ever() -> None:
    life = Life(mechanisms=["CRAM-MD5"], facts=FACTS, known=TARGET, limits={"wrong_logins": 3})
    for _ in range(5):
        life.client(b"a1 AUTHENTICATE CRAM-MD5\r\n*\r\n")
        if life.end is None:
            life.server(b"* OK [CAPABILITY IMAP4rev1] x\r\n")
            life.server(b"+ PDEyMz4=\r\n")
    assert len(life.all(Connect)) == 3
    assert life.end == (Reason.TOO_MANY_WRONG_LOGINS, "client")


def test_where_the_server_speaks_first_the_gate_is_asked_before_the_answer_goes_on() -> None:
    life = Life(mechanisms=["CRAM-MD5"], facts=FACTS, known=TARGET)
    life.client(b"a1 AUTHENTICATE CRAM-MD5\r\n")
    assert not life.all(CheckLogin)
    life.server(b"* OK [CAPABILITY IMAP4rev1] x\r\n")
    assert life.server(b"+ PDEyMz4=\r\n") == b"+ PDEyMz4=\r\n"
    life.route = Refusal("Not you.", "AUTHORIZATIONFAILED", "plugin")
    assert life.letter(CLIENT, b"YWxpY2UgMDA=\r\n") == (b"a1 NO [AUTHORIZATIONFAILED] Not you.\r\n", b"")
    assert life.all(CheckLogin)[0].attempt.user == "alice"
    assert Disconnect(MAIN) in life.decisions


@pytest.mark.parametrize(
    ("possible", "tokens"),
    [
        ((), True),  # a plugin may know of another server
        ((ServerFacts(),), True),  # not asked yet
        ((ServerFacts((b"IMAP4rev1",), (), ("PLAIN",)),), False),
        ((ServerFacts((b"IMAP4rev1",), (b"IMAP4rev1",), ("XOAUTH2",)),), True),  # a token passes by either
        ((ServerFacts((b"IMAP4rev1",)), ServerFacts((b"IMAP4rev1",), (), ("OAUTHBEARER",))), True),
        ((ServerFacts((b"IMAP4rev1",)), ServerFacts((b"IMAP4rev1",))), False),
        ((ServerFacts((b"IMAP4rev1",)), ServerFacts()), True),
    ],
)
def test_tokens_are_offered_where_a_server_may_take_them(possible: tuple[ServerFacts, ...], tokens: bool) -> None:
    life = Life()
    life.session.context.possible = possible
    offered = life.client(b"a1 CAPABILITY\r\n")
    assert b"AUTH=PLAIN AUTH=LOGIN" in offered
    assert (b"AUTH=XOAUTH2" in offered, b"AUTH=OAUTHBEARER" in offered) == (tokens, tokens)
    answer = life.client(b"a2 AUTHENTICATE XOAUTH2\r\n")
    assert answer == (b"+ \r\n" if tokens else b"a2 NO [CANNOT] This mechanism is not offered.\r\n")


def test_a_mechanism_whose_user_cannot_be_read_is_not_offered() -> None:
    facts = ServerFacts(mechanisms=("GSSAPI", "SCRAM-SHA-256-PLUS"))
    life = Life(mechanisms=["PLAIN", "GSSAPI", "SCRAM-SHA-256-PLUS"], facts=facts, known=TARGET)
    assert b"GSSAPI" not in life.to_client
    assert b"PLUS" not in life.to_client


# -- open


def opened(**how: Any) -> Life:
    life = Life(**how)
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(SERVER_GREETING)
    return life


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


# -- ends and properties


def test_a_client_that_closes_its_half_behind_the_login_is_still_served() -> None:
    life = Life()
    life.client(b"a1 LOGIN alice secret\r\na2 LOGOUT\r\n")
    life.tell(Closed(CLIENT))
    life.server(SERVER_GREETING)
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    assert isinstance(life.decisions[-1], Tunnel)
    assert life.decisions[-1].to_server == b"a2 LOGOUT\r\n"


def test_a_connection_that_is_not_admitted_is_told_in_place_of_the_greeting() -> None:
    life = Life(refusal=Refusal("Too many sessions from here.", "UNAVAILABLE", "limit_address"))
    assert life.to_client == b"* BYE [UNAVAILABLE] Too many sessions from here.\r\n"
    assert life.end == (Reason.LIMIT_ADDRESS, "portico")


WATCHED = Interests(commands={"XYZZY": lambda view, command: None})


def watched() -> Life:
    life = opened(interests=WATCHED)
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    return life


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


def test_kicks_and_timeouts_are_told() -> None:
    life = Life()
    life.tell(Kicked("Going down", shutdown=True))
    assert life.end == (Reason.SHUTDOWN, "operator")
    assert life.to_client.endswith(b"* BYE Going down\r\n")
    life = Life()
    life.tell(TimedOut("login"))
    assert life.end == (Reason.TIMEOUT_LOGIN, "client")


@given(
    st.lists(st.integers(0, 200), max_size=10), st.sampled_from([said for said, _ in LOGINS]), st.lists(st.integers(0, 200), max_size=10)
)
def test_however_the_octets_are_cut_the_session_is_the_same(points: list[int], login: bytes, server_points: list[int]) -> None:
    life = Life()
    client = b'a0 ID ("name" "x")\r\n' + login + b"a2 SELECT {5+}\r\nINBOX\r\n"
    server = SERVER_GREETING + b"P1 OK\r\nP2 OK [CAPABILITY IMAP4rev1] in\r\n* 3 EXISTS\r\n"
    to_server = to_client = b""
    for leg, data, cuts in ((CLIENT, client, points), (MAIN, server, server_points)):
        edges = [0, *sorted(point % (len(data) + 1) for point in cuts), len(data)]
        for a, b in itertools.pairwise(edges):
            if a < b and not isinstance(life.decisions[-1], Tunnel):
                life.tell(BytesReceived(leg, data[a:b]))
                end = b
    tunnel = life.decisions[-1]
    assert isinstance(tunnel, Tunnel)
    rest = server[end:]
    to_server += tunnel.to_server
    to_client += tunnel.to_client + rest
    assert to_server == b"a2 SELECT {5+}\r\nINBOX\r\n"
    assert to_client == b"* 3 EXISTS\r\n"
    assert life.to_client.endswith(b"a1 OK [CAPABILITY IMAP4rev1] in\r\n")


@given(st.lists(st.tuples(st.sampled_from([CLIENT, MAIN]), st.binary(min_size=1, max_size=60)), max_size=15), st.booleans())
def test_any_octets_from_anybody_give_decisions_and_never_an_exception(letters: list[tuple[int, bytes]], signed_in: bool) -> None:
    life = Life(mechanisms=["PLAIN", "LOGIN", SCRAM], facts=FACTS, known=TARGET)
    if signed_in:
        life.client(b"a1 LOGIN alice hunter2\r\n")
    for leg, data in letters:
        if life.end is None and not isinstance(life.decisions[-1], Tunnel):
            life.tell(BytesReceived(leg, data))
    assert all(b"hunter2" not in repr(decision).encode() for decision in life.decisions)
    assert {type(record.event) for record in life.all(Record)} <= {str}


# -- capability lists


NAMES = [
    b"IDLE",
    b"LITERAL+",
    b"LITERAL-",
    b"ENABLE",
    b"IMAP4rev2",
    b"QUOTA",
    b"COMPRESS=DEFLATE",
    b"STARTTLS",
    b"AUTH=PLAIN",
    b"X-NEW",
    b"THREAD=REFS",
]


@given(st.lists(st.sampled_from(NAMES), unique=True), st.sampled_from(["code", "data", "asked for"]), st.booleans())
def test_the_client_hears_one_list_before_the_login_and_one_after_it(names: list[bytes], how: str, encrypted: bool) -> None:
    known = ServerFacts(plain=(b"IMAP4rev1", *names))
    life = Life(facts=known, tls=TLS if encrypted else None, settings={"tls": "starttls"}, plain_login=True)
    before = life.to_client.partition(b"[CAPABILITY ")[2].partition(b"]")[0]
    assert life.client(b"a0 CAPABILITY\r\n") == b"* CAPABILITY " + before + b"\r\na0 OK Capability completed.\r\n"
    assert (b"STARTTLS" in before.split()) is not encrypted
    assert not {b"QUOTA", b"COMPRESS=DEFLATE", b"X-NEW", b"LOGINDISABLED"} & set(before.split())
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(SERVER_GREETING)
    theirs = b" ".join([b"IMAP4rev1", *names])
    if how == "code":
        told = life.server(b"P2 OK [CAPABILITY " + theirs + b"] in\r\n")
    elif how == "data":
        told = life.server(b"* CAPABILITY " + theirs + b"\r\nP2 OK in\r\n")
    else:
        life.server(b"P2 OK in\r\n")
        told = life.server(b"* CAPABILITY " + theirs + b"\r\nP3 OK done\r\n")
    after = told.partition(b"[CAPABILITY ")[2].partition(b"]")[0]
    unkept = {b"COMPRESS=DEFLATE", b"STARTTLS", b"AUTH=PLAIN", b"X-NEW"}
    assert after.split() == [name for name in theirs.split() if name not in unkept]
    if not isinstance(life.decisions[-1], Tunnel):
        for said in (
            b"* CAPABILITY " + theirs + b"\r\n",
            b"* OK [CAPABILITY " + theirs + b"] x\r\n",
            b"a9 OK [CAPABILITY " + theirs + b"] x\r\n",
        ):
            assert life.server(said) == said.replace(theirs, after)
