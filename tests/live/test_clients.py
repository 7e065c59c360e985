"""Real clients do the same work straight on the server and through Portico, and find the same.

Rule of this file: a test runs one client twice and compares; messages by SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portico.demo import mailbox, messages
from portico.demo.certificates import Certificates

from tests.live import clients
from tests.live.clients import Account
from tests.live.conftest import Server, Way
from tests.live.front import Front
from tests.live.people import PASSWORD, People, load

pytestmark = pytest.mark.live

INBOX = mailbox.alice()[0]
COUNT = len(INBOX.messages)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_curl_downloads_the_same_messages(way: Way, protocol: str, tmp_path: Path, need: Callable[..., None]) -> None:
    need("curl")
    direct = clients.curl(way.direct(), tmp_path / "direct", protocol, COUNT)
    through = clients.curl(way.through(), tmp_path / "through", protocol, COUNT)
    assert through == direct
    assert len(through) == COUNT


def test_curl_lists_folders_and_reads_in_one_whose_name_is_not_ascii(way: Way, tmp_path: Path, need: Callable[..., None]) -> None:
    need("curl")
    separator = getattr(way.server, "separator", "/")
    name = getattr(way.server, "prefix", "") + mailbox.modified_utf7("Projekte/Größe & Gewicht".replace("/", separator))
    direct = clients.curl_folders(way.direct(), tmp_path / "direct", name)
    through = clients.curl_folders(way.through(), tmp_path / "through", name)
    assert through == direct
    assert any(name in line for line in through[0])
    assert through[1] == clients.sha256(messages.quoted_printable(30).replace(b"\r\n", b"\n"))


def test_curl_uploads_a_message_unchanged(way: Way, tmp_path: Path, need: Callable[..., None]) -> None:
    need("curl")
    message = messages.attachments(1)
    user = way.new_user()
    clients.curl_append(way.through(user), tmp_path / "up", message)
    (name,) = (down := clients.curl(way.direct(user), tmp_path / "down", "imap", 1))
    assert down[name] == clients.sha256(message)


def test_mbsync_pulls_the_same_folders_and_messages(way: Way, tmp_path: Path, need: Callable[..., None]) -> None:
    need("mbsync")
    direct = clients.mbsync(way.direct(), tmp_path / "direct")
    through = clients.mbsync(way.through(), tmp_path / "through")
    assert through == direct
    assert len(through) >= COUNT


def test_mbsync_pushes_messages_that_arrive(way: Way, tmp_path: Path, need: Callable[..., None]) -> None:
    need("mbsync")
    user = way.new_user([mailbox.Folder("INBOX", INBOX.messages[:3])])
    clients.mbsync(way.through(user), tmp_path / "one")
    pushed = {f"17000000{n:02d}.1_{n}.here": message.octets for n, message in enumerate(INBOX.messages[5:8])}
    there = clients.mbsync(way.through(user), tmp_path / "one", push=pushed)
    assert clients.mbsync(way.direct(user), tmp_path / "other").keys() == there.keys()
    assert len([name for name in there if name.startswith("INBOX ")]) == 6


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_fetchmail_fetches_the_same_messages(way: Way, protocol: str, tmp_path: Path, need: Callable[..., None]) -> None:
    need("fetchmail")
    direct = clients.fetchmail(way.direct(), tmp_path / "direct", protocol)
    through = clients.fetchmail(way.through(), tmp_path / "through", protocol)
    assert through == direct
    assert len(through) == COUNT


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_fetchmail_takes_mail_away(way: Way, protocol: str, tmp_path: Path, need: Callable[..., None]) -> None:
    need("fetchmail")
    user = way.new_user([mailbox.Folder("INBOX", INBOX.messages[5:9])])
    there = clients.fetchmail(way.direct(user), tmp_path / "direct", protocol)
    taken = clients.fetchmail(way.through(user), tmp_path / "through", protocol, keep=False)
    assert taken == there
    connection = clients.poplib_connect(way.direct(user))
    assert connection.stat()[0] == 0
    connection.quit()


def test_imaplib_sees_the_same_mailbox(way: Way) -> None:
    assert clients.imaplib_walk(way.through()) == clients.imaplib_walk(way.direct())


def test_imapclient_does_a_day_of_work_with_the_same_results(way: Way) -> None:
    letters = [message.octets for message in INBOX.messages[1:7]]
    direct = clients.imapclient_work(way.direct(way.new_user()), letters)
    through = clients.imapclient_work(way.through(way.new_user()), letters)
    assert through == direct


def test_imapclient_hears_of_new_mail_while_it_idles(way: Way) -> None:
    user = way.new_user([mailbox.Folder("INBOX", INBOX.messages[:2])])
    new = mailbox.Folder("INBOX", INBOX.messages[7:8])
    heard = clients.imapclient_idle(way.through(user), lambda: load(way.server, user, [new]))
    assert heard == [[(3, b"EXISTS")], clients.sha256(new.messages[0].octets)]


ODD = {
    "bare LF": b"Subject: odd\n\none\ntwo\n",
    "bare CR": b"Subject: odd\r\n\r\none\rtwo\r\r\n",
    "no line end": b"Subject: odd\r\n\r\nthe last line is open",
    "octets of every kind": b"Subject: odd\r\n\r\n" + bytes(range(1, 256)) + b"\r\n",
    "what looks like protocol": b"Subject: odd\r\n\r\n)\r\na1 OK done\r\n* BYE no\r\n{5}\r\n{7+}\r\n+ go\r\n.\r\n-ERR\r\n",
}


@pytest.mark.parametrize("name", ["dovecot", "dovecot_that_compresses", "cyrus", "courier"])
def test_odd_octets_are_stored_and_read_as_without_portico(
    name: str, request: pytest.FixtureRequest, portico: Callable[..., Front], certificates: Certificates, people: People
) -> None:
    server: Server = request.getfixturevalue(name)
    found = []
    for ports in (server.ports, portico(server, "starttls").ports):
        account = Account(ports, people.new(server), PASSWORD, certificates.authority)
        answers: dict[str, Any] = {}
        with clients.imaplib_connect(account) as connection:
            for what, octets in ODD.items():
                try:
                    clients.imaplib_append(connection, "INBOX", octets)
                except AssertionError as refused:
                    answers[what] = str(refused).splitlines()[0]
        walk = clients.imaplib_walk(account)
        inbox = walk.get("INBOX") or walk['"INBOX"']
        # By POP3, Courier numbers what came in the same second as it likes.
        sizes = sorted(line.split()[1] for line in clients.poplib_walk(account)["list"])
        found.append((answers, [item[1] for item in inbox if isinstance(item, tuple)], sizes))
    assert found[1] == found[0]
    assert clients.sha256(ODD["what looks like protocol"]) in found[1][1]


def test_poplib_sees_the_same_maildrop(way: Way) -> None:
    assert clients.poplib_walk(way.through()) == clients.poplib_walk(way.direct())


def test_pop3_deletes_for_good_only_at_quit(way: Way) -> None:
    user = way.new_user([mailbox.Folder("INBOX", INBOX.messages[:3])])
    connection = clients.poplib_connect(way.through(user))
    connection.dele(2)
    connection.close()
    assert clients.poplib_walk(way.direct(user))["stat"][0] == 3
    connection = clients.poplib_connect(way.through(user))
    connection.dele(2)
    connection.quit()
    assert clients.poplib_walk(way.direct(user))["stat"][0] == 2


def test_imapflow_does_the_same_work(way: Way, project: Path, tmp_path: Path, need: Callable[..., None]) -> None:
    need("node")
    if not (project / ".cache/node/node_modules/imapflow").exists():
        need("imapflow")
    message = tmp_path / "message.eml"
    message.write_bytes(messages.attachments(1))
    results: list[Any] = []
    for route in (way.direct, way.through):
        user = way.new_user(mailbox.alice())
        results.append(clients.imapflow(route(user), project, message))
    assert results[1] == results[0]
    assert results[1]["downloaded"] == clients.sha256(message.read_bytes())


def test_what_one_client_stores_through_portico_another_reads_there(way: Way) -> None:
    user = way.new_user()
    with clients.imaplib_connect(way.through(user)) as connection:
        for message in INBOX.messages:
            assert connection.append("INBOX", "", '"04-May-2026 09:00:00 +0200"', message.octets)[0] == "OK"
    walk = clients.imaplib_walk(way.direct(user))
    inbox = walk.get("INBOX") or walk['"INBOX"']
    hashes = [item[1] for item in inbox if isinstance(item, tuple) and b"BODY[]" in item[0]]
    assert hashes == [clients.sha256(message.octets) for message in INBOX.messages]
