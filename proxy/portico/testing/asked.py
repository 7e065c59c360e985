"""How the proxy asks a plugin about messages, in tests.

Rule of this file: what is asked is asked twice, in the time that a session has, and in two sessions of one user which differ in all that
is a session's own: what is said is kept and shown for ever, so it must not depend on that. It knows nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from time import perf_counter, thread_time
from typing import Any, Final, Protocol

from portico.errors import PeerError
from portico.session.annotations.outline import Outline, outline_of_message
from portico.session.ask import raised
from portico.session.context import SessionView
from portico.session.decisions import Decision, Record
from portico.testing.samples import MESSAGES
from portico.wire.mime import scan

MOST_SECONDS: Final = 1.0
"""Of computing, for one call. Every session of the worker waits for it."""
MOST_WAITING: Final = 5.0
"""Seconds that one call may take by the clock, on whatever machine: whoever asks a server does not get by."""


class Asked:
    """One annotator or transformer in one session. `example`: a type as it may name one."""

    def __init__(self, where: str, view: SessionView, asked: Any, example: str) -> None:
        self.where = where
        self.view = view
        self.asked = asked
        self._example = example

    def words(self) -> None:
        """What it says of itself."""
        types = self.asked.types
        good = not isinstance(types, str) and all("/" in kind and kind == kind.lower() for kind in types)
        assert good, f"{self.where}: types {types!r}: content types in lower case are expected, as ({self._example!r},)"

    def twice(self, method: str, what: str, outline: Outline, *about: Any) -> Any:
        before, parts = deepcopy(outline.structure), deepcopy(about)
        first = self.call(method, what, outline, *about)
        again = self.call(method, what, outline, *about)
        assert outline.structure == before and about == parts, f"{self.where}: {method} changes what it is told of {what}"
        assert first == again, f"{self.where}: {method} answers twice about {what}, and differently: {_short(first)}, then {_short(again)}"
        return first

    def call(self, method: str, what: str, *about: Any) -> Any:
        function: Callable[..., Any] = getattr(self.asked, method)
        of = f" of {what}" if what else ""
        computed, began = thread_time(), perf_counter()
        try:
            said = function(self.view, *about)
        except Exception as error:
            raise AssertionError(f"{self.where}: {method}{of}: {raised(error)}") from error
        computed, waited = thread_time() - computed, perf_counter() - began
        assert computed <= MOST_SECONDS, f"{self.where}: {method}{of} computes for {computed:.1f} s; all sessions wait meanwhile"
        assert waited <= MOST_WAITING, f"{self.where}: {method}{of} takes {waited:.1f} s; it must not wait for anything"
        return said


class Check(Protocol):
    """Who asks about a whole message."""

    where: str
    view: SessionView

    def words(self) -> None: ...

    def about(self, what: str, outline: Outline, message: bytes) -> object:
        """What is said of it."""


def check_messages(
    checks: Sequence[Check],
    messages: Mapping[str, bytes],
    differs: Callable[[str, Any, Any], str],
    concerns: Callable[[bytes], bool] = lambda message: True,
) -> None:
    """`checks`: the same one in several sessions. `messages`: by what they are, beside our own; they are asked about where it `concerns`
    them. `differs`: what to say of a message of which two sessions say different things. Raises AssertionError in words."""
    where = checks[0].where
    for check in checks:
        check.words()
    for what, message in (MESSAGES | dict(messages)).items():
        if not concerns(message):
            continue
        try:
            outline = outline_for(checks[0].view, message)
        except PeerError as error:
            raise AssertionError(f"{where}: {what} is no message that Portico reads: {error.text}") from error
        said = [check.about(what, outline, message) for check in checks]
        assert all(each == said[0] for each in said), f"{where}: {differs(what, said[0], said[-1])}"


def nothing_wrong(out: Sequence[Decision]) -> None:
    """Raises AssertionError where a plugin was told to have done something wrong."""
    wrong = "; ".join(f"{each.fields['hook']}: {each.fields['error']}" for each in out if isinstance(each, Record))
    assert not wrong, wrong


def outline_for(view: SessionView, message: bytes) -> Outline:
    """What a plugin is told of a message in the inbox."""
    scanner = scan(message)
    outline = outline_of_message("uidl-1" if view.protocol == "pop3" else "", len(message), scanner)
    return outline if view.protocol == "pop3" else replace(outline, uid=7, uid_validity=1)


def _short(said: object) -> str:
    text = repr(said)
    return text if len(text) <= 1000 else f"{text[:1000]}…"
