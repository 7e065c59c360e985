"""What a proxy in front says of the client: believed from those who may say it, and the hops from anybody."""

from __future__ import annotations

from typing import Any

import pytest
from portico.session.context import HOPS
from portico.session.decisions import Record
from portico.session.events import CLIENT, TlsStarted

from tests.session.life import TLS, Life, Pop3Life

ID = b'a1 ID ("name" "Mail" "x-originating-ip" "203.0.113.9" "x-originating-port" "5000" "x-connected-ip" "203.0.113.1" ' + (
    b'"x-connected-port" "143" "x-session-id" "outer1" "x-proxy-ttl" "3")\r\n'
)
XCLIENT = b"XCLIENT ADDR=203.0.113.9 PORT=5000 SESSION=outer1 TTL=3 FORWARD=Zm9v NEW=word\r\n"


def of_the_trusted(life: Life) -> Life:
    life.session.context.trusted = True
    return life


def records(life: Life) -> list[tuple[str, dict[str, Any]]]:
    return [(record.event, record.fields) for record in life.all(Record) if "forward" in record.event]


def test_id_from_a_trusted_proxy_names_the_client_and_the_server_is_told_of_him() -> None:
    life = of_the_trusted(Life())
    assert life.client(ID).endswith(b"a1 OK ID completed.\r\n")
    peer = life.session.view.peer
    assert (peer.rip, peer.rport, peer.lip, peer.lport, peer.real_rip) == ("203.0.113.9", 5000, "203.0.113.1", 143, "192.0.2.1")
    assert records(life) == [("session.forwarded", {"how": "id", "outer_session": "outer1"})]
    assert life.session.view.client_id == {"name": "Mail"}
    life.client(b"a2 LOGIN alice secret\r\n")
    told = life.answered(b"* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n")
    assert told.startswith(
        b'P1 ID ("name" "Mail" "x-session-ext-id" "outer1" "x-session-id" "sid" "x-originating-ip" "203.0.113.9" '
        b'"x-originating-port" "5000" "x-connected-ip" "203.0.113.1" "x-connected-port" "143" "x-proxy-ttl" "2")\r\n'
    )


def test_id_from_anybody_else_is_answered_and_not_believed_which_is_said_once() -> None:
    life = Life()
    for _ in range(3):
        assert life.client(ID).endswith(b"a1 OK ID completed.\r\n")
    assert (life.session.view.peer.rip, life.session.view.peer.real_rip) == ("192.0.2.1", "")
    assert records(life) == [("session.forwarding_ignored", {"how": "id"})]
    life.client(b"a2 LOGIN alice secret\r\n")
    told = life.answered(b"* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n")
    assert b'"x-originating-ip" "192.0.2.1"' in told and b"outer1" not in told


def test_xclient_from_a_trusted_proxy_names_the_client() -> None:
    life = of_the_trusted(Pop3Life())
    assert life.client(XCLIENT) == b"+OK Updated\r\n"
    assert (life.session.view.peer.rip, life.session.view.peer.rport) == ("203.0.113.9", 5000)
    life.client(b"USER alice\r\nPASS secret\r\n")
    assert life.answered(b"+OK [XCLIENT] hi\r\n") == b"XCLIENT ADDR=203.0.113.9 PORT=5000 SESSION=sid TTL=2\r\n"


def test_only_the_trusted_are_told_in_the_greeting_that_xclient_is_taken() -> None:
    life = Pop3Life()
    assert b"XCLIENT" not in life.to_client
    assert life.client(XCLIENT) == b"-ERR You are not from a trusted network\r\n"
    assert life.session.view.peer.rip == "192.0.2.1" and life.session.context.hops == 3
    assert of_the_trusted(life).session._front.greeting().startswith(b"+OK [XCLIENT] ")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "word", [b"ADDR=203.0.113.999", b"ADDR=", b"ADDR=fe80::1%eth0", b"PORT=70000", b"PORT=-1", b"SESSION=" + b"x" * 129, b"ADDR"]
)
def test_what_makes_no_sense_is_refused_whole(word: bytes) -> None:
    life = of_the_trusted(Pop3Life())
    before = repr(life.session.view.peer)
    assert life.client(b"XCLIENT SESSION=ok " + word + b"\r\n").startswith(b"-ERR ")
    assert repr(life.session.view.peer) == before


def test_what_makes_no_sense_in_id_is_not_believed() -> None:
    life = of_the_trusted(Life())
    assert life.client(b'a1 ID ("x-originating-ip" "nowhere" "x-session-id" "outer")\r\n').endswith(b"a1 OK ID completed.\r\n")
    assert life.session.view.peer.rip == "192.0.2.1" and life.session.context.outer_id == ""


def test_an_ipv6_address_is_taken_in_both_spellings() -> None:
    for text in (b"2001:DB8::9", b"IPV6:2001:db8::9"):
        life = of_the_trusted(Pop3Life())
        assert life.client(b"XCLIENT ADDR=" + text + b"\r\n") == b"+OK Updated\r\n"
        assert life.session.view.peer.rip == "2001:db8::9"


def test_an_ipv4_address_mapped_into_ipv6_is_taken_as_what_it_is() -> None:
    life = of_the_trusted(Pop3Life())
    assert life.client(b"XCLIENT ADDR=IPV6:::ffff:203.0.113.9\r\n") == b"+OK Updated\r\n"
    assert life.session.view.peer.rip == "203.0.113.9"


@pytest.mark.parametrize("kind", [Life, Pop3Life])
def test_what_was_said_before_tls_is_forgotten(kind: type[Life]) -> None:
    life = of_the_trusted(kind(tls=None, settings={"tls": "starttls"}))
    life.client(ID if kind is Life else XCLIENT)
    assert life.session.view.peer.rip == "203.0.113.9"
    life.client(b"a2 STARTTLS\r\n" if kind is Life else b"STLS\r\n")
    life.tell(TlsStarted(CLIENT, TLS))
    peer, context = life.session.view.peer, life.session.context
    assert (peer.rip, peer.rport, peer.lip, peer.real_rip, peer.tls) == ("192.0.2.1", 4711, "192.0.2.2", "", TLS)
    assert (context.hops, context.outer_id) == (HOPS, "")


@pytest.mark.parametrize(("hops", "ends"), [(b"0", True), (b"1", True), (b"2", False), (b"200", False), (b"-1", False), (b"", False)])
def test_a_login_that_has_passed_too_many_proxies_ends_here(hops: bytes, ends: bool) -> None:
    for trusted in (False, True):
        life = Life()
        life.session.context.trusted = trusted
        life.client(b'a1 ID ("x-proxy-ttl" "%b")\r\n' % hops)
        life.client(b"a2 LOGIN alice secret\r\n")
        told, asked = life.letter(0, b"* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR] hi\r\n")
        assert (b"a2 NO [UNAVAILABLE]" in told, asked == b"") == (ends, ends)
        assert [record.fields["reason"] for record in life.all(Record) if record.event == "login.failed"] == ["loop"] * ends


def test_a_pop3_login_that_has_passed_too_many_proxies_ends_here() -> None:
    life = Pop3Life()
    life.client(b"XCLIENT TTL=1\r\nUSER alice\r\nPASS secret\r\n")
    assert life.server(b"+OK hi\r\n").startswith(b"-ERR [SYS/TEMP]")
