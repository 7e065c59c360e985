"""`portico run` as processes: a worker that is killed, reloads, the end, an upgrade, sockets and messages of a service manager; under load.

Rule of this file: a scripted server behind, scripted clients in front; what must come is waited for, what must not happen is looked for in
all that clients were told.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import whole_proxy
from tests.whole_proxy import PATIENCE, soon

pytestmark = pytest.mark.live

SESSIONS = 20


class Server(whole_proxy.Server):
    """Answers OK to everything; to WAIT when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.patience = asyncio.Event()
        self.waiting = 0

    async def answer(self, command: str) -> str:
        if command == "WAIT":
            self.waiting += 1
            await self.patience.wait()
        return self.OK

    def stop(self) -> None:
        self.patience.set()
        super().stop()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.port: int = writer.get_extra_info("sockname")[1]

    @classmethod
    async def at(cls, port: int, user: str = "alice") -> Client:
        client = await cls.connected(port)
        assert " OK " in await client.say(f"a LOGIN {user} secret")
        return client

    @classmethod
    async def connected(cls, port: int) -> Client:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        assert (await client.line()).startswith("* OK")
        return client

    async def line(self) -> str:
        """Empty: the other side has closed."""
        async with asyncio.timeout(PATIENCE):
            try:
                return (await self.reader.readline()).decode().strip()
            except ConnectionError:
                return ""

    async def say(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.line()

    def close(self) -> None:
        self.writer.close()


class House:
    """One `portico run`, its settings and its log."""

    def __init__(self, directory: Path, server: Server, port: int) -> None:
        self.directory, self.server, self.behind = directory, server, port
        self.file, self.log = directory / "portico.toml", directory / "log"
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port: int = found.getsockname()[1]

    def write(self, more: str = "", workers: str = "") -> None:
        self.file.write_text(
            f"""
            [servers.main]
            imap = "127.0.0.1:{self.behind}"
            [listeners.imap]
            protocol = "imap"
            addresses = ["127.0.0.1:{self.port}"]
            tls = "none"
            plain_login = true
            server = "main"
            [log]
            level = "debug"
            file = "{self.log}"
            [workers]
            count = 2
            {workers}
            {more}
            """
        )

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "portico", "run", "-c", str(self.file)]

    @asynccontextmanager
    async def running(self, command: list[str] | None = None, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(command or self.command), env=os.environ | environment, cwd=self.directory, start_new_session=True
        )
        try:
            await self.until("proxy.started")
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # also those that have taken its place
            await process.wait()

    def events(self, name: str) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["event"] == name]

    async def until(self, event: str, count: int = 1) -> dict[str, Any]:
        """The event when it is there for the `count`th time."""
        await soon(lambda: len(self.events(event)) >= count)
        return self.events(event)[count - 1]

    def workers_of(self, clients: list[Client]) -> Counter[int]:
        """How many of these each worker has."""
        ports = {client.port for client in clients}
        return Counter(line["worker"] for line in self.events("session.connected") if line["rport"] in ports)


class Load:
    """Sessions that say NOOP all the time; `told` is all that was no OK."""

    def __init__(self, clients: list[Client]) -> None:
        self.told: list[str] = []
        self.answers = 0
        self._over = False
        self._tasks = [asyncio.create_task(self._ask(client)) for client in clients]

    async def _ask(self, client: Client) -> None:
        while not self._over:
            answer = await client.say("n NOOP")
            if not answer.startswith("n OK"):
                self.told.append(answer)
                return
            self.answers += 1
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._over = True
        await asyncio.gather(*self._tasks)

    async def more(self, answers: int) -> None:
        """Until there were so many more answers."""
        goal = self.answers + answers
        await soon(lambda: self.answers >= goal)


def play(tmp_path: Path, act: Callable[[House], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        server = Server()
        house = House(tmp_path, server, await server.start())
        house.write()
        try:
            await act(house)
        finally:
            server.stop()

    asyncio.run(all_of_it())


def test_a_worker_that_is_killed_costs_its_own_sessions_and_is_replaced(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        async with house.running() as process:
            clients = [await Client.at(house.port, f"user{number}") for number in range(SESSIONS)]
            shares = house.workers_of(clients)
            assert max(shares.values()) - min(shares[0], shares[1]) <= 6, shares  # each has its share
            load = Load(clients)
            await load.more(SESSIONS)
            os.kill(house.events("worker.started")[0]["pid"], signal.SIGKILL)
            ended = await house.until("worker.ended")
            lost = shares[ended["worker"]]
            assert (ended["text"], ended["sessions"]) == ("killed by SIGKILL", lost)
            await house.until("worker.started", 3)
            await load.more(100)
            newcomers = [await Client.at(house.port, f"newcomer{number}") for number in range(SESSIONS)]
            assert len(house.workers_of(newcomers)) == 2
            await load.stop()
            assert load.told == [""] * lost
            # One that does nothing at all is as good as dead, and is dead then.
            house.write(workers='hung = "2s"')
            process.send_signal(signal.SIGHUP)
            await house.until("settings.reloaded")
            silent = house.events("worker.started")[2]
            os.kill(silent["pid"], signal.SIGSTOP)
            await soon(lambda: silent["pid"] in [line["pid"] for line in house.events("worker.hung")])
            await house.until("worker.started", 4)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0

    play(tmp_path, act)


def test_reloads_lose_no_session_and_mistakes_change_nothing(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        async with house.running() as process:
            load = Load([await Client.at(house.port, f"user{number}") for number in range(SESSIONS)])
            with socket.create_server(("127.0.0.1", 0)) as found:
                second: int = found.getsockname()[1]
            for count in range(1, 11):
                house.write(workers=f'drain = "{count}s"')
                if count % 2:
                    text = house.file.read_text()
                    house.file.write_text(text.replace(f'"127.0.0.1:{house.port}"', f'"127.0.0.1:{house.port}", "127.0.0.1:{second}"'))
                process.send_signal(signal.SIGHUP)
                await house.until("settings.reloaded", count)
                (await Client.at(house.port, f"in_between{count}")).close()
                if count % 2:
                    for number in range(6):  # whichever worker has it
                        (await Client.at(second, f"second{number}")).close()
                else:
                    with pytest.raises(ConnectionRefusedError):
                        await Client.connected(second)
            house.file.write_text(house.file.read_text().replace('protocol = "imap"', 'protocol = "imapp"'))
            process.send_signal(signal.SIGHUP)
            rejected = await house.until("settings.rejected")
            assert "listeners.imap.protocol" in rejected["problems"][0]
            (await Client.at(house.port, "afterwards")).close()
            # A worker that is replaced gets what was accepted last, not what the file says now.
            os.kill(house.events("worker.started")[0]["pid"], signal.SIGKILL)
            await house.until("worker.started", 3)
            assert not house.events("worker.failed")
            await load.stop()
            assert set(load.told) == {""}

    play(tmp_path, act)


def test_limits_and_wrong_logins_hold_in_all_workers_together(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.write("[limits]\nsessions_per_user = 6\n")
        async with house.running():
            others = [await Client.at(house.port, f"user{number}") for number in range(6)]
            same = [await Client.at(house.port, "alice") for _ in range(6)]
            assert len(house.workers_of([*others, *same])) == 2
            one_more = await Client.connected(house.port)
            assert "NO [LIMIT]" in await one_more.say("a LOGIN alice secret")
            same.pop().close()
            async with asyncio.timeout(PATIENCE):
                while " OK " not in await one_more.say("a LOGIN alice secret"):  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(0.1)

    play(tmp_path, act)


def test_at_the_end_what_is_under_way_is_answered_and_nobody_new_is_let_in(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.write(workers='drain = "60s"')
        async with house.running() as process:
            idle = [await Client.at(house.port, f"user{number}") for number in range(SESSIONS)]
            nobody = await Client.connected(house.port)
            busy = await Client.at(house.port)
            waiting = asyncio.create_task(busy.say("w WAIT"))
            await soon(lambda: house.server.waiting == 1)
            process.send_signal(signal.SIGTERM)
            assert {await client.line() for client in [*idle, nobody]} == {"* BYE The mail proxy is shutting down."}
            with pytest.raises(ConnectionRefusedError):
                await Client.connected(house.port)
            house.server.patience.set()
            assert (await waiting).startswith("w OK")
            assert await busy.line() == "* BYE The mail proxy is shutting down."
            assert await process.wait() == 0
            assert house.events("proxy.stopped")[0]["sessions"] == 0

    play(tmp_path, act)


def test_a_second_signal_waits_for_nobody(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.write(workers='drain = "1h"')
        async with house.running() as process:
            busy = [await Client.at(house.port, f"user{number}") for number in range(4)]
            answers = [asyncio.create_task(client.say("w WAIT")) for client in busy]
            await soon(lambda: house.server.waiting == len(busy))
            process.send_signal(signal.SIGTERM)
            await house.until("proxy.stopping")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
            assert {await answer for answer in answers} <= {"", "* BYE The mail proxy is shutting down."}

    play(tmp_path, act)


def test_without_the_supervisor_the_workers_let_their_sessions_end_and_end_too(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        async with house.running() as process:
            clients = [await Client.at(house.port, f"user{number}") for number in range(4)]
            process.kill()
            assert {await client.line() for client in clients} == {"* BYE The mail proxy is shutting down."}
            await soon(lambda: not any(Path(f"/proc/{line['pid']}/fd/0").exists() for line in house.events("worker.started")))
            with pytest.raises(ConnectionRefusedError):
                await Client.connected(house.port)

    play(tmp_path, act)


def test_an_upgrade_closes_no_door_and_one_that_fails_changes_nothing(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.write(workers='upgrade_drain = "2s"')
        async with house.running() as process:
            load = Load([await Client.at(house.port, f"user{number}") for number in range(SESSIONS)])
            good = house.file.read_text()
            house.file.write_text("x = 1\n")
            process.send_signal(signal.SIGUSR2)
            failed = await house.until("proxy.upgrade_failed")
            assert "exit code 3" in failed["text"]
            house.file.write_text(good)
            process.send_signal(signal.SIGUSR2)
            refused: list[str] = []
            logins = 0
            while not house.events("proxy.upgraded") or logins < 10:
                try:
                    (await Client.at(house.port, f"passer{logins}")).close()
                except (ConnectionError, AssertionError) as error:
                    refused.append(repr(error))
                logins += 1
            new = house.events("proxy.upgraded")[0]["pid"]
            assert await process.wait() == 0
            newcomers = [await Client.at(house.port, f"newcomer{number}") for number in range(4)]
            pids = {line["pid"] for line in house.events("worker.started")[2:]}
            assert new == house.events("proxy.started")[1]["pid"] and len(pids) == 2
            await load.stop()
            # Who is never idle for the old one's last two seconds is told with the others at their end.
            assert set(load.told) <= {"* BYE The mail proxy is shutting down."}
            os.kill(new, signal.SIGTERM)
            assert {await client.line() for client in newcomers} == {"* BYE The mail proxy is shutting down."}
            assert refused == []

    play(tmp_path, act)


def nursery_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_where_no_worker_can_be_forked_any_more_another_process_takes_over(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        house.write(workers='upgrade_drain = "1s"')
        async with house.running() as process:
            os.kill(nursery_of(process.pid), signal.SIGKILL)
            await house.until("proxy.barren")
            (await Client.at(house.port)).close()
            os.kill(house.events("worker.started")[0]["pid"], signal.SIGKILL)
            assert (await house.until("proxy.upgraded"))["pid"] == house.events("proxy.started")[1]["pid"]
            assert await process.wait() == 0
            (await Client.at(house.port)).close()

    play(tmp_path, act)


LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="imap", LISTEN_PID=str(os.getpid()))
os.execv(sys.executable, [sys.executable, "-m", "portico", "run", "-c", sys.argv[2]])
"""


def test_sockets_of_a_service_manager_are_taken_and_it_is_told_how_we_are(tmp_path: Path) -> None:
    async def act(house: House) -> None:
        said: list[str] = []
        with socket.create_server(("127.0.0.1", house.port)) as ready, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(str(tmp_path / "notify"))
            manager.setblocking(False)
            asyncio.get_running_loop().add_reader(manager, lambda: said.append(manager.recv(4096).decode()))
            os.set_inheritable(ready.fileno(), True)
            # Nobody else can bind its port: that it serves there shows that it took the socket.
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-c", LAUNCHER, str(ready.fileno()), str(house.file)],
                env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"},
                pass_fds=[ready.fileno()],
                start_new_session=True,
            )
            try:
                await soon(lambda: any("READY=1" in text for text in said))
                assert f"MAINPID={process.pid}" in next(text for text in said if "READY=1" in text).split("\n")
                (await Client.at(house.port)).close()
                await soon(lambda: sum("WATCHDOG=1" in text for text in said) >= 2)
                process.send_signal(signal.SIGHUP)
                await house.until("settings.reloaded")
                await soon(lambda: sum("READY=1" in text for text in said) == 2)
                assert any(text.startswith("RELOADING=1\nMONOTONIC_USEC=") for text in said)
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
                await soon(lambda: said[-1].startswith("STOPPING=1"))
            finally:
                asyncio.get_running_loop().remove_reader(manager)
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()

    play(tmp_path, act)
