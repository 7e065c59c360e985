"""COPY and MOVE from one leg to another.

Rule of this file: what is asked before messages are copied, what the client is told when they are, what of them is removed at the source
(MOVE), and what is undone where not all could be stored. The copying itself is imap.transfer's. Nothing is doubled or lost unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

from portico.errors import PeerError
from portico.session.decisions import Record
from portico.session.imap.kinds import NEWS
from portico.session.imap.reach import NOWHERE, Reach
from portico.session.imap.steps import Ask, Done, Got, Job, Part, Reopen, Say, Step, as_no, no
from portico.session.imap.transfer import Message, Transfer, metadata_of
from portico.wire.fetch import sequence_set
from portico.wire.imap import CommandLine
from portico.wire.mailbox import astring, spans

_SET: Final = re.compile(rb"[\d:,*$]+")


class Copies:
    """The jobs that copy in one session, one at a time."""

    def __init__(self, tree: Reach) -> None:
        self._tree = tree
        self._transfer_of: Transfer | None = None
        self._removing = False

    def transfer(self, head: CommandLine, arguments: bytes, target: int, mailbox: bytes) -> Job:
        """COPY and MOVE (RFC 9051 6.4.7, RFC 6851) where source and target are on different legs."""
        source = self._tree.here
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
            return Done(got.rest or no("UNAVAILABLE", "The server closed the connection."))
        found = list({message.uid: message for message in found}.values())
        if not found:
            return Done(b"OK Nothing to do.")
        if not all(message.date for message in found):
            return Done(no("CANNOT", "A message has no date that can be understood."))
        transfer = self._transfer_of = Transfer(source, target, mailbox, found, self._tree.links)
        got = yield transfer
        if not got.ok or not transfer.copied:
            undone = yield from self._undo(transfer)
            self._transfer_of = None
            if not undone:
                yield Record("transfer.doubled", {"messages": len(transfer.copied), "text": "what was stored before it failed stays there"})
            yield Record("transfer.failed", {"messages": len(found), "text": got.rest.decode("utf-8", "replace")})
            if not got.ok:
                return Done(as_no(got.rest) if got.rest else no("UNAVAILABLE", "The server closed the connection."))
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
            return Done(no("UNAVAILABLE", "Copied, but not removed: it is not certain that all messages have been stored."))
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
        store = self._tree.stores.get(source)
        if self._tree.read_only:
            return no("CANNOT", "The mailbox is open for reading only.")
        if store is not None and not {"t", "e"} <= set(self._tree.rights(store, self._tree.mailbox)):
            return no("NOPERM", "You have no right to remove messages here.")
        link = self._tree.links.get(source)
        if link is None:
            return no("UNAVAILABLE", "The server closed the connection.")
        capabilities = link.capabilities
        if b"UIDPLUS" not in capabilities and b"IMAP4REV2" not in capabilities:
            return no("CANNOT", "The server cannot remove single messages: copy them, and delete them then.")
        if b"ACL" in capabilities:
            name = store.place.to_store(self._tree.mailbox) if store is not None else self._tree.mailbox
            got = yield Ask(source, b"MYRIGHTS " + astring(name), frozenset(["MYRIGHTS"]))
            if got.ok and got.responses:
                rights = got.responses[0].split()[-1].strip(b'"').lower()
                if not (b"d" in rights or (b"t" in rights and b"e" in rights)):  # RFC 4314 2.1.1: d is t, e and x together
                    return no("NOPERM", "You have no right to remove messages here.")
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
                    as_no(got.rest) if got.rest else no("UNAVAILABLE", "Copied, but not removed: the server closed the connection.")
                )
        return Done(b"OK Completed.")

    def _undo(self, transfer: Transfer) -> Part:
        """Take out what has been stored of a transfer that failed. False: it cannot be."""
        if not transfer.stored or transfer.cut:
            return not (transfer.stored or transfer.doubtful)
        leg, hidden = transfer.target, NEWS | frozenset(["OK"])
        store = self._tree.stores.get(leg)
        if transfer.appended and leg not in self._tree.links and store is not None:
            yield Reopen(store)
            yield from self._tree.reach(store)
        link = self._tree.links.get(leg)
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
            yield Ask(leg, b"UNSELECT" if b"UNSELECT" in link.capabilities else NOWHERE, hidden)
            return got.ok and not transfer.doubtful
        return False
