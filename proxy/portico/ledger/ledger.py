"""The memory of annotations: what clients have been shown of a message, for as long as the message lives.

Rule of this file: one SQLite database, in a file or in memory, and nothing that depends on IMAP or POP3. Writes are small and rare
(once per message that is annotated, once per look at new mail), so they are made where they are asked for.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from portico.errors import SettingsError
from portico.session.annotations.annotation import Annotation, Known, Located, Mailbox, Piece

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mailbox (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL, uid_validity INTEGER NOT NULL,
    watermark INTEGER NOT NULL DEFAULT 0, UNIQUE (account, name, uid_validity)
);
CREATE TABLE IF NOT EXISTS annotation (
    mailbox INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE, uid TEXT NOT NULL, octets INTEGER NOT NULL, data TEXT,
    PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
"""
_VERSION: Final = 1
MOST_MAILBOXES: Final = 10_000
"""In memory only: beyond this the mailbox not used for longest is forgotten."""


class SqliteLedger:
    """See session.annotations.annotation.Ledger. `path` None: in memory, gone with the process.

    Several processes may use one file. Raises SettingsError if the file cannot be used.
    """

    def __init__(self, path: Path | None = None, *, most: int = MOST_MAILBOXES) -> None:
        self._most = most if path is None else None
        try:
            self._db = sqlite3.connect(
                str(path) if path is not None else ":memory:", timeout=5.0, isolation_level=None, check_same_thread=False
            )
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise SettingsError([f"{path}: made by another version of Portico ({version})"])
            self._db.executescript(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
                f"{_SCHEMA} PRAGMA user_version = {_VERSION}"
            )
        except sqlite3.Error as error:
            raise SettingsError([f"{path}: cannot be used: {error}"]) from None

    def close(self) -> None:
        self._db.close()

    def known(self, mailbox: Mailbox) -> Known:
        row = self._db.execute("SELECT id, watermark FROM mailbox WHERE account = ? AND name = ? AND uid_validity = ?", mailbox).fetchone()
        if row is None:
            return Known(0, {})
        found = self._db.execute("SELECT uid, data FROM annotation WHERE mailbox = ?", (row[0],)).fetchall()
        made = {uid: _from_text(data) for uid, data in found if data is not None}
        return Known(row[1], made, frozenset(uid for uid, data in found if data is None))

    def judged(self, mailbox: Mailbox, watermark: int, annotations: Mapping[str, Annotation | None]) -> Known:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            number = self._number(mailbox)
            self._db.execute("UPDATE mailbox SET watermark = max(watermark, ?) WHERE id = ?", (watermark, number))
            self._db.executemany(
                "INSERT INTO annotation VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(number, uid, made.octets if made else 0, _to_text(made) if made else None) for uid, made in annotations.items()],
            )
        return self.known(mailbox)

    def located(self, mailbox: Mailbox, uid: str, located: Located) -> None:
        made = self.known(mailbox).annotations.get(uid)
        if made is not None:
            self._change(mailbox, uid, _to_text(made.at(located)))

    def forget(self, mailbox: Mailbox, uid: str) -> None:
        self._change(mailbox, uid, None)

    def growth(self, account: str, name: str) -> int:
        query = (
            "SELECT sum(octets) FROM annotation JOIN mailbox ON mailbox.id = mailbox WHERE account = ? AND name = ? AND data IS NOT NULL"
        )
        return int(self._db.execute(query, (account, name)).fetchone()[0] or 0)

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
    located = None if at is None else [at.header, dict(at.bodies), dict(at.points), dict(at.decoded_points)]
    return json.dumps([made.size, pieces, located])


def _from_text(data: str) -> Annotation:
    size, pieces, located = json.loads(data)
    made = tuple(Piece(part, _octets(octets), lines, _octets(plain), *rest) for part, octets, lines, plain, *rest in pieces)
    return Annotation(size, made, _located(located))


def _located(found: Any) -> Located | None:
    return None if found is None else Located(*found)


def _text(octets: bytes) -> str:
    return octets.decode("latin-1")


def _octets(text: str) -> bytes:
    return text.encode("latin-1")
