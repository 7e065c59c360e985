"""What is counted where it happens, and asked for over HTTP: a whole proxy in front of a scripted server."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import pytest
from portico.app.control import LocalControl
from portico.app.metrics_service import MetricsService
from portico.app.proxy import Proxy, build
from portico.config.load import read
from portico.config.settings import Portico
from portico.observe.log import Log
from portico.observe.metrics import METRICS, Samples
from portico.observe.sink import Sink
from portico.observe.totals import row
from portico.plugin import Interests
from portico.plugin import hookimpl as hook
from portico.workers.doors import Doors
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from tests import whole_proxy
from tests.whole_proxy import PATIENCE, settings_text


class Server(whole_proxy.Server):
    """Any password but "wrong" is right, and there is no ninth message."""

    async def answer(self, command: str) -> str:
        if command.startswith("LOGIN ") and "wrong" in command:
            return "NO [AUTHENTICATIONFAILED] no"
        return "BAD no such message" if command == "FETCH 9 FLAGS" else self.OK


class Client:
    @classmethod
    async def at(cls, address: str) -> Client:
        client = cls()
        host, _, port = address.rpartition(":")
        client.reader, client.writer = await asyncio.open_connection(host, int(port))
        assert (await client.line()).startswith("* OK")
        return client

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self.reader.readline()).decode().strip()

    async def say(self, line: str) -> str:
        """The tagged answer."""
        self.writer.write(line.encode() + b"\r\n")
        while not (said := await self.line()).startswith(f"{line.partition(' ')[0]} "):
            assert said
        return said

    async def end(self) -> None:
        await self.say("z LOGOUT")
        assert await self.line() == ""
        self.writer.close()


class Watching:
    """A plugin that looks at NOOP, and so keeps sessions from becoming tunnels."""

    portico_interests = ("command NOOP",)

    @hook
    def session_opened(self, session: Any) -> Interests | None:
        return Interests(commands={"NOOP": self.look}) if session.user == "cheshire" else None

    def look(self, session: Any, command: Any) -> None:
        if command.arguments:
            raise ValueError(command.arguments)


class House:
    """A proxy, its Control and its endpoint."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "portico.toml"

    def write(self, port: int, *, metrics: str = 'address = "127.0.0.1:0"', more: str = "") -> Portico:
        self.file.write_text(settings_text(port, f'limits.wrong_login_delay = "0s"\n{more}\n[metrics]\n{metrics}'))
        return read(self.file).settings

    async def start(self, settings: Portico, plugins: dict[str, object] | None = None) -> None:
        self.log = Log(Sink(sys.stderr.fileno()), level="error", strict=True)
        self.proxy: Proxy = build(settings, self.file, log=self.log, plugins=plugins)
        await self.proxy.start()
        self.control = LocalControl(self.proxy)
        self.service = MetricsService(self.control, Doors(), self.log)
        await self.service.start(settings)

    async def stop(self) -> None:
        await self.service.stop()
        await self.proxy.stop(seconds=5.0)

    @property
    def address(self) -> str:
        return self.proxy.addresses["imap"][0]

    async def samples(self) -> Samples:
        samples: Samples = await self.control.ask("metrics", {})
        return samples

    async def until(self, name: str, *labels: str, is_at_least: float = 1) -> Samples:
        async with asyncio.timeout(PATIENCE):
            while True:
                samples = await self.samples()
                value = row(samples, name, *labels)
                if (sum(value[:-1]) if isinstance(value, list) else value) >= is_at_least:
                    return samples
                await asyncio.sleep(0.01)

    async def get(self, path: str, accept: str = "") -> tuple[int, str, str]:
        async with aiohttp.ClientSession() as session:
            where = f"http://{self.service.addresses[0]}{path}"
            async with session.get(where, headers={"Accept": accept}) as response:
                return response.status, await response.text(), response.headers["Content-Type"]


@pytest.fixture
def within(tmp_path: Path) -> Callable[[Callable[[House, Server], Coroutine[Any, Any, None]]], None]:
    """Runs a test in a loop, with a house and a server."""

    def run(test: Callable[[House, Server], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            server = Server()
            try:
                await test(House(tmp_path), server)
            finally:
                server.stop()

        asyncio.run(whole())

    return run


Within = Callable[[Callable[[House, Server], Coroutine[Any, Any, None]]], None]


def test_logins_sessions_octets_and_dials_are_counted(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        await house.start(house.write(await server.start()))
        client = await Client.at(house.address)
        assert "NO" in await client.say("a LOGIN alice wrong")
        samples = await house.samples()
        assert row(samples, "portico_sessions", "imap", "imap", "login") == 1
        assert "OK" in await client.say("b LOGIN alice right")
        samples = await house.samples()
        assert row(samples, "portico_logins_total", "imap", "wrong") == 1
        assert row(samples, "portico_logins_total", "imap", "ok") == 1
        assert row(samples, "portico_server_dials_total", "main", "imap", "ok") == 2
        assert row(samples, "portico_sessions", "imap", "imap", "tunnel") == 1
        assert row(samples, "portico_server_up", "main", "imap") == 1
        running = row(samples, "portico_bytes_total", "imap", "in")
        assert running >= len("a LOGIN alice wrong\r\nb LOGIN alice right\r\n")
        await client.end()
        samples = await house.until("portico_sessions_closed_total", "imap", "logout")
        assert row(samples, "portico_bytes_total", "imap", "in") == running + len("z LOGOUT\r\n")
        assert row(samples, "portico_sessions", "imap", "imap", "tunnel") == 0
        assert sum(row(samples, "portico_session_seconds", "imap")[:-1]) == 1
        assert sum(row(samples, "portico_login_seconds", "imap")[:-1]) == 1
        assert row(samples, "portico_log_events_total", "session.closed") == 0  # below the level: not written, so not counted
        await house.stop()

    within(test)


def test_commands_are_timed_where_they_are_seen_and_plugins_too(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        settings = house.write(await server.start(), more="plugins.watching = {}")
        await house.start(settings, {"watching": Watching()})
        client = await Client.at(house.address)
        await client.say("a LOGIN cheshire right")
        await client.say("b NOOP")
        await client.say("c NOOP twice")
        await client.say("d FETCH 9 FLAGS")
        await client.say("e XYZZY")
        samples = await house.until("portico_command_seconds", "imap", "other", "ok")
        assert sum(row(samples, "portico_command_seconds", "imap", "NOOP", "ok")[:-1]) == 2
        assert sum(row(samples, "portico_command_seconds", "imap", "FETCH", "bad")[:-1]) == 1
        assert sum(row(samples, "portico_plugin_seconds", "watching", "command NOOP")[:-1]) == 2
        assert sum(row(samples, "portico_plugin_seconds", "watching", "session_opened")[:-1]) == 1
        assert row(samples, "portico_plugin_errors_total", "watching", "command NOOP") == 1
        assert row(samples, "portico_sessions", "imap", "imap", "watch") == 1
        await client.end()
        await house.stop()

    within(test)


def test_without_an_address_nothing_is_timed_and_nothing_listens(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        settings = house.write(await server.start(), metrics="", more="plugins.watching = {}")
        await house.start(settings, {"watching": Watching()})
        assert house.service.addresses == []
        client = await Client.at(house.address)
        await client.say("a LOGIN cheshire right")
        await client.say("b NOOP")
        samples = await house.samples()
        assert "portico_command_seconds" not in samples
        assert row(samples, "portico_plugin_seconds", "watching", "command NOOP") == 0
        assert row(samples, "portico_logins_total", "imap", "ok") == 1
        await client.end()
        await house.stop()

    within(test)


def test_the_page_can_be_read_by_prometheus_in_both_of_its_formats(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        settings = house.write(await server.start(), more="plugins.watching = {}")
        await house.start(settings, {"watching": Watching()})
        client = await Client.at(house.address)
        await client.say("a LOGIN cheshire right")
        await client.say("b NOOP")
        status, text, kind = await house.get("/metrics")
        assert status == 200
        assert kind.startswith("text/plain; version=0.0.4")
        found = {family.name: family for family in parse(text)}
        status, text, kind = await house.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        assert {family.name for family in parse_openmetrics(text)} >= {name for name in found if not name.endswith("_created")}
        for name, family in found.items():
            metric = METRICS.get(name) or METRICS[f"{name}_total"]
            assert family.type == metric.kind
            assert family.documentation == metric.meaning
            for sample in family.samples:
                assert sample.labels.keys() - {"le"} == set(metric.labels)
        buckets = [sample.value for sample in found["portico_command_seconds"].samples if sample.name.endswith("_bucket")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == 1
        assert "cheshire" not in text
        await client.end()
        await house.stop()

    within(test)


def test_health_and_readiness_say_what_is_wrong(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        settings = house.write(await server.start())
        await house.start(settings)
        status, text, kind = await house.get("/readyz")
        assert (status, kind) == (200, "application/json; charset=utf-8")
        assert json.loads(text)["listeners"] == {"imap": {"open": True, "servers": {"main": True}}}
        (record,) = house.proxy.generation.server_records.values()
        for _ in range(record.breaker.health.failures):
            house.proxy.generation.records.ill(record, "timeout")
        status, text, _ = await house.get("/readyz")
        assert status == 503
        assert json.loads(text)["problems"] == ["Listener imap: no server is well (main)."]
        samples = await house.samples()
        assert row(samples, "portico_server_up", "main", "imap") == 0
        assert row(samples, "portico_ready") == 0
        record.breaker._until = 0.0  # its rest is over: a login may try
        assert (await house.get("/readyz"))[0] == 200
        assert row(await house.samples(), "portico_server_up", "main", "imap") == 0
        house.proxy.generation.records.drain("main")
        assert (await house.get("/readyz"))[0] == 503
        await house.proxy.stop(seconds=5.0)
        status, text, _ = await house.get("/readyz")
        assert (status, json.loads(text)["problems"][0]) == (503, "Portico is stopping.")
        status, text, _ = await house.get("/healthz")
        assert (status, json.loads(text)["status"]) == (200, "ok")
        assert (await house.get("/elsewhere"))[0] == 404
        await house.service.stop()

    within(test)


def test_the_endpoint_follows_the_settings_and_also_listens_on_a_unix_socket(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        port = await server.start()
        path = house.directory / "metrics"
        settings = house.write(port, metrics=f'address = "unix:{path}"')
        await house.start(settings)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
            session.get("http://localhost/healthz") as response,
        ):
            assert response.status == 200
        await house.service.adopt(house.write(port, metrics=""))
        assert house.service.addresses == []
        assert not path.exists()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            house.log.strict = False
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            await house.service.adopt(house.write(port, metrics=f'address = "{address}"'))
            assert house.log.counts["metrics.failed"] == 1
        await house.service.adopt(house.write(port))
        assert (await house.get("/healthz"))[0] == 200
        await house.stop()

    within(test)


def test_what_is_refused_at_the_door_is_counted(within: Within) -> None:
    async def test(house: House, server: Server) -> None:
        settings = house.write(await server.start())
        limits = settings.limits.model_copy(update={"sessions_per_address": 1})
        await house.start(settings.model_copy(update={"limits": limits}))
        first = await Client.at(house.address)
        reader, writer = await asyncio.open_connection(*house.address.rsplit(":", 1))
        assert b"BYE" in await reader.readline()
        writer.close()
        samples = await house.until("portico_refusals_total", "imap", "limit_address")
        assert row(samples, "portico_connections_total", "imap", "imap") == 2
        first.writer.close()
        await house.stop()

    within(test)


def test_no_call_of_ours_is_added_where_octets_pass(within: Within) -> None:
    """The tunnel's functions, and no counting, while a megabyte passes."""

    async def test(house: House, server: Server) -> None:
        await house.start(house.write(await server.start()))
        client = await Client.at(house.address)
        await client.say("a LOGIN alice right")
        await house.service.stop()  # so that nobody asks meanwhile
        called: set[tuple[str, str]] = set()

        def note(frame: FrameType, event: str, _: Any) -> None:
            if event == "call" and "/portico/" in frame.f_code.co_filename:
                called.add((frame.f_code.co_filename.rpartition("/portico/")[2], frame.f_code.co_name))

        sys.setprofile(note)
        try:
            for number in range(200):
                assert "OK" in await client.say(f"t{number} NOOP {'x' * 5000}")
        finally:
            sys.setprofile(None)
        files = {file for file, _ in called}
        assert "relay/tunnel.py" in files
        assert not files & {"observe/metrics.py", "observe/log.py", "app/generation.py", "app/counted.py", "relay/driver.py"}, called
        assert not [file for file in files if file.startswith(("session/", "wire/", "plugin/"))], called
        await client.end()
        await house.stop()

    within(test)
