"""docs/how-to/public-folders.md, tried as it is written.

Rule of this file: settings, configuration and commands are read from the page; only addresses, paths and passwords are put in.
"""

from __future__ import annotations

import imaplib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from portico.demo import dovecot as demo_dovecot
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder, Message
from portico.demo.ports import LOOPBACK, accepts

from tests.live.conftest import lacking
from tests.live.cyrus import ADMIN, PROXY, Cyrus
from tests.live.dialogue import Dialogue
from tests.live.front import Front
from tests.live.mail_server import own
from tests.live.mailboxes import names
from tests.live.people import PASSWORD, People, load
from tests.live.stores import LETTERS, NAMED, READERS

pytestmark = pytest.mark.live

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "public-folders.md"
LIBRARIAN = ("librarian", "shelves")
ACCOUNT = "public@example.org"


def block(chapter: str, kind: str, number: int = 0) -> str:
    """What stands between fences below a heading. `kind`: what stands behind the opening fence."""
    text = PAGE.read_text("utf-8")
    below = text if not chapter else text[text.index(f"\n## {chapter}\n") :].partition("\n## ")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    return [inside for is_kind, inside in blocks if is_kind == kind][number]


@dataclass
class AsWritten(Front):
    """Portico with the page's settings; of its ports only `imaps` is there."""

    whole: str = ""

    def text(self) -> str:
        return self.whole

    def answers(self) -> bool:
        return accepts(self.ports.imaps)

    @contextmanager
    def client(self, user: str) -> Iterator[Dialogue]:
        with Dialogue(self.ports.imaps, authority=self.certificates.authority, implicit=True) as client:
            client.line()
            assert re.match(rb"in OK", client.command(f"in LOGIN {user} {PASSWORD}".encode()).splitlines()[-1])
            yield client


@contextmanager
def portico(directory: Path, certificates: Certificates, personal: Dovecot, store: Dovecot | Cyrus, table: str = "") -> Iterator[AsWritten]:
    """Run the page's settings, with `table` in place of the plugin's."""
    front = AsWritten(directory, personal.ports, certificates)
    text = block("", "toml")
    if table:
        text = re.sub(r"^\[listeners\.imaps\.plugins.*?(?=^\[)", "", text, flags=re.MULTILINE | re.DOTALL) + table
    replacements = {
        "mail.internal.example:143": f"{LOOPBACK}:{personal.ports.imap}",
        "public.internal.example:993": f"{LOOPBACK}:{store.ports.imaps}",
        'tls = "implicit"\n': f'tls = "implicit"\nca_file = "{certificates.authority}"\nname = "localhost"\n',
        "0.0.0.0:993": f"{LOOPBACK}:{front.ports.imaps}",
        "mail.pem": str(certificates.certificate),
        "mail.key": str(certificates.key),
    }
    for written, real in replacements.items():
        assert written in text, written
        text = text.replace(written, real)
    front.whole = text
    front.start()
    try:
        yield front
        assert not front.events("session.bug")
    finally:
        front.stop()


def secret(directory: Path, name: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).touch(mode=0o600)
    (directory / name).write_text(text + "\n")


def seen(client: Dialogue) -> set[str]:
    return {name.removeprefix("Public Folders/") for name in names(client.command(b'l LIST "" "Public Folders/*"'))}


def may_post(client: Dialogue, box: str) -> bool:
    letter = LETTERS[0]
    return b"p OK" in client.command(f'p APPEND "Public Folders/{box}" {{{len(letter)}+}}\r\n'.encode() + letter)


# -- Dovecot


@pytest.fixture(scope="module")
def documented(place: Path, certificates: Certificates) -> Iterator[Dovecot]:
    """A Dovecot with the page's configuration, and the folders that the page's commands make."""
    program = demo_dovecot.find()
    if program is None or demo_dovecot.missing():
        lacking("not installed: Dovecot (make test installs it)")
    if demo_dovecot.version(program) >= (2, 4):
        pytest.skip("the page is about Dovecot 2.3")
    directory = place / "documented"
    public = directory / "public"
    public.mkdir(parents=True)
    configuration, access = block("The store is a Dovecot", ""), block("The store is a Dovecot", "", 1)
    (directory / "master-users").write_text("portico:{PLAIN}of-puppets\n")
    (public / "dovecot-acl").write_text(access)
    for written, real in (("/var/mail/public", str(public)), ("/etc/dovecot/master-users", str(directory / "master-users"))):
        assert written in configuration
        configuration = configuration.replace(written, real)
    server = Dovecot(
        directory / "server",
        users=READERS | NAMED | dict([LIBRARIAN]),
        certificate=certificates.certificate,
        key=certificates.key,
        more=configuration,
    )
    if os.geteuid() == 0:
        own(public, demo_dovecot._mail_account())
    with server:
        doveadm = shutil.which("doveadm") or "/usr/bin/doveadm"
        for line in block("The store is a Dovecot", "console").splitlines():
            command = line.removeprefix("# doveadm ").split()
            subprocess.run([doveadm, "-c", str(server.directory / "dovecot.conf"), *command], check=True, capture_output=True, timeout=60)
        yield server


@pytest.mark.parametrize("sign_in", ["user", "master"])
def test_a_dovecot_as_documented(
    sign_in: str, documented: Dovecot, place: Path, certificates: Certificates, dovecot: Dovecot, reader: str
) -> None:
    directory = place / f"documented-{sign_in}"
    secret(directory, "master-password", "of-puppets")
    table = block("The store is a Dovecot", "toml") if sign_in == "master" else ""
    with portico(directory, certificates, dovecot, documented, table) as front:
        with front.client(reader) as client:
            assert seen(client) == {"Notices", "Team"}
            assert not may_post(client, "Notices") and may_post(client, "Team")
            assert set(names(client.command(b'l LSUB "" "Public Folders/*"'))) == {"Public Folders/Notices", "Public Folders/Team"}
            assert b"c NO" in client.command(b'c CREATE "Public Folders/Mine"')
        with front.client("carol") as client:
            assert seen(client) == {"Notices", "Team", "Staff"}
            client.command(b's SELECT "Public Folders/Team"')
            client.command(b"s STORE 1 +FLAGS (\\Seen)")
        with front.client("guest") as client:
            client.command(b's SELECT "Public Folders/Team"')
            assert b"\\Seen" not in client.command(b"f FETCH 1 FLAGS")


# -- Cyrus


def test_a_cyrus_as_documented(cyrus: Cyrus, place: Path, certificates: Certificates, dovecot: Dovecot, people: People) -> None:
    assert block("The store is a Cyrus", "", 0) == f"proxyservers: {PROXY[0]}\n"
    with imaplib.IMAP4(LOOPBACK, cyrus.ports.imap) as admin:
        admin.login(*ADMIN)
        for line in block("The store is a Cyrus", "console").splitlines():
            verb, *words = line.removeprefix("localhost> ").split()
            answer, text = admin.create(*words) if verb == "createmailbox" else admin.setacl(*words)
            assert answer == "OK", text
    directory = place / "documented-cyrus"
    secret(directory, "master-password", PROXY[1])
    table = block("The store is a Cyrus", "toml")
    with portico(directory, certificates, dovecot, cyrus, table) as front, front.client(people.new(dovecot)) as client:
        assert seen(client) >= {"Notices", "Board"}
        assert not may_post(client, "Notices") and may_post(client, "Board")


# -- a plain account


def test_a_plain_account_as_documented(place: Path, certificates: Certificates, dovecot: Dovecot, reader: str) -> None:
    load(dovecot, ACCOUNT, [Folder(name, [Message(LETTERS[0])]) for name in ("Team/Talk", "Board", "News")])
    directory = place / "documented-account"
    secret(directory, "account-password", PASSWORD)
    table = block("The store is a plain account", "toml")
    with portico(directory, certificates, dovecot, dovecot, table) as front:
        with front.client(reader) as client:
            assert {"Team", "Team/Talk", "News"} <= seen(client)
            assert "Board" not in seen(client) and "INBOX" not in seen(client)
            assert may_post(client, "Team/Talk") and not may_post(client, "News") and not may_post(client, "Board")
            client.command(b's SELECT "Public Folders/News"')
            assert b"s NO" in client.command(b"s STORE 1 +FLAGS (\\Deleted)")
            assert b"c NO" in client.command(b'c CREATE "Public Folders/Mine"')
        with front.client("carol") as client:
            assert "Board" in seen(client)
            assert b"c OK" in client.command(b'c CREATE "Public Folders/Board/Minutes"')
            assert b"c OK" in client.command(b'c DELETE "Public Folders/Board/Minutes"')


def test_who_is_excluded_as_documented(place: Path, certificates: Certificates, dovecot: Dovecot, reader: str) -> None:
    table = block("For whom it should be off", "toml")
    with portico(place / "documented-off", certificates, dovecot, dovecot, table) as front:
        with front.client("backup") as client:
            assert seen(client) == set()
        with front.client(reader) as client:
            assert seen(client)
