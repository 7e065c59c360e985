"""The life of an IMAP session as an exchange of letters: C client, S server, and the gate in between.

Before the login, its ends, and what holds for all of it; the login is in test_imap_signing_in.py, what comes after it in test_imap_open.py.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.session.close import Reason
from portico.session.context import Refusal, ServerFacts
from portico.session.decisions import (
    CheckLogin,
    Record,
    StartTls,
    Tunnel,
)
from portico.session.events import (
    CLIENT,
    MAIN,
    BytesReceived,
    Closed,
    Kicked,
    TimedOut,
    TlsStarted,
)

from tests.session.imap.letters import FACTS, GREETING, LOGINS, SCRAM, SERVER_GREETING
from tests.session.life import TARGET, TLS, Life, Pop3Life

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
