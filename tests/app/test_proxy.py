"""A whole proxy on the loopback interface, in front of a scripted server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from portico.app.main import ADDRESS, SETTINGS, run
from portico.app.proxy import CannotStart, Proxy, build
from portico.config.load import load, read
from portico.observe import reference
from portico.observe.log import Log
from portico.observe.sink import Sink

from tests import whole_proxy
from tests.whole_proxy import PASSWORD, PATIENCE

VALIDATOR = jsonschema.Draft202012Validator(reference.schema())


class Server(whole_proxy.Server):
    """One that knows one password, and remembers what it heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.patience = asyncio.Event()
        """Set: WAIT is answered."""

    async def answer(self, command: str) -> str:
        self.heard.append(command)
        if command == "WAIT":
            await self.patience.wait()
        if command.startswith("LOGIN ") and PASSWORD not in command:
            return f"NO [AUTHENTICATIONFAILED] Not {command.split()[-1]}"
        return self.OK


class Client:
    """Says lines, reads lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, address: str) -> Client:
        host, _, port = address.rpartition(":")
        client = cls(*await asyncio.open_connection(host, int(port)))
        assert "OK" in await client.line()
        return client

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self.reader.readline()).decode().strip()

    async def say(self, line: str) -> str:
        self.writer.write(line.encode() + b"\r\n")
        return await self.line()


class House:
    """The directory of one test: settings file, log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "portico.toml"
        self.logfile = directory / "log"

    def write(self, server: int, addresses: list[str] | None = None, more: str = "", listener: str = "") -> None:
        self.file.write_text(
            f"""
            [servers.main]
            imap = "127.0.0.1:{server}"
            [listeners.imap]
            protocol = "imap"
            addresses = {json.dumps(addresses or ["127.0.0.1:0"])}
            tls = "none"
            plain_login = true
            server = "main"
            timeouts.connect = "60s"
            timeouts.greeting = "60s"
            {listener}
            [log]
            level = "debug"
            format = "json"
            file = "{self.logfile}"
            {more}
            """
        )

    def proxy(self) -> Proxy:
        log = Log(Sink(os.open(self.logfile, os.O_WRONLY | os.O_CREAT | os.O_APPEND), owned=True), level="debug", strict=True)
        return build(load(self.file), self.file, log=log)

    @property
    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.logfile.read_text().splitlines()]
        for line in lines:
            VALIDATOR.validate(line)
        return lines

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def play(house: House, letters: Callable[[Proxy, Server], Awaitable[None]], **settings: Any) -> Server:
    """Run `letters` with a started proxy in front of a server; stop both."""
    server = Server()

    async def all_of_it() -> None:
        house.write(await server.start(), **settings)
        proxy = house.proxy()
        await proxy.start()
        try:
            await letters(proxy, server)
        finally:
            await proxy.stop(seconds=1)
            server.stop()

    asyncio.run(all_of_it())
    return server


def test_a_session_passes_and_every_line_of_the_log_fits_the_schema(house: House) -> None:
    async def letters(proxy: Proxy, server: Server) -> None:
        client = await Client.at(proxy.addresses["imap"][0])
        assert await client.say(f'a1 LOGIN "alice" "{PASSWORD}"') == "a1 OK [CAPABILITY IMAP4rev1 ID] done"
        assert await client.say("a2 NOOP") == "a2 OK [CAPABILITY IMAP4rev1 ID] done"
        assert repr(proxy) == "<Proxy imap 1 sessions>"
        await client.say("a3 LOGOUT")

    server = play(house, letters)
    events = [line["event"] for line in house.lines]
    assert events[0] == "listener.opened" and events[1] == "proxy.started" and events[-1] == "proxy.stopped"
    succeeded, closed = house.events("login.succeeded")[0], house.events("session.closed")[0]
    assert (succeeded["user"], succeeded["method"], succeeded["server"]) == ("alice", "LOGIN", "main")
    assert (closed["reason"], closed["session"]) == ("logout", succeeded["session"])
    assert any(f'"x-session-id" "{closed["session"]}"' in line for line in server.heard)
    assert PASSWORD not in house.logfile.read_text()


def test_a_server_that_repeats_the_wrong_password_does_not_get_it_logged(house: House) -> None:
    async def letters(proxy: Proxy, server: Server) -> None:
        client = await Client.at(proxy.addresses["imap"][0])
        assert "hunter2-or-3" in await client.say('a1 LOGIN "alice" "hunter2-or-3"')

    play(house, letters, listener='limits.wrong_login_delay = "1ms"')
    failed = house.events("login.failed")[0]
    assert failed["text"] == 'Not "<secret>"' and failed["side"] == "client"
    assert "hunter2-or-3" not in house.logfile.read_text()


def test_a_reload_keeps_running_sessions_and_open_addresses(house: House) -> None:
    async def letters(proxy: Proxy, server: Server) -> None:
        address = proxy.addresses["imap"][0]
        client = await Client.at(address)
        await client.say(f'a1 LOGIN "alice" "{PASSWORD}"')
        old = proxy.generation
        house.write(1, more="[limits]\nsessions = 1\n")  # a server that is not there
        assert await proxy.reload(read)
        assert proxy.generation is not old and proxy.addresses["imap"] == [address]
        assert await client.say("a2 NOOP") == "a2 OK [CAPABILITY IMAP4rev1 ID] done"
        reader, _ = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        assert (await reader.readline()).startswith(b"* BYE [UNAVAILABLE]")  # the count went on
        await client.say("a3 LOGOUT")
        async with asyncio.timeout(PATIENCE):
            while len(proxy.sessions):  # noqa: ASYNC110 (nobody says when)
                await asyncio.sleep(0.01)
        other = await Client.at(address)
        assert "UNAVAILABLE" in await other.say(f'a1 LOGIN "alice" "{PASSWORD}"')

    play(house, letters)
    assert len(house.events("settings.reloaded")) == 1
    assert {line["reason"] for line in house.events("session.closed")} >= {"logout", "limit_sessions"}


def test_a_server_that_nobody_verifies_is_said_at_start_and_at_reload(house: House) -> None:
    unverified = '[servers.other]\nimap = "127.0.0.1:1"\ntls = "implicit"\nverify = false\nprobe = false'

    async def letters(proxy: Proxy, server: Server) -> None:
        assert await proxy.reload(read)

    play(house, letters, more=unverified)
    assert [line["server"] for line in house.events("server.unverified")] == ["other", "other"]
    assert house.events("settings.warning")


def test_a_dot_at_the_end_of_a_servers_name_is_for_the_resolver_and_not_for_its_certificate(house: House) -> None:
    house.write(1)
    text = house.file.read_text().replace('"127.0.0.1:1"', '"mail.example.org.:993"\ntls = "implicit"')
    house.file.write_text(text)
    dialling = house.proxy().generation.diallings["main:imap"]
    assert (dialling.address, dialling.server_hostname) == ("mail.example.org.:993", "mail.example.org")


def test_a_broken_file_changes_nothing(house: House) -> None:
    async def letters(proxy: Proxy, server: Server) -> None:
        old = proxy.generation
        house.file.write_text("[servers.main]\nimap = 5\n")
        assert not await proxy.reload(read)
        assert proxy.generation is old
        await Client.at(proxy.addresses["imap"][0])

    play(house, letters)
    assert len(house.events("settings.rejected")[0]["problems"]) >= 2


def test_a_reload_opens_new_addresses_closes_old_ones_and_never_those_that_stay(house: House, tmp_path: Path) -> None:
    path = tmp_path / "imap.sock"

    async def letters(proxy: Proxy, server: Server) -> None:
        tcp = free_address()
        port = server.port
        house.write(port, [tcp, f"unix:{path}"])
        assert await proxy.reload(read)
        kept = dict(proxy._open["imap"].sockets)[f"unix:{path}"][0].getsockname()
        house.write(port, [f"unix:{path}"])
        assert await proxy.reload(read)
        assert proxy.addresses["imap"] == [f"unix:{path}"] and kept == str(path)
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert (await reader.readline()).startswith(b"* OK")
        writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", int(tcp.rpartition(":")[2]))

    play(house, letters)
    assert not path.exists()
    assert len(house.events("listener.closed")) == 2


def test_a_reload_keeps_ports_that_the_system_chose_and_asks_for_new_ones_where_there_are_more(house: House) -> None:
    def again(name: str, server: Server, addresses: list[str]) -> str:
        main = f"protocol = 'imap'\ntls = 'none'\nplain_login = true\nserver = 'main'\naddresses = {json.dumps(addresses)}"
        return f"[listeners.{name}]\n{main}\n"

    async def letters(proxy: Proxy, server: Server) -> None:
        port = server.port
        (first,) = proxy.addresses["imap"]
        zero = "127.0.0.1:0"
        house.write(port, more=again("second", server, [zero]))
        assert await proxy.reload(read)
        (second,) = proxy.addresses["second"]
        assert proxy.addresses["imap"] == [first] != [second]
        house.write(port, [zero, zero], more=again("second", server, [zero]))
        assert await proxy.reload(read)
        there = proxy.addresses
        assert (first in there["imap"], there["second"], len(set(there["imap"]))) == (True, [second], 2)
        for address in (*there["imap"], second):
            await Client.at(address)
        house.write(port, [zero])
        assert await proxy.reload(read)
        assert len(proxy.addresses["imap"]) == 1 and "second" not in proxy.addresses

    play(house, letters)
    assert len(house.events("listener.closed")) == 2


def test_a_reload_that_cannot_bind_leaves_all_as_it_was(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"

        async def letters(proxy: Proxy, server: Server) -> None:
            house.write(server.port, ["127.0.0.1:0", busy])
            assert not await proxy.reload(read)
            await Client.at(proxy.addresses["imap"][0])

        play(house, letters)
    assert "in use" in house.events("settings.rejected")[0]["problems"][0]


def test_all_addresses_that_cannot_be_bound_are_named_at_once(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        busy = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in (one, two)]
        house.write(1, [*busy, "127.0.0.1:0"])

        async def start() -> None:
            await house.proxy().start()

        with pytest.raises(CannotStart) as failed:
            asyncio.run(start())
        assert failed.value.reason == "address" and len(failed.value.problems) == 2
        assert run(load(house.file), house.file) == ADDRESS
    assert house.events("proxy.failed")[0]["problems"] == failed.value.problems
    assert capfd.readouterr().err == "".join(f"portico: {text}\n" for text in failed.value.problems), "the log is a file"


def test_a_log_that_cannot_be_opened_is_a_mistake_in_the_settings(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    house.write(1)
    settings = load(house.file)
    settings = settings.model_copy(update={"log": settings.log.model_copy(update={"file": "/dev/null/log"})})
    assert run(settings) == SETTINGS
    assert json.loads(capfd.readouterr().err)["reason"] == "log"


def test_sessions_are_told_when_the_proxy_stops_and_those_that_stay_are_cut(house: House) -> None:
    said: list[str] = []

    async def letters(proxy: Proxy, server: Server) -> None:
        front = await Client.at(proxy.addresses["imap"][0])
        inside = await Client.at(proxy.addresses["imap"][0])
        await inside.say(f'a1 LOGIN "alice" "{PASSWORD}"')
        await inside.say("a2 NOOP")
        stopping = asyncio.create_task(proxy.stop(seconds=1))
        said.extend([await front.line(), await inside.line()])
        await stopping

        async def nothing(**_: Any) -> None: ...

        proxy.stop = nothing  # type: ignore[method-assign]

    play(house, letters)
    assert all(line.startswith("* BYE") for line in said)
    assert {line["reason"] for line in house.events("session.closed")} == {"shutdown"}


def test_a_command_that_is_under_way_when_the_proxy_stops_is_answered_first(house: House) -> None:
    async def letters(proxy: Proxy, server: Server) -> None:
        client = await Client.at(proxy.addresses["imap"][0])
        await client.say(f'a1 LOGIN "alice" "{PASSWORD}"')
        client.writer.write(b"a2 WAIT\r\n")
        async with asyncio.timeout(PATIENCE):
            while "WAIT" not in server.heard:  # noqa: ASYNC110 (nobody says when)
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(proxy.stop(seconds=PATIENCE))
        await asyncio.sleep(0.05)
        assert len(proxy.sessions) == 1
        server.patience.set()
        assert await client.line() == "a2 OK [CAPABILITY IMAP4rev1 ID] done"
        assert (await client.line()).startswith("* BYE")
        await stopping

        async def nothing(**_: Any) -> None: ...

        proxy.stop = nothing  # type: ignore[method-assign]

    play(house, letters)
    assert house.events("session.closed")[0]["reason"] == "shutdown"
    assert house.events("proxy.stopped")[0]["sessions"] == 0


def test_a_user_can_be_kicked(house: House) -> None:
    async def letters(proxy: Proxy, server: Server) -> None:
        client = await Client.at(proxy.addresses["imap"][0])
        await client.say(f'a1 LOGIN "alice" "{PASSWORD}"')
        assert len(proxy.kick("Good night.", user="alice")) == 1
        assert await client.line() == "* BYE Good night."

    play(house, letters)
    assert house.events("session.closed")[0]["reason"] == "kicked"


def test_a_traced_session_is_written_without_its_password(house: House, tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()

    async def letters(proxy: Proxy, server: Server) -> None:
        client = await Client.at(proxy.addresses["imap"][0])
        await client.say(f'a1 LOGIN "alice" "{PASSWORD}"')
        await client.say("a2 NOOP")
        await client.say("a3 LOGOUT")

    play(house, letters, more=f'[trace]\ndirectory = "{tmp_path / "traces"}"\nusers = ["al*"]')
    text = Path(house.events("trace.started")[0]["path"]).read_text()
    assert "C> a2 NOOP" in text and "LOGIN <hidden>" in text and PASSWORD not in text


def test_two_proxies_live_in_one_process(tmp_path: Path) -> None:
    houses = [House(tmp_path / name) for name in ("one", "two")]

    async def both() -> None:
        proxies = []
        for each in houses:
            each.directory.mkdir()
            each.write(1)
            proxies.append(each.proxy())
            await proxies[-1].start()
        clients = [await Client.at(proxy.addresses["imap"][0]) for proxy in proxies]
        assert len(clients) == 2 and [len(proxy.sessions) for proxy in proxies] == [1, 1]
        for proxy in proxies:
            await proxy.stop(seconds=1)

    asyncio.run(both())
    assert all(len(each.events("session.closed")) == 1 for each in houses)


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


async def lead(house: House, program: str, *steps: tuple[str, signal.Signals]) -> int:
    """Run `program` in a process of its own; when an event is in the log, send the signal that goes with it. The exit code."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    try:
        async with asyncio.timeout(PATIENCE):
            for event, number in steps:
                while not house.logfile.exists() or event not in house.logfile.read_text():  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(0.02)
                process.send_signal(number)
            return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


RUN = "from portico.app.main import run; from portico.config.load import load; raise SystemExit(run(load({0!r}), {0!r}))"


def test_signals_reload_and_end_the_process_with_code_zero(house: House) -> None:
    house.write(1)
    steps = ("proxy.started", signal.SIGHUP), ("settings.reloaded", signal.SIGTERM)
    assert asyncio.run(lead(house, RUN.format(str(house.file)), *steps)) == 0
    assert house.events("proxy.stopping")[0]["signal"] == "SIGTERM"


def test_a_fault_of_ours_in_a_reload_is_logged_and_ends_nothing(house: House) -> None:
    house.write(1)
    broken = "from portico.app.proxy import Proxy; Proxy._swap_listeners = lambda *_: 1 / 0; "
    steps = ("proxy.started", signal.SIGHUP), ("proxy.bug", signal.SIGTERM)
    assert asyncio.run(lead(house, broken + RUN.format(str(house.file)), *steps)) == 0
    bug = house.events("proxy.bug")[0]
    assert (bug["error"], bug["detail"]) == ("ZeroDivisionError", "worker.commit")
