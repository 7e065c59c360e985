"""The client allow-list, as its operator and its refused clients see it; by portico.testing alone."""

from __future__ import annotations

from typing import Any

import pytest
from portico.testing import Correspondence, ScriptedServer, check_plugin, running_proxy
from portico_client_allow_list import ClientAllowList, inside, permitted

TEXT = "This mail program or network is not allowed here."
NO = f"in NO [AUTHORIZATIONFAILED] {TEXT}\r\n".encode()
THUNDERBIRD = {"name": "Thunderbird", "version": "140.1"}


def signs_in(options: dict[str, Any], **how: Any) -> bool:
    client_id = how.pop("client_id", None)
    with Correspondence(ClientAllowList, options, **how) as session:
        told = session.sign_in(client_id=client_id)
        assert session.faults == []
        assert session.mode == ("tunnel" if b"OK" in told else "front")
        assert b"OK" in told or TEXT.encode() in told
        return b"OK" in told


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, {}),
        ({"networks": ["192.0.2.0/24"]}, {}),
        ({"programs": ["thunderbird"]}, {"client_id": THUNDERBIRD}),
        ({"networks": ["192.0.2.1"], "programs": ["*"], "unknown": "refuse"}, {"client_id": THUNDERBIRD}),
    ],
)
def test_it_keeps_what_every_plugin_must_keep(options: dict[str, Any], how: dict[str, Any]) -> None:
    check_plugin(ClientAllowList, options, protocols=("imap",) if options.get("unknown") == "refuse" else ("imap", "pop3"), **how)


def test_a_client_of_another_network_is_told_why_and_the_server_is_not_asked() -> None:
    with Correspondence(ClientAllowList, {"networks": ["10.0.0.0/8"]}) as session:
        assert session.sign_in() == NO
        assert session.view.server == ""
        assert session.mode == "front"


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize(
    ("rip", "networks", "welcome"),
    [
        ("192.0.2.1", ["192.0.2.0/24"], True),
        ("192.0.2.1", ["192.0.2.7/24"], True),
        ("192.0.2.1", ["198.51.100.0/24", "192.0.2.1"], True),
        ("192.0.3.1", ["192.0.2.0/24"], False),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], True),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("2001:db8::1", ["192.0.2.0/24"], False),
        ("", ["0.0.0.0/0", "::/0"], False),
    ],
)
def test_networks_hold_for_both_protocols(protocol: str, rip: str, networks: list[str], welcome: bool) -> None:
    assert signs_in({"networks": networks}, protocol=protocol, rip=rip) is welcome
    assert inside(rip, tuple(networks)) is welcome


@pytest.mark.parametrize(
    ("pattern", "welcome"),
    [
        ("Thunderbird", True),
        ("thunder*", True),
        ("Thunderbird/14*", True),
        ("Thunderbird/1[5-9]*", False),
        ("Outlook*", False),
        ("*/140.1", True),
    ],
)
def test_a_program_is_known_by_its_name_or_by_name_and_version(pattern: str, welcome: bool) -> None:
    assert signs_in({"programs": ["K-9 Mail", pattern]}, client_id=THUNDERBIRD) is welcome


@pytest.mark.parametrize(("unknown", "welcome"), [("allow", True), ("refuse", False)])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_client_that_gives_no_name_is_unknown_and_every_pop3_client_is(protocol: str, unknown: str, welcome: bool) -> None:
    assert signs_in({"programs": ["Thunderbird"], "unknown": unknown}, protocol=protocol) is welcome


def test_a_version_without_a_name_is_unknown_too() -> None:
    assert permitted({"version": "1"}, ["*"], unknown=False) is False


def test_a_name_that_is_given_after_a_refused_login_counts_for_the_next() -> None:
    with Correspondence(ClientAllowList, {"programs": ["Thunderbird"], "unknown": "refuse"}) as session:
        assert session.sign_in() == NO
        assert session.sign_in(client_id=THUNDERBIRD).startswith(b"in OK")


def test_both_lists_must_hold() -> None:
    both = {"networks": ["192.0.2.0/24"], "programs": ["Thunderbird"]}
    assert signs_in(both, client_id=THUNDERBIRD)
    assert not signs_in(both, client_id=THUNDERBIRD, rip="198.51.100.1")
    assert not signs_in(both, client_id={"name": "Outlook"})


def test_the_refusal_is_in_the_operators_words() -> None:
    with Correspondence(ClientAllowList, {"networks": ["10.0.0.0/8"], "text": "Only from the office."}, protocol="pop3") as session:
        assert session.sign_in() == b"-ERR [AUTH] Only from the office.\r\n"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"networks": ["10.0.0.0/33"]}, "option networks: '10.0.0.0/33' does not appear to be an IPv4 or IPv6 network"),
        ({"unknown": "maybe"}, 'option unknown: found "maybe"; possible: "allow" or "refuse"'),
        ({"program": ["x"]}, "option program: there is no such option.*did you mean programs?"),
    ],
)
def test_a_mistake_in_the_options_is_told_at_start(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_plugin(ClientAllowList, options)


def test_through_a_whole_proxy() -> None:
    playbook = """
    C: a2 NOOP
    S: a2 OK done
    """
    with ScriptedServer(playbook) as server, running_proxy(ClientAllowList, {"programs": ["Good*"]}, server=server) as proxy:
        with proxy.client() as bad:
            bad.line()
            bad.command(b'a0 ID ("name" "Bad Mail")')
            assert bad.command(b"a1 LOGIN alice secret") == f"a1 NO [AUTHORIZATIONFAILED] {TEXT}\r\n".encode()
        with proxy.client() as good:
            good.line()
            good.command(b'a0 ID ("name" "Good Mail")')
            assert good.command(b"a1 LOGIN alice secret").startswith(b"a1 OK")
            assert good.command(b"a2 NOOP") == b"a2 OK done\r\n"
        assert [event["reason"] for event in proxy.events("login.failed")] == ["plugin"]
        assert [event["mode"] for event in proxy.events("session.opened")] == ["tunnel"]
