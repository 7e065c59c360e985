"""The console of `portico run`: what an operator says reaches every worker, and those that come later."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.live.test_processes import SESSIONS, Client, House, play
from tests.whole_proxy import PATIENCE, soon

pytestmark = pytest.mark.live


def with_console(house: House) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="ann")
    (house.directory / "operators").write_bytes(key.export_public_key())
    house.write(
        '[console]\naddress = "127.0.0.1:0"\nauthorized_keys = "operators"\nhost_key = "console.key"\nsocket = "ctl"\nact = ["ann"]\n'
    )
    return key


async def ctl(house: House, *words: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "portico", "ctl", "--socket", str(house.directory / "ctl"), *words, "--json", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    return json.loads(out)


def test_an_operator_sees_and_ends_the_sessions_of_all_workers(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        key = with_console(house)
        async with house.running() as process:
            clients = {f"user{number}": await Client.at(house.port, f"user{number}") for number in range(SESSIONS)}
            port = int((await house.until("console.opened"))["address"].rpartition(":")[2])
            await house.until("console.opened", 2)
            async with asyncssh.connect(
                "127.0.0.1", port, username="admin", client_keys=[key], known_hosts=None, agent_path=None, config=None
            ) as ssh:

                async def said(command: str) -> str:
                    done = await asyncio.wait_for(ssh.run(command), PATIENCE)
                    assert done.exit_status == 0, (command, done.stderr)
                    return str(done.stdout)

                found = json.loads(await said("who --json"))
                assert {entry["user"] for entry in found} == clients.keys()
                assert {entry["worker"] for entry in found} == {0, 1}
                stats = json.loads(await said("stats --json"))
                assert (stats["sessions"], stats["logins"], stats["workers"]) == (SESSIONS, SESSIONS, 2)
                assert (await ctl(house, "stats"))["sessions"] == SESSIONS
                # One of each worker, by its id.
                for worker in (0, 1):
                    entry = next(entry for entry in found if entry["worker"] == worker)
                    assert json.loads(await said(f"show {entry['id']} --json"))["rport"] == clients[entry["user"]].port
                    assert json.loads(await said(f"kick {entry['id']} --text Enough --json")) == [entry["id"]]
                    assert await clients.pop(entry["user"]).line() == "* BYE Enough"
                # A trace of a user is one of all workers, also of sessions that come later.
                tracing = await ssh.create_process("trace late --json")
                lates, shown = [], ""
                while "n9 OK" not in shown:  # one that came before the trace had reached its worker is of no use
                    lates.append(await Client.at(house.port, "late"))
                    assert (await lates[-1].say("n9 NOOP")).startswith("n9 OK")
                    try:
                        async with asyncio.timeout(0.3):
                            while "n9 OK" not in shown:
                                shown += str(await tracing.stdout.readline())
                    except TimeoutError:
                        continue
                assert "secret" not in shown
                tracing.close()
                # What is set holds in a worker that takes another's place.
                await said("servers --drain main")
                os.kill(house.events("worker.started")[0]["pid"], signal.SIGKILL)
                await house.until("worker.started", 3)
                newcomers = [await Client.connected(house.port) for _ in range(4)]
                for newcomer in newcomers:
                    assert "NO [UNAVAILABLE]" in await newcomer.say("a LOGIN newcomer secret")
                await said("servers --undrain main")
                assert (await newcomers[0].say("b LOGIN newcomer secret")).startswith("b OK")
                # The end, as by a signal.
                await said("drain --within 1s --yes")
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            assert not (house.directory / "ctl").exists()
            verbs = [(line["operator"], line["verb"], line["ok"]) for line in house.events("console.command")]
            assert ("ann", "kick", True) in verbs

    play(tmp_path, act)


def test_the_console_follows_a_reload_and_an_upgrade(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        with_console(house)
        async with house.running() as process:
            await house.until("console.opened", 2)
            without = house.file.read_text().replace('address = "127.0.0.1:0"', "")
            house.file.write_text(without.replace("count = 2", "count = 3"))
            assert "warning: workers.count = 3 waits for a restart or an upgrade\n" in await ctl_reload(house)
            house.file.write_text(without)
            assert "workers.count" not in await ctl_reload(house)
            assert "opened" in str(house.events("console.opened")[-1]["event"])
            process.send_signal(signal.SIGUSR2)
            await house.until("proxy.upgraded")
            await house.until("proxy.stopped")  # a connection that the old one still took is ended with it
            alice = await Client.at(house.port)
            await soon(lambda: (house.directory / "ctl").exists())
            assert [entry["user"] for entry in await ctl(house, "who")] == ["alice"]
            alice.close()

    play(tmp_path, act)


async def ctl_reload(house: House) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "portico", "ctl", "--socket", str(house.directory / "ctl"), "reload", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    assert b"new sessions have these settings" in out
    return out.decode()
