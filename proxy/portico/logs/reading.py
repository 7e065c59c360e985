"""Log files as the view `log` of a DuckDB, whose columns are the fields of the log with the types of the reference.

Rule of this file: files are read as they are asked about, in bounded memory, and never written; what is not a line of Portico's log is
counted and passed over. Nothing is fetched from anywhere: DuckDB may neither install nor load extensions.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final

from portico.errors import PorticoError
from portico.observe.ecs import NAMES, NANOSECONDS
from portico.observe.fields import FIELDS, Field

if TYPE_CHECKING:
    import duckdb

_TYPES: Final = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN", "array": "VARCHAR[]"}
_GLOB: Final = frozenset("*?[{")
LONGEST: Final = 32 << 20
"""Octets of a line that DuckDB takes in any case. Portico's are far shorter; a file with a longer one is not its log, and refused."""
_HEAD: Final = 64 * 1024
"""Octets of a file by which it is known how its fields are called."""
_HEAD_LINES: Final = 1000
"""The same of a file that only DuckDB can unpack."""
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
            self._in_ecs = {file for file in self._files if (self._zstd_is_ecs(file) if _is_zstd(file) else _is_ecs(file))}
        except OSError as error:
            self.close()
            raise LogsError(f"{error.filename}: {error.strerror}") from None
        except BaseException:
            self.close()
            raise
        self._since, self._until = since, until
        self._source = ""
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
        self._source = self._lines(names)
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW log AS SELECT * FROM ({self._source}) WHERE event IS NOT NULL{self._period()}")

    def _zstd_is_ecs(self, file: Path) -> bool:
        """As `_is_ecs`, by DuckDB: Python's library unpacks no Zstandard (3.14 does)."""
        source = _source([file], "'@timestamp': 'VARCHAR', 'event.action': 'VARCHAR'")
        head = f'SELECT "event.action" AS named FROM {source} LIMIT {_HEAD_LINES}'
        try:
            return bool(self._run(f"SELECT count(named) FROM ({head})").fetchall()[0][0])
        except LogsError:
            raise LogsError(f"{file}: cannot be unpacked") from None

    def _lines(self, names: Sequence[str] | dict[str, Field]) -> str:
        """SELECT these fields of every line, be it of the log or not."""
        parts: list[str] = []
        for ecs in (False, True):
            files = [file for file in self._files if (file in self._in_ecs) == ecs]
            if files:
                columns = ", ".join(f"{_text(_written(name, ecs=ecs))}: {_text(_written_type(FIELDS[name], ecs=ecs))}" for name in names)
                parts.append(f"SELECT {', '.join(_column(FIELDS[name], ecs=ecs) for name in names)} FROM {_source(files, columns)}")
        return " UNION ALL ".join(parts)

    def _period(self) -> str:
        bounds = ((">=", self._since), ("<", self._until))
        return "".join(f" AND timestamp {sign} TIMESTAMPTZ {_text(at.isoformat())}" for sign, at in bounds if at)

    def copy(self, names: Sequence[str]) -> None:
        """Read these fields of all lines once, because several questions are coming. `rejected` then costs nothing."""
        self._run(f"CREATE OR REPLACE TABLE copied AS {self._lines(list(dict.fromkeys(('timestamp', 'event', *names))))}")
        self._db.execute(f"CREATE OR REPLACE TEMP VIEW log AS SELECT * FROM copied WHERE event IS NOT NULL{self._period()}")
        self._source = "SELECT event FROM copied"

    def ask(self, sql: str, top: int | None = None) -> Answer:
        """The answer to one SELECT over `log`; its first `top` rows. Raises LogsError."""
        relation = self._run(sql)
        rows = relation.fetchall() if top is None else relation.fetchmany(top)
        return Answer(tuple(column[0] for column in relation.description or ()), rows)

    def rejected(self) -> int:
        """Lines that are no lines of Portico's log: not JSON, damaged, or without an event."""
        return int(self._run(f"SELECT count(*) FROM ({self._source}) WHERE event IS NULL").fetchall()[0][0])

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


def _source(files: Sequence[Path], columns: str) -> str:
    shown = ", ".join(_text(str(file)) for file in files)
    return f"read_json([{shown}], format = 'newline_delimited', ignore_errors = true, columns = {{{columns}}})"


def _is_zstd(file: Path) -> bool:
    return file.suffix == ".zst"


def _is_ecs(file: Path) -> bool:
    """Whether its lines have the names of ECS (log.names)."""
    packed = "".join(file.suffixes).endswith(".gz")
    try:
        with gzip.open(file) if packed else file.open("rb") as octets:
            return b'{"@timestamp":' in octets.read(_HEAD)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise LogsError(f"{file}: cannot be unpacked") from None


def _written(name: str, *, ecs: bool) -> str:
    return NAMES.get(name, f"portico.{name}") if ecs else name


def _written_type(known: Field, *, ecs: bool) -> str:
    kind = column_type(known)
    return "VARCHAR" if kind == "TIMESTAMPTZ" or (ecs and known.name == "traceback") else kind


def _column(known: Field, *, ecs: bool) -> str:
    """A field as it was written, as what it is."""
    name, value = _name(known.name), _name(_written(known.name, ecs=ecs))
    if column_type(known) == "TIMESTAMPTZ":
        value = f"TRY_CAST({value} AS TIMESTAMPTZ)"
    elif ecs and known.name == "seconds":
        value = f"{value} / {NANOSECONDS}"
    elif ecs and known.name == "traceback":
        value = f"string_split({value}, chr(10))"
    elif ecs and known.name == "tls":
        value = f"'TLSv' || {value}"
    return f"{value} AS {name}"


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
