"""What mounts add to the lists of mailboxes that a client is told.

Rule of this file: LIST, LSUB and NAMESPACE are asked of the main server, and behind its answer the mounts come with what their stores
list, mapped and as far as the settings allow. Where a store cannot be asked, what it listed last is told, or the answer is NO.
Subscriptions that the proxy keeps are the user's, whoever signs in at the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from portico.errors import PeerError
from portico.session.decisions import Record
from portico.session.events import MAIN
from portico.session.imap.kinds import LISTS
from portico.session.imap.listing import Listing, parse_list
from portico.session.imap.reach import Reach
from portico.session.imap.steps import Ask, Done, Forward, Job, Part, Say, no, unavailable
from portico.session.imap.store import Store
from portico.session.mounts.memory import Memory, Subscriptions
from portico.session.mounts.pattern import too_many
from portico.wire.imap import CommandLine, unquoted, value_end
from portico.wire.mailbox import Listed, astring, parse_listed, spans

_SUBSCRIPTIONS: Final = 10_000
"""That the proxy keeps of a user."""


class Lists:
    """The jobs that list in one session."""

    def __init__(self, tree: Reach, memory: Memory, subscriptions: Subscriptions | None, user: str) -> None:
        self._tree = tree
        self._memory = memory
        self._subscriptions = subscriptions
        self._user = user

    def mailboxes(self, head: CommandLine, arguments: bytes) -> Job:
        try:
            request = parse_list(head.name, arguments)
        except PeerError:
            return Forward(MAIN, arguments)
        if too_many(request.whole):
            return Done(no("LIMIT", "These are too many patterns, or too long ones."))
        if not (yield from self._tree.learn()):
            return Done(no("UNAVAILABLE", "The server does not say what parts the levels of folders."))
        if not any(request.patterns) and (store := self._tree.owner(request.reference)) is not None:
            # RFC 9051 6.3.9: an empty name asks for the separator and the root of the reference.
            yield Say(Listed(head.name, (b"\\Noselect",), store.place.separator, b"", b"").response())
            return Done(b"OK Completed.")
        got = yield Ask(MAIN, head.name.encode() + b" " + arguments)  # what it lists goes straight to the client
        if not got.ok:
            return Done(got.rest)
        missing: Store | None = None
        for store in self._tree.stores.values():
            if not request.whole:
                continue
            listing = Listing(store.place, request, self._overrides(store))
            if not (yield from self._list_store(store, listing)):
                missing = store
        return Done(unavailable(missing) if missing is not None else got.rest)

    def _list_store(self, store: Store, listing: Listing) -> Part:
        """What a mount adds to a listing. False: nobody knows what it would add."""
        if not listing.asks:
            yield Say(b"".join(head.response() for head in listing.heads(any_below=False)))
            return True
        rights = store.mount.rights and (lambda name: self._tree.text_rights(store, name))
        found: dict[bytes, Listed] = {}
        names: set[bytes] = set()
        ahead = listing.heads(any_below=False) if listing.heads_are_known else []

        def show(listed: Listed) -> bytes:
            """What the client is told of a mailbox of the store, each once, behind the mount itself."""
            if listed.name in found:
                return b""
            found[listed.name] = listed
            line = None if listing.asks_for_any else listing.shown(listed, rights, wanted)
            if line is None:
                return b""
            names.add(line.name)
            lines, ahead[:] = [*ahead, line], []
            return b"".join(each.response() for each in lines)

        def take(raw: bytes) -> bytes:
            listed = parse_listed(raw)
            if listed is not None:
                return show(listed)
            told = self._tree.mapped(store, "STATUS", raw)
            start = told.find(b" ", 2) + 1 if told is not None else 0
            # RFC 5819 2: of what is listed, not of all that the store was asked for, and behind it.
            return told if told is not None and unquoted(told[start : value_end(told, start)]) in names else b""

        reached = yield from self._tree.reach(store)
        wanted: frozenset[bytes] | None = None
        if not reached and store.refused and self._memory.listing(store.account) is None:
            return True  # it has said that there is nothing for this user, and has never said otherwise
        if reached and listing.asks_what_is_subscribed:
            got = yield Ask(store.leg, b'LSUB "" ' + astring(store.place.pattern_to_store(b"*")), LISTS | {"STATUS"})
            reached = got.ok
            wanted = frozenset(listed.name for raw in got.responses if (listed := parse_listed(raw)) is not None)
        for command in listing.commands if reached else ():
            got = yield Ask(store.leg, command, LISTS | {"STATUS"}, take=take)
            reached = reached and got.ok
        if reached and listing.everything:
            self._memory.listed(store.account, list(found.values()))
        elif not reached:
            last = self._memory.listing(store.account)
            if last is None or not listing.answered_by(last):
                return False
            yield Record("mount.list_remembered", {"server": store.mount.server, "prefix": store.mount.prefix, "mailboxes": len(last)})
            yield Say(b"".join(map(show, last)))
        if not listing.heads_are_known:
            ahead = listing.heads(any_below=bool(found))
        yield Say(b"".join(each.response() for each in ahead))
        return True

    def _overrides(self, store: Store) -> Mapping[str, bool]:
        if self._subscriptions is None or store.mount.subscribed == "store":
            return {}
        return self._subscriptions.subscriptions(self._account(store))

    def namespace(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 2342 5: the mounts are shared namespaces, the third of three lists."""
        yield from self._tree.learn()
        got = yield Ask(MAIN, b"NAMESPACE" + (b" " + arguments if arguments else b""), frozenset(["NAMESPACE"]))
        mounts = b"".join(b"(%b %b)" % (astring(store.place.below), astring(store.place.separator)) for store in self._listed())
        for raw in got.responses:
            start = raw.find(b" ", 2) + 1
            try:
                begin, end = spans(raw[start:].rstrip(b"\r\n"))[2]
            except (PeerError, IndexError):
                yield Say(raw)
                continue
            shared = raw[start + begin : start + end]
            shared = (b"(" + mounts + b")" if mounts else b"NIL") if shared.upper() == b"NIL" else shared[:-1] + mounts + b")"
            yield Say(raw[: start + begin] + shared + raw[start + end :])
        return Done(got.rest)

    def _listed(self) -> list[Store]:
        return [store for store in self._tree.stores.values() if store.mount.listed != "no"]

    def subscribe(self, store: Store, name: bytes, *, on: bool) -> Done:
        if self._subscriptions is None:
            return Done(no("CANNOT", "Subscriptions cannot be kept here."))
        account, text = self._account(store), store.place.text(name)
        said = self._subscriptions.subscriptions(account)
        if text not in said and len(said) >= _SUBSCRIPTIONS:
            return Done(no("LIMIT", "These are too many subscriptions."))
        self._subscriptions.subscribe(account, text, on)
        return Done(b"OK Completed.")

    def _account(self, store: Store) -> str:
        """Whose subscriptions: the user's, whoever signs in at the store."""
        return f"{store.mount.server}/{store.mount.root}/{self._user}"
