"""One listener's ways to servers: from a choice to routes that can be tried, one after the other.

Rule of this file: names in, a Route or a Refusal out; who chose is the gate's business. Groups are resolved, servers that are ill or
drained left out. Another's credentials are used only for a client who is known by proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portico.config.address import Address, parse_address
from portico.config.sections.upstream import Group
from portico.config.settings import Listener, Server
from portico.errors import Secret
from portico.session.context import LoginAttempt, Refusal, Route, RouteChoice, Target
from portico.upstream.groups import order
from portico.upstream.lookups import Found, Lookup
from portico.upstream.routes import Table, targets

Verdict = Route | Refusal
_SAID = 100
"""Characters of what a source has said that go into the log."""


def _always(target: Target) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Way:
    """One listener's ways to servers, made once."""

    table: Table
    """Its routes."""
    default: str | None
    """The server or group of those whom nobody knows."""
    targets: Mapping[str, Target]
    servers: Mapping[str, Server]
    known: Target | None
    """The only possible server, if there is one."""
    possible: tuple[Target, ...] = ()
    """Those that the settings lead to; empty where others may choose, which may also know tokens that no server does."""
    groups: Mapping[str, Group] | None = None
    lookups: Sequence[Lookup] = ()
    """Asked in this order for users whom the table does not have."""
    may: Callable[[Target], bool] = _always
    """Whether a new login may go there: it is neither ill nor drained."""

    def route(self, attempt: LoginAttempt, choice: RouteChoice | Found | None) -> Verdict:
        """Where the login goes; None: nobody knows the user, and it goes to the default."""
        if choice is None:
            choice = Found()
        elif isinstance(choice, RouteChoice):
            choice = Found(choice.server, user=choice.user, verified=choice.verified)
        user = choice.user or attempt.user
        if choice.host:
            target = self._at(choice)
            found = [target] if target is not None else []
        else:
            name = choice.server or self.default
            if name is None:
                return Refusal("Sign-in failed.", "AUTHENTICATIONFAILED", "no_route", counts=True)
            found = self._named(name, user)
        if not found:
            return Refusal("Your mail server is not reachable this way.", "UNAVAILABLE", "no_route", detail=self._lacks(choice))
        usable = [target for target in found if self.may(target)]
        if not usable:
            return Refusal("The mail server cannot be reached.", "UNAVAILABLE", "no_server")
        verdicts = [self._to(target, attempt, user, choice.password, verified=choice.verified) for target in usable]
        routes = [verdict for verdict in verdicts if isinstance(verdict, Route)]
        if not routes:
            return verdicts[0]
        return routes[0] if len(routes) == 1 else replace(routes[0], others=tuple(routes[1:]))

    def _named(self, name: str, user: str) -> list[Target]:
        group = self.groups.get(name) if self.groups else None
        if group is None:
            return [self.targets[name]] if name in self.targets else []
        return [replace(self.targets[each], group=name) for each in order(group, user) if each in self.targets]

    def _lacks(self, choice: Found) -> str:
        """What an operator wants to know where a way leads nowhere."""
        by = f", said {choice.lookup}" if choice.lookup else ""
        if choice.host:
            return (
                f"no server of the settings has the address {str(Address(choice.host, choice.port))[:_SAID]}, and there is no template{by}"
            )
        return f"there is no server {(choice.server or self.default or '')[:_SAID]} for this protocol{by}"

    def _at(self, choice: Found) -> Target | None:
        """The server of the settings with this address; else one like the template, if it is good."""
        try:
            where = parse_address(str(Address(choice.host, choice.port)))
        except ValueError:
            return None
        for target in self.targets.values():
            if parse_address(target.address) == where:
                return target
        template = self.targets.get(choice.template) if choice.template is not None else None
        return replace(template, address=str(where)) if template is not None else None

    def _to(self, target: Target, attempt: LoginAttempt, user: str, password: Secret | None, *, verified: bool) -> Verdict:
        server = self.servers[target.name]
        external = attempt.mechanism == "EXTERNAL"
        if password is not None and (verified or external):
            return Route(target, user, password=password, verified=True)
        if not external and not (verified and server.master_user is not None):
            return Route(target, user)  # his own password, which the server itself will check
        if server.master_user is None:
            return Refusal("A certificate is not enough for your mail server.", "AUTHORIZATIONFAILED", "no_master_user")
        return Route(target, user, server.master_user, server.master_password, verified=True)


def way_of(
    listener: Listener,
    servers: Mapping[str, Server],
    *,
    plugins_route: bool,
    groups: Mapping[str, Group] | None = None,
    lookups: Mapping[str, Lookup] | None = None,
    may: Callable[[Target], bool] = _always,
) -> Way:
    """The Way of `listener`. `plugins_route`: some plugin may choose the server, so that none is known beforehand. `lookups`: all of them,
    by name."""
    reachable = targets(servers, listener.protocol)
    table = Table(listener.routes, None)
    asked = [lookups[name] for name in listener.lookups if name in lookups] if lookups is not None else []
    known: Any = {}
    if not plugins_route and not listener.lookups:
        names = table.servers() | ({listener.server} if listener.server is not None else set())
        members = [[member.server for member in groups[name].members] if groups and name in groups else [name] for name in names]
        known = dict.fromkeys(name for each in members for name in each)
    possible = tuple(reachable[name] for name in known if name in reachable)
    only = possible[0] if possible and len(known) == 1 else None
    return Way(table, listener.server, reachable, servers, only, possible, groups, asked, may)
