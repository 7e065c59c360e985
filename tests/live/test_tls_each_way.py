"""Each server, each protocol, each kind of TLS on both legs, in every combination.

Rule of this file: a client signs in, reads everything and leaves; what it found is what it finds going straight to the
server, and both logs say how the legs were encrypted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from portico.demo import mailbox
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot

from tests.live import clients
from tests.live.clients import Account, Tls
from tests.live.conftest import Server
from tests.live.dialogue import eventually
from tests.live.front import Front, ServerTls
from tests.live.people import PASSWORD

pytestmark = pytest.mark.live

WALKS: dict[str, Callable[[Account], dict[str, Any]]] = {"imap": clients.imaplib_walk, "pop3": clients.poplib_walk}


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize("client_tls", ["none", "starttls", "implicit"])
@pytest.mark.parametrize("server_tls", ["none", "starttls", "implicit"])
@pytest.mark.parametrize("name", ["dovecot", "cyrus", "courier"])
def test_a_client_finds_the_same_whatever_is_encrypted(
    name: str,
    server_tls: ServerTls,
    client_tls: Tls,
    protocol: str,
    request: pytest.FixtureRequest,
    portico: Callable[..., Front],
    certificates: Certificates,
) -> None:
    server: Server = request.getfixturevalue(name)
    front = portico(server, server_tls)
    already = len(front.events("session.closed"))
    ports = front.clear if client_tls == "none" else front.ports
    found = WALKS[protocol](Account(ports, "alice", PASSWORD, certificates.authority, client_tls))
    # Asked each time: POP3 makes messages \Seen on some servers.
    assert found == WALKS[protocol](Account(server.ports, "alice", PASSWORD, certificates.authority))
    assert len([key for key in found if key.startswith("retr ")]) == (len(mailbox.alice()[0].messages) if protocol == "pop3" else 0)
    assert eventually(lambda: len(front.events("session.closed")) > already)
    closed = front.events("session.closed")[-1]
    assert closed["reason"] == "logout"
    assert ("tls" in closed) == (client_tls != "none")
    if isinstance(server, Dovecot):
        logins = [line for line in server.log.read_text().splitlines() if f"{protocol}-login: Info: Login:" in line]
        (login,) = [line for line in logins if f"session=<{closed['session']}>" in line]
        assert (", TLS" in login) == (server_tls != "none")
