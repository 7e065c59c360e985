"""Mail programs in public folders: what they do there they would do in a folder of one's own.

Rule of this file: what a program has stored is read straight at the server that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from portico.demo import mailbox, messages
from portico.demo.dovecot import Dovecot

from tests.live import clients
from tests.live.clients import Account
from tests.live.dialogue import Dialogue
from tests.live.mailboxes import names
from tests.live.people import PASSWORD
from tests.live.stores import LETTERS, MOUNTED, Public

pytestmark = pytest.mark.live


@pytest.fixture
def account(public: Public, reader: str, dovecot: Dovecot, public_store: Dovecot) -> Iterator[Account]:
    """Of a user for whom there is a public folder, `Open/<user>`, with one message, and one message in the inbox."""
    user = reader
    with Dialogue(public_store.ports.imap) as client:
        client.line()
        client.command(f"in LOGIN {user} {PASSWORD}".encode())
        client.command(f"c CREATE Public/Open/{user}".encode())
        client.command(f"a APPEND Public/Open/{user} {{{len(LETTERS[0])}+}}\r\n".encode() + LETTERS[0])
        with Dialogue(dovecot.ports.imap) as own:
            own.line()
            own.command(f"in LOGIN {user} {PASSWORD}".encode())
            own.command(b"a APPEND INBOX {%d+}\r\n%b" % (len(LETTERS[1]), LETTERS[1]))
        yield Account(public.mail_ports("user"), user, PASSWORD, public.front.certificates.authority, "none")
        for box in ("/Flöße", ""):
            client.command(f"c DELETE {mailbox.quoted(f'Public/Open/{user}{box}')}".encode())


def stored(store: Dovecot, user: str, box: str) -> list[str]:
    """Digests of all messages of a mailbox at the store."""
    found = clients.imaplib_walk(Account(store.ports, user, PASSWORD, Path(), "none"))
    return [digest for each in found[f'"{box}"' if " " in box else box] if isinstance(each, tuple) for digest in [each[1]]]


def test_mbsync_synchronises_a_public_folder_both_ways(
    account: Account, public_store: Dovecot, tmp_path: Path, need: Callable[..., None]
) -> None:
    need("mbsync")
    box = f"Public Folders/Open/{account.user}"
    pulled = clients.mbsync(account, tmp_path, folders="Public Folders/*")
    assert {name.rpartition(" ")[0] for name in pulled} >= {"Public Folders/Notices", "Public Folders/Team/Minutes", box}
    digest = clients.sha256(LETTERS[0].replace(b"\r\n", b"\n"))
    assert f"{box} {digest}" in pulled
    letter = messages.plain(41, "From here", "Up to the others.\n")
    clients.mbsync(account, tmp_path, folders=box, push={"new": letter}, into=box)
    with clients.imapclient_connect(replace(account, ports=public_store.ports)) as connection:
        connection.select_folder(f"Public/Open/{account.user}")
        (uid,) = connection.search(["SUBJECT", "From here"])  # mbsync has marked it, so that its octets are not quite the same
        assert connection.fetch([uid], ["BODY.PEEK[TEXT]"])[uid][b"BODY[TEXT]"] == b"Up to the others.\r\n"


def test_mutt_lists_public_folders_opens_one_and_saves_into_one(
    account: Account, public_store: Dovecot, tmp_path: Path, need: Callable[..., None]
) -> None:
    need("mutt")
    _, listed = clients.mutt(account, tmp_path, "INBOX", ("Msgs:1", "c?"), ("File mask", "qq"))
    assert "Public Folders" in listed and "Archive" in listed
    (opened,) = clients.mutt(account, tmp_path, "Public Folders/Notices", ("Msgs:3", "q"))
    assert "Notice 3" in opened
    clients.mutt(account, tmp_path, "INBOX", ("Msgs:1", f"C=Public\x16 Folders/Open/{account.user}\rq"))
    assert clients.sha256(LETTERS[1]) in stored(public_store, account.user, f"Public/Open/{account.user}")


def test_imapflow_works_in_a_public_folder(
    account: Account, public_store: Dovecot, tmp_path: Path, project: Path, need: Callable[..., None]
) -> None:
    need("node")
    (message := tmp_path / "message.eml").write_bytes(mailbox.alice()[0].messages[1].octets)
    box = f"Public Folders/Open/{account.user}"
    found = clients.imapflow(account, project, message, f"{box}/Flöße")
    assert set(found["folders"]) >= MOUNTED | {box}
    assert len(found["folders"]["Public Folders/Notices"]) == 3
    assert found["flagged"] == [1] and found["unseen"] == [2]
    assert found["downloaded"] == clients.sha256(message.read_bytes())
    assert found["moved"] and found["left"] == 1 and found["status"] == 2  # one was there


def test_imapclient_copies_and_moves_between_both(account: Account, public_store: Dovecot) -> None:
    box = f"Public Folders/Open/{account.user}"
    with clients.imapclient_connect(account) as connection:
        connection.select_folder("INBOX")
        (uid,) = connection.search()
        connection.copy([uid], box)
        connection.move([uid], box)
        assert connection.search() == []
        connection.select_folder(box)
        connection.move(connection.search(["SUBJECT", "Letter 1"]), "Sent")
        assert connection.folder_status("Sent", ["MESSAGES"]) == {b"MESSAGES": 1}
    assert stored(public_store, account.user, f"Public/Open/{account.user}") == [clients.sha256(LETTERS[1])] * 2


def test_a_program_that_asks_for_no_namespace_finds_the_public_folders(account: Account, public: Public) -> None:
    """K-9's way: LIST "" "*", then SELECT by what it got."""
    with public.client("virtual", account.user) as client:
        assert set(names(client.command(b'3 LIST "" "*"'))) > MOUNTED
        assert set(names(client.command(b'4 LSUB "" "*"'))) > MOUNTED
        assert b"* 3 EXISTS" in client.command(b'5 SELECT "Public Folders/Notices"')
