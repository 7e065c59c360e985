"""What LIST, LSUB and NAMESPACE tell of public folders: two trees that are one, and the modes in which the second is shown.

Rule of this file: names that are found are held against those that the servers have, matched by the RFC's rule for patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from portico.demo.dovecot import Dovecot

from tests.live.dialogue import Dialogue, eventually
from tests.live.mailboxes import Listed, listed, matching, names
from tests.live.people import PASSWORD
from tests.live.stores import LETTERS, MOUNTED, PUBLIC, Public, settled

pytestmark = pytest.mark.live


@pytest.fixture
def user(reader: str) -> str:
    return reader


# -- lists


def personal(dovecot: Dovecot, user: str) -> set[str]:
    with Dialogue(dovecot.ports.imap) as client:
        client.line()
        client.command(f"in LOGIN {user} {PASSWORD}".encode())
        return settled(names(client.command(b'l LIST "" *')))


@pytest.mark.parametrize(
    ("reference", "pattern"),
    [
        ("", "*"),
        ("", "%"),
        ("", "%/%"),
        ("", "%/%/%"),
        ("", "Public*"),
        ("", "Public%"),
        ("", "Public Folders"),
        ("", "Public Folders/"),
        ("", "Public Folders/*"),
        ("", "Public Folders/%"),
        ("", "Public Folders/Team*"),
        ("", "Public Folders/Team/%"),
        ("", "*Minutes"),
        ("", "*/Team"),
        ("", "%/Team"),
        ("", "P%s/N*"),
        ("", "INBOX"),
        ("", "Nowhere/*"),
        ("Public Folders/", "%"),
        ("Public Folders/", "*"),
        ("Public Folders", "/Team/*"),
        ("Public Folders/Team/", "%"),
        ("Pub", "lic Folders/%"),
        ("", "public folders/%"),
    ],
)
def test_a_pattern_finds_the_mailboxes_of_both_and_each_once(reference: str, pattern: str, public: Public, dovecot: Dovecot) -> None:
    everything = personal(dovecot, "guest") | MOUNTED | {"Public Folders"}
    with public.client("user", "guest") as client:
        found = names(client.command(f'l LIST "{reference}" "{pattern}"'.encode()))
    assert len(found) == len(set(found))
    assert settled(found) == matching(reference + pattern, everything)


def test_personal_mailboxes_come_first(public: Public, dovecot: Dovecot, user: str) -> None:
    with public.client("user", user) as client:
        found = names(client.command(b'l LIST "" *'))
    mounted = [name.startswith("Public Folders") for name in found]
    assert mounted == sorted(mounted) and any(mounted) and not all(mounted)


def test_the_separator_is_told_for_an_empty_pattern(public: Public, user: str) -> None:
    with public.client("user", user) as client:
        assert client.command(b'l LIST "" ""').startswith(b'* LIST (\\Noselect) "/" ""\r\nl OK')
        (row,) = client.command(b'l LIST "Public Folders/Team" ""').splitlines()[:-1]
        assert b' "/" ' in row


def attributes(rows: list[Listed]) -> dict[str, frozenset[str]]:
    return {row.name: row.attributes for row in rows}


def test_who_has_children_is_told_and_special_uses_are_not_passed_on(public: Public, public_store: Dovecot, user: str) -> None:
    with Dialogue(public_store.ports.imap) as client:
        client.line()
        client.command(f"in LOGIN {user} {PASSWORD}".encode())
        assert "archive" in attributes(listed(client.command(b'l LIST "" Public/Notices')))["Public/Notices"]
    with public.client("user", user) as client:
        found = attributes(listed(client.command(b'l LIST "" *')))
        asked = attributes(listed(client.command(b'l LIST "" * RETURN (CHILDREN SPECIAL-USE)')))
        special = attributes(listed(client.command(b'l LIST (SPECIAL-USE) "" *')))
    for rows in (found, asked):
        assert {"haschildren", "noselect"} <= rows["Public Folders"]
        assert "haschildren" in rows["Public Folders/Team"] and "hasnochildren" in rows["Public Folders/Notices"]
        assert "archive" not in rows["Public Folders/Notices"] and "archive" in rows["Archive"]
    assert "Archive" in special and not [name for name in special if name.startswith("Public Folders")]


def test_subscriptions_are_one_list_and_last(public: Public, user: str) -> None:
    with public.client("user", user) as client:
        before = settled(names(client.command(b'l LSUB "" *')))
        client.command(b's SUBSCRIBE "Public Folders/Team/Minutes"')
        client.command(b's SUBSCRIBE "Public Folders/Gr&APYA3w-e &- Gewicht"')
    with public.client("user", user) as client:
        mounted = {"Public Folders/Team/Minutes", "Public Folders/Größe & Gewicht"}
        assert settled(names(client.command(b'l LSUB "" *'))) == before | mounted
        assert settled(names(client.command(b'l LIST (SUBSCRIBED) "" *'))) == before | mounted
        above = attributes(listed(client.command(b'l LSUB "" %')))
        assert "noselect" in above["Public Folders"]
        assert names(client.command(b'l LSUB "" "Public Folders/Team*"')) == ["Public Folders/Team/Minutes"]
        (row,) = [row for row in listed(client.command(b'l LIST (SUBSCRIBED RECURSIVEMATCH) "" %')) if row.name == "Public Folders"]
        assert "CHILDINFO" in row.more.upper() and "SUBSCRIBED" in row.more.upper()
        everything = attributes(listed(client.command(b'l LIST "" "Public Folders/*" RETURN (SUBSCRIBED)')))
        assert {name for name, words in everything.items() if "subscribed" in words} == mounted
        client.command(b's UNSUBSCRIBE "Public Folders/Team/Minutes"')
        assert settled(names(client.command(b'l LSUB "" "Public Folders*"'))) == {"Public Folders/Größe & Gewicht"}


def test_a_list_can_bring_the_status_of_both(public: Public, user: str) -> None:
    with public.client("user", user) as client:
        answer = client.command(b'l LIST "" ("INBOX" "Public Folders/N%") RETURN (STATUS (MESSAGES))')
    assert names(answer) == ["INBOX", "Public Folders/Notices"]
    assert re.search(rb"^\* STATUS INBOX \(MESSAGES 0\)\r\n", answer, re.MULTILINE)
    assert re.search(rb'^\* STATUS "Public Folders/Notices" \(MESSAGES 3\)\r\n', answer, re.MULTILINE)


def test_the_public_namespace_is_told(public: Public, user: str) -> None:
    with public.client("user", user) as client:
        answer = client.command(b"n NAMESPACE")
    assert re.match(rb'\* NAMESPACE \(\("" "/"\)\) NIL \(.*\("Public Folders/" "/"\).*\)\r\nn OK', answer)


# -- modes


def test_on_demand_only_the_mount_is_listed_until_a_client_asks_below_it(public: Public, user: str) -> None:
    with public.client("on demand", user) as client:
        mounted = [row for row in listed(client.command(b'l LIST "" *')) if row.name.startswith("Public Folders")]
        assert [row.name for row in mounted] == ["Public Folders"] and "haschildren" in mounted[0].attributes
        assert settled(names(client.command(b'l LIST "" "Public Folders/%"'))) == {name for name in MOUNTED if name.count("/") == 1}
        assert settled(names(client.command(b'l LIST "Public Folders/" *'))) == MOUNTED


@pytest.mark.parametrize("way", ["subscribed", "subscribed here"])
def test_subscribed_shows_what_is_subscribed(way: str, public: Public, user: str) -> None:
    with public.client(way, user) as client:
        assert not [name for name in names(client.command(b'l LIST "" *')) if name.startswith("Public Folders/")]
        assert b"s OK" in client.command(b's SUBSCRIBE "Public Folders/Team"')
        found = names(client.command(b'l LIST "" *'))
        assert [name for name in found if name.startswith("Public Folders/")] == ["Public Folders/Team"]
        assert b"* 3 EXISTS" in client.command(b's SELECT "Public Folders/Notices"')


def test_hidden_folders_can_be_opened_by_name(public: Public, user: str) -> None:
    with public.client("hidden", user) as client:
        assert not [name for name in names(client.command(b'l LIST "" *')) if name.startswith("Public Folders")]
        assert not [name for name in names(client.command(b'l LIST "" %')) if name.startswith("Public Folders")]
        assert b"* 3 EXISTS" in client.command(b's SELECT "Public Folders/Notices"')


def test_virtually_all_is_subscribed_until_the_user_unsubscribes_and_that_lasts(public: Public, user: str) -> None:
    with public.client("virtual", user) as client:
        assert {name for name in settled(names(client.command(b'l LSUB "" *'))) if name.startswith("Public Folders/")} == MOUNTED
        assert b"u OK" in client.command(b'u UNSUBSCRIBE "Public Folders/Team"')
    with public.client("virtual", user) as client:
        left = MOUNTED - {"Public Folders/Team"}
        assert {name for name in settled(names(client.command(b'l LSUB "" *'))) if name.startswith("Public Folders/")} == left
        assert settled(names(client.command(b'l LIST (SUBSCRIBED) "" "Public Folders/*"'))) == left
        assert settled(names(client.command(b'l LIST "" "Public Folders/*"'))) == MOUNTED
        assert b"s OK" in client.command(b's SUBSCRIBE "Public Folders/Team"')
        assert {name for name in settled(names(client.command(b'l LSUB "" *'))) if name.startswith("Public Folders/")} == MOUNTED


@pytest.mark.parametrize("way", ["virtual", "user", "on demand"])
def test_the_mount_itself_does_not_count_as_subscribed(way: str, public: Public, user: str) -> None:
    """Thunderbird asks for the rights of whatever is, with the namespace's prefix before the name, and shows its user the NO."""
    with public.client(way, user) as client:
        for asked in (b'LIST (SUBSCRIBED) "" *', b'LIST (SUBSCRIBED) "" %', b'LSUB "" *', b'LIST (SUBSCRIBED) "" "Public Folders/*"'):
            assert "Public Folders" not in names(client.command(b"l " + asked))


def test_subscriptions_kept_here_are_each_users_own(public: Public, readers: Iterator[str]) -> None:
    one, other = next(readers), next(readers)
    with public.client("proxy", one) as client:
        assert not [name for name in names(client.command(b'l LSUB "" *')) if name.startswith("Public Folders/")]
        client.command(b's SUBSCRIBE "Public Folders/Notices"')
        assert "Public Folders/Notices" in names(client.command(b'l LSUB "" *'))
    with public.client("proxy", other) as client:
        assert "Public Folders/Notices" not in names(client.command(b'l LSUB "" *'))


def test_a_mount_may_stand_deep_and_have_any_name(public: Public, user: str) -> None:
    with public.client("deep", user) as client:
        rows = attributes(listed(client.command(b'l LIST "" *')))
        assert {name for name in rows if name.startswith("Shared/")} == {"Shared/Öffentlich"} | {f"Shared/Öffentlich/{x}" for x in PUBLIC}
        top = attributes(listed(client.command(b'l LIST "" %')))
        assert "haschildren" in top["Shared"]
        assert b"* 3 EXISTS" in client.command(b's SELECT "Shared/&ANY-ffentlich/Notices"')
        answer = client.command(b't STATUS "Shared/&ANY-ffentlich/Team" (MESSAGES)')
        assert answer.startswith((b"* STATUS Shared/&ANY-ffentlich/Team (MESSAGES ", b'* STATUS "Shared/&ANY-ffentlich/Team" (MESSAGES '))


def test_a_whole_account_can_be_mounted_with_its_inbox(public: Public, user: str) -> None:
    with public.client("whole", user) as client:
        found = names(client.command(b'l LIST "" "Public Folders/*"'))
        assert {"Public Folders/INBOX", "Public Folders/Public/Notices", "Public Folders/Sent"} <= set(found)
        letter = LETTERS[0]
        assert b"a OK" in client.command(b'a APPEND "Public Folders/INBOX" {%d+}\r\n%b' % (len(letter), letter))
        assert b"(MESSAGES 1)" in client.command(b't STATUS "Public Folders/INBOX" (MESSAGES)')
        assert b"(MESSAGES 0)" in client.command(b"t STATUS INBOX (MESSAGES)")


def test_who_is_excluded_has_a_session_as_without_the_plugin(public: Public, user: str) -> None:
    with public.client("excluded", user) as client:
        assert not [name for name in names(client.command(b'l LIST "" *')) if name.startswith("Public Folders")]
        client.command(b"o LOGOUT")

    def modes() -> list[str]:
        return [event["mode"] for event in public.front.events("session.closed") if event.get("user") == user]

    assert eventually(modes)
    assert modes() == ["tunnel"]


@pytest.mark.parametrize(("program", "sees"), [("Tester 1.0", False), ("Thunderbird", True)])
def test_a_program_that_is_excluded_sees_none(program: str, sees: bool, public: Public, user: str) -> None:
    with Dialogue(public.ports["not for testers"]) as client:
        client.line()
        client.command(f'i ID ("name" "{program}")'.encode())
        client.command(f"a LOGIN {user} {PASSWORD}".encode())
        assert ("Public Folders" in names(client.command(b'l LIST "" *'))) == sees
