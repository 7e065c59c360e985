"""A tree of two servers, as an exchange of letters: names there and back, and the selected mailbox."""

from __future__ import annotations

import pytest
from portico.session.events import CLIENT, BytesReceived

from tests.session.imap.tree import begun, reached, selected

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
