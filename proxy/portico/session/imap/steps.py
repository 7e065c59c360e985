"""What a job asks for, step by step, and how it ends.

Rule of this file: a job is a generator that yields steps and returns what becomes of the client's command; it sends nothing itself. Which
leg is there, and when a step may be taken, is imap.mounted's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import Final, NamedTuple

from portico.session.decisions import Disconnect, Record
from portico.session.imap.store import Store
from portico.session.imap.transfer import Transfer

_LIST_IN_CODE: Final = re.compile(rb"\[CAPABILITY [^\]\r\n]*\] ?", re.IGNORECASE)


class Ask(NamedTuple):
    """A command of ours, without tag and line end. Untagged responses of these kinds are kept from the client."""

    leg: int
    command: bytes
    kinds: frozenset[str] = frozenset()
    name: str = ""
    """Where it selects or unselects: the command's."""
    mailbox: bytes | None = None
    take: Callable[[bytes], bytes | None] | None = None
    """Gets these responses one by one, and may return what the client is told at once; else they are collected."""


class Say(NamedTuple):
    """Whole lines for the client."""

    data: bytes


class Reopen(NamedTuple):
    """A store that has just been lost is tried once more, though it rests."""

    store: Store


class Got(NamedTuple):
    """The tagged answer without its tag; empty: the leg is gone, or could not be opened."""

    rest: bytes
    responses: list[bytes]

    @property
    def ok(self) -> bool:
        return self.rest[:2].upper() == b"OK"


class Forward(NamedTuple):
    """The end of a job: the client's command goes to a leg with these arguments, and the answer to the client."""

    leg: int
    arguments: bytes


class Done(NamedTuple):
    """The end of a job: what the client is told behind its tag."""

    rest: bytes


Step = Ask | Say | Store | Reopen | Transfer | Record | Disconnect
Job = Generator[Step, Got, Forward | Done]
Part = Generator[Step, Got, bool]


def without_list(raw: bytes) -> bytes:
    """A status response of a store without the capability list in its code: it says nothing of the session's other servers."""
    return _LIST_IN_CODE.sub(b"", raw, count=1)


def unavailable(store: Store) -> bytes:
    return no("UNAVAILABLE", f"The server of {store.mount.prefix!a} cannot be reached.")


def no(code: str, text: str) -> bytes:
    return f"NO [{code}] {text}".encode()


def as_no(rest: bytes) -> bytes:
    """What a server said of a command of ours, as the answer to the client's: its BAD would be our mistake."""
    return b"NO" + rest[3:] if rest[:3].upper() == b"BAD" else rest
