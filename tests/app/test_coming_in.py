"""A whole proxy: who may come in, as whom, and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from portico.app.proxy import Proxy
from portico.gate.commons import LocalCommons
from portico.gate.limits import _REFUSALS

from tests.whole_proxy import PATIENCE, port_of, proxy_with, soon


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An IMAP server where the password is "right"."""
    writer.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
    while line := await reader.readline():
        tag, name = line.split()[:2]
        if name == b"LOGIN" and b"right" not in line:
            writer.write(tag + b" NO [AUTHENTICATIONFAILED] wrong\r\n")
        else:
            writer.write((b"* CAPABILITY IMAP4rev1\r\n" if name == b"CAPABILITY" else b"") + tag + b" OK done\r\n")
    writer.close()


class House:
    """The proxy, and what is to be seen of it."""

    def __init__(self, proxy: Proxy, log: Path) -> None:
        self.proxy, self.log = proxy, log

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port_of(self.proxy))

    def events(self, name: str) -> list[dict[str, object]]:
        text = self.log.read_text()
        lines = map(json.loads, text[: text.rfind("\n") + 1].splitlines())  # the last one may be half written
        return [line for line in lines if line["event"] == name]


@asynccontextmanager
async def house_with(path: Path, more: str) -> AsyncIterator[House]:
    async with proxy_with(path, more, serve=serve) as proxy:
        yield House(proxy, path / "log")


async def answer(reader: asyncio.StreamReader, tag: bytes) -> bytes:
    async with asyncio.timeout(PATIENCE):
        while not (line := await reader.readline()).startswith(tag):
            assert line, "closed"
    return line


def test_a_held_users_login_goes_on_when_he_is_released_and_others_do_not_wait(tmp_path: Path) -> None:
    async def play() -> None:
        async with house_with(tmp_path, "") as house:
            commons = house.proxy.commons
            assert isinstance(commons, LocalCommons)
            commons.hold("alice")
            (held, asks), (free, says) = await house.client(), await house.client()
            asks.write(b"a1 LOGIN Alice right\r\n")
            await soon(lambda: commons.holds()[0]["waiting"] == 1)
            says.write(b"b1 LOGIN bob right\r\n")
            assert b"b1 OK" in await answer(free, b"b1")
            assert commons.holds()[0]["waiting"] == 1 and not [e for e in house.events("login.succeeded") if e["user"] == "Alice"]
            commons.release("alice")
            assert b"a1 OK" in await answer(held, b"a1")
            for writer in (asks, says):
                writer.close()

    asyncio.run(play())


def test_a_login_that_is_held_too_long_is_told_to_come_back(tmp_path: Path) -> None:
    async def play() -> None:
        async with house_with(tmp_path, '[listeners.imap.timeouts]\nheld = "50ms"') as house:
            commons = house.proxy.commons
            commons.hold("alice", None)
            reader, writer = await house.client()
            writer.write(b"a1 LOGIN alice right\r\n")
            assert (await answer(reader, b"a1")).startswith(b"a1 NO [UNAVAILABLE] Your mail is being moved")
            await soon(lambda: [event["reason"] for event in house.events("login.failed")] == ["held"])
            commons.release("alice")
            writer.write(b"a2 LOGIN alice right\r\n")
            assert b"a2 OK" in await answer(reader, b"a2")
            writer.close()

    asyncio.run(play())


def test_who_leaves_while_he_is_held_is_counted_no_more(tmp_path: Path) -> None:
    async def play() -> None:
        async with house_with(tmp_path, "") as house:
            commons = house.proxy.commons
            assert isinstance(commons, LocalCommons)
            commons.hold("alice")
            _, writer = await house.client()
            writer.write(b"a1 LOGIN alice right\r\n")
            await soon(lambda: commons.holds()[0]["waiting"] == 1)
            (session,) = house.proxy.kick("go", user="alice")
            await soon(lambda: commons.counts.sessions == 0)
            await soon(lambda: commons.holds()[0]["waiting"] == 0)
            assert session and not commons.counts.users
            writer.close()

    asyncio.run(play())


def test_a_wrong_password_costs_the_address_that_a_trusted_proxy_says_and_no_other(tmp_path: Path) -> None:
    async def play() -> None:
        more = 'trusted_networks = ["127.0.0.1"]\nlimits = { wrong_login_delay = "0s" }\n[penalties]\ndelay = "50ms"'
        async with house_with(tmp_path, more) as house:
            commons = house.proxy.commons
            assert isinstance(commons, LocalCommons)
            reader, writer = await house.client()
            writer.write(b'a1 ID ("x-originating-ip" "2001:db8::9")\r\na2 LOGIN alice wrong\r\n')
            assert b"a2 NO" in await answer(reader, b"a2")
            await soon(lambda: house.events("login.failed"))
            (event,) = house.events("login.failed")
            assert (event["rip"], event["real_rip"]) == ("2001:db8::9", "127.0.0.1")
            assert list(commons.counts.networks.values()) == [1]
            bounds = {"first": 2.0, "longest": 15.0, "step": 900.0}
            network = next(iter(commons.counts.networks))
            assert commons.penalties.delay(network, "", **bounds) == 2.0 and commons.penalties.delay("127.0.0.1", "", **bounds) == 0.0
            writer.close()
            await soon(lambda: commons.counts.sessions == 0 and not commons.counts.networks)

    asyncio.run(play())


def test_of_many_who_may_not_come_in_some_are_said_and_all_are_counted(tmp_path: Path) -> None:
    async def play() -> None:
        async with house_with(tmp_path, 'proxy_protocol = ["192.0.2.0/24"]') as house:
            house.proxy.generation.clock = lambda: 100.0
            for _ in range(25):
                reader, writer = await house.client()
                assert await reader.read() == b""
                writer.close()
            counts = house.proxy.generation.gate.counts
            await soon(lambda: counts.refused["not_listed"] == 25)
            await soon(lambda: len(house.events("listener.refused")) >= 10)
            said = [(event["reason"], event["rip"]) for event in house.events("listener.refused")]
            assert said == [("not_listed", "127.0.0.1")] * 10 and counts.sessions == 0

    asyncio.run(play())


def test_every_reason_to_refuse_is_on_the_page_about_limits(project: Path) -> None:
    page = (project / "docs" / "how-to" / "limits-and-penalties.md").read_text("utf-8")
    assert [word for word in _REFUSALS if f"| `{word}` |" not in page] == []
