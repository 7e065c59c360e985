"""Stores of public folders, and a Portico that mounts them in each way that there is.

Rule of this file: the users are those of the personal server, with the same passwords. Each way to mount has a listener of its own, so that
one proxy serves all tests.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from portico.demo import dovecot as demo_dovecot
from portico.demo import mailbox, messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder, Message
from portico.demo.ports import LOOPBACK, MailPorts, free_ports

from tests.live.cyrus import ADMIN, Cyrus
from tests.live.dialogue import Dialogue
from tests.live.front import Front
from tests.live.people import MANY, PASSWORD

OWNER = ("librarian", "shelves")
"""Who has every right below ``Public/`` of the Dovecot, and may be used as a service account."""
MASTER = ("boss", "of-puppets")
STAFF = "staff"
"""The only user who sees ``Staff only``."""
READERS = {f"reader{number}": PASSWORD for number in range(400)}
"""Users of the personal server and of the Dovecot store, each given out once (fixture `reader`)."""
NAMED = dict.fromkeys((STAFF, "carol", "backup", "guest", "public@example.org"), PASSWORD)
"""Others whom both know."""
PREFIX = "Public Folders"

PUBLIC = {"Notices", "Team", "Team/Minutes", "Größe & Gewicht", "Open"}
MOUNTED = {f"{PREFIX}/{name}" for name in PUBLIC}
"""What a user sees of the Dovecot, where `root` is its public namespace."""
LETTERS = [
    messages.plain(20 + n, f"Letter {n}", f"Number {n} of four.\n" * n, to=f"Somebody <somebody@{messages.DOMAIN}>") for n in range(1, 5)
]
"""Messages to store."""

_READ, _POST, _ALL = [("anyone", "lrs")], [("anyone", "lrswi")], [("anyone", "lrswipkxtea")]
_BOARD = f"Notice board <board@{messages.DOMAIN}>"

# A master user has the rights of him for whom he acts, not his own. What is a user's own there has a small quota. The flag of Archive is one that no client of the front may see.
_MORE_2_3 = """
plugin {
  acl_user = %u
  quota_rule = *:storage=1M
}
namespace public {
  mailbox Notices {
    special_use = \\Archive
  }
}
"""
_MORE_2_4 = """
acl_user = %{user}
quota_storage_size = 1M
namespace public {
  mailbox Notices {
    special_use = \\Archive
  }
}
"""


def public_folders() -> list[Folder]:
    """What is below the root: to read, to post to, hidden, nested, non-ASCII, and one in which everybody may do everything."""
    notices = [
        Message(messages.plain(60 + n, f"Notice {n}", f"This is notice {n}.\n", to=_BOARD), "$Notice", f'"0{n}-May-2026 09:00:00 +0200"')
        for n in range(1, 4)
    ]
    return [
        Folder("Notices", notices, _READ, subscribed=False),
        Folder("Team", [Message(messages.plain(64, "Team rules", "Be kind.\n", to=_BOARD))], _POST, subscribed=False),
        Folder("Team/Minutes", [Message(messages.attachments(65, size=20 * 1024))], _READ, subscribed=False),
        Folder("Größe & Gewicht", [Message(messages.eight_bit(66))], _READ, subscribed=False),
        Folder("Staff only", [Message(messages.plain(67, "For staff", "Hush.\n"))], [(STAFF, "lrs")], subscribed=False),
        Folder("Open", [], _ALL, subscribed=False),
    ]


def settled(found: Iterable[str]) -> set[str]:
    """Names of mailboxes, without those that tests make and delete meanwhile."""
    return {name for name in found if "/Open/" not in name}


def dovecot_store(directory: Path, certificates: Certificates) -> Dovecot:
    """A Dovecot with ACLs whose public folders are below ``Public/``. To be started, then filled."""
    program = demo_dovecot.find()
    assert program is not None
    return Dovecot(
        directory,
        users=MANY | READERS | NAMED | dict([OWNER]),
        masters=dict([MASTER]),
        owner=OWNER[0],
        certificate=certificates.certificate,
        key=certificates.key,
        more=_MORE_2_3 if demo_dovecot.version(program) < (2, 4) else _MORE_2_4,
    )


def fill_dovecot(store: Dovecot) -> None:
    with imaplib.IMAP4(LOOPBACK, store.ports.imap) as connection:
        connection.login(*OWNER)
        mailbox.fill(connection, public_folders(), prefix="Public/")


def fill_cyrus(store: Cyrus) -> None:
    """Beside what Cyrus has already (Team, Team/Minutes: everybody may read and post) a folder in which everybody may do everything, and one
    that nobody sees."""
    with imaplib.IMAP4(LOOPBACK, store.ports.imap) as admin:
        admin.login(*ADMIN)
        for name in ("Open", "Hidden"):
            answer, text = admin.create(name)
            assert answer == "OK", text
        admin.setacl("Open", "anyone", "lrswipkxtea")
        admin.deleteacl("Hidden", "anyone")


@dataclass(frozen=True)
class Public:
    """Portico in front of a personal Dovecot, with a listener for each way to see the public folders."""

    front: Front
    ports: Mapping[str, int]
    """By way, as `ways` names them; no TLS."""

    def client(self, way: str, user: str, password: str = PASSWORD) -> Dialogue:
        """A client that has signed in."""
        client = Dialogue(self.ports[way])
        client.line()
        answer = client.command(f"in LOGIN {user} {password}".encode())
        assert answer.split(b"\r\n")[-2].startswith(b"in OK"), answer
        return client

    def mail_ports(self, way: str) -> MailPorts:
        """For clients that want them all; only `imap` is to be used."""
        port = self.ports[way]
        return MailPorts(port, port, port, port)


_ACCOUNT = f"""store = "store"
root = "Public"
sign_in = "account"
subscribed = "proxy"
account = "{OWNER[0]}"
account_password = "{OWNER[1]}"
access = [
  {{users = ["{STAFF}"], folders = ["Staff only"], rights = "read"}},
  {{folders = ["Staff only"], rights = "none"}},
  {{folders = ["Open"], rights = "manage"}},
  {{folders = ["Team/Minutes"], rights = "read"}},
  {{folders = ["Team"], rights = "post"}},
  {{rights = "read"}},
]
"""
_MASTER = f'sign_in = "master"\nmaster_user = "{MASTER[0]}"\nmaster_password = "{MASTER[1]}"\n'
_PUBLIC = 'store = "store"\nroot = "Public"\n'
_STORED = 'subscribed = "store"\n'
PUBLIC_WAYS = {
    "user": _PUBLIC + _STORED,
    "master": _PUBLIC + _STORED + _MASTER,
    "account": _ACCOUNT,
    "virtual": _PUBLIC,
    "proxy": _PUBLIC + 'subscribed = "proxy"\n',
    "on demand": _PUBLIC + 'show = "on demand"\n' + _STORED,
    "subscribed": _PUBLIC + 'show = "subscribed"\n' + _STORED,
    "subscribed here": _PUBLIC + 'show = "subscribed"\nsubscribed = "proxy"\n',
    "hidden": _PUBLIC + 'show = "hidden"\n' + _STORED,
    "deep": _PUBLIC + 'prefix = "Shared/Öffentlich"\n' + _STORED,
    "whole": 'store = "store"\ninbox = true\n' + _STORED,
    "excluded": _PUBLIC + 'exclude_users = ["reader*"]\n',
    "not for testers": _PUBLIC + 'exclude_clients = ["tester*"]\n',
    "with links": _PUBLIC + _STORED + '[listeners."with links".plugins.meeting_links]\nwebmail = "nextcloud"\nhost = "mail.example.org"\n',
    "down": 'store = "down"\n' + _STORED,
    "silent": 'store = "silent"\n' + _STORED,
}
"""Options of the plugin, by the name of the listener. `store` is the Dovecot; at `down` is nobody, and `silent` takes connections and says
nothing."""
CYRUS_WAYS = {"cyrus": 'store = "store"\nroot = "Shared Folders"\n' + _STORED}


def public_front(
    directory: Path, certificates: Certificates, personal: Dovecot, servers: Mapping[str, int], ways: Mapping[str, str], listener: str = ""
) -> Public:
    """A proxy with a listener for each of `ways`, in front of `personal` and of `servers` (names and IMAP ports). Not started.
    `listener`: further lines of each listener."""
    numbers = free_ports(len(ways) + 8)
    front = Front(
        directory, personal.ports, certificates, protocols=("imap",), ports=MailPorts(*numbers[:4]), clear=MailPorts(*numbers[4:8])
    )
    ports = dict(zip(ways, numbers[8:], strict=True))
    front.more = "".join(f'[servers.{name}]\nimap = "{LOOPBACK}:{port}"\nprobe = false\n' for name, port in servers.items())
    for way, options in ways.items():
        front.more += f"""
[listeners."{way}"]
protocol = "imap"
addresses = ["{LOOPBACK}:{ports[way]}"]
tls = "none"
plain_login = true
server = "server"
timeouts.greeting = "{"4s" if way == "silent" else "30s"}"
limits.wrong_login_delay = "1ms"
{listener}[listeners."{way}".plugins.public_folders]
{options}"""
    return Public(front, ports)
