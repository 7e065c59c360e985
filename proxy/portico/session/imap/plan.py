"""What is asked of the server for an annotated mailbox, and what becomes of a command then.

Rule of this file: a job is a generator that yields errands, which imap.annotated sends when the leg has nothing under way, and returns a
Plan. The client sees nothing of errands.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from portico.session.annotations.splice import Range
from portico.session.imap.rewrite import Section


class Errand(NamedTuple):
    """A command of ours, without tag and line end. Of its answer responses of these kinds are kept from the client."""

    command: bytes
    kinds: frozenset[str]
    ranges: Mapping[Section, Range] = MappingProxyType({})
    """As those of a Plan, where the answers are for the client."""
    news: bool = True
    """Flags that come with the answer were not asked for, and go to the client by themselves."""


class Say(NamedTuple):
    """Whole untagged responses of ours, for the client."""

    lines: bytes


class Result(NamedTuple):
    """What the server answered."""

    ok: bool
    responses: list[bytes]
    cut: bool = False
    """Some of it was too large to be held."""

    @property
    def whole(self) -> bool:
        return self.ok and not self.cut


@dataclass(slots=True)
class Plan:
    """What becomes of the client's command. `ranges`: what the client asked where the server is asked for another range.
    `answer`: it does not go to the server; these lines and OK are its answer."""

    arguments: bytes
    ranges: dict[Section, Range] = field(default_factory=dict)
    answer: bytes | None = None
    refusal: str = ""
    code: str = "CANNOT"
    """Of the refusal."""
    failure: tuple[str, str] | None = None
    """Code and text: where the server says OK, the client is told NO, because not all could be answered."""


IDLE: Final = None
"""Yielded in place of an Errand: go on when the leg has nothing under way, so that no message can change its number meanwhile."""

Job = Generator[Errand | Say | None, Result, Plan | None]
Steps = Generator[Errand | Say | None, Result, None]
