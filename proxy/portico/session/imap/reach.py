"""The mailbox tree of one session in which other accounts are mounted.

Rule of this file: whose a mailbox is, by which name the client and its store know it and what the settings allow of it; and how a job comes
to a store. What becomes of commands is decided in imap.mounts, imap.lists and imap.copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from portico.errors import PeerError
from portico.session.events import MAIN
from portico.session.imap.kinds import LISTS
from portico.session.imap.link import Link
from portico.session.imap.steps import Ask, Part
from portico.session.imap.store import Store
from portico.session.mounts.mount import ALL_RIGHTS
from portico.wire.imap import parse_arguments, unquoted, value_end
from portico.wire.mailbox import astring, parse_listed

NOWHERE: Final = b'EXAMINE "portico.selects.nothing"'
"""Unselects where the server has no UNSELECT (RFC 3691 2): a SELECT that fails leaves nothing selected."""


class Reach:
    """The stores of a session, and which mailbox is selected."""

    def __init__(self, stores: Mapping[int, Store], links: Mapping[int, Link]) -> None:
        self.stores = dict(stores)
        self.links = links
        self.selected: int | None = None
        """The leg of the selected mailbox."""
        self.mailbox = b""
        """The selected one, as the client names it."""
        self.read_only = False
        self.separator: bytes | None = None
        """Of the user's tree; None: not known yet."""
        self.enabled: list[bytes] = []
        """What the client has enabled (RFC 5161)."""

    @property
    def here(self) -> int:
        return MAIN if self.selected is None else self.selected

    def owner(self, name: bytes) -> Store | None:
        return next((store for store in self.stores.values() if store.place.owns(name)), None)

    def hides(self, kind: str, raw: bytes) -> bool:
        """Whether a response of the main server names a mailbox that cannot be seen, because a mount has its name."""
        listed = parse_listed(raw) if kind in LISTS else None
        if listed is not None:
            return self.owner(listed.name) is not None
        start = raw.find(b" ", 2) + 1
        try:
            name = name_in(raw[start : value_end(raw, start)])
        except PeerError:
            return False
        return name is not None and self.owner(name) is not None

    def mapped(self, store: Store, kind: str, raw: bytes) -> bytes | None:
        """A response of a store as the client may see it; None: not at all."""
        place = store.place
        if kind in LISTS:
            listed = parse_listed(raw)
            name = place.from_store(listed.name) if listed is not None else None
            return listed._replace(name=name, separator=place.separator).response() if listed is not None and name is not None else None
        start = raw.find(b" ", 2) + 1
        try:
            end = value_end(raw, start)
            given = unquoted(raw[start:end])
            if given is None:
                return None
            if kind == "QUOTA":
                return raw[:start] + astring(place.below + given) + raw[end:]
            if kind == "METADATA" and not given:
                return None
            name = place.from_store(given)
            if name is None or not set("r" if kind == "STATUS" else "lr") & set(self.rights(store, name)):
                return None
            if kind == "QUOTAROOT":
                roots = [astring(place.below + each) for each in parse_arguments(raw[end:].rstrip(b"\r\n")) if isinstance(each, bytes)]
                return b" ".join([raw[:start] + astring(name), *roots]) + b"\r\n"
            if kind == "MYRIGHTS" and store.mount.rights is not None:
                allowed = self.rights(store, name)
                return raw[:start] + astring(name) + b" " + _both(unquoted(raw[end:].strip()) or b"", allowed) + b"\r\n"
        except PeerError:
            return None
        return raw[:start] + astring(name) + raw[end:]

    def rights(self, store: Store, name: bytes) -> str:
        """What the settings allow of a mailbox."""
        return self.text_rights(store, store.place.text(name))

    def text_rights(self, store: Store, text: str) -> str:
        """What the settings allow of a mailbox, by its name under the mount."""
        rights = store.mount.rights
        try:
            return rights(text) if rights is not None else ALL_RIGHTS
        except Exception:
            return ""

    def learn(self) -> Part:
        """The separator of the user's tree (RFC 9051 6.3.9: LIST with an empty name)."""
        if self.separator is None:
            got = yield Ask(MAIN, b'LIST "" ""', frozenset(["LIST"]))
            found = [listed for raw in got.responses if (listed := parse_listed(raw)) is not None]
            if not got.ok:
                return False
            self.separator = (found[0].separator if found else b"") or b"/"
            for store in self.stores.values():
                store.place.separator = self.separator
        return True

    def reach(self, store: Store) -> Part:
        """The store is signed in at, has enabled what the client has, and its separator is known."""
        got = yield store
        if got.ok and not store.introduced:
            if self.enabled:
                got = yield Ask(store.leg, b"ENABLE " + b" ".join(self.enabled), frozenset(["ENABLED"]))
            if got.rest:
                got = yield Ask(store.leg, b'LIST "" ""', frozenset(["LIST"]))
            found = [listed for raw in got.responses if (listed := parse_listed(raw)) is not None]
            if got.ok:
                store.place.store_separator = (found[0].separator if found else b"") or b"/"
                store.introduced = True
        return got.ok


def name_in(value: bytes) -> bytes | None:
    """The mailbox that a value names; NIL is a name like any other (RFC 9051 9, mailbox). None: it is no string."""
    return b"NIL" if value.upper() == b"NIL" else unquoted(value)


def _both(one: bytes, other: str) -> bytes:
    """The rights that are in both; those of RFC 2086 stand for what they were split into (RFC 4314 2.1.1)."""
    old = {"c": "kx", "d": "etx"}
    allowed = set(other)
    kept = [letter for letter in one.decode("ascii", "replace") if letter in allowed or set(old.get(letter, "-")) <= allowed]
    return "".join(kept).encode() or b'""'
