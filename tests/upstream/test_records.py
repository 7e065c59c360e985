from __future__ import annotations

from typing import Any

from portico.config.sections.upstream import Health
from portico.session.context import ServerFacts, Target
from portico.upstream.records import Records

MAIN = Target("main", "mail.example.org:143", "starttls", "main")
PLAIN = Target("main", "mail.example.org:143", "none", "main")


def test_failures_in_a_row_end_with_a_success() -> None:
    now = 100.0
    records = Records(lambda: now)
    record = records.of(PLAIN, "imap")
    records.dialled(record, "refused", 0.1)
    records.dialled(record, "timeout", 5.0)
    assert (record.failures_in_a_row, record.last_error, record.last_failure) == (2, "timeout", 100.0)
    assert repr(record) == "<server main imap mail.example.org:143 failing (timeout)>"
    now = 200.0
    records.dialled(record, None, 0.02)
    assert (record.dials, record.failures, record.failures_in_a_row, record.last_success) == (3, 2, 0, 200.0)
    assert repr(record).endswith(" well>")


def test_a_server_that_wants_starttls_is_well_only_when_it_is_secured() -> None:
    records = Records(lambda: 100.0)
    record = records.of(MAIN, "imap")
    for _ in range(3):
        records.dialled(record, None, 0.02)
        records.secured(record, "tls_verify")
    assert (record.dials, record.failures, record.failures_in_a_row, record.last_success) == (3, 3, 3, None)
    assert repr(record).endswith("failing (tls_verify)>")
    records.dialled(record, None, 0.02)
    records.secured(record, None)
    assert (record.dials, record.failures, record.failures_in_a_row, record.last_success) == (4, 3, 0, 100.0)


def test_facts_are_learned_by_all_who_hold_them() -> None:
    records = Records()
    record = records.of(MAIN, "imap")
    held = record.facts
    records.learned(record, ServerFacts((b"STARTTLS",), (b"ID",), ("PLAIN",)))
    assert held.secured == (b"ID",) and held.mechanisms == ("PLAIN",)


def test_a_server_reached_in_another_way_is_another_record() -> None:
    records = Records()
    one = records.of(MAIN, "imap")
    assert records.of(Target("main", "mail.example.org:143", "starttls", "main"), "imap") is one
    assert records.of(Target("main", "mail.example.org:993", "implicit", "main"), "imap") is not one
    assert records.of(MAIN, "pop3") is not one
    assert len(records.all()) == 3


def test_a_server_that_takes_connections_and_says_nothing_is_ill_and_the_log_says_so_once() -> None:
    said: list[tuple[str, dict[str, Any]]] = []
    records = Records(lambda: 100.0, lambda event, fields: said.append((event, fields)))
    records.adopt(Health(failures=3, rest=5.0))
    record = records.of(PLAIN, "imap")
    for _ in range(4):
        records.dialled(record, None, 0.01)
        records.ill(record, "timeout")
    assert not records.may(record) and records.state(record) == "open"
    about = {"server": "main", "protocol": "imap", "address": "mail.example.org:143"}
    assert said == [("breaker.opened", {**about, "reason": "timeout", "count": 3, "seconds": 5.0})]
    records.answered(record)
    assert records.may(record) and said[1:] == [("breaker.closed", about)]


def test_a_greeting_on_being_asked_closes_the_breaker_and_silence_opens_it() -> None:
    records = Records(lambda: 100.0)
    records.adopt(Health(failures=2))
    record = records.of(PLAIN, "imap")
    opened: list[str] = []
    records.watchers.append(lambda record: opened.append(record.target.name))
    records.unanswered(record, "timeout")
    assert records.state(record) == "failing"
    records.unanswered(record, "timeout")
    assert (records.state(record), opened, record.dials) == ("open", ["main"], 0)
    records.learned(record, ServerFacts((b"IMAP4rev1",)))
    assert records.state(record) == "well" and records.may(record)


def test_a_server_that_is_drained_gets_nobody_over_any_protocol_until_it_is_not() -> None:
    records = Records(lambda: 100.0)
    both = [records.of(PLAIN, "imap"), records.of(Target("main", "mail.example.org:110", "none", "main:pop3"), "pop3")]
    records.drain("main")
    assert [records.may(record) for record in both] == [False, False]
    assert [entry["state"] for entry in records.report(records.all())] == ["drained", "drained"]
    records.undrain("main")
    assert [records.may(record) for record in both] == [True, True] and records.drained == frozenset()


def test_a_breaker_takes_up_new_settings() -> None:
    records = Records(lambda: 100.0)
    record = records.of(PLAIN, "imap")
    records.adopt(Health(failures=1))
    records.dialled(record, "refused", 0.1)
    (entry,) = records.report(records.all())
    assert (entry["breaker"], entry["state"], entry["last_error"], entry["last_failure"]) == ("open", "open", "refused", 0.0)


def test_what_one_network_provokes_counts_once_until_the_server_answers_somebody() -> None:
    records = Records(lambda: 100.0)
    records.adopt(Health(failures=3))
    record = records.of(PLAIN, "imap")
    for _ in range(10):
        records.ill(record, "bye", "192.0.2.7")
    assert records.state(record) == "failing" and records.may(record) and record.failures == 10
    records.answered(record)
    for network in ("192.0.2.7", "192.0.2.8"):
        records.ill(record, "bye", network)
    assert records.may(record)
    records.ill(record, "bye", "192.0.2.9")
    assert records.state(record) == "open", "three of them at once say that it is ill"


def test_a_trial_that_fails_for_who_was_there_before_opens_the_breaker_again() -> None:
    now = 100.0
    records = Records(lambda: now)
    records.adopt(Health(failures=1, rest=5.0))
    record = records.of(PLAIN, "imap")
    records.ill(record, "closed", "192.0.2.7")
    now = 106.0
    records.begin(record)
    records.ill(record, "closed", "192.0.2.7")
    assert records.state(record) == "open" and not records.may(record)
