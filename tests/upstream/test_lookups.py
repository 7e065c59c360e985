"""Sources of routes that are asked: what they are asked, what is made of the answer, and how long it holds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from portico.config.sections.upstream import AuthHttp, Header, Sql
from portico.errors import Secret
from portico.session.context import Peer, Refusal, SessionView, TlsInfo
from portico.upstream.auth_http import AuthHttpLookup, escaped
from portico.upstream.lookups import Answer, Answers, Found, Lookup, Question
from portico.upstream.sql import SqlLookup

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
SERVER = {"Auth-Status": "OK", "Auth-Server": "10.0.0.2", "Auth-Port": "143"}


def question(user: str = "alice@example.org", password: str | None = "wonder land", **more: Any) -> Question:
    mechanism, rip = more.pop("mechanism", "PLAIN"), more.pop("rip", "192.0.2.7")
    view = SessionView("1", "imap", "imaps", Peer(rip, 1, "192.0.2.1", 993, more.pop("tls", None)))
    return Question(user, view, mechanism, Secret(password) if password is not None else None, **more)


async def ask(lookup: Lookup, asked: Question) -> Answer:
    said = lookup.find(asked)
    return await said if isinstance(said, Awaitable) else said


class Events:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        assert event == "lookup.failed"
        self.lines.append(fields)


# -- what is remembered


def test_answers_are_forgotten_in_time_and_the_least_used_when_there_are_too_many() -> None:
    now = 0.0
    answers = Answers(2, lambda: now)
    answers.put("a", Found("one"), 10)
    answers.put("b", None, 10)
    answers.put("never", Found("two"), 0)
    assert answers.get("a") == (True, Found("one")) and answers.get("b") == (True, None) and len(answers) == 2
    answers.get("a")
    answers.put("c", Found("three"), 10)
    assert answers.get("b") == (False, None) and answers.get("a")[0]
    now = 10.0
    assert answers.get("a") == (False, None) and len(answers) == 1


# -- SQL


def database(directory: Path) -> Path:
    path = directory / "users.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name, domain, server, host, port, login, password)")
        rows = [
            ("alice", "example.org", "one", None, None, None, None),
            ("bob", "example.org", None, "10.0.0.2", 143, "bobby", "of bob's box"),
            ("carol", "example.org", None, None, None, None, None),
            ("dave", "example.org", None, "10.0.0.2", None, None, None),
        ]
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return path


def sql(path: Path, query: str = "", **more: Any) -> tuple[SqlLookup, Events]:
    query = query or "SELECT server, host, port, login, password FROM users WHERE name = :local AND domain = :domain"
    events = Events()
    return SqlLookup("staff", Sql(url=Secret(f"sqlite:///{path}"), query=query, **more), events), events


def test_the_first_row_says_where_and_as_whom_and_no_row_leaves_it_to_the_next_source(tmp_path: Path) -> None:
    async def run() -> None:
        lookup, events = sql(database(tmp_path), template="t")
        try:
            assert await ask(lookup, question()) == Found("one", template="t", lookup="staff")
            bob = await ask(lookup, question("bob@example.org"))
            assert bob == Found("", "10.0.0.2", 143, "bobby", Secret("of bob's box"), False, "t", "staff")
            assert await ask(lookup, question("carol@example.org")) == Found(template="t", lookup="staff")
            assert await ask(lookup, question("nobody@example.org")) is None
            assert await ask(lookup, question("x' OR 1=1 --@example.org")) is None
            assert events.lines == []
        finally:
            await lookup.close()

    asyncio.run(run())


def test_an_answer_holds_for_its_time_for_one_user_over_one_protocol(tmp_path: Path) -> None:
    async def run() -> None:
        path = database(tmp_path)
        lookup, _ = sql(path)
        try:
            first = await ask(lookup, question())
            with sqlite3.connect(path) as connection:
                connection.execute("UPDATE users SET server = 'two'")
            connection.close()
            assert lookup.find(question(password="another one")) == first, "at once: no password was checked"
            fresh, _ = sql(path, ttl=0.0)
            assert await ask(fresh, question()) == Found("two", lookup="staff")
            await fresh.close()
        finally:
            await lookup.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("query", "user", "reason"),
    [
        ("SELECT nothing FROM nowhere", "alice@example.org", "database"),
        ("SELECT 1 AS servr", "alice@example.org", "row"),
        ("", "dave@example.org", "row"),
    ],
)
def test_what_fails_is_a_refusal_that_is_nobodys_fault_and_a_line_in_the_log(tmp_path: Path, query: str, user: str, reason: str) -> None:
    async def run() -> None:
        lookup, events = sql(database(tmp_path), query)
        try:
            said = await ask(lookup, question(user))
        finally:
            await lookup.close()
        assert isinstance(said, Refusal) and (said.code, said.reason, said.counts) == ("UNAVAILABLE", "lookup", False)
        assert [(line["lookup"], line["reason"]) for line in events.lines] == [("staff", reason)]

    asyncio.run(run())


# -- auth_http


class Service:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self, *answers: dict[str, str]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.status = 200
        self.events = Events()

    async def _handle(self, request: web.Request) -> web.Response:
        self.asked.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(status=self.status, headers=answer)

    def run(self, letters: Callable[[AuthHttpLookup], Awaitable[None]], **more: Any) -> None:
        async def all_of_it() -> None:
            application = web.Application()
            application.router.add_get("/auth", self._handle)
            runner = web.AppRunner(application)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            lookup = AuthHttpLookup("portal", AuthHttp(url=f"http://127.0.0.1:{port}/auth", **more), self.events)
            try:
                await letters(lookup)
            finally:
                await lookup.close()
                await runner.cleanup()

        asyncio.run(all_of_it())


def test_a_name_and_a_password_are_written_as_nginx_writes_them() -> None:
    assert escaped(b"a b%\x01c") == "a%20b%25%01c" and escaped("ä+\"'".encode()) == "ä+\"'" and escaped(b"\xff") == "%FF"


def test_the_question_has_nginxs_headers_and_those_that_the_settings_add() -> None:
    service = Service(SERVER)

    async def letters(lookup: AuthHttpLookup) -> None:
        await ask(lookup, question(tls=TLS, attempt=2))
        await ask(lookup, question(mechanism="EXTERNAL", password=None))

    service.run(letters, headers=[Header(name="X-Auth-Key", value=Secret("k"))])
    first, second = service.asked
    expected = {
        "Auth-Method": "plain",
        "Auth-User": "alice@example.org",
        "Auth-Pass": "wonder%20land",
        "Auth-Protocol": "imap",
        "Auth-Login-Attempt": "2",
        "Client-IP": "192.0.2.7",
        "Auth-SSL": "on",
        "Auth-SSL-Protocol": "TLSv1.3",
        "Auth-SSL-Cipher": "TLS_AES_256_GCM_SHA384",
        "X-Auth-Key": "k",
    }
    assert {name: value for name, value in first.items() if name != "Host"} == expected
    assert (second["Auth-Method"], second["Auth-Pass"], "Auth-SSL" in second) == ("external", "", False)


def test_ok_says_where_and_proves_who_it_is() -> None:
    service = Service({**SERVER, "Auth-User": "mailbox7", "Auth-Pass": "of the box"}, {"Auth-Status": "ok"})

    async def letters(lookup: AuthHttpLookup) -> None:
        said = await ask(lookup, question())
        assert said == Found("", "10.0.0.2", 143, "mailbox7", Secret("of the box"), True, "a", "portal")
        assert await ask(lookup, question()) == Found(verified=True, template="a", lookup="portal")

    service.run(letters, template="a")


def test_anything_else_is_a_no_in_the_services_words() -> None:
    service = Service({"Auth-Status": "Invalid login or password"}, {"Auth-Status": "Later", "Auth-Error-Code": "451 4.3.0"})

    async def letters(lookup: AuthHttpLookup) -> None:
        assert await ask(lookup, question()) == Refusal("Invalid login or password", "AUTHENTICATIONFAILED", "auth_http", counts=True)
        assert await ask(lookup, question()) == Refusal("Later", "UNAVAILABLE", "auth_http")

    service.run(letters)


def test_wait_is_waited_for_and_asked_again_but_not_for_ever() -> None:
    wait = {"Auth-Status": "WAIT", "Auth-Wait": "0"}
    service = Service(wait, SERVER, wait)

    async def letters(lookup: AuthHttpLookup) -> None:
        assert isinstance(await ask(lookup, question()), Found)
        assert isinstance(await ask(lookup, question()), Refusal)

    service.run(letters)
    assert len(service.asked) == 7 and service.events.lines[0]["reason"] == "wait"


@pytest.mark.parametrize(
    "answer",
    [{}, {"Auth-Status": "OK", "Auth-Server": "10.0.0.2"}, {**SERVER, "Auth-Port": "70000"}, {**SERVER, "Auth-Wait": "soon"}],
)
def test_an_answer_that_is_none_is_nobodys_fault(answer: dict[str, str]) -> None:
    service = Service(answer)

    async def letters(lookup: AuthHttpLookup) -> None:
        said = await ask(lookup, question())
        assert isinstance(said, Refusal) and said.code == "UNAVAILABLE" and not said.counts

    service.run(letters)
    assert [line["reason"] for line in service.events.lines] == ["protocol"]


def test_a_yes_is_remembered_for_that_password_and_address_alone() -> None:
    service = Service(SERVER, {"Auth-Status": "no"})

    async def letters(lookup: AuthHttpLookup) -> None:
        yes = await ask(lookup, question())
        assert lookup.find(question()) == yes
        assert isinstance(await ask(lookup, question(password="another")), Refusal)
        assert isinstance(await ask(lookup, question(rip="192.0.2.8")), Refusal)
        assert isinstance(await ask(lookup, question("bob")), Refusal)

    service.run(letters, ttl=60.0)
    assert len(service.asked) == 4


def test_without_a_time_to_live_every_login_is_asked_about() -> None:
    service = Service(SERVER)

    async def letters(lookup: AuthHttpLookup) -> None:
        for _ in range(3):
            await ask(lookup, question())

    service.run(letters)
    assert len(service.asked) == 3


def test_a_service_that_is_away_is_nobodys_fault_and_the_log_has_no_password() -> None:
    async def run() -> None:
        events = Events()
        lookup = AuthHttpLookup("portal", AuthHttp(url="http://127.0.0.1:1/auth"), events)
        said = await ask(lookup, question())
        await lookup.close()
        assert isinstance(said, Refusal) and said.code == "UNAVAILABLE"
        assert events.lines[0]["reason"] == "unreachable" and "wonder" not in str(events.lines)

    asyncio.run(run())


def test_a_mechanism_that_shows_no_password_cannot_be_asked_about() -> None:
    lookup = AuthHttpLookup("portal", AuthHttp(url="http://127.0.0.1:1/auth"), Events())
    said = lookup.find(question(mechanism="CRAM-MD5", password=None))
    assert isinstance(said, Refusal) and said.code == "CANNOT"
