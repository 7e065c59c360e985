"""How a client signs in over IMAP, and the proxy at the server, as an exchange of letters."""

from __future__ import annotations

import pytest
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
    StartTls,
    Tunnel,
    Wait,
)
from portico.session.events import (
    CLIENT,
    MAIN,
    BytesReceived,
    Closed,
    Event,
    ServerFailed,
    TimedOut,
    TlsStarted,
)

from tests.session.imap.letters import ALICE, FACTS, ID, LOGINS, SCRAM, SERVER_GREETING, opened
from tests.session.life import TARGET, TLS, Life

# -- signing in


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
