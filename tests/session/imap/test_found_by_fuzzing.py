"""What tests/fuzz found in the IMAP session, each as the shortest exchange that showed it."""

from __future__ import annotations

import pytest
from portico.config.settings import Listener
from portico.session.close import Reason
from portico.session.context import Context, Peer, Route, ServerFacts, SessionView, Target, TlsInfo
from portico.session.decisions import CheckLogin, Close, Connect, Decision, LoginEnded, SendToClient, SendToServer
from portico.session.events import (
    CLIENT,
    MAIN,
    BytesReceived,
    ClientConnected,
    Closed,
    Kicked,
    LoginAllowed,
    ServerConnected,
    ServerFailed,
    SessionOpened,
    TimedOut,
)
from portico.session.imap.session import ImapSession
from portico.session.imap.watch import Watch

TARGET = Target("main", "127.0.0.1:143")
SCRAM = ServerFacts((b"IMAP4rev1", b"AUTH=SCRAM-SHA-256"), (), ("SCRAM-SHA-256",))


def context(tls: str = "implicit", **more: object) -> Context:
    said = {"protocol": "imap", "addresses": ["127.0.0.1:0"], "tls": tls, "mechanisms": ["PLAIN", "SCRAM-SHA-256"]}
    listener = Listener.model_validate(said)
    info = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384") if tls == "implicit" else None
    peer = Peer("192.0.2.1", 4711, "192.0.2.2", 993, info)
    return Context("sid", "imap", "l", peer, listener, **more)  # type: ignore[arg-type]


def watch() -> Watch:
    given = context()
    view = SessionView("sid", "imap", "l", given.peer, user="alice", server="main")
    return Watch(given, view, None, [b"IMAP4rev1"])


def tell(watching: Watch, *events: BytesReceived | Closed) -> list[Decision]:
    out: list[Decision] = []
    for event in events:
        watching.handle(event, out)
    return out


def test_a_client_that_closed_its_half_gets_every_answer_of_one_chunk_before_the_end() -> None:
    watching = watch()
    tell(watching, BytesReceived(CLIENT, b"a1 NOOP\r\na2 NOOP\r\n"), Closed(CLIENT))
    out = tell(watching, BytesReceived(MAIN, b"a1 OK x\r\na2 OK y\r\n* OK z\r\n"))
    assert b"".join(decision.data for decision in out if isinstance(decision, SendToClient)) == b"a1 OK x\r\na2 OK y\r\n* OK z\r\n"
    assert out[-1] == Close(Reason.CLIENT_CLOSED, "client")
    assert sum(isinstance(decision, Close) for decision in out) == 1


def test_what_a_client_said_before_it_closed_its_half_is_still_sent_when_a_step_is_over() -> None:
    watching = watch()
    tell(watching, BytesReceived(CLIENT, b"a1 SELECT {5+}\r\nINBOX\r\na2 NOOP\r\n"), Closed(CLIENT))
    out = tell(watching, BytesReceived(MAIN, b"+ go\r\n"))
    assert b"".join(decision.data for decision in out if isinstance(decision, SendToServer)) == b"INBOX\r\na2 NOOP\r\n"
    out = tell(watching, BytesReceived(MAIN, b"a1 OK x\r\n"))
    assert not any(isinstance(decision, Close) for decision in out)
    assert tell(watching, BytesReceived(MAIN, b"a2 OK x\r\n"))[-1] == Close(Reason.CLIENT_CLOSED, "client")


def test_the_answer_to_a_long_tag_is_known_however_it_is_cut() -> None:
    tag = b"t" * 128
    watching = watch()
    assert tell(watching, BytesReceived(CLIENT, tag + b" NOOP\r\n"), BytesReceived(MAIN, tag), BytesReceived(MAIN, b" OK\r\n"))[
        -1
    ] == SendToClient(tag + b" OK\r\n")
    assert not watching.links[MAIN].pending
    assert tell(watching, BytesReceived(CLIENT, tag + b"t NOOP\r\n")) == [SendToClient(tag + b"t BAD Invalid command\r\n")]


def test_a_login_that_the_gate_was_never_asked_about_does_not_end() -> None:
    session = ImapSession(context(facts=SCRAM, known_target=TARGET))
    session.handle(ClientConnected())
    assert Connect(MAIN, TARGET) in session.handle(BytesReceived(CLIENT, b"a1 AUTHENTICATE SCRAM-SHA-256\r\n"))
    out = session.handle(ServerFailed(MAIN, "refused"))
    assert SendToClient(b"a1 NO [UNAVAILABLE] The mail server cannot be reached.\r\n") in out
    assert not any(isinstance(decision, LoginEnded) for decision in out)


def test_a_login_that_may_not_go_where_it_began_ends() -> None:
    session = ImapSession(context(facts=SCRAM, known_target=TARGET))
    session.handle(ClientConnected())
    session.handle(BytesReceived(CLIENT, b"a1 AUTHENTICATE SCRAM-SHA-256\r\n"))
    session.handle(ServerConnected(MAIN))
    session.handle(BytesReceived(MAIN, b"* OK [CAPABILITY IMAP4rev1 AUTH=SCRAM-SHA-256] x\r\n"))
    session.handle(BytesReceived(MAIN, b"+ \r\n"))
    out = session.handle(BytesReceived(CLIENT, b"biwsbj1hbGljZSxyPXh5eg==\r\n"))  # n,,n=alice,r=xyz
    assert any(isinstance(decision, CheckLogin) for decision in out)
    assert LoginEnded(False) in session.handle(LoginAllowed(Route(Target("other", "127.0.0.2:143"), "alice")))


def test_a_client_that_has_left_and_left_nonsense_behind_its_login_ends_once() -> None:
    session = ImapSession(context())
    session.handle(ClientConnected())
    session.handle(BytesReceived(CLIENT, b"a1 LOGIN alice x\r\na2 SELECT {99999999999+}\r\n"))
    session.handle(LoginAllowed(Route(TARGET, "alice")))
    session.handle(ServerConnected(MAIN))
    session.handle(Closed(CLIENT))
    session.handle(BytesReceived(MAIN, b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] x\r\n"))
    session.handle(BytesReceived(MAIN, b"P1 OK [CAPABILITY IMAP4rev1 X-ODD] in\r\n"))
    out = session.handle(SessionOpened(None))
    assert [decision.reason for decision in out if isinstance(decision, Close)] == [Reason.PROTOCOL_ERROR]


@pytest.mark.parametrize(
    "said",
    [
        b"a1 AUTHENTICATE FOO\r\nAGFsaWNlAHNlY3JldA==\r\n",  # the answer is sent before the refusal is read
        b"a1 LOGIN alice {99999999}\r\nsecret word\r\n",
        b"secret {99999999}\r\n",
    ],
)
def test_a_password_that_comes_as_a_command_is_not_in_the_trace(said: bytes) -> None:
    session = ImapSession(context(trace_users=("alice",)))
    session.handle(ClientConnected())
    out = session.handle(BytesReceived(CLIENT, said))
    assert b"BAD" in b"".join(decision.data for decision in out if isinstance(decision, SendToClient))
    traced = b"".join(decision.data for decision in session._prelude)
    assert b"BAD" in traced
    assert b"secret" not in traced
    assert b"AGFsaWNlAHNlY3JldA" not in traced


@pytest.mark.parametrize("event", [TimedOut("login"), Kicked("Bye.")])
def test_nothing_is_said_into_a_handshake(event: TimedOut | Kicked) -> None:
    session = ImapSession(context("starttls"))
    session.handle(ClientConnected())
    session.handle(BytesReceived(CLIENT, b"a1 STARTTLS\r\n"))
    out = session.handle(event)
    assert [type(decision) for decision in out] == [Close]
