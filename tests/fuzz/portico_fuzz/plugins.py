"""Plugins that are interested in anything and say anything, allowed or not.

Rule of this file: what a handler says is drawn from octets of its own, so that a run can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portico.session.context import SessionView
from portico.session.interests import Answer, Change, Compiled, Drop, Interests, Refuse, compile_interests

from portico_fuzz.source import Source

COMMANDS = (
    "SELECT",
    "FETCH",
    "APPEND",
    "LOGOUT",
    "IDLE",
    "NOOP",
    "DELETE",
    "STATUS",
    "RETR",
    "LIST",
    "STAT",
    "TOP",
    "QUIT",
    "CAPABILITY",
    "CAPA",
)
RESPONSES = ("FETCH", "EXISTS", "TAGGED", "CAPABILITY", "OK", "BYE", "LIST", "RETR", "UIDL", "STAT")
ITEMS = ("RFC822.SIZE", "UID", "FLAGS", "BODY[]", "ENVELOPE")
_SAID: tuple[Callable[[Any], Any], ...] = (
    lambda thing: None,
    lambda thing: None,
    lambda thing: Change(b" x"),
    lambda thing: Change(b" {3+}\r\nabc"),
    lambda thing: Change(b"broken\r\nline"),
    lambda thing: Change(b"* 1 EXISTS\r\n"),
    lambda thing: Change(getattr(thing, "raw", getattr(thing, "arguments", b""))),
    lambda thing: Refuse("No.", "NOPERM"),
    lambda thing: Answer("Done.", [b"LIST () NIL x"]),
    lambda thing: Answer("Done."),
    lambda thing: Drop(),
    lambda thing: b"123",
    lambda thing: 1 // 0,
    lambda thing: "text",
)


def observers(view: SessionView) -> Compiled | None:
    """Interested in everything, changing nothing."""
    nothing = lambda view, thing: None  # noqa: E731
    return compile_interests(
        view, [("observer", Interests(dict.fromkeys(COMMANDS, nothing), dict.fromkeys(RESPONSES, nothing), dict.fromkeys(ITEMS, nothing)))]
    )


def compiled(source: Source, view: SessionView, moods: bytes | None) -> Compiled | None:
    """Some interests, saying what `moods` says; None: nobody is interested."""
    if moods is None:
        return None
    mood = Source(moods * 50)

    def handler(view: SessionView, thing: Any) -> Any:
        return mood.choice(_SAID)(thing)

    def some(names: tuple[str, ...]) -> dict[str, Callable[[SessionView, Any], Any]]:
        return {name: handler for name in names if source.chance(80)}

    return compile_interests(view, [("one", Interests(some(COMMANDS), some(RESPONSES), some(ITEMS))), ("two", Interests(some(COMMANDS)))])
