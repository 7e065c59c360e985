"""What a client has been shown is remembered: across sessions, restarts and processes."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from portico.errors import SettingsError
from portico.ledger.ledger import SqliteLedger
from portico.session.annotations.annotation import Annotation, Located, Mailbox, Piece, Told, Whole

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
    assert known.annotations == {"7": MADE}


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


def test_nobody_else_may_read_what_is_remembered_of_mail(tmp_path: Path) -> None:
    """Names, subjects and whole messages are in it, also in what SQLite puts beside it while it is used."""
    ledger = SqliteLedger(tmp_path / "l")
    ledger.judged(INBOX, 40, {"7": MADE})
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == dict.fromkeys(["l", "l-shm", "l-wal"], "0o600")
    ledger.close()
    (tmp_path / "l").chmod(0o640)  # as its owner wants it: that stays
    SqliteLedger(tmp_path / "l").close()
    assert (tmp_path / "l").stat().st_mode & 0o777 == 0o640


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


TOLD = Told(b'("text" "plain" NIL NIL NIL "7bit" 5 1)', b"body", b"(NIL {2}\r\n\xc3\xa4)")


def whole(digest: str = "d", size: int = 40) -> Annotation:
    return Annotation(1000, (), None, Whole(size, digest))


def test_a_transformed_message_is_kept_with_what_is_told_of_it(path: Path | None) -> None:
    ledger, made = SqliteLedger(path), whole()
    assert made.whole is not None
    ledger.show(INBOX, "7", made, b"Subject: x\r\n\r\n\xe4\r\n", TOLD)
    assert ledger.known(INBOX).annotations == {}  # until it is judged
    known = ledger.judged(INBOX, 40, {"7": made, "8": MADE})
    assert known.annotations == {"7": made, "8": MADE}
    assert known.wholes
    assert ledger.message(INBOX, "7", made.whole) == b"Subject: x\r\n\r\n\xe4\r\n"
    assert ledger.told(INBOX, "7", made.whole) == TOLD
    assert ledger.message(INBOX, "8", made.whole) is None
    assert ledger.message(INBOX, "7", Whole(40, "another")) is None
    assert not ledger.judged(INBOX._replace(name="Other"), 1, {"8": MADE}).wholes


def test_a_message_that_became_shorter_takes_nothing_from_the_sum(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": whole(size=10), "8": whole(size=1500)})
    assert ledger.growth("mail/alice", "INBOX") == 500


def test_the_oldest_messages_go_where_there_is_no_room_and_what_is_told_of_them_stays(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    messages = {str(uid): random.Random(uid).randbytes(1000) for uid in range(20)}
    ledger.keep(10_500)
    for uid, message in messages.items():
        ledger.show(INBOX, uid, whole(uid), message, TOLD)
    kept = [uid for uid in messages if ledger.message(INBOX, uid, Whole(40, uid)) == messages[uid]]
    assert 5 <= len(kept) <= 10
    assert kept == list(messages)[-len(kept) :]
    assert all(ledger.told(INBOX, uid, Whole(40, uid)) == TOLD for uid in messages)
    ledger.show(INBOX, "0", whole("0"), messages["0"], TOLD)
    assert ledger.message(INBOX, "0", Whole(40, "0")) == messages["0"]
    ledger.keep(0)
    assert not any(ledger.message(INBOX, uid, Whole(40, uid)) for uid in messages)


def test_with_its_mailbox_a_transformed_message_goes(path: Path | None) -> None:
    ledger, made = SqliteLedger(path), whole()
    assert made.whole is not None
    ledger.show(INBOX, "7", made, b"x", TOLD)
    ledger.judged(INBOX._replace(uid_validity=18), 3, {})
    assert ledger.told(INBOX, "7", made.whole) is None


def test_a_restart_keeps_transformed_messages(tmp_path: Path) -> None:
    made = whole()
    assert made.whole is not None
    ledger = SqliteLedger(tmp_path / "l")
    ledger.show(INBOX, "7", made, b"octets", TOLD)
    ledger.judged(INBOX, 40, {"7": made})
    ledger.close()
    again = SqliteLedger(tmp_path / "l")
    assert again.known(INBOX).annotations == {"7": made}
    assert again.message(INBOX, "7", made.whole) == b"octets"


def test_sizes_told_are_shared_by_sessions_and_outlive_the_process(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    sizes = ledger.sizes(INBOX)
    assert ledger.sizes(INBOX) is sizes
    sizes.tell(7, 1000, estimated=True)
    sizes.tell(8, 2000, estimated=False)
    ledger.keep_sizes(INBOX, sizes)
    later = SqliteLedger(tmp_path / "ledger.sqlite")
    assert later.sizes(INBOX).tell(7, 5, estimated=False) == 1000
    assert later.sizes(INBOX).get(8) == (2000, False)
    assert later.estimated("mail/alice", "INBOX") == 1000
    assert later.estimated("mail/bob", "INBOX") == 0
    assert len(later.sizes(INBOX._replace(uid_validity=18))) == 0


def test_subscriptions_that_the_proxy_keeps_outlive_the_process(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.subscribe("public//alice", "Team", False)
    ledger.subscribe("public//alice", "Notices", True)
    ledger.subscribe("public//alice", "Team", True)
    assert SqliteLedger(tmp_path / "ledger.sqlite").subscriptions("public//alice") == {"Team": True, "Notices": True}
    assert ledger.subscriptions("public//bob") == {}


def test_of_two_sessions_that_judge_at_once_the_first_is_right(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {})
    known = ledger.judged(INBOX, 40, {"40": MADE})  # it has been shown as it is
    assert known.annotations == {}
    assert ledger.judged(INBOX, 41, {"41": MADE}).annotations == {"41": MADE}


def test_what_has_left_the_mailbox_is_not_kept(path: Path | None) -> None:
    ledger = SqliteLedger(path)
    ledger.judged(INBOX, 40, {"7": MADE, "8": MADE})
    ledger.gone(INBOX, ["7"])
    assert ledger.known(INBOX).annotations == {"8": MADE}
    assert ledger.growth("mail/alice", "INBOX") == MADE.octets
