"""What must fit together in groups of servers and in the sources of routes.

Rule of this file: as check.py. Nobody is asked: a database or a service may start later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from portico.config.document import KeyPath, Problem
from portico.config.explain import show
from portico.config.near import near
from portico.config.sections.upstream import AuthHttp, Group, Sql
from portico.config.settings import Listener, Server

PARAMETERS: Final = ("user", "local", "domain", "protocol")
"""What a query may have."""
DRIVERS: Final = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "mysql": "mysql+asyncmy", "mariadb": "mariadb+asyncmy"}
"""SQLAlchemy's names of the asynchronous drivers."""
_PARAMETER: Final = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")
"""As SQLAlchemy finds them."""


def group_mistakes(path: KeyPath, group: Group, servers: Mapping[str, Server], names: Collection[str]) -> Iterator[Problem]:
    """All that does not fit together in a group."""
    if path[-1] in names:
        yield Problem(path, "a server has the same name", (("servers", path[-1]),))
    seen: set[str] = set()
    for number, member in enumerate(group.members):
        here = (*path, "members", number, "server")
        yield from _server(here, member.server, names)
        if member.server in seen:
            yield Problem(here, f"found {show(member.server)}; stands there twice")
        seen.add(member.server)


def lookup_mistakes(path: KeyPath, listener: Listener, names: Collection[str]) -> Iterator[Problem]:
    """All that is wrong with a listener's list of lookups."""
    for number, name in enumerate(listener.lookups):
        if name not in names:
            known = "possible: " + ", ".join(sorted(names)) if names else "there is no table sql.<name> or auth_http.<name>"
            yield Problem((*path, number), f"found {show(name)}; {known}{near(name, sorted(names))}", (("sql",), ("auth_http",)))
        elif name in listener.lookups[:number]:
            yield Problem((*path, number), f"found {show(name)}; stands there twice")


def sql_mistakes(path: KeyPath, sql: Sql, names: Collection[str]) -> Iterator[Problem]:
    """All that does not fit together in a table of sql. The URL may have a password and is not shown."""
    kind, colon, _ = sql.url.reveal().decode("utf-8", "replace").partition("://")
    if not colon or (kind not in DRIVERS and kind not in DRIVERS.values()):
        yield Problem((*path, "url"), "a URL is expected that begins with " + ", ".join(f"{known}://" for known in DRIVERS))
    for name in dict.fromkeys(_PARAMETER.findall(sql.query)):
        if name not in PARAMETERS:
            wanted = "possible: " + ", ".join(f":{known}" for known in PARAMETERS)
            yield Problem((*path, "query"), f"found :{name}; {wanted}{near(name, PARAMETERS)}")
    if sql.template is not None:
        yield from _server((*path, "template"), sql.template, names)


def auth_http_mistakes(path: KeyPath, auth: AuthHttp, names: Collection[str]) -> Iterator[Problem]:
    """All that does not fit together in a table of auth_http."""
    try:
        parts = urlsplit(auth.url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        yield Problem((*path, "url"), f'found {show(auth.url)}; a URL is expected, as "http://127.0.0.1:8080/auth"')
    for number, header in enumerate(auth.headers):
        here = (*path, "headers", number)
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", header.name):  # RFC 9110 5.6.2
            yield Problem((*here, "name"), f"found {show(header.name)}; the name of a header is expected, as X-Auth-Key")
        elif header.name.lower().startswith(("auth-", "client-")) or header.name.lower() == "host":
            yield Problem((*here, "name"), f"found {show(header.name)}; this one is Portico's to say")
        if re.search(rb"[\0-\x1f\x7f]", header.value.reveal()):
            yield Problem((*here, "value"), "has a control character")
    if auth.template is not None:
        yield from _server((*path, "template"), auth.template, names)


def _server(path: KeyPath, name: str, names: Collection[str]) -> Iterator[Problem]:
    if name not in names:
        known = "possible: " + ", ".join(sorted(names)) if names else "there is no server"
        yield Problem(path, f"found {show(name)}, which is no server; {known}{near(name, sorted(names))}", (("servers",),))
