"""What a client has been shown is remembered: across sessions, restarts and processes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from portico.errors import SettingsError
from portico.ledger.ledger import SqliteLedger
from portico.session.annotations.annotation import Annotation, Located, Mailbox, Piece

INBOX = Mailbox("mail/alice", "INBOX", 17)
MADE = Annotation(1000, (Piece("1.1", b"see: \xe4\r\n", 1, b"see: \xe4\r\n", "start"),))
PLACES = Located(200, {"1": 230, "1.1": 260}, {"1.1": 0}, {"1.1": 0})


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "ledger.sqlite" if request.param == "file" else None


def test_a_mailbox_that_nobody_has_seen_is_unknown(path: Path | None) -> None:
    known = SqliteLedger(path).known(INBOX)
    assert (known.watermark, dict(known.annotations)) == (0, {})


def test_what_was_judged_is_known_to_the_octet(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": MADE})
    assert ledger.known(INBOX).watermark == 40
    assert ledger.known(INBOX).annotations == {"7": MADE}
    ledger.located(INBOX, "7", PLACES)
    assert ledger.known(INBOX).annotations["7"].located == PLACES


def test_the_first_judgement_stays(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": MADE})
    known = ledger.judged(INBOX, 30, {"7": Annotation(5, ()), "8": MADE})
    assert known.watermark == 40
    assert known.annotations == {"7": MADE, "8": MADE}


def test_a_message_that_was_forgotten_is_not_annotated_again(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": MADE})
    ledger.forget(INBOX, "7")
    assert ledger.judged(INBOX, 40, {"7": MADE}).annotations == {}


def test_another_uidvalidity_is_another_mailbox_and_the_old_one_goes(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": MADE})
    newer = INBOX._replace(uid_validity=18)
    assert ledger.known(newer).watermark == 0
    ledger.judged(newer, 3, {})
    assert ledger.known(INBOX).annotations == {}


def test_the_growth_of_a_mailbox_is_that_of_its_messages(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": MADE, "8": MADE})
    ledger.judged(INBOX._replace(name="Other"), 40, {"7": MADE})
    assert ledger.growth("mail/alice", "INBOX") == 2 * MADE.octets
    assert ledger.growth("mail/bob", "INBOX") == 0


def test_a_restart_changes_nothing_and_two_processes_share_a_file(tmp_path: Path) -> None:
    one, two = SqliteLedger(tmp_path / "l"), SqliteLedger(tmp_path / "l")
    one.judged(INBOX, 40, {"7": MADE})
    assert two.known(INBOX).annotations == {"7": MADE}
    one.close()
    two.close()
    assert SqliteLedger(tmp_path / "l").known(INBOX).annotations == {"7": MADE}


def test_in_memory_the_number_of_mailboxes_is_bounded() -> None:
    ledger = SqliteLedger(most=3)
    for name in "abcde":
        ledger.judged(INBOX._replace(name=name), 1, {"1": MADE})
    assert [name for name in "abcde" if ledger.known(INBOX._replace(name=name)).watermark] == ["c", "d", "e"]


def test_a_file_that_cannot_be_used_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, and longer than the head of one would be" * 10)
    with pytest.raises(SettingsError, match="text: cannot be used"):
        SqliteLedger(tmp_path / "text")
    with pytest.raises(SettingsError, match="cannot be used"):
        SqliteLedger(tmp_path / "nowhere" / "file")
    with sqlite3.connect(tmp_path / "newer") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(SettingsError, match="another version"):
        SqliteLedger(tmp_path / "newer")
