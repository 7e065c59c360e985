"""The demo's mailboxes: who has which folders with which messages, and how they get there.

Rule of this file: everything is stored over IMAP, so that any server can be filled.
"""

from __future__ import annotations

import base64
import imaplib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portico.demo import messages
from portico.demo.child import DemoError

USERS = {"alice": "wonderland", "bob": "builder", "postmaster": "stamps"}
"""Names and passwords; the server is on the loopback address and lives as long as the demo."""
MASTERS = {"master": "of-puppets"}
OWNER = "postmaster"
PUBLIC = "Public"


@dataclass(slots=True, frozen=True)
class Message:
    octets: bytes
    """CRLF text."""
    flags: str = ""
    """As in APPEND, without parentheses: ``\\Seen \\Flagged``."""
    date: str = '"04-May-2026 09:00:00 +0200"'


@dataclass(slots=True, frozen=True)
class Folder:
    name: str
    """Unicode, ``/`` between levels."""
    messages: Sequence[Message] = ()
    rights: Sequence[tuple[str, str]] = ()
    """Identifiers and their rights (RFC 4314), for public folders."""
    subscribed: bool = True


def alice() -> list[Folder]:
    """The mailbox to look at."""
    inbox = [
        Message(messages.plain(1, "Welcome to Portico", WELCOME), "\\Flagged"),
        Message(messages.quoted_printable(2), "\\Seen"),
        Message(messages.base64_text(3)),
        Message(messages.eight_bit(4), "\\Seen $Forwarded"),
        Message(messages.html_and_text(5), "\\Seen"),
        Message(messages.attachments(6)),
        Message(messages.forwarded(7), "\\Seen \\Answered"),
        Message(messages.dots_and_long_lines(8)),
        Message(messages.outlook_request(9)),
        Message(messages.google_request(10)),
        Message(messages.icloud_request(11)),
        Message(messages.calendar_only_request(12)),
        Message(messages.reply(13), "\\Seen"),
        Message(messages.cancel(14)),
    ]
    return [
        Folder("INBOX", inbox),
        Folder(
            "Archive/2025", [Message(messages.plain(20 + n, f"Old letter {n}", f"Letter number {n}.\n"), "\\Seen") for n in range(1, 6)]
        ),
        Folder("Projekte/Größe & Gewicht", [Message(messages.quoted_printable(30)), Message(messages.html_and_text(31))]),
        Folder("日本語", [Message(messages.base64_text(32))]),
        Folder("Entwürfe – später", [Message(messages.plain(33, "Not yet", "To be written.\n"), "\\Draft")], subscribed=False),
    ]


def bob() -> list[Folder]:
    to = f"Bob Builder <bob@{messages.DOMAIN}>"
    return [Folder("INBOX", [Message(messages.plain(40, "Re: Welcome", "Thank you!\n", sender=f"Alice <alice@{messages.DOMAIN}>", to=to))])]


def public() -> list[Folder]:
    """The public tree, stored by its owner. Readers may read; in Team they may also post."""
    board = f"Notice board <board@{messages.DOMAIN}>"
    notices = [Message(messages.plain(50 + n, f"Notice {n}", f"This is notice {n}.\n", to=board)) for n in range(1, 4)]
    post, read = [("anyone", "lrswi")], [("anyone", "lrs")]
    return [
        Folder(f"{PUBLIC}/Team", [Message(messages.plain(54, "Team rules", "Be kind.\n", to=board))], post),
        Folder(f"{PUBLIC}/Team/Minutes", [Message(messages.attachments(55, size=20 * 1024))], read),
        Folder(f"{PUBLIC}/Aushänge", notices, read),
        Folder(f"{PUBLIC}/Staff only", [Message(messages.plain(56, "For staff", "Only alice sees this.\n"))], [("alice", "lrs")]),
    ]


def modified_utf7(name: str) -> str:
    """A mailbox name as IMAP writes it (RFC 3501 5.1.3)."""

    def shifted(run: re.Match[str]) -> str:
        if run[0] == "&":
            return "&-"
        return "&" + base64.b64encode(run[0].encode("utf-16-be")).decode("ascii").rstrip("=").replace("/", ",") + "-"

    return re.sub(r"&|[^\x20-\x7e]+", shifted, name)


def quoted(name: str, separator: str = "/") -> str:
    """A mailbox name as a quoted string, with the server's hierarchy separator."""
    text = modified_utf7(name.replace("/", separator))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def fill(connection: imaplib.IMAP4, folders: Sequence[Folder], *, prefix: str = "", separator: str = "/") -> int:
    """Store `folders` through a connection that has signed in; returns how many messages it stored.

    `prefix` is put before each name but INBOX (Courier and Cyrus want ``INBOX.``). A folder that is there already
    is used. Raises `DemoError` with the server's words.
    """
    stored = 0
    for folder in folders:
        name = quoted(folder.name if folder.name == "INBOX" else prefix + folder.name, separator)
        if folder.name != "INBOX":
            answer, text = connection.create(name)
            if answer != "OK" and b"exist" not in text[0].lower():
                raise DemoError(f"CREATE {name}: {text[0].decode('utf-8', 'replace')}")
            if folder.subscribed:
                connection.subscribe(name)
        for identifier, rights in folder.rights:
            _done(f"SETACL {name}", connection.setacl(name, identifier, rights))
        for message in folder.messages:
            _done(f"APPEND {name}", connection.append(name, f"({message.flags})", message.date, message.octets))
            stored += 1
    return stored


def fill_all(host: str, port: int) -> int:
    """Fill a Dovecot that has `USERS`, public folders too; returns how many messages it stored."""
    stored = fill_people(host, port) + fill_public(host, port)
    with imaplib.IMAP4(host, port) as connection:
        # Thunderbird shows only what is subscribed, also of public folders.
        connection.login("alice", USERS["alice"])
        for folder in public():
            connection.subscribe(quoted(folder.name))
    return stored


def fill_people(host: str, port: int) -> int:
    """Store what is somebody's own."""
    return _fill_users(host, port, {"alice": alice(), "bob": bob()})


def fill_public(host: str, port: int) -> int:
    """Store the public tree."""
    return _fill_users(host, port, {OWNER: public()})


def _fill_users(host: str, port: int, folders: Mapping[str, Sequence[Folder]]) -> int:
    stored = 0
    for user, theirs in folders.items():
        with imaplib.IMAP4(host, port) as connection:
            connection.login(user, USERS[user])
            stored += fill(connection, theirs)
    return stored


def _done(what: str, answer: tuple[str, list[bytes]]) -> None:
    if answer[0] != "OK":
        raise DemoError(f"{what}: {answer[1][0].decode('utf-8', 'replace')}")


WELCOME = """\
Dear Alice,

this mailbox is on a private Dovecot. You read it through Portico, which ends
TLS in front of it. Everything here goes away when the demo is ended.

Look around: folders with umlauts and in Japanese, attachments, four meeting
requests of different senders' shapes, and a tree of public folders.
"""
