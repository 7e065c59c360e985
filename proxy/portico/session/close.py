"""Why a session ended: the whole list.

Rule of this file: a session closes for one reason of this list, and the comment beside
it says whether the client has been told. Log readers count by these words, so a word
never changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    LOGOUT = "logout"  # told: BYE and tagged OK, or +OK to QUIT
    CLIENT_CLOSED = "client_closed"  # nobody there to tell
    CLIENT_RESET = "client_reset"  # nobody there to tell
    SERVER_CLOSED = "server_closed"  # told by BYE at a boundary, elsewhere by the end of the stream
    SERVER_RESET = "server_reset"  # as server_closed; elsewhere without close_notify
    SERVER_BYE = "server_bye"  # told: the server's own BYE or -ERR was forwarded
    TLS_FAILED = "tls_failed"  # not told: the handshake with the client never ended
    PLAIN_REFUSED = "plain_refused"  # told: -ERR / BYE
    PROTOCOL_ERROR = "protocol_error"  # told: BYE with BAD's sentence, -ERR
    TOO_MANY_BAD_COMMANDS = "too_many_bad_commands"  # told
    TOO_MANY_WRONG_LOGINS = "too_many_wrong_logins"  # told
    LIMIT_SESSIONS = "limit_sessions"  # told: BYE [UNAVAILABLE] / -ERR [SYS/TEMP] before the greeting
    LIMIT_ADDRESS = "limit_address"  # told, as limit_sessions
    REFUSED = "refused"  # told, as limit_sessions: a plugin did not want the connection
    LIMIT_HELD = "limit_held"  # told where a boundary is open: more would have to be held than allowed
    TIMEOUT_TLS = "timeout_tls"  # not told: no channel to tell it on
    TIMEOUT_LOGIN = "timeout_login"  # told: the client did not sign in
    TIMEOUT_IDLE = "timeout_idle"  # told at a boundary
    TIMEOUT_WRITE = "timeout_write"  # not told: it does not read
    TIMEOUT_DRAIN = "timeout_drain"  # not told: when the proxy stopped it did not take what waited for it
    KICKED = "kicked"  # told at a boundary
    SHUTDOWN = "shutdown"  # told at a boundary, once nothing was under way or the time for that had passed
    BUG = "bug"  # told: BYE; the traceback is in session.bug
