"""From settings to a Generation.

Rule of this file: wiring, in the order of the rooms. Nothing is opened here but files with certificates; what cannot be used is a
SettingsError with every problem found.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from portico.app.desk import Desk, desk_of
from portico.app.generation import Generation
from portico.app.said import report_fault
from portico.app.tally import Tally
from portico.app.tracing import Tracing
from portico.config.address import parse_address
from portico.config.sections.shared import Shared as SharedSettings
from portico.config.sections.ssh import Ssh
from portico.config.sections.upstream import AuthHttp, Sql
from portico.config.settings import Listener, Portico, Server
from portico.errors import Secret, SettingsError
from portico.gate.commons import Commons, LocalCommons
from portico.gate.gate import Gate
from portico.gate.limits import Counts
from portico.gate.penalties import digest_key
from portico.gate.way import Way, way_of
from portico.ledger.ledger import KEPT_IN_MEMORY, SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.ledger.shared import RedisLedger
from portico.observe.ids import Ids
from portico.observe.log import Log
from portico.observe.metrics import Counts as Metrics
from portico.plugin.host import Host
from portico.relay.ports import Dialling, Session
from portico.session.context import Context, Protocol, ServerFacts, Target
from portico.session.imap.session import ImapSession
from portico.session.mounts.memory import Memory
from portico.session.pop3.session import Pop3Session
from portico.tls.contexts import CIPHERS, Policy, client_context
from portico.tls.material import Known, Pair, read_pair
from portico.tls.store import Store
from portico.tls.tickets import Tickets
from portico.upstream.lookups import Lookup
from portico.upstream.records import Records, ServerRecord
from portico.wire.sasl import SPOKEN

if TYPE_CHECKING:
    from portico.upstream.ssh import Carrier, Carriers

_REDIS: Final = "\0redis"
"""Beside the ledgers of files."""
_SESSIONS: Final[Mapping[Protocol, Callable[[Context], Session]]] = {"imap": ImapSession, "pop3": Pop3Session}


@dataclass(slots=True)
class Shared:
    """What outlives a reload of the settings. One per proxy."""

    log: Log
    ids: Ids = field(default_factory=Ids)
    counts: Counts = field(default_factory=Counts)
    commons: Commons = field(default_factory=LocalCommons)
    """What several processes must know together; of a single one its own."""
    tally: Tally = field(default_factory=Tally)
    tracing: Tracing = field(default_factory=Tracing)
    records: Records = field(init=False)
    ledgers: dict[str, SafeLedger] = field(default_factory=dict)
    """By file; empty: in memory."""
    memory: Memory = field(default_factory=Memory)
    metrics: Metrics = field(default_factory=Metrics)
    lookups: list[tuple[Sql | AuthHttp, Lookup]] = field(default_factory=list)
    """Sources of routes that are asked, by their settings; they keep their connections, and what they know."""
    carriers: Carriers | None = None
    """SSH hosts; None: no server needs one."""
    ledger_file: str | None = None
    """Instead of memory, where several processes must remember the same."""
    ticket_secret: Secret = field(default_factory=lambda: Tickets().secret)
    """Several processes that have the same one take each other's session tickets."""

    def __post_init__(self) -> None:
        self.records = Records(report=self.log.event)

    def ledger(self, file: str | None, kept: int | None) -> SafeLedger:
        """The memory of annotations in a file, which keeps so many octets of transformed messages. Raises SettingsError."""
        if file is None and self.ledger_file is not None:
            file, kept = self.ledger_file, KEPT_IN_MEMORY if kept is None else kept
        key = file or ""
        if key not in self.ledgers:
            failed = partial(self._not_remembered, key)
            self.ledgers[key] = SafeLedger(SqliteLedger(Path(file) if file else None), failed)
        self.ledgers[key].keep(kept)
        return self.ledgers[key]

    def redis_ledger(self, settings: SharedSettings) -> SafeLedger:
        """The memory of annotations that several machines share. Raises SettingsError."""
        if _REDIS not in self.ledgers:
            self.ledgers[_REDIS] = SafeLedger(RedisLedger(settings), partial(self._not_remembered, "shared.redis"))
        return self.ledgers[_REDIS]

    def _not_remembered(self, file: str, text: str) -> None:
        self.log.event("annotations.not_remembered", {"text": f"{file}: {text}" if file else text})

    def lookup(self, name: str, settings: Sql | AuthHttp) -> Lookup:
        """The source with these settings, made when first asked for. Raises ImportError."""
        for known, lookup in self.lookups:
            if known == settings and lookup.name == name:
                return lookup
        if isinstance(settings, Sql):
            from portico.upstream.sql import SqlLookup

            made: Lookup = SqlLookup(name, settings, self.log.event)
        else:
            from portico.upstream.auth_http import AuthHttpLookup

            made = AuthHttpLookup(name, settings, self.log.event)
        self.lookups.append((settings, made))
        return made

    async def keep_lookups(self, settings: Portico) -> None:
        """Let go those that these settings do not have. A login that is just asking one may be refused, UNAVAILABLE."""
        wanted: list[Sql | AuthHttp] = [*settings.sql.values(), *settings.auth_http.values()]
        gone = [lookup for known, lookup in self.lookups if known not in wanted]
        self.lookups = [(known, lookup) for known, lookup in self.lookups if known in wanted]
        for lookup in gone:
            await lookup.close()

    def carrier(self, ssh: Ssh) -> Carrier:
        """Who connects to the servers behind an SSH host. `reach` starts it."""
        if self.carriers is None:
            from portico.upstream.ssh import Carriers  # asyncssh is for those who need it

            self.carriers = Carriers(self.log.event)
        return self.carriers.of(ssh)

    def reach(self, servers: Mapping[str, Server]) -> None:
        """Connect to the SSH hosts of these servers, and let go those of others."""
        if self.carriers is not None:
            self.carriers.keep((name, server.ssh) for name, server in servers.items() if server.ssh is not None)

    async def leave(self) -> None:
        """End the connections to SSH hosts and to sources of routes."""
        for _, lookup in self.lookups:
            await lookup.close()
        if self.carriers is not None:
            await self.carriers.stop()

    def close(self) -> None:
        for ledger in self.ledgers.values():
            ledger.close()
        self.ledgers.clear()


def build_generation(
    settings: Portico, shared: Shared, *, directory: Path | None = None, plugins: Mapping[str, object] | None = None
) -> Generation:
    """Everything that is made from one reading of the settings. `directory`: where relative paths in plugins' options start. `plugins`:
    some that are not installed, by name. Raises SettingsError."""
    problems: list[str] = []
    contexts = {name: _client_context(server, problems) for name, server in settings.servers.items()}
    diallings: dict[str, Dialling] = {}
    records: dict[str, ServerRecord] = {}
    host = Host.load(settings, shared.log.event, directory=directory, extra=plugins, counts=shared.metrics)
    lookups = _lookups(settings, shared, problems)
    ways = {
        name: way_of(
            listener,
            settings.servers,
            plugins_route=host.chooses_routes(name),
            groups=settings.groups,
            lookups=lookups,
            may=partial(_may, shared.records, listener.protocol),
        )
        for name, listener in settings.listeners.items()
    }
    for way, listener in zip(ways.values(), settings.listeners.values(), strict=True):
        for name, target in way.targets.items():
            if target.server not in diallings:
                records[target.server] = shared.records.of(target, listener.protocol)
                diallings[target.server] = _dialling(target, settings.servers[name], contexts[name], shared)
    tickets = Tickets(settings.tls.ticket_secret or shared.ticket_secret, settings.tls.ticket_rotation)
    stores = {name: _certificates(listener, tickets, problems) for name, listener in settings.listeners.items()}
    desks = {name: _desk(name, listener, ways[name], records, settings, stores[name]) for name, listener in settings.listeners.items()}
    if problems:
        raise SettingsError(list(dict.fromkeys(problems)))
    gate = Gate(
        ways,
        settings.limits,
        shared.counts,
        host if host.active else None,
        partial(report_fault, shared.log),
        commons=shared.commons,
        penalties=settings.penalties,
        key=digest_key(settings.tls.ticket_secret or shared.ticket_secret),
        held={name: listener.timeouts.held for name, listener in settings.listeners.items()},
    )
    # What has been shown stays as it was shown, also where no plugin is left.
    remembers = host.active or settings.annotations.file is not None or "" in shared.ledgers or shared.ledger_file in shared.ledgers
    if settings.shared.redis is not None and settings.shared.annotations:
        ledger: SafeLedger | None = shared.redis_ledger(settings.shared)
    else:
        ledger = shared.ledger(settings.annotations.file, settings.annotations.kept) if remembers else None
    memory, tally = shared.memory, shared.tally
    log, ids, metrics = shared.log, shared.ids, shared.metrics
    return Generation(
        settings,
        desks,
        diallings,
        records,
        shared.records,
        gate,
        host,
        log,
        ids,
        ledger,
        memory,
        tally=tally,
        metrics=metrics,
        tracing=shared.tracing,
    )


def _lookups(settings: Portico, shared: Shared, problems: list[str]) -> dict[str, Lookup]:
    """By name; only those that a listener asks."""
    tables: dict[str, Sql | AuthHttp] = {**settings.sql, **settings.auth_http}
    found: dict[str, Lookup] = {}
    for name in dict.fromkeys(name for listener in settings.listeners.values() for name in listener.lookups):
        try:
            found[name] = shared.lookup(name, tables[name])
        except ImportError as error:
            extra = "mysql" if "asyncmy" in str(error) else "sql"
            problems.append(f'sql.{name}: {error.name} is not installed; "pip install portico-mail[{extra}]" brings it')
        except (OSError, ValueError) as error:
            problems.append(f"{name}: cannot be used ({type(error).__name__})")
    return found


def _may(records: Records, protocol: Protocol, target: Target) -> bool:
    return records.may(records.of(target, protocol))


def _desk(name: str, listener: Listener, way: Way, records: Mapping[str, ServerRecord], settings: Portico, store: Store | None) -> Desk:
    facts = records[way.known.server].facts if way.known is not None else ServerFacts()
    users = tuple(settings.trace.users) if settings.trace.directory is not None else ()
    possible = tuple(records[target.server].facts for target in way.possible)
    return desk_of(name, listener, way, _SESSIONS[listener.protocol], store, facts, users, possible)


def _certificates(listener: Listener, tickets: Tickets, problems: list[str]) -> Store | None:
    if listener.tls == "none" or (listener.certificate is None and not listener.certificates):
        return None
    pairs = [Pair(listener.certificate, listener.key)] if listener.certificate is not None else []
    pairs += [Pair(each.certificate, each.key, tuple(each.names)) for each in listener.certificates]
    policy = Policy(
        listener.minimum_tls, listener.ciphers or CIPHERS, listener.client_ca_file, listener.client_certificates, listener.client_crl_file
    )
    try:
        return Store(pairs, policy, tickets)
    except SettingsError as error:
        problems += error.problems
        return None


def _client_context(server: Server, problems: list[str]) -> ssl.SSLContext | None:
    if server.tls == "none":
        return None
    try:
        return client_context(
            verify=server.verify, ca_file=server.ca_file, fingerprint=_pinned(server), certificate=server.certificate, key=server.key
        )
    except SettingsError as error:
        problems += error.problems
        return None


def _pinned(server: Server) -> tuple[bytes, ...] | None:
    return tuple(map(bytes.fromhex, server.pins)) or None


def _dialling(target: Target, server: Server, context: ssl.SSLContext | None, shared: Shared) -> Dialling:
    # A dot at the end says to the resolver that the name is whole; certificates have none (RFC 6066 3).
    where = parse_address(target.address)
    name = (server.name or where.host).removesuffix(".") or None
    carry = partial(shared.carrier(server.ssh).carry, where) if server.ssh is not None else None
    version = {"v1": 1, "v2": 2}[server.proxy_protocol] if server.proxy_protocol is not None else None
    return Dialling(target.address, context, name if context is not None else None, _pinned(server), carry, version)


def shown_to_servers(settings: Portico) -> list[tuple[dict[str, Any], Known]]:
    """The certificates that we show to servers, each with the fields that say to which."""
    found = []
    for name, server in settings.servers.items():
        if server.certificate is not None and server.tls != "none":
            with suppress(SettingsError):  # it has been read a moment ago
                found.append(({"server": name}, read_pair(Pair(server.certificate, server.key))))
    return found


def unverified(settings: Portico) -> list[dict[str, Any]]:
    """The servers whose certificate nobody checks, for the log."""
    return [{"server": name} for name, server in settings.servers.items() if server.tls != "none" and not server.verify and not server.pins]


def waits_for_server(listener: Listener) -> bool:
    """Whether the listener offers something only if its server does (APOP, relayed mechanisms)."""
    return listener.apop or any(name.upper() not in SPOKEN for name in listener.mechanisms)
