"""Sources of routes that have to be asked: what they are asked, what they say, how long that holds.

Rule of this file: a Question in; a Found, a Refusal or None (ask the next source) out, never an exception: a source that cannot be asked is
a Refusal UNAVAILABLE and a line in the log. What was said to one password is never said to another; of passwords only keyed digests are
kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from portico.errors import PorticoError, Secret
from portico.session.context import Refusal, SessionView


@dataclass(frozen=True, slots=True)
class Question:
    """Who wants to sign in."""

    user: str
    view: SessionView
    mechanism: str
    password: Secret | None
    attempt: int = 1
    """Of this connection, from 1."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where somebody's mail is. Neither server nor host: where it would be without this answer."""

    server: str = ""
    """A name of servers or groups in the settings."""
    host: str = ""
    """Or a host, as `port` is set."""
    port: int = 0
    user: str = ""
    """The name to sign in with there; empty: the client's own."""
    password: Secret | None = None
    """To sign in with there; used only where it has been proved who the client is."""
    verified: bool = False
    """The source has checked the client's password."""
    template: str | None = None
    """Name of the server whose settings hold for a host that is in none of them."""
    lookup: str = ""
    """Which source said so."""


Answer = Found | Refusal | None


class Lookup(Protocol):
    """A source that may have to be waited for."""

    name: str

    def find(self, question: Question) -> Answer | Awaitable[Answer]: ...

    async def close(self) -> None: ...


class LookupFailed(PorticoError):
    """`reason` is one word, `detail` for the log; neither has any part of a secret."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


Report = Callable[[str, dict[str, Any]], None]


class Cached:
    """Asks by `ask`, and remembers. `key`: what an answer depends on; `holds`: seconds for which an answer does. `seconds`: how long
    asking may take; None: `ask` sees to it."""

    def __init__(
        self,
        name: str,
        ask: Callable[[Question], Awaitable[Answer]],
        key: Callable[[Question], object],
        holds: Callable[[Answer], float],
        report: Report,
        *,
        most: int,
        seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._ask = ask
        self._key = key
        self._report = report
        self._seconds = seconds
        self._holds = holds
        self.answers = Answers(most, clock)

    def find(self, question: Question) -> Answer | Awaitable[Answer]:
        """At once where it is known."""
        key = self._key(question)
        known, answer = self.answers.get(key)
        return answer if known else self._find(question, key)

    async def _find(self, question: Question, key: object) -> Answer:
        try:
            async with asyncio.timeout(self._seconds):
                answer = await self._ask(question)
        except TimeoutError:
            return self._failed("timeout", f"no answer in {self._seconds or 0:g} seconds")
        except LookupFailed as error:
            return self._failed(error.reason, error.detail)
        except Exception as error:  # of a library: its words may hold what was asked
            return self._failed("bug", type(error).__name__)
        self.answers.put(key, answer, self._holds(answer))
        return answer

    def _failed(self, reason: str, detail: str) -> Refusal:
        self._report("lookup.failed", {"lookup": self.name, "reason": reason, "detail": detail})
        return unavailable("lookup")


@dataclass(slots=True)
class Answers:
    """What is remembered, the least recently used forgotten first."""

    most: int
    clock: Callable[[], float] = time.monotonic
    _known: OrderedDict[object, tuple[float, Answer]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: object) -> tuple[bool, Answer]:
        """Whether it is known, and what."""
        found = self._known.get(key)
        if found is None:
            return False, None
        until, answer = found
        if self.clock() >= until:
            del self._known[key]
            return False, None
        self._known.move_to_end(key)
        return True, answer

    def put(self, key: object, answer: Answer, seconds: float) -> None:
        """It holds for so long."""
        if seconds > 0:
            self._known[key] = (self.clock() + seconds, answer)
            self._known.move_to_end(key)
            while len(self._known) > self.most:
                self._known.popitem(last=False)


class Digest:
    """Passwords as keys of a memory: without the process's own key nothing can be found out from them."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def of(self, secret: Secret | None) -> bytes:
        if secret is None:
            return b""
        return hmac.new(self._key, secret.reveal(), hashlib.sha256).digest()


def unavailable(reason: str) -> Refusal:
    """Not the client's fault."""
    return Refusal("Temporary failure; try again later.", "UNAVAILABLE", reason)
