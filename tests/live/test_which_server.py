"""Where users are, said by others: PostgreSQL, and a service that nginx asks in the same words."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.dovecot import Dovecot
from portico.demo.ports import LOOPBACK, accepts, free_ports, wait_until
from portico.testing import running_proxy
from portico.testing.client import Dialogue
from portico.testing.proxy import RunningProxy
from portico.testing.server import ScriptedServer

from tests.live.conftest import unpacked
from tests.live.people import PASSWORD
from tests.live.postgres import Postgres

pytestmark = pytest.mark.live

ODD = b"p%ss w\xc3\xb6rd+&'"
"""A password with what has to be written in some way in a header."""


def login(port: int, user: str = "alice", password: bytes = b"secret") -> bytes:
    """By LOGIN; the tagged answer."""
    client = Dialogue(port)
    client.line()
    client.send(b"a1 LOGIN %b {%d}\r\n" % (user.encode(), len(password)))
    client.line()
    client.send(password + b"\r\n")
    try:
        answer = client.until(b"a1").splitlines(keepends=True)[-1]
        if answer.startswith(b"a1 OK"):
            client.command(b"a2 LOGOUT")
        return answer
    except EOFError:
        return client.received.splitlines(keepends=True)[-1]
    finally:
        client.close()


def servers_of(proxy: RunningProxy) -> list[str]:
    return [event["server"] for event in proxy.events("login.succeeded")]


# -- PostgreSQL


@pytest.fixture(scope="module")
def postgres(place: Path, project: Path) -> Iterator[Postgres]:
    server = Postgres(unpacked("postgresql", project), place / "postgres").start()
    try:
        yield server
    finally:
        server.stop()


def test_postgresql_says_where_users_are_and_may_be_restarted(postgres: Postgres, dovecot: Dovecot) -> None:
    postgres.execute(
        "CREATE TABLE users (name text, domain text, server text, mailbox text)",
        "INSERT INTO users VALUES ('alice', '', 'dovecot', NULL), ('a.smith', 'example.org', 'dovecot', 'alice'), ('carol', '', NULL, NULL)",
    )
    query = 'SELECT server, mailbox AS "user" FROM users WHERE name = :local AND domain = :domain'
    with ScriptedServer() as main:
        further = {
            "servers": {"main": {"imap": main.address}, "dovecot": {"imap": f"{LOOPBACK}:{dovecot.ports.imap}"}},
            "sql": {"staff": {"url": postgres.url, "query": query, "ttl": "0s", "ttl_missing": "0s"}},
            "penalties": {"delay": "0s"},
        }
        here = {"lookups": ["staff"], "limits": {"wrong_login_delay": "0s"}}
        with running_proxy(server=main, listener=here, settings=further) as proxy:
            password = PASSWORD.encode()
            for user in ("alice", "a.smith@example.org", "carol", "nobody"):
                assert login(proxy.port, user, password).startswith(b"a1 OK"), user
            assert servers_of(proxy) == ["dovecot", "dovecot", "main", "main"]
            assert login(proxy.port, "a.smith@example.org", b"wrong").startswith(b"a1 NO [AUTHENTICATIONFAILED]")
            postgres.stop()
            assert login(proxy.port, "alice", password) == b"a1 NO [UNAVAILABLE] Temporary failure; try again later.\r\n"
            (failed,) = proxy.events("lookup.failed")
            assert failed["lookup"] == "staff" and "of the database" not in proxy.log.read_text()
            postgres.start()
            assert login(proxy.port, "alice", password).startswith(b"a1 OK")


# -- auth_http, beside nginx


class Service(threading.Thread):
    """As sites have it for nginx: `alice` has her mail at `server`, others are refused. Keeps each question."""

    def __init__(self, server: ScriptedServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.asked: list[dict[str, str]] = []
        self.port = free_ports(1)[0]
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()

    async def _handle(self, request: web.Request) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        self.asked.append(headers)
        if headers["Auth-User"] == "alice":
            found = {"Auth-Server": LOOPBACK, "Auth-Port": str(self.server.port), "Auth-User": "box7", "Auth-Pass": "of the box"}
            return web.Response(headers={"Auth-Status": "OK", **found})
        return web.Response(headers={"Auth-Status": "Invalid login or password", "Auth-Wait": "0"})

    async def _serve(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_get("/auth", self._handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, self.port).start()
        return runner

    def run(self) -> None:
        runner = self._loop.run_until_complete(self._serve())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    def __enter__(self) -> Service:
        self.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(60)


@contextmanager
def nginx(directory: Path, service: Service, certificates: Certificates) -> Iterator[tuple[int, int]]:
    """Its mail proxy; the ports of IMAP and of POP3 with TLS."""
    directory.mkdir()
    port, pop3s = free_ports(2)
    configured = subprocess.run(["nginx", "-V"], capture_output=True, text=True, check=True).stderr.split()
    modules = next((word.partition("=")[2] for word in configured if word.startswith("--modules-path=")), "/usr/lib/nginx/modules")
    # Without a user of its own it serves as whoever starts it: the directory is his.
    text = f"""
load_module {modules}/ngx_mail_module.so;
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
mail {{
    server_name localhost;
    auth_http {LOOPBACK}:{service.port}/auth;
    auth_http_header X-Auth-Key "of the service";
    server {{ listen {LOOPBACK}:{port}; protocol imap; imap_auth plain; }}
    server {{
        listen {LOOPBACK}:{pop3s} ssl;
        protocol pop3;
        ssl_protocols TLSv1.3;
        ssl_certificate {certificates.certificate};
        ssl_certificate_key {certificates.key};
    }}
}}
"""
    (directory / "nginx.conf").write_text(text)
    child = Child(["nginx", "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"], log=directory / "log")
    child.start()
    try:
        wait_until("nginx", lambda: accepts(pop3s), seconds=60, alive=lambda: child.running)
        yield port, pop3s
    finally:
        child.stop()


def test_a_service_for_nginx_is_asked_the_same_by_portico_and_what_it_says_is_done(
    place: Path, need: Callable[..., None], certificates: Certificates
) -> None:
    need("nginx")
    with ScriptedServer() as backend, Service(backend) as service, nginx(place / "nginx", service, certificates) as (other, _):
        table = {
            "url": f"http://{LOOPBACK}:{service.port}/auth",
            "headers": [{"name": "X-Auth-Key", "value": "of the service"}],
        }
        with running_proxy(server=backend, listener={"lookups": ["portal"]}, settings={"auth_http": {"portal": table}}) as proxy:
            for user, password in (("alice", b"secret"), ("alice", ODD), ("mallory", b"guessed")):
                service.asked.clear()
                answers = [login(port, user, password) for port in (other, proxy.port)]
                by_nginx, by_portico = service.asked
                assert by_portico == by_nginx
                assert [answer[:5] for answer in answers] == [b"a1 OK" if user == "alice" else b"a1 NO"] * 2, answers
                assert all(user == "alice" or b"Invalid login or password" in answer for answer in answers)
            # Both have signed in as the service has said.
            assert {connection.user.split()[-1] for connection in backend.connections if connection.user} == {"box7"}
            assert "of the box" not in proxy.log.read_text() and "of the service" not in proxy.log.read_text()


def test_so_it_is_over_pop3_with_tls(place: Path, need: Callable[..., None], certificates: Certificates) -> None:
    need("nginx")
    with (
        ScriptedServer(protocol="pop3") as backend,
        Service(backend) as service,
        nginx(place / "nginx-pop3", service, certificates) as ports,
    ):
        settings = {"auth_http": {"portal": {"url": f"http://{LOOPBACK}:{service.port}/auth"}}}
        with running_proxy(server=backend, tls="implicit", listener={"lookups": ["portal"]}, settings=settings) as proxy:
            for port, authority in ((ports[1], certificates.authority), (proxy.port, proxy.authority)):
                with Dialogue(port, authority=authority, implicit=True) as client:
                    client.line()
                    client.send(b"USER alice\r\n")
                    client.line()
                    client.send(b"PASS secret\r\n")
                    assert client.line().startswith(b"+OK")
                    client.send(b"QUIT\r\n")
                    client.line()
        by_nginx, by_portico = service.asked
        assert {**by_portico, "X-Auth-Key": "of the service"} == by_nginx
        assert by_portico["Auth-Protocol"] == "pop3" and by_portico["Auth-SSL-Protocol"] == "TLSv1.3"
        assert {connection.user for connection in backend.connections if connection.user} == {"box7"}


def test_a_host_that_the_settings_do_not_have_needs_a_template(place: Path) -> None:
    with ScriptedServer() as main, ScriptedServer() as other, Service(other) as service:
        table = {"url": f"http://{LOOPBACK}:{service.port}/auth"}
        with running_proxy(server=main, listener={"lookups": ["portal"]}, settings={"auth_http": {"portal": table}}) as proxy:
            assert login(proxy.port).startswith(b"a1 NO [UNAVAILABLE]")
        table["template"] = "main"
        with running_proxy(server=main, listener={"lookups": ["portal"]}, settings={"auth_http": {"portal": table}}) as proxy:
            assert login(proxy.port).startswith(b"a1 OK")
            (event,) = proxy.events("login.succeeded")
            assert (event["server"], event["address"]) == ("main", other.address)
            assert [connection.user for connection in other.connections] == ["box7"]


# -- groups


def test_dovecot_takes_the_logins_of_a_server_that_was_killed(dovecot: Dovecot) -> None:
    with ScriptedServer() as dead:
        address = dead.address
    members = [{"server": "main"}, {"server": "spare", "order": 1}]
    further = {
        "servers": {"main": {"imap": address}, "spare": {"imap": f"{LOOPBACK}:{dovecot.ports.imap}"}},
        "groups": {"both": {"members": members}},
        "health": {"failures": 2, "rest": "1h", "rest_max": "1h"},
    }
    with running_proxy(server=dead, listener={"server": "both"}, settings=further) as proxy:
        for _ in range(4):
            assert login(proxy.port, "alice", PASSWORD.encode()).startswith(b"a1 OK")
        assert servers_of(proxy) == ["spare"] * 4
        assert len(proxy.events("upstream.failed_over")) <= 2, "after that its breaker is open"
