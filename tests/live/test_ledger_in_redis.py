"""The memory of annotations in Redis keeps what the one in SQLite promises, for several machines at once, and may go away."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from portico.config.sections.shared import Shared
from portico.errors import Secret
from portico.ledger.ledger import SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.ledger.shared import LedgerAway, RedisLedger
from portico.session.annotations.annotation import NOTHING_IS_NEW, Annotation, Located, Mailbox, Piece, Told, Whole
from portico.testing.client import eventually

from tests.live.conftest import unpacked
from tests.live.redis_server import Redis, running_redis

pytestmark = pytest.mark.live

INBOX = Mailbox("mail/alice", "INBOX", 17)
PLACES = Located(200, {"1": 230, "1.1": 260}, {"1.1": 0}, {"1.1": 0})
TOLD = Told(b"\xe4nvelope", b"(structure)", b"(body)")


@pytest.fixture(scope="module")
def server(place: Path, project: Path) -> Iterator[Redis]:
    with running_redis(unpacked("redis", project), place / "redis-ledger") as redis:
        yield redis


def ledger(server: Redis, prefix: str) -> RedisLedger:
    return RedisLedger(Shared(redis=Secret(server.url.encode()), prefix=prefix, patience=20.0), longest=20.0)


def annotation(number: int, *, whole: bool = False) -> Annotation:
    block = b"see: \xe4" + b"x" * number + b"\r\n"
    return Annotation(1000, (Piece("1.1", block, 1, block, "start"),), None, Whole(900 + number, f"d{number}") if whole else None)


def ask(memory: SqliteLedger | RedisLedger, step: tuple[str, Any]) -> Any:
    """One thing that a session does, and what it is told."""
    kind, given = step
    if kind == "sizes":
        mailbox, uid, octets, estimated = given
        sizes = memory.sizes(mailbox)
        memory.begin_sizes(mailbox, sizes)
        told = sizes.tell(uid, octets, estimated=estimated)
        memory.keep_sizes(mailbox, sizes)
        return told
    if kind == "forget_sizes":
        mailbox, uids = given
        memory.sizes(mailbox).only(set(range(1, 40)) - set(uids))
    return getattr(memory, kind)(*given)


def steps(chance: random.Random, count: int) -> Iterator[tuple[str, Any]]:
    mailboxes = [INBOX, INBOX._replace(name="a b:c/\xe4"), Mailbox("mail/bob", "INBOX", 3)]
    for _ in range(count):
        mailbox, uid = chance.choice(mailboxes), chance.randint(1, 30)
        made = annotation(chance.randint(0, 9)) if chance.random() < 0.6 else None
        some = {str(each): annotation(each) if chance.random() < 0.5 else None for each in chance.sample(range(1, 40), 3)}
        shown = annotation(chance.randint(0, 2), whole=True)
        yield chance.choice(
            [
                ("judged", (mailbox, chance.randint(1, 30), some)),
                ("judged_one", (mailbox, str(uid), made)),
                ("judged_one", (mailbox, str(uid), shown)),
                ("located", (mailbox, str(uid), PLACES)),
                ("forget", (mailbox, str(uid))),
                ("gone", (mailbox, [str(uid), str(uid + 1)])),
                ("known", (mailbox,)),
                ("knows", (mailbox.account,)),
                ("growth", (mailbox.account, mailbox.name)),
                ("show", (mailbox, str(uid), shown, b"From: x\r\n" * 9, TOLD)),
                ("told", (mailbox, str(uid), shown.whole)),
                ("message", (mailbox, str(uid), shown.whole)),
                ("sizes", (mailbox, uid, chance.randint(0, 5000), chance.random() < 0.5)),
                ("forget_sizes", (mailbox, [uid])),
                ("estimated", (mailbox.account, mailbox.name)),
                ("subscribe", (mailbox.account, chance.choice("ab"), chance.random() < 0.5)),
                ("subscriptions", (mailbox.account,)),
            ]
        )


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_asked_in_whatever_order_both_memories_tell_the_same(seed: int, server: Redis) -> None:
    here, there = SqliteLedger(), ledger(server, f"same{seed}")
    gone: set[tuple[Mailbox, str]] = set()
    for number, step in enumerate(steps(random.Random(seed), 250)):
        kind, given = step
        if kind == "gone":
            gone |= {(given[0], uid) for uid in given[1]}
        if kind in ("told", "message") and (given[0], given[1]) in gone:
            continue  # Redis keeps what nobody asks for any more until its time has passed
        assert ask(there, step) == ask(here, step), (number, step)


def test_a_mailbox_with_another_uidvalidity_is_another_one_and_the_old_one_goes(server: Redis) -> None:
    memory, newer = ledger(server, "validity"), INBOX._replace(uid_validity=18)
    memory.judged(INBOX, 40, {"7": annotation(1)})
    assert memory.known(newer).watermark == 0
    memory.judged(newer, 3, {})
    assert dict(memory.known(INBOX).annotations) == {}
    assert memory.growth("mail/alice", "INBOX") == 0


def test_every_key_has_a_time_to_live(server: Redis) -> None:
    memory = ledger(server, "ttl")
    for step in steps(random.Random(99), 200):
        ask(memory, step)
    keys = {str(key): server.client.ttl(str(key)) for key in server.client.keys("ttl:*")}
    assert len(keys) > 8
    assert all(seconds > 0 for seconds in keys.values()), keys


def test_two_machines_that_tell_sizes_at_once_tell_the_same(server: Redis) -> None:
    told: list[dict[int, int]] = [{}, {}]
    start = threading.Barrier(2)

    def tell(which: int) -> None:
        memory, chance = ledger(server, "race"), random.Random(which)
        start.wait(30)
        for uid in range(1, 150):
            told[which][uid] = ask(memory, ("sizes", (INBOX, uid, chance.randint(1, 1 << 40), True)))

    threads = [threading.Thread(target=tell, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told[0] == told[1]
    assert len(told[0]) == 149


def test_what_one_machine_told_the_other_knows_also_in_a_mailbox_that_it_has_open(server: Redis) -> None:
    one, other = ledger(server, "open"), ledger(server, "open")
    mine, yours = one.sizes(INBOX), other.sizes(INBOX)
    one.begin_sizes(INBOX, mine)
    assert mine.tell(5, 1000, estimated=True) == 1000
    one.keep_sizes(INBOX, mine)
    other.begin_sizes(INBOX, yours)
    assert yours.tell(5, 2000, estimated=False) == 1000
    other.keep_sizes(INBOX, yours)


def test_who_died_with_a_lock_holds_nobody_up_for_long(server: Redis) -> None:
    now = [0.0]
    settings = Shared(redis=Secret(server.url.encode()), prefix="lock", patience=10.0)
    dead, lives = (
        RedisLedger(settings, longest=10.0),
        RedisLedger(settings, lambda: now.__setitem__(0, now[0] + 0.1) or now[0], longest=10.0),
    )
    dead.begin_sizes(INBOX, dead.sizes(INBOX))
    sizes = lives.sizes(INBOX)
    with pytest.raises(LedgerAway, match="locked"):
        lives.begin_sizes(INBOX, sizes)
    (lock,) = server.client.keys("lock:k:*")
    assert 0 < server.client.pttl(str(lock)) <= 2000
    server.client.delete(str(lock))
    lives.begin_sizes(INBOX, sizes)
    lives.keep_sizes(INBOX, sizes)


def test_without_redis_a_new_message_is_shown_as_it_is_and_stays_so(server: Redis) -> None:
    failures: list[str] = []
    now = [0.0]
    memory = SafeLedger(
        RedisLedger(Shared(redis=Secret(server.url.encode()), prefix="gone", patience=20.0), lambda: now[0], longest=20.0),
        failures.append,
        lambda: now[0],
    )
    memory.judged(INBOX, 40, {"7": annotation(1)})
    server.kill()
    assert memory.known(INBOX).watermark == NOTHING_IS_NEW
    assert memory.judged_one(INBOX, "41", annotation(2)) is None
    assert failures == ["LedgerAway: Redis: ConnectionError"]
    server.start()
    now[0] = 60.0
    assert memory.judged_one(INBOX, "42", annotation(3)) == annotation(3)
    assert "41" not in memory.known(INBOX).annotations
    assert len(failures) == 1


def test_a_redis_that_hangs_makes_sessions_wait_once_in_a_while_and_no_more(server: Redis) -> None:
    now = [0.0]
    memory = RedisLedger(Shared(redis=Secret(server.url.encode()), prefix="hangs"), lambda: now[0])
    with server.hanging():
        with pytest.raises(LedgerAway, match="TimeoutError"):
            memory.known(INBOX)
        for _ in range(1000):  # each would take a quarter of a second
            with pytest.raises(LedgerAway, match="a moment ago"):
                memory.known(INBOX)
    now[0] = 60.0
    assert eventually(lambda: known_again(memory, now))


def known_again(memory: RedisLedger, now: list[float]) -> bool:
    now[0] += 60.0
    try:
        return memory.known(INBOX).watermark == 0
    except LedgerAway:  # a slow machine
        return False
