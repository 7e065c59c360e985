"""A whole proxy with a plugin, in one line."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from portico.errors import SettingsError
from portico.plugin import Change, Interests, Option, ProxyInfo, Session, Summary, hookimpl
from portico.session.context import TlsMode
from portico.testing import RunningProxy, ScriptedServer, eventually, running_proxy


class Shouts:
    """Makes NOOP a command of the operator's choice, and remembers who was there."""

    portico_interests = ("command NOOP", "response STAT")

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def settings_declared(self) -> list[Option]:
        return [Option("suffix", str, "What is put behind.")]

    @hookimpl
    async def proxy_started(self, proxy: ProxyInfo) -> None:
        self.heard.append(f"started {' '.join(proxy.listeners)}")

    @hookimpl
    async def session_opened(self, session: Session, options: Any) -> Interests:
        return Interests(
            commands={"NOOP": lambda view, command: Change(command.arguments + options.suffix.encode())},
            responses={"STAT": lambda view, response: Change(b"+OK 7 7\r\n")},
        )

    @hookimpl
    def session_closed(self, session: Session, summary: Summary) -> None:
        self.heard.append(f"closed {session.user} {summary.reason}")

    @hookimpl
    def proxy_stopping(self) -> None:
        self.heard.append("stopping")


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_a_plugin_takes_part_over_real_sockets(tls: TlsMode) -> None:
    plugin = Shouts()
    playbook = """
    C: a2 NOOP!
    S: a2 OK done
    """
    with ScriptedServer(playbook) as server, running_proxy(plugin, {"suffix": "!"}, server=server, tls=tls) as proxy:
        with proxy.client() as client:
            assert client.line().startswith(b"* OK")
            assert client.command(b"a1 LOGIN alice secret").startswith(b"a1 OK")
            assert client.command(b"a2 NOOP") == b"a2 OK done\r\n"
            assert client.command(b"a3 LOGOUT").endswith(b"a3 OK done\r\n")
        (closed,) = proxy.wait_for("session.closed")
        assert (closed["user"], closed["mode"], closed["reason"]) == ("alice", "watch", "logout")
        (opened,) = proxy.events("session.opened")
        assert opened["plugins"] == ["plugin"]
    assert plugin.heard == ["started here", "closed alice logout", "stopping"]


@pytest.mark.parametrize("tls", ["none", "implicit", "starttls"])
def test_pop3_and_servers_with_tls(tls: TlsMode) -> None:
    with (
        ScriptedServer(protocol="pop3", tls=tls) as server,
        running_proxy(Shouts, {"suffix": ""}, server=server, name="shouts") as proxy,
        proxy.client() as client,
    ):
        assert client.line().startswith(b"+OK")
        client.send(b"USER alice\r\nPASS secret\r\nSTAT\r\nQUIT\r\n")
        assert b"+OK 7 7\r\n" in client.rest()
        assert [event["plugin"] for event in proxy.events("plugin.loaded")] == ["shouts"]


def test_without_a_plugin_and_in_front_of_any_address() -> None:
    with ScriptedServer() as server, running_proxy(server=server.address) as proxy, proxy.client() as client:
        assert client.line().startswith(b"* OK")
        client.command(b"a1 LOGIN alice secret")
        assert client.command(b"a2 XYZZY") == b"a2 OK XYZZY completed.\r\n"
        assert proxy.events("session.opened")[0]["mode"] == "tunnel"


def test_two_at_once_and_nothing_is_left_behind() -> None:
    before = set(threading.enumerate())
    with ScriptedServer() as server, running_proxy(server=server) as one, running_proxy(server=server) as other:
        assert one.port != other.port
        for proxy in (one, other):
            with proxy.client() as client:
                assert client.line().startswith(b"* OK")
    assert eventually(lambda: set(threading.enumerate()) <= before)


def test_what_keeps_it_from_starting_is_raised() -> None:
    class Broken:
        @hookimpl
        async def proxy_started(self) -> None:
            raise OSError("no database")

    class Mistyped:
        @hookimpl
        def proxy_starts(self) -> None: ...

    with ScriptedServer() as server:
        with pytest.raises(SettingsError, match="suffix: is needed"), running_proxy(Shouts, server=server):
            pass
        with pytest.raises(SettingsError, match="did you mean proxy_started"), running_proxy(Mistyped, server=server):
            pass
        with pytest.raises(Exception, match="no database"), running_proxy(Broken, server=server):
            pass


def test_a_line_of_the_log_that_is_half_written_is_no_event_yet(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"event":"proxy.started"}\n{"event":"proxy.sta')
    assert RunningProxy(0, "none", None, log).events() == [{"event": "proxy.started"}]
