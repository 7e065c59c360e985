"""A session with a plugin, as its author plays it in a test."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from portico.errors import SettingsError
from portico.plugin import Answer, Change, Drop, Interests, LoginAttempt, Option, Refuse, RouteChoice, Session, hookimpl
from portico.testing import Correspondence, PlaybookFailed


class Busybody:
    """Interested in one of each."""

    portico_interests = ("command DELETE", "command XHELLO", "response LIST", "response SEARCH", "fetch item RFC822.SIZE", "command RETR")

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def settings_declared(self) -> list[Option]:
        return [Option("text", str, "What is said.", "Not here.")]

    @hookimpl
    async def proxy_started(self) -> None:
        await asyncio.sleep(0)
        self.heard.append("started")

    @hookimpl
    async def client_connected(self, session: Session) -> Refuse | None:
        await asyncio.sleep(0)
        return Refuse("Not you.") if session.peer.rip == "198.51.100.1" else None

    @hookimpl
    async def login_attempted(self, attempt: LoginAttempt) -> Refuse | None:
        await asyncio.sleep(0)
        return Refuse("Not Bob.", "CONTACTADMIN") if attempt.user == "bob" else None

    @hookimpl
    def session_opened(self, session: Session, options: Any) -> Interests:
        return Interests(
            commands={
                "DELETE": lambda view, command: Refuse(options.text, "NOPERM"),
                "XHELLO": lambda view, command: Answer("hello", [b"XHELLO you"]),
                "RETR": lambda view, command: Refuse(options.text),
            },
            responses={"LIST": lambda view, response: Drop(), "SEARCH": lambda view, response: Change(b"* SEARCH 7\r\n")},
            fetch_items={"RFC822.SIZE": lambda view, item: b"1"} if session.protocol == "imap" else {},
        )

    @hookimpl
    def session_closed(self, session: Session) -> None:
        self.heard.append(f"closed {session.user}")

    @hookimpl
    async def proxy_stopping(self) -> None:
        self.heard.append("stopping")


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_what_a_plugin_makes_of_a_session_reads_like_an_exchange_of_letters(cut: int) -> None:
    with Correspondence(Busybody, {"text": "No."}) as session:
        assert session.sign_in().startswith(b"in OK")
        session.play(
            """
            C: a1 DELETE Archive
            to C: a1 NO [NOPERM] No.

            C: a2 XHELLO
            to C: * XHELLO you
            to C: a2 OK hello

            C: a3 LIST "" *
            S: * LIST () "/" Archive
            to nobody
            S: a3 OK done

            C: a4 FETCH 1 (RFC822.SIZE FLAGS)
            S: * 1 FETCH (RFC822.SIZE 4711 FLAGS ())
            S: * SEARCH
            S: a4 OK done
            to C: * 1 FETCH (RFC822.SIZE 1 FLAGS ())
            to C: * SEARCH 7
            to C: a4 OK done
            """,
            cut=cut,
        )
        assert session.mode == "watch"
        assert session.faults == []


def test_pop3_too() -> None:
    with Correspondence(Busybody, protocol="pop3") as session:
        assert session.greeting.startswith(b"+OK")
        assert session.sign_in() == b"+OK in\r\n"
        session.play("""
        C: RETR 1
        to C: -ERR Not here.
        C: STAT
        S: +OK 0 0
        """)


def test_a_playbook_that_goes_otherwise_says_where_and_how() -> None:
    with Correspondence(Busybody) as session:
        session.sign_in()
        with pytest.raises(PlaybookFailed) as failed:
            session.play("C: a1 NOOP\nS: a1 OK\n\nC: a2 DELETE x")
    assert str(failed.value) == (
        "line 4: C: 'a2 DELETE x\\r\\n'"
        "\n  to C: expected ''\n             got 'a2 NO [NOPERM] Not here.\\r\\n'"
        "\n  to S: expected 'a2 DELETE x\\r\\n'\n             got ''"
    )


def test_a_session_that_is_over_takes_no_letter() -> None:
    with Correspondence() as session:
        session.client(b"a1 LOGOUT\r\n")
        assert session.mode == "closed"
        with pytest.raises(PlaybookFailed, match="the session is over: logout"):
            session.play("C: a2 NOOP")


def test_login_hooks_are_asked_by_the_real_gate() -> None:
    with Correspondence(Busybody) as session:
        assert session.sign_in("bob") == b"in NO [CONTACTADMIN] Not Bob.\r\n"
        assert session.mode == "front"
        assert session.sign_in("alice").startswith(b"in OK")
    with Correspondence(Busybody, rip="198.51.100.1") as session:
        assert session.greeting == b"* BYE [UNAVAILABLE] Not you.\r\n"
        assert session.mode == "closed"


def test_the_whole_life_of_a_plugin_is_played() -> None:
    plugin = Busybody()
    with Correspondence(plugin) as session:
        session.sign_in("al ice", 'pass"word\\')
        assert session.view.user == "al ice"
    session.close()
    assert plugin.heard == ["started", "closed al ice", "stopping"]


def test_without_a_plugin_a_session_is_a_tunnel() -> None:
    with Correspondence(protocol="imap") as session:
        assert session.sign_in(client_id={"name": "Mail", "version": "1"}).startswith(b"in OK")
        assert session.mode == "tunnel"
        assert session.view.client_id == {"name": "Mail", "version": "1"}
        session.play("C: a1 \x00 anything\nS: at all", cut=1)


def test_a_plugin_may_choose_the_server() -> None:
    class Chooser:
        @hookimpl
        def route_chosen(self, attempt: LoginAttempt) -> RouteChoice:
            return RouteChoice("other" if attempt.user == "bob" else "nowhere")

    with Correspondence(Chooser, servers=("main", "other")) as session:
        assert session.sign_in("alice") == b"in NO [UNAVAILABLE] Your mail server is not reachable this way.\r\n"
        assert session.sign_in("bob").startswith(b"in OK")
        assert session.view.server == "other"


def test_what_a_plugin_does_wrong_is_told_by_hook() -> None:
    class Wrong:
        portico_interests = ("command NOOP",)

        @hookimpl
        def session_opened(self, session: Session) -> Interests:
            return Interests(commands={"NOOP": lambda view, command: 1 // 0})

    with Correspondence(Wrong) as session:
        session.sign_in()
        session.play("C: a1 NOOP\nS: a1 OK")
        (fault,) = session.faults
        assert "command NOOP" in fault and "ZeroDivisionError" in fault


def test_a_plugin_that_cannot_be_loaded_is_told_as_at_start() -> None:
    class Mistyped:
        @hookimpl
        def login_atempted(self) -> None: ...

    with pytest.raises(SettingsError, match="did you mean login_attempted"):
        Correspondence(Mistyped)
    with pytest.raises(SettingsError, match="did you mean text"):
        Correspondence(Busybody, {"txt": "x"})
