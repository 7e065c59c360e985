"""Public folders: what the options mean, and which of them go together; by portico.testing alone."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from portico.plugin import Mount, Peer, Secret, Session
from portico.testing import Correspondence, check_plugin
from portico_public_folders import PublicFolders
from portico_public_folders.access import LETTERS, Permission, rights_of

STORE = {"store": "main"}
MASTER = STORE | {"sign_in": "master", "master_user": "boss", "master_password": "of-puppets"}
ACCOUNT = STORE | {"sign_in": "account", "account": "public", "account_password": "shelf", "access": [{"rights": "read"}]}


def mounts(options: dict[str, Any], user: str = "alice", **client_id: str) -> list[Mount]:
    """What the plugin says when `user` has signed in."""
    said: list[Mount] = []

    def noted(interests: Any) -> Any:
        said.extend(bound.mount for bound in interests.mounts)
        return interests

    with Correspondence(PublicFolders, options, wrap=noted) as session:
        assert b"OK" in session.sign_in(user, client_id=client_id or None)
        assert session.faults == []
    return said


def rows(*said: tuple[list[str], list[str], str]) -> list[Permission]:
    return [Permission.model_validate({"users": users, "folders": folders, "rights": rights}) for users, folders, rights in said]


def rights(folder: str, *said: tuple[list[str], list[str], str], user: str = "alice") -> str:
    judge = rights_of(user, rows(*said))
    return judge(folder) if judge is not None else "no mount"


# -- options


@pytest.mark.parametrize("options", [STORE | {"exclude_users": ["*"]}, ACCOUNT | {"access": [{"users": ["bob"], "rights": "read"}]}])
def test_who_sees_no_public_folders_has_the_session_that_he_would_have_without(options: dict[str, Any]) -> None:
    check_plugin(PublicFolders, options)


@pytest.mark.parametrize("options", [STORE, MASTER, ACCOUNT])
def test_pop3_knows_one_mailbox_and_nothing_changes_there(options: dict[str, Any]) -> None:
    check_plugin(PublicFolders, options, protocols=["pop3"])


def test_with_a_store_alone_the_user_sees_all_of_it_as_himself() -> None:
    assert mounts(STORE) == [Mount("Public Folders", "main", subscribed="all")]


def test_a_master_user_acts_for_whoever_has_signed_in() -> None:
    (mount,) = mounts(MASTER | {"prefix": "Shared/Public", "root": "Public"})
    assert mount == Mount("Shared/Public", "main", "Public", master_user="boss", master_password=Secret("of-puppets"), subscribed="all")


def test_an_account_is_signed_in_to_with_its_own_password_and_rights_are_those_of_the_settings() -> None:
    (mount,) = mounts(ACCOUNT)
    assert (mount.user, mount.password, mount.master_user) == ("public", Secret("shelf"), "")
    assert mount.rights is not None and mount.rights("Team") == "lrs"


@pytest.mark.parametrize(
    ("options", "listed", "subscribed"),
    [
        ({}, "all", "all"),
        ({"show": "on demand"}, "root", "all"),
        ({"show": "subscribed", "subscribed": "store"}, "subscribed", "store"),
        ({"show": "hidden", "subscribed": "proxy"}, "no", "none"),
    ],
)
def test_what_is_shown_and_where_subscriptions_are_kept_can_be_chosen(options: dict[str, str], listed: str, subscribed: str) -> None:
    (mount,) = mounts(STORE | options)
    assert (mount.listed, mount.subscribed) == (listed, subscribed)


def test_the_inbox_of_the_store_is_shown_only_where_it_is_asked_for() -> None:
    assert [mount.inbox for mount in mounts(STORE) + mounts(STORE | {"inbox": True})] == [False, True]


def test_it_is_off_for_some_users_and_for_some_programs() -> None:
    off = STORE | {"exclude_users": ["*@migration.example.org"], "exclude_clients": ["imapsync*"]}
    assert len(mounts(off)) == 1
    assert mounts(off, "Alice@Migration.example.org") == []
    assert mounts(off, name="ImapSync 2.2") == []
    assert len(mounts(off, name="Thunderbird")) == 1


@pytest.mark.parametrize(("options", "count"), [(STORE, 0), (MASTER, 1), (ACCOUNT, 1)])
def test_who_gave_no_password_can_only_be_signed_in_by_another_one(options: dict[str, Any], count: int) -> None:
    session = Session("sid", "imap", "here", Peer("192.0.2.1", 1, "192.0.2.2", 2), user="alice", mechanism="EXTERNAL")
    values = {option.name: None if option.required else option.default for option in PublicFolders().settings_declared()} | options
    values["access"] = rows((["*"], ["*"], "read"))
    interests = PublicFolders().session_opened(session, SimpleNamespace(**values))
    assert len(interests.mounts if interests is not None else ()) == count


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"store": "elsewhere"}, "store is elsewhere, and there is no such server with IMAP; there are: main"),
        (MASTER | {"master_user": ""}, "sign_in is master, and master_user is not set"),
        (STORE | {"sign_in": "master"}, "sign_in is master, and master_user and master_password are not set"),
        (ACCOUNT | {"access": []}, "sign_in is account, and access is not set"),
        (STORE | {"access": [{"rights": "read"}]}, "sign_in is user, and so access is not used"),
        (MASTER | {"account": "public"}, "sign_in is master, and so account is not used"),
        (ACCOUNT | {"master_user": "a", "master_password": "b"}, "sign_in is account, and so master_user and master_password are not used"),
        (ACCOUNT | {"subscribed": "store"}, "of one account all users would have the same subscriptions"),
        (STORE | {"prefix": ""}, 'option prefix: a folder is expected, with "/" between levels'),
        (STORE | {"prefix": "Public/"}, "option prefix: a folder is expected"),
        (STORE | {"prefix": "Public*"}, "option prefix: .* are wildcards in IMAP"),
        (STORE | {"prefix": "Public\r\nx LOGOUT"}, "option prefix: .*control characters"),
        (STORE | {"prefix": "inbox"}, "option prefix: INBOX is everybody's own"),
        (STORE | {"root": "a//b"}, "option root: a folder is expected"),
        (ACCOUNT | {"access": [{"rights": "own"}]}, 'option access: found "own"; possible: "none", "read"'),
        (ACCOUNT | {"access": [{"right": "read"}]}, "option access: "),
        (ACCOUNT | {"access": [{"users": [], "rights": "read"}]}, "option access: "),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told_at_start(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_plugin(PublicFolders, options)


def test_no_mistake_tells_a_password() -> None:
    with pytest.raises(AssertionError) as told:
        check_plugin(PublicFolders, STORE | {"master_password": "of-puppets", "account_password": "shelf"})
    assert "of-puppets" not in str(told.value) and "shelf" not in str(told.value)


# -- access to the folders of one account


def test_the_first_row_that_fits_user_and_folder_decides() -> None:
    said = ((["bob"], ["Team"], "manage"), (["*"], ["Board"], "none"), (["alice", "carol"], ["Team"], "post"), (["*"], ["*"], "read"))
    assert rights("Team", *said) == LETTERS["post"]
    assert rights("Team", *said, user="bob") == LETTERS["manage"]
    assert rights("Board", *said) == ""
    assert rights("Anything", *said, user="dave") == LETTERS["read"]


def test_a_row_for_a_folder_is_one_for_what_is_under_it() -> None:
    said = ((["*"], ["Team/Minutes"], "read"), (["*"], ["Team"], "post"))
    assert rights("Team/Minutes/2026", *said) == LETTERS["read"]
    assert rights("Team/Talk", *said) == LETTERS["post"]
    assert rights("Teamwork", *said) == ""


def test_where_no_row_fits_the_folder_is_not_there_and_for_whom_none_fits_there_is_no_mount() -> None:
    said = (["*@example.org"], ["Team*"], "read")
    assert rights("Board", said, user="alice@example.org") == ""
    assert rights("Team", said, user="alice@example.com") == "no mount"
    assert rights("Team", (["alice"], ["*"], "none")) == "no mount"


def test_the_mount_itself_is_seen_by_whoever_sees_something_in_it_and_folders_are_made_there_by_who_manages_all() -> None:
    assert rights("", (["*"], ["Team"], "manage")) == "l"
    assert rights("", (["*"], ["*"], "manage")) == LETTERS["manage"]


@pytest.mark.parametrize("spelt", ["ÖFFENTLICH", "o\u0308ffentlich", "Öffentlich/Protokolle"])
def test_no_other_spelling_leads_past_a_row(spelt: str) -> None:
    assert rights(spelt, (["*"], ["Öffentlich"], "none"), (["*"], ["*"], "read")) == ""


@pytest.mark.parametrize("path", ["Team/../Board", "Team/./x", "Team//x", "../x", "/Team", "Team/"])
def test_a_path_that_leads_elsewhere_leads_nowhere(path: str) -> None:
    assert rights(path, (["*"], ["*"], "manage")) == ""


def test_each_right_has_those_before_it_and_none_gives_away_the_lists_of_rights() -> None:
    letters = [set(each) for each in LETTERS.values()]
    assert all(less < more for less, more in pairwise(letters))
    assert "a" not in letters[-1]
