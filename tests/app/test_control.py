"""The verbs of an operator, asked of one process with real sessions in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from portico.app.control import LocalControl
from portico.console.control import ControlError, merge

from tests.whole_proxy import Client, port_of, proxy_with, soon


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
            await soon(lambda: proxy.commons.holds()[0]["waiting"] == 1)  # type: ignore[index]
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
