"""Which certificate a client is shown, and what happens when the files change."""

from __future__ import annotations

import asyncio
import datetime
import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from portico.errors import Secret, SettingsError
from portico.tls import tickets as ticket_keys
from portico.tls.contexts import Policy, client_context, tls_info
from portico.tls.inspect import certificates_in
from portico.tls.issue import issue_client, issue_server, new_authority, revoke_in
from portico.tls.material import Pair, host_names
from portico.tls.store import Store
from portico.tls.tickets import Tickets
from portico.tls.watch import Watch

from tests.tls.test_contexts import shake

CA = new_authority("Authority of these tests")
HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(CA.certificate_pem)
    (tmp_path / "ca.key").write_bytes(CA.key_pem)
    return tmp_path


def put(place: Path, file: str, *names: str, key_type: Any = "ecdsa", days: int = 100) -> Pair:
    """A certificate and its key, in one file; replaced at once, as a careful program does it."""
    made = issue_server(CA, names, key_type=key_type, days=days)
    (place / f"{file}.new").write_bytes(made.certificate_pem + made.key_pem)
    (place / f"{file}.new").replace(place / file)
    return Pair(str(place / file))


def client(place: Path, *, only: str = "") -> ssl.SSLContext:
    """A client that believes our authority; `only`: the kind of certificate that it knows, with TLS 1.2."""
    context = client_context(ca_file=str(place / "ca.pem"))
    context.check_hostname = False
    if only:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"ECDHE-{only}-AES128-GCM-SHA256")
    return context


def shown(store: Store, place: Path, name: str | None, *, only: str = "") -> tuple[tuple[str, ...], str]:
    """The names in the certificate that a client is shown who asks for `name`, and its signature's kind."""
    _, end = shake(store.context, client(place, only=only), name)
    octets = end.getpeercert(binary_form=True)
    assert octets
    certificate = x509.load_der_x509_certificate(octets)
    return host_names(certificate), "RSA" if isinstance(certificate.public_key(), rsa.RSAPublicKey) else "ECDSA"


def store_of(*pairs: Pair, policy: Policy | None = None, **options: Any) -> Store:
    return Store(pairs, policy or Policy(), options.pop("tickets", Tickets()), **options)


def test_the_name_decides_an_exact_one_before_a_wildcard_and_the_first_for_all_others(place: Path) -> None:
    store = store_of(put(place, "first", "first.example"), put(place, "wild", "*.mail.example"), put(place, "exact", "imap.mail.example"))
    asked = [
        "first.example",
        "pop.mail.example",
        "imap.mail.example",
        "IMAP.Mail.Example",
        "a.b.mail.example",
        "mail.example",
        "other",
        None,
    ]
    wild, exact, first = ("*.mail.example",), ("imap.mail.example",), ("first.example",)
    assert [shown(store, place, name)[0] for name in asked] == [first, wild, exact, exact, first, first, first, first]


def test_the_name_asked_for_is_known_whichever_certificate_is_shown(place: Path) -> None:
    store = store_of(put(place, "first", "first.example"), put(place, "second", "second.example"))
    for name in ("first.example", "second.example", "third.example"):
        server, _ = shake(store.context, client(place), name)
        assert tls_info(server).sni == name


def test_a_client_that_knows_nothing_but_rsa_is_shown_the_rsa_certificate_of_the_same_name(place: Path) -> None:
    store = store_of(
        put(place, "e", "mail.example"), put(place, "r", "mail.example", key_type="rsa"), put(place, "w", "*.example", key_type="rsa")
    )
    assert shown(store, place, "mail.example", only="RSA") == (("mail.example",), "RSA")
    assert shown(store, place, "mail.example", only="ECDSA") == (("mail.example",), "ECDSA")
    assert shown(store, place, None, only="RSA") == (("mail.example",), "RSA")
    assert shown(store, place, "other.example", only="RSA") == (("*.example",), "RSA")


def test_an_rsa_wildcard_stands_beside_an_ecdsa_certificate_of_one_name(place: Path) -> None:
    store = store_of(put(place, "e", "mail.example"), put(place, "w", "*.example", key_type="rsa"))
    assert shown(store, place, "mail.example", only="RSA")[0] == ("*.example",)
    assert shown(store, place, "mail.example", only="ECDSA")[0] == ("mail.example",)


def test_names_in_the_settings_take_the_place_of_those_in_the_certificate(place: Path) -> None:
    second = put(place, "second", "second.example")
    store = store_of(put(place, "first", "first.example"), Pair(second.certificate, None, ("Third.example.",)))
    assert shown(store, place, "third.example")[0] == ("second.example",)
    assert shown(store, place, "second.example")[0] == ("first.example",)


def test_all_certificates_ask_the_client_for_his(place: Path) -> None:
    policy = Policy(client_ca=str(place / "ca.pem"), client_certificates="required")
    store = store_of(put(place, "first", "first.example"), put(place, "second", "second.example"), policy=policy)
    alice = issue_client(CA, "alice@example.org")
    (place / "alice.pem").write_bytes(alice.certificate_pem + alice.key_pem)
    for name in ("first.example", "second.example"):
        with pytest.raises(ssl.SSLError):
            shake(store.context, client(place), name)
        knows = client(place)
        knows.load_cert_chain(place / "alice.pem")
        server, _ = shake(store.context, knows, name)
        assert tls_info(server).client_name == "alice@example.org"


def test_everything_wrong_with_the_files_is_said_at_once(place: Path) -> None:
    good = put(place, "good", "good.example")
    with pytest.raises(SettingsError) as caught:
        store_of(good, Pair(str(place / "none.pem")), Pair(str(place / "ca.pem")))
    assert caught.value.problems == [
        f"{place}/none.pem: No such file or directory",
        f"{place}/ca.pem: no private key in PEM form is in it",
    ]


# --- files that change


class Log(list[tuple[str, dict[str, Any]]]):
    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        self.append((event, fields))

    def taken(self) -> list[tuple[str, dict[str, Any]]]:
        said, self[:] = list(self), []
        return said


def look(watch: Watch) -> None:
    asyncio.run(watch.look())


def test_a_changed_file_is_taken_up_and_a_handshake_that_has_begun_goes_on(place: Path) -> None:
    store, log = store_of(put(place, "a.pem", "old.example")), Log()
    watch = Watch({"imaps": store}, log, every=10, warn=DAY)
    look(watch)
    assert log.taken() == []
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    begun = (store.context.wrap_bio(a, b, server_side=True), client(place).wrap_bio(b, a, server_hostname="old.example"))
    with pytest.raises(ssl.SSLWantReadError):
        begun[1].do_handshake()
    put(place, "a.pem", "new.example")
    look(watch)
    assert log.taken() == [("certificates.reloaded", {"listener": "imaps", "paths": [f"{place}/a.pem"]})]
    assert shown(store, place, None)[0] == ("new.example",)
    with pytest.raises(ssl.SSLWantReadError):
        begun[0].do_handshake()
    begun[1].do_handshake()
    begun[0].do_handshake()
    assert begun[1].getpeercert()["subjectAltName"] == (("DNS", "old.example"),)  # type: ignore[index]


def test_a_broken_file_leaves_the_old_certificate_and_is_told_once_when_it_stays_so(place: Path) -> None:
    store, log = store_of(put(place, "a.pem", "old.example")), Log()
    watch = Watch({"imaps": store}, log, every=10, warn=DAY)
    (place / "a.pem").write_text("-----BEGIN CERTIFICATE-----\nhalf")
    look(watch)
    assert log.taken() == []  # somebody may be writing it
    look(watch)
    ((event, fields),) = log.taken()
    assert event == "certificates.rejected" and f"{place}/a.pem" in fields["problems"][0]
    look(watch)
    assert log.taken() == []
    assert shown(store, place, None)[0] == ("old.example",)
    (place / "a.pem").unlink()
    look(watch), look(watch)
    ((_, fields),) = log.taken()
    assert fields["problems"] == [f"{place}/a.pem: No such file or directory"]
    put(place, "a.pem", "new.example")
    look(watch)
    assert [event for event, _ in log.taken()] == ["certificates.reloaded"]
    assert shown(store, place, None)[0] == ("new.example",)


def test_a_key_that_comes_after_its_certificate_is_waited_for(place: Path) -> None:
    first, second = issue_server(CA, ["one.example"]), issue_server(CA, ["two.example"])
    (place / "c.pem").write_bytes(first.certificate_pem)
    (place / "k.pem").write_bytes(first.key_pem)
    store, log = store_of(Pair(str(place / "c.pem"), str(place / "k.pem"))), Log()
    watch = Watch({"imaps": store}, log, every=10, warn=DAY)
    (place / "c.new").write_bytes(second.certificate_pem)
    (place / "c.new").replace(place / "c.pem")
    look(watch)
    assert shown(store, place, None)[0] == ("one.example",)
    (place / "k.new").write_bytes(second.key_pem)
    (place / "k.new").replace(place / "k.pem")
    look(watch)
    assert shown(store, place, None)[0] == ("two.example",)
    assert [event for event, _ in log] == ["certificates.reloaded"]


def test_a_certificate_behind_a_link_changes_with_the_link(place: Path) -> None:
    put(place, "one.pem", "one.example"), put(place, "two.pem", "two.example")
    (place / "live.pem").symlink_to("one.pem")
    store = store_of(Pair(str(place / "live.pem")))
    (place / "next").symlink_to("two.pem")
    (place / "next").replace(place / "live.pem")
    look(Watch({"imaps": store}, Log(), every=10, warn=DAY))
    assert shown(store, place, None)[0] == ("two.example",)


def test_what_was_replaced_leaves_no_memory_behind_without_a_collection(place: Path) -> None:
    store = store_of(put(place, "a.pem", "a.example"), put(place, "b.pem", "b.example"))
    assert shown(store, place, "b.example")[0] == ("b.example",)
    old = weakref.ref(store.context)
    gc.collect()
    gc.disable()
    try:
        store.adopt(store.load())
        assert old() is None
    finally:
        gc.enable()


# --- what ends


def test_a_certificate_is_warned_of_once_a_day_before_its_end_and_after_it(place: Path) -> None:
    store, log = store_of(put(place, "a.pem", "a.example", days=20)), Log()
    end = store.loaded.known[0].shown.not_after.timestamp()
    clock = [0.0]
    warned: dict[tuple[str, str, str], float] = {}
    told = []
    for hours in range(-16 * 24, 3 * 24, 6):
        clock[0] = end + hours * HOUR
        # A reload of the settings, too, makes another one.
        Watch({"imaps": store}, log, every=10, warn=14 * DAY, clock=lambda: clock[0], warned=warned).expiry()
        told += [(hours / 24, event, fields["days"]) for event, fields in log.taken()]
    before = [(float(day), "certificate.expiring", -day) for day in range(-14, 0)]
    assert told == [*before, *((float(day), "certificate.expired", -day) for day in range(3))]


def test_a_list_of_revoked_certificates_that_is_too_old_is_told(place: Path) -> None:
    revoke_in(place, days=3)
    policy = Policy(client_ca=str(place / "ca.pem"), client_certificates="optional", client_crl=str(place / "crl.pem"))
    store, log = store_of(put(place, "a.pem", "a.example"), policy=policy), Log()
    now = datetime.datetime.now(datetime.UTC).timestamp()
    clock = [now]
    watch = Watch({"imaps": store}, log, every=10, warn=14 * DAY, clock=lambda: clock[0])
    watch.expiry()
    assert log.taken() == []
    clock[0] = now + 2.5 * DAY
    watch.expiry()
    clock[0] = now + 3.5 * DAY
    watch.expiry()
    assert [(event, fields["path"]) for event, fields in log] == [
        ("revocations.expiring", str(place / "crl.pem")),
        ("revocations.expired", str(place / "crl.pem")),
    ]


# --- who is revoked


def alice_in(place: Path) -> ssl.SSLContext:
    alice = issue_client(CA, "alice@example.org")
    (place / "alice.pem").write_bytes(alice.certificate_pem + alice.key_pem)
    context = client(place)
    context.load_cert_chain(place / "alice.pem")
    return context


def test_who_is_revoked_does_not_get_in_as_soon_as_the_list_says_so(place: Path) -> None:
    knows = alice_in(place)
    revoke_in(place)
    policy = Policy(client_ca=str(place / "ca.pem"), client_certificates="optional", client_crl=str(place / "crl.pem"))
    store, log = store_of(put(place, "a.pem", "a.example"), policy=policy), Log()
    _, first = shake(store.context, knows)
    revoke_in(place, [place / "alice.pem"])
    look(Watch({"imaps": store}, log, every=10, warn=DAY))
    assert log == [("certificates.reloaded", {"listener": "imaps", "paths": [str(place / "crl.pem")]})]
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake(store.context, knows)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake(store.context, knows, session=first.session)  # nor by a session of before
    server, _ = shake(store.context, client(place))  # who shows none may sign in otherwise
    assert tls_info(server).client_name is None


def test_nobody_gets_in_by_a_certificate_when_the_list_is_too_old_or_of_another_authority(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    knows = alice_in(place)
    policy = Policy(client_ca=str(place / "ca.pem"), client_certificates="optional", client_crl=str(place / "crl.pem"))
    with monkeypatch.context() as past:
        past.setattr("portico.tls.issue._now", lambda: datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
        past.setattr("portico.tls.issue._authority_in", lambda directory, key_type: (CA, False))
        revoke_in(place)
    with pytest.raises(ssl.SSLCertVerificationError, match="CRL has expired"):
        shake(store_of(put(place, "a.pem", "a.example"), policy=policy).context, knows)
    other = place / "other"
    other.mkdir()
    stranger = new_authority("A stranger")
    (other / "ca.pem").write_bytes(stranger.certificate_pem)
    (other / "ca.key").write_bytes(stranger.key_pem)
    path, _ = revoke_in(other)
    path.replace(place / "crl.pem")
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get certificate CRL"):
        shake(store_of(put(place, "a.pem", "a.example"), policy=policy).context, knows)


def test_a_list_with_certificates_in_it_is_refused_or_they_would_be_trusted(place: Path) -> None:
    path, _ = revoke_in(place)
    path.write_bytes(path.read_bytes() + CA.certificate_pem)
    policy = Policy(client_ca=str(place / "ca.pem"), client_certificates="optional", client_crl=str(path))
    with pytest.raises(SettingsError, match="has certificates in it"):
        store_of(put(place, "a.pem", "a.example"), policy=policy)


# --- tickets


SECRET = Secret(b"s" * 32)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_ticket_of_one_process_is_good_in_another_that_has_the_same_secret(place: Path, version: ssl.TLSVersion) -> None:
    pair = put(place, "a.pem", "a.example")
    knows = client(place)
    knows.maximum_version = version
    first, second, stranger = (store_of(pair, tickets=Tickets(secret)) for secret in (SECRET, SECRET, Secret(b"x" * 32)))
    assert first.shared
    _, end = shake(first.context, knows)
    assert tls_info(shake(second.context, knows, session=end.session)[0]).resumed
    assert not tls_info(shake(stranger.context, knows, session=end.session)[0]).resumed


def test_a_ticket_is_worth_nothing_where_another_certificate_is_shown(place: Path) -> None:
    knows = client(place)
    first = store_of(put(place, "a.pem", "a.example"), tickets=Tickets(SECRET))
    second = store_of(put(place, "b.pem", "b.example"), tickets=Tickets(SECRET))
    _, end = shake(first.context, knows)
    assert not tls_info(shake(second.context, knows, session=end.session)[0]).resumed


def test_with_new_keys_a_client_shakes_hands_in_full_once_and_then_resumes_again(place: Path) -> None:
    now = [1_000_000_000.0]
    tickets = Tickets(SECRET, HOUR)
    pair, knows = put(place, "a.pem", "a.example"), client(place)
    store = store_of(pair, tickets=tickets, clock=lambda: now[0])
    watch = Watch({"imaps": store}, Log(), every=10, warn=DAY, clock=lambda: now[0])
    _, end = shake(store.context, knows)
    look(watch)
    context = store.context
    assert tls_info(shake(context, knows, session=end.session)[0]).resumed
    now[0] += HOUR
    look(watch)
    assert store.context is context
    server, again = shake(context, knows, session=end.session)
    assert not tls_info(server).resumed
    assert tls_info(shake(context, knows, session=again.session)[0]).resumed
    other = store_of(pair, tickets=tickets, clock=lambda: now[0])  # one that began after it has the same
    assert tls_info(shake(other.context, knows, session=again.session)[0]).resumed


def test_where_the_keys_cannot_be_set_each_context_has_its_own_and_new_ones_come_with_a_new_context(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_keys, "_KNOWN", False)
    now = [1_000_000_000.0]
    pair, knows = put(place, "a.pem", "a.example"), client(place)
    store = store_of(pair, tickets=Tickets(SECRET, HOUR), clock=lambda: now[0])
    assert not store.shared
    context = store.context
    _, end = shake(context, knows)
    assert tls_info(shake(context, knows, session=end.session)[0]).resumed
    now[0] += HOUR
    look(Watch({"imaps": store}, Log(), every=10, warn=DAY, clock=lambda: now[0]))
    assert store.context is not context
    assert not tls_info(shake(store.context, knows, session=end.session)[0]).resumed


def test_the_secret_is_never_shown() -> None:
    tickets = Tickets(SECRET)
    assert "sss" not in f"{tickets!r} {tickets.secret!r}"
    assert len({tickets.keys(epoch, purpose) for epoch in (1, 2) for purpose in (b"a", b"b")}) == 4


def test_names_come_from_the_certificate(place: Path) -> None:
    pair = put(place, "a.pem", "a.example", "*.b.example", "127.0.0.1")
    assert host_names(certificates_in(Path(pair.certificate))[0]) == ("a.example", "*.b.example")
