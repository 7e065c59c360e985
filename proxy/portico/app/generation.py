"""One reading of the settings, and what the relay asks of it.

Rule of this file: it passes each question to the room that knows (gate, upstream, plugin, observe) and keeps, for each
running session, the little that these need to be told later. Everything here is called a few times per session, never on
the data path. A running session keeps the Generation it was born with.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

from portico.app.counted import command_label, count_record
from portico.app.desk import Desk
from portico.app.said import program_of, session_fields
from portico.app.tally import Tally
from portico.app.tracing import Tracing
from portico.app.visit import Visit, blotted
from portico.config.address import parse_address
from portico.config.settings import Portico
from portico.gate.gate import Gate
from portico.gate.limits import network_of
from portico.gate.sparing import Sparing
from portico.ledger.safe import SafeLedger
from portico.observe.ids import Ids
from portico.observe.log import Log
from portico.observe.metrics import Counts
from portico.observe.trace import Trace, TraceFailed
from portico.plugin.host import Host
from portico.relay.ports import Dialling, Session, Summary
from portico.session.context import Context, LoginAttempt, Peer, Refusal, Route, SessionView, Target
from portico.session.interests import Compiled
from portico.session.mounts.memory import Memory
from portico.tls.store import Store
from portico.upstream.records import Records, ServerRecord

_TOLD: Final = 256
"""Connections above the limits that are told so at a time. All others are closed at once: to shake hands with them would cost what the
limits are there to save."""
_ILL: Final = frozenset(("timeout", "closed", "bye", "protocol", "preauth"))
"""Reasons for which a server that was reached is ill; the others are about one user, or about settings."""


@dataclass(slots=True)
class Generation:
    """See relay.ports.Generation. Made by app.build."""

    settings: Portico
    desks: Mapping[str, Desk]
    diallings: Mapping[str, Dialling]
    """By Target.server."""
    server_records: Mapping[str, ServerRecord]
    """By Target.server."""
    records: Records
    gate: Gate
    host: Host
    log: Log
    ids: Ids
    ledger: SafeLedger | None = None
    memory: Memory | None = None
    clock: Callable[[], float] = time.monotonic
    sparing: Sparing = field(default_factory=Sparing)
    tally: Tally = field(default_factory=Tally)
    tracing: Tracing = field(default_factory=Tracing)
    metrics: Counts = field(default_factory=Counts)
    visits: dict[str, Visit] = field(default_factory=dict)
    refused: int = 0
    """Of the visits."""
    over: Callable[[], None] | None = None
    """Called when the last session has ended; set once there will be no new ones."""

    def __repr__(self) -> str:
        return f"<Generation {' '.join(self.desks)} {len(self.visits)} sessions>"

    # -- a session comes and goes

    def entrance(self, listener: str, peer: Peer) -> float | None:
        """See relay.ports."""
        desk = self.desks[listener]
        if not desk.balancers:
            return 0.0
        return desk.timeouts["proxy_header"] if peer.rip in desk.balancers else None

    def turned_away(self, listener: str, peer: Peer, reason: str, detail: str) -> None:
        """Nobody fills the log from outside: of many such connections some are said."""
        self.gate.counts.refused[reason] += 1
        self.metrics.count("portico_refusals_total", self.desks[listener].settings.protocol, reason)
        if self.sparing.may(self.clock()):
            fields = {"listener": listener, "rip": peer.rip, "rport": peer.rport, "reason": reason, "detail": detail}
            self.record(None, "listener.refused", fields)

    def open_session(self, listener: str, peer: Peer) -> Session | None:
        """A session for a connection just accepted, counted unless it is refused; None: there are too many to refuse."""
        desk = self.desks[listener]
        settings = desk.settings
        trusted = bool(desk.trusted) and peer.rip in desk.trusted
        ticket, refusal = self.gate.arrive(peer.rip, counted=not trusted)
        self.metrics.count("portico_connections_total", settings.protocol, listener)
        if refusal is not None:
            if self.refused >= _TOLD:
                self.metrics.count("portico_refusals_total", settings.protocol, refusal.reason)
                return None
            self.refused += 1
        known = desk.way.known
        name = self.ids.new()
        traced = desk.trace_users + self.tracing.users
        whole = self.settings
        context = Context(
            name, settings.protocol, listener, peer, settings, desk.facts, known, traced, refusal, self.ledger,
            targets=desk.way.targets, memory=self.memory, sizes=self.ledger, subscriptions=self.ledger,
            newest=whole.annotations.newest, transform=whole.annotations.transform,
            timed=whole.metrics.address is not None or whole.log.slow_command is not None, trusted=trusted,
            retries=whole.health.retries, retry_wait=whole.health.retry_wait, possible=desk.possible,
        )  # fmt: skip
        session = desk.session(context)
        self.visits[name] = Visit(ticket, self.clock(), refused=refusal is not None)
        self.tally.connections += 1
        if self.log.enabled("session.connected"):
            self.log.event("session.connected", session_fields(session.view))
        return session

    def admit(self, session: Session) -> Awaitable[None] | None:
        """Ask the plugins about the client, unless it is refused already."""
        if session.context.refusal is not None:
            return None
        visit = self.visits[session.view.id]
        entered = self.gate.enter(visit.ticket, session.view.id)
        if entered is None or isinstance(entered, Refusal):
            return self._entered(session, visit, entered)
        return self._enter_later(session, visit, entered)

    async def _enter_later(self, session: Session, visit: Visit, waiting: Awaitable[Refusal | None]) -> None:
        said = self._entered(session, visit, await waiting)
        if said is not None:
            await said

    def _entered(self, session: Session, visit: Visit, refusal: Refusal | None) -> Awaitable[None] | None:
        """The commons have counted it, or refused it."""
        if refusal is not None:
            session.context.refusal = refusal
            return None
        visit.met = True
        said = self.host.client_connected(session.view)
        if said is None or isinstance(said, Refusal):
            session.context.refusal = said or session.context.refusal
            return None
        return self._admit_later(session, said)

    async def _admit_later(self, session: Session, waiting: Awaitable[Refusal | None]) -> None:
        said = await waiting
        session.context.refusal = said or session.context.refusal  # it may have been told to end meanwhile

    def ended(self, session: Session, summary: Summary) -> None:
        """The session is over."""
        view = session.view
        visit = self.visits.pop(view.id)
        self.gate.leave(visit.ticket)
        self.refused -= visit.refused
        if visit.trace is not None:
            visit.trace.close()
        if self.tracing.taps:
            self.tracing.ended(view)
        self.tally.ended(str(summary.reason), summary.bytes_in, summary.bytes_out)
        self._count(session, visit, summary)
        if self.log.enabled("session.closed"):
            self.log.event("session.closed", self._closing(session, visit, summary))
        if visit.met:
            self.host.session_closed(view, summary)
        if self.over is not None and not self.visits:
            self.over()

    def _count(self, session: Session, visit: Visit, summary: Summary) -> None:
        metrics, protocol = self.metrics, session.context.protocol
        metrics.count("portico_sessions_closed_total", protocol, str(summary.reason))
        metrics.count("portico_bytes_total", protocol, "in", by=summary.bytes_in)
        metrics.count("portico_bytes_total", protocol, "out", by=summary.bytes_out)
        if visit.opened:
            metrics.observe("portico_session_seconds", summary.seconds, protocol)
        if session.context.refusal is not None:
            metrics.count("portico_refusals_total", protocol, session.context.refusal.reason)

    def _closing(self, session: Session, visit: Visit, summary: Summary) -> dict[str, Any]:
        view = session.view
        fields = session_fields(view)
        fields["reason"] = str(summary.reason)
        fields["side"] = summary.side
        fields["bytes_in"] = summary.bytes_in
        fields["bytes_out"] = summary.bytes_out
        fields["seconds"] = round(summary.seconds, 3)
        fields["commands"] = None if summary.tunnel else getattr(session, "commands", None)
        if view.server:
            fields["server"] = view.server
        if view.mechanism:
            fields["method"] = view.mechanism
        if program := program_of(view):
            fields["client"] = program
        if visit.opened:
            fields["mode"] = "tunnel" if summary.tunnel else "watch"
        if summary.detail:
            fields["detail"] = summary.detail
        return fields

    # -- TLS, servers, time-outs

    @property
    def certificates(self) -> dict[str, Store]:
        """Of each listener that has TLS."""
        return {name: desk.certificates for name, desk in self.desks.items() if desk.certificates is not None}

    def client_tls(self, listener: str) -> ssl.SSLContext | None:
        certificates = self.desks[listener].certificates
        return certificates.context if certificates is not None else None

    def dialling(self, target: Target) -> Dialling:
        self.records.begin(self._record_of(target))
        dialling = self.diallings[target.server]
        if dialling.address == target.address:
            return dialling
        # A host that a lookup has named, reached as the settings have it for another one.
        where = parse_address(target.address)
        named = dialling.server_hostname is None or self.settings.servers[target.name].name is not None
        hostname = dialling.server_hostname if named else where.host.removesuffix(".")
        carry = partial(dialling.carry.func, where) if isinstance(dialling.carry, partial) else dialling.carry
        return replace(dialling, address=target.address, server_hostname=hostname, carry=carry)

    def _record_of(self, target: Target) -> ServerRecord:
        record = self.server_records[target.server]
        return record if record.target.address == target.address else self.records.of(target, record.protocol)

    def timeout(self, session: Session, phase: str) -> float:
        return self.desks[session.context.listener].timeouts[phase]

    def connected(self, target: Target, error: str | None, seconds: float) -> None:
        self.records.dialled(self._record_of(target), error, seconds)
        protocol = self.server_records[target.server].protocol
        self.metrics.count("portico_server_dials_total", target.name, protocol, error or "ok")
        if error is None:
            self.metrics.observe("portico_server_connect_seconds", seconds, target.name, protocol)
        if error is None and self.log.enabled("upstream.connected"):
            self.log.event("upstream.connected", {"server": target.name, "address": target.address, "seconds": round(seconds, 4)})

    def secured(self, target: Target, error: str | None) -> None:
        self.records.secured(self._record_of(target), error)

    # -- signing in

    def check_login(self, session: Session, attempt: LoginAttempt) -> Route | Refusal | Awaitable[Route | Refusal]:
        """The gate's verdict."""
        visit = self.visits[session.context.id]
        visit.login_began = self.clock()
        visit.secrets = (attempt.password,)
        verdict = self.gate.check(visit.ticket, session.view, attempt)
        if isinstance(verdict, Route):
            self._routed(visit, attempt, verdict)
        elif not isinstance(verdict, Refusal):
            return self._check_later(visit, attempt, verdict)
        return verdict

    async def _check_later(self, visit: Visit, attempt: LoginAttempt, waiting: Awaitable[Route | Refusal]) -> Route | Refusal:
        verdict = await waiting
        if isinstance(verdict, Route):
            self._routed(visit, attempt, verdict)
        return verdict

    @staticmethod
    def _routed(visit: Visit, attempt: LoginAttempt, route: Route) -> None:
        visit.target = route.target
        visit.others = (*(other.target for other in route.others), route.target) if route.others else ()
        visit.secrets = (attempt.password, route.password, route.master_password)
        for other in route.others:
            visit.secrets += (other.password, other.master_password)

    def login_ended(self, session: Session, ok: bool, counts: bool) -> None:
        """A login that was let pass has succeeded at the server or not."""
        visit = self.visits.get(session.context.id)
        if visit is None:
            return
        if visit.target is not None and (ok or counts):
            self.records.answered(self._record_of(visit.target))
        if ok:
            self.gate.succeeded(visit.ticket, session.view)
        else:
            self.gate.failed(visit.ticket, session.view, counts=counts)

    def open_plugins(self, session: Session, view: SessionView) -> Compiled | Awaitable[Compiled | None] | None:
        self.visits[view.id].opened = True
        return self.host.session_opened(view)

    # -- the log

    def commanded(self, session: Session, command: str, result: str, seconds: float) -> None:
        """A command of a watched session has been answered; only where its context is `timed`."""
        protocol = session.context.protocol
        label = command_label(protocol, command)
        self.metrics.observe("portico_command_seconds", seconds, protocol, label, result)
        self.tally.commanded(label, seconds, session.view.user, session.view.server)
        slow = self.settings.log.slow_command
        if slow is not None and seconds > slow:
            fields: dict[str, Any] = {"command": label, "result": result, "seconds": round(seconds, 3)}
            if session.view.server:
                fields["server"] = session.view.server
            self.record(session, "command.slow", fields)

    def record(self, session: Session | None, event: str, fields: dict[str, Any]) -> None:
        """Write an event, of a session or not."""
        if session is None:
            event = "proxy.bug" if event == "session.bug" else event
            if self.log.enabled(event):
                self.log.event(event, fields)
            return
        visit = self.visits.get(session.context.id)
        count_record(self.metrics, session.context.protocol, event, fields)
        if event == "sizes.told":
            fields = {name: value for name, value in fields.items() if name != "ratios"}
        extra: dict[str, Any] = {}
        if visit is not None:
            if event == "login.succeeded":
                seconds = self.clock() - visit.login_began
                self.metrics.observe("portico_login_seconds", seconds, session.context.protocol)
                self.tally.logins += 1
                visit.secrets = ()
                if self.log.enabled(event):
                    extra = self._login(session, visit, seconds)
            elif event in ("login.failed", "upstream.failed"):
                fields = blotted(fields, visit.secrets)
                if event == "upstream.failed":
                    self._failed(session, visit, fields)
                if event == "login.failed":
                    self.tally.failed_logins += 1
                    visit.secrets = ()
            elif event == "mount.opened":
                self._answered(session, fields["server"])
            elif event == "upstream.failed_over":
                found = (target for target in visit.others if target.address == fields["address"])
                visit.target = next(found, visit.target)
            elif event == "trace.started" and (trace := self._trace(session, visit)) is not None:
                extra = {"path": trace.path}
        if self.log.enabled(event):
            self.log.event(event, {**session_fields(session.view), **extra, **fields})

    @staticmethod
    def _login(session: Session, visit: Visit, seconds: float) -> dict[str, Any]:
        fields: dict[str, Any] = {"address": visit.address, "seconds": round(seconds, 4)}
        tls = session.context.peer.tls
        if tls is not None:
            fields["resumed"] = tls.resumed
            if tls.sni:
                fields["sni"] = tls.sni
        return fields

    def _answered(self, session: Session, server: str) -> None:
        record = self.server_records.get(f"{server}:{session.context.protocol}")
        if record is not None:
            self.records.answered(record)

    def _failed(self, session: Session, visit: Visit, fields: dict[str, Any]) -> None:
        """What only the session knows: the server was reached, and then failed."""
        record = self.server_records.get(f"{fields.get('server')}:{session.context.protocol}")
        target = visit.target
        if target is not None and target.name == fields.get("server"):
            record = self._record_of(target)
        if record is None:
            return
        if fields["reason"] == "no_starttls":
            self.records.secured(record, "no_starttls")  # no handshake has begun
        elif "phase" in fields and fields["reason"] in _ILL:
            told = fields["phase"] == "sign_in"  # or about to be: what the server does now may be the client's doing
            peer = session.view.peer
            self.records.ill(record, fields["reason"], (network_of(peer.rip) or "unix") if told else "")

    def trace(self, session: Session, direction: str, data: bytes) -> None:
        """Show protocol text of this session to operators who trace it, and write it to its file, which is made when first needed."""
        visit = self.visits.get(session.context.id)
        if visit is None:
            return
        if self.tracing.taps:
            self.tracing.told(session.view, direction, data)
        trace = self._trace(session, visit)
        if trace is not None:
            try:
                trace.write(self.clock() - visit.began, direction, data)
            except TraceFailed as error:
                self._no_trace(session, visit, error)

    def _trace(self, session: Session, visit: Visit) -> Trace | None:
        directory = self.settings.trace.directory
        if visit.trace is None and visit.traced and directory is not None and self.filed(session.view):
            view = session.view
            heading = f"session {view.id} {view.protocol} {view.listener} user={view.user} rip={view.peer.rip} server={view.server}"
            try:
                visit.trace = Trace(directory, view.id, view.user, heading)
            except TraceFailed as error:
                self._no_trace(session, visit, error)
        return visit.trace

    def filed(self, view: SessionView) -> bool:
        """Its protocol text goes to a file."""
        return any(fnmatchcase(view.user, pattern) for pattern in self.desks[view.listener].trace_users)

    def _no_trace(self, session: Session, visit: Visit, error: TraceFailed) -> None:
        visit.trace, visit.traced = None, False
        self.record(session, "trace.failed", {"detail": str(error)})
