"""A mail program that is left out gets the server's messages, whenever it says what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from portico.demo.certificates import Certificates
from portico.testing.client import Dialogue

from tests.live.conftest import Server
from tests.live.front import Front
from tests.live.people import PASSWORD, People

pytestmark = pytest.mark.live

OPTIONS = '[plugins.meeting_links]\nwebmail = "nextcloud"\nhost = "mail.example.org"\nexclude_clients = ["Thunderbird*"]\n'
THUNDERBIRD = b'i ID ("name" "Thunderbird" "version" "153.7")'
LOGIN = f"a LOGIN {{user}} {PASSWORD}"


def read(imap: Dialogue, *commands: str | bytes) -> bytes:
    """What is said of the one message, after these commands."""
    imap.line()
    for command in commands:
        assert b" OK" in imap.command(command.encode() if isinstance(command, str) else command)
    imap.command(b"s SELECT INBOX")
    answer = imap.command(b"d UID FETCH 1:* (RFC822.SIZE BODYSTRUCTURE BODY.PEEK[])")
    return answer[: answer.rindex(b"d OK")]


def test_it_may_say_so_before_its_login_or_behind_it(
    dovecot: Server, portico: Callable[..., Front], certificates: Certificates, people: People, project: Path
) -> None:
    front = portico(dovecot, "none", more=OPTIONS)
    user = people.new(dovecot)
    login = LOGIN.format(user=user)
    octets = (project / "tests" / "corpus" / "invite-outlook.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    with Dialogue(dovecot.ports.imap) as imap:
        imap.line()
        imap.command(login.encode())
        imap.send(b"b APPEND INBOX {%d+}\r\n" % len(octets) + octets + b"\r\n")
        assert b"b OK" in imap.until(b"b")
    with Dialogue(dovecot.ports.imap) as imap:
        original = read(imap, login)

    def through(*commands: str | bytes) -> bytes:
        with Dialogue(front.ports.imaps, authority=certificates.authority, implicit=True) as imap:
            return read(imap, *commands)

    assert through(login, THUNDERBIRD) == original
    assert through(THUNDERBIRD, login) == original
    linked = through(login)
    assert b"https://mail.example.org/apps/mail/open/" in linked
    assert through(login, b'i ID ("name" "Mutt")') == linked
    assert through(login, b"i ID NIL") == linked
    assert through(login, THUNDERBIRD) == original
