"""What may be wrong with certificates, ciphers and the secret of tickets in a settings file, and what it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.show import as_toml
from portico.errors import Secret
from portico.tls.issue import issue_into, revoke_in

from tests.config.test_load import GOOD, problems_of, settings_of, warnings_of, with_listener, with_server

L = "portico.toml:11: listeners.imaps."


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("several")
    issue_into(directory, ["localhost"], ["portico@example.org"], beside=True)
    revoke_in(directory)
    return directory


ALONE = GOOD.replace('certificate = "server.pem"\nkey = "server.key"\n', "")
RSA = '{certificate = "server-rsa.pem", key = "server-rsa.key"}'

MISTAKES = {
    "a certificate of another key in the list": (
        with_listener('certificates = [{certificate = "server-rsa.pem", key = "server.key"}]'),
        [L + "certificates[0].certificate: {made}/server-rsa.pem: the key is not the key of this certificate"],
    ),
    "a file that is not there, and one that lacks its key": (
        with_listener('certificates = [{certificate = "none.pem"}, {certificate = "server.pem"}]'),
        [
            L + "certificates[0].certificate: {made}/none.pem: No such file or directory",
            L + "certificates[1].certificate: {made}/server.pem: is no PEM file with a certificate and its key (without passphrase)",
        ],
    ),
    "a table without a certificate hides no other mistake": (
        with_listener('certificates = [{key = "server.key"}, {certificate = "none.pem"}]'),
        [
            L + "certificates[0].certificate: is missing; possible: the name of a file",
            L + "certificates[1].certificate: {made}/none.pem: No such file or directory",
        ],
    ),
    "a name that is none": (
        with_listener(f'certificates = [{RSA[:-1]}, names = ["good.example", "*.*.example", "bücher.example"]}}]'),
        [
            L + 'certificates[0].names[1]: found "*.*.example"; possible: a host name, as "mail.example.org" or "*.example.org", '
            "in ASCII (xn--…)",
            L + 'certificates[0].names[2]: found "bücher.example"; possible: a host name, as "mail.example.org" or "*.example.org", '
            "in ASCII (xn--…)",
        ],
    ),
    "a word that is no cipher, among good ones": (
        with_listener('ciphers = "ECDHE+AESGCM:NONSENSE:!aNULL"'),
        [
            L + 'ciphers: found "ECDHE+AESGCM:NONSENSE:!aNULL"; names of ciphers are expected as "openssl ciphers" takes them, '
            "and OpenSSL must know each"
        ],
    ),
    "no cipher at all": (
        with_listener('ciphers = ""'),
        [L + 'ciphers: found ""; names of ciphers are expected as "openssl ciphers" takes them, and OpenSSL must know each'],
    ),
    "a list of revoked certificates that is none": (
        with_listener('client_certificates = "optional"\nclient_ca_file = "ca.pem"\nclient_crl_file = "ca.pem"'),
        [
            "portico.toml:13: listeners.imaps.client_crl_file: {made}/ca.pem: is no PEM file with lists of revoked certificates "
            "(X509 CRL), and nothing else"
        ],
    ),
    "a list of revoked certificates for nobody": (
        with_listener('client_crl_file = "crl.pem"'),
        [L + 'client_crl_file: needs client certificates; possible: "optional" or "required"'],
    ),
    "a certificate for the server without its key": (
        with_server('tls = "starttls"\ncertificate = "portico@example.org.pem"'),
        [
            "portico.toml:5: servers.mail.certificate: {made}/portico@example.org.pem: is no PEM file with a certificate and its key "
            "(without passphrase)"
        ],
    ),
    "a key for the server without its certificate": (
        with_server('tls = "starttls"\nkey = "server.key"'),
        ["portico.toml:5: servers.mail.key: needs certificate"],
    ),
    "a pin that is none": (
        with_server('tls = "starttls"\nfingerprints = ["abc"]'),
        [
            'portico.toml:5: servers.mail.fingerprints[0]: found "abc"; the SHA-256 of a certificate is expected: 64 hex digits, '
            'as "portico certs show" prints it'
        ],
    ),
    "a secret that can be guessed": (
        with_listener('[tls]\nticket_secret = "hunter2"'),
        ['portico.toml:12: tls.ticket_secret: is too short: 32 octets or more are needed, as "openssl rand -hex 32" makes them'],
    ),
    "keys that change too often to be of use": (
        with_listener('[tls]\nticket_rotation = "1s"'),
        ['portico.toml:12: tls.ticket_rotation: found "1s"; must be at least 60'],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_called_what_it_is(case: str, made: Path) -> None:
    text, expected = MISTAKES[case]
    assert problems_of(text, made) == [problem.replace("{made}", str(made)) for problem in expected]


def test_a_listener_may_have_its_certificates_in_the_list_alone(made: Path) -> None:
    listener = settings_of(ALONE + f"certificates = [{RSA}]\n", made).listeners["imaps"]
    assert listener.certificate is None
    assert [each.certificate for each in listener.certificates] == [str(made / "server-rsa.pem")]


@pytest.mark.parametrize("ciphers", ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE+AESGCM:!aNULL:!RC4", "HIGH:-SHA1:+CHACHA20:@STRENGTH"])
def test_ciphers_may_be_said_as_openssl_takes_them(made: Path, ciphers: str) -> None:
    assert settings_of(with_listener(f'ciphers = "{ciphers}"'), made).listeners["imaps"].ciphers == ciphers


def test_all_pins_hold_and_a_server_that_is_pinned_is_verified(made: Path) -> None:
    pins = f'tls = "implicit"\nverify = false\nfingerprint = "{"aa" * 32}"\nfingerprints = ["{":".join(["BB"] * 32)}"]'
    assert settings_of(with_server(pins), made).servers["mail"].pins == ["aa" * 32, "bb" * 32]
    assert warnings_of(with_server(pins), made) == []


def test_the_secret_of_tickets_is_never_shown(made: Path) -> None:
    settings = settings_of(with_listener(f'[tls]\nticket_secret = "{"s3cret" * 8}"'), made)
    assert settings.tls.ticket_secret == Secret("s3cret" * 8)
    assert "s3cret" not in as_toml(settings) + repr(settings)


def test_what_has_no_effect_without_tls_is_a_warning(made: Path) -> None:
    text = ALONE + f'tls = "none"\nplain_login = true\ncertificates = [{RSA}]\nciphers = "HIGH"\n'
    assert warnings_of(text, made) == [
        'portico.toml:11: listeners.imaps.certificates: has no effect with tls = "none"',
        'portico.toml:12: listeners.imaps.ciphers: has no effect with tls = "none"',
    ]
    (warning,) = warnings_of(with_server('certificate = "server.pem"\nkey = "server.key"'), made)
    assert warning == 'portico.toml:4: servers.mail.certificate: has no effect with tls = "none"'


def test_keys_in_the_list_that_everybody_may_read_are_a_warning(made: Path) -> None:
    (made / "server-rsa.key").chmod(0o644)
    try:
        (warning,) = warnings_of(with_listener(f"certificates = [{RSA}]"), made)
    finally:
        (made / "server-rsa.key").chmod(0o600)
    assert warning.startswith("portico.toml:11: listeners.imaps.certificates[0].key: ") and warning.endswith("chmod o-r")


def test_a_list_of_revoked_certificates_that_is_nearly_too_old_is_a_warning(made: Path, tmp_path: Path) -> None:
    for name in ("ca.pem", "ca.key"):
        (tmp_path / name).write_bytes((made / name).read_bytes())
    revoke_in(tmp_path, days=1)
    text = with_listener(f'client_certificates = "optional"\nclient_ca_file = "ca.pem"\nclient_crl_file = "{tmp_path}/crl.pem"')
    (warning,) = warnings_of(text, made)
    assert warning.startswith(f"portico.toml:13: listeners.imaps.client_crl_file: {tmp_path}/crl.pem: is too old from ")
    assert warnings_of(text.replace(f"{tmp_path}/", ""), made) == []  # this one is good for 30 days
