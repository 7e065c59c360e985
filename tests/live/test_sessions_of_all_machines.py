"""`who`, `show` and `kick` on all machines that share a Redis, each a `portico run` of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from portico.config.sections.shared import Shared
from portico.console.control import ControlError
from portico.errors import Secret
from portico.gate.machines import Machines

from tests.live.conftest import unpacked
from tests.live.redis_server import PASSWORD, Redis, running_redis
from tests.live.test_processes import Client, House, Server
from tests.whole_proxy import PATIENCE, soon

pytestmark = pytest.mark.live


@pytest.fixture
def redis(place: Path, project: Path) -> Iterator[Redis]:
    with running_redis(unpacked("redis", project), place / "redis-sessions") as running:
        yield running


def house(directory: Path, server: Server, port: int, redis: Redis) -> House:
    directory.mkdir()
    made = House(directory, server, port)
    (directory / "redis-url").touch(0o600)
    (directory / "redis-url").write_text(redis.url)
    made.write(f'[console]\nsocket = "ctl"\n[shared]\nredis = {{file = "redis-url"}}\nmachine = "{directory.name}"\npatience = "5s"\n')
    made.file.write_text(made.file.read_text().replace("count = 2", "count = 1"))
    return made


async def ctl(house: House, *words: str) -> tuple[int, str, str]:
    """What `portico ctl` does: the exit code, standard output and standard error."""
    reader, writer = await asyncio.open_unix_connection(str(house.directory / "ctl"), limit=1 << 20)
    writer.write(json.dumps({"words": words}).encode() + b"\n")
    said = {"out": "", "err": ""}
    while True:
        what = json.loads(await asyncio.wait_for(reader.readline(), PATIENCE))
        if "exit" in what:
            writer.close()
            return what["exit"], said["out"], said["err"]
        for name, text in what.items():
            said[name] += text


async def named(port: int, user: str, program: str) -> Client:
    client = await Client.connected(port)
    client.writer.write(f'0 ID ("name" "{program}")\r\n'.encode())
    while not (await client.line()).startswith("0 OK"):
        pass
    assert " OK " in await client.say(f"a LOGIN {user} secret")
    return client


def test_an_operator_sees_and_ends_the_sessions_of_all_machines(tmp_path: Path, redis: Redis) -> None:
    async def letters() -> None:
        server = Server()
        port = await server.start()
        one, two = (house(tmp_path / name, server, port, redis) for name in ("one", "two"))
        async with AsyncExitStack() as stack:
            await asyncio.gather(*(stack.enter_async_context(each.running()) for each in (one, two)))
            alice, bob, carol = (
                await Client.at(one.port),
                await named(two.port, "bob", "Evil\x1b]0;x\x07"),
                await Client.at(two.port, "carol"),
            )
            await soon(lambda: redis.client.zcard("portico:machines") == 2)
            # Everybody is seen from either.
            code, out, err = await ctl(one, "who", "--machines", "--json")
            assert (code, err) == (0, "")
            found = {entry["user"]: entry for entry in json.loads(out)}
            assert {user: entry["machine"] for user, entry in found.items()} == {"alice": "one", "bob": "two", "carol": "two"}
            assert found["bob"]["rport"] == bob.port
            _, shown, _ = await ctl(two, "who", "--machines")
            assert [word in shown for word in ("MACHINE", "alice", "one", "3 sessions")] == [True] * 4
            assert not any(each in shown for each in "\x1b\x07")
            # Those of the others are looked at and ended by the same words.
            shown = (await ctl(one, "show", found["bob"]["id"], "--machines", "--json"))[1]
            assert (json.loads(shown)["machine"], json.loads(shown)["lport"]) == ("two", two.port)
            assert (await ctl(one, "kick", found["bob"]["id"]))[0] == 1
            assert json.loads((await ctl(one, "kick", "--user", "bob", "--machines", "--text", "Enough", "--json"))[1]) == [
                found["bob"]["id"]
            ]
            assert await bob.line() == "* BYE Enough"
            (logged,) = [line for line in two.events("console.command") if line["verb"] == "kick"]
            assert (logged["machine"], logged["arguments"], logged["ok"]) == ("one", ["user=bob", "text=Enough"], True)
            assert logged["operator"] == one.events("console.command")[0]["operator"]
            # Nothing of it is left, and without Redis one's own are shown, and it is said.
            keys = [str(key) for key in redis.client.keys("portico:*")]
            assert keys and all(redis.client.pttl(key) != -1 for key in keys)  # -1: for ever
            redis.kill()
            code, out, err = await ctl(two, "who", "--machines", "--json")
            assert (code, [entry["user"] for entry in json.loads(out)]) == (1, ["carol"])
            assert "Redis does not answer" in err
            assert (await alice.say("b NOOP"), await carol.say("b NOOP")) == ("b OK [CAPABILITY IMAP4rev1 ID] done",) * 2
            redis.start()

            # When it is back they find each other again.
            async def again() -> list[str]:
                return sorted(entry["machine"] for entry in json.loads((await ctl(one, "who", "--machines", "--json"))[1]))

            async with asyncio.timeout(PATIENCE):
                while await again() != ["one", "two"]:  # noqa: ASYNC110 (other processes)
                    await asyncio.sleep(0.2)
            for client in (alice, carol):
                client.close()
        server.stop()
        assert all(PASSWORD not in each.log.read_text() for each in (one, two))

    asyncio.run(letters())


def test_a_machine_answers_what_it_may_and_is_named_when_it_does_not_answer(redis: Redis) -> None:
    async def letters() -> None:
        said: list[str] = []

        async def answers(verb: str, arguments: Mapping[str, Any]) -> Any:
            said.append(verb)
            if arguments.get("user") == "nobody":
                raise ControlError("there is nobody")
            return [{"id": "s1", **arguments}]

        def machine(name: str) -> Machines:
            settings = Shared(redis=Secret(redis.url.encode()), prefix="asked", patience=5.0)
            made = Machines(settings, f"{name}-1", answers, lambda fields: said.append(f"{fields['machine']} {fields['operator']}"))
            made.start()
            return made

        one, two = machine("one"), machine("two")
        now = time.time()
        redis.client.zadd("asked:machines", {"one-1": now + 100, "two-1": now + 100, "dead-1": now + 100, "gone-1": now - 1})
        await soon(lambda: len(redis.client.pubsub_channels("asked:asked:*")) == 2)
        assert await one.ask("who", {"user": "alice"}, "ann") == [
            {"machine": "one", "answer": [{"id": "s1", "user": "alice"}], "error": "", "left_out": 0},
            {"machine": "dead", "answer": None, "error": "it does not answer", "left_out": 0},
            {"machine": "two", "answer": [{"id": "s1", "user": "alice"}], "error": "", "left_out": 0},
        ]
        assert [each["error"] for each in await one.ask("kick", {"user": "nobody"}, "ann")] == [
            "there is nobody",
            "it does not answer",
            "there is nobody",
        ]
        assert said.count("one ann") == 2
        # What cannot be asked is not done, and what is no question does no harm.
        said.clear()
        for question in (
            b"\xff", b"7", b"{}", b'{"question": "x", "verb": [], "arguments": {}}', b'{"question": "x", "verb": "who", "arguments": 1}',
            b'{"question": "x", "verb": "drain", "arguments": {}}',
        ):  # fmt: skip
            assert redis.client.publish("asked:asked:two-1", question) == 1
        assert (await one.ask("show", {}, "ann"))[2]["error"] == ""
        assert sorted(said) == ["one ann", "show", "show"]
        assert redis.client.keys("asked:a:*") == []
        for each in (one, two):
            await each.close()

    asyncio.run(letters())
