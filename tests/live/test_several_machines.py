"""Several machines that share a Redis: limits, penalties and holds are theirs together, and nobody is kept out when it is away."""

from __future__ import annotations

import asyncio
import imaplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from portico.config.sections.penalties import Penalties
from portico.config.sections.shared import Shared
from portico.config.settings import Limits
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import USERS
from portico.demo.ports import wait_until
from portico.errors import Secret
from portico.gate.commons import bounds_of
from portico.gate.shared import SharedCommons

from tests.live.conftest import unpacked
from tests.live.front import Front
from tests.live.redis_server import Redis, running_redis

pytestmark = pytest.mark.live

BOUNDS = bounds_of(Limits(sessions_per_user=3, sessions_per_address=5, sessions_per_user_and_address=2), Penalties())
HERE = "192.0.2.1"
DELAY = 1.0
Answer = Callable[..., Any]


@pytest.fixture(scope="module")
def server(place: Path, project: Path) -> Iterator[Redis]:
    with running_redis(unpacked("redis", project), place / "redis") as redis:
        yield redis


# --- the commons themselves


class Machines:
    """Two machines in one process, and what they log."""

    def __init__(self, redis: Redis, prefix: str, lease: float = 8.0, patience: float = 5.0) -> None:
        self.said: list[str] = []
        settings = Shared(redis=Secret(redis.url.encode()), prefix=prefix, lease=lease, patience=patience)
        self.a, self.b = (
            SharedCommons(settings, lambda text: self.said.append(text), lambda: self.said.append("well"), machine=name) for name in "ab"
        )

    async def __aenter__(self) -> Machines:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.a.close()
        await self.b.close()


async def arrive(commons: SharedCommons, session: str, network: str = HERE) -> str | None:
    said = commons.arrive(session, network, BOUNDS)
    return said if said is None or isinstance(said, str) else await said


async def claim(commons: SharedCommons, session: str, user: str, network: str = HERE, digest: str = "") -> Any:
    said = commons.claim(session, user, network, False, digest, BOUNDS)
    return said if isinstance(said, dict) else await said


async def until(what: Answer, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not what():  # noqa: ASYNC110 (what is told comes from another process)
            await asyncio.sleep(0.02)


def test_an_address_and_a_user_have_so_many_sessions_on_all_machines(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "limits") as two:
            a, b = two.a, two.b
            assert [await arrive(where, name) for where, name in ((a, "1"), (b, "2"), (a, "3"), (b, "4"), (b, "5"))] == [None] * 5
            assert await arrive(a, "6") == "limit_address"
            b.leave("5")
            assert await arrive(a, "6") is None
            assert (await claim(a, "1", "Alice"))["refusal"] is None
            assert (await claim(b, "2", "alice"))["refusal"] is None
            assert (await claim(a, "3", "ALICE"))["refusal"] == "limit_user_address"
            assert await arrive(a, "7", "192.0.2.9") is None
            assert await arrive(b, "8", "192.0.2.8") is None
            assert (await claim(a, "7", "alice", "192.0.2.9"))["refusal"] is None
            assert (await claim(b, "8", "alice", "192.0.2.8"))["refusal"] == "limit_user"
            a.unclaim("1")
            assert (await claim(b, "8", "alice", "192.0.2.8"))["refusal"] is None
            assert two.said == []

    asyncio.run(letters())


def test_a_wrong_password_is_paid_for_on_the_other_machine_and_a_right_one_is_known_there(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "penalties") as two:
            for digest in ("aa", "bb", "bb", "bb"):
                two.a.wrong(HERE, "x", digest, BOUNDS)
            assert (await claim(two.a, "1", "bob"))["delay"] == 4.0
            assert (await claim(two.b, "2", "bob", digest="cc"))["delay"] == 4.0
            assert (await claim(two.b, "2", "bob", "192.0.2.2"))["delay"] == 0.0
            two.a.right(HERE, "bob", "cc")
            await claim(two.a, "1", "bob")
            assert (await claim(two.b, "2", "bob", digest="cc"))["delay"] == 0.0

    asyncio.run(letters())


def test_who_is_held_on_one_machine_is_held_on_all_until_any_of_them_releases_him(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "holds") as two:
            await arrive(two.b, "1")
            two.a.hold("Carol", 100)
            await until(lambda: [hold["user"] for hold in two.b.holds()] == ["Carol"])
            waits = asyncio.ensure_future(two.a.pass_hold("carol", 60))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            assert two.b.release("CAROL")
            assert await waits is True
            assert two.a.holds() == []

    asyncio.run(letters())


def test_a_machine_that_died_gives_back_what_it_held(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "death", lease=2.0) as two:
            for name in "12345":
                assert await arrive(two.a, name) is None
            assert await arrive(two.b, "6") == "limit_address"
            assert two.a._task is not None
            two.a._task.cancel()  # it says nothing any more
            await until(lambda: not server.client.exists("death:m:a"))
            assert await arrive(two.b, "6") is None

    asyncio.run(letters())


def test_every_key_has_a_time_to_live_and_none_holds_a_password(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "keys") as two:
            await arrive(two.a, "1")
            await claim(two.a, "1", "alice", digest="dd")
            two.a.wrong(HERE, "alice", "dd", BOUNDS)
            two.a.right(HERE, "alice", "ee")
            two.a.hold("bob")
            await claim(two.a, "1", "alice")
            await until(lambda: server.client.ttl("keys:holds") > 0)
            keys = {str(key): server.client.ttl(str(key)) for key in server.client.keys("keys:*")}
            assert keys.keys() == {"keys:machines", "keys:m:a", f"keys:p:{HERE}", "keys:r:ee", "keys:holds"}
            assert all(seconds > 0 for seconds in keys.values()), keys

    asyncio.run(letters())


def test_without_redis_nobody_waits_and_what_was_held_is_shared_again_afterwards(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "away") as two:
            for name in "123":
                await arrive(two.a, name)
            two.a.hold("bob")
            server.kill()
            began = time.monotonic()
            assert await arrive(two.b, "4") is None
            assert await arrive(two.a, "5") is None
            assert (await claim(two.a, "5", "dave"))["refusal"] is None
            assert time.monotonic() - began < 30
            two.a.leave("1")
            await until(lambda: len(two.said) == 2)
            server.start()
            await until(lambda: two.said.count("well") == 2)
            own = server.client.hgetall("away:m:a")
            assert own == {"id": "a", f"n:{HERE}": "3", "u:dave": "1", f"b:dave|{HERE}": "1"}
            await until(lambda: [hold["user"] for hold in two.b.holds()] == ["bob"])
            assert [await arrive(two.b, name) for name in "67"] == [None, "limit_address"]
            assert set(two.said) == {"Redis: ConnectionError", "well"}

    asyncio.run(letters())


def test_who_is_released_while_redis_is_away_stays_released_when_it_is_back(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "let", lease=2.0, patience=0.2) as two:
            two.a.begin()
            two.b.begin()
            two.a.hold("carol")
            await until(lambda: [hold["user"] for hold in two.b.holds()] == ["carol"])
            with server.hanging():
                await until(lambda: len(two.said) == 2)
                assert two.a.release("Carol")
            await until(lambda: two.said.count("well") == 2)
            await until(lambda: not server.client.hexists("let:holds", "carol"))
            await until(lambda: two.b.holds() == [])
            assert two.a.holds() == []

    asyncio.run(letters())


def test_a_redis_that_hangs_counts_as_away_and_is_used_again_when_it_answers(server: Redis) -> None:
    async def letters() -> None:
        async with Machines(server, "hangs", patience=0.2) as two:
            await arrive(two.a, "1")
            with server.hanging():
                assert await arrive(two.a, "2") is None
                assert (await claim(two.a, "2", "alice"))["refusal"] is None
                assert two.said == [two.said[0]]
            await until(lambda: two.said[-1] == "well")
            assert server.client.hgetall("hangs:m:a") == {"id": "a", f"n:{HERE}": "2", "u:alice": "1", f"b:alice|{HERE}": "1"}

    asyncio.run(letters())


# --- two Porticos


class From(imaplib.IMAP4):
    """A client at an address of loopback that nobody else comes from."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        super().__init__("127.0.0.1", port)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=60, source_address=(self._address, 0))


@pytest.fixture
def fronts(server: Redis, dovecot: Dovecot, place: Path, certificates: Any) -> Iterator[list[Front]]:
    if server._process is None:
        server.start()
    more = f"""
[shared]
redis = {{file = "redis-url"}}
prefix = "fronts"
lease = "2s"
patience = "5s"
[limits]
sessions_per_user = 2
[penalties]
delay = "{DELAY:.0f}s"
delay_max = "{DELAY:.0f}s"
[workers]
count = 1
"""
    server.client.flushdb()
    with ExitStack() as stack:
        started = []
        for number in range(2):
            directory = place / f"machine-{number}"
            directory.mkdir(exist_ok=True)
            (directory / "redis-url").touch(0o600)
            (directory / "redis-url").write_text(server.url)
            front = Front(directory, dovecot.ports, certificates, protocols=("imap",), more=more)
            stack.callback(front.stop)
            started.append(front.start())
        yield started


def sign_in(front: Front, user: str, address: str, password: str = "") -> imaplib.IMAP4:
    client = From(address, front.clear.imap)
    client.login(user, password or USERS[user])
    return client


def test_two_porticos_share_limits_and_penalties(fronts: list[Front]) -> None:
    one, two = fronts
    first, second = sign_in(one, "alice", "127.0.1.1"), sign_in(two, "alice", "127.0.1.2")
    with pytest.raises(imaplib.IMAP4.error, match="LIMIT"):
        sign_in(two, "alice", "127.0.1.3")
    first.logout()

    def room() -> bool:
        try:
            sign_in(two, "alice", "127.0.1.3").logout()
        except imaplib.IMAP4.error:
            return False
        return True

    wait_until("room for alice", room, seconds=60)
    second.logout()
    with pytest.raises(imaplib.IMAP4.error):
        sign_in(one, "bob", "127.0.1.4", "wrong")
    began = time.monotonic()
    sign_in(two, "bob", "127.0.1.4").logout()
    assert time.monotonic() - began >= DELAY


def test_redis_is_killed_under_load_and_nobody_notices_but_the_log(fronts: list[Front], server: Redis) -> None:
    ends, failures, done = threading.Event(), [], [0, 0]

    def load(number: int) -> None:
        while not ends.is_set():
            try:
                sign_in(fronts[number], ("alice", "bob")[number], f"127.0.2.{number + 1}").logout()
                done[number] += 1
            except Exception as error:
                failures.append(repr(error))
                return

    threads = [threading.Thread(target=load, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()

    def more(count: int = 10) -> None:
        before = list(done)
        wait_until("logins", lambda: failures != [] or all(now >= then + count for now, then in zip(done, before, strict=True)), seconds=60)

    try:
        more()
        server.kill()
        more()
        wait_until("it in the logs", lambda: all(front.events("commons.unavailable") for front in fronts), seconds=60)
        more()
        server.start()
        wait_until("Redis in the logs", lambda: all(front.events("commons.available") for front in fronts), seconds=60)
        more()
    finally:
        ends.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert all(len(front.events("commons.unavailable")) == 1 for front in fronts)
    machines = [f"fronts:m:{name}" for name in server.client.zrange("fronts:machines", 0, -1)]
    wait_until(
        "her last session to be given back", lambda: not any(server.client.hexists(name, "u:alice") for name in machines), seconds=60
    )
    held = [sign_in(fronts[0], "alice", "127.0.2.8"), sign_in(fronts[1], "alice", "127.0.2.9")]
    with pytest.raises(imaplib.IMAP4.error, match="LIMIT"):
        sign_in(fronts[0], "alice", "127.0.2.8")
    for client in held:
        client.logout()
    assert all(server.url not in front.log.read_text() and "between-machines" not in front.log.read_text() for front in fronts)
