"""Certificates that strict verifiers accept, and files that are never overwritten by accident."""

from __future__ import annotations

import ssl
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from portico.tls.inspect import InspectError, certificate_of, certificates_in, describe
from portico.tls.issue import MAX_DAYS, IssueError, Pair, issue_client, issue_into, issue_server, new_authority

NAMES = ["localhost", "127.0.0.1", "::1"]


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Both sides of TLS in memory, to the end; returns the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname=name)
    pending = [theirs, ours]
    for _ in range(10):
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not pending:
            return ours
    raise AssertionError("no end of the handshake")


def contexts(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "server.pem", directory / "server.key")
    client = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    return server, client


@pytest.mark.parametrize("key_type", ["ecdsa", "rsa"])
def test_a_strict_client_accepts_every_name_asked_for_and_no_other(tmp_path: Path, key_type: str) -> None:
    issue_into(tmp_path, NAMES, key_type=key_type)  # type: ignore[arg-type]
    server, client = contexts(tmp_path)
    for name in NAMES:
        assert handshake(server, client, name).version() == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server, client, "example.org")


def test_openssl_verifies_strictly_for_server_and_client(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES, ["alice@example.org"])
    for file, purpose in (("server.pem", "sslserver"), ("alice@example.org.pem", "sslclient")):
        command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", tmp_path / "ca.pem", tmp_path / file]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip().endswith("OK")


def test_a_client_certificate_bears_the_mail_address_and_is_accepted_by_a_server(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES, ["alice@example.org"])
    server, client = contexts(tmp_path)
    server.load_verify_locations(tmp_path / "ca.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    client.load_cert_chain(tmp_path / "alice@example.org.pem", tmp_path / "alice@example.org.key")
    shown = handshake(server, client, "localhost").getpeercert()
    assert shown is not None
    assert shown["subjectAltName"] == (("email", "alice@example.org"),)


def extension(pair: Pair, kind: type[x509.ExtensionType]) -> x509.Extension[x509.ExtensionType]:
    return pair.certificate.extensions.get_extension_for_class(kind)


def test_the_extensions_are_those_of_rfc_5280() -> None:
    authority = new_authority()
    server = issue_server(authority, ["mail.example.org", "*.example.org", "10.1.2.3"])
    assert extension(authority, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    assert extension(server, x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    for pair in (authority, server):
        assert extension(pair, x509.BasicConstraints).critical
        assert extension(pair, x509.KeyUsage).critical
    key_id = extension(authority, x509.SubjectKeyIdentifier).value.digest  # type: ignore[attr-defined]
    assert extension(server, x509.AuthorityKeyIdentifier).value.key_identifier == key_id  # type: ignore[attr-defined]
    assert list(extension(server, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]  # type: ignore[call-overload]
    assert describe(server.certificate).names == ("mail.example.org", "*.example.org", "10.1.2.3")
    client = issue_client(authority, "alice@example.org")
    assert list(extension(client, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]  # type: ignore[call-overload]


def test_the_longest_validity_is_what_clients_accept(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES, days=MAX_DAYS)
    server = certificates_in(tmp_path / "server.pem")[0]
    assert (server.not_valid_after_utc - server.not_valid_before_utc).days == 398
    with pytest.raises(IssueError, match="1 to 398 days"):
        issue_into(tmp_path / "other", NAMES, days=MAX_DAYS + 1)
    assert not (tmp_path / "other").exists()


def test_no_certificate_outlives_its_authority() -> None:
    authority = new_authority(days=10)
    server = issue_server(authority, ["localhost"], days=365)
    assert server.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_a_name_longer_than_a_common_name_stands_in_the_alternative_names_only() -> None:
    name = "a" * 40 + "." + "b" * 40 + ".example.org"
    server = issue_server(new_authority(), [name])
    assert server.certificate.subject.rfc4514_string() == ""
    assert extension(server, x509.SubjectAlternativeName).critical
    assert describe(server.certificate).names == (name,)


def test_a_name_with_umlauts_is_written_as_dns_has_it() -> None:
    server = issue_server(new_authority(), ["bücher.example"])
    assert describe(server.certificate).names == ("xn--bcher-kva.example",)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a..b", "1.2.3", "1.2.3.400", "*", "a.*.b", "x" * 254])
def test_what_is_no_host_is_refused(name: str) -> None:
    with pytest.raises(IssueError, match="no host name"):
        issue_server(new_authority(), [name])


@pytest.mark.parametrize("address", ["alice", "../x@example.org", "a@b/c", ".a@b", "a b@c", "ä@example.org", "-a@b"])
def test_a_client_address_that_is_none_or_no_file_name_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(IssueError, match="no address"):
        issue_into(tmp_path / "new", [], [address])
    assert not (tmp_path / "new").exists()


def test_keys_are_readable_for_their_owner_only(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES, ["alice@example.org"])
    for name in ("ca.key", "server.key", "alice@example.org.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert {file.suffix for file in tmp_path.iterdir()} == {".pem", ".key"}  # no temporary file is left


def test_twice_keeps_the_authority_and_refuses_to_overwrite(tmp_path: Path) -> None:
    first = issue_into(tmp_path, NAMES)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(IssueError, match=r"server\.pem.*--force"):
        issue_into(tmp_path, NAMES)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    second = issue_into(tmp_path, NAMES, force=True)
    assert (first.new_authority, second.new_authority) == (True, False)
    assert (tmp_path / "ca.pem").read_bytes() == before["ca.pem"]
    assert (tmp_path / "server.pem").read_bytes() != before["server.pem"]
    handshake(*contexts(tmp_path), "localhost")


def test_a_client_can_be_added_later_without_touching_the_server(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES)
    before = (tmp_path / "server.pem").read_bytes()
    issued = issue_into(tmp_path, [], ["bob@example.org"])
    assert issued.clients == ((tmp_path / "bob@example.org.pem", tmp_path / "bob@example.org.key"),)
    assert (tmp_path / "server.pem").read_bytes() == before


def test_half_an_authority_or_a_strange_one_is_not_used(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES)
    (tmp_path / "other").mkdir()
    issue_into(tmp_path / "other", NAMES)
    (tmp_path / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(IssueError, match="not the key"):
        issue_into(tmp_path, NAMES, force=True)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(IssueError, match=r"ca\.key is not"):
        issue_into(tmp_path, NAMES, force=True)
    (tmp_path / "ca.key").write_text("no key")
    with pytest.raises(IssueError, match="are not an authority"):
        issue_into(tmp_path, NAMES, force=True)


def test_a_key_is_in_no_repr() -> None:
    assert "key" not in repr(new_authority()).partition("certificate=")[0]
    assert "PrivateKey" not in repr(new_authority())


def serve(directory: Path, before_tls: list[tuple[bytes, bytes]]) -> tuple[int, threading.Thread]:
    """A server for one connection: (what it says, what it then reads), then TLS."""
    import socket

    listening = socket.create_server(("127.0.0.1", 0))
    context, _ = contexts(directory)

    def answer() -> None:
        with listening, listening.accept()[0] as plain:
            plain.settimeout(60)
            for say, expect in before_tls:
                plain.sendall(say)
                if expect:
                    assert plain.recv(100) == expect
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                return

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return listening.getsockname()[1], thread


@pytest.mark.parametrize(
    ("starttls", "exchange"),
    [
        ("no", []),
        ("imap", [(b"* OK ready\r\n", b"a STARTTLS\r\n"), (b"* OK wait\r\na OK begin\r\n", b"")]),
        ("pop3", [(b"+OK ready\r\n", b"STLS\r\n"), (b"+OK begin\r\n", b"")]),
    ],
)
def test_a_servers_certificate_is_shown_as_the_file_has_it(tmp_path: Path, starttls: str, exchange: list[tuple[bytes, bytes]]) -> None:
    issue_into(tmp_path, NAMES)
    port, thread = serve(tmp_path, exchange)
    shown = describe(certificate_of("127.0.0.1", port, starttls=starttls))  # type: ignore[arg-type]
    thread.join(10)
    assert shown == describe(certificates_in(tmp_path / "server.pem")[0])
    assert (shown.subject, shown.key_type, shown.authority) == ("CN=localhost", "ECDSA P-256", False)
    assert shown.days_left() in (364, 365)


def test_a_server_that_refuses_tls_is_said_so(tmp_path: Path) -> None:
    issue_into(tmp_path, NAMES)
    port, thread = serve(tmp_path, [(b"* OK ready\r\n", b"a STARTTLS\r\n"), (b"a BAD no\r\n", b"")])
    with pytest.raises(InspectError, match="STARTTLS was refused"):
        certificate_of("127.0.0.1", port, starttls="imap")
    thread.join(10)


def test_a_file_without_a_certificate_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(InspectError, match="has no certificate"):
        certificates_in(tmp_path / "x.pem")
    with pytest.raises(InspectError, match="No such file"):
        certificates_in(tmp_path / "y.pem")
