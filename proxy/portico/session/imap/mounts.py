"""What becomes of commands in a mailbox tree in which other accounts are mounted.

Rule of this file: each command that names a mailbox is a *job* (imap.steps). Whose the mailbox is, and under which name, is imap.reach's;
lists are made in imap.lists, and what is copied from one leg to another in imap.copies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from typing import Final

from portico.errors import PeerError
from portico.session.context import SessionView
from portico.session.decisions import Disconnect
from portico.session.events import MAIN
from portico.session.imap.copies import Copies
from portico.session.imap.kinds import LISTS, NEWS
from portico.session.imap.link import Link
from portico.session.imap.lists import Lists
from portico.session.imap.reach import NOWHERE, Reach, name_in
from portico.session.imap.steps import Ask, Done, Forward, Got, Job, Part, Say, Step, no, unavailable, without_list
from portico.session.imap.store import Store
from portico.session.mounts.memory import Memory, Subscriptions
from portico.wire.imap import CommandLine
from portico.wire.mailbox import astring, parse_listed, spans

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
_PERMANENT: Final = re.compile(rb"\* OK \[PERMANENTFLAGS \(([^()]*)\)\]", re.IGNORECASE)

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


class Mounts(Reach):
    """What imap.mounted asks: whose a command is, and the jobs."""

    def __init__(
        self, stores: Mapping[int, Store], links: Mapping[int, Link], memory: Memory, subscriptions: Subscriptions | None, user: str
    ) -> None:
        super().__init__(stores, links)
        self.copies = Copies(self)
        self._lists = Lists(self, memory, subscriptions, user)
        self._memory = memory
        self.selecting: int | None = None
        """The leg that is being asked to select one."""
        self._opening = b""  # the mailbox that is being selected
        self.guarded = any(store.mount.rights is not None for store in stores.values())
        self.names = (JOBS | GUARDED if self.guarded else JOBS) if stores else frozenset[str]()
        self._settled = all(store.mount.serves is None for store in stores.values())

    def let_go(self) -> None:
        """The session is over; those who look at us from within go."""
        del self.copies, self._lists

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
            return name is None or name.upper() == b"INBOX" or (self.separator is not None and self.owner(name) is None)
        return head.name == "CAPABILITY" or head.name in GUARDED

    def _named(self, head: CommandLine, arguments: bytes) -> bytes | None:
        index = _ARGUMENT[head.name]
        try:
            start, end = spans(arguments, index + 1)[index]
        except (PeerError, IndexError):
            return None
        return name_in(arguments[start:end])

    # -- jobs

    def job(self, head: CommandLine, arguments: bytes) -> Job:
        """What is to be done for a command in `names`."""
        own: Callable[[CommandLine, bytes], Job] | None = {
            "LIST": self._lists.mailboxes, "LSUB": self._lists.mailboxes, "NAMESPACE": self._lists.namespace, "ENABLE": self._enable,
            "LOGOUT": self._logout, "CAPABILITY": self._to_main, "RENAME": self._rename, "STORE": self._store, "EXPUNGE": self._expunge,
            "CLOSE": self._close,
        }.get(head.name)  # fmt: skip
        return own(head, arguments) if own is not None else self._one(head, arguments)

    def _to_main(self, head: CommandLine, arguments: bytes) -> Job:
        yield from ()
        return Forward(MAIN, arguments)

    def _logout(self, head: CommandLine, arguments: bytes) -> Job:
        for leg in self.stores:
            if leg in self.links:
                yield Disconnect(leg)
        return Forward(MAIN, arguments)

    def _one(self, head: CommandLine, arguments: bytes) -> Job:
        """A command with one mailbox in it."""
        index = _ARGUMENT[head.name]
        if head.name == "GETMETADATA" and arguments.lstrip(b" ")[:1] == b"(":
            index = 1  # options come first (RFC 5464 4.2)
        try:
            where = spans(arguments, index + 1)
            name = name_in(arguments[slice(*where[index])])
        except (PeerError, IndexError):
            name = None
        if name is not None and arguments[where[index][1] :][:1] not in (b"", b" "):
            name = None  # ``a{5}CRLF`` is an atom to us and a literal to who framed it: what follows must not become a line of its own
        if name is None:
            # The main server says what is wrong with it, should it think so; a store is not to make of it what nobody has understood.
            return Forward(MAIN, arguments) if self.here == MAIN else Done(b"BAD Invalid arguments")
        if not (yield from self.learn()):
            return Done(no("UNAVAILABLE", "The server does not say what parts the levels of folders."))
        store = self.owner(name)
        if store is None:
            return (yield from self._of_main(head, arguments, name))
        return (yield from self._of_store(head, arguments, name, store, where[index]))

    def _of_main(self, head: CommandLine, arguments: bytes, name: bytes) -> Job:
        if head.name in ("SELECT", "EXAMINE"):
            return (yield from self._select(head, arguments, name, MAIN))
        if head.name in ("COPY", "MOVE") and self.selected not in (None, MAIN):
            return (yield from self.copies.transfer(head, arguments, MAIN, name))
        return Forward(MAIN, arguments)

    def _of_store(self, head: CommandLine, arguments: bytes, name: bytes, store: Store, where: tuple[int, int]) -> Job:
        place, quota = store.place, head.name in _BY_NAME
        own = head.name in ("SUBSCRIBE", "UNSUBSCRIBE") and store.mount.subscribed != "store"
        if place.is_mount(name) and not quota and not own:
            if head.name != "MYRIGHTS":
                return Done(no(_NOT_THE_MOUNT.get(head.name, "CANNOT"), "This is no mailbox, but the place where others are."))
            yield Say(b"* MYRIGHTS %b lr\r\n" % astring(name))
            return Done(b"OK Completed.")
        if quota and store.mount.rights is not None:
            return Done(no("NOPERM", "You have no right to do this."))
        if not own and not (yield from self.reach(store)):
            return Done(unavailable(store))
        if not quota:
            refused = self._refused(head, store, name)
            if refused:
                return Done(refused)
            given, name = name, place.known(name) or name
            name += place.separator if given.endswith(place.separator) else b""
        if own:
            return self._lists.subscribe(store, name, on=head.name == "SUBSCRIBE")
        if head.name == "APPEND" and _catenates(arguments[where[1] :]):
            return Done(no("CANNOT", "This extension is not offered."))  # RFC 4469: its URLs name mailboxes
        allowed = self.rights(store, name)
        given = place.inner(name) if quota else place.to_store(name)
        mapped = arguments[: where[0]] + astring(given) + arguments[where[1] :]
        if head.name in ("SELECT", "EXAMINE"):
            read_only = head.name == "EXAMINE" or "s" not in allowed  # else FETCH of a body would set \\Seen
            return (yield from self._select(head, mapped, name, store.leg, read_only=read_only))
        if head.name in ("COPY", "MOVE") and self.selected != store.leg:
            return (yield from self.copies.transfer(head, arguments, store.leg, given))
        if head.name == "MOVE" and not {"t", "e"} <= set(self.rights(store, self.mailbox)):
            return Done(no("NOPERM", "You have no right to remove messages here."))
        return Forward(store.leg, mapped)

    def _refused(self, head: CommandLine, store: Store, name: bytes) -> bytes:
        """Why a command about a mailbox under the mount is not to be; nothing: the store may be asked."""
        known = store.place.known(name)
        if known is None:
            if head.name == "CREATE":
                return no("CANNOT", "A folder cannot be called so here.")
            return no("NONEXISTENT", "There is no such mailbox.")
        allowed = self.rights(store, known)
        if not allowed:
            return (
                no("NOPERM", "You have no right to do this.") if head.name == "CREATE" else no("NONEXISTENT", "There is no such mailbox.")
            )
        need = _NEEDS.get(head.name)
        if need is not None and need not in (self.rights(store, self._above(store, known)) if head.name == "CREATE" else allowed):
            return no("NOPERM", "You have no right to do this.")
        return b""

    def _above(self, store: Store, name: bytes) -> bytes:
        above, _, _ = name.rstrip(store.place.separator).rpartition(store.place.separator)
        return above

    def _rename(self, head: CommandLine, arguments: bytes) -> Job:
        try:
            names = [name_in(arguments[start:end]) for start, end in spans(arguments)]
        except PeerError:
            names = []
        if len(names) != 2 or names[0] is None or names[1] is None:
            return Forward(MAIN, arguments) if self.here == MAIN else Done(b"BAD Invalid arguments")
        if not (yield from self.learn()):
            return Done(no("UNAVAILABLE", "The server does not say what parts the levels of folders."))
        old, new = self.owner(names[0]), self.owner(names[1])
        if old is None and new is None:
            return Forward(MAIN, arguments)
        if old is not new or old is None:
            return Done(no("CANNOT", "A folder cannot be renamed from one server to another: make a new one and move the messages."))
        if old.place.is_mount(names[0]) or old.place.is_mount(names[1]):
            return Done(no("CANNOT", "This is no mailbox, but the place where others are."))
        if not (yield from self.reach(old)):
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
        if all(each is not None and "x" in self.rights(store, each) for each in known):
            return b""
        return no("NOPERM", "You have no right to do this with all that is under it.")

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
        return Done(without_list(got.rest) or no("UNAVAILABLE", "The server of this folder closed the connection."))

    def _unselect(self) -> Part:
        """Without expunging (RFC 3691)."""
        leg = self.here
        link = self.links.get(leg)
        able = link is not None and bool(link.capabilities & {b"UNSELECT", b"IMAP4REV2"})
        got = yield Ask(leg, b"UNSELECT" if able else NOWHERE, NEWS | frozenset(["OK"]), name="UNSELECT")
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
        allowed = self.rights(store, self._opening)
        rights = {b"\\seen": "s", b"\\deleted": "t"}
        kept = [flag for flag in found[1].split() if rights.get(flag.lower(), "w") in allowed]
        return raw[: found.start(1)] + b" ".join(kept) + raw[found.end(1) :]

    def _guard(self, needed: str) -> bytes:
        store = self.stores.get(self.here)
        if store is None or store.mount.rights is None:
            return b""
        allowed = self.rights(store, self.mailbox)
        return b"" if set(needed) <= set(allowed) else no("NOPERM", "You have no right to do this.")

    def _store(self, head: CommandLine, arguments: bytes) -> Job:
        yield from ()
        found = _TO_STORE.match(arguments)
        if found is None:
            return Forward(MAIN, arguments) if self.here == MAIN else Done(b"BAD Invalid arguments")
        flags = found[3].lower().split()
        needed = {{b"\\deleted": "t", b"\\seen": "s"}.get(flag, "w") for flag in flags}
        if not found[1]:
            needed = set("tsw")  # what is not named is taken away
        refused = self._guard("".join(needed))
        return Done(refused) if refused else Forward(self.here, arguments)

    def _expunge(self, head: CommandLine, arguments: bytes) -> Job:
        yield from ()
        refused = self._guard("e")
        return Done(refused) if refused else Forward(self.here, arguments)

    def _close(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 9051 6.4.1: without the right it expunges nothing, and says nothing of it."""
        if self._guard("e"):
            yield from self._unselect()
            return Done(b"OK Completed.")
        return Forward(self.here, arguments)

    # -- what is told of the whole tree

    def _enable(self, head: CommandLine, arguments: bytes) -> Job:
        """RFC 5161: what the main server has enabled is enabled at the stores, so that both speak alike."""
        got = yield Ask(MAIN, b"ENABLE " + arguments, frozenset(["ENABLED"]))
        for raw in got.responses:
            yield Say(raw)
            names = raw.split()[2:]
            self.enabled += [name for name in names if name.upper() not in map(bytes.upper, self.enabled)]
        utf8 = any(name.upper() in (b"UTF8=ACCEPT", b"UTF8=ONLY", b"IMAP4REV2") for name in self.enabled)
        for store in self.stores.values():
            store.place.utf8 = utf8
            if store.introduced and store.leg in self.links and self.enabled:
                yield Ask(store.leg, b"ENABLE " + b" ".join(self.enabled), frozenset(["ENABLED"]))
        return Done(got.rest)


def _catenates(rest: bytes) -> bool:
    """Whether APPEND makes a message of others (RFC 4469). `rest`: what stands behind the mailbox, as far as it has come."""
    try:
        return any(rest[start:end].upper() == b"CATENATE" for start, end in spans(rest))
    except PeerError:
        return b"CATENATE" in rest.upper()
