"""The settings of public folders as an operator writes them, and the rights that come of them, whatever the names are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from portico_public_folders.access import LETTERS, Permission, rights_of

SETTINGS: Final = """\
[servers.mail]
imap = "127.0.0.1:143"
pop3 = "127.0.0.1:110"
[servers.letters]
pop3 = "127.0.0.1:1110"
[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
plain_login = true
server = "mail"
[listeners.pop3]
protocol = "pop3"
addresses = ["127.0.0.1:1144"]
tls = "none"
plain_login = true
server = "mail"
[plugins.public_folders]
"""
ACCOUNT: Final = 'store = "mail"\nsign_in = "account"\naccount = "public"\naccount_password = {file = "shelf"}\n'


def checked(directory: Path, options: str) -> tuple[int, str]:
    """What `portico check` says."""
    file = directory / "portico.toml"
    file.write_text(SETTINGS + options)
    secret = os.open(directory / "shelf", os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(secret, b"open sesame\n")
    os.close(secret)
    done = subprocess.run(
        [sys.executable, "-m", "portico", "check", "-c", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_table_for_all_listeners_is_no_mistake_on_that_for_pop3(tmp_path: Path) -> None:
    code, said = checked(tmp_path, ACCOUNT + 'access = [{users = ["*"], folders = ["Team"], rights = "post"}]\n')
    assert code == 0, said
    assert "open sesame" not in said


def test_a_store_that_speaks_no_imap_is_told_with_its_line(tmp_path: Path) -> None:
    code, said = checked(tmp_path, 'store = "letters"\n')
    assert code != 0
    assert "portico.toml:18: plugins.public_folders: on listener imap: store is letters, and there is no such server with IMAP" in said
    assert "listener pop3" not in said


def test_a_right_that_there_is_not_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    code, said = checked(tmp_path, ACCOUNT + 'access = [{rights = "write"}]\n')
    assert code != 0
    assert 'found "write"; possible: "none", "read", "post", "delete" or "manage"' in said


NAMES: Final = st.text(alphabet="abAB/.*?[]é", max_size=12)
ROWS: Final = st.lists(
    st.builds(
        lambda users, folders, rights: Permission(users=users, folders=folders, rights=rights),
        st.lists(NAMES, min_size=1, max_size=2),
        st.lists(NAMES, min_size=1, max_size=2),
        st.sampled_from(list(LETTERS)),
    ),
    max_size=5,
)


@given(NAMES, NAMES, ROWS)
def test_any_rows_and_names_give_rights_that_a_row_gives(user: str, folder: str, rows: list[Permission]) -> None:
    rights = rights_of(user, rows)
    if rights is not None:
        assert rights(folder) in {"", "l", *(LETTERS[row.rights] for row in rows)}


@given(NAMES, NAMES, NAMES, ROWS)
def test_what_the_first_row_forbids_no_later_one_allows(user: str, folder: str, below: str, rows: list[Permission]) -> None:
    first = Permission(users=["*"], folders=[folder.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")], rights="none")
    rights = rights_of(user, [first, *rows])
    if rights is not None and folder:
        assert rights(folder) == rights(f"{folder}/{below}") == rights(folder.upper()) == ""
