"""Asking servers: an exchange of letters with scripted ones on the loopback interface."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from portico.errors import Secret
from portico.session.context import ServerFacts
from portico.tls.issue import issue_server, new_authority
from portico.upstream.probe import ProbeFailed, probe

Script = list[bytes | str]
"""Octets are said; a text is awaited as one line; "TLS" begins TLS."""


class Certificate:
    def __init__(self, directory: Path) -> None:
        authority = new_authority()
        pair = issue_server(authority, ["127.0.0.1"])
        (directory / "both.pem").write_bytes(pair.certificate_pem + pair.key_pem)
        (directory / "ca.pem").write_bytes(authority.certificate_pem)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(directory / "both.pem")
        self.client = ssl.create_default_context(cafile=str(directory / "ca.pem"))
        self.fingerprint = hashlib.sha256(pair.certificate.public_bytes(Encoding.DER)).digest()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("certificates"))


def ask(script: Script, *, certificate: Certificate | None = None, implicit: bool = False, **options: Any) -> tuple[ServerFacts, list[str]]:
    """The facts learned from a server that follows the script, and every line that it was sent."""
    heard: list[str] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for step in script:
                if isinstance(step, bytes):
                    writer.write(step)
                elif step == "TLS":
                    assert certificate is not None
                    await writer.start_tls(certificate.server)
                elif step == "SILENCE":
                    await asyncio.Event().wait()
                else:
                    line = (await reader.readline()).decode().rstrip("\r\n")
                    heard.append(line)
                    assert line == step
            heard.append((await reader.readline()).decode().strip())
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
            over.set()

    async def both(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> ServerFacts:
        context = certificate.server if certificate is not None and implicit else None
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        client = certificate.client if certificate is not None else None
        try:
            facts = await probe(options.pop("protocol", "imap"), f"127.0.0.1:{port}", options.pop("tls", "none"), client, **options)
            async with asyncio.timeout(60):
                await over.wait()  # the goodbye has been heard
            return facts
        finally:
            server.close()

    return asyncio.run(both(serve)), heard


IMAP = [b"* OK ready\r\n", "P1 CAPABILITY", b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED\r\nP1 OK done\r\n"]
SECURED = ["P1 CAPABILITY", b"* CAPABILITY IMAP4rev1 ID AUTH=PLAIN AUTH=cram-md5\r\nP1 OK done\r\n"]


def test_an_imap_server_in_clear_is_asked_and_told_goodbye() -> None:
    facts, heard = ask(IMAP)
    assert facts.plain == (b"IMAP4rev1", b"STARTTLS", b"AUTH=PLAIN", b"LOGINDISABLED")
    assert facts.secured == () and facts.mechanisms == ("PLAIN",)
    assert heard == ["P1 CAPABILITY", "P9 LOGOUT"]


def test_what_was_said_before_starttls_is_kept_apart(certificate: Certificate) -> None:
    script = [*IMAP, "P2 STARTTLS", b"P2 OK begin\r\n", "TLS", *SECURED]
    facts, _ = ask(script, certificate=certificate, tls="starttls", server_hostname="127.0.0.1")
    assert b"LOGINDISABLED" in facts.plain and b"LOGINDISABLED" not in facts.secured
    assert facts.mechanisms == ("PLAIN", "CRAM-MD5")


def test_an_implicit_server_with_the_pinned_certificate(certificate: Certificate) -> None:
    script = [b"* OK ready\r\n", *SECURED]
    pinned = {"tls": "implicit", "implicit": True, "server_hostname": "127.0.0.1", "certificate": certificate}
    facts, _ = ask(script, fingerprint=certificate.fingerprint, **pinned)
    assert facts.secured[1] == b"ID" and facts.plain == ()
    with pytest.raises(ProbeFailed) as failed:
        ask(script, fingerprint=b"\0" * 32, **pinned)
    assert failed.value.reason == "tls_verify"


def test_a_certificate_of_another_name_is_not_believed(certificate: Certificate) -> None:
    with pytest.raises(ProbeFailed) as failed:
        ask([b"* OK\r\n"], certificate=certificate, tls="implicit", implicit=True, server_hostname="mail.example.org")
    assert failed.value.reason == "tls_verify"


def test_octets_in_clear_behind_starttls_end_the_question(certificate: Certificate) -> None:
    script = [*IMAP, "P2 STARTTLS", b"P2 OK begin\r\n* CAPABILITY IMAP4rev1 EVIL\r\n", "SILENCE"]
    with pytest.raises(ProbeFailed) as failed:
        ask(script, certificate=certificate, tls="starttls", server_hostname="127.0.0.1")
    assert failed.value.reason == "protocol" and "in clear" in failed.value.detail


def test_a_server_without_starttls_is_a_failure(certificate: Certificate) -> None:
    with pytest.raises(ProbeFailed) as failed:
        ask([*IMAP, "P2 STARTTLS", b"P2 BAD what\r\n"], certificate=certificate, tls="starttls", server_hostname="127.0.0.1")
    assert failed.value.reason == "no_starttls"


def test_a_pop3_server_gives_its_list_and_mechanisms(certificate: Certificate) -> None:
    first = [b"+OK <1.2@x>\r\n", "CAPA", b"+OK\r\nSTLS\r\nUIDL\r\n.\r\n", "STLS", b"+OK begin\r\n", "TLS"]
    script = [*first, "CAPA", b"+OK\r\nTOP\r\nSASL PLAIN LOGIN\r\n.\r\n"]
    facts, heard = ask(script, protocol="pop3", certificate=certificate, tls="starttls", server_hostname="127.0.0.1")
    assert facts == ServerFacts((b"STLS", b"UIDL"), (b"TOP", b"SASL PLAIN LOGIN"), ("PLAIN", "LOGIN"))
    assert heard[-1] == "QUIT"


def test_a_pop3_server_without_capa_has_no_list() -> None:
    facts, _ = ask([b"+OK\r\n", "CAPA", b"-ERR what\r\n"], protocol="pop3")
    assert facts == ServerFacts()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([b"* BYE not now\r\n"], "greeting"),
        ([b"* OK ready\r\n", "SILENCE"], "timeout"),
        ([b"* OK " + b"x" * 200_000], "protocol"),
        ([b"* OK ready\r\n", "P1 CAPABILITY", b"* OK still there\r\n" * 300], "protocol"),
    ],
)
def test_what_goes_wrong_has_a_reason(script: Script, reason: str) -> None:
    with pytest.raises(ProbeFailed) as failed:
        ask(script, timeout=0.3 if reason == "timeout" else 60)
    assert failed.value.reason == reason


def test_nobody_there_is_refused() -> None:
    async def alone() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        await probe("imap", f"127.0.0.1:{port}", "none", None)

    with pytest.raises(ProbeFailed) as failed:
        asyncio.run(alone())
    assert failed.value.reason == "refused"


TEST_LOGIN = ("probe", Secret("p w"))


def test_a_test_login_is_made_by_plain_where_the_server_has_it_and_else_by_login() -> None:
    plain: Script = [b"* OK hi\r\n", "P1 CAPABILITY", b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nP1 OK\r\n", "P3 AUTHENTICATE PLAIN", b"+ \r\n"]
    _, heard = ask([*plain, "AHByb2JlAHAgdw==", b"* CAPABILITY IMAP4rev1\r\nP3 OK in\r\n"], test_login=TEST_LOGIN)
    assert heard[-1] == "P9 LOGOUT"
    other: Script = [b"* OK hi\r\n", "P1 CAPABILITY", b"* CAPABILITY IMAP4rev1\r\nP1 OK\r\n", 'P3 LOGIN "probe" "p w"', b"P3 OK in\r\n"]
    assert ask(other, test_login=TEST_LOGIN)[1][-1] == "P9 LOGOUT"


def test_so_it_is_over_pop3() -> None:
    plain: Script = [b"+OK hi\r\n", "CAPA", b"+OK\r\nSASL PLAIN\r\n.\r\n", "AUTH PLAIN", b"+ \r\n", "AHByb2JlAHAgdw==", b"+OK in\r\n"]
    assert ask(plain, protocol="pop3", test_login=TEST_LOGIN)[1][-1] == "QUIT"
    other: Script = [b"+OK hi\r\n", "CAPA", b"-ERR what\r\n", "USER probe", b"+OK\r\n", "PASS p w", b"+OK in\r\n"]
    assert ask(other, protocol="pop3", test_login=TEST_LOGIN)[1][-1] == "QUIT"


@pytest.mark.parametrize(
    ("protocol", "script"),
    [
        ("imap", [b"* OK hi\r\n", "P1 CAPABILITY", b"P1 OK\r\n", 'P3 LOGIN "probe" "p w"', b'P3 NO "p w" is wrong\r\n']),
        ("imap", [b"* OK hi\r\n", "P1 CAPABILITY", b"* CAPABILITY AUTH=PLAIN\r\nP1 OK\r\n", "P3 AUTHENTICATE PLAIN", b"P3 NO p w\r\n"]),
        ("pop3", [b"+OK hi\r\n", "CAPA", b"-ERR what\r\n", "USER probe", b"+OK\r\n", "PASS p w", b"-ERR p w\r\n"]),
    ],
)
def test_a_test_login_that_is_refused_is_a_failure_that_does_not_repeat_the_servers_words(protocol: str, script: Script) -> None:
    with pytest.raises(ProbeFailed) as caught:
        ask(script, protocol=protocol, test_login=TEST_LOGIN)
    assert caught.value.reason == "test_login" and "p w" not in str(caught.value)
