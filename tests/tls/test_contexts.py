"""Contexts, and what they say when a file cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from portico.errors import SettingsError
from portico.tls.contexts import check_fingerprint, client_context, client_name, server_context, tls_info

from tests.relay import certs as certificates
from tests.relay.certs import Certs


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return certificates.make(tmp_path_factory.mktemp("certs"))


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = "localhost", session: Any = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory: both ends of it."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (server.wrap_bio(a, b, server_side=True), client.wrap_bio(b, a, server_hostname=name, session=session))
    for _ in range(4):
        for end in (ends[1], ends[0]):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    try:
        ends[1].read(1)  # the ticket
    except ssl.SSLWantReadError:
        pass
    return ends


def test_a_handshake_tells_version_cipher_and_the_name_asked_for(certs: Certs) -> None:
    server, client = shake(server_context(certs.server, certs.server_key), client_context(ca_file=certs.ca))
    info = tls_info(server)
    assert (info.version, info.cipher, info.sni, info.client_name, info.resumed) == (
        "TLSv1.3",
        "TLS_AES_256_GCM_SHA384",
        "localhost",
        None,
        False,
    )
    assert tls_info(client).version == "TLSv1.3"


def test_a_session_is_resumed_by_its_ticket(certs: Certs) -> None:
    server, client = server_context(certs.server, certs.server_key), client_context(ca_file=certs.ca)
    _, first = shake(server, client)
    again, _ = shake(server, client, session=first.session)
    assert tls_info(again).resumed
    assert server.num_tickets == 1


def test_versions_older_than_the_minimum_are_refused(certs: Certs) -> None:
    server, client = server_context(certs.server, certs.server_key, minimum="1.3"), client_context(ca_file=certs.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        shake(server, client)


def test_tls_1_2_has_forward_secrecy_and_no_renegotiation(certs: Certs) -> None:
    server = server_context(certs.server, certs.server_key)
    old = [cipher["name"] for cipher in server.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    assert old and all("DHE" in name for name in old)
    assert server.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize(
    ("asked", "shown", "name"), [("optional", True, "alice@example.org"), ("optional", False, None), ("no", True, None)]
)
def test_the_name_in_a_verified_client_certificate_is_known(certs: Certs, asked: Any, shown: bool, name: str | None) -> None:
    client = client_context(ca_file=certs.ca)
    if shown:
        client.load_cert_chain(certs.client, certs.client_key)
    server, _ = shake(server_context(certs.server, certs.server_key, client_ca=certs.ca, client_certificates=asked), client)
    assert tls_info(server).client_name == name


def test_a_required_client_certificate_must_be_shown(certs: Certs) -> None:
    server = server_context(certs.server, certs.server_key, client_ca=certs.ca, client_certificates="required")
    with pytest.raises(ssl.SSLError):
        shake(server, client_context(ca_file=certs.ca))


def test_a_client_certificate_of_another_authority_is_refused(certs: Certs, tmp_path: Path) -> None:
    other = certificates.make(tmp_path)
    client = client_context(ca_file=certs.ca)
    client.load_cert_chain(other.client, other.client_key)
    with pytest.raises(ssl.SSLError):
        shake(server_context(certs.server, certs.server_key, client_ca=certs.ca, client_certificates="optional"), client)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", [True, False])
def test_who_may_show_a_certificate_resumes_nothing_and_shows_it_each_time(certs: Certs, version: ssl.TLSVersion, shown: bool) -> None:
    client = client_context(ca_file=certs.ca)
    client.maximum_version = version
    if shown:
        client.load_cert_chain(certs.client, certs.client_key)
    server = server_context(certs.server, certs.server_key, client_ca=certs.ca, client_certificates="optional")
    _, first = shake(server, client)
    assert first.session is None or not first.session.has_ticket
    if not shown:
        client.load_cert_chain(certs.client, certs.client_key)
    info = tls_info(shake(server, client, session=first.session)[0])
    assert (info.resumed, info.client_name) == (False, "alice@example.org")


def test_where_openssl_cannot_be_told_to_forget_a_resumed_session_has_the_name_shown_at_its_beginning(
    certs: Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.tls.tickets._KNOWN", False)
    client = client_context(ca_file=certs.ca)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    server = server_context(certs.server, certs.server_key, client_ca=certs.ca, client_certificates="optional")
    _, first = shake(server, client)
    client.load_cert_chain(certs.client, certs.client_key)  # too late: it is not asked for again
    info = tls_info(shake(server, client, session=first.session)[0])
    assert (info.resumed, info.client_name) == (True, None)
    # Another reading of the settings, as when an authority is no longer trusted: sessions of before are worth nothing.
    anew = server_context(certs.server, certs.server_key, client_ca=certs.ca, client_certificates="optional")
    assert not tls_info(shake(anew, client, session=first.session)[0]).resumed


def test_the_name_is_the_first_address_or_else_the_most_specific_common_name() -> None:
    subject = ((("commonName", "Company"),), (("commonName", "bob"),))
    assert (
        client_name({"subject": subject, "subjectAltName": (("DNS", "x"), ("email", "b@example.org"), ("email", "c@example.org"))})
        == "b@example.org"
    )
    assert client_name({"subject": subject}) == "bob"
    assert client_name({"subject": ((("organizationName", "x"),),)}) is None
    assert client_name({"subject": ((("commonName", "bob\r\nA1 LOGOUT"),),)}) is None


def test_a_server_is_verified_unless_it_is_said_otherwise(certs: Certs) -> None:
    server = server_context(certs.server, certs.server_key)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, client_context())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, client_context(ca_file=certs.ca), "mail.example.org")
    shake(server, client_context(verify=False), "mail.example.org")
    shake(server, client_context(ca_file=certs.ca), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake(server, client_context(ca_file=certs.ca), "127.0.0.2")


def test_a_pinned_certificate_is_known_by_its_fingerprint(certs: Certs) -> None:
    import hashlib

    pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(certs.server).read_text())).digest()
    _, client = shake(server_context(certs.server, certs.server_key), client_context(fingerprint=pin), "whatever")
    assert check_fingerprint(client, pin)
    assert not check_fingerprint(client, bytes(32))


def _problems(**options: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        server_context(**options)
    return caught.value.problems


def test_each_missing_file_is_named(certs: Certs) -> None:
    assert _problems(certificate="/nowhere/c.pem", key="/nowhere/k.pem") == [
        "/nowhere/c.pem: No such file or directory",
        "/nowhere/k.pem: No such file or directory",
    ]


def test_a_key_of_another_certificate_is_said_to_be_one(certs: Certs) -> None:
    assert _problems(certificate=certs.server, key=certs.other_key) == [
        f"{certs.other_key}: this key does not belong to the certificate in {certs.server}"
    ]


def test_files_without_what_is_needed_are_named(certs: Certs, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    locked = tmp_path / "locked.pem"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    assert _problems(certificate=str(empty), key=certs.server_key) == [f"{empty}: no certificate in PEM form is in it"]
    assert _problems(certificate=certs.server) == [f"{certs.server}: no private key in PEM form is in it"]
    assert _problems(certificate=certs.server, key=str(locked)) == [f"{locked}: the key is under a passphrase; a key without one is needed"]
    half = tmp_path / "half.pem"
    half.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    assert _problems(certificate=certs.server, key=str(damaged)) == [f"{damaged}: the key is damaged"]
    assert _problems(certificate=str(half), key=certs.server_key) == [f"{half}: the certificate is damaged"]
    assert _problems(certificate=certs.server, key=certs.server_key, client_ca=str(empty), client_certificates="optional") == [
        f"{empty}: no certificate in PEM form is in it"
    ]
    with pytest.raises(SettingsError):
        client_context(ca_file=str(empty))


def test_client_certificates_need_an_authority(certs: Certs) -> None:
    (problem,) = _problems(certificate=certs.server, key=certs.server_key, client_certificates="required")
    assert "client_ca_file" in problem
