from __future__ import annotations

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
