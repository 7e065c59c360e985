"""A memory of annotations that cannot be read or written ends nothing, and what was shown meanwhile stays as it was shown."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from portico.ledger.ledger import SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.session.annotations.annotation import NOTHING_IS_NEW

from tests.ledger.test_ledger import INBOX, MADE, PLACES


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Broken:
    """A ledger with its file, and somebody who may hold the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[str] = []
        self.clock = Clock()
        self.ledger = SafeLedger(SqliteLedger(path), self.said.append, self.clock)
        self.other = sqlite3.connect(path, isolation_level=None)

    def lock(self) -> None:
        self.other.execute("BEGIN EXCLUSIVE")

    def unlock(self) -> None:
        self.other.execute("ROLLBACK")
        self.clock.now += 60.0


def test_while_the_file_is_locked_new_messages_stay_as_they_are_and_so_they_stay(tmp_path: Path) -> None:
    broken = Broken(tmp_path / "l")
    ledger = broken.ledger
    ledger.judged(INBOX, 40, {"7": MADE})
    broken.lock()
    known = ledger.judged(INBOX, 50, {"45": MADE})
    assert (known.watermark, dict(known.annotations)) == (50, {"7": MADE})
    assert ledger.judged_one(INBOX, "46", MADE) is None
    ledger.forget(INBOX, "7")
    assert dict(ledger.known(INBOX).annotations) == {}
    ledger.located(INBOX, "7", PLACES)
    ledger.gone(INBOX, ["7"])
    ledger.subscribe("alice", "Team", True)
    assert len(broken.said) == 1
    assert "locked" in broken.said[0]
    broken.unlock()
    known = ledger.judged(INBOX, 60, {"45": MADE, "55": MADE})
    assert (known.watermark, sorted(known.annotations)) == (60, ["55"])
    assert ledger.judged_one(INBOX, "46", MADE) is None
    assert ledger.subscriptions("alice") == {"Team": True}


def test_a_file_that_failed_is_left_alone_for_a_while_and_said_to_have_failed_once(tmp_path: Path) -> None:
    broken = Broken(tmp_path / "l")
    broken.lock()
    for _ in range(50):
        broken.ledger.judged(INBOX, 50, {"45": MADE})  # each would wait for the lock
    assert len(broken.said) == 1
    broken.unlock()
    broken.ledger.judged(INBOX, 60, {"55": MADE})
    broken.lock()
    broken.ledger.judged(INBOX, 70, {})
    assert len(broken.said) == 2


def test_a_file_that_is_damaged_while_it_is_used_ends_nothing(tmp_path: Path) -> None:
    broken = Broken(tmp_path / "l")
    broken.ledger.judged(INBOX, 40, {"7": MADE})
    broken.other.execute("UPDATE annotation SET data = 'no annotation'")
    assert broken.ledger.known(INBOX).watermark == NOTHING_IS_NEW
    broken.clock.now += 60.0
    broken.other.execute("DROP TABLE annotation")
    assert broken.ledger.known(INBOX).annotations == {}
    broken.clock.now += 60.0
    broken.ledger.judged(INBOX, 41, {"8": MADE})
    assert broken.ledger.growth("mail/alice", "INBOX") == 0
    assert len(broken.said) == 1


def test_a_file_that_cannot_be_written_any_more_ends_nothing(tmp_path: Path) -> None:
    broken = Broken(tmp_path / "l")
    broken.ledger.judged(INBOX, 40, {"7": MADE})
    broken.ledger._ledger._db.execute("PRAGMA query_only = ON")
    assert sorted(broken.ledger.judged(INBOX, 50, {"45": MADE}).annotations) == ["7"]
    broken.clock.now += 60.0
    broken.ledger._ledger._db.execute("PRAGMA query_only = OFF")
    broken.ledger._ledger._db.execute("PRAGMA max_page_count = 1")
    large = {str(uid): MADE for uid in range(60, 2000)}
    assert sorted(broken.ledger.judged(INBOX, 2000, large).annotations) == ["7"]  # the disk is full
    assert broken.ledger.known(INBOX).watermark == 2000
