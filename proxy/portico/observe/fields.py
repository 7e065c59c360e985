"""The fields of the log: one name, one type, one meaning, whatever the event.

Rule of this file: declarations only. A field that is in no event, or a name that means two things, fails a test.
Dovecot's names are taken where it has one (rip, rport, lip, lport, user, method, tls, session).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `schema` is its JSON Schema (2020-12); `meaning` one sentence, with the unit where there is one."""

    name: str
    meaning: str
    schema: dict[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The type in words, for the reference."""
        names = self.schema.get("type", "string")
        words = " or ".join([names] if isinstance(names, str) else names)
        return f"{words} of {self.schema['items']['type']}s" if words == "array" else words


_TEXT: Final[dict[str, Any]] = {"type": "string"}
_WHOLE: Final[dict[str, Any]] = {"type": "integer", "minimum": 0}
_SECONDS: Final[dict[str, Any]] = {"type": "number", "minimum": 0}
_FLAG: Final[dict[str, Any]] = {"type": "boolean"}
_WHOLE_OR_NULL: Final[dict[str, Any]] = {"type": ["integer", "null"], "minimum": 0}
_NAMES: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string"}}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


_ALL: Final = (
    # in every line
    Field("timestamp", "When, in UTC, ISO 8601 with microseconds.", {"type": "string", "format": "date-time"}),
    Field("level", "How much it matters.", _one_of("debug", "info", "warning", "error")),
    Field("event", "The event's name."),
    Field("worker", "The worker process: its number, from 0.", _WHOLE),
    # in every event of a session
    Field("session", "The session's id, from accept to close; the server gets it as x-session-id, so that both logs can be joined."),
    Field("protocol", "The protocol of the session or listener.", _one_of("imap", "pop3")),
    Field("listener", "The listener's name in the settings."),
    Field("rip", "The client's address (remote IP)."),
    Field("rport", "The client's port.", _WHOLE),
    Field("lip", "The address that the client connected to (local IP)."),
    Field("lport", "The port that the client connected to.", _WHOLE),
    Field("user", "The user as the client named him. Absent until a login was tried."),
    Field("tls", "TLS version of the client's connection. Absent without TLS."),
    Field("cipher", "Its cipher, in OpenSSL's words. Absent without TLS."),
    Field("real_rip", "The address that the connection itself comes from. Absent unless a proxy there has said that rip is the client's."),
    # the rest
    Field("address", 'An address: "host:port", "[v6]:port" or "unix:/path".'),
    Field("addresses", "All addresses that are listened on.", _NAMES),
    Field("asked", "Commands of the client in which a mounted store had a part.", _WHOLE),
    Field("arguments", "What followed a verb; what was given to a plugin's command is left out.", _NAMES),
    Field("bytes_in", "Octets from the client, without TLS.", _WHOLE),
    Field("bytes_out", "Octets to the client, without TLS.", _WHOLE),
    Field("capabilities", "Capability names, in the server's order.", _NAMES),
    Field("client", "The client's program and its version, as it said by IMAP ID: before login, or after it where somebody is interested."),
    Field("code", "Response code told to the client (RFC 5530), without brackets; may be empty."),
    Field("command", "The command's name, upper case, or other: one that is not known."),
    Field("commands", "Commands of the client after login; null in a tunnel, where nobody counts them.", _WHOLE_OR_NULL),
    Field("count", "How many.", _WHOLE),
    Field("days", "Whole days that are left; below 0: since when.", {"type": "integer"}),
    Field("detail", "More about the reason, for people; may be empty. Never what a client sent."),
    Field("error", "What went wrong: the class of the exception, or a short sentence."),
    Field("estimated", "Number of sizes that were estimated.", _WHOLE),
    Field("exact", "Number of sizes that were known.", _WHOLE),
    Field("expires", "When it ends, ISO 8601.", {"type": "string", "format": "date-time"}),
    Field("hook", "The hook or handler of the plugin that was being called."),
    Field("lookup", "Name of a source of routes in the settings."),
    Field("how", "By what it was said.", _one_of("id", "xclient")),
    Field("outer_session", "The session's id at the proxy in front, by which both logs can be joined."),
    Field("machine", "The machine that it comes from, where several share a Redis."),
    Field("mechanisms", "SASL mechanisms, upper case.", _NAMES),
    Field("method", "How the client signed in: LOGIN, USER, APOP or the SASL mechanism."),
    Field("mailboxes", "Number of mailboxes.", _WHOLE),
    Field("messages", "Number of messages.", _WHOLE),
    Field("mode", "tunnel: octets pass unread; watch: commands and responses are read.", _one_of("tunnel", "watch")),
    Field("moved", "They were moved, not copied.", _FLAG),
    Field("names", "The names concerned.", _NAMES),
    Field("ok", "It was done.", _FLAG),
    Field("operator", "An operator: the name behind his key, or the system's user at the socket of `portico ctl`."),
    Field("octets", "Number of octets.", _WHOLE),
    Field("off", "Estimate by truth, the median of those whose truth became known.", _SECONDS),
    Field("opened", "How often a mailbox of it was opened.", _WHOLE),
    Field("path", "A file."),
    Field("paths", "Files.", _NAMES),
    Field("phase", "Where the server failed; absent if it was not reached.", _one_of("greeting", "sign_in")),
    Field("pid", "The process.", _WHOLE),
    Field("plugin", "The plugin's name."),
    Field("plugins", "Names of plugins: of those loaded, or of those interested in this session.", _NAMES),
    Field("prefix", "The name of a mount in the user's tree."),
    Field("problems", "One finished line per mistake.", _NAMES),
    Field("reason", "Why, in one word; the words do not change their meaning."),
    Field("result", "How it was answered: ok, no or bad.", _one_of("ok", "no", "bad")),
    Field("resumed", "TLS with the client was resumed from an earlier connection.", _FLAG),
    Field("role", "What an operator may do.", _one_of("look", "act")),
    Field("seconds", "How long it took.", _SECONDS),
    Field("server", "The server's name in the settings."),
    Field("sessions", "Number of sessions.", _WHOLE),
    Field("side", "Who is to blame.", _one_of("client", "server", "portico", "operator")),
    Field("sni", "The name that the client asked for in TLS. Absent if it asked for none."),
    Field("signal", "The signal received."),
    Field("mailbox", "The mailbox's name, as IMAP has it; on POP3 INBOX."),
    Field("uid", "The message's UID (POP3: its unique-id)."),
    Field("text", "A sentence for people. For a refused login: what the client was told."),
    Field("traceback", "Where in the code it went wrong: one frame per entry, without values.", _NAMES),
    Field("unregistered", "Names in this line that the reference does not know (a fault of Portico's).", _NAMES),
    Field("verb", "What an operator asked for."),
    Field("version", "The version."),
    Field("what", "What it was about."),
    Field("workers", "Number of worker processes.", _WHOLE),
)

FIELDS: Final = {known.name: Field(known.name, known.meaning, known.schema or _TEXT) for known in _ALL}

EVERY_LINE: Final = ("timestamp", "level", "event")
OF_A_WORKER: Final = ("worker",)
"""In every line of a worker process; the supervisor's and those of a single process have none, or say whom they are about."""
SESSION_ALWAYS: Final = ("session", "protocol", "listener", "rip", "rport", "lip", "lport")
SESSION_WHEN_KNOWN: Final = ("user", "tls", "cipher", "real_rip")
