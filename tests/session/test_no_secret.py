"""Whatever way somebody signs in, and whatever becomes of it, no password is seen: not in a log event, a trace, a decision, an
exception or the session itself. Only what is sent to the server has it.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace

import pytest
from portico.session.context import Refusal, Route, ServerFacts, Target
from portico.session.decisions import CheckLogin, Decision, Record, SendToClient, SendToServer, Trace, Tunnel
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked, TimedOut, TlsStarted
from portico.session.interests import Interests

from tests.session.life import TARGET, TLS, Life, Pop3Life

CANARY = b"Canary-7e1f"
WORDS = b"Canary 7e1f two words"


def b64(octets: bytes) -> bytes:
    return b64encode(octets)


PLAIN = b64(b"\0alice\0" + CANARY)
XOAUTH2 = b64(b"user=alice\x01auth=Bearer " + CANARY + b"\x01\x01")
OAUTHBEARER = b64(b"n,a=alice,\x01auth=Bearer " + CANARY + b"\x01\x01")
SECRETS = [CANARY, WORDS, b"7e1f", PLAIN, XOAUTH2, OAUTHBEARER, b64(CANARY), b64(b"alice " + CANARY), b64(b"c=biws,p=" + CANARY)]

SASL = {
    b"PLAIN": [PLAIN],
    b"LOGIN": [b64(b"alice"), b64(CANARY)],
    b"XOAUTH2": [XOAUTH2],
    b"OAUTHBEARER": [OAUTHBEARER],
    b"CRAM-MD5": [b64(b"alice " + CANARY)],
    b"SCRAM-SHA-256": [b64(b"n,,n=alice,r=x"), b64(b"c=biws,p=" + CANARY)],
}
STEPS = [b"a1 AUTHENTICATE %b\r\n%b\r\n" % (name, b"\r\n".join(said)) for name, said in SASL.items()]
INITIAL = [b"a1 AUTHENTICATE %b %b\r\n" % (name, b"\r\n".join(said)) for name, said in SASL.items()]
IMAP = [
    b"a1 LOGIN alice %b\r\n" % CANARY,
    b'a1 LOGIN alice "%b"\r\n' % WORDS,
    b"a1 LOGIN alice {%d}\r\n%b\r\n" % (len(CANARY), CANARY),
    b"a1 LOGIN {5+}\r\nalice {%d+}\r\n%b\r\n" % (len(WORDS), WORDS),
    b"a1 LOGIN NIL %b\r\n" % CANARY,
    b"a1 login alice %b too\r\n" % CANARY,  # mistyped, each in its way
    b'a1 LOGIN alice "%b\r\n' % CANARY,
    b'a1 LOGIN "al\x01ice" %b\r\n' % CANARY,
    b"a1 LOGIN alice {%d+}\r\n%b\x00\r\n" % (len(CANARY) + 1, CANARY),
    b"a1 LOGNI alice %b\r\n" % CANARY,
    b"LOGIN alice %b\r\n" % CANARY,
    b"a0 ID a1 LOGIN alice {%d+}\r\n%b\r\n" % (len(CANARY), CANARY),
    b"a0 NOOP a1 LOGIN alice %b\r\n" % CANARY,
    b"%b LOGIN alice {99999999999}\r\n%b\r\n" % (CANARY, CANARY),
    b"%b\r\n" % CANARY,
    b"%b NOPP\r\n" % CANARY,  # what stands before a command that there is, is a tag; here it may be anything
    b"%b {9+}\r\n123456789\r\n" % CANARY,
    b"a1 {%d+}\r\n%b\r\n" % (len(CANARY), CANARY),
    b"a1 AUTHENTICATE NTLM\r\n%b\r\n" % PLAIN,  # not offered, and the answer is sent before the refusal is read
    b"a1 AUTHENTICATE PLAIN %b !\r\n" % PLAIN,
    b"a1 AUTHENTICATE PLAIN\r\n%b!\r\n" % CANARY,
    b"a1 AUTHENTICATE PLAIN\r\n%b\r\n" % b64(CANARY),
    b"a1 AUTHENTICATE LOGIN\r\n*\r\n%b\r\n" % b64(CANARY),
    *STEPS,
    *INITIAL,
]
POP3 = [
    b"USER alice\r\nPASS %b\r\n" % CANARY,
    b"USER alice\r\npass %b\r\n" % WORDS,
    b"PASS %b\r\n" % CANARY,
    b"USER alice\r\nPASSS %b\r\n" % CANARY,
    b"USER alice\r\n%b\r\n" % CANARY,
    b"USER alice\r\nCanary7e1f\r\n",
    b"USER alice\r\nNOOP PASS %b\r\n" % CANARY,
    b"USER alice\r\nPASS %b\x00\r\n" % CANARY,
    b"AUTH NTLM\r\n%b\r\n" % PLAIN,
    b"AUTH PLAIN %b !\r\n" % PLAIN,
    b"AUTH PLAIN\r\n%b!\r\n" % CANARY,
    b"AUTH LOGIN\r\n*\r\n%b\r\n" % b64(CANARY),
    *(said.replace(b"a1 AUTHENTICATE", b"AUTH") for said in STEPS + INITIAL),
]
FACTS = {
    "imap": ServerFacts((b"IMAP4rev1", b"SASL-IR", b"AUTH=CRAM-MD5", b"AUTH=SCRAM-SHA-256"), (), ("CRAM-MD5", "SCRAM-SHA-256")),
    "pop3": ServerFacts((b"USER", b"SASL PLAIN CRAM-MD5 SCRAM-SHA-256"), (), ("CRAM-MD5", "SCRAM-SHA-256")),
}
MECHANISMS = ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "CRAM-MD5", "SCRAM-SHA-256"]
LISTS = [b"SASL-IR AUTH=PLAIN AUTH=XOAUTH2", b"AUTH=LOGIN LOGINDISABLED", b"LITERAL+", b""]
"""What an IMAP server may offer, for all the ways in which we sign in there."""
SERVERS = {
    "imap": [
        [b"* OK [CAPABILITY IMAP4rev1 ID %b] x\r\n" % offered, *([b"+ \r\n"] * 3), b"P1 %b\r\nP2 %b\r\nP3 %b\r\n" % ((said,) * 3)]
        for offered in LISTS
        for said in (b"OK [CAPABILITY IMAP4rev1 X-ODD] in", b"NO [AUTHENTICATIONFAILED] no", b"NO [UNAVAILABLE] later")
    ],
    "pop3": [
        [b"+OK ready\r\n", *([said] * 3), b"+ \r\n", last, last, b"+OK\r\nX-ODD\r\n.\r\n"]
        for said in (b"+OK\r\n", b"+ \r\n")
        for last in (b"+OK in\r\n", b"-ERR [AUTH] no\r\n", b"-ERR [SYS/TEMP] later\r\n")
    ],
}
WAYS = [("imap", said) for said in IMAP] + [("pop3", said) for said in POP3]
MASTER = replace(Route(TARGET, "alice", "boss", verified=True), password=None)


def life_of(protocol: str, *, tls: bool = True, route: Route | Refusal | None = None) -> Life:
    how = {
        "facts": FACTS[protocol],
        "known": TARGET,
        "trace": ("*",),
        "mechanisms": MECHANISMS,
        "route": route,
        "interests": Interests(commands={"NOOP": lambda view, command: None, "LOGIN": lambda view, command: None}),
        "tls": TLS if tls else None,
        "settings": {"tls": "starttls"},
    }
    return Life(**how) if protocol == "imap" else Pop3Life(**how)


def nothing_is_seen(life: Life, seen: list[str]) -> None:
    """In what a log, a trace, a `repr` of an event's consequence or of the session would show."""
    seen += [repr(life.session), repr(life.session.view), repr(life.all(CheckLogin))]
    for decision in life.decisions:
        seen.append(shown(decision))
    seen += [repr(trace) for trace in life.session._prelude]
    for text in seen:
        for secret in SECRETS:
            assert secret.decode() not in text, text
            assert secret.decode().upper() not in text, text


def shown(decision: Decision) -> str:
    if isinstance(decision, SendToClient):
        return ""  # BAD has the tag to answer to, whatever it is; it goes to the client and nowhere else
    if isinstance(decision, Tunnel):
        return repr(replace(decision, to_client=b"", to_server=b""))
    if isinstance(decision, SendToServer):
        assert repr(decision) == f"SendToServer(leg={decision.leg})"
    return repr(decision)


def tell(life: Life, event: Event, seen: list[str]) -> None:
    if life.end is not None or (life.decisions and isinstance(life.decisions[-1], Tunnel)):
        return
    try:
        life.tell(event)
    except Exception as error:  # a bug; and even then
        seen.append(repr(error))
        raise


@pytest.mark.parametrize(("protocol", "said"), WAYS, ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value)
def test_no_way_of_signing_in_shows_the_password(protocol: str, said: bytes) -> None:
    for server in SERVERS[protocol]:
        life, seen = life_of(protocol), list[str]()
        for line in said.splitlines(keepends=True):  # as the client does that waits, and as it comes
            tell(life, BytesReceived(CLIENT, line), seen)
        for letter in server:
            tell(life, BytesReceived(MAIN, letter), seen)
            if life.session.view.mechanism in ("CRAM-MD5", "SCRAM-SHA-256"):
                tell(life, BytesReceived(CLIENT, b64(b"c=biws,p=" + CANARY) + b"\r\n"), seen)
        tell(life, BytesReceived(CLIENT, said), seen)  # once more: behind a refusal, or behind a login
        tell(life, Kicked("bye"), seen)
        nothing_is_seen(life, seen)


@pytest.mark.parametrize(("protocol", "said"), WAYS, ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else value)
def test_no_end_of_a_login_shows_the_password(protocol: str, said: bytes) -> None:
    refused = Refusal("Not you.", "AUTHORIZATIONFAILED", "plugin", counts=True)
    starttls = Route(Target("main", "x:1", "starttls"), "alice")
    for route in (None, refused, MASTER, starttls):
        for end in (Closed(CLIENT, clean=False), Closed(MAIN), TimedOut("login"), BytesReceived(MAIN, b"\xff" * (2 << 20))):
            for tls in (True, False):
                life, seen = life_of(protocol, tls=tls, route=route), list[str]()
                tell(life, BytesReceived(CLIENT, said), seen)
                tell(life, end, seen)
                nothing_is_seen(life, seen)


@pytest.mark.parametrize(("protocol", "command"), [("imap", b"a0 STARTTLS\r\n"), ("pop3", b"STLS\r\n")])
def test_a_password_said_before_tls_is_forgotten_unseen(protocol: str, command: bytes) -> None:
    for said in IMAP if protocol == "imap" else POP3:
        life, seen = life_of(protocol, tls=False), list[str]()
        tell(life, BytesReceived(CLIENT, command + said), seen)
        tell(life, TlsStarted(CLIENT, TLS), seen)
        assert not life.all(CheckLogin)
        nothing_is_seen(life, seen)


def test_the_password_is_where_it_has_to_be() -> None:
    """Or the tests above would prove nothing."""
    life = life_of("imap")
    life.client(IMAP[0])
    life.server(b"* OK [CAPABILITY IMAP4rev1] x\r\n")
    assert CANARY in life.to_server
    assert life.server(b"P1 OK [CAPABILITY IMAP4rev1] in\r\n").startswith(b"a1 OK")
    assert {record.event for record in life.all(Record)} == {"login.succeeded", "session.opened", "trace.started"}
    assert any(b"a1 LOGIN" in trace.data for trace in life.all(Trace))
