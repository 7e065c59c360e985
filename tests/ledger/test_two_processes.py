"""Two processes on one file: whoever tells first is right."""

from __future__ import annotations

import multiprocessing
import random
import sqlite3
from pathlib import Path

from portico.ledger.ledger import SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.session.annotations.annotation import Mailbox

INBOX = Mailbox("mail/alice", "INBOX", 17)
MESSAGES = 300


def tell_all(path: Path, seed: int) -> dict[int, int]:
    """What one process tells, each time a few messages at once, in an order of its own, looking the mailbox up now and then."""
    failures: list[str] = []
    ledger = SafeLedger(SqliteLedger(path), failures.append)
    chance = random.Random(seed)
    uids = [uid for uid in range(1, MESSAGES + 1) for _ in range(3)]
    chance.shuffle(uids)
    told: dict[int, int] = {}
    sizes = ledger.sizes(INBOX)
    while uids:
        for _ in range(min(len(uids), chance.randint(1, 7))):
            uid = uids.pop()
            if sizes.get(uid) is None:
                ledger.begin_sizes(INBOX, sizes)
            octets = sizes.tell(uid, chance.randint(1, 1_000_000), estimated=True)
            assert told.setdefault(uid, octets) == octets
        ledger.keep_sizes(INBOX, sizes)
        if chance.random() < 0.05:
            del sizes
            sizes = ledger.sizes(INBOX)
    ledger.close()
    assert not failures
    return told


def test_two_processes_tell_the_same_size_of_each_message(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        one, other = processes.starmap(tell_all, [(path, 1), (path, 2)])
    assert len(one) == MESSAGES
    assert one == other
    assert {uid: octets for uid, octets, _ in SqliteLedger(path).sizes(INBOX).each()} == one


def test_what_another_process_has_told_is_known_before_a_size_is_told(tmp_path: Path) -> None:
    one, other = SqliteLedger(tmp_path / "ledger"), SqliteLedger(tmp_path / "ledger")
    here, there = one.sizes(INBOX), other.sizes(INBOX)
    one.begin_sizes(INBOX, here)
    assert here.tell(5, 1000, estimated=True) == 1000
    one.keep_sizes(INBOX, here)
    other.begin_sizes(INBOX, there)
    assert there.tell(5, 2000, estimated=True) == 1000
    assert there.tell(6, 3000, estimated=True) == 3000
    other.keep_sizes(INBOX, there)
    one.begin_sizes(INBOX, here)
    assert here.get(6) == (3000, True)
    one.keep_sizes(INBOX, here)


def test_who_finds_that_another_process_has_told_all_holds_nobody_up(tmp_path: Path) -> None:
    failures: list[str] = []
    one, other = (SafeLedger(SqliteLedger(tmp_path / "ledger"), failures.append) for _ in range(2))
    here, there = one.sizes(INBOX), other.sizes(INBOX)
    one.begin_sizes(INBOX, here)
    here.tell(5, 1000, estimated=True)
    one.keep_sizes(INBOX, here)
    other.begin_sizes(INBOX, there)
    assert there.tell(5, 2000, estimated=True) == 1000
    other.keep_sizes(INBOX, there)
    one.begin_sizes(INBOX, here)
    here.tell(6, 3000, estimated=True)
    one.keep_sizes(INBOX, here)
    assert SqliteLedger(tmp_path / "ledger").sizes(INBOX).get(6) == (3000, True)
    assert not failures


def test_another_change_ends_the_telling_and_loses_nothing(tmp_path: Path) -> None:
    one, other = SqliteLedger(tmp_path / "ledger"), SqliteLedger(tmp_path / "ledger")
    sizes = one.sizes(INBOX)
    one.begin_sizes(INBOX, sizes)
    sizes.tell(5, 1000, estimated=True)
    one.judged(INBOX, 5, {})
    assert other.sizes(INBOX).get(5) == (1000, True)
    other.subscribe("mail/alice", "Team", True)  # nobody holds the file
    one.begin_sizes(INBOX, sizes)
    sizes.tell(6, 2000, estimated=True)
    one.keep_sizes(INBOX, sizes)
    assert SqliteLedger(tmp_path / "ledger").sizes(INBOX).get(6) == (2000, True)


def test_two_mailboxes_told_of_in_turn(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger")
    sent = INBOX._replace(name="Sent")
    here, there = ledger.sizes(INBOX), ledger.sizes(sent)
    ledger.begin_sizes(INBOX, here)
    here.tell(1, 10, estimated=True)
    ledger.begin_sizes(sent, there)
    there.tell(1, 20, estimated=True)
    ledger.keep_sizes(INBOX, here)
    ledger.keep_sizes(sent, there)
    again = SqliteLedger(tmp_path / "ledger")
    assert (again.sizes(INBOX).get(1), again.sizes(sent).get(1)) == ((10, True), (20, True))


def test_while_another_process_writes_for_too_long_a_size_is_told_and_remembered_in_memory(tmp_path: Path) -> None:
    failures: list[str] = []
    inner = SqliteLedger(tmp_path / "ledger")
    inner._db.execute("PRAGMA busy_timeout = 1")
    ledger = SafeLedger(inner, failures.append)
    writer = SqliteLedger(tmp_path / "ledger")
    writer._db.execute("BEGIN IMMEDIATE")
    sizes = ledger.sizes(INBOX)
    ledger.begin_sizes(INBOX, sizes)
    sizes.tell(5, 1000, estimated=True)
    ledger.keep_sizes(INBOX, sizes)
    assert ledger.sizes(INBOX).get(5) == (1000, True)
    assert len(failures) == 1


def test_a_file_of_the_first_version_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = SqliteLedger(path)
    sizes = ledger.sizes(INBOX)
    sizes.tell(5, 1000, estimated=True)
    ledger.keep_sizes(INBOX, sizes)
    ledger.close()
    with sqlite3.connect(path) as before:
        before.execute("ALTER TABLE mailbox DROP COLUMN edition")
        before.execute("PRAGMA user_version = 1")
    before.close()
    again = SqliteLedger(path)
    known = again.sizes(INBOX)
    assert known.get(5) == (1000, True)
    again.begin_sizes(INBOX, known)
    known.tell(6, 7, estimated=True)
    again.keep_sizes(INBOX, known)
    assert SqliteLedger(path).sizes(INBOX).get(6) == (7, True)


def opens(path: Path) -> None:
    ledger = SqliteLedger(path)
    ledger.subscribe("mail/alice", "Team", True)
    ledger.close()


def test_many_processes_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        for number in range(30):
            processes.map(opens, [tmp_path / str(number)] * 4, chunksize=1)
            assert SqliteLedger(tmp_path / str(number)).subscriptions("mail/alice") == {"Team": True}
