"""What the settings allow of the mailboxes of a store at which a service account signs in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from portico.errors import Secret
from portico.session.events import CLIENT, BytesReceived
from portico.session.mounts.mount import Mount

from tests.session.imap.tree import reached


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
