"""Dovecot behind a real sshd: mail comes as it does straight from it, and what can go wrong has a name."""

from __future__ import annotations

import asyncio
import imaplib
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import pytest
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot

from tests.live import clients
from tests.live.clients import Account, sha256
from tests.live.conftest import unpacked
from tests.live.dialogue import eventually
from tests.live.front import Front
from tests.live.people import PASSWORD, People
from tests.live.sshd import Agent, Sshd
from tests.live.stores import LETTERS

pytestmark = pytest.mark.live
PATIENCE = 60.0
ONE = "[workers]\ncount = 1\n"


@pytest.fixture(scope="module")
def sshd(place: Path, project: Path) -> Iterator[Sshd]:
    """An sshd that is left alone."""
    yield from _sshd(place / "sshd", project)


@pytest.fixture
def shaky_sshd(place: Path, project: Path) -> Iterator[Sshd]:
    """One that a test may kill."""
    yield from _sshd(place / "shaky-sshd", project)


def _sshd(directory: Path, project: Path) -> Iterator[Sshd]:
    server = Sshd(unpacked("sshd", project), directory)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def front(place: Path, sshd: Sshd, dovecot: Dovecot, certificates: Certificates) -> Iterator[Front]:
    """Portico before Dovecot with STARTTLS, whose certificate is for localhost, through `sshd`."""
    front = Front(place / "by-ssh", dovecot.ports, certificates, "starttls", server_settings=sshd.settings(), more=ONE)
    front.start()
    yield front
    front.stop()


@pytest.fixture
def starting(place: Path, dovecot: Dovecot, certificates: Certificates) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def refused(front: Front) -> dict[str, object]:
    """What the log says of a login that cannot come to the server."""
    already = len(front.events("upstream.failed"))
    connection = imaplib.IMAP4("127.0.0.1", front.clear.imap)
    with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
        connection.login("alice", PASSWORD)
    connection.logout()
    assert eventually(lambda: len(front.events("upstream.failed")) > already)
    return front.events("upstream.failed")[-1]


def test_all_mail_is_the_same_by_imap_and_pop3(front: Front, dovecot: Dovecot, certificates: Certificates) -> None:
    through = Account(front.ports, "alice", PASSWORD, certificates.authority, "implicit")
    straight = Account(dovecot.ports, "alice", PASSWORD, certificates.authority)
    assert clients.imaplib_walk(through) == clients.imaplib_walk(straight)
    assert clients.poplib_walk(through) == clients.poplib_walk(straight)
    assert eventually(lambda: len(front.events("server.probed")) == 2)  # greeting and capabilities were asked for through it as well


def test_a_large_message_goes_there_and_comes_back_as_it_was(
    front: Front, dovecot: Dovecot, certificates: Certificates, people: People
) -> None:
    message = b"Subject: large\r\n\r\n" + b"".join(b"%070d\r\n" % n for n in range(450_000))  # 32 MB
    user = people.new(dovecot)
    with clients.imaplib_connect(Account(front.ports, user, PASSWORD, certificates.authority, "implicit")) as through:
        clients.imaplib_append(through, "INBOX", message)
        through.select("INBOX")
        _, data = through.fetch("1", "(BODY.PEEK[])")
    assert isinstance(data[0], tuple) and sha256(data[0][1]) == sha256(message)


def test_fifty_sessions_go_over_one_connection(front: Front, sshd: Sshd) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(imaplib.IMAP4("127.0.0.1", front.clear.imap)) for _ in range(50)]
        for connection in connections:
            assert connection.login("alice", PASSWORD)[0] == "OK"
        for connection in connections:
            assert connection.select("INBOX", readonly=True)[0] == "OK"
        assert sshd.sign_ins() == 1


def test_a_reload_goes_on_with_the_connection(front: Front, sshd: Sshd) -> None:
    signed_in = sshd.sign_ins()
    assert front.child is not None
    with front.settings.open("a") as settings:
        settings.write("\n[limits]\nsessions = 1000\n")
    front.child.signal(signal.SIGHUP)
    assert eventually(lambda: front.events("settings.reloaded"), PATIENCE)
    with imaplib.IMAP4("127.0.0.1", front.clear.imap) as connection:
        assert connection.login("alice", PASSWORD)[0] == "OK"
    assert sshd.sign_ins() == signed_in


def test_what_was_lost_with_the_ssh_host_is_told_and_comes_back_with_it(
    place: Path, shaky_sshd: Sshd, dovecot: Dovecot, certificates: Certificates, starting: ExitStack
) -> None:
    # A try every second, so that nobody waits long for the host to be back.
    settings = "probe = false\n" + shaky_sshd.settings()  # a question about capabilities is lost like a session
    front = Front(place / "shaky", dovecot.ports, certificates, server_settings=settings, more=ONE, protocols=("imap",))
    starting.callback(front.stop)
    front.start()
    with imaplib.IMAP4("127.0.0.1", front.clear.imap) as connection:
        connection.login("alice", PASSWORD)
        shaky_sshd.stop()
        with pytest.raises(imaplib.IMAP4.abort):
            for _ in range(2):  # what was sent last may still be on its way
                connection.noop()
    assert eventually(lambda: front.events("ssh.lost"))
    assert front.events("ssh.lost")[0]["sessions"] == 1 and front.events("ssh.lost")[0]["names"] == ["server"]
    assert refused(front)["reason"] == "ssh_unreachable"
    shaky_sshd.start()
    assert eventually(lambda: len(front.events("ssh.connected")) == 2, PATIENCE)
    with imaplib.IMAP4("127.0.0.1", front.clear.imap) as connection:
        assert connection.login("alice", PASSWORD)[0] == "OK"


@pytest.mark.parametrize("wrong", ["host key", "user key"])
def test_a_key_that_is_not_right_lets_nobody_through(
    wrong: str, place: Path, sshd: Sshd, dovecot: Dovecot, certificates: Certificates, starting: ExitStack
) -> None:
    signed_in = sshd.sign_ins()
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    stranger.write_private_key(place / f"{wrong} of a stranger")
    changes = {"known_hosts": None, "fingerprint": stranger.get_fingerprint()}
    settings = sshd.settings(**changes if wrong == "host key" else {"key": place / f"{wrong} of a stranger"})
    front = Front(place / wrong, dovecot.ports, certificates, server_settings=settings, more=ONE, protocols=("imap",))
    starting.callback(front.stop)
    front.start()
    failed = refused(front)
    assert failed["reason"] == ("ssh_host_key" if wrong == "host key" else "ssh_auth")
    if wrong == "host key":
        assert sshd.fingerprint in str(failed["detail"])  # so that the operator can compare
    assert sshd.sign_ins() == signed_in


def test_an_agent_holds_the_key(place: Path, sshd: Sshd, dovecot: Dovecot, certificates: Certificates, starting: ExitStack) -> None:
    agent = Agent(sshd)
    starting.callback(agent.stop)
    asyncio.run(agent.start().add())
    settings = sshd.settings(key=None, agent=agent.socket)
    front = Front(place / "agent", dovecot.ports, certificates, server_settings=settings, more=ONE, protocols=("imap",))
    starting.callback(front.stop)
    front.start()
    with imaplib.IMAP4("127.0.0.1", front.clear.imap) as connection:
        assert connection.login("alice", PASSWORD)[0] == "OK"


def test_public_folders_may_be_behind_it_and_messages_are_copied_there(
    place: Path, sshd: Sshd, dovecot: Dovecot, public_store: Dovecot, certificates: Certificates, reader: str, starting: ExitStack
) -> None:
    table = sshd.settings().replace("servers.server.ssh", "servers.store.ssh")
    more = f'{ONE}[servers.store]\nimap = "127.0.0.1:{public_store.ports.imap}"\n{table}'
    more += '[plugins.public_folders]\nstore = "store"\nroot = "Public"\n'
    front = Front(place / "store-by-ssh", dovecot.ports, certificates, more=more, protocols=("imap",))
    starting.callback(front.stop)
    front.start()
    with imaplib.IMAP4("127.0.0.1", front.clear.imap) as connection:
        connection.login(reader, PASSWORD)
        clients.imaplib_append(connection, "INBOX", LETTERS[0])
        assert connection.select("INBOX")[0] == "OK"
        assert connection.copy("1", '"Public Folders/Open"')[0] == "OK"
        assert connection.select('"Public Folders/Open"')[0] == "OK"
        _, data = connection.fetch("*", "(BODY.PEEK[])")
        assert isinstance(data[0], tuple) and data[0][1] == LETTERS[0]
        connection.store("*", "+FLAGS", "\\Deleted")
        connection.expunge()
