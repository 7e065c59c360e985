"""Where links lead: nowhere but where the settings say."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico_meeting_links import links
from portico_meeting_links.folder import readable, written

VALUES = dict.fromkeys(links.VARIABLES, "x")
HOSTILE = ["..", ".", "/", "//evil.example/", "\\", "?", "#", "%2e%2e", "@", ":", "\r\n", "\0", "{user}", "&", "'\"><", "ü", "\ud800"]


@pytest.mark.parametrize("preset", links.PRESETS)
@pytest.mark.parametrize("name", links.VARIABLES)
@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_leads_elsewhere(preset: str, name: str, value: str) -> None:
    template = "https://mail.example.org" + links.PRESETS[preset]
    plain = links.fill(template, VALUES)
    link = links.fill(template, VALUES | {name: value})
    if link is None:
        assert value in ("..", ".") or "/" in value
        return
    assert plain is not None
    assert link.isascii() and link.isprintable() and " " not in link
    for sign in "/?#@:":
        assert link.count(sign) == plain.count(sign)
    assert link.startswith("https://mail.example.org/")
    assert not {".", ".."} & set(link.replace("%2E", ".").split("/"))


@given(st.text(max_size=40))
@settings(deadline=None)
def test_what_stands_in_a_link_can_be_read_back(value: str) -> None:
    from urllib.parse import unquote

    link = links.fill("https://m/x?{subject}", {"subject": value})
    assert link == (None if not value else link)
    assert not value or unquote((link or "").removeprefix("https://m/x?")) == value


def test_no_link_is_better_than_a_dead_one() -> None:
    assert links.fill("https://m/{message_id}", {}) is None
    assert links.fill("https://m/{message_id}", {"message_id": ""}) is None
    assert links.fill("https://m/{subject}", {"subject": "ü" * 2000}) is None
    assert links.fill("https://m/{{x}}", {}) == "https://m/{x}"


def test_a_slash_of_a_value_stands_in_no_path() -> None:
    assert links.fill("https://m/open/{message_id}", {"message_id": "a/b@m"}) is None
    assert links.fill("https://m/{user}/open?{message_id}", {"user": "alice", "message_id": "a/b@m"}) == "https://m/alice/open?a%2Fb%40m"
    assert links.fill("https://m/#{folder}", {"folder": "a/b"}) == "https://m/#a%2Fb"


def test_exchange_names_an_item_in_its_own_way() -> None:
    template = "https://m" + links.PRESETS["exchange-2003"]
    values = VALUES | {"alias": "alice", "item": links.item("Q1/Q2: 50 % ~ why?")}
    assert links.fill(template, values) == "https://m/exchange/alice/Inbox/Q1_xF8FF_Q2%3A%2050%20%25%20_x007E_%20why_x003F_.EML?Cmd=open"


@given(st.text(max_size=20))
def test_a_mailbox_has_one_name_whatever_the_client_calls_it(folder: str) -> None:
    assert written(folder).isascii()
    if not set(folder) & {chr(number) for number in range(0xD800, 0xE000)}:
        assert readable(written(folder)) == folder
        assert written(readable(written(folder))) == written(folder)


@pytest.mark.parametrize("path", ["roundcube", "/{domain}", "//..", "/../x", "/a b", "/a?b", "/a#b", "/a\\b", "@evil.example/", ":8443"])
def test_a_path_is_a_path(path: str) -> None:
    with pytest.raises(ValueError, match="a path is expected"):
        links.check_path(path)


@pytest.mark.parametrize("path", ["", "/", "/roundcube", "/rc/", "/~mail/a-b_c", "/%7Eu"])
def test_a_good_path_is_taken(path: str) -> None:
    assert links.check_path(path) == path


@pytest.mark.parametrize(
    "host", ["mail", "mail.example.org", "mail.example.org.", "mail:8443", "192.0.2.1", "[2001:db8::1]:443", "xn--bcher-kva.example"]
)
def test_a_good_host_is_taken(host: str) -> None:
    assert links.check_host(host) == host


@pytest.mark.parametrize(
    "host", ["a" * 60 + "!", "a." * 5000 + "!", "mail/x", "user@mail", "mail:", "-mail", "mail..org", "mäil", "a" * 64, "{domain}"]
)
def test_a_host_that_is_none_is_told_at_once(host: str) -> None:
    began = process_time()
    with pytest.raises(ValueError, match="a host is expected"):
        links.check_host(host)
    assert process_time() - began < 5


@pytest.mark.parametrize(
    "template", ["https://m/../{uid}", "https://m/a/%2e%2E/{uid}", "https://m/<{uid}>", 'https://m/"{uid}"', "https://m/\\{uid}"]
)
def test_a_template_that_is_no_address_is_told(template: str) -> None:
    with pytest.raises(ValueError, match=r"characters|a step"):
        links.check_template(template)


@pytest.mark.parametrize(
    ("template", "begins"),
    [
        ("https://m/?_task=mail&_uid={uid}", "https://m/?_task=mail&_uid="),
        ("https://m/{message_id}", ""),
        ("https://m:8443/?{uid}", ""),
        ("https://m/mail", "https://m/mail"),
    ],
)
def test_what_all_links_begin_with_is_more_than_a_host(template: str, begins: str) -> None:
    assert links.beginning(template) == begins


@pytest.mark.parametrize(
    ("mailbox", "folder"),
    [
        ("INBOX", "INBOX"),
        ("Entw&APw-rfe", "Entwürfe"),
        ("a &- b", "a & b"),
        ("&2D3eAA-", "😀"),
        ("R&D", "R&D"),
        ("&2D0-", "&2D0-"),
        ("&A-", "&A-"),
    ],
)
def test_a_folder_is_told_in_unicode(mailbox: str, folder: str) -> None:
    assert readable(mailbox) == folder
