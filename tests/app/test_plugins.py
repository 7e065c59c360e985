"""Plugins in a whole proxy, in front of scripted servers: what each hook and interest does on the wire, and whose fault is whose."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from portico.app.proxy import CannotStart, Proxy, build
from portico.config.load import read
from portico.observe import reference
from portico.observe.log import Log
from portico.observe.sink import Sink
from portico.plugin import (
    Answer,
    Change,
    Command,
    Drop,
    FetchItem,
    Interests,
    LoginAttempt,
    Option,
    Outline,
    ProxyInfo,
    Refuse,
    Response,
    RouteChoice,
    SecretText,
    Session,
    Summary,
    hookimpl,
)
from portico.plugin.loading import mistakes
from portico.relay.loop import RelayLoop
from portico.testing import Dialogue, ScriptedServer, eventually

VALIDATOR = jsonschema.Draft202012Validator(reference.schema())
PASSWORD = "through-the-looking-glass"


class House:
    """A directory with settings and a log, two servers, and a proxy in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "portico.toml"
        self.logfile = directory / "log"
        self.imap, self.second = ScriptedServer(), ScriptedServer()
        self.pop3 = ScriptedServer(protocol="pop3")
        self.plugins: dict[str, object] = {}
        self.patience = "60s"
        """With plugins. Where one is to be too slow it is shorter, and then no other may need any time."""
        self.proxy: Proxy | None = None
        self.loop = RelayLoop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def write(self, more: str) -> None:
        """The settings: `more`, behind listeners ``imap`` and ``pop3`` in front of the servers ``main`` and ``second``."""
        self.file.write_text(
            f"""
            [servers.main]
            imap = "{self.imap.address}"
            pop3 = "{self.pop3.address}"
            [servers.second]
            imap = "{self.second.address}"
            [listeners.imap]
            protocol = "imap"
            addresses = ["127.0.0.1:0"]
            tls = "none"
            plain_login = true
            server = "main"
            timeouts = {{plugin = "{self.patience}", connect = "60s", greeting = "60s"}}
            limits.wrong_login_delay = "300ms"
            [listeners.pop3]
            protocol = "pop3"
            addresses = ["127.0.0.1:0"]
            tls = "none"
            plain_login = true
            server = "main"
            timeouts = {{plugin = "{self.patience}", connect = "60s", greeting = "60s"}}
            [log]
            level = "debug"
            format = "json"
            file = "{self.logfile}"
            {more}
            """
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def begin(self, more: str, **plugins: object) -> None:
        self.plugins.update(plugins)
        self.write(more)
        log = Log(Sink(os.open(self.logfile, os.O_WRONLY | os.O_CREAT | os.O_APPEND), owned=True), level="debug", strict=True)
        settings = read(self.file, further=partial(mistakes, extra=self.plugins)).settings
        proxy = build(settings, self.file, log=log, plugins=self.plugins)
        self.run(proxy.start())
        self.proxy = proxy

    def reload(self, more: str) -> bool:
        self.write(more)
        return self.reload_as_it_is()

    def reload_as_it_is(self) -> bool:
        assert self.proxy is not None
        return self.run(self.proxy.reload(partial(read, further=partial(mistakes, extra=self.plugins))))

    def end(self) -> None:
        if self.proxy is not None:
            self.run(self.proxy.stop(seconds=1))
            self.proxy = None
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()
        for server in (self.imap, self.second, self.pop3):
            server.stop()

    def client(self, listener: str = "imap") -> Dialogue:
        assert self.proxy is not None
        return Dialogue(int(self.proxy.addresses[listener][0].rpartition(":")[2]))

    def signed_in(self, user: str = "alice") -> Dialogue:
        """An IMAP client that has signed in as ``a1``."""
        client = self.client()
        assert client.line().startswith(b"* OK")
        assert client.command(b'a1 LOGIN %s "%s"' % (user.encode(), PASSWORD.encode())).startswith(b"a1 OK")
        return client

    def events(self, name: str) -> list[dict[str, Any]]:
        whole, _, _ = self.logfile.read_text().rpartition("\n")  # the last line may be half written
        lines = [json.loads(line) for line in whole.splitlines()]
        for line in lines:
            VALIDATOR.validate(line)
        return [line for line in lines if line["event"] == name]

    def faults(self) -> list[str]:
        return [f"{line['plugin']} {line['hook']}: {line['error']}" for line in self.events("plugin.failed")]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    try:
        yield house
    finally:
        house.end()


def login(client: Dialogue, user: str, password: str = PASSWORD) -> bytes:
    return client.command(b'a1 LOGIN %s "%s"' % (user.encode(), password.encode()))


# -- before and at the login


class Guard:
    """Refuses some at the door, some at the login; sends bob to the second server."""

    @hookimpl
    def settings_declared(self) -> list[Option]:
        return [Option("closed", bool, "Whether nobody comes in.", False), Option("word", SecretText, "The word of the day.", None)]

    @hookimpl
    def client_connected(self, session: Session, options: Any) -> Refuse | None:
        return Refuse("Closed today.", "CONTACTADMIN") if options.closed else None

    @hookimpl
    async def login_attempted(self, attempt: LoginAttempt) -> Refuse | None:
        await asyncio.sleep(0)
        if attempt.user == "mallory":
            return Refuse("Not\r\na9 OK you.", "CONTACTADMIN")
        return Refuse("Wrong.", "AUTHENTICATIONFAILED") if attempt.user == "eve" else None

    @hookimpl
    def route_chosen(self, attempt: LoginAttempt) -> RouteChoice | Refuse | None:
        if attempt.user == "nobody":
            return Refuse("Your mail is nowhere.")
        return RouteChoice("second", "robert") if attempt.user == "bob" else None


def test_a_client_is_refused_in_place_of_the_greeting_on_the_listener_that_says_so(house: House) -> None:
    house.begin("[plugins.guard]\n[listeners.pop3.plugins.guard]\nclosed = true\n", guard=Guard)
    with house.client("pop3") as turned_away, house.client() as welcome:
        assert turned_away.rest() == b"-ERR [SYS/PERM] Closed today.\r\n"
        assert welcome.line().startswith(b"* OK")
    assert eventually(lambda: house.events("session.closed"))
    assert house.events("session.closed")[0]["reason"] == "refused"


def test_a_login_is_refused_in_one_line_and_another_may_follow(house: House) -> None:
    house.begin("[plugins.guard]\n", guard=Guard)
    with house.client() as client:
        client.line()
        assert login(client, "mallory") == b"a1 NO [CONTACTADMIN] Not a9 OK you.\r\n"
        assert login(client, "nobody") == b"a1 NO [AUTHORIZATIONFAILED] Your mail is nowhere.\r\n"
        assert login(client, "alice").startswith(b"a1 OK")
    failed = house.events("login.failed")
    assert [(line["user"], line["reason"], line["side"]) for line in failed] == [
        ("mallory", "plugin", "portico"),
        ("nobody", "plugin", "portico"),
    ]
    assert not any(b"mallory" in command or b"nobody" in command for command in house.imap.commands)
    assert PASSWORD not in house.logfile.read_text()


def test_a_wrong_password_by_a_plugins_word_waits_like_any_other(house: House) -> None:
    house.begin("[plugins.guard]\n", guard=Guard)
    with house.client() as client:
        client.line()
        began = time.monotonic()
        client.send(b"a1 LOGIN eve x\r\n")
        assert client.line() == b"a1 NO [AUTHENTICATIONFAILED] Wrong.\r\n"
        assert time.monotonic() - began > 0.29
    (failed,) = house.events("login.failed")
    assert (failed["reason"], failed["side"]) == ("plugin", "client"), "fail2ban counts it as any other"


def test_pop3_is_refused_in_its_own_words(house: House) -> None:
    house.begin("[plugins.guard]\n", guard=Guard)
    with house.client("pop3") as client:
        client.line()
        client.send(b"USER mallory\r\nPASS x\r\n")
        assert client.line().startswith(b"+OK")
        assert client.line() == b"-ERR [SYS/PERM] Not a9 OK you.\r\n"


def test_a_plugin_chooses_the_server_and_the_name_there(house: House) -> None:
    house.begin("[plugins.guard]\n", guard=Guard)
    with house.client() as bob, house.signed_in("alice"):
        bob.line()
        assert login(bob, "bob").startswith(b"a1 OK")
    assert {connection.user for connection in house.second.connections} - {""} == {"robert"}  # "": asked for its capabilities
    assert {connection.user for connection in house.imap.connections} - {""} == {"alice"}
    assert {line["user"]: line["server"] for line in house.events("login.succeeded")} == {"bob": "second", "alice": "main"}


# -- after the login


class Meddler:
    """Observes SELECT, changes SEARCH, answers XYZZY, refuses DELETE, changes LIST and RFC822.SIZE, hides ALERTs; and POP3's likes."""

    portico_interests = (
        "command SELECT", "command SEARCH", "command XYZZY", "command DELETE", "command DELE", "command UIDL", "command LIST",
        "response LIST", "response STAT", "response SEARCH", "fetch item RFC822.SIZE", "fetch item FLAGS",
    )  # fmt: skip

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    async def session_opened(self, session: Session) -> Interests | None:
        if session.user == "carol":
            return None
        if session.protocol == "pop3":
            return Interests(
                commands={"DELE": self._refuse, "UIDL": lambda session, command: Answer("Mine.", [b"1 one", b".2 two"])},
                responses={"STAT": lambda session, response: Change(b"+OK 2 22\r\n")},
            )
        return Interests(
            commands={
                "SELECT": self._observe,
                "SEARCH": lambda session, command: Change(b"UNSEEN"),
                "XYZZY": lambda session, command: Answer("Nothing happens.", [b"X-MAGIC {3}\r\na\nb"]),
                "DELETE": self._refuse,
            },
            responses={"LIST": self._listed, "SEARCH": lambda session, response: Drop()},
            fetch_items={"RFC822.SIZE": lambda session, item: b"4711", "FLAGS": self._flags},
        )

    def _observe(self, session: Session, command: Command) -> None:
        self.seen.append(f"{session.user} {command.name} {command.arguments.decode()}")

    def _refuse(self, session: Session, command: Command) -> Refuse:
        return Refuse("Keep it.", "NOPERM")

    def _listed(self, session: Session, response: Response) -> Change | Drop | None:
        if b"Drafts" in response.raw:
            return Drop()
        return Change(response.raw.replace(b"Archive", b"Attic")) if b'Archive"' in response.raw else None

    def _flags(self, session: Session, item: FetchItem) -> None:
        self.seen.append(f"{item.mailbox!r} {item.uid} {item.value.decode()} {item.items['RFC822.SIZE'].decode()}")


def test_commands_are_observed_changed_answered_and_refused(house: House) -> None:
    meddler = Meddler()
    house.begin("[listeners.imap.plugins.meddler]\n", meddler=meddler)
    with house.signed_in() as client:
        assert b"a2 OK" in client.command(b"a2 SELECT INBOX")
        assert client.command(b"a3 SEARCH ALL") == b"a3 OK SEARCH completed.\r\n"
        assert client.command(b"a4 XYZZY") == b"* X-MAGIC {3}\r\na\nb\r\na4 OK Nothing happens.\r\n"
        assert client.command(b"a5 DELETE Archive") == b"a5 NO [NOPERM] Keep it.\r\n"
        assert client.command(b"a6 NOOP") == b"a6 OK NOOP completed.\r\n"
    assert meddler.seen == ["alice SELECT INBOX"]
    commands = house.imap.connections[-1].commands
    assert b"a3 SEARCH UNSEEN\r\n" in commands
    assert not any(b"XYZZY" in command or b"DELETE" in command for command in commands)
    assert house.faults() == []


def test_responses_and_fetch_items_are_changed_and_all_else_passes(house: House) -> None:
    meddler = Meddler()
    house.begin("[plugins.meddler]\n", meddler=meddler)
    with house.signed_in() as client:
        client.command(b"a2 SELECT INBOX")
        assert client.command(b'a3 LIST "" *') == (
            b'* LIST () "/" "INBOX"\r\n* LIST () "/" "Attic"\r\n* LIST () "/" "Archive/2025"\r\na3 OK LIST completed.\r\n'
        )
        answer = client.command(b"a4 FETCH 1 (FLAGS RFC822.SIZE BODY.PEEK[])")
        assert answer.startswith(b"* 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE 4711 BODY[] {")
        assert b"This message comes from a server" in answer
    assert meddler.seen == ["alice SELECT INBOX", "b'INBOX' 1 (\\Seen) 4711"]
    (opened,) = house.events("session.opened")
    assert (opened["mode"], opened["plugins"]) == ("watch", ["meddler"])


def test_pop3_is_observed_changed_answered_and_refused(house: House) -> None:
    house.begin("[plugins.meddler]\n", meddler=Meddler)
    with house.client("pop3") as client:
        client.line()
        client.send(b"USER alice\r\nPASS x\r\nSTAT\r\nUIDL\r\nDELE 1\r\nRETR 1\r\nQUIT\r\n")
        answers = client.rest()
    _, _, rest = answers.partition(b"+OK 2 22\r\n")
    assert rest.startswith(b"+OK Mine.\r\n1 one\r\n..2 two\r\n.\r\n-ERR [NOPERM] Keep it.\r\n+OK\r\nFrom: Portico")
    assert not any(command.startswith((b"DELE", b"UIDL")) for command in house.pop3.connections[-1].commands)


def test_where_a_plugin_is_loaded_and_not_interested_the_session_is_a_tunnel(house: House) -> None:
    house.begin("[plugins.meddler]\n[plugins.guard]\n", meddler=Meddler, guard=Guard)
    with house.signed_in("carol") as client:
        assert client.command(b"a2 DELETE Archive") == b"a2 OK DELETE completed.\r\n"
    assert eventually(lambda: house.events("session.closed"))
    (opened,), (closed,) = house.events("session.opened"), house.events("session.closed")
    assert (opened["mode"], opened["plugins"], closed["mode"], closed["commands"]) == ("tunnel", [], "tunnel", None)


# -- faults


def raises(*_: Any) -> Any:
    raise RuntimeError(PASSWORD)


def exits(*_: Any) -> Any:
    raise SystemExit(PASSWORD)


async def raises_later() -> Any:
    await asyncio.sleep(0)
    raise ValueError(PASSWORD)


async def never() -> Any:
    await asyncio.Event().wait()


async def cancels() -> Any:
    raise asyncio.CancelledError(PASSWORD)


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "raises": (raises, "RuntimeError raised in test_plugins.py"),
    "exits": (exits, "SystemExit raised in test_plugins.py"),
    "raises later": (raises_later, "ValueError raised in test_plugins.py"),
    "is too slow": (never, "too slow"),
    "cancels itself": (cancels, "CancelledError raised in test_plugins.py"),
    "says nonsense": (lambda: 42, "int returned"),
}


class Mischief:
    """Does wrong in one hook, for mallory and the clients before the login."""

    portico_interests = ("command NOOP",)

    def __init__(self, hook: str, fault: Callable[[], Any]) -> None:
        self.hook, self.fault, self.closed, self.asked = hook, fault, 0, 0

    def _at(self, hook: str, session: Session) -> Any:
        return self.fault() if hook == self.hook and session.user in ("mallory", "") else None

    @hookimpl
    def client_connected(self, session: Session) -> Any:
        return self._at("client_connected", session)

    @hookimpl
    def login_attempted(self, session: Session) -> Any:
        self.asked += 1
        return self._at("login_attempted", session)

    @hookimpl
    def route_chosen(self, session: Session) -> Any:
        return self._at("route_chosen", session)

    @hookimpl
    def session_opened(self, session: Session) -> Any:
        return self._at("session_opened", session)

    @hookimpl
    def session_closed(self, session: Session) -> Any:
        self.closed += 1
        return self._at("session_closed", session)


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("hook", ["login_attempted", "route_chosen", "session_opened"])
def test_whatever_a_hook_does_wrong_its_rule_applies_and_another_session_goes_on(house: House, hook: str, how: str) -> None:
    fault, told = FAULTS[how]
    house.patience = "100ms" if fault is never else "60s"
    house.begin("[plugins.mischief]\n", mischief=Mischief(hook, fault))
    with house.signed_in() as bystander, house.client() as mallory, house.client("pop3") as also:
        mallory.line()
        also.line()
        answer = login(mallory, "mallory")
        also.send(b"USER mallory\r\nPASS x\r\n")
        assert also.line().startswith(b"+OK")
        if hook == "session_opened":
            assert answer.startswith(b"a1 OK") and also.line().startswith(b"+OK")
        else:
            assert answer == b"a1 NO [UNAVAILABLE] Temporary failure; try again later.\r\n"
            assert also.line() == b"-ERR [SYS/TEMP] Temporary failure; try again later.\r\n"
        assert mallory.command(b"a2 NOOP").startswith(b"a2 OK")
        assert bystander.command(b"a2 NOOP").startswith(b"a2 OK")
    failed = house.events("plugin.failed")
    assert len(failed) == 2 and house.events("session.bug") == []
    for line in failed:
        assert (line["plugin"], line["hook"], line["user"]) == ("mischief", hook, "mallory") and line["session"]
        assert line["error"].startswith(told)
    assert PASSWORD not in house.logfile.read_text()


@pytest.mark.parametrize("how", FAULTS)
def test_a_hook_that_fails_at_the_door_lets_nobody_in_and_what_fails_at_the_end_is_only_logged(house: House, how: str) -> None:
    fault, told = FAULTS[how]
    house.patience = "100ms" if fault is never else "60s"
    door, end = Mischief("client_connected", fault), Mischief("session_closed", fault)
    house.begin("[listeners.imap.plugins.door]\n[listeners.pop3.plugins.end]\n", door=door, end=end)
    with house.client() as client:
        assert client.rest() == b"* BYE [UNAVAILABLE] Temporary failure; try again later.\r\n"
    with house.client("pop3") as client:
        client.line()
        client.send(b"QUIT\r\n")
        client.rest()
    expected = [f"door client_connected: {told}"] + ([] if how == "says nonsense" else [f"end session_closed: {told}"])
    assert eventually(lambda: len(house.events("session.closed")) == 2 and len(house.faults()) == len(expected))
    assert all(fault.startswith(wanted) for fault, wanted in zip(house.faults(), expected, strict=True))
    assert (door.closed, end.closed) == (1, 1)


HANDLERS: dict[str, Callable[[Session, Any], Any]] = {
    "raises": raises,
    "exits": exits,
    "says nonsense": lambda session, thing: 42,
    "changes to text": lambda session, thing: Change("text"),  # type: ignore[arg-type]
    "answers with a number": lambda session, thing: Answer(4),  # type: ignore[arg-type]
    "answers with two lines in one": lambda session, thing: Answer("x", [b"A\r\na2 BAD"]),
    "changes to two": lambda session, thing: Change(b"x\r\na9 DELETE INBOX"),
}


@pytest.mark.parametrize("how", HANDLERS)
@pytest.mark.parametrize("kind", ["commands", "responses", "fetch_items"])
def test_a_handler_that_does_wrong_changes_no_octet_and_ends_nothing(house: House, kind: str, how: str) -> None:
    class Clumsy:
        portico_interests = ("command *", "response *", "fetch item FLAGS")

        @hookimpl
        def session_opened(self, session: Session) -> Interests:
            names = {"commands": "FETCH", "responses": "FETCH", "fetch_items": "FLAGS"}
            return Interests(**{kind: {names[kind]: HANDLERS[how]}})

    house.begin("[plugins.clumsy]\n", clumsy=Clumsy)
    with house.signed_in() as client:
        assert client.command(b"a2 FETCH 1 FLAGS").startswith(b"* 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE ")
        assert client.command(b"a3 NOOP") == b"a3 OK NOOP completed.\r\n"
    assert b"a2 FETCH 1 FLAGS\r\n" in house.imap.connections[-1].commands
    assert len(house.faults()) == 1 and house.events("session.bug") == []
    assert PASSWORD not in house.logfile.read_text()


class Nobodys:
    """A transformer that is good, but that nobody has been told of."""

    types = ()

    def wants(self, session: Session, outline: Outline) -> bool:
        return True

    def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
        return None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Interests(commands=5), "interests are no names with functions"),  # type: ignore[arg-type]
        (Interests(commands={"NOOP": 5}), "interests are no names with functions"),  # type: ignore[dict-item]
        (Interests(commands={"NOOP": never}), "a handler cannot be a coroutine: NOOP"),  # type: ignore[dict-item]
        (Interests(responses={"OK": raises}), "not declared in portico_interests: response OK"),
        (Interests(annotator=object()), "the annotator is none"),  # type: ignore[arg-type]
        (Interests(transformer=object()), "the transformer is none"),  # type: ignore[arg-type]
        (Interests(transformer=Nobodys()), "not declared in portico_interests: transforms"),
    ],
)
def test_interests_that_cannot_be_are_told_and_the_session_is_a_tunnel(house: House, said: Interests, told: str) -> None:
    house.begin("[plugins.mischief]\n", mischief=Mischief("session_opened", lambda: said))
    with house.signed_in("mallory") as client:
        assert client.command(b"a2 NOOP").startswith(b"a2 OK")
    assert house.faults() == [f"mischief session_opened: {told}"]
    assert house.events("session.opened")[0]["mode"] == "tunnel"


def test_a_client_that_leaves_while_a_plugin_thinks_is_no_fault_of_the_plugin(house: House) -> None:
    mischief = Mischief("login_attempted", never)
    house.begin("[plugins.mischief]\n", mischief=mischief)
    with house.client() as client:
        client.line()
        client.send(b"a1 LOGIN mallory x\r\n")
        assert eventually(lambda: mischief.asked)
        client.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
    assert eventually(lambda: mischief.closed == 1)
    assert house.faults() == [] and house.events("session.bug") == []


# -- several, and reloads


class Diary:
    """Writes down what it is told."""

    def __init__(self, name: str, pages: list[str]) -> None:
        self.name, self.pages = name, pages

    def _note(self, what: str) -> None:
        self.pages.append(f"{self.name} {what}")

    @hookimpl
    def settings_declared(self) -> list[Option]:
        return [Option("ink", str, "Its colour.", "blue")]

    @hookimpl
    async def proxy_started(self, proxy: ProxyInfo) -> None:
        self._note(f"started {' '.join(proxy.listeners)}")

    @hookimpl
    async def proxy_stopping(self) -> None:
        self._note("stopping")

    @hookimpl
    def client_connected(self, session: Session, options: Any) -> None:
        session.data[self.name] = options.ink
        self._note("connected")

    @hookimpl
    async def login_attempted(self, attempt: LoginAttempt) -> None:
        self._note(f"attempted {attempt.user}")

    @hookimpl
    def route_chosen(self) -> None:
        self._note("chosen")

    @hookimpl
    async def session_opened(self, session: Session) -> None:
        self._note("opened")

    @hookimpl
    async def session_closed(self, session: Session, summary: Summary) -> None:
        self._note(f"closed {summary.reason} {session.data[self.name]}")


def test_the_whole_life_is_told_to_several_in_the_order_of_the_settings(house: House) -> None:
    pages: list[str] = []
    house.begin(
        '[plugins.zoe]\n[plugins.adam]\nink = "red"\n'
        + '[listeners.pop3.plugins.zoe]\nenabled = false\n[listeners.imap.plugins.zoe]\nink = "green"\n',
        adam=Diary("adam", pages),
        zoe=Diary("zoe", pages),
    )
    with house.signed_in() as client:
        client.command(b"a2 LOGOUT")
    assert eventually(lambda: len(pages) == 12)
    with house.client("pop3") as other:
        other.line()
    assert eventually(lambda: len(pages) == 14)
    assert house.proxy is not None
    house.run(house.proxy.stop(seconds=1))
    house.proxy = None
    assert pages == [
        "zoe started imap", "adam started imap pop3",
        "zoe connected", "adam connected",
        "zoe attempted alice", "adam attempted alice",
        "zoe chosen", "adam chosen",
        "zoe opened", "adam opened",
        "zoe closed logout green", "adam closed logout red",
        "adam connected", "adam closed client_closed red",
        "zoe stopping", "adam stopping",
    ]  # fmt: skip
    assert [line["plugin"] for line in house.events("plugin.loaded")] == ["zoe", "adam"]
    assert house.events("proxy.started")[0]["plugins"] == ["zoe", "adam"]


def test_a_reload_brings_new_plugins_to_new_sessions_and_old_ones_see_theirs_to_the_end(house: House) -> None:
    pages: list[str] = []
    house.begin("[plugins.old]\n", old=Diary("old", pages), new=Diary("new", pages))
    with house.signed_in() as before:
        assert house.reload("[plugins.new]\n")
        with house.signed_in("bob") as after:
            after.command(b"a2 LOGOUT")
        assert eventually(lambda: "new closed logout blue" in pages)
        assert before.command(b"a2 NOOP").startswith(b"a2 OK")
        assert "old stopping" not in pages
        before.command(b"a3 LOGOUT")
    assert eventually(lambda: "old stopping" in pages)  # long before the proxy stops
    assert [page for page in pages if page.startswith("old")][-2:] == ["old closed logout blue", "old stopping"]
    assert pages.index("old opened") < pages.index("new started imap pop3") < pages.index("new connected")
    assert "new attempted alice" not in pages and "old attempted bob" not in pages
    assert house.reload("")
    assert "new stopping" in pages
    with house.signed_in("carol") as client:
        assert client.command(b"a2 NOOP").startswith(b"a2 OK")
    assert not any("carol" in page for page in pages)


def test_a_reload_with_a_mistake_in_an_option_tells_the_line_and_changes_nothing(house: House) -> None:
    pages: list[str] = []
    house.begin("[plugins.diary]\n", diary=Diary("diary", pages))
    assert not house.reload("[plugins.diary]\nink = 5\npen = 1\n[plugins.dairy]\n")
    (rejected,) = house.events("settings.rejected")
    texts = [problem.partition(": ")[2] for problem in rejected["problems"]]
    assert texts == [
        "plugins.diary.ink: found 5; possible: a text",
        "plugins.diary.pen: there is no such option; possible: enabled, ink",
        "plugins.dairy: there is no such plugin; installed: " + texts[2].partition("installed: ")[2],
    ]
    assert texts[2].endswith("did you mean diary")
    assert all(problem.startswith(f"{house.file}:2") for problem in rejected["problems"])
    with house.signed_in():
        assert "diary opened" in pages


def test_a_plugin_that_cannot_start_ends_the_start_without_its_secrets_and_the_others_are_told(house: House) -> None:
    pages: list[str] = []

    class Dials:
        @hookimpl
        def settings_declared(self) -> list[Option]:
            return [Option("word", SecretText, "A word.")]

        @hookimpl
        async def proxy_started(self) -> None:
            raise OSError("no database at db://user:xyzzy-plugh@host")

    with pytest.raises(CannotStart) as failed:
        house.begin('[plugins.diary]\n[plugins.dials]\nword = "xyzzy-plugh"\n', diary=Diary("diary", pages), dials=Dials)
    assert failed.value.reason == "plugin"
    assert failed.value.problems == ["plugin dials: proxy_started failed: OSError: no database at db://user:<secret>@host"]
    assert pages == ["diary started imap pop3", "diary stopping"]


def test_a_plugin_that_cannot_start_refuses_the_reload_and_the_log_stays_where_it_is(house: House, tmp_path: Path) -> None:
    class Broken:
        @hookimpl
        async def proxy_started(self) -> None:
            await never()

    house.patience = "100ms"
    house.begin("", broken=Broken)
    house.write("[plugins.broken]\n")
    house.file.write_text(house.file.read_text().replace(str(house.logfile), str(tmp_path / "another")))
    assert not house.reload_as_it_is()
    assert house.events("settings.rejected")[0]["problems"] == ["plugin broken: proxy_started is too slow"]
    assert not (tmp_path / "another").exists()
    with house.signed_in() as client:
        assert client.command(b"a2 NOOP").startswith(b"a2 OK")
