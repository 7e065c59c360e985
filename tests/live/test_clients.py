"""Real clients do the same work straight on the server and through Portico, and find the same.

Rule of this file: a test runs one client twice and compares; messages by SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portico.demo import mailbox, messages

from tests.live import clients
from tests.live.conftest import Way

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


def test_imaplib_sees_the_same_mailbox(way: Way) -> None:
    assert clients.imaplib_walk(way.through()) == clients.imaplib_walk(way.direct())


def test_imapclient_does_a_day_of_work_with_the_same_results(way: Way) -> None:
    letters = [message.octets for message in INBOX.messages[1:7]]
    direct = clients.imapclient_work(way.direct(way.new_user()), letters)
    through = clients.imapclient_work(way.through(way.new_user()), letters)
    assert through == direct


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
