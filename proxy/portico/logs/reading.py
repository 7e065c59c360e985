"""Log files as the view `log` of a DuckDB, whose columns are the fields of the log with the types of the reference.

Rule of this file: files are read as they are asked about, in bounded memory, and never written; what is not a line of Portico's log is
counted and passed over. Nothing is fetched from anywhere: DuckDB may neither install nor load extensions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final

from portico.errors import PorticoError
from portico.observe.fields import FIELDS, Field

if TYPE_CHECKING:
    import duckdb

_TYPES: Final = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "array": "VARCHAR[]"}
_GLOB: Final = frozenset("*?[{")
LONGEST: Final = 32 << 20
"""Octets of a line that DuckDB takes in any case. Portico's are far shorter; a file with a longer one is not its log, and refused."""
MEMORY: Final = "1GB"
"""What DuckDB may hold before it goes to its temporary directory."""


class LogsError(PorticoError):
    """A file that cannot be read, or a question that is not understood; the text is for the one who asked."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows under their headings."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]


def column_type(known: Field) -> str:
    """DuckDB's type of a field."""
    if known.schema.get("format") == "date-time":
        return "TIMESTAMPTZ"
    names = known.schema["type"]
    return _TYPES[names if isinstance(names, str) else next(name for name in names if name != "null")]


class Logs:
    """The files, open to questions: ``with Logs(paths) as logs``. `since`, `until`: lines from then on, and before then.

    Raises LogsError if a file cannot be read or DuckDB is not there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        stdin: IO[bytes] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        memory: str = MEMORY,
    ) -> None:
        try:
            import duckdb
        except ImportError:
            raise LogsError('this needs DuckDB: pip install "portico-mail[logs]"') from None
        self._place = Path(tempfile.mkdtemp(prefix="portico-logs-"))
        try:
            self._files = [_readable(path, self._place, number) for number, path in enumerate(paths)]
            if stdin is not None:
                self._files.append(self._place / "stdin")
                with (self._place / "stdin").open("wb") as copy:
                    shutil.copyfileobj(stdin, copy)
            settings: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": memory,
                "temp_directory": str(self._place / "spill"),
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "preserve_insertion_order": "false",
            }
            self._db = duckdb.connect(str(self._place / "copy.duckdb"), config=settings)
            self._db.execute("SET TimeZone = 'UTC'")
        except OSError as error:
            self.close()
            raise LogsError(f"{error.filename}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise
        self._since, self._until = since, until
        self._source = ""
        self._copied = ""
        self._view(FIELDS)

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is left behind."""
        if hasattr(self, "_db"):
            self._db.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def _view(self, names: Sequence[str] | dict[str, Field]) -> None:
        """Define `log` with these fields, read anew from the files by each question."""
        columns = ", ".join(
            f"{_text(name)}: {_text('VARCHAR' if column_type(FIELDS[name]) == 'TIMESTAMPTZ' else column_type(FIELDS[name]))}"
            for name in names
        )
        files = ", ".join(_text(str(file)) for file in self._files)
        self._source = f"read_json([{files}], format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"
        stamped = ", ".join(_column(FIELDS[name]) for name in names)
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW log AS SELECT {stamped} FROM {self._source} WHERE event IS NOT NULL{self._period()}")

    def _period(self) -> str:
        bounds = ((">=", self._since), ("<", self._until))
        return "".join(f" AND TRY_CAST(timestamp AS TIMESTAMPTZ) {sign} TIMESTAMPTZ {_text(at.isoformat())}" for sign, at in bounds if at)

    def copy(self, names: Sequence[str]) -> None:
        """Read these fields of all lines once, because several questions are coming. `rejected` then costs nothing."""
        wanted = list(dict.fromkeys(("timestamp", "event", *names)))
        self._view(wanted)
        self._run(f"CREATE OR REPLACE TABLE copied AS SELECT {', '.join(map(_name, wanted))} FROM ({self._unfiltered(wanted)})")
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW log AS SELECT * FROM copied WHERE event IS NOT NULL{self._period()}")
        self._copied = "copied"

    def _unfiltered(self, names: Sequence[str]) -> str:
        return f"SELECT {', '.join(_column(FIELDS[name]) for name in names)} FROM {self._source}"

    def ask(self, sql: str, top: int | None = None) -> Answer:
        """The answer to one SELECT over `log`; its first `top` rows. Raises LogsError."""
        relation = self._run(sql)
        rows = relation.fetchall() if top is None else relation.fetchmany(top)
        return Answer(tuple(column[0] for column in relation.description or ()), rows)

    def rejected(self) -> int:
        """Lines that are no lines of Portico's log: not JSON, damaged, or without an event."""
        where = self._copied or self._source
        return int(self._run(f"SELECT count(*) FROM {where} WHERE event IS NULL").fetchall()[0][0])

    def _run(self, sql: str) -> duckdb.DuckDBPyConnection:
        import duckdb

        try:
            return self._db.execute(sql)
        except duckdb.Error as error:
            raise LogsError(str(error).strip()) from None


def _readable(path: Path, place: Path, number: int) -> Path:
    """The file under a name that DuckDB takes as it is. Raises OSError if it cannot be read."""
    with path.open("rb"):
        pass
    if path.is_dir():
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not _GLOB & set(str(path)):
        return path
    link = place / f"{number}{''.join(suffix for suffix in path.suffixes if suffix in ('.gz', '.zst'))}"
    link.symlink_to(path.resolve())
    return link


def _column(known: Field) -> str:
    name = _name(known.name)
    return f"TRY_CAST({name} AS TIMESTAMPTZ) AS {name}" if column_type(known) == "TIMESTAMPTZ" else name


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def moment(text: str) -> datetime:
    """A point of time as people write it: ISO 8601, a date alone, without a zone in UTC. Raises LogsError."""
    from datetime import UTC

    with suppress(ValueError):
        at = datetime.fromisoformat(text)
        return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    raise LogsError(f"{text} is no time; write 2026-03-01, 2026-03-01T09:30 or 2026-03-01T09:30:00+01:00")
