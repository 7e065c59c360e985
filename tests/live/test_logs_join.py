"""Portico's log and Dovecot's tell of the same session by the same id, and both know the client's address."""

from __future__ import annotations

import imaplib
import poplib
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.ports import wait_until

from tests.live.front import Front, ServerTls
from tests.live.people import PASSWORD

CLIENT = "127.0.0.9"
"""An address of loopback that nobody else comes from."""

pytestmark = pytest.mark.live


class Imap(imaplib.IMAP4_SSL):
    def _create_socket(self, timeout: float | None) -> Any:
        plain = socket.create_connection((self.host, self.port), timeout=20, source_address=(CLIENT, 0))
        return self.ssl_context.wrap_socket(plain, server_hostname="localhost")


class Pop3(poplib.POP3_SSL):
    def _create_socket(self, timeout: float | None) -> Any:
        plain = socket.create_connection((self.host, self.port), timeout=20, source_address=(CLIENT, 0))
        return self.context.wrap_socket(plain, server_hostname="localhost")


def sign_in_and_leave(protocol: str, front: Front, trust: ssl.SSLContext) -> None:
    if protocol == "imap":
        imap = Imap("127.0.0.1", front.ports.imaps, ssl_context=trust)
        imap.login("alice", PASSWORD)
        imap.logout()
    else:
        pop3 = Pop3("127.0.0.1", front.ports.pop3s, context=trust)
        pop3.user("alice")
        pop3.pass_(PASSWORD)
        pop3.quit()


@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_dovecot_logs_the_clients_address_and_our_session_id(
    protocol: str, tls: ServerTls, dovecot: Dovecot, portico: Callable[..., Front], certificates: Certificates
) -> None:
    front = portico(dovecot, tls)
    trust = ssl.create_default_context(cafile=str(certificates.authority))
    before = len(front.events("session.closed"))
    sign_in_and_leave(protocol, front, trust)

    def ended() -> bool:
        return any(event["rip"] == CLIENT for event in front.events("session.closed")[before:])

    wait_until("the end of the session in Portico's log", ended, seconds=60)
    ours = next(event for event in front.events("session.closed")[before:] if event["rip"] == CLIENT)
    assert ours["user"] == "alice"

    def joined() -> re.Match[str] | None:
        text = dovecot.log.read_text("utf-8", "replace")
        return re.search(rf"{protocol}-login: Info: Login: user=<alice>.*session=<{re.escape(ours['session'])}>", text)

    wait_until("the login in Dovecot's log", lambda: joined() is not None, seconds=60)
    line = joined()
    assert line is not None
    assert f"rip={CLIENT}" in line[0]
