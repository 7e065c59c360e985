"""What `certs show` says of a file in which a chain is not as clients need it."""

from __future__ import annotations

import datetime
import warnings
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from portico.tls.chain import _of_the_system, chain_problems
from portico.tls.issue import Pair, issue_server, new_authority

DAY = datetime.timedelta(days=1)
ROOT = new_authority("Root")


def between(days: int = 10) -> Pair:
    """An authority that the root has certified."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Between")])
    builder = (
        x509.CertificateBuilder(ROOT.certificate.subject, subject, key.public_key(), 7, now - 20 * DAY, now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(builder.sign(ROOT.key, hashes.SHA256()), key)


MIDDLE = between()
MAIL = issue_server(MIDDLE, ["mail.example"]).certificate


@pytest.mark.parametrize("chain", [[MAIL, MIDDLE.certificate], [MAIL, MIDDLE.certificate, ROOT.certificate], [ROOT.certificate], []])
def test_a_whole_chain_is_good_with_the_root_and_without_and_so_is_an_authority_alone(chain: list[x509.Certificate]) -> None:
    assert chain_problems(chain, [ROOT.certificate]) == []


def test_what_is_missing_in_between_is_named() -> None:
    (problem,) = chain_problems([MAIL], [ROOT.certificate])
    assert problem.startswith("ends at CN=Between, which is neither in the file nor trusted by this system")
    assert chain_problems([MAIL, MIDDLE.certificate], [])[0].startswith("ends at CN=Root")


def test_a_wrong_order_is_said() -> None:
    assert chain_problems([MIDDLE.certificate, MAIL], [ROOT.certificate]) == [
        "begins with an authority's certificate; the server's own must be the first"
    ]
    assert chain_problems([MAIL, ROOT.certificate, MIDDLE.certificate], [ROOT.certificate]) == [
        "number 2 is not the issuer of number 1; the order is wrong",
        "number 3 is not the issuer of number 2; the order is wrong",
    ]


def test_a_certificate_of_another_chain_is_said() -> None:
    stranger = new_authority("Stranger")
    assert chain_problems([MAIL, stranger.certificate], [ROOT.certificate]) == ["number 2 is not the issuer of number 1"]


def test_one_in_between_that_has_expired_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    old = between(days=-10)
    monkeypatch.setattr("portico.tls.issue._now", lambda: datetime.datetime.now(datetime.UTC) - 15 * DAY)
    mail = issue_server(old, ["mail.example"]).certificate
    (problem,) = chain_problems([mail, old.certificate], [ROOT.certificate])
    assert problem == f"number 2 has expired on {old.certificate.not_valid_after_utc:%Y-%m-%d}"


def test_the_systems_authorities_are_read_without_complaints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for certificate in _of_the_system():  # of some machines that is none
            assert isinstance(certificate, x509.Certificate)
        (tmp_path / "0a.0").write_text("no certificate")
        (tmp_path / "0b.0").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        assert _of_the_system() == [ROOT.certificate]
