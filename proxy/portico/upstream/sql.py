"""A database that knows where users are: one query, its first row.

Rule of this file: SQLAlchemy is asked, and imported only where somebody has such a database. No query is told the client's password, and no
answer proves it: the server itself checks it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Final

from portico.config.check_routes import DRIVERS
from portico.config.sections.upstream import Sql
from portico.errors import Secret
from portico.upstream.lookups import Answer, Cached, Found, LookupFailed, Question, Report

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_COLUMNS: Final = ("server", "host", "port", "user", "login", "password")


class SqlLookup:
    """See upstream.lookups.Lookup. Connects when first asked. Raises ImportError where SQLAlchemy or a driver is missing, ValueError
    where the URL is none."""

    def __init__(self, name: str, settings: Sql, report: Report) -> None:
        import sqlalchemy
        from sqlalchemy.engine import make_url

        self.name = name
        self._settings = settings
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(settings.url.reveal().decode("utf-8", "replace"))
            self._url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
            self._url.get_dialect().import_dbapi()
        except ArgumentError:
            raise ValueError("the URL is none that SQLAlchemy takes") from None  # its own words have the password
        self._secret = Secret(url.password or "")
        self._query = sqlalchemy.text(settings.query)
        self._wanted = set(self._query.compile().params)
        self._engine: AsyncEngine | None = None
        self._cached = Cached(name, self._ask, _key, self._holds, report, most=settings.cached, seconds=settings.timeout)

    def __repr__(self) -> str:
        return f"<SqlLookup {self.name} {self._url.drivername} {len(self._cached.answers)} known>"

    def find(self, question: Question) -> Answer | Awaitable[Answer]:
        return self._cached.find(question)

    async def close(self) -> None:
        """Close its connections; asked again, it connects again."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    def _holds(self, answer: Answer) -> float:
        return self._settings.ttl_missing if answer is None else self._settings.ttl

    async def _ask(self, question: Question) -> Answer:
        from sqlalchemy.exc import DBAPIError, SQLAlchemyError

        local, at, domain = question.user.rpartition("@")
        words = {
            "user": question.user,
            "local": local if at else question.user,
            "domain": domain if at else "",
            "protocol": question.view.protocol,
        }
        parameters = {name: words[name] for name in self._wanted}
        try:
            try:
                row = await self._row(parameters)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                row = await self._row(parameters)  # the database was restarted: its old connections are gone, a new one serves
        except SQLAlchemyError as error:
            raise LookupFailed("database", self._text(error)) from error
        except OSError as error:
            raise LookupFailed("unreachable", error.strerror or type(error).__name__) from error
        return None if row is None else self._found(row)

    async def _row(self, parameters: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if self._engine is None:
            from sqlalchemy.ext.asyncio import create_async_engine

            options: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"}  # one question is no transaction
            if not self._url.drivername.startswith("sqlite") or self._url.database not in (None, "", ":memory:"):
                options |= {"pool_size": self._settings.connections, "max_overflow": 0, "pool_timeout": self._settings.timeout}
            self._engine = create_async_engine(self._url, **options)
        async with self._engine.connect() as connection:
            row = (await connection.execute(self._query, parameters)).first()
            return None if row is None else dict(row._mapping)

    def _found(self, row: Mapping[str, Any]) -> Found:
        values = {name.lower(): value for name, value in row.items()}
        strange = sorted(values.keys() - set(_COLUMNS))
        if strange:
            raise LookupFailed("row", f"column {strange[0]} is none of {', '.join(_COLUMNS)}")
        texts = {name: "" if values.get(name) is None else str(values[name]) for name in _COLUMNS}
        if texts["host"] and not (texts["port"].isdigit() and 0 < int(texts["port"]) < 65536):
            raise LookupFailed("row", "host without a port from 1 to 65535")
        password = Secret(texts["password"]) if texts["password"] else None
        port = int(texts["port"]) if texts["host"] else 0
        user = texts["user"] or texts["login"]
        template = self._settings.template
        return Found(texts["server"], texts["host"], port, user, password, verified=False, template=template, lookup=self.name)

    def _text(self, error: Exception) -> str:
        """What the driver said, on one line; SQLAlchemy's own words hold the query and what was asked."""
        cause = getattr(error, "orig", None)
        text = f"{type(cause).__name__}: {cause}" if cause is not None else type(error).__name__
        return self._secret.blot(" ".join(text.split())[:200])


def _key(question: Question) -> object:
    return question.user, question.view.protocol
