"""What it costs that several machines share a Redis: logins a second, time of one, memory, and how long a session waits for the ledger.

Rule of this file: no mail is served; the commons of so many machines run in this process, against Debian's Redis (tests.live.fetch), all
on this machine. Everything ends with the run.

    PYTHONPATH=. python tests/bench/machines.py [MACHINES] [SESSIONS]
"""

from __future__ import annotations

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from portico.config.sections.penalties import Penalties
from portico.config.sections.shared import Shared
from portico.config.settings import Limits
from portico.errors import Secret
from portico.gate.commons import bounds_of
from portico.gate.shared import SharedCommons
from portico.ledger.ledger import SqliteLedger
from portico.ledger.shared import RedisLedger
from portico.session.annotations.annotation import Annotation, Mailbox, Piece

from tests.live.fetch import fetch
from tests.live.redis_server import Redis, running_redis

BOUNDS = bounds_of(Limits(sessions=1_000_000), Penalties())
AT_ONCE = 250


async def _sign_in(commons: SharedCommons, number: int) -> float:
    """A session of its own user, from one of 50,000 addresses."""
    session, network = f"s{number}", f"10.{number % 50_000 >> 8}.{number & 255}.1"
    began = time.perf_counter()
    said = commons.arrive(session, network, BOUNDS)
    if not isinstance(said, str | None):
        said = await said
    claimed = commons.claim(session, f"user{number}", network, False, f"{number:024x}", BOUNDS)
    if not isinstance(claimed, dict):
        claimed = await claimed
    assert said is None and claimed["refusal"] is None, (said, claimed)
    return time.perf_counter() - began


async def measure(redis: Redis, machines: int, sessions: int) -> None:
    faults: list[str] = []
    settings = Shared(redis=Secret(redis.url.encode()), prefix="bench", lease=60.0, patience=20.0)
    all_of_them = [SharedCommons(settings, faults.append, lambda: None, machine=f"m{number}") for number in range(machines)]
    cpu, began = redis.client.info("cpu"), time.perf_counter()
    ours = resource.getrusage(resource.RUSAGE_SELF)
    for first in range(0, sessions, AT_ONCE):
        await asyncio.gather(*(_sign_in(all_of_them[number % machines], number) for number in range(first, min(first + AT_ONCE, sessions))))
    took = time.perf_counter() - began
    after, mine = redis.client.info("cpu"), resource.getrusage(resource.RUSAGE_SELF)
    spent = sum(after[name] - cpu[name] for name in ("used_cpu_sys", "used_cpu_user"))
    own = mine.ru_utime + mine.ru_stime - ours.ru_utime - ours.ru_stime
    print(f"{machines} machines, {sessions} sessions: {sessions / took:.0f} logins/s, {AT_ONCE} at once")
    print(f"CPU per login: Redis {spent / sessions * 1e6:.0f} us, Portico's side {own / sessions * 1e6:.0f} us")
    alone = sorted([await _sign_in(all_of_them[number % machines], sessions + number) for number in range(500)])
    print(f"one login alone: {median(alone) * 1e3:.2f} ms, 99 of 100 below {alone[494] * 1e3:.2f} ms")
    print(f"memory of Redis: {redis.client.info('memory')['used_memory'] / 2**20:.0f} MiB")
    began = time.perf_counter()
    await all_of_them[0]._mirror()
    print(f"the mirror of one machine ({all_of_them[0].counts.sessions} sessions) written anew: {time.perf_counter() - began:.2f} s")
    assert faults == [], faults
    for commons in all_of_them:
        await commons.close()


def measure_ledgers(redis: Redis, directory: Path) -> None:
    """What a session waits for the memory of annotations, in a file and in Redis: the median of 500, in microseconds."""
    made = Annotation(1000, (Piece("1", b"see\r\n" * 40, 40, b"see\r\n" * 40, "start"),))
    shared = RedisLedger(Shared(redis=Secret(redis.url.encode()), prefix="bench", patience=5.0))
    for name, memory in (("SQLite file", SqliteLedger(directory / "ledger")), ("Redis", shared)):
        mailboxes = [Mailbox("mail/alice", f"folder{number}", 1) for number in range(500)]

        def told(mailbox: Mailbox, memory: SqliteLedger | RedisLedger = memory) -> None:
            sizes = memory.sizes(mailbox)
            memory.begin_sizes(mailbox, sizes)
            sizes.tell(7, 1000, estimated=True)
            memory.keep_sizes(mailbox, sizes)

        steps: dict[str, Callable[[Mailbox], object]] = {
            "judged, 20 annotated": lambda mailbox, memory=memory: memory.judged(mailbox, 100, {str(uid): made for uid in range(20)}),  # type: ignore[misc]
            "known": memory.known,
            "a size told": told,
        }
        print(name, {what: f"{median(_times(step, mailboxes)) * 1e6:.0f} us" for what, step in steps.items()})
        memory.close()


def _times(step: Callable[[Mailbox], object], mailboxes: Sequence[Mailbox]) -> list[float]:
    taken = []
    for mailbox in mailboxes:
        began = time.perf_counter()
        step(mailbox)
        taken.append(time.perf_counter() - began)
    return taken


def main(machines: int = 4, sessions: int = 100_000) -> None:
    root = fetch("redis", Path(__file__).resolve().parents[2] / ".cache" / "servers")
    with tempfile.TemporaryDirectory() as directory, running_redis(root, Path(directory)) as redis:
        asyncio.run(measure(redis, machines, sessions))
        measure_ledgers(redis, Path(directory))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
