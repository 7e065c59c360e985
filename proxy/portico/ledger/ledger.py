"""The memory of annotations: what clients have been shown of a message, for as long as the message lives.

Rule of this file: one SQLite database, in a file or in memory, and nothing that depends on IMAP or POP3. Writes are small and rare
(once per message that is annotated, once per look at new mail), so they are made where they are asked for.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from portico.config.units import SECONDS
from portico.errors import SettingsError
from portico.session.annotations.annotation import Annotation, Known, Located, Mailbox, Piece, Told, Whole
from portico.session.sizes.sizes import Sizes

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mailbox (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, uid_validity INTEGER NOT NULL,
    watermark INTEGER NOT NULL DEFAULT 0, edition INTEGER NOT NULL DEFAULT 0, UNIQUE (account, name, uid_validity)
);
CREATE TABLE IF NOT EXISTS annotation (
    mailbox INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE, uid TEXT NOT NULL, octets INTEGER NOT NULL, data TEXT,
    PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS whole (
    id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE, uid TEXT NOT NULL, digest TEXT NOT NULL,
    told TEXT NOT NULL, data BLOB, UNIQUE (mailbox, uid, digest)
);
CREATE TABLE IF NOT EXISTS size (
    mailbox INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE, uid INTEGER NOT NULL, octets INTEGER NOT NULL,
    estimated INTEGER NOT NULL, PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS subscription (
    account TEXT NOT NULL, name TEXT NOT NULL, subscribed INTEGER NOT NULL, PRIMARY KEY (account, name)
) WITHOUT ROWID;
"""
_VERSION: Final = 2
_FROM_VERSION_1: Final = "ALTER TABLE mailbox ADD COLUMN edition INTEGER NOT NULL DEFAULT 0"
"""Raised whenever sizes of the mailbox are written, so that a process knows that another one has."""
_PATIENCE: Final = 1 * SECONDS
"""With another process that is writing: all sessions of this one wait meanwhile."""
_OPENING: Final = 10 * SECONDS
_KEPT: Final = 4 << 30
KEPT_IN_MEMORY: Final = 64 << 20
"""Octets of transformed messages, compressed."""
_OF_MAILBOX: Final = "(SELECT id FROM mailbox WHERE account = ? AND name = ? AND uid_validity = ?)"
_SIZES: Final = "SELECT uid, octets, estimated FROM size WHERE mailbox = ? ORDER BY uid"
MOST_MAILBOXES: Final = 10_000
"""In memory only: beyond this the mailbox not used for longest is forgotten."""


class SqliteLedger:
    """See session.annotations.annotation.Ledger. `path` None: in memory, gone with the process.

    Several processes may use one file. Raises SettingsError if the file cannot be used.
    """

    def __init__(self, path: Path | None = None, *, most: int = MOST_MAILBOXES) -> None:
        self._most = most if path is None else None
        self._room = self._usual = _KEPT if path is not None else KEPT_IN_MEMORY
        self._sizes: WeakValueDictionary[Mailbox, Sizes] = WeakValueDictionary()  # what sessions use, they share
        self._alone = path is None
        self._telling: tuple[Mailbox, Sizes, int] | None = None
        """A mailbox of which sizes are being told, and its row: no other process writes meanwhile."""
        self._kept = -1
        """Octets of transformed messages, or more; -1: not counted yet."""
        try:
            if path is not None:
                path.touch(0o600)  # it has mail in it; SQLite gives what it puts beside it the same mode
            self._db = sqlite3.connect(
                str(path) if path is not None else ":memory:", timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, 1, _VERSION):
                raise SettingsError([f"{path}: made by another version of Portico ({version})"])
            until = time.monotonic() + _OPENING
            while not self._opened(until):
                time.sleep(0.02)
        except (sqlite3.Error, OSError) as error:
            raise SettingsError([f"{path}: cannot be used: {error}"]) from None

    def _opened(self, until: float) -> bool:
        """Whether the file is ready. Another process that opens it at the same moment may be in the way: to make it one with a
        write-ahead log SQLite wants it alone, and does not wait for it as it does for all else."""
        try:
            self._db.executescript(
                f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; BEGIN IMMEDIATE; {_SCHEMA} COMMIT"
            )
            self._renew()
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.rollback()
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > until:
                raise
            return False
        return True

    def _renew(self) -> None:
        """Make of an older file one of this version."""
        with self._writing():
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 1:
                self._db.execute(_FROM_VERSION_1)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One change, whole or not at all; nobody else writes meanwhile."""
        if self._telling is not None:
            self._write_sizes()
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    def knows(self, account: str) -> bool:
        query = "SELECT 1 FROM mailbox WHERE account = ? AND (watermark OR id IN (SELECT mailbox FROM annotation)) LIMIT 1"
        return self._db.execute(query, (account,)).fetchone() is not None

    def known(self, mailbox: Mailbox) -> Known:
        row = self._db.execute("SELECT id, watermark FROM mailbox WHERE account = ? AND name = ? AND uid_validity = ?", mailbox).fetchone()
        if row is None:
            return Known(0, {})
        found = self._db.execute("SELECT uid, data FROM annotation WHERE mailbox = ?", (row[0],)).fetchall()
        made = {uid: _from_text(data) for uid, data in found if data is not None}
        return Known(row[1], made, frozenset(uid for uid, data in found if data is None), any(each.whole for each in made.values()))

    def judged(self, mailbox: Mailbox, watermark: int, annotations: Mapping[str, Annotation | None]) -> Known:
        with self._writing():
            number = self._number(mailbox)
            before = self._db.execute("SELECT watermark FROM mailbox WHERE id = ?", (number,)).fetchone()[0]
            self._db.execute("UPDATE mailbox SET watermark = max(watermark, ?) WHERE id = ?", (watermark, number))
            # Another session may have judged, and shown, the same messages meanwhile: the first judgement stays.
            new = [(uid, made) for uid, made in annotations.items() if not before or int(uid) > before]
            self._db.executemany(
                "INSERT INTO annotation VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(number, uid, max(0, made.octets) if made else 0, _to_text(made) if made else None) for uid, made in new],
            )
        return self.known(mailbox)

    def judged_one(self, mailbox: Mailbox, uid: str, made: Annotation | None) -> Annotation | None:
        with self._writing():
            row = self._number(mailbox), uid, max(0, made.octets) if made else 0, _to_text(made) if made else None
            self._db.execute("INSERT INTO annotation VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
            data = self._db.execute("SELECT data FROM annotation WHERE mailbox = ? AND uid = ?", row[:2]).fetchone()[0]
        return _from_text(data) if data is not None else None

    def located(self, mailbox: Mailbox, uid: str, located: Located) -> None:
        with self._writing():
            row = self._db.execute(f"SELECT data FROM annotation WHERE uid = ? AND mailbox = {_OF_MAILBOX}", (uid, *mailbox)).fetchone()
            if row is not None and row[0] is not None:
                self._change(mailbox, uid, _to_text(_from_text(row[0]).at(located)))

    def gone(self, mailbox: Mailbox, uids: Collection[str]) -> None:
        with self._writing():
            for table in ("annotation", "whole"):
                self._db.executemany(f"DELETE FROM {table} WHERE uid = ? AND mailbox = {_OF_MAILBOX}", [(uid, *mailbox) for uid in uids])
        self._kept = -1

    def forget(self, mailbox: Mailbox, uid: str) -> None:
        self._change(mailbox, uid, None)

    # -- transformed messages

    def keep(self, octets: int | None) -> None:
        """From now on there is room for so many octets, compressed; None: for as many as usual."""
        self._room = self._usual if octets is None else octets
        if self._kept > self._room:
            self._make_room()

    def show(self, mailbox: Mailbox, uid: str, made: Annotation, message: bytes, told: Told) -> None:
        assert made.whole is not None
        data = zlib.compress(message, 1)  # all sessions wait meanwhile: half as much room again, a quarter of the time
        with self._writing():
            number = self._number(mailbox)
            key = number, uid, made.whole.digest
            self._db.execute("DELETE FROM whole WHERE mailbox = ? AND uid = ? AND digest = ?", key)
            texts = json.dumps([_text(each) for each in told])
            self._db.execute("INSERT INTO whole (mailbox, uid, digest, told, data) VALUES (?, ?, ?, ?, ?)", (*key, texts, data))
        self._kept = self._counted() if self._kept < 0 else self._kept + len(data)
        if self._kept > self._room:
            self._make_room()

    def told(self, mailbox: Mailbox, uid: str, whole: Whole) -> Told | None:
        found = self._whole("told", mailbox, uid, whole)
        return Told(*map(_octets, json.loads(found))) if found is not None else None

    def message(self, mailbox: Mailbox, uid: str, whole: Whole) -> bytes | None:
        found = self._whole("data", mailbox, uid, whole)
        try:
            return zlib.decompress(found) if found is not None else None
        except zlib.error:
            return None  # as if there had been no room

    def _whole(self, column: str, mailbox: Mailbox, uid: str, whole: Whole) -> Any:
        query = f"SELECT {column} FROM whole WHERE mailbox = {_OF_MAILBOX} AND uid = ? AND digest = ?"
        row = self._db.execute(query, (*mailbox, uid, whole.digest)).fetchone()
        return row[0] if row is not None else None

    def _counted(self) -> int:
        return int(self._db.execute("SELECT sum(length(data)) FROM whole").fetchone()[0] or 0)

    def _make_room(self) -> None:
        """Let go of the oldest, more than needed, so that this is seldom done; what is told of them stays. Others may use the file too."""
        kept = self._counted()
        if kept > self._room:
            going, wanted = [], kept - self._room * 3 // 4
            for number, octets in self._db.execute("SELECT id, length(data) FROM whole WHERE data IS NOT NULL ORDER BY id"):
                if wanted <= 0:
                    break
                going.append((number,))
                wanted -= octets
                kept -= octets
            with self._writing():
                self._db.executemany("UPDATE whole SET data = NULL WHERE id = ?", going)
        self._kept = kept

    def growth(self, account: str, name: str) -> int:
        query = (
            "SELECT sum(octets) FROM annotation JOIN mailbox ON mailbox.id = mailbox WHERE account = ? AND name = ? AND data IS NOT NULL"
        )
        return int(self._db.execute(query, (account, name)).fetchone()[0] or 0)

    # -- sizes told

    def sizes(self, mailbox: Mailbox) -> Sizes:
        """See session.sizes.sizes.SizesLedger."""
        sizes = self._sizes.get(mailbox)
        if sizes is None:
            row = self._db.execute(
                "SELECT id, edition FROM mailbox WHERE account = ? AND name = ? AND uid_validity = ?", mailbox
            ).fetchone()
            number, edition = row if row is not None else (None, 0)
            self._sizes[mailbox] = sizes = Sizes(self._db.execute(_SIZES, (number,)))
            sizes.edition = edition
        return sizes

    def begin_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        if self._alone:
            return
        if self._telling is not None:
            if self._telling[1] is sizes:
                return
            self._write_sizes()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            number = self._number(mailbox)
            edition = self._db.execute("SELECT edition FROM mailbox WHERE id = ?", (number,)).fetchone()[0]
            if edition != sizes.edition:
                sizes.add(self._db.execute(_SIZES, (number,)))
                sizes.edition = edition
        except BaseException:
            self._db.rollback()
            raise
        self._telling = mailbox, sizes, number

    def keep_sizes(self, mailbox: Mailbox, sizes: Sizes) -> None:
        if self._telling is not None and self._telling[1] is sizes:
            self._write_sizes()
        elif sizes.new:
            with self._writing():
                self._insert_sizes(self._number(mailbox), sizes)
            sizes.new.clear()

    def _write_sizes(self) -> None:
        """End what `begin_sizes` began."""
        assert self._telling is not None
        (_, sizes, number), self._telling = self._telling, None
        with self._db:
            self._insert_sizes(number, sizes)
        sizes.new.clear()

    def _insert_sizes(self, number: int, sizes: Sizes) -> None:
        if sizes.new:
            self._db.executemany("INSERT INTO size VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", [(number, *row) for row in sizes.new])
            edition = self._db.execute("UPDATE mailbox SET edition = edition + 1 WHERE id = ? RETURNING edition", (number,)).fetchone()[0]
            if edition == sizes.edition + 1:  # else another process has written, and is asked about at the next beginning
                sizes.edition = edition

    def forget_sizes(self, mailbox: Mailbox, uids: Collection[int]) -> None:
        with self._writing():
            self._db.executemany(f"DELETE FROM size WHERE uid = ? AND mailbox = {_OF_MAILBOX}", [(uid, *mailbox) for uid in uids])

    def estimated(self, account: str, name: str) -> int:
        query = "SELECT sum(octets) FROM size JOIN mailbox ON mailbox.id = mailbox WHERE account = ? AND name = ? AND estimated"
        return int(self._db.execute(query, (account, name)).fetchone()[0] or 0)

    # -- subscriptions

    def subscriptions(self, account: str) -> dict[str, bool]:
        """See session.mounts.memory.Subscriptions."""
        rows = self._db.execute("SELECT name, subscribed FROM subscription WHERE account = ?", (account,))
        return {name: bool(on) for name, on in rows}

    def subscribe(self, account: str, name: str, on: bool) -> None:
        self._db.execute("INSERT OR REPLACE INTO subscription VALUES (?, ?, ?)", (account, name, int(on)))

    def _change(self, mailbox: Mailbox, uid: str, data: str | None) -> None:
        where = "SELECT id FROM mailbox WHERE account = ? AND name = ? AND uid_validity = ?"
        self._db.execute(f"UPDATE annotation SET data = ? WHERE uid = ? AND mailbox = ({where})", (data, uid, *mailbox))

    def _number(self, mailbox: Mailbox) -> int:
        """The mailbox's row, made if it is not there; the same name under an older UIDVALIDITY goes (RFC 9051 2.3.1.1)."""
        account, name, validity = mailbox
        self._db.execute("DELETE FROM mailbox WHERE account = ? AND name = ? AND uid_validity < ?", (account, name, validity))
        row = self._db.execute("SELECT id FROM mailbox WHERE account = ? AND name = ? AND uid_validity = ?", mailbox).fetchone()
        if row is not None:
            return int(row[0])
        made = self._db.execute("INSERT INTO mailbox (account, name, uid_validity) VALUES (?, ?, ?)", mailbox).lastrowid
        if self._most is not None:
            self._db.execute("DELETE FROM mailbox WHERE id <= ?", ((made or 0) - self._most,))
        return int(made or 0)


def _to_text(made: Annotation) -> str:
    pieces = [[piece.part, _text(piece.octets), piece.lines, _text(piece.decoded), piece.where, piece.encoding] for piece in made.pieces]
    at = made.located
    located = None if at is None else [at.header, dict(at.bodies), dict(at.points), dict(at.decoded_points), at.blank]
    return json.dumps([made.size, pieces, located, *([made.whole] if made.whole is not None else [])])


def _from_text(data: str) -> Annotation:
    size, pieces, located, *whole = json.loads(data)
    made = tuple(Piece(part, _octets(octets), lines, _octets(plain), *rest) for part, octets, lines, plain, *rest in pieces)
    return Annotation(size, made, _located(located), Whole(*whole[0]) if whole else None)


def _located(found: Any) -> Located | None:
    return None if found is None else Located(*found)


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _octets(text: str) -> bytes:
    return text.encode("latin-1")
