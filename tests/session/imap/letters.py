"""What is said in most IMAP sessions."""

from __future__ import annotations

from typing import Any

from portico.session.context import ServerFacts
from portico.session.interests import Interests

from tests.session.life import Life

GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN AUTH=LOGIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] Portico ready.\r\n"
SERVER_GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID LITERAL+ AUTH=PLAIN] Dovecot ready.\r\n"
ID = (
    b'P1 ID ("x-session-id" "sid" "x-originating-ip" "192.0.2.1" "x-originating-port" "4711" '
    b'"x-connected-ip" "192.0.2.2" "x-connected-port" "993" "x-proxy-ttl" "4")\r\n'
)
ALICE = b"AGFsaWNlAHNlY3JldA=="  # \0alice\0secret
LOGINS = [
    (b"a1 LOGIN alice secret\r\n", "LOGIN"),
    (b'a1 login "alice" "secret"\r\n', "LOGIN"),
    (b"a1 LOGIN {5+}\r\nalice {6+}\r\nsecret\r\n", "LOGIN"),
    (b"a1 AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n", "PLAIN"),
]
SCRAM = "SCRAM-SHA-256"
FACTS = ServerFacts(plain=(b"IMAP4rev1", b"SASL-IR", b"AUTH=SCRAM-SHA-256", b"AUTH=CRAM-MD5"), mechanisms=(SCRAM, "CRAM-MD5"))
WATCHED = Interests(commands={"XYZZY": lambda view, command: None})


def opened(**how: Any) -> Life:
    life = Life(**how)
    life.client(b"a1 LOGIN alice secret\r\n")
    life.server(SERVER_GREETING)
    return life


def watched() -> Life:
    life = opened(interests=WATCHED)
    life.server(b"P2 OK [CAPABILITY IMAP4rev1] in\r\n")
    return life
