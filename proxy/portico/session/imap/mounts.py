"""What becomes of commands in a mailbox tree in which other accounts are mounted.

Rule of this file: each command that names a mailbox is a *job*, a generator that yields steps and returns what the client is told; it sends
nothing itself. Which leg is there, and when a step may be taken, is imap.mounted's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.session.context import SessionView
from portico.session.decisions import Disconnect, Record
from portico.session.events import MAIN
from portico.session.imap.link import Link
from portico.session.imap.listing import Listing, parse_list
from portico.session.imap.store import Store
from portico.session.imap.transfer import Message, Transfer, metadata_of
from portico.session.mounts.memory import Memory, Subscriptions
from portico.session.mounts.mount import ALL_RIGHTS
from portico.session.mounts.pattern import too_many
from portico.wire.fetch import sequence_set
from portico.wire.imap import CommandLine, parse_arguments, unquoted, value_end
from portico.wire.mailbox import Listed, astring, parse_listed, spans

NEWS: Final = frozenset(["EXISTS", "RECENT", "EXPUNGE", "VANISHED", "FETCH", "FLAGS", "SEARCH", "SORT", "THREAD", "ESEARCH"])
"""Responses about the selected mailbox (RFC 9051 7.3, 7.4)."""
NAMING: Final = frozenset(["LIST", "LSUB", "STATUS", "ACL", "MYRIGHTS", "LISTRIGHTS", "QUOTAROOT", "QUOTA", "METADATA"])
"""Responses that name a mailbox, or a quota root."""
NOT_THE_CLIENTS: Final = frozenset(["CAPABILITY", "ENABLED", "ID", "BYE", "NAMESPACE", "LANGUAGE"])
"""Responses of a store that are of its connection only."""
LISTS: Final = frozenset(["LIST", "LSUB"])

_ARGUMENT: Final = {
    "SELECT": 0, "EXAMINE": 0, "CREATE": 0, "DELETE": 0, "SUBSCRIBE": 0, "UNSUBSCRIBE": 0, "STATUS": 0, "APPEND": 0, "GETACL": 0,
    "SETACL": 0, "DELETEACL": 0, "LISTRIGHTS": 0, "MYRIGHTS": 0, "GETQUOTAROOT": 0, "SETMETADATA": 0, "GETMETADATA": 0, "COPY": 1,
    "MOVE": 1, "GETQUOTA": 0, "SETQUOTA": 0,
}  # fmt: skip
"""Which argument names the mailbox, or the quota root."""
SETTLES: Final = frozenset([*_ARGUMENT, "RENAME", "LIST", "LSUB", "NAMESPACE"])
"""With the first of these it is settled which mounts there are."""
JOBS: Final = frozenset([*_ARGUMENT, "RENAME", "LIST", "LSUB", "NAMESPACE", "ENABLE", "LOGOUT", "CAPABILITY"])
GUARDED: Final = frozenset(["STORE", "EXPUNGE", "CLOSE"])
"""Jobs too, where the proxy looks after rights."""
_NEEDS: Final = {
    "SELECT": "r", "EXAMINE": "r", "STATUS": "r", "APPEND": "i", "COPY": "i", "MOVE": "i", "DELETE": "x", "CREATE": "k", "RENAME": "x",
    "SETACL": "a", "DELETEACL": "a", "GETACL": "a", "LISTRIGHTS": "a", "SETMETADATA": "w", "GETMETADATA": "r", "GETQUOTAROOT": "r",
}  # fmt: skip
"""RFC 4314 4: of these rights one is needed for the command."""
_NOT_THE_MOUNT: Final = {"CREATE": "ALREADYEXISTS", "DELETE": "CANNOT", "RENAME": "CANNOT"}
_BY_NAME: Final = frozenset(["GETQUOTA", "SETQUOTA"])
"""They name a quota root, of which no mailbox's rights say anything."""
_TO_STORE: Final = re.compile(
    rb" *[\d:,*$]+ +(?:\([^()]*\) +)?([+-]?)FLAGS(?:\.SILENT)? +(\(?)((?:\\?+[^\s()\\\"{}%*]++ *+)*+)\)?\Z", re.IGNORECASE
)
"""The arguments of STORE (RFC 9051 6.4.6; RFC 7162 3.1.3): the sign, and the flags."""
_SUBSCRIPTIONS: Final = 10_000
"""That the proxy keeps of a user."""
_SET: Final = re.compile(rb"[\d:,*$]+")
_PERMANENT: Final = re.compile(rb"\* OK \[PERMANENTFLAGS \(([^()]*)\)\]", re.IGNORECASE)
_LIST_IN_CODE: Final = re.compile(rb"\[CAPABILITY [^\]\r\n]*\] ?", re.IGNORECASE)
_NOWHERE: Final = b'EXAMINE "portico.selects.nothing"'
"""Unselects where the server has no UNSELECT (RFC 3691 2): a SELECT that fails leaves nothing selected."""

OF_THE_SELECTED: Final = frozenset(
    [
        "CHECK",
        "CLOSE",
        "UNSELECT",
        "EXPUNGE",
        "SEARCH",
        "FETCH",
        "STORE",
        "COPY",
        "MOVE",
        "SORT",
        "THREAD",
        "IDLE",
        "NOOP",
        "CANCELUPDATE",
        "UIDBATCHES",
    ]
)
"""Commands about the selected mailbox. No other one goes to a store as the client wrote it: it could name any mailbox there."""
_WITHHELD: Final = frozenset(
    b"""CATENATE URLAUTH URLAUTH=BINARY URL-PARTIAL OBJECTID OBJECTIDBIS MULTISEARCH NOTIFY JMAPACCESS REPLACE XLIST X-GM-EXT-1
    LIST-METADATA LOGIN-REFERRALS XAPPLEPUSHSERVICE UIDONLY CONVERT ANNOTATE-EXPERIMENT-1 FILTERS LANGUAGE INPROGRESS""".split()
)
"""Extensions that name mailboxes, or say something of all of them, in ways that are not mapped here."""
_OF_THE_PROXY: Final = frozenset(
    b"IMAP4REV1 IMAP4 ID LITERAL+ LITERAL- SASL-IR NAMESPACE SPECIAL-USE CREATE-SPECIAL-USE LOGINDISABLED STARTTLS ENABLE".split()
)
"""What does not depend on the stores."""


def announced_with_mounts(name: bytes, stores: list[frozenset[bytes] | None]) -> bool:
    """Whether a capability can be kept for mailboxes of all these stores. None: nobody has seen yet what that one can do, and the personal
    mail does not suffer for it: should the store be less able, it says so itself."""
    upper = name.upper()
    if upper in _WITHHELD:
        return False
    return upper in _OF_THE_PROXY or upper.startswith(b"AUTH=") or all(store is None or upper in store for store in stores)


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


class Mounts:
    """The state of the tree in one session, and the jobs."""

    def __init__(
        self, stores: Mapping[int, Store], links: Mapping[int, Link], memory: Memory, subscriptions: Subscriptions | None, user: str
    ) -> None:
        self.stores = dict(stores)
        self.links = links
        self.selected: int | None = None
        """The leg of the selected mailbox."""
        self.selecting: int | None = None
        """The leg that is being asked to select one."""
        self.mailbox = b""
        """The selected one, as the client names it."""
        self._opening = b""  # the mailbox that is being selected
        self.read_only = False
        self.guarded = any(store.mount.rights is not None for store in stores.values())
        self.names = (JOBS | GUARDED if self.guarded else JOBS) if stores else frozenset[str]()
        self._memory = memory
        self._subscriptions = subscriptions
        self._user = user
        self._transfer_of: Transfer | None = None
        self._removing = False
        self._separator: bytes | None = None
        self._enabled: list[bytes] = []
        self._settled = all(store.mount.serves is None for store in stores.values())

    @property
    def current(self) -> int | None:
        """The leg of whose mailbox the client is told news."""
        return self.selecting if self.selecting is not None else self.selected

    @property
    def capabilities(self) -> list[frozenset[bytes] | None]:
        return [self._memory.capabilities(store.mount.server) for store in self.stores.values()]

    def settle(self, view: SessionView) -> list[tuple[str, BaseException]]:
        """Leave out the mounts that are not for this client, once. What plugins raised: then theirs is not there."""
        faults: list[tuple[str, BaseException]] = []
        if self._settled:
            return faults
        self._settled = True
        for leg, store in list(self.stores.items()):
            try:
                there = store.mount.serves is None or bool(store.mount.serves(view))
            except Exception as error:
                there = False
                faults.append((store.plugin, error))
            if not there:
                del self.stores[leg]
        return faults

    # -- whose a command is

    def plain(self, head: CommandLine, arguments: bytes) -> bool:
        """Whether the command is the main server's alone, as far as is known without asking."""
        if self.selected not in (None, MAIN):
            return False
        if head.name in ("SELECT", "EXAMINE", "STATUS", "APPEND", "COPY", "MOVE"):
            name = self._named(head, arguments)
            return name is None or name.upper() == b"INBOX" or (self._separator is not None and self._owner(name) is None)
        return head.name == "CAPABILITY" or head.name in GUARDED

    def _named(self, head: CommandLine, arguments: bytes) -> bytes | None:
        index = _ARGUMENT[head.name]
        try:
            start, end = spans(arguments, index + 1)[index]
        except (PeerError, IndexError):
            return None
        return _name(arguments[start:end])

    def _owner(self, name: bytes) -> Store | None:
        return next((store for store in self.stores.values() if store.place.owns(name)), None)

    def hides(self, kind: str, raw: bytes) -> bool:
        """Whether a response of the main server names a mailbox that cannot be seen, because a mount has its name."""
        listed = parse_listed(raw) if kind in LISTS else None
        if listed is not None:
            return self._owner(listed.name) is not None
        start = raw.find(b" ", 2) + 1
        try:
            name = _name(raw[start : value_end(raw, start)])
        except PeerError:
            return False
        return name is not None and self._owner(name) is not None

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
            if name is None or not set("r" if kind == "STATUS" else "lr") & set(self._rights(store, name)):
                return None
            if kind == "QUOTAROOT":
                roots = [astring(place.below + each) for each in parse_arguments(raw[end:].rstrip(b"\r\n")) if isinstance(each, bytes)]
                return b" ".join([raw[:start] + astring(name), *roots]) + b"\r\n"
            if kind == "MYRIGHTS" and store.mount.rights is not None:
                allowed = self._rights(store, name)
                return raw[:start] + astring(name) + b" " + _both(unquoted(raw[end:].strip()) or b"", allowed) + b"\r\n"
        except PeerError:
            return None
        return raw[:start] + astring(name) + raw[end:]

    def _rights(self, store: Store, name: bytes) -> str:
        """What the settings allow of a mailbox."""
        return self._text_rights(store, store.place.text(name))

    # -- jobs

    def job(self, head: CommandLine, arguments: bytes) -> Job:
        """What is to be done for a command in `names`."""
        own: Callable[[CommandLine, bytes], Job] | None = {
            "LIST": self._list, "LSUB": self._list, "NAMESPACE": self._namespace, "ENABLE": self._enable, "LOGOUT": self._logout,
            "CAPABILITY": self._to_main, "RENAME": self._rename, "STORE": self._store, "EXPUNGE": self._expunge, "CLOSE": self._close,
        }.get(head.name)  # fmt: skip
        return own(head, arguments) if own is not None else self._one(head, arguments)

    @property
    def _here(self) -> int:
        return MAIN if self.selected is None else self.selected

    def _to_main(self, head: CommandLine, arguments: bytes) -> Job:
        yield from ()
        return Forward(MAIN, arguments)

    def _logout(self, head: CommandLine, arguments: bytes) -> Job:
        for leg in self.stores:
            if leg in self.links:
                yield Disconnect(leg)
        return Forward(MAIN, arguments)

    def _learn(self) -> Part:
        """The separator of the user's tree (RFC 9051 6.3.9: LIST with an empty name)."""
        if self._separator is None:
            got = yield Ask(MAIN, b'LIST "" ""', frozenset(["LIST"]))
            found = [listed for raw in got.responses if (listed := parse_listed(raw)) is not None]
            if not got.ok:
                return False
            self._separator = (found[0].separator if found else b"") or b"/"
            for store in self.stores.values():
                store.place.separator = self._separator
        return True

    def _reach(self, store: Store) -> Part:
        """The store is signed in at, has enabled what the client has, and its separator is known."""
        got = yield store
        if got.ok and not store.introduced:
            if self._enabled:
                got = yield Ask(store.leg, b"ENABLE " + b" ".join(self._enabled), frozenset(["ENABLED"]))
            if got.rest:
                got = yield Ask(store.leg, b'LIST "" ""', frozenset(["LIST"]))
            found = [listed for raw in got.responses if (listed := parse_listed(raw)) is not None]
            if got.ok:
                store.place.store_separator = (found[0].separator if found else b"") or b"/"
                store.introduced = True
        return got.ok

    def _one(self, head: CommandLine, arguments: bytes) -> Job:
        """A command with one mailbox in it."""
        index = _ARGUMENT[head.name]
        if head.name == "GETMETADATA" and arguments.lstrip(b" ")[:1] == b"(":
            index = 1  # options come first (RFC 5464 4.2)
        try:
            where = spans(arguments, index + 1)
            name = _name(arguments[slice(*where[index])])
        except (PeerError, IndexError):
            name = None
        if name is not None and arguments[where[index][1] :][:1] not in (b"", b" "):
            name = None  # ``a{5}CRLF`` is an atom to us and a literal to who framed it: what follows must not become a line of its own
        if name is None:
            # The main server says what is wrong with it, should it think so; a store is not to make of it what nobody has understood.
            return Forward(MAIN, arguments) if self._here == MAIN else Done(b"BAD Invalid arguments")
        if not (yield from self._learn()):
            return Done(_no("UNAVAILABLE", "The server does not say what parts the levels of folders."))
        store = self._owner(name)
        if store is None:
            return (yield from self._of_main(head, arguments, name))
        return (yield from self._of_store(head, arguments, name, store, where[index]))

    def _of_main(self, head: CommandLine, arguments: bytes, name: bytes) -> Job:
        if head.name in ("SELECT", "EXAMINE"):
            return (yield from self._select(head, arguments, name, MAIN))
        if head.name in ("COPY", "MOVE") and self.selected not in (None, MAIN):
            return (yield from self._transfer(head, arguments, MAIN, name))
        return Forward(MAIN, arguments)

    def _of_store(self, head: CommandLine, arguments: bytes, name: bytes, store: Store, where: tuple[int, int]) -> Job:
        place, quota = store.place, head.name in _BY_NAME
        own = head.name in ("SUBSCRIBE", "UNSUBSCRIBE") and store.mount.subscribed != "store"
        if place.is_mount(name) and not quota and not own:
            if head.name != "MYRIGHTS":
                return Done(_no(_NOT_THE_MOUNT.get(head.name, "CANNOT"), "This is no mailbox, but the place where others are."))
            yield Say(b"* MYRIGHTS %b lr\r\n" % astring(name))
            return Done(b"OK Completed.")
        if quota and store.mount.rights is not None:
            return Done(_no("NOPERM", "You have no right to do this."))
        if not own and not (yield from self._reach(store)):
            return Done(unavailable(store))
        if not quota:
            refused = self._refused(head, store, name)
            if refused:
                return Done(refused)
            given, name = name, place.known(name) or name
            name += place.separator if given.endswith(place.separator) else b""
        if own:
            return self._subscribe(store, name, on=head.name == "SUBSCRIBE")
        if head.name == "APPEND" and _catenates(arguments[where[1] :]):
            return Done(_no("CANNOT", "This extension is not offered."))  # RFC 4469: its URLs name mailboxes
        allowed = self._rights(store, name)
        given = place.inner(name) if quota else place.to_store(name)
        mapped = arguments[: where[0]] + astring(given) + arguments[where[1] :]
        if head.name in ("SELECT", "EXAMINE"):
            read_only = head.name == "EXAMINE" or "s" not in allowed  # else FETCH of a body would set \\Seen
            return (yield from self._select(head, mapped, name, store.leg, read_only=read_only))
        if head.name in ("COPY", "MOVE") and self.selected != store.leg:
            return (yield from self._transfer(head, arguments, store.leg, given))
        if head.name == "MOVE" and not {"t", "e"} <= set(self._rights(store, self.mailbox)):
            return Done(_no("NOPERM", "You have no right to remove messages here."))
        return Forward(store.leg, mapped)

    def _refused(self, head: CommandLine, store: Store, name: bytes) -> bytes:
        """Why a command about a mailbox under the mount is not to be; nothing: the store may be asked."""
        known = store.place.known(name)
        if known is None:
            if head.name == "CREATE":
                return _no("CANNOT", "A folder cannot be called so here.")
            return _no("NONEXISTENT", "There is no such mailbox.")
        allowed = self._rights(store, known)
        if not allowed:
            return (
                _no("NOPERM", "You have no right to do this.") if head.name == "CREATE" else _no("NONEXISTENT", "There is no such mailbox.")
            )
        need = _NEEDS.get(head.name)
        if need is not None and need not in (self._rights(store, self._above(store, known)) if head.name == "CREATE" else allowed):
            return _no("NOPERM", "You have no right to do this.")
        return b""

    def _above(self, store: Store, name: bytes) -> bytes:
        above, _, _ = name.rstrip(store.place.separator).rpartition(store.place.separator)
        return above

    def _subscribe(self, store: Store, name: bytes, *, on: bool) -> Done:
        if self._subscriptions is None:
            return Done(_no("CANNOT", "Subscriptions cannot be kept here."))
        account, text = self._account(store), store.place.text(name)
        said = self._subscriptions.subscriptions(account)
        if text not in said and len(said) >= _SUBSCRIPTIONS:
            return Done(_no("LIMIT", "These are too many subscriptions."))
        self._subscriptions.subscribe(account, text, on)
        return Done(b"OK Completed.")

    def _account(self, store: Store) -> str:
        """Whose subscriptions: the user's, whoever signs in at the store."""
        return f"{store.mount.server}/{store.mount.root}/{self._user}"

    def _rename(self, head: CommandLine, arguments: bytes) -> Job:
        try:
            names = [_name(arguments[start:end]) for start, end in spans(arguments)]
        except PeerError:
            names = []
        if len(names) != 2 or names[0] is None or names[1] is None:
            return Forward(MAIN, arguments) if self._here == MAIN else Done(b"BAD Invalid arguments")
        if not (yield from self._learn()):
            return Done(_no("UNAVAILABLE", "The server does not say what parts the levels of folders."))
        old, new = self._owner(names[0]), self._owner(names[1])
        if old is None and new is None:
            return Forward(MAIN, arguments)
        if old is not new or old is None:
            return Done(_no("CANNOT", "A folder cannot be renamed from one server to another: make a new one and move the messages."))
        if old.place.is_mount(names[0]) or old.place.is_mount(names[1]):
            return Done(_no("CANNOT", "This is no mailbox, but the place where others are."))
        if not (yield from self._reach(old)):
            return Done(unavailable(old))
        refused = self._refused(head, old, names[0]) or self._refused(head._replace(name="CREATE"), old, names[1])
        if not refused and old.mount.rights is not None:
            refused = yield from self._takes_along(old, names[0])
        if refused:
            return Done(refused)
        return Forward(old.leg, astring(old.place.to_store(names[0])) + b" " + astring(old.place.to_store(names[1])))

    def _takes_along(self, store: Store, name: bytes) -> Generator[Step, Got, bytes]:
        """Why a mailbox cannot be renamed: what is under it is renamed too, and leaves the names by which the settings know it."""
        below = store.place.to_store(name.removesuffix(store.place.separator)) + store.place.store_separator
        got = yield Ask(store.leg, b'LIST "" ' + astring(below + b"*"), LISTS)
        if not got.ok:
            return unavailable(store)
        under = [listed.name for raw in got.responses if (listed := parse_listed(raw)) is not None and listed.name.startswith(below)]
        known = [store.place.from_store(each) for each in under]
        if all(each is not None and "x" in self._rights(store, each) for each in known):
            return b""
        return _no("NOPERM", "You have no right to do this with all that is under it.")

    # -- selecting

    def _select(self, head: CommandLine, arguments: bytes, name: bytes, leg: int, *, read_only: bool = False) -> Job:
        if self.selected is not None and self.selected != leg:
            yield from self._unselect()
            yield Say(b"* OK [CLOSED] Previous mailbox is closed.\r\n")  # RFC 7162 3.2.11: what follows is about the other one
        self.selecting, self._opening = leg, name
        command = b"EXAMINE" if read_only else head.name.encode()
        got = yield Ask(leg, command + b" " + arguments, name=head.name, mailbox=name)
        self.selecting = None
        if not got.rest:
            self.selected = None
        return Done(without_list(got.rest) or _no("UNAVAILABLE", "The server of this folder closed the connection."))

    def _unselect(self) -> Part:
        """Without expunging (RFC 3691)."""
        leg = self._here
        link = self.links.get(leg)
        able = link is not None and bool(link.capabilities & {b"UNSELECT", b"IMAP4REV2"})
        got = yield Ask(leg, b"UNSELECT" if able else _NOWHERE, NEWS | frozenset(["OK"]), name="UNSELECT")
        self.selected = None
        return got.ok

    def completed(self, name: str, leg: int, rest: bytes, mailbox: bytes | None) -> None:
        """A leg has answered a command."""
        kind = rest[:2].upper()
        if name in ("SELECT", "EXAMINE"):
            if kind == b"OK":
                self.selected, self.mailbox = leg, mailbox or b""
                self.read_only = b"[READ-ONLY]" in rest.upper() or name == "EXAMINE"
            elif kind == b"NO" or self.selected != leg:
                self.selected = None
        elif name in ("CLOSE", "UNSELECT") and kind == b"OK":
            self.selected = None

    def left(self, leg: int) -> None:
        """The leg is gone."""
        if self.selected == leg:
            self.selected = None

    # -- rights of a service account

    def permanent(self, store: Store, raw: bytes) -> bytes:
        """A status response of a store; of PERMANENTFLAGS (RFC 9051 7.1) what the settings allow."""
        found = _PERMANENT.match(raw) if store.mount.rights is not None else None
        if found is None:
            return raw
        allowed = self._rights(store, self._opening)
        rights = {b"\\seen": "s", b"\\deleted": "t"}
        kept = [flag for flag in found[1].split() if rights.get(flag.lower(), "w") in allowed]
        return raw[: found.start(1)] + b" ".join(kept) + raw[found.end(1) :]

    def _guard(self, needed: str) -> bytes:
        store = self.stores.get(self._here)
        if store is None or store.mount.rights is None:
            return b""
        allowed = self._rights(store, self.mailbox)
        return b"" if set(needed) <= set(allowed) else _no("NOPERM", "You have no right to do this.")

    def _store(self, head: CommandLine, arguments: bytes) -> Job:
        yield from ()
        found = _TO_STORE.match(arguments)
        if found is None:
            return Forward(MAIN, arguments) if self._here == MAIN else Done(b"BAD Invalid arguments")
        flags = found[3].lower().split()
        needed = {{b"\\deleted": "t", b"\\seen": "s"}.get(flag, "w") for flag in flags}
        if not found[1]:
            needed = set("tsw")  # what is not named is taken away
        refused = self._guard("".join(needed))
        return Done(refused) if refused else Forward(self._here, arguments)

    def _expunge(self, head: CommandLine, arguments: bytes) -> Job:
        yield from ()
        refused = self._guard("e")
        return Done(refused) if refused else Forward(self._here, arguments)

    def _close(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 9051 6.4.1: without the right it expunges nothing, and says nothing of it."""
        if self._guard("e"):
            yield from self._unselect()
            return Done(b"OK Completed.")
        return Forward(self._here, arguments)

    # -- what is told of the whole tree

    def _namespace(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 2342 5: the mounts are shared namespaces, the third of three lists."""
        yield from self._learn()
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
        return [store for store in self.stores.values() if store.mount.listed != "no"]

    def _enable(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 5161: what the main server has enabled is enabled at the stores, so that both speak alike."""
        got = yield Ask(MAIN, b"ENABLE " + arguments, frozenset(["ENABLED"]))
        for raw in got.responses:
            yield Say(raw)
            names = raw.split()[2:]
            self._enabled += [name for name in names if name.upper() not in map(bytes.upper, self._enabled)]
        utf8 = any(name.upper() in (b"UTF8=ACCEPT", b"UTF8=ONLY", b"IMAP4REV2") for name in self._enabled)
        for store in self.stores.values():
            store.place.utf8 = utf8
            if store.introduced and store.leg in self.links and self._enabled:
                yield Ask(store.leg, b"ENABLE " + b" ".join(self._enabled), frozenset(["ENABLED"]))
        return Done(got.rest)

    def _list(self, head: CommandLine, arguments: bytes) -> Job:
        try:
            request = parse_list(head.name, arguments)
        except PeerError:
            return Forward(MAIN, arguments)
        if too_many(request.whole):
            return Done(_no("LIMIT", "These are too many patterns, or too long ones."))
        if not (yield from self._learn()):
            return Done(_no("UNAVAILABLE", "The server does not say what parts the levels of folders."))
        if not any(request.patterns) and (store := self._owner(request.reference)) is not None:
            # RFC 9051 6.3.9: an empty name asks for the separator and the root of the reference.
            yield Say(Listed(head.name, (b"\\Noselect",), store.place.separator, b"", b"").response())
            return Done(b"OK Completed.")
        got = yield Ask(MAIN, head.name.encode() + b" " + arguments)  # what it lists goes straight to the client
        if not got.ok:
            return Done(got.rest)
        missing: Store | None = None
        for store in self.stores.values():
            if not request.whole:
                continue
            listing = Listing(store.place, request, self._overrides(store))
            if not (yield from self._list_store(store, listing)):
                missing = store
        return Done(unavailable(missing) if missing is not None else got.rest)

    def _overrides(self, store: Store) -> Mapping[str, bool]:
        if self._subscriptions is None or store.mount.subscribed == "store":
            return {}
        return self._subscriptions.subscriptions(self._account(store))

    def _list_store(self, store: Store, listing: Listing) -> Part:
        """What a mount adds to a listing. False: nobody knows what it would add."""
        if not listing.asks:
            yield Say(b"".join(head.response() for head in listing.heads(any_below=False)))
            return True
        rights = store.mount.rights and (lambda name: self._text_rights(store, name))
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
            told = self.mapped(store, "STATUS", raw)
            start = told.find(b" ", 2) + 1 if told is not None else 0
            # RFC 5819 2: of what is listed, not of all that the store was asked for, and behind it.
            return told if told is not None and unquoted(told[start : value_end(told, start)]) in names else b""

        reached = yield from self._reach(store)
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

    def _text_rights(self, store: Store, text: str) -> str:
        """What the settings allow of a mailbox, by its name under the mount."""
        rights = store.mount.rights
        try:
            return rights(text) if rights is not None else ALL_RIGHTS
        except Exception:
            return ""

    # -- from one leg to another

    def _transfer(self, head: CommandLine, arguments: bytes, target: int, mailbox: bytes) -> Job:
        """COPY and MOVE (RFC 9051 6.4.7, RFC 6851) where source and target are on different legs."""
        source = self._here
        try:
            messages, *rest = (arguments[slice(*each)] for each in spans(arguments))
        except PeerError:
            return Done(b"BAD Invalid arguments")
        if not _SET.fullmatch(messages) or len(rest) != 1:
            return Done(b"BAD Invalid arguments")
        remove = head.name == "MOVE"
        if remove:
            refusal = yield from self._may_remove(source)
            if refusal:
                return Done(refusal)
        found: list[Message] = []
        broken: list[bytes] = []

        def take(raw: bytes) -> None:
            message = metadata_of(raw)
            (found if message is not None else broken).append(message if message is not None else raw)  # type: ignore[arg-type]

        ask = (b"UID FETCH " if head.uid else b"FETCH ") + messages + b" (UID FLAGS INTERNALDATE)"
        got = yield Ask(source, ask, frozenset(["FETCH"]), take=take)
        # The server takes what it has told as known: flags that changed meanwhile are the client's too.
        if broken:
            yield Say(b"".join(broken))
        if got.rest[:3].upper() == b"BAD":
            return Done(b"BAD Invalid messages")  # the server's words are about a FETCH of ours
        if not got.ok:
            return Done(got.rest or _no("UNAVAILABLE", "The server closed the connection."))
        found = list({message.uid: message for message in found}.values())
        if not found:
            return Done(b"OK Nothing to do.")
        if not all(message.date for message in found):
            return Done(_no("CANNOT", "A message has no date that can be understood."))
        transfer = self._transfer_of = Transfer(source, target, mailbox, found, self.links)
        got = yield transfer
        if not got.ok or not transfer.copied:
            undone = yield from self._undo(transfer)
            self._transfer_of = None
            if not undone:
                yield Record("transfer.doubled", {"messages": len(transfer.copied), "text": "what was stored before it failed stays there"})
            yield Record("transfer.failed", {"messages": len(found), "text": got.rest.decode("utf-8", "replace")})
            if not got.ok:
                return Done(_as_no(got.rest) if got.rest else _no("UNAVAILABLE", "The server closed the connection."))
            return Done(b"OK Nothing to do.")
        code = b""
        if len(transfer.appended) == len(transfer.copied):
            code = b"[COPYUID %d %b %b] " % (transfer.validity, sequence_set(transfer.copied), sequence_set(transfer.appended))
        yield Record("transfer.completed", {"messages": len(transfer.copied), "moved": remove})
        if not remove:
            self._transfer_of = None
            return Done(b"OK %bCompleted." % code)
        if transfer.appended and not code:
            self._transfer_of = None
            yield Record(
                "transfer.doubled", {"messages": len(transfer.copied), "text": "the target names other messages than it was given"}
            )
            return Done(_no("UNAVAILABLE", "Copied, but not removed: it is not certain that all messages have been stored."))
        if code:
            yield Say(b"* OK %bMoved.\r\n" % code)
        self._removing = True
        done = yield from self._remove(source, transfer)
        self._transfer_of, self._removing = None, False
        return done

    def unfinished(self) -> Record | None:
        """The session ends now: what has been copied and is in both places, with nobody who could take it out of one of them."""
        transfer = self._transfer_of
        if transfer is None:
            return None
        count = len(transfer.copied) if self._removing or transfer.doubtful or transfer.unanswered else transfer.stored
        return Record("transfer.doubled", {"messages": count, "text": "the session ended before it was done"}) if count else None

    def _may_remove(self, source: int) -> Generator[Step, Got, bytes]:
        """Why a MOVE cannot be; nothing: it can (RFC 6851 3.3: a MOVE that cannot remove does nothing)."""
        store = self.stores.get(source)
        if self.read_only:
            return _no("CANNOT", "The mailbox is open for reading only.")
        if store is not None and not {"t", "e"} <= set(self._rights(store, self.mailbox)):
            return _no("NOPERM", "You have no right to remove messages here.")
        link = self.links.get(source)
        if link is None:
            return _no("UNAVAILABLE", "The server closed the connection.")
        capabilities = link.capabilities
        if b"UIDPLUS" not in capabilities and b"IMAP4REV2" not in capabilities:
            return _no("CANNOT", "The server cannot remove single messages: copy them, and delete them then.")
        if b"ACL" in capabilities:
            name = store.place.to_store(self.mailbox) if store is not None else self.mailbox
            got = yield Ask(source, b"MYRIGHTS " + astring(name), frozenset(["MYRIGHTS"]))
            if got.ok and got.responses:
                rights = got.responses[0].split()[-1].strip(b'"').lower()
                if not (b"d" in rights or (b"t" in rights and b"e" in rights)):  # RFC 4314 2.1.1: d is t, e and x together
                    return _no("NOPERM", "You have no right to remove messages here.")
        return b""

    def _remove(self, source: int, transfer: Transfer) -> Job:
        """The last step of a MOVE: what has been copied goes."""
        for start in range(0, len(transfer.copied), 1000):
            uids = sequence_set(transfer.copied[start : start + 1000])
            got = yield Ask(source, b"UID STORE %b +FLAGS.SILENT (\\Deleted)" % uids)
            if got.ok:
                got = yield Ask(source, b"UID EXPUNGE " + uids)
            if not got.ok:
                yield Record("transfer.doubled", {"messages": len(transfer.copied) - start, "text": got.rest.decode("utf-8", "replace")})
                return Done(
                    _as_no(got.rest) if got.rest else _no("UNAVAILABLE", "Copied, but not removed: the server closed the connection.")
                )
        return Done(b"OK Completed.")

    def _undo(self, transfer: Transfer) -> Part:
        """Take out what has been stored of a transfer that failed. False: it cannot be."""
        if not transfer.stored or transfer.cut:
            return not (transfer.stored or transfer.doubtful)
        leg, hidden = transfer.target, NEWS | frozenset(["OK"])
        store = self.stores.get(leg)
        if transfer.appended and leg not in self.links and store is not None:
            yield Reopen(store)
            yield from self._reach(store)
        link = self.links.get(leg)
        if transfer.appended and link is not None and b"UIDPLUS" in link.capabilities:
            uids = sequence_set(sorted(transfer.appended))
            got = yield Ask(leg, b"SELECT " + astring(transfer.mailbox), hidden)
            same = b"[UIDVALIDITY %d]" % transfer.validity
            if got.ok and not any(same in raw.upper() for raw in got.responses):
                got = Got(b"NO", [])  # another mailbox of that name
            if got.ok:
                got = yield Ask(leg, b"UID STORE %b +FLAGS.SILENT (\\Deleted)" % uids, hidden)
            if got.ok:
                got = yield Ask(leg, b"UID EXPUNGE " + uids, hidden)
            yield Ask(leg, b"UNSELECT" if b"UNSELECT" in link.capabilities else _NOWHERE, hidden)
            return got.ok and not transfer.doubtful
        return False


def _name(value: bytes) -> bytes | None:
    """The mailbox that a value names; NIL is a name like any other (RFC 9051 9, mailbox). None: it is no string."""
    return b"NIL" if value.upper() == b"NIL" else unquoted(value)


def _catenates(rest: bytes) -> bool:
    """Whether APPEND makes a message of others (RFC 4469). `rest`: what stands behind the mailbox, as far as it has come."""
    try:
        return any(rest[start:end].upper() == b"CATENATE" for start, end in spans(rest))
    except PeerError:
        return b"CATENATE" in rest.upper()


def without_list(raw: bytes) -> bytes:
    """A status response of a store without the capability list in its code: it says nothing of the session's other servers."""
    return _LIST_IN_CODE.sub(b"", raw, count=1)


def unavailable(store: Store) -> bytes:
    return _no("UNAVAILABLE", f"The server of {store.mount.prefix!a} cannot be reached.")


def _no(code: str, text: str) -> bytes:
    return f"NO [{code}] {text}".encode()


def _as_no(rest: bytes) -> bytes:
    """What a server said of a command of ours, as the answer to the client's: its BAD would be our mistake."""
    return b"NO" + rest[3:] if rest[:3].upper() == b"BAD" else rest


def _both(one: bytes, other: str) -> bytes:
    """The rights that are in both; those of RFC 2086 stand for what they were split into (RFC 4314 2.1.1)."""
    old = {"c": "kx", "d": "etx"}
    allowed = set(other)
    kept = [letter for letter in one.decode("ascii", "replace") if letter in allowed or set(old.get(letter, "-")) <= allowed]
    return "".join(kept).encode() or b'""'
