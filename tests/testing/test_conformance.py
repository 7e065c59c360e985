"""check_plugin lets good plugins pass and says of bad ones what is bad."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from portico.plugin import Answer, Change, Drop, FetchItem, Interests, LoginAttempt, Option, Refuse, Session, hookimpl
from portico.testing import Correspondence, check_plugin
from portico.testing.transcripts import IMAP, POP3


def interested(said: Interests, *declared: str) -> type[Any]:
    """A plugin that is interested in that much."""

    class Interested:
        portico_interests = declared

        @hookimpl
        def session_opened(self, session: Session) -> Interests | None:
            return said

    return Interested


class Nobody:
    @hookimpl
    async def session_opened(self, session: Session) -> None:
        return None


NOTHING: dict[str, Callable[[Any, Any], Any]] = {"x": lambda view, thing: None}
SILENT = NOTHING["x"]
IMAP_NAMES = sorted({word.decode() for client, _ in IMAP for word in client.split()[1:2] if word.isalpha()} - {"UID", "b"} | {"SEARCH"})
POP3_NAMES = sorted({client.split()[0].decode().upper() for client, _ in POP3})
RESPONSES = ["LIST", "FETCH", "EXISTS", "EXPUNGE", "SEARCH", "OK", "TAGGED", "RETR", "TOP", "STAT", "UIDL", "CAPABILITY", "STATUS"]
ITEMS = ["UID", "FLAGS", "BODY[]", "ENVELOPE", "RFC822.SIZE", "BODYSTRUCTURE", "MODSEQ"]

OBSERVER = interested(
    Interests(dict.fromkeys([*IMAP_NAMES, *POP3_NAMES], SILENT), dict.fromkeys(RESPONSES, SILENT), dict.fromkeys(ITEMS, SILENT)),
    *(f"command {name}" for name in dict.fromkeys([*IMAP_NAMES, *POP3_NAMES])),
    *(f"response {name}" for name in RESPONSES),
    *(f"fetch item {name}" for name in ITEMS),
)
REFUSES = interested(
    Interests({name: lambda view, command: Refuse("No.") for name in ("APPEND", "IDLE", "SELECT", "TOP", "FETCH")}),
    *(f"command {name}" for name in ("APPEND", "IDLE", "SELECT", "TOP", "FETCH")),
)
CHANGES = interested(
    Interests(
        {"NOOP": lambda view, command: Answer("hi"), "DELETE": lambda view, command: Change(b"x")},
        {"LIST": lambda view, response: Drop() if view.protocol == "imap" else None, "UIDL": lambda view, response: None},
        {"FLAGS": lambda view, item: b"(\\Seen)"},
    ),
    "command NOOP",
    "command DELETE",
    "response LIST",
    "response UIDL",
    "fetch item FLAGS",
)


def test_the_transcripts_name_the_commands_that_matter() -> None:
    assert {"FETCH", "APPEND", "LIST", "SELECT", "IDLE", "SEARCH", "COPY", "EXPUNGE", "STATUS"} <= set(IMAP_NAMES)
    assert {"RETR", "TOP", "LIST", "UIDL", "STAT", "DELE"} <= set(POP3_NAMES)


@pytest.mark.parametrize("plugin", [Nobody, OBSERVER, REFUSES, CHANGES], ids=["nobody", "observer", "refuses", "changes"])
def test_good_plugins_pass(plugin: type[Any]) -> None:
    check_plugin(plugin)


def test_an_observer_is_a_watch_and_nobody_is_a_tunnel() -> None:
    for plugin, mode in ((Nobody, "tunnel"), (OBSERVER, "watch")):
        with Correspondence(plugin) as session:
            session.sign_in()
            assert session.mode == mode
            assert session.faults == []


def raising(view: Session, thing: Any) -> None:
    raise KeyError("no such thing")


def shouting(view: Session, thing: Any) -> None:
    logging.getLogger("acme").info("hello")


class Fickle:
    """Says something else each time."""

    portico_interests = ("fetch item FLAGS",)

    def __init__(self) -> None:
        self.count = 0

    @hookimpl
    def session_opened(self, session: Session) -> Interests:
        return Interests(fetch_items={"FLAGS": self.flags})

    def flags(self, session: Session, item: FetchItem) -> bytes:
        Fickle.total = getattr(Fickle, "total", 0) + 1
        return b"(\\Seen k%d)" % Fickle.total


class Leaks:
    @hookimpl
    def login_attempted(self, attempt: LoginAttempt) -> None:
        if attempt.password is not None:
            logging.getLogger("acme").warning("tried %r", attempt.password.reveal())


class Refuses:
    @hookimpl
    def login_attempted(self, attempt: LoginAttempt) -> Refuse | None:
        return Refuse("Only Carol.") if attempt.user != "carol" else None


class Closed:
    @hookimpl
    def client_connected(self) -> Refuse:
        return Refuse("Closed today.")


class Stumbles:
    @hookimpl
    async def session_opened(self, session: Session) -> None:
        raise OSError("my database is gone")


class Mistyped:
    @hookimpl
    def session_open(self, session: Session) -> None: ...


class Greedy:
    @hookimpl
    def session_opened(self, session: Session, sockets: Any) -> None: ...


class NoHook:
    def session_opened(self, session: Session) -> None: ...


def declares(*options: Option) -> type[Any]:
    class Declares:
        @hookimpl
        def settings_declared(self) -> list[Option]:
            return list(options)

    return Declares


@pytest.mark.parametrize(
    ("plugin", "complaint"),
    [
        (interested(Interests({"NOOP": raising}), "command NOOP"), "plugin: IMAP, whole: command NOOP: KeyError"),
        (interested(Interests({"NOOP": SILENT})), "not declared in portico_interests: command NOOP"),
        (interested(Interests({"NOOP": SILENT}), "NOOP"), "portico_interests: 'NOOP' is none of"),
        (Fickle, "depends on how the octets arrive"),
        (Leaks, "the user's password was written"),
        (Refuses, "alice cannot sign in as without the plugin(?s:.*)Only Carol"),
        (Closed, "the greeting is another one(?s:.*)Closed today"),
        (Stumbles, "session_opened: OSError raised"),
        (Mistyped, "there is no hook session_open; possible: .*; did you mean session_opened"),
        (Greedy, "sockets"),
        (NoHook, "is the decorator @hookimpl missing"),
        (declares(Option("text", str, "")), "option 'text' has no help"),
        (declares(Option("text", str, "Text.", 5)), "the default of option text, 5, is not of its type"),
        (declares(Option("enabled", bool, "Reserved.", True)), "option 'enabled' cannot be declared"),
        (declares(Option("text", str, "Text.")), "option text: is needed"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else value[:40],
)
def test_bad_ones_do_not_and_are_told_why(plugin: type[Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_plugin(plugin)


def test_who_may_sign_in_can_be_said() -> None:
    check_plugin(Refuses, user="carol")


def test_options_that_are_wrong_are_told() -> None:
    with pytest.raises(AssertionError, match=r"option tex: there is no such option.*did you mean text"):
        check_plugin(declares(Option("text", str, "Text.", "x")), {"tex": "y"})
