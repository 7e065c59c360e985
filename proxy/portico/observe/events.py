"""The log events: every one that there is.

Rule of this file: declarations only. docs/reference/log-events.md and its JSON Schema are generated from it (reference.py);
tests hold the source to it: an event that is emitted is here, and one that is here is emitted.
A name is dotted, its last part in the past tense. Names and meanings do not change once released.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class EventType:
    """One event. `fields` are always there, `optional` when known; `session`: the session's own fields come on top."""

    name: str
    level: Level
    meaning: str
    fields: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    session: bool = False
    either: bool = False
    """It also happens outside of a session: the session's fields are there only inside one."""


def _proxy(name: str, level: Level, meaning: str, fields: str = "", optional: str = "") -> EventType:
    return EventType(name, level, meaning, tuple(fields.split()), tuple(optional.split()))


def _session(name: str, level: Level, meaning: str, fields: str = "", optional: str = "") -> EventType:
    return EventType(name, level, meaning, tuple(fields.split()), tuple(optional.split()), session=True)


def _either(name: str, level: Level, meaning: str, fields: str = "", optional: str = "") -> EventType:
    return EventType(name, level, meaning, tuple(fields.split()), tuple(optional.split()), either=True)


_ALL: Final = (
    # the proxy as a whole
    _proxy("proxy.started", "info", "All listeners accept connections.", "version pid addresses plugins", "workers"),
    _proxy("proxy.stopping", "info", "Nothing is accepted any more; the sessions are asked to end.", "sessions", "signal"),
    _proxy("proxy.stopped", "info", "The last session has ended.", "seconds", "sessions"),
    _proxy("proxy.failed", "error", "The proxy cannot start.", "reason text", "problems address"),
    _proxy("proxy.bug", "error", "A fault of Portico outside of any session.", "error", "traceback detail"),
    _proxy("proxy.upgrading", "info", "Another process is started that takes our place (SIGUSR2).", "pid"),
    _proxy("proxy.upgraded", "info", "It serves; this one serves only the sessions that it has.", "pid sessions"),
    _proxy("proxy.upgrade_failed", "error", "It could not start; this one goes on.", "text", "pid"),
    _proxy("proxy.barren", "error", "The process from which workers are forked has ended; an upgrade follows when one must be replaced.",
           "text"),
    _proxy("worker.started", "info", "A worker process accepts connections.", "worker pid"),
    _proxy("worker.ended", "warning", "A worker process has ended unasked, and its sessions with it; another takes its place.",
           "worker pid sessions text"),
    _proxy("worker.failed", "error", "A worker process cannot start; it is tried again.", "worker reason problems"),
    _proxy("worker.hung", "error", "A worker process has done nothing for too long; it is killed.", "worker pid seconds"),
    _proxy("commons.unavailable", "error",
           "What all processes know together (limits, penalties, holds) cannot be asked; until it can, each knows its own only.", "text"),
    _proxy("commons.available", "info", "It can be asked again."),
    _proxy("settings.reloaded", "info", "A new settings file holds for new sessions; running ones keep theirs.", "path sessions"),
    _proxy("settings.rejected", "error", "The new settings file has mistakes; the old settings stay.", "path problems"),
    _proxy("settings.warning", "warning", "The settings can be used, but something in them is doubtful or waits for a restart.", "text"),
    # certificates
    _proxy("certificates.reloaded", "info", "Files of a listener's certificates have changed; new connections get what is in them.",
           "listener paths"),
    _proxy("certificates.rejected", "error", "They have changed and cannot be used; what was there before stays in use.",
           "listener problems"),
    _proxy("certificate.expiring", "warning", "A certificate ends soon; said once a day.", "path names expires days", "listener server"),
    _proxy("certificate.expired", "error", "A certificate has ended; who checks it refuses it. Said once a day.",
           "path names expires days", "listener server"),
    _proxy("revocations.expiring", "warning", "A list of revoked certificates is too old in a day.", "listener path expires days"),
    _proxy("revocations.expired", "error",
           "A list of revoked certificates is too old: nobody gets in who shows a certificate. Said once a day.",
           "listener path expires days"),
    # listeners, the log
    _proxy("listener.opened", "info", "An address is listened on.", "listener protocol address"),
    _proxy("listener.closed", "info", "An address is not listened on any more.", "listener address"),
    _proxy("listener.refused", "warning", "A connection was closed at once: it came from where none may, or did not say whose it is "
           "(proxy_protocol). Of many at a time some are said.", "listener rip rport reason detail"),
    _proxy("listener.accept_failed", "warning", "Connections wait but cannot be taken, mostly for want of descriptors.", "listener detail"),
    _proxy("log.dropped", "warning", "Lines of this log could not be written and are lost.", "count"),
    # the operators' console
    _proxy("console.opened", "info", "The console, or the socket of `portico ctl`, is there.", "address"),
    _proxy("console.failed", "error", "The console cannot be opened, or its keys cannot be read.", "address text"),
    _proxy("console.connected", "info", "An operator has signed in.", "operator role address"),
    _proxy("console.refused", "warning", "Somebody could not sign in at the console.", "address text"),
    _proxy("console.command", "info",
           "An operator, here or (`machine`) at another machine, has given a command: `ok` says whether it could be done.",
           "operator role verb arguments ok", "text machine"),
    # metrics
    _proxy("metrics.opened", "info", "Metrics and health can be asked for.", "addresses"),
    _proxy("metrics.failed", "error", "They cannot: the address of the new settings cannot be listened on.", "address detail"),
    # the servers
    _proxy("server.probed", "info", "A server was asked for its capabilities.", "server protocol address capabilities mechanisms seconds"),
    _proxy("server.probe_failed", "warning", "A server did not answer; it is asked again later.", "server protocol address reason detail"),
    _proxy("server.unverified", "warning", "The certificate of a server is not checked (verify = false); said at every start.", "server"),
    _proxy("breaker.opened", "error", "A server failed too often in a row; for so many seconds no login is sent to it.",
           "server protocol address reason count seconds"),
    _proxy("breaker.half_opened", "info", "Its rest is over; one login is sent to it to find out.", "server protocol address"),
    _proxy("breaker.closed", "info", "It answers again; logins are sent to it.", "server protocol address"),
    _proxy("lookup.failed", "error", "A source of routes (sql, auth_http) could not be asked; the login was refused, UNAVAILABLE.",
           "lookup reason detail"),
    _session("upstream.failed_over", "info", "Nobody had been named to it yet: another server of the group is tried, or the same again.",
             "server address", "count"),
    _proxy("ssh.connected", "info", "Connected to the SSH host of servers; their sessions share the connection.", "address names seconds"),
    _proxy("ssh.failed", "warning", "The SSH host of servers cannot be used; it is tried again after so many seconds.",
           "address names reason detail seconds"),
    _proxy("ssh.lost", "warning", "The connection to an SSH host has ended, and with it the connections of its sessions to their servers.",
           "address names sessions detail"),
    _either("upstream.connected", "debug", "Connected to a server.", "server address seconds"),
    _session("upstream.failed", "warning", "The server could not be reached, or failed before or in the sign-in.", "reason detail server",
             "phase"),
    # the plugins
    _proxy("plugin.loaded", "info", "A plugin takes part.", "plugin version"),
    _either(
        "plugin.failed", "error", "A plugin raised, took too long or broke its contract; the hook's rule applies.",
        "plugin hook error", "traceback detail",
    ),
    _session("plugin.held_too_much", "warning", "Something was too large to be held for the plugins; it passed unchanged.", "octets what"),
    _session("annotations.contradicted", "warning", "An annotated message is not as the server had said; it is not annotated any more.",
             "mailbox uid text"),
    _session("annotations.failed", "warning", "New messages could not be looked at; they are not annotated.", "mailbox text"),
    _proxy("annotations.not_remembered", "error",
           "What was shown of messages cannot be read or written; until it can, new messages are shown as they are.", "text"),
    _session("annotations.passed_over", "info", "A message that seemed to be of interest is not annotated; said once per message.",
             "mailbox uid text"),
    _session("annotations.not_transformed", "info", "A message that a plugin wants to transform is too large, or cannot be read; it stays.",
             "mailbox uid text"),
    _session("annotations.transform_lost", "warning", "A transformed message cannot be shown as it was before; its body is refused.",
             "mailbox uid text"),
    _session("annotations.shown", "info", "How many messages the session showed with something inserted, or transformed.", "messages"),
    _session("command.slow", "warning", "A command took longer than log.slow_command; only sessions that are watched are timed.",
             "command result seconds", "server"),
    # public folders and other mounts
    _session("mount.opened", "debug", "A session has signed in at a mounted store.", "server prefix"),
    _session("mount.failed", "warning", "A mounted store cannot be reached, refuses the sign-in, or is gone.",
             "server prefix reason detail"),
    _session("mount.list_remembered", "warning", "A mounted store did not answer; LIST shows what it listed last.",
             "server prefix mailboxes"),
    _session("mount.used", "info", "How much of a mounted store was used in the session.", "server prefix asked opened"),
    _session("transfer.completed", "info", "Messages were copied or moved from one server to another.", "messages moved"),
    _session("transfer.failed", "warning", "Messages could not be copied or moved from one server to another.", "messages text"),
    _session("transfer.doubled", "warning", "A copy or move failed, and what was stored could not be taken back.", "messages text"),
    # sizes by estimate
    _session("sizes.told", "info", "How many sizes were told by estimate in the session, and how far off they proved to be.",
             "estimated exact", "off"),
    # a session, from accept to close
    _session("session.connected", "debug", "A client has connected."),
    _session("session.forwarded", "debug", "A proxy that may has said for whom it speaks; rip and the others are the client's from now on.",
             "how", "outer_session"),
    _session("session.forwarding_ignored", "info", "A client that is no trusted proxy has said for whom it speaks; said once in a session.",
             "how"),
    _session("session.tls", "debug", "TLS with the client is ready.", "resumed", "sni"),
    _session("session.plaintext_discarded", "warning", "Octets sent in clear behind STARTTLS were thrown away.", "octets side"),
    _session("session.protocol_error", "info", "The peer broke the protocol.", "text"),
    _session("login.failed", "info", "A login did not succeed, and the client was told.", "method code reason side text", "server detail"),
    _session("login.succeeded", "info", "The client has signed in, and we at the server.", "method server address seconds", "resumed sni"),
    _session("session.capabilities_withheld", "debug", "Capabilities of the server that are not announced.", "names"),
    _session("session.opened", "debug", "The plugins were asked; octets flow.", "mode plugins"),
    _session("trace.started", "info", "The protocol text of this session is written to a file (path), or an operator looks at it.",
             optional="path"),
    _session("trace.failed", "warning", "The protocol text of this session cannot be written.", "detail"),
    _session("session.bug", "error", "A fault of Portico; the session ends, or its login is refused.", "error", "traceback detail"),
    _session(
        "session.closed", "info", "The session has ended.",
        "reason side bytes_in bytes_out seconds commands", "detail mode server method client",
    ),
)  # fmt: skip

EVENTS: Final = {known.name: known for known in _ALL}
