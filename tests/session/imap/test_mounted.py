"""A tree of two servers, as an exchange of letters."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
from portico.errors import Secret
from portico.session.close import Reason
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, ServerConnected
from portico.session.mounts.memory import Memory
from portico.session.mounts.mount import Mount

from tests.session.imap.tree import Tree

LEARN = """
C: l LSUB "" nowhere
to 0: portico-m1 LIST "" ""
0: * LIST (\\Noselect) "/" ""
0: portico-m1 OK done
to 0: portico-m2 LSUB "" nowhere
0: portico-m2 OK done
to C: l OK done
"""
"""What the first command that names a mailbox brings about once: the separators."""


def begun(*mounts: Mount, learned: bool = True, **more: object) -> Tree:
    """A session that knows its own separator; the store is not connected."""
    tree = Tree(*mounts, **more)  # type: ignore[arg-type]
    if learned:
        tree.play(LEARN)
    return tree


def reached(*mounts: Mount, **more: object) -> Tree:
    """A session that has been at the store, whose separator is a dot."""
    tree = begun(*mounts, **more)
    tree.play(
        """
        C: r STATUS "Public Folders/x" (MESSAGES)
        to 1: portico-m3 LIST "" ""
        1: * LIST (\\Noselect) "." ""
        1: portico-m3 OK done
        to 1: r STATUS "x" (MESSAGES)
        1: * STATUS x (MESSAGES 7)
        to C: * STATUS "Public Folders/x" (MESSAGES 7)
        1: r OK done
        to C: r OK done
        """
    )
    return tree


def selected(where: str = "INBOX", *mounts: Mount, **more: object) -> Tree:
    """And has selected one of its mailboxes, or one of the store's."""
    tree = reached(*mounts, **more)
    if where == "INBOX":
        tree.play("C: s SELECT INBOX\nto 0: s SELECT INBOX\n0: s OK [READ-WRITE] in\nto C: s OK [READ-WRITE] in")
    else:
        tree.play(
            """
            C: s SELECT "Public Folders/Team/Room"
            to 1: portico-m4 SELECT "Team.Room"
            1: * 3 EXISTS
            to C: * 3 EXISTS
            1: portico-m4 OK [READ-WRITE] in
            to C: s OK [READ-WRITE] in
            """
        )
    return tree


# -- lists


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
    first = begun(memory=memory)
    first.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""')
    first.play(
        """
        1: portico-m4 OK done
        to 1: portico-m5 LIST "" "*"
        1: * LIST () "/" Team
        to C: * LIST (\\Noselect \\HasChildren) "/" "Public Folders"
        to C: * LIST () "/" "Public Folders/Team"
        1: portico-m5 OK done
        to C: a OK all
        """
    )
    later = begun(memory=memory, answers=False)
    later.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: <connect>')
    later.said = []
    later.fail(1)
    assert (
        later.to_client == b'* LIST (\\Noselect \\HasChildren) "/" "Public Folders"\r\n* LIST () "/" "Public Folders/Team"\r\na OK all\r\n'
    )
    assert later.events("mount.list_remembered") == [{"server": "public", "prefix": "Public Folders", "mailboxes": 1}]


@pytest.mark.parametrize(("asks", "kind", "marked"), [("LIST (SUBSCRIBED)", "LIST", "\\Subscribed"), ("LSUB", "LSUB", "")])
def test_what_is_subscribed_is_known_while_the_store_is_away_where_subscriptions_are_kept_here(asks: str, kind: str, marked: str) -> None:
    memory, kept = Memory(), Mount("Public Folders", "public", user="service", password=Secret(b"x"), subscribed="all")
    seen = f'* {kind} ({marked}) "/" "Public Folders/Team"'
    first = begun(kept, memory=memory)
    first.play(f'C: a {asks} "" "*"\nto 0: portico-m3 {asks} "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""')
    first.play(
        f"""
        1: portico-m4 OK done
        to 1: portico-m5 LIST "" "*"
        1: * LIST () "/" Team
        to C: {seen}
        1: portico-m5 OK done
        to C: a OK all
        """
    )
    later = begun(kept, memory=memory, answers=False)
    later.play(f'C: a {asks} "" "*"\nto 0: portico-m3 {asks} "" "*"\n0: portico-m3 OK all\nto 1: <connect>')
    later.said = []
    later.fail(1)
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
    head = 'to C: * LIST (\\Noselect \\HasChildren) "/" "Public Folders"'
    rows = {name: f'{head}\nto C: * LIST () "/" "Public Folders/{name}"' if name in shown else "" for name in ("Team", "Notices")}
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
    first = begun(memory=memory)
    first.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: portico-m4 LIST "" ""')
    first.play(
        """
        1: portico-m4 OK done
        to 1: portico-m5 LIST "" "*"
        1: * LIST () "/" Team
        to C: * LIST (\\Noselect \\HasChildren) "/" "Public Folders"
        to C: * LIST () "/" "Public Folders/Team"
        1: portico-m5 OK done
        to C: a OK all
        """
    )
    later = begun(memory=memory, answers=False)
    later.play('C: a LSUB "" "*"\nto 0: portico-m3 LSUB "" "*"\n0: portico-m3 OK all\nto 1: <connect>')
    later.said = []
    later.fail(1)
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


# -- names there and back


@pytest.mark.parametrize(
    ("command", "sent", "said", "told"),
    [
        ('CREATE "Public Folders/Team/New"', 'CREATE "Team.New"', "", ""),
        ('RENAME "Public Folders/a" "Public Folders/b"', 'RENAME "a" "b"', "", ""),
        ('SUBSCRIBE "Public Folders/a"', 'SUBSCRIBE "a"', "", ""),
        ('GETACL "Public Folders/a"', 'GETACL "a"', '* ACL "a" fred lr', '* ACL "Public Folders/a" fred lr'),
        ('SETACL "Public Folders/a" fred lr', 'SETACL "a" fred lr', "", ""),
        ('MYRIGHTS "Public Folders/a"', 'MYRIGHTS "a"', "* MYRIGHTS a lr", '* MYRIGHTS "Public Folders/a" lr'),
        ('GETQUOTAROOT "Public Folders/a"', 'GETQUOTAROOT "a"', "* QUOTAROOT a all", '* QUOTAROOT "Public Folders/a" "Public Folders/all"'),
        ('GETQUOTA "Public Folders/all"', 'GETQUOTA "all"', "* QUOTA all (STORAGE 1 2)", '* QUOTA "Public Folders/all" (STORAGE 1 2)'),
        ('GETMETADATA (DEPTH 1) "Public Folders/a" /x', 'GETMETADATA (DEPTH 1) "a" /x', '* METADATA a (/x "y")', '* METADATA "Public Folders/a" (/x "y")'),
        ('STATUS "Public Folders/Gr&APY-&AN8-e" (SIZE)', 'STATUS "Gr&APY-&AN8-e" (SIZE)', "* STATUS Gr&APY-&AN8-e (SIZE 1)", '* STATUS "Public Folders/Gr&APY-&AN8-e" (SIZE 1)'),
    ],
)  # fmt: skip
def test_a_command_goes_to_who_owns_the_mailbox_and_the_answer_names_it_as_the_client_does(
    command: str, sent: str, said: str, told: str
) -> None:
    tree = reached()
    told = f"to C: {told}\n" if told else ""
    said = f"1: {said}\n" if said else ""
    tree.play(f"C: a {command}\nto 1: a {sent}\n{said}{told}1: a OK done\nto C: a OK done")


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ('RENAME "Public Folders/a" mine', "NO [CANNOT]"),
        ('RENAME mine "Public Folders/a"', "NO [CANNOT]"),
        ('SELECT "Public Folders"', "NO [CANNOT]"),
        ('CREATE "Public Folders"', "NO [ALREADYEXISTS]"),
        ('DELETE "Public Folders"', "NO [CANNOT]"),
    ],
)
def test_what_cannot_be_is_refused_in_a_plain_sentence(command: str, answer: str) -> None:
    tree = reached()
    tree.said = []
    tree.event(BytesReceived(CLIENT, f"a {command}\r\n".encode()))
    assert [whom for whom, _ in tree.said] == ["C"]
    assert tree.to_client.startswith(f"a {answer} ".encode())


def test_a_message_is_posted_in_a_public_folder_without_being_held() -> None:
    tree = reached()
    tree.play(
        """
        C: a APPEND "Public Folders/Team" (\\Seen) {5}
        to 1: a APPEND "Team" (\\Seen) {5}
        1: + go
        to C: + go
        C: ~ hello
        to 1: ~ hello
        C: ~ \\r\\n
        to 1: ~ \\r\\n
        1: a OK [APPENDUID 1 2] done
        to C: a OK [APPENDUID 1 2] done
        """
    )


def test_a_message_for_a_store_that_is_away_is_not_asked_for() -> None:
    tree = begun(answers=False)
    tree.play('C: a APPEND "Public Folders/Team" {5}\nto 1: <connect>')
    tree.said = []
    tree.fail(1)
    assert tree.to_client.startswith(b"a NO [UNAVAILABLE] ")
    tree.play("C: b STATUS INBOX (MESSAGES)\nto 0: b STATUS INBOX (MESSAGES)")


# -- selecting


def test_selecting_across_closes_the_other_without_expunging() -> None:
    tree = selected()
    tree.play(
        """
        C: b SELECT "Public Folders/Team"
        to 0: portico-m4 UNSELECT
        0: * OK closed
        0: portico-m4 OK done
        to C: * OK [CLOSED] Previous mailbox is closed.
        to 1: portico-m5 SELECT "Team"
        1: * 1 EXISTS
        to C: * 1 EXISTS
        0: * 9 EXISTS
        1: portico-m5 OK [READ-WRITE] in
        to C: b OK [READ-WRITE] in
        0: * 10 EXISTS
        1: * 2 EXISTS
        to C: * 2 EXISTS
        C: c FETCH 1 FLAGS
        to 1: c FETCH 1 FLAGS
        1: * 1 FETCH (FLAGS ())
        to C: * 1 FETCH (FLAGS ())
        1: c OK done
        to C: c OK done
        C: d NOOP
        to 1: d NOOP
        to 0: portico-awake NOOP
        0: portico-awake OK
        1: d OK done
        to C: d OK done
        C: e SELECT INBOX
        to 1: portico-m6 UNSELECT
        1: portico-m6 OK done
        to C: * OK [CLOSED] Previous mailbox is closed.
        to 0: portico-m7 SELECT INBOX
        0: * 3 EXISTS
        to C: * 3 EXISTS
        1: * 5 EXISTS
        0: portico-m7 OK in
        to C: e OK in
        """
    )


def test_a_server_without_unselect_is_led_to_select_nothing() -> None:
    tree = selected(main="IMAP4rev1 UIDPLUS")
    tree.play('C: b SELECT "Public Folders/T"\nto 0: portico-m4 EXAMINE "portico.selects.nothing"\n0: portico-m4 NO none\n'
              'to C: * OK [CLOSED] Previous mailbox is closed.\nto 1: portico-m5 SELECT "T"')  # fmt: skip


def test_a_select_that_fails_leaves_nothing_selected() -> None:
    tree = selected()
    tree.play(
        """
        C: b SELECT "Public Folders/None"
        to 0: portico-m4 UNSELECT
        0: portico-m4 OK done
        to C: * OK [CLOSED] Previous mailbox is closed.
        to 1: portico-m5 SELECT "None"
        1: portico-m5 NO [NONEXISTENT] none
        to C: b NO [NONEXISTENT] none
        C: c NOOP
        to 0: c NOOP
        """
    )


def test_the_client_idles_on_the_selected_mailbox_whosever_it_is() -> None:
    tree = selected("store")
    tree.play(
        """
        C: i IDLE
        to 1: i IDLE
        to 0: portico-awake NOOP
        0: * 4 EXISTS
        0: portico-awake OK
        1: + idling
        to C: + idling
        0: * 5 EXISTS
        1: * 4 EXISTS
        to C: * 4 EXISTS
        C: DONE
        to 1: DONE
        1: i OK done
        to C: i OK done
        """
    )
    assert tree.phases[1] == "", "who idles may be silent"


def test_the_personal_server_hears_of_a_client_that_stays_in_a_public_folder() -> None:
    """RFC 9051 5.4: it would log out who says nothing for half an hour."""
    tree = selected("store")
    tree.play("C: i IDLE\nto 1: i IDLE\nto 0: portico-awake NOOP\n1: + idling\nto C: + idling")
    tree.play("0: portico-awake OK\nC: DONE\nto 1: DONE\n1: i OK\nto C: i OK")
    tree.play(
        "C: n NOOP\nto 1: n NOOP\nto 0: portico-awake NOOP\n1: n OK\nto C: n OK\n0: portico-awake BAD what\nC: s SEARCH ALL\nto 1: s SEARCH ALL"
    )
    selected("INBOX").play("C: n NOOP\nto 0: n NOOP")


def test_commands_that_do_not_wait_are_answered_in_their_order() -> None:
    tree = selected()
    tree.play(
        """
        C: a NOOP\\r\\nb STATUS "Public Folders/x" (MESSAGES)\\r\\nc NOOP
        to 0: a NOOP
        0: a OK done
        to C: a OK done
        to 1: b STATUS "x" (MESSAGES)
        1: b OK done
        to C: b OK done
        to 0: c NOOP
        """
    )


def test_what_the_client_enables_is_enabled_at_the_store_too() -> None:
    tree = begun(main="IMAP4rev1 ENABLE UTF8=ACCEPT", store="IMAP4rev1 ENABLE UTF8=ACCEPT")
    tree.play(
        """
        C: e ENABLE UTF8=ACCEPT
        to 0: portico-m3 ENABLE UTF8=ACCEPT
        0: * ENABLED UTF8=ACCEPT
        0: portico-m3 OK done
        to C: * ENABLED UTF8=ACCEPT
        to C: e OK done
        C: s SELECT "Public Folders/Größe"
        to 1: portico-m4 ENABLE UTF8=ACCEPT
        1: * ENABLED UTF8=ACCEPT
        1: portico-m4 OK done
        to 1: portico-m5 LIST "" ""
        1: portico-m5 OK done
        to 1: portico-m6 SELECT {7}
        1: + go
        to 1: Größe
        """
    )


def test_only_what_all_stores_can_do_is_announced() -> None:
    tree = begun(store="IMAP4rev1 IDLE SPECIAL-USE")
    tree.play(
        """
        C: c CAPABILITY
        to 0: c CAPABILITY
        0: * CAPABILITY IMAP4rev1 IDLE MOVE CATENATE LITERAL+ NAMESPACE SPECIAL-USE QRESYNC
        to C: * CAPABILITY IMAP4rev1 IDLE LITERAL+ NAMESPACE SPECIAL-USE
        0: c OK done
        to C: c OK done
        """
    )


# -- rights of a service account


def service(name: str) -> str:
    return {"": "lr", "Read": "lr", "Post": "lri", "Hidden": ""}.get(name, "lrswipkxtea")


GUARDED = Mount("Public Folders", "public", user="service", password=Secret(b"x"), rights=service)


@pytest.mark.parametrize(
    "command",
    [
        'APPEND "Public Folders/Read" {3}',
        'DELETE "Public Folders/Post"',
        'SETACL "Public Folders/Post" x lr',
        'CREATE "Public Folders/New"',
    ],
)
def test_what_the_settings_do_not_allow_is_refused(command: str) -> None:
    tree = reached(GUARDED)
    tree.said = []
    tree.event(BytesReceived(CLIENT, f"a {command}\r\n".encode()))
    assert tree.to_client.startswith(b"a NO [NOPERM] ") and len(tree.said) == 1


def test_a_hidden_mailbox_is_not_there() -> None:
    tree = reached(GUARDED)
    tree.play('C: a SELECT "Public Folders/Hidden"\nto C: a NO [NONEXISTENT] There is no such mailbox.')
    tree.play(
        """
        C: b LIST "" "Public Folders/%"
        to 0: portico-m4 LIST "" "Public Folders/%"
        0: portico-m4 OK all
        to 1: portico-m5 LIST "" "%"
        1: * LIST () "." Hidden
        1: * LIST () "." Read
        to C: * LIST () "/" "Public Folders/Read"
        1: portico-m5 OK done
        to C: b OK all
        """
    )


@pytest.mark.parametrize("named", ["Team/Old", "Team/Old/"])
@pytest.mark.parametrize(("under", "may"), [("Team.Old.Minutes", True), ("Team.Old.Deep.Board", False), ("Team.Older.Board", True)])
def test_a_mailbox_is_not_renamed_with_one_under_it_that_the_user_may_not_rename(named: str, under: str, may: bool) -> None:
    """The settings go by names: under another one what was hidden would be seen."""
    hidden = {"Team/Old/Deep/Board": "", "Team/Older/Board": ""}
    tree = reached(replace(GUARDED, rights=lambda name: hidden.get(name, "lrswipkxtea")))
    at_store = named.replace("/", ".")
    answered = (
        f'to 1: a RENAME "{at_store}" "Team.New"\n1: a OK done\nto C: a OK done'
        if may
        else "to C: a NO [NOPERM] You have no right to do this with all that is under it."
    )
    tree.play(
        f"""
        C: a RENAME "Public Folders/{named}" "Public Folders/Team/New"
        to 1: portico-m4 LIST "" "Team.Old.*"
        1: * LIST () "." {under}
        1: portico-m4 OK done
        {answered}
        """
    )


def test_who_may_only_read_opens_it_for_reading_and_can_change_nothing() -> None:
    tree = reached(GUARDED)
    tree.play(
        """
        C: s SELECT "Public Folders/Read"
        to 1: portico-m4 EXAMINE "Read"
        1: * OK [PERMANENTFLAGS (\\Seen \\*)] all
        to C: * OK [PERMANENTFLAGS ()] all
        1: portico-m4 OK [READ-ONLY] in
        to C: s OK [READ-ONLY] in
        C: t STORE 1 +FLAGS (\\Seen)
        to C: t NO [NOPERM] You have no right to do this.
        C: e EXPUNGE
        to C: e NO [NOPERM] You have no right to do this.
        C: c CLOSE
        to 1: portico-m5 UNSELECT
        1: portico-m5 OK done
        to C: c OK Completed.
        """
    )


# -- stores that fail


def test_losing_the_selected_store_ends_in_bye() -> None:
    tree = selected("store")
    tree.close(1)
    assert tree.to_client == b"* BYE [UNAVAILABLE] The server of the selected folder closed the connection.\r\n"
    assert tree.closed is not None and tree.closed.reason is Reason.SERVER_CLOSED


def test_losing_another_store_is_told_to_nobody_and_it_is_opened_again() -> None:
    tree = selected()
    tree.close(1)
    assert tree.said == [] and tree.closed is None
    tree.play("C: a NOOP\nto 0: a NOOP\n0: a OK\nto C: a OK")
    tree.late(1)
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: portico-m4 LIST "" ""')


def test_a_store_that_dies_over_a_command_answers_no_and_the_personal_mail_goes_on() -> None:
    tree = selected()
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: b STATUS "x" (MESSAGES)')
    tree.close(1)
    assert tree.to_client == b"b NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.\r\n"
    tree.play("C: c NOOP\nto 0: c NOOP")


def test_a_store_that_says_nothing_is_given_up_after_a_time() -> None:
    tree = selected()
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: b STATUS "x" (MESSAGES)')
    assert tree.phases[1] == "store"
    tree.late(1)
    assert tree.said == [("1", b"<disconnect>\r\n"), ("C", b"b NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.\r\n")]


def test_a_store_that_nobody_needs_is_left() -> None:
    tree = selected()
    assert tree.phases[1] == "store_idle"
    tree.late(1)
    assert tree.said == [("1", b"portico-m LOGOUT\r\n<disconnect>\r\n")]
    tree.play('C: b STATUS "Public Folders/x" (MESSAGES)\nto 1: portico-m4 LIST "" ""')


def test_the_goodbye_of_a_store_is_not_the_client_s() -> None:
    tree = selected()
    tree.play("1: * BYE bored")
    tree.close(1)
    assert tree.said == [] and tree.closed is None


def test_nothing_of_a_password_is_in_what_is_remembered_of_a_refusal() -> None:
    tree = begun(answers=False)
    tree.play('C: a STATUS "Public Folders/x" (MESSAGES)\nto 1: <connect>')
    tree.event(ServerConnected(1))
    tree.event(BytesReceived(1, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] here\r\n"))
    tag = tree.said[-1][1].split()[-4]
    tree.event(BytesReceived(1, tag + b" NO alice with hunter2 is nobody\r\n"))
    assert "hunter2" not in str(tree.log)
    assert tree.events("mount.failed")[0]["reason"] == "refused_by_server"


def test_a_logout_is_said_to_all() -> None:
    tree = selected()
    tree.play(
        """
        C: z LOGOUT
        to 1: portico-m LOGOUT
        to 1: <disconnect>
        to 0: z LOGOUT
        0: * BYE bye
        to C: * BYE bye
        0: z OK done
        to C: z OK done
        """
    )
    tree.event(Closed(MAIN))
    assert tree.closed is not None and tree.closed.reason is Reason.LOGOUT


def test_losing_the_selected_store_while_a_command_waits_for_another_ends_in_bye_too() -> None:
    tree = selected("store")
    tree.play("C: a CHECK\nto 1: a CHECK\nC: b STATUS INBOX (MESSAGES)")
    tree.close(1)
    assert tree.to_client == b"* BYE [UNAVAILABLE] The server of the selected folder closed the connection.\r\n"
    assert tree.closed is not None and tree.closed.reason is Reason.SERVER_CLOSED


def test_a_mail_program_that_says_who_it_is_after_its_login_may_be_left_out() -> None:
    mount = Mount("Public Folders", "public", serves=lambda session: session.client_id.get("name") != "imapsync")
    tree = begun(mount, learned=False)
    tree.play(
        """
        C: i ID ("name" "imapsync")
        to 0: i ID ("name" "imapsync")
        0: i OK done
        to C: i OK done
        C: l LIST "" "*"
        to 0: portico-m1 LIST "" ""
        0: portico-m1 OK done
        to 0: portico-m2 LIST "" "*"
        0: * LIST () "/" "Public Folders"
        to C: * LIST () "/" "Public Folders"
        0: portico-m2 OK done
        to C: l OK done
        """
    )


def test_whom_the_store_does_not_take_has_his_own_folders_and_no_others() -> None:
    tree = begun(answers=False)
    tree.play('C: a LIST "" "*"\nto 0: portico-m3 LIST "" "*"\n0: portico-m3 OK all\nto 1: <connect>')
    tree.event(ServerConnected(1))
    tree.event(BytesReceived(1, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] here\r\n"))
    tag = tree.said[-1][1].split()[-4]
    tree.said = []
    tree.event(BytesReceived(1, tag + b" NO [AUTHENTICATIONFAILED] who is that\r\n"))
    assert tree.to_client == b"a OK all\r\n"
    tree.play("C: b SELECT \"Public Folders/Team\"\nto C: b NO [UNAVAILABLE] The server of 'Public Folders' cannot be reached.")


def test_a_mount_whose_plugin_fails_is_not_there() -> None:
    mount = Mount("Public Folders", "public", serves=lambda session: 1 // 0)
    tree = begun(mount)
    assert tree.events("plugin.failed")[0]["hook"] == "mount serves"
    tree.play('C: s SELECT "Public Folders/x"\nto 0: s SELECT "Public Folders/x"')
