"""The verbs of an operator, asked of one process with real sessions in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from portico.app.control import LocalControl
from portico.app.proxy import Proxy, build
from portico.config.load import load
from portico.console.control import ControlError, merge
from portico.observe.log import Log
from portico.observe.sink import open_file

PASSWORD = "through-the-looking-glass"
PATIENCE = 60.0


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An IMAP server that knows one password and answers OK to the rest."""
    writer.write(b"* OK [CAPABILITY IMAP4rev1 ID] ready\r\n")
    while line := (await reader.readline()).decode().strip():
        tag, _, command = line.partition(" ")
        if command.startswith("CAPABILITY"):
            writer.write(b"* CAPABILITY IMAP4rev1 ID\r\n")
        wrong = command.startswith("LOGIN") and PASSWORD not in command
        writer.write(f"{tag} {'NO' if wrong else 'OK'} done\r\n".encode())
    writer.close()


class Client:
    """One session of `user`, signed in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, port: int, user: str) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        await client.line()
        assert (await client.says(f"a LOGIN {user} {PASSWORD}"))[-1].startswith("a OK")
        return client

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), PATIENCE)).decode()

    async def says(self, command: str) -> list[str]:
        """The answer, up to its tagged line."""
        self.writer.write(command.encode() + b"\r\n")
        lines = [await self.line()]
        while lines[-1] and not lines[-1].startswith(command.partition(" ")[0] + " "):
            lines.append(await self.line())
        return lines


@asynccontextmanager
async def proxy_with(path: Path, more: str = "", plugins: dict[str, Any] | None = None) -> AsyncIterator[Proxy]:
    """A proxy on a free port in front of a server."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    file = path / "portico.toml"
    file.write_text(
        f"""
        [servers.main]
        imap = "127.0.0.1:{port}"
        probe = false
        [listeners.imap]
        protocol = "imap"
        addresses = ["127.0.0.1:0"]
        tls = "none"
        plain_login = true
        server = "main"
        {more}
        """
    )
    log = Log(open_file(str(path / "log")), level="debug")
    proxy = build(load(file), file, log=log, plugins=plugins)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(seconds=0.05)
        server.close()
        log.close()


def port_of(proxy: Proxy) -> int:
    return int(proxy.addresses["imap"][0].rpartition(":")[2])


async def soon(what: Callable[[], bool]) -> bool:
    async with asyncio.timeout(PATIENCE):
        while not what():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return True


def test_who_tells_of_each_session_and_filters_by_what_is_asked(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path) as proxy:
            control = LocalControl(proxy, worker=3)
            alice, bob = await Client.of(port_of(proxy), "alice"), await Client.of(port_of(proxy), "bob")
            found = {entry["user"]: entry for entry in await control.ask("who", {})}
            assert set(found) == {"alice", "bob"}
            assert found["alice"]["server"] == "main"
            assert found["alice"]["state"] == "tunnel"
            assert found["alice"]["worker"] == 3
            assert found["alice"]["rip"] == "127.0.0.1"
            assert found["alice"]["bytes_in"] > 0 < found["alice"]["bytes_out"]
            assert [entry["user"] for entry in await control.ask("who", {"user": "ALICE"})] == ["alice"]
            assert await control.ask("who", {"user": "ali"}) == []
            assert len(await control.ask("who", {"address": "127.0.0.1", "protocol": "imap", "server": "main"})) == 2
            assert await control.ask("who", {"idle": 3600}) == []
            shown = await control.ask("show", {"id": found["bob"]["id"]})
            assert shown["method"] == "LOGIN"
            assert shown["address"].startswith("127.0.0.1:")
            assert await control.ask("show", {"id": "nobody"}) is None
            for client in (alice, bob):
                client.writer.close()

    asyncio.run(tried())


def test_who_is_kicked_is_told_and_others_stay(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path) as proxy:
            control = LocalControl(proxy)
            alice, bob = await Client.of(port_of(proxy), "alice"), await Client.of(port_of(proxy), "bob")
            (entry,) = await control.ask("who", {"user": "alice"})
            assert await control.ask("kick", {"user": "alice", "text": "Come back in an hour."}) == [entry["id"]]
            assert await alice.line() == "* BYE Come back in an hour.\r\n"
            assert (await bob.says("b NOOP"))[-1] == "b OK done\r\n"
            with pytest.raises(ControlError, match="whom to kick must be said"):
                await control.ask("kick", {})
            assert len(await control.ask("kick", {"all": True})) == 1

    asyncio.run(tried())


def test_counters_go_up_and_never_down_when_a_session_ends(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path) as proxy:
            control = LocalControl(proxy)
            alice = await Client.of(port_of(proxy), "alice")
            before = await control.ask("stats", {})
            assert (before["sessions"], before["logins"], before["states"]["tunnel"]) == (1, 1, 1)
            alice.writer.close()
            assert await soon(lambda: not len(proxy.sessions))
            after = await control.ask("stats", {})
            assert (after["sessions"], after["logins"], after["closed"]) == (0, 1, 1)
            assert after["bytes_in"] >= before["bytes_in"] > 0
            assert after["bytes_out"] >= before["bytes_out"] > 0

    asyncio.run(tried())


def test_a_reload_says_what_is_wrong_and_keeps_what_holds(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path) as proxy:
            control = LocalControl(proxy)
            assert (await control.ask("reload", {}))["sessions"] == 0
            file = tmp_path / "portico.toml"
            file.write_text(file.read_text().replace("plain_login", "plain_logon"))
            with pytest.raises(ControlError) as caught:
                await control.ask("reload", {})
            assert any("plain_logon" in line for line in caught.value.details)

    asyncio.run(tried())


def test_settings_are_shown_without_their_secrets(tmp_path: Path) -> None:
    async def tried() -> None:
        more = '[servers.other]\nimap = "127.0.0.1:1"\nmaster_user = "m"\nmaster_password = "swordfish"\nprobe = false'
        async with proxy_with(tmp_path, more) as proxy:
            said = await LocalControl(proxy).ask("settings", {})
            assert 'master_password = "<secret>"' in said["text"]
            assert "swordfish" not in said["text"]

    asyncio.run(tried())


def test_the_level_of_the_log_is_changed_until_the_next_reload(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path, '[log]\nlevel = "warning"') as proxy:
            control = LocalControl(proxy)
            assert await control.ask("log_level", {}) == {"level": "debug", "before": "debug"}
            assert await control.ask("log_level", {"level": "error"}) == {"level": "error", "before": "debug"}
            assert not proxy.log.enabled("settings.warning")
            with pytest.raises(ControlError, match="one of debug"):
                await control.ask("log_level", {"level": "loud"})
            proxy.log.set_level("debug")

    asyncio.run(tried())


def test_a_user_is_held_and_let_go(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path) as proxy:
            control = LocalControl(proxy)
            assert await control.ask("hold", {"user": "alice", "seconds": 3600}) == {"user": "alice", "seconds": 3600}
            assert [entry["user"] for entry in await control.ask("holds", {})] == ["alice"]
            login = asyncio.create_task(Client.of(port_of(proxy), "alice"))
            other = await Client.of(port_of(proxy), "bob")
            assert not login.done()
            assert await control.ask("release", {"user": "alice"}) is True
            (await login).writer.close()
            other.writer.close()
            assert await control.ask("release", {"user": "alice"}) is False

    asyncio.run(tried())


def test_a_verb_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    async def tried() -> None:
        async with proxy_with(tmp_path) as proxy:
            control = LocalControl(proxy)
            with pytest.raises(ControlError, match="nobody here knows"):
                await control.ask("dance", {})
            with pytest.raises(ControlError, match="cannot be ended from here"):
                await control.ask("drain", {})

    asyncio.run(tried())


def test_answers_of_several_workers_become_one() -> None:
    assert merge("who", [[{"id": "a"}], [], [{"id": "b"}]]) == [{"id": "a"}, {"id": "b"}]
    assert merge("show", [None, {"id": "a"}]) == {"id": "a"}
    stats = merge("stats", [{"logins": 2, "states": {"tunnel": 1}, "seconds": 5.0}, {"logins": 3, "states": {"watch": 4}, "seconds": 2.0}])
    assert stats == {"logins": 5, "states": {"tunnel": 1, "watch": 4}, "seconds": 5.0}
    well = {"server": "m", "protocol": "imap", "address": "a", "state": "well", "sessions": 2, "last_error": "", "last_seconds": 0.2}
    ill = well | {"state": "failing", "sessions": 1, "last_error": "refused", "last_seconds": 0.1}
    assert merge("servers", [[well], [ill]]) == [ill | {"sessions": 3, "last_seconds": 0.2}]
    since = [[well | {"last_failure": ago, "opens_in": ago}] for ago in (None, 7.0, 5.0)]
    assert merge("servers", since) == [well | {"sessions": 6, "last_failure": 5.0, "opens_in": 7.0}]
    with pytest.raises(ControlError, match="no worker answers"):
        merge("who", [])
