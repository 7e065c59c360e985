"""Lists of mailboxes, and subscriptions, in a tree of two servers: what is told of a store, and what while it is away."""

from __future__ import annotations

from typing import Literal

import pytest
from portico.errors import Secret
from portico.session.mounts.memory import Memory
from portico.session.mounts.mount import Mount

from tests.session.imap.tree import Tree, begun, reached

ROOT = 'to C: * LIST (\\Noselect \\HasChildren) "/" "Public Folders"'


def team_was_listed(
    *mounts: Mount, memory: Memory, asks: str = "LIST", told: str = f'{ROOT}\nto C: * LIST () "/" "Public Folders/Team"'
) -> None:
    """An earlier session asked for all, of the user and of the store, which has one mailbox."""
    first = begun(*mounts, memory=memory)
    first.play(f'C: a {asks} "" "*"\nto 0: portico-m3 {asks} "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""')
    first.play(
        f"""
        1: portico-m4 OK done
        to 1: portico-m5 LIST "" "*"
        1: * LIST () "/" Team
        {told}
        1: portico-m5 OK done
        to C: a OK all
        """
    )


def asked_while_it_is_away(*mounts: Mount, memory: Memory, asks: str = "LIST") -> Tree:
    """The same question when the store cannot be reached, up to the answer."""
    later = begun(*mounts, memory=memory, answers=False)
    later.play(f'C: a {asks} "" "*"\nto 0: portico-m3 {asks} "" "*"\n0: portico-m3 OK all\nto 1: <connect>')
    later.said = []
    later.fail(1)
    return later


def test_personal_mailboxes_are_listed_at_once_and_the_store_s_behind_them() -> None:
    begun().play(
        """
        C: a LIST "" "*"
        to 0: portico-m3 LIST "" "*"
        0: * LIST (\\HasNoChildren) "/" INBOX
        to C: * LIST (\\HasNoChildren) "/" INBOX
        0: * LIST (\\HasNoChildren) "/" "Public Folders/his own"
        0: portico-m3 OK all
        to 1: portico-m4 LIST "" ""
        1: * LIST (\\Noselect) "." ""
        1: portico-m4 OK done
        to 1: portico-m5 LIST "" "*"
        1: * LIST (\\HasChildren \\Trash) "." Team
        to C: * LIST (\\Noselect \\HasChildren) "/" "Public Folders"
        to C: * LIST (\\HasChildren) "/" "Public Folders/Team"
        1: * LIST () "." "Team.a/b"
        to C: * LIST () "/" "Public Folders/Team/a=2Fb"
        1: * LIST () "." INBOX
        1: portico-m5 OK done
        to C: a OK all
        """
    )


def test_the_store_is_not_asked_for_what_is_not_below_it() -> None:
    tree = begun()
    tree.play(
        """
        C: a LIST "" "%"
        to 0: portico-m3 LIST "" "%"
        0: portico-m3 OK all
        to C: * LIST (\\Noselect \\HasChildren) "/" "Public Folders"
        to C: a OK all
        """
    )
    assert 1 not in tree.watch.links


def test_a_mailbox_is_listed_once_where_two_patterns_find_it() -> None:
    tree = reached()
    tree.play(
        """
        C: a LIST "" "*/Team"
        to 0: portico-m4 LIST "" "*/Team"
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "*.Team"
        1: * LIST () "." Old.Team
        to C: * LIST () "/" "Public Folders/Old/Team"
        1: portico-m5 OK done
        to 1: portico-m6 LIST "" "Team"
        1: * LIST () "." Old.Team
        1: * LIST () "." Team
        to C: * LIST () "/" "Public Folders/Team"
        1: portico-m6 OK done
        to C: a OK all
        """
    )


def test_a_store_that_does_not_answer_makes_no_list_short() -> None:
    tree = begun(answers=False)
    tree.play(
        """
        C: a LIST "" "*"
        to 0: portico-m3 LIST "" "*"
        0: * LIST () "/" INBOX
        to C: * LIST () "/" INBOX
        0: portico-m3 OK all
        to 1: <connect>
        """
    )
    tree.said = []
    tree.fail(1)
    assert tree.to_client == b"a NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.\r\n"
    assert tree.events("mount.failed")[0]["reason"] == "refused"
    # While it rests nobody waits for it; then it is tried again.
    tree.play(
        'C: b LIST "" "*"\nto 0: portico-m4 LIST "" "*"\n0: portico-m4 OK all\nto C: b NO [UNAVAILABLE] The server of \'Public Folders\' cannot be reached.'
    )
    assert tree.phases[1] == "store_retry"
    tree.late(1)
    tree.play('C: c LIST "" "*"\nto 0: portico-m5 LIST "" "*"\n0: portico-m5 OK all\nto 1: <connect>')


def test_what_the_store_listed_last_is_shown_while_it_is_away() -> None:
    memory = Memory()
    team_was_listed(memory=memory)
    later = asked_while_it_is_away(memory=memory)
    assert (
        later.to_client == b'* LIST (\\Noselect \\HasChildren) "/" "Public Folders"\r\n* LIST () "/" "Public Folders/Team"\r\na OK all\r\n'
    )
    assert later.events("mount.list_remembered") == [{"server": "public", "prefix": "Public Folders", "mailboxes": 1}]


@pytest.mark.parametrize(("asks", "kind", "marked"), [("LIST (SUBSCRIBED)", "LIST", "\\Subscribed"), ("LSUB", "LSUB", "")])
def test_what_is_subscribed_is_known_while_the_store_is_away_where_subscriptions_are_kept_here(asks: str, kind: str, marked: str) -> None:
    memory, kept = Memory(), Mount("Public Folders", "public", user="service", password=Secret(b"x"), subscribed="all")
    seen = f'* {kind} ({marked}) "/" "Public Folders/Team"'
    team_was_listed(kept, memory=memory, asks=asks, told=f"to C: {seen}")
    later = asked_while_it_is_away(kept, memory=memory, asks=asks)
    assert later.to_client.decode() == f"{seen}\r\na OK all\r\n"
    assert later.events("mount.list_remembered") == [{"server": "public", "prefix": "Public Folders", "mailboxes": 1}]


@pytest.mark.parametrize(("kept", "shown"), [("all", ["Team"]), ("none", ["Notices"])])
def test_where_only_what_is_subscribed_is_listed_and_subscriptions_are_kept_here_the_store_is_asked_for_all(
    kept: Literal["all", "none"], shown: list[str]
) -> None:
    mount = Mount("Public Folders", "public", user="service", password=Secret(b"x"), listed="subscribed", subscribed=kept)
    tree = reached(mount)
    tree.play('C: u SUBSCRIBE "Public Folders/Notices"\nto C: u OK Completed.')
    if kept == "all":
        tree.play('C: v UNSUBSCRIBE "Public Folders/Notices"\nto C: v OK Completed.')
    rows = {name: f'{ROOT}\nto C: * LIST () "/" "Public Folders/{name}"' if name in shown else "" for name in ("Team", "Notices")}
    tree.play(
        f"""
        C: a LIST "" "*"
        to 0: portico-m4 LIST "" "*"
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "*"
        1: * LIST () "." Team
        {rows["Team"]}
        1: * LIST () "." Notices
        {rows["Notices"]}
        1: portico-m5 OK done
        to C: a OK all
        """
    )


def test_the_status_is_told_of_what_is_listed_though_the_store_was_asked_for_all() -> None:
    tree = reached(Mount("Public Folders", "public", user="service", password=Secret(b"x"), subscribed="none"))
    tree.play(
        """
        C: u SUBSCRIBE "Public Folders/My Team"
        to C: u OK Completed.
        C: a LIST (SUBSCRIBED) "" "*" RETURN (STATUS (MESSAGES))
        to 0: portico-m4 LIST (SUBSCRIBED) "" "*" RETURN (STATUS (MESSAGES))
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "*" RETURN (STATUS (MESSAGES))
        1: * LIST () "." "My Team"
        to C: * LIST (\\Subscribed) "/" "Public Folders/My Team"
        1: * STATUS "My Team" (MESSAGES 1)
        to C: * STATUS "Public Folders/My Team" (MESSAGES 1)
        1: * LIST () "." Notices
        1: * STATUS Notices (MESSAGES 2)
        1: portico-m5 OK done
        to C: a OK all
        """
    )


def test_what_a_store_knows_of_subscriptions_nobody_else_does() -> None:
    memory = Memory()
    team_was_listed(memory=memory)
    later = asked_while_it_is_away(memory=memory, asks="LSUB")
    assert later.to_client == b"a NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.\r\n"


@pytest.mark.parametrize(
    ("listed", "general", "below"),
    [("root", ["Public Folders"], ["Public Folders/Team"]), ("no", [], ["Public Folders/Team"])],
)
def test_what_is_listed_on_demand_is_listed_to_who_asks_below(listed: str, general: list[str], below: list[str]) -> None:
    tree = reached(Mount("Public Folders", "public", listed=listed))  # type: ignore[arg-type]
    heads = "".join(f'to C: * LIST (\\Noselect \\HasChildren) "/" "{name}"\n' for name in general)
    tree.play(f'C: a LIST "" "*"\nto 0: portico-m4 LIST "" "*"\n0: portico-m4 OK all\n{heads}to C: a OK all')
    tree.play(
        f"""
        C: b LIST "" "Public Folders/%"
        to 0: portico-m5 LIST "" "Public Folders/%"
        0: portico-m5 OK all
        to 1: portico-m6 LIST "" "%"
        1: * LIST () "." Team
        to C: * LIST () "/" "{below[0]}"
        1: portico-m6 OK done
        to C: b OK all
        """
    )


def test_subscriptions_that_the_proxy_keeps_last_and_are_the_user_s_own() -> None:
    mount = Mount("Public Folders", "public", user="service", password=Secret(b"x"), subscribed="all")
    tree = reached(mount)
    tree.play('C: u UNSUBSCRIBE "Public Folders/Team"\nto C: u OK Completed.')
    assert tree.kept.said == {("public//alice", "Team"): False}
    tree.play(
        """
        C: a LSUB "" "*"
        to 0: portico-m4 LSUB "" "*"
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "*"
        1: * LIST () "." Team
        1: * LIST () "." Notices
        to C: * LSUB () "/" "Public Folders/Notices"
        1: portico-m5 OK done
        to C: a OK all
        """
    )


def test_what_is_no_mailbox_is_not_subscribed_unless_the_user_said_so() -> None:
    """Thunderbird asks for the rights in all that is subscribed, and shows its user each NO."""
    tree = reached(Mount("Public Folders", "public", user="service", password=Secret(b"x"), subscribed="all"))
    tree.play(
        """
        C: a LIST (SUBSCRIBED) "" "*"
        to 0: portico-m4 LIST (SUBSCRIBED) "" "*"
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "*"
        1: * LIST (\\NoSelect \\HasChildren) "." Level
        1: * LIST (\\HasNoChildren) "." Level.Team
        to C: * LIST (\\HasNoChildren \\Subscribed) "/" "Public Folders/Level/Team"
        1: portico-m5 OK done
        to C: a OK all
        C: b LSUB "" "Public Folders/%"
        to 0: portico-m6 LSUB "" "Public Folders/%"
        0: portico-m6 OK all
        to 1: portico-m7 LIST "" "%"
        1: * LIST (\\NoSelect \\HasChildren) "." Level
        to C: * LSUB (\\HasChildren \\Noselect) "/" "Public Folders/Level"
        1: * LIST () "." Notices
        to C: * LSUB () "/" "Public Folders/Notices"
        1: portico-m7 OK done
        to C: b OK all
        C: c LSUB "" "%"
        to 0: portico-m8 LSUB "" "%"
        0: portico-m8 OK all
        to C: * LSUB (\\Noselect) "/" "Public Folders"
        to C: c OK all
        C: d SUBSCRIBE "Public Folders"
        to C: d OK Completed.
        C: e LIST (SUBSCRIBED) "" "Public Folders"
        to 0: portico-m9 LIST (SUBSCRIBED) "" "Public Folders"
        0: portico-m9 OK all
        to C: * LIST (\\Subscribed \\Noselect \\HasChildren) "/" "Public Folders"
        to C: e OK all
        """
    )


def test_the_namespace_is_a_shared_one() -> None:
    begun().play(
        """
        C: n NAMESPACE
        to 0: portico-m3 NAMESPACE
        0: * NAMESPACE (("" "/")) NIL NIL
        0: portico-m3 OK done
        to C: * NAMESPACE (("" "/")) NIL (("Public Folders/" "/"))
        to C: n OK done
        C: m NAMESPACE
        to 0: portico-m4 NAMESPACE
        0: * NAMESPACE (("" "/")) NIL (("Shared/" "/"))
        0: portico-m4 OK done
        to C: * NAMESPACE (("" "/")) NIL (("Shared/" "/")("Public Folders/" "/"))
        to C: m OK done
        """
    )
