"""A whole proxy before servers of which some are ill: who is answered, by whom, and what the log says of it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from portico.app.build import Shared, build_generation
from portico.config.sections.upstream import Group, Member
from portico.config.settings import Portico
from portico.observe.log import Log
from portico.observe.sink import Sink
from portico.testing import running_proxy
from portico.testing.client import eventually
from portico.testing.proxy import RunningProxy
from portico.testing.server import Connection, ScriptedServer
from portico.upstream.groups import order

GROUP: dict[str, Any] = {"members": [{"server": "main"}, {"server": "second"}]}
FIRST, LAST = order(Group(members=[Member(server="main"), Member(server="second")]), "alice")


def login(proxy: RunningProxy, user: str = "alice") -> bytes:
    with proxy.client() as client:
        client.line()
        answer = client.command(b"a1 LOGIN %b secret" % user.encode())
        if answer.startswith(b"a1 OK"):
            client.command(b"a2 LOGOUT")
        return answer


def silent(connection: Connection) -> None:
    """It takes the connection and says nothing."""
    while connection.receive():
        pass


class House:
    """Two servers of one group; `first` is alice's."""

    def __init__(self, stack: ExitStack, *, ill: Any = None, health: dict[str, Any] | None = None, **timeouts: str) -> None:
        self.first = stack.enter_context(ScriptedServer(ill))
        self.last = stack.enter_context(ScriptedServer())
        places = {FIRST: self.first, LAST: self.last}
        further = {
            "servers": {name: {"imap": server.address, "probe": False} for name, server in places.items()},
            "groups": {"both": GROUP},
            "health": {"retry_wait": "10ms", **(health or {})},
        }
        here: dict[str, Any] = {"server": "both"}
        if timeouts:
            here["timeouts"] = timeouts
        self.proxy = stack.enter_context(running_proxy(server=self.first, listener=here, settings=further))

    def who(self) -> list[str]:
        """Who had the logins so far."""
        return [event["server"] for event in self.proxy.events("login.succeeded")]


def test_a_user_stays_with_his_server_goes_to_the_next_when_it_is_killed_and_comes_back() -> None:
    with ExitStack() as stack:
        house = House(stack, health={"rest": "50ms", "failures": 1})
        for _ in range(3):
            assert login(house.proxy).startswith(b"a1 OK")
        port = house.first.port
        house.first.stop()
        for _ in range(3):
            assert login(house.proxy).startswith(b"a1 OK")
        assert house.who() == [FIRST] * 3 + [LAST] * 3
        (opened,) = house.proxy.events("breaker.opened")[:1]
        assert (opened["server"], opened["reason"]) == (FIRST, "refused")
        stack.enter_context(ScriptedServer(wanted_port=port))

        def back() -> bool:
            login(house.proxy)
            return house.who()[-1] == FIRST

        assert eventually(back)
        names = [event["event"] for event in house.proxy.events() if event["event"].startswith("breaker.")]
        assert names[-2:] == ["breaker.half_opened", "breaker.closed"]


def test_a_server_that_hangs_costs_the_first_login_its_patience_and_is_then_left_alone() -> None:
    with ExitStack() as stack:
        house = House(stack, ill=silent, health={"failures": 1, "rest": "1h", "rest_max": "1h"}, greeting="2s")
        for _ in range(4):
            assert login(house.proxy).startswith(b"a1 OK")
        assert house.who() == [LAST] * 4
        assert len(house.first.connections) == 1, "nobody waits for it any more"
        failed = house.proxy.events("upstream.failed")
        assert [(event["server"], event["reason"], event["phase"]) for event in failed] == [(FIRST, "timeout", "greeting")]
        assert [round(event["seconds"]) for event in house.proxy.events("breaker.opened")] == [3600]


def test_when_no_server_is_left_a_login_is_refused_at_once_and_it_is_no_wrong_password() -> None:
    with ExitStack() as stack:
        house = House(stack, health={"failures": 1, "rest": "1h", "rest_max": "1h"})
        house.first.stop()
        house.last.stop()
        assert login(house.proxy) == b"a1 NO [UNAVAILABLE] The mail server cannot be reached.\r\n"
        assert login(house.proxy) == b"a1 NO [UNAVAILABLE] The mail server cannot be reached.\r\n"
        reasons = [event["reason"] for event in house.proxy.events("login.failed")]
        assert reasons == ["refused", "no_server"]
        assert len(house.proxy.events("upstream.failed")) == 2, "the second login dialled nobody"


def test_a_login_waits_for_a_server_that_is_being_restarted() -> None:
    with ExitStack() as stack:
        house = House(stack, health={"failures": 0, "retries": 20, "retry_wait": "100ms"})
        port = house.last.port
        house.first.stop()
        house.last.stop()
        with house.proxy.client() as client:
            client.line()
            client.send(b"a1 LOGIN alice secret\r\n")
            house.proxy.wait_for("upstream.failed", 2)
            stack.enter_context(ScriptedServer(wanted_port=port))
            assert client.line().startswith(b"a1 OK")


def test_nobody_closes_a_server_to_others_by_what_he_sends_for_a_password() -> None:
    def hangs_up_on_much(connection: Connection) -> None:
        connection.send(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello\r\n")
        while command := connection.command():
            if len(command) > 8192:  # as Dovecot does, whose buffer for a sign-in is so long
                connection.send(b"* BYE Input buffer full, aborting\r\n")
                return
            connection.send(b"%b OK [CAPABILITY IMAP4rev1] done\r\n" % command.split()[0])

    with ScriptedServer(hangs_up_on_much) as server:
        settings = {
            "servers": {"main": {"imap": server.address, "probe": False}},
            "health": {"failures": 3, "rest": "1h", "rest_max": "1h"},
        }
        with running_proxy(server=server, settings=settings) as proxy:
            for _ in range(4):
                with proxy.client() as client:
                    client.line()
                    assert b"a1 NO" in client.command(b"a1 LOGIN mallory " + b"x" * 20_000)
            assert login(proxy).startswith(b"a1 OK")
            assert {event["reason"] for event in proxy.events("upstream.failed")} == {"bye"}
            assert not proxy.events("breaker.opened")


def test_a_test_login_that_fails_makes_a_server_ill_before_a_user_comes() -> None:
    def refuses(connection: Connection) -> None:
        connection.send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n")
        while command := connection.command():
            if b"AUTHENTICATE" in command:
                connection.send(b"+ \r\n")
                connection.line()
                connection.send(b"P3 NO [UNAVAILABLE] the database is away: AHByb2JlAHBwcA==\r\n")
            else:
                connection.send(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n%b OK done\r\n" % command.split()[0])

    with ScriptedServer(refuses) as server:
        main = {"imap": server.address, "test_user": "probe", "test_password": "ppp"}
        further = {"servers": {"main": main}, "health": {"failures": 1, "rest": "1h", "rest_max": "1h"}}
        with running_proxy(server=server, settings=further) as proxy:
            (failed,) = proxy.wait_for("server.probe_failed")[:1]
            assert (failed["reason"], failed["detail"]) == ("test_login", "the server refuses the test user")
            proxy.wait_for("breaker.opened")
            assert login(proxy) == b"a1 NO [UNAVAILABLE] The mail server cannot be reached.\r\n"
            assert "ppp" not in proxy.log.read_text() and "AHByb2JlAHBwcA==" not in proxy.log.read_text()


def test_a_test_login_that_succeeds_is_made_each_time_a_server_is_asked() -> None:
    with ScriptedServer() as server:
        main = {"imap": server.address, "test_user": "probe", "test_password": "ppp"}
        with running_proxy(server=server, settings={"servers": {"main": main}, "health": {"interval": "20ms"}}) as proxy:
            assert eventually(lambda: sum(connection.user == "probe" for connection in server.connections) >= 3)
            assert proxy.events("server.probe_failed") == []


def test_a_database_says_where_users_are(tmp_path: Path) -> None:
    path = tmp_path / "users.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE users (name, server)")
    connection.execute("INSERT INTO users VALUES ('alice', 'second')")
    connection.commit()
    connection.close()
    with ScriptedServer() as main, ScriptedServer() as second:
        further = {
            "servers": {"main": {"imap": main.address}, "second": {"imap": second.address}},
            "sql": {"staff": {"url": f"sqlite:///{path}", "query": "SELECT server FROM users WHERE name = :user"}},
        }
        with running_proxy(server=main, listener={"lookups": ["staff"]}, settings=further) as proxy:
            assert login(proxy).startswith(b"a1 OK") and login(proxy, "bob").startswith(b"a1 OK")
            assert [event["server"] for event in proxy.events("login.succeeded")] == ["second", "main"]


@pytest.mark.parametrize("key", ["sql", "auth_http"])
def test_a_source_that_is_away_refuses_logins_and_says_why(tmp_path: Path, key: str) -> None:
    missing = f"sqlite:///{tmp_path}/no/such.db"
    table = {"url": missing, "query": "SELECT 'main' AS server"} if key == "sql" else {"url": "http://127.0.0.1:1/auth"}
    with ScriptedServer() as main, running_proxy(server=main, listener={"lookups": ["x"]}, settings={key: {"x": table}}) as proxy:
        assert login(proxy) == b"a1 NO [UNAVAILABLE] Temporary failure; try again later.\r\n"
        assert proxy.events("lookup.failed")[0]["lookup"] == "x"
        assert proxy.events("login.failed")[0]["reason"] == "lookup"


def test_a_source_outlives_a_reload_as_long_as_its_settings_stay(tmp_path: Path) -> None:
    async def run() -> None:
        sink = Sink(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT), owned=True)
        shared = Shared(Log(sink))
        url = f"sqlite:///{tmp_path}/users.db"

        def settings(ttl: str) -> Portico:
            table = {"url": url, "query": "SELECT 1 AS server", "ttl": ttl}
            listener = {"protocol": "imap", "addresses": ["127.0.0.1:0"], "lookups": ["x"], "tls": "none"}
            return Portico.model_validate({"servers": {"a": {"imap": "h:1"}}, "listeners": {"l": listener}, "sql": {"x": table}})

        first = build_generation(settings("60s"), shared).desks["l"].way.lookups[0]
        same = build_generation(settings("60s"), shared).desks["l"].way.lookups[0]
        assert same is first
        changed = build_generation(settings("5s"), shared).desks["l"].way.lookups[0]
        assert changed is not first
        await shared.keep_lookups(settings("5s"))
        assert [lookup for _, lookup in shared.lookups] == [changed]
        await shared.leave()
        shared.close()

    asyncio.run(run())
