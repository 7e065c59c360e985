"""Who is called when, and what becomes of a plugin's faults."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from portico.config.document import parse_document
from portico.config.load import understand
from portico.config.settings import Portico
from portico.errors import PluginError, Secret, SettingsError
from portico.plugin import Interests, LoginAttempt, Option, Refuse, RouteChoice, SecretText, hookimpl
from portico.plugin.host import Host
from portico.relay.ports import Summary
from portico.session.close import Reason
from portico.session.context import Peer, Refusal, SessionView

SETTINGS = """
[servers.mail]
imap = "127.0.0.1:143"
[listeners.one]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
plain_login = true
server = "mail"
timeouts.plugin = "PATIENCE"
[listeners.two]
protocol = "imap"
addresses = ["127.0.0.1:1144"]
tls = "none"
plain_login = true
server = "mail"
"""
ATTEMPT = LoginAttempt("alice", "PLAIN", Secret("open sesame"))
SUMMARY = Summary(Reason.LOGOUT, "client", "", 1.0, 2, 3, True)


def settings(more: str = "", tmp_path: Path = Path("/"), patience: str = "60s") -> Portico:
    return understand(parse_document("portico.toml", SETTINGS.replace("PATIENCE", patience) + more), tmp_path).settings


class House:
    """A Host and what it logged."""

    def __init__(self, more: str = "", directory: Path | None = None, patience: str = "60s", **plugins: Any) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        names = "".join(f"[plugins.{name}]\n" for name in plugins if f"plugins.{name}]" not in more)
        self.host = Host.load(
            settings(names + more, patience=patience),
            lambda name, fields: self.events.append((name, fields)),
            directory=directory,
            extra=plugins,
        )
        self.events.clear()
        self.view = SessionView("sid", "imap", "one", Peer("192.0.2.1", 1, "192.0.2.2", 2), user="alice")

    @property
    def faults(self) -> list[str]:
        return [f"{fields['plugin']} {fields['hook']}: {fields['error']}" for name, fields in self.events if name == "plugin.failed"]


def settled(said: Any) -> Any:
    async def wait(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    return asyncio.run(wait(said)) if isawaitable(said) else said


def plugin(**hooks: Any) -> Any:
    """A plugin with these hooks."""
    return type("Made", (), {name: hookimpl(staticmethod(function)) for name, function in hooks.items()})


def raising(*_: Any) -> Any:
    raise RuntimeError("open sesame")


# -- order and silence


def test_plugins_are_asked_in_the_order_of_the_settings_and_the_first_refusal_ends_it() -> None:
    asked: list[str] = []

    def says(name: str, answer: Any) -> Any:
        return plugin(login_attempted=lambda session: asked.append(name) or answer)

    house = House(first=says("first", None), second=says("second", Refuse("Not today.", "UNAVAILABLE")), third=says("third", None))
    assert house.host.attempted(house.view, ATTEMPT) == Refusal("Not today.", "UNAVAILABLE", "plugin")
    assert asked == ["first", "second"]


def test_where_nobody_has_an_opinion_the_answer_comes_at_once_and_is_none() -> None:
    house = House(quiet=plugin(login_attempted=lambda: None, session_closed=lambda: None))
    host, view = house.host, house.view
    assert host.client_connected(view) is None
    assert host.attempted(view, ATTEMPT) is None
    assert host.routed(view, ATTEMPT) is None
    assert host.session_opened(view) is None
    assert house.events == []


def test_a_plugin_that_no_setting_names_is_not_there() -> None:
    host = Host.load(settings(), lambda *_: None, extra={"unnamed": plugin(login_attempted=raising)})
    assert not host.active
    assert host.names == ()


# -- faults


@pytest.mark.parametrize("later", [False, True])
def test_login_hooks_fail_closed_and_the_fault_is_told_without_its_words(later: bool) -> None:
    async def late(*_: Any) -> Any:
        raise RuntimeError("open sesame")

    fails = late if later else raising
    house = House(
        bad=plugin(
            client_connected=lambda session: fails(),
            login_attempted=lambda session: fails(),
            route_chosen=lambda session: fails(),
        )
    )
    refusal = Refusal("Temporary failure; try again later.", "UNAVAILABLE", "plugin")
    assert settled(house.host.client_connected(house.view)) == refusal
    assert settled(house.host.attempted(house.view, ATTEMPT)) == refusal
    assert settled(house.host.routed(house.view, ATTEMPT)) == refusal
    assert [fault.split(" in ")[0] for fault in house.faults] == [
        "bad client_connected: RuntimeError raised",
        "bad login_attempted: RuntimeError raised",
        "bad route_chosen: RuntimeError raised",
    ]
    assert "sesame" not in repr(house.events)
    assert all(fields["session"] == "sid" for _, fields in house.events)


@pytest.mark.parametrize("answer", [True, "no", Interests(), RouteChoice("mail")])
def test_an_answer_that_is_none_of_the_hooks_fails_closed(answer: Any) -> None:
    house = House(bad=plugin(login_attempted=lambda: answer))
    said = house.host.attempted(house.view, ATTEMPT)
    assert isinstance(said, Refusal) and said.reason == "plugin"
    assert house.faults == [f"bad login_attempted: {type(answer).__name__} returned"]


def test_a_hook_that_is_too_slow_fails_closed_within_the_listeners_limit() -> None:
    async def slow() -> None:
        await asyncio.Event().wait()

    house = House(patience="50ms", slow=plugin(login_attempted=slow))
    said = settled(house.host.attempted(house.view, ATTEMPT))
    assert isinstance(said, Refusal)
    assert house.faults == ["slow login_attempted: too slow"]


@pytest.mark.parametrize("fault", [raising, lambda: "interested"])
def test_session_opened_fails_open_and_the_others_are_heard(fault: Any) -> None:
    handler = lambda session, command: None  # noqa: E731

    class Good:
        portico_interests = ("command NOOP",)

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(commands={"NOOP": handler})

    house = House(bad=plugin(session_opened=lambda: fault()), good=Good)
    compiled = house.host.session_opened(house.view)
    assert compiled is not None and not isawaitable(compiled)
    assert compiled.plugins == ["good"]
    assert len(house.faults) == 1


def test_interests_that_were_not_declared_are_left_out_and_told() -> None:
    house = House(sly=plugin(session_opened=lambda: Interests(commands={"DELETE": raising})))
    assert house.host.session_opened(house.view) is None
    assert house.faults == ["sly session_opened: not declared in portico_interests: command DELETE"]


def test_session_closed_is_told_to_all_whoever_raises_and_nobody_waits_for_it() -> None:
    told: list[str] = []

    async def slowly(summary: Summary) -> None:
        told.append(str(summary.reason))

    house = House(
        bad=plugin(session_closed=raising), late=plugin(session_closed=slowly), good=plugin(session_closed=lambda: told.append("good"))
    )

    async def both() -> None:
        house.host.session_closed(house.view, SUMMARY)
        assert told == ["good"]
        await asyncio.sleep(0.01)

    asyncio.run(both())
    assert told == ["good", "logout"]
    assert house.faults[0].startswith("bad session_closed: RuntimeError raised")


def test_a_plugin_that_cannot_start_ends_the_start_by_name() -> None:
    house = House(bad=plugin(proxy_started=raising))
    with pytest.raises(PluginError, match="plugin bad: proxy_started failed"):
        asyncio.run(house.host.started())


def test_started_and_stopping_come_once_whatever_the_number_of_listeners() -> None:
    told: list[Any] = []
    house = House(calm=plugin(proxy_started=lambda proxy: told.append(proxy.listeners), proxy_stopping=lambda: told.append("stopping")))
    asyncio.run(house.host.started())
    asyncio.run(house.host.stopping())
    assert told == [("one", "two"), "stopping"]


@pytest.mark.parametrize("later", [False, True])
def test_a_plugin_cannot_end_the_proxy(later: bool) -> None:
    async def late() -> None:
        raise SystemExit(1)

    def at_once() -> None:
        raise SystemExit(1)

    house = House(bad=plugin(login_attempted=late if later else at_once))
    assert isinstance(settled(house.host.attempted(house.view, ATTEMPT)), Refusal)
    assert house.faults[0].startswith("bad login_attempted: SystemExit raised")


# -- routes


def test_the_first_plugin_that_knows_chooses_the_server() -> None:
    house = House(
        shy=plugin(route_chosen=lambda: None),
        knows=plugin(route_chosen=lambda attempt: RouteChoice("mail", attempt.user + "@example.org", verified=True)),
        late=plugin(route_chosen=lambda: RouteChoice("other")),
    )
    assert house.host.routed(house.view, ATTEMPT) == RouteChoice("mail", "alice@example.org", verified=True)
    assert house.host.chooses_routes("one")


def test_a_plugin_on_one_listener_is_not_asked_on_another() -> None:
    told: list[str] = []
    more = "[listeners.two.plugins.door]\n"
    house = House(more, door=plugin(login_attempted=lambda session: told.append(session.listener)))
    house.host.attempted(house.view, ATTEMPT)
    house.view.listener = "two"
    house.host.attempted(house.view, ATTEMPT)
    assert told == ["two"]


# -- options


class Asks:
    @hookimpl
    def settings_declared(self) -> list[Option]:
        return [Option("word", str, "A word.", "general"), Option("token", SecretText, "A token.", None)]

    @hookimpl
    def login_attempted(self, options: Any) -> Refuse:
        return Refuse(options.word + (options.token.reveal().decode() if options.token else ""))


def test_a_listeners_own_options_go_before_the_general_ones() -> None:
    house = House('[plugins.asks]\nword = "all"\n[listeners.two.plugins.asks]\nword = "two"\n', asks=Asks)
    said = house.host.attempted(house.view, ATTEMPT)
    assert isinstance(said, Refusal) and said.text == "all"
    house.view.listener = "two"
    said = house.host.attempted(house.view, ATTEMPT)
    assert isinstance(said, Refusal) and said.text == "two"


def test_a_listener_may_switch_a_plugin_off() -> None:
    house = House("[plugins.asks]\n[listeners.one.plugins.asks]\nenabled = false\n", asks=Asks)
    assert house.host.attempted(house.view, ATTEMPT) is None
    house.view.listener = "two"
    assert house.host.attempted(house.view, ATTEMPT) is not None


def test_options_that_do_not_fit_a_listener_are_told() -> None:
    class Picky:
        @hookimpl
        def settings_checked(self, listener: str, protocol: str) -> str | None:
            return f"not over {protocol}" if listener == "two" else None

    with pytest.raises(SettingsError, match=r"plugins\.picky: on listener two: not over imap"):
        House(picky=Picky)
    with pytest.raises(SettingsError, match=r"plugins\.bad: on listener one: settings_checked failed: RuntimeError"):
        House(bad=plugin(settings_checked=raising))
    House("[plugins.picky]\n[listeners.two.plugins.picky]\nenabled = false\n", picky=Picky)


def test_options_are_held_against_the_servers_that_speak_the_protocol() -> None:
    class Asking:
        @hookimpl
        def settings_checked(self, protocol: str, servers: Sequence[str]) -> str | None:
            return f"{protocol}: {', '.join(servers)}"

    with pytest.raises(SettingsError, match=r"plugins\.asking: on listener one: imap: mail\n"):
        House('[servers.letters]\npop3 = "127.0.0.1:110"\n', asking=Asking)


def test_a_secret_option_comes_from_a_file_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("xyzzy\n")
    house = House('[plugins.asks]\ntoken = {file = "token"}\n', directory=tmp_path, asks=Asks)
    said = house.host.attempted(house.view, ATTEMPT)
    assert isinstance(said, Refusal) and said.text == "generalxyzzy"


@pytest.mark.parametrize(
    ("made", "complaint"),
    [
        (plugin(session_opend=raising), r"plugins.bad: there is no hook session_opend.*did you mean session_opened"),
        (plugin(login_attempted=lambda sesion: None), r"plugins.bad: .*sesion"),
        (type("Empty", (), {}), r"plugins.bad: has no hook"),
        (plugin(settings_declared=raising), r"plugins.bad: settings_declared failed: RuntimeError"),
    ],
)
def test_a_plugin_that_is_made_wrong_does_not_start(made: Any, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        House(bad=made)


def test_a_general_option_that_is_missing_for_one_listener_is_told() -> None:
    needs = plugin(settings_declared=lambda: [Option("word", str, "A word.")], login_attempted=lambda: None)
    with pytest.raises(SettingsError, match=r"plugins.needs.word: is needed"):
        House('[plugins.needs]\n[listeners.two.plugins.needs]\nword = "two"\n', needs=needs)
    House('[plugins.needs]\n[listeners.one.plugins.needs]\nword = "1"\n[listeners.two.plugins.needs]\nword = "2"\n', needs=needs)
