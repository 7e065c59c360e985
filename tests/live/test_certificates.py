"""Certificates as an operator has them: made by `portico certs`, several for several names, replaced while mail is read, revoked.

Rule of this file: who looks is openssl, curl or Python's ssl module, and what is replaced are files, as an ACME client does it.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from portico.demo import certificates as demo
from portico.demo import dovecot as demo_dovecot
from portico.demo.dovecot import Dovecot
from portico.demo.ports import LOOPBACK, free_ports
from portico.tls.inspect import certificates_in, describe

from tests.live.conftest import lacking
from tests.live.dialogue import eventually
from tests.live.front import Front
from tests.live.people import PASSWORD

pytestmark = pytest.mark.live

CHECK: Final = '[tls]\ncheck = "100ms"\nticket_secret = "a secret that two machines have in common"\n\n[workers]\ncount = 2\n'
SECONDS: Final = 20


def portico(*arguments: object) -> str:
    """A command, as the operator types it."""
    done = subprocess.run([sys.executable, "-m", "portico", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def subject(port: int, *options: str, name: str = "") -> str:
    """The certificate that openssl is shown: its first name and kind of key."""
    asked = ("-servername", name) if name else ("-noservername",)
    command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", *asked, *options]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=SECONDS)
    text = subprocess.run(["openssl", "x509", "-noout", "-text"], input=done.stdout, capture_output=True, timeout=SECONDS).stdout.decode()
    names, kind = re.search(r"DNS:([^\s,]+)", text), re.search(r"Public Key Algorithm: (\S+)", text)
    assert names and kind, done.stderr.decode()
    return f"{names[1]} {'RSA' if kind[1].startswith('rsa') else 'ECDSA'}"


def replace(source: Path, target: Path) -> None:
    """Copy beside and rename."""
    shutil.copy(source, target.with_suffix(".new"))
    target.with_suffix(".new").replace(target)


@pytest.fixture(scope="module")
def certs(place: Path) -> Path:
    """What the operator has made: for localhost with both kinds of keys, for a wildcard, for clients; all of one authority."""
    directory = place / "operator"
    portico("certs", "new", directory, "--name", "localhost", "--name", "127.0.0.1", "--rsa", "--client", "alice@example.org")
    wild = directory / "wild"
    wild.mkdir()
    for name in ("ca.pem", "ca.key"):
        shutil.copy(directory / name, wild)
    portico("certs", "new", wild, "--name", "*.example.org")
    portico("certs", "new", wild, "--client", "bob@example.org")
    portico("certs", "revoke", directory)
    return directory


@pytest.fixture(scope="module")
def external() -> int:
    """Where clients may show certificates."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def front(place: Path, dovecot: Dovecot, certs: Path, external: int, need: Callable[..., None]) -> Iterator[Front]:
    need("openssl", "curl")
    beside = f'{{certificate = "{certs}/server-rsa.pem", key = "{certs}/server-rsa.key"}}'
    wild = f'{{certificate = "{certs}/wild/server.pem", key = "{certs}/wild/server.key"}}'
    made = demo.Certificates(certs / "ca.pem", certs / "server.pem", certs / "server.key")
    clients = f"""
[listeners.external]
protocol = "imap"
addresses = ["{LOOPBACK}:{external}"]
certificate = "{made.certificate}"
key = "{made.key}"
client_ca_file = "{certs}/ca.pem"
client_crl_file = "{certs}/crl.pem"
client_certificates = "required"
server = "server"
"""
    more = f"{clients}\n{CHECK}"
    running = Front(
        place / "certificates", dovecot.ports, made, listener_settings=f"certificates = [{beside}, {wild}]\n", more=more
    ).start()
    try:
        yield running
    finally:
        running.stop()


def test_each_name_has_its_certificate_on_every_way_to_tls(front: Front) -> None:
    ways = [
        (front.ports.imaps, ()),
        (front.ports.pop3s, ()),
        (front.ports.imap, ("-starttls", "imap")),
        (front.ports.pop3, ("-starttls", "pop3")),
    ]
    for port, options in ways:
        assert subject(port, *options, name="mail.example.org") == "*.example.org ECDSA"
        assert subject(port, *options, name="localhost") == "localhost ECDSA"
        assert subject(port, *options) == "localhost ECDSA"


def test_who_looks_is_told_why_a_client_would_not_believe_the_server(front: Front, certs: Path) -> None:
    def doubts(*options: object) -> list[str]:
        (shown,) = json.loads(portico("certs", "show", f"{LOOPBACK}:{front.ports.imaps}", "--json", *options))
        return [*shown["problems"]]

    assert doubts("--ca-file", certs / "ca.pem") == []
    assert doubts("--ca-file", certs / "ca.pem", "--name", "mail.example.org") == []
    (other_name,) = doubts("--ca-file", certs / "ca.pem", "--name", "example.net")
    assert "Hostname mismatch" in other_name
    (unknown,) = doubts()
    assert unknown.startswith("a client would not believe it: ") and "certificate" in unknown


@pytest.mark.parametrize("options", [("-tls1_2", "-cipher", "aRSA"), ("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256:rsa_pkcs1_sha256")])
def test_an_old_client_is_shown_the_rsa_certificate_of_the_same_name(front: Front, options: tuple[str, ...]) -> None:
    assert subject(front.ports.imaps, *options, name="localhost") == "localhost RSA"


def test_what_openssl_calls_weak_is_not_offered(front: Front) -> None:
    for options in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-SHA:AES256-GCM-SHA384"]):
        command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{front.ports.imaps}", *options]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=SECONDS)
        assert b"Cipher is (NONE)" in done.stdout


def test_a_ticket_is_good_in_every_worker(front: Front, certs: Path) -> None:
    client = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    assert eventually(lambda: len(front.events("worker.started")) == 2)

    def comes(session: ssl.SSLSession | None) -> ssl.SSLSocket:
        plain = socket.create_connection((LOOPBACK, front.ports.imaps), SECONDS)
        secured = client.wrap_socket(plain, server_hostname="localhost", session=session)
        assert secured.recv(5) == b"* OK "  # the ticket comes with the greeting
        return secured

    def workers() -> set[int]:
        already = len(front.events("session.closed"))
        stay = [comes(None)]
        assert not stay[0].session_reused
        # They stay, so that one worker has its share and leaves the next to the other.
        stay += [comes(stay[0].session) for _ in range(24)]
        assert all(each.session_reused for each in stay[1:])
        for each in stay:
            each.close()
        assert eventually(lambda: len(front.events("session.closed")) >= already + len(stay))
        return {event["worker"] for event in front.events("session.closed")[already:]}

    assert eventually(lambda: workers() == {0, 1})


def test_a_ticket_is_good_on_another_machine_that_has_the_same_secret_and_on_no_other(front: Front, place: Path, dovecot: Dovecot) -> None:
    def resumed(port: int, session: Path, *, new: bool = False) -> bool:
        option = "-sess_out" if new else "-sess_in"
        command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{port}", "-servername", "localhost", option, str(session), "-ign_eof"]
        done = subprocess.run(command, input=b"a LOGOUT\r\n", capture_output=True, timeout=SECONDS)
        assert b"a OK" in done.stdout, done.stderr
        return b"Reused, TLS" in done.stdout

    session = place / "ticket"
    assert not resumed(front.ports.imaps, session, new=True)
    assert resumed(front.ports.imaps, session)
    same, other = (
        Front(front.directory.with_name(name), dovecot.ports, front.certificates, more=more, listener_settings=front.listener_settings)
        for name, more in (("second-machine", CHECK), ("stranger", "[workers]\ncount = 1\n"))
    )
    try:
        assert resumed(same.start().ports.imaps, session)
        assert not resumed(other.start().ports.imaps, session)
    finally:
        same.stop()
        other.stop()


def test_certificates_are_replaced_under_load_and_no_handshake_fails(front: Front, certs: Path) -> None:
    client = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    seen: set[bytes] = set()
    failures: list[BaseException] = []
    over = threading.Event()

    def shake() -> None:
        while not over.is_set():
            try:
                plain = socket.create_connection((LOOPBACK, front.ports.imaps), SECONDS)
                with plain, client.wrap_socket(plain, server_hostname="localhost") as secured:
                    seen.add(secured.getpeercert(binary_form=True) or b"")
                    assert secured.recv(5) == b"* OK "
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=shake) for _ in range(2)]
    for thread in threads:
        thread.start()
    before = len(front.events("certificates.reloaded"))
    try:
        for number in range(5):
            next_one = certs / f"next-{number}"
            next_one.mkdir()
            for name in ("ca.pem", "ca.key"):
                shutil.copy(certs / name, next_one)
            demo.issue(next_one)
            told = len(front.events("certificates.reloaded"))
            # One after the other: in between they do not belong together.
            replace(next_one / "server.pem", certs / "server.pem")
            replace(next_one / "server.key", certs / "server.key")
            assert eventually(lambda told=told: len(front.events("certificates.reloaded")) > told)
            wanted = describe(certificates_in(certs / "server.pem")[0]).fingerprint
            assert eventually(lambda wanted=wanted: _fingerprint(front.ports.imaps) == wanted)
    finally:
        over.set()
        for thread in threads:
            thread.join(SECONDS)
    assert failures == []
    assert len(seen) > 1
    assert len(front.events("certificates.reloaded")) > before


def _fingerprint(port: int) -> str:
    shown = json.loads(portico("certs", "show", f"{LOOPBACK}:{port}", "--json"))
    return str(shown[0]["fingerprint"])


def test_a_broken_file_is_told_and_the_certificate_before_it_stays(front: Front, certs: Path) -> None:
    good = certs / "good.pem"
    shutil.copy(certs / "wild" / "server.pem", good)
    broken = certs / "broken"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnot yet\n")
    try:
        replace(broken, certs / "wild" / "server.pem")
        assert eventually(lambda: front.events("certificates.rejected"))
        assert front.events("certificates.rejected")[0]["problems"] == [f"{certs}/wild/server.pem: the certificate is damaged"]
        assert subject(front.ports.imaps, name="mail.example.org") == "*.example.org ECDSA"
    finally:
        replace(good, certs / "wild" / "server.pem")


def test_a_name_that_is_none_ends_its_handshake_and_writes_nothing_past_the_log(front: Front) -> None:
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(theirs, ours, server_hostname="abcdef.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    already = len(front.events("session.closed"))
    with socket.create_connection((LOOPBACK, front.ports.imaps), SECONDS) as plain:
        plain.sendall(ours.read().replace(b"abcdef", b"\xff\xfe\n\x1b[m"))
        assert plain.recv(1) in (b"\x15", b"")  # an alert (RFC 8446 5.1), or the end
    # Beside it a session of the test before may end only now.
    assert eventually(lambda: "tls_failed" in [event["reason"] for event in front.events("session.closed")[already:]])
    assert "Exception ignored" not in front.log.read_text("utf-8", "replace")
    assert all(line.startswith("{") for line in front.log.read_text("utf-8", "replace").splitlines())


def test_a_client_whose_certificate_is_revoked_does_not_get_in_any_more(front: Front, certs: Path, external: int) -> None:
    def signs_in(pair: Path) -> bool:
        command = ["curl", "-sS", "--cacert", certs / "ca.pem", "--cert", f"{pair}.pem", "--key", f"{pair}.key"]
        command += ["-u", f"alice:{PASSWORD}", f"imaps://localhost:{external}/", "--resolve", f"localhost:{external}:{LOOPBACK}"]
        return subprocess.run(list(map(str, command)), capture_output=True, timeout=SECONDS).returncode == 0

    alice, bob = certs / "alice@example.org", certs / "wild" / "bob@example.org"
    assert signs_in(alice) and signs_in(bob)
    portico("certs", "revoke", certs, "--certificate", f"{bob}.pem")
    assert eventually(lambda: not signs_in(bob))
    assert signs_in(alice)
    closed = lambda: [(event["listener"], event["reason"]) for event in front.events("session.closed")]  # noqa: E731
    assert eventually(lambda: ("external", "tls_failed") in closed())


def test_the_server_is_shown_a_certificate_that_it_asks_for(place: Path, certs: Path) -> None:
    program = demo_dovecot.find()
    if program is None or demo_dovecot.missing():
        lacking("not installed: Dovecot (make test installs it)")
    if demo_dovecot.version(program) < (2, 4):
        wanted = f"ssl_ca = <{certs}/ca.pem\nssl_verify_client_cert = yes\nauth_ssl_require_client_cert = yes\nssl_require_crl = no\n"
    else:
        wanted = f"ssl_server_ca_file = {certs}/ca.pem\nssl_server_request_client_cert = yes\nauth_ssl_require_client_cert = yes\n"
    made = demo.Certificates(certs / "ca.pem", certs / "wild" / "server.pem", certs / "wild" / "server.key")
    shown = f'certificate = "{certs}/alice@example.org.pem"\nkey = "{certs}/alice@example.org.key"\n'
    pinned = f'fingerprint = "{"0" * 64}"\nfingerprints = ["{describe(certificates_in(made.certificate)[0]).fingerprint}"]\n'
    dovecot = Dovecot(place / "asks-for-certificates", users={"alice": PASSWORD}, certificate=made.certificate, key=made.key, more=wanted)

    def signs_in(server_settings: str, directory: str) -> bool:
        one = Front(place / directory, dovecot.ports, made, "starttls", server_settings=server_settings, protocols=("imap",)).start()
        try:
            command = ["curl", "-sS", "-u", f"alice:{PASSWORD}", f"imap://{LOOPBACK}:{one.clear.imap}/"]
            return subprocess.run(command, capture_output=True, timeout=SECONDS).returncode == 0
        finally:
            one.stop()

    with dovecot:
        assert signs_in(shown + pinned, "shows-one")
        assert not signs_in(pinned, "shows-none")
        assert not signs_in(shown + pinned.replace(describe(certificates_in(made.certificate)[0]).fingerprint, "1" * 64), "pins-others")
