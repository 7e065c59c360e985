"""Mail programs, each in its own way of finding folders and dropping messages into them, meet public folders.

Rule of this file: what a program sends is written down as it is known to send it, in its order; no command of its way may be refused, and
what it drops is at the store, once, whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count

import pytest
from portico.demo.dovecot import Dovecot

from tests.live.clients import sha256
from tests.live.dialogue import Dialogue
from tests.live.mailboxes import listed, names
from tests.live.people import PASSWORD
from tests.live.stores import LETTERS, MOUNTED, Public

pytestmark = pytest.mark.live

LETTER = LETTERS[0]


class Program:
    """A client that signs in as `user`, stops at every NO and BAD, and numbers its commands."""

    def __init__(self, public: Public, user: str, way: str = "virtual") -> None:
        self._client = public.client(way, user)
        self._numbers = count(1)
        self.box = f"Public Folders/Open/{user}"

    def ask(self, command: str, literal: bytes = b"") -> bytes:
        """The answer to a command, with a literal behind it if there is one, sent when the server has asked for it."""
        tag = f"{next(self._numbers)}".encode()
        client = self._client
        if literal:
            client.send(b"%b %b {%d}\r\n" % (tag, command.encode(), len(literal)))
            assert client.line().startswith(b"+")
            client.send(literal + b"\r\n")
            answer = client.until(tag)
        else:
            answer = client.command(tag + b" " + command.encode())
        assert answer.splitlines()[-1].startswith(tag + b" OK"), (command, answer)
        return answer

    def close(self) -> None:
        self.ask("LOGOUT")
        self._client.close()


def folders(answer: bytes) -> set[str]:
    """The public tree, without what tests make and delete meanwhile."""
    return {name for name in names(answer) if name.startswith("Public Folders/") and "/Open/" not in name}


def uids(answer: bytes) -> list[str]:
    """Of an answer to UID SEARCH."""
    (found,) = re.findall(rb"^\* SEARCH ?([\d ]*)\r$", answer, re.MULTILINE)
    return found.decode().split()


@pytest.fixture
def program(public: Public, reader: str, dovecot: Dovecot, public_store: Dovecot) -> Iterator[Program]:
    """Of a user with one letter in the inbox, and with a public folder of which only he knows."""
    with Dialogue(dovecot.ports.imap) as own, Dialogue(public_store.ports.imap) as store:
        for one in (own, store):
            one.line()
            one.command(f"in LOGIN {reader} {PASSWORD}".encode())
        assert b"a OK" in own.command(b"a APPEND INBOX (\\Seen $Label1) {%d+}\r\n%b" % (len(LETTER), LETTER))
        assert b"c OK" in store.command(f"c CREATE Public/Open/{reader}".encode())
        one_program = Program(public, reader)
        yield one_program
        one_program.close()
        store.command(f"d DELETE Public/Open/{reader}".encode())


def stored(store: Dovecot, user: str) -> list[tuple[str, set[bytes]]]:
    """Digest and flags of each message in the user's public folder; \\Recent is whoever's looks first."""
    with Dialogue(store.ports.imap) as client:
        client.line()
        client.command(f"in LOGIN {user} {PASSWORD}".encode())
        client.command(f"e EXAMINE Public/Open/{user}".encode())
        answer = client.command(b"f UID FETCH 1:* (FLAGS BODY.PEEK[])")
    rows = re.finditer(rb"\* \d+ FETCH \(UID \d+ FLAGS \(([^)]*)\) BODY\[\] \{(\d+)\}\r\n", answer)
    return [(sha256(answer[row.end() : row.end() + int(row[2])]), set(row[1].split()) - {b"\\Recent"}) for row in rows]


def test_k9_that_asks_for_no_namespace(program: Program, public_store: Dovecot, reader: str) -> None:
    """K-9 Mail: LIST and LSUB of all; a folder is opened, a message saved and copied, and what was moved is deleted by flag."""
    program.ask("CAPABILITY")
    assert folders(program.ask('LIST "" "*"')) == MOUNTED
    assert folders(program.ask('LSUB "" "*"')) == MOUNTED
    for name in sorted(name for name in MOUNTED if name.isascii()):
        program.ask(f'SUBSCRIBE "{name}"')
        program.ask(f'SELECT "{name}"')
    program.ask("SELECT INBOX")
    (uid,) = uids(program.ask("UID SEARCH 1:* NOT DELETED"))
    program.ask(f'STATUS "{program.box}" (UIDVALIDITY)')
    program.ask(f'UID COPY {uid} "{program.box}"')
    program.ask(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
    program.ask("EXPUNGE")
    program.ask(f'APPEND "{program.box}" (\\Seen)', LETTERS[1])
    assert uids(program.ask("UID SEARCH ALL")) == []
    assert stored(public_store, reader) == [(sha256(LETTER), {b"\\Seen", b"$Label1"}), (sha256(LETTERS[1]), {b"\\Seen"})]


def test_outlook_that_opens_one_level_at_a_time(program: Program, public_store: Dovecot, reader: str) -> None:
    """Outlook: the separator first; levels by % and LSUB; a drop is a copy, a flag and an expunge of what was flagged."""
    program.ask("CAPABILITY")
    program.ask("NAMESPACE")
    (root,) = listed(program.ask('LIST "" ""'))
    assert root.name == ""
    assert "Public Folders" in names(program.ask('LIST "" %'))
    assert "Public Folders" in names(program.ask('LSUB "" %'))
    assert {"Public Folders/Notices", "Public Folders/Team"} <= set(names(program.ask('LIST "" "Public Folders/%"')))
    assert names(program.ask('LSUB "" "Public Folders/Team/%"')) == ["Public Folders/Team/Minutes"]
    program.ask('STATUS "Public Folders/Notices" (UIDNEXT UIDVALIDITY UNSEEN RECENT MESSAGES)')
    program.ask("SELECT INBOX")
    program.ask("UID FETCH 1:* (UID FLAGS RFC822.SIZE)")
    (uid,) = uids(program.ask("UID SEARCH ALL"))
    program.ask(f'UID COPY {uid} "{program.box}"')
    program.ask(f"UID STORE {uid} +FLAGS (\\Deleted \\Seen)")
    program.ask(f"UID EXPUNGE {uid}")
    program.ask(f'SELECT "{program.box}"')
    assert b"Subject: Letter 1" in program.ask("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert [digest for digest, _ in stored(public_store, reader)] == [sha256(LETTER)]


def test_apple_mail_that_stores_what_it_drops(program: Program, public_store: Dovecot, reader: str) -> None:
    """Apple Mail: it says who it is, asks for everything at once, and moves by MOVE where the server has it, back by COPY."""
    program.ask('ID ("name" "Mac OS X Mail" "version" "16.0 (3774.300.61.1.2)" "os" "Mac OS X" "vendor" "Apple Inc.")')
    program.ask("NAMESPACE")
    assert folders(program.ask('LIST "" "*" RETURN (SPECIAL-USE)')) == MOUNTED
    assert folders(program.ask('LSUB "" "*"')) == MOUNTED
    for name in ("Notices", "Team"):
        program.ask(f'STATUS "Public Folders/{name}" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)')
    program.ask("SELECT INBOX")
    (uid,) = uids(program.ask("UID SEARCH 1:* NOT DELETED"))
    assert b"COPYUID" in program.ask(f'UID MOVE {uid} "{program.box}"')
    program.ask(f'SELECT "{program.box}"')
    (uid,) = uids(program.ask("UID SEARCH 1:* NOT DELETED"))
    assert stored(public_store, reader) == [(sha256(LETTER), {b"\\Seen", b"$Label1"})]
    assert b"COPYUID" in program.ask(f"UID COPY {uid} INBOX")
    program.ask(f'APPEND "{program.box}" (\\Seen) "05-May-2026 10:00:00 +0200"', LETTERS[2])
    program.ask("CLOSE")
    assert b"(MESSAGES 1)" in program.ask("STATUS INBOX (MESSAGES)")
    assert [digest for digest, _ in stored(public_store, reader)] == [sha256(LETTER), sha256(LETTERS[2])]


def test_thunderbird_that_asks_for_the_rights_in_all_that_is_subscribed(program: Program) -> None:
    """Thunderbird: what is subscribed, by namespace; whatever it is told, it asks for rights there, and shows its user each NO."""
    program.ask("namespace")
    program.ask('ID ("name" "Thunderbird" "version" "153.7.0")')
    found = names(program.ask('list (subscribed) "" "*" return (special-use)'))
    assert set(found) >= MOUNTED
    assert "Public Folders" not in found  # no mailbox: in the namespace it would look for Public Folders/Public Folders
    assert folders(program.ask('list (subscribed) "" "Public Folders/*" return (special-use)')) == MOUNTED
    for name in (each for each in found if each.isascii() and "/Open/" not in each):
        program.ask(f'myrights "{name}"')
    for name in (each for each in MOUNTED if each.isascii()):
        program.ask(f'STATUS "{name}" (UIDNEXT MESSAGES UNSEEN RECENT)')
        program.ask(f'select "{name}"')
        program.ask(f'getquotaroot "{name}"')
        program.ask("UID fetch 1:* (FLAGS)")
