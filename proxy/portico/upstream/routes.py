"""Which server a user's mail is on, as the settings' tables have it.

Rule of this file: a name in, a RouteChoice out, at once. Sources that have to be asked are in lookups.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import Any, Final

from portico.config.settings import RouteRule, Server
from portico.session.context import RouteChoice, Target

_WILD: Final = re.compile(r"[*?\[]")


def fill(template: str, user: str) -> str:
    """`template` (checked by config.check) with {user}, {local} and {domain} filled in.

    Local is what stands before the last "@", domain what is behind it.
    """
    local, at, domain = user.rpartition("@")
    words = {"user": user, "local": local if at else user, "domain": domain if at else ""}
    return template.format_map(words)


class Table:
    """A listener's routes: the first rule that matches decides, then the default server.

    Patterns are those of the shell ("*", "?", "[a-c]"), matched over the whole name without regard to case: most servers take
    names so, and domains are so (RFC 4343). A table of many plain names costs one look-up.
    """

    __slots__ = ("_default", "_exact", "_patterns", "_rules")

    def __init__(self, rules: Sequence[RouteRule], default: str | None) -> None:
        self._rules = tuple(rules)
        self._default = default
        self._exact: dict[str, int] = {}
        self._patterns: list[tuple[int, re.Pattern[str]]] = []
        for number, rule in enumerate(rules):
            wild = [pattern.casefold() for pattern in rule.users if _WILD.search(pattern)]
            if wild:
                self._patterns.append((number, re.compile("|".join(translate(pattern) for pattern in wild))))
            for name in rule.users:
                if not _WILD.search(name):
                    self._exact.setdefault(name.casefold(), number)

    def choose(self, user: str) -> RouteChoice | None:
        """The choice for `user`; None: no rule matches and there is no default."""
        key = user.casefold()
        first = self._exact.get(key, len(self._rules))
        for number, pattern in self._patterns:
            if number >= first:
                break
            if pattern.match(key):
                first = number
                break
        if first < len(self._rules):
            rule = self._rules[first]
            return RouteChoice(rule.server, user if rule.user is None else fill(rule.user, user))
        return RouteChoice(self._default, user) if self._default is not None else None

    def servers(self) -> set[str]:
        """The names of all servers that can be chosen."""
        names = {rule.server for rule in self._rules}
        return names | {self._default} if self._default is not None else names


def targets(servers: Mapping[str, Server], protocol: Any) -> dict[str, Target]:
    """The servers that speak `protocol`, by name."""
    found = {}
    for name, server in servers.items():
        address = server.imap if protocol == "imap" else server.pop3
        if address is not None:
            found[name] = Target(name, address, server.tls, f"{name}:{protocol}", server.send_client_address)
    return found
