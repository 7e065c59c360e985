"""The scripted server plays its playbook on real sockets, and complains of what is not in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from portico.testing import Dialogue, PlaybookFailed, ScriptedServer
from portico.testing.certificates import issue
from portico.testing.obliging import FOLDERS, MESSAGE

PLAYBOOK = """
C: a2 SELECT INBOX
S: * 1 EXISTS
S: a2 OK done

C: a3 APPEND x {5}
S: + go on
C: hello
S: a3 OK done
"""


def test_it_signs_anybody_in_and_plays() -> None:
    with ScriptedServer(PLAYBOOK) as server, Dialogue(server.port) as client:
        assert client.line().startswith(b"* OK [CAPABILITY IMAP4rev1 ")
        assert client.command(b'a1 LOGIN "alice" {6+}\r\nsecret').startswith(b"a1 OK")
        assert client.command(b"a2 SELECT INBOX") == b"* 1 EXISTS\r\na2 OK done\r\n"
        client.send(b"a3 APPEND x {5}\r\n")
        assert client.line() == b"+ go on\r\n"
        client.send(b"hello\r\n")
        assert client.line() == b"a3 OK done\r\n"
        assert client.command(b"a4 LOGOUT") == b"* BYE bye\r\na4 OK done\r\n"
        assert client.rest() == b""
    assert server.connections[0].user == "alice"
    assert server.commands[1] == b"a2 SELECT INBOX\r\n"


def test_what_is_not_in_the_playbook_is_told_at_the_end() -> None:
    server = ScriptedServer(PLAYBOOK)
    with pytest.raises(AssertionError, match=r"line 2: C: 'a2 SELECT INBOX(?s:.*)got b'a2 NOOP"), server, Dialogue(server.port) as client:
        client.line()
        client.command(b"a1 LOGIN alice secret")
        client.send(b"a2 NOOP\r\n")
        assert client.rest() == b"* BYE not in the playbook\r\n"
    assert isinstance(server.failures[0], PlaybookFailed)


def test_a_playbook_that_nobody_has_played_is_told_too() -> None:
    with pytest.raises(AssertionError, match="nobody has played the playbook to its end"), ScriptedServer(PLAYBOOK):
        pass


def test_a_command_behind_the_last_letter_is_told() -> None:
    with (
        pytest.raises(AssertionError, match="the playbook has ended, and there came b'a3 NOOP"),
        ScriptedServer("C: a2 X\nS: a2 OK") as server,
        Dialogue(server.port) as client,
    ):
        client.line()
        client.command(b"a1 LOGIN alice secret")
        client.command(b"a2 X")
        client.send(b"a3 NOOP\r\n")
        assert client.rest() == b""


def test_a_server_does_not_know_what_becomes_of_a_letter() -> None:
    with pytest.raises(ValueError, match="C: and S: lines only"):
        ScriptedServer("C: a\nto C: b")


@pytest.mark.parametrize("own", [True, False])
def test_tls_from_the_start_and_starttls(own: bool, tmp_path: Path) -> None:
    certificates = issue(tmp_path) if own else None
    with ScriptedServer(certificates=certificates, tls="implicit") as server:
        assert server.certificates is not None
        with Dialogue(server.port, authority=server.certificates.authority, implicit=True) as client:
            assert client.line().startswith(b"* OK")
    with ScriptedServer(certificates=issue(tmp_path / "other"), protocol="pop3") as server:
        assert server.certificates is not None
        with Dialogue(server.port, authority=server.certificates.authority) as client:
            client.line()
            client.send(b"STLS\r\n")
            assert client.line() == b"+OK begin\r\n"
            client.handshake()
            client.send(b"AUTH PLAIN\r\n")
            assert client.line() == b"+ \r\n"
            client.send(b"AGFsaWNlAHNlY3JldA==\r\nRETR 1\r\n")
            assert client.line() == b"+OK in\r\n"
            assert client.multiline() == b"+OK\r\n" + MESSAGE + b".\r\n"
        assert server.connections[0].user == "alice"


def test_where_nothing_is_said_everything_is_answered() -> None:
    with ScriptedServer() as server, Dialogue(server.port) as client:
        client.line()
        client.command(b"a0 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==")
        assert b"* 1 EXISTS\r\n" in client.command(b"a1 SELECT INBOX")
        assert MESSAGE in client.command(b"a2 UID FETCH 1 BODY.PEEK[]")
        assert MESSAGE not in client.command(b"a3 FETCH 1 RFC822.SIZE")
        assert client.command(b'a4 LIST "" *').count(b"* LIST") == len(FOLDERS)
        assert client.command(b"a5 DELETE x") == b"a5 OK DELETE completed.\r\n"
        client.send(b"a6 APPEND x {3}\r\nabc\r\n")
        assert client.until(b"a6").endswith(b"a6 OK APPEND completed.\r\n")
        assert client.command(b"a7 LOGOUT").startswith(b"* BYE")
        assert client.rest() == b""


def test_the_server_for_trying_by_hand_says_where_it_is_and_ends_when_it_is_told() -> None:
    command = [sys.executable, "-m", "portico.testing", "--imap", "0", "--pop3", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline().split() for _ in range(2)]
        assert [line[0] for line in lines] == ["imap", "pop3"]
        with Dialogue(int(lines[1][1].rpartition(":")[2])) as client:
            assert client.line().startswith(b"+OK")
            client.send(b"USER a\r\nPASS b\r\nSTAT\r\nQUIT\r\n")
            assert client.rest().splitlines()[-2:] == [b"+OK 1 %d" % len(MESSAGE), b"+OK"]
        with ScriptedServer() as other:
            taken = subprocess.run([*command[:-3], str(other.port), "--pop3", "0"], capture_output=True, text=True, timeout=60, check=False)
            assert taken.returncode == 1 and "in use" in taken.stderr
        server.terminate()
        assert server.wait(60) == 0
