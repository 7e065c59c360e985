"""What the log says of a session in every event.

Rule of this file: from a SessionView to plain fields (observe.fields); it decides nothing.
"""

from __future__ import annotations

from typing import Any, Final

from portico.errors import PluginError
from portico.observe.log import Log
from portico.session.context import SessionView

_LONGEST_PROGRAM: Final = 100


def session_fields(view: SessionView) -> dict[str, Any]:
    """observe.fields.SESSION_ALWAYS, and SESSION_WHEN_KNOWN as far as they are. A new dictionary."""
    peer = view.peer
    fields: dict[str, Any] = {
        "session": view.id,
        "protocol": view.protocol,
        "listener": view.listener,
        "rip": peer.rip,
        "rport": peer.rport,
        "lip": peer.lip,
        "lport": peer.lport,
    }
    if view.user:
        fields["user"] = view.user
    if peer.real_rip:
        fields["real_rip"] = peer.real_rip
    tls = peer.tls
    if tls is not None:
        fields["tls"] = tls.version
        fields["cipher"] = tls.cipher
    return fields


def program_of(view: SessionView) -> str:
    """The client's program, as it named itself by IMAP ID; empty where it did not."""
    said = view.client_id
    words = f"{said.get('name', '')} {said.get('version', '')}".strip() if said else ""
    return "".join(each for each in words[:_LONGEST_PROGRAM] if each.isprintable())


def report_fault(log: Log, view: SessionView, error: Exception) -> None:
    """Something of ours, or of a plugin, failed while this session was served."""
    fields = session_fields(view)
    if isinstance(error, PluginError):
        log.event("plugin.failed", {**fields, "plugin": error.plugin, "hook": "", "error": error.text})
    else:
        log.event("session.bug", {**fields, "error": error})
