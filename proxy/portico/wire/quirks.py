"""Oddities of real peers that Portico lives with, by name.

Rule of this file: a quirk has a name, who shows it, what the RFC says, and what is done about it. Code that deals with one
names it in a comment; tests/wire/test_quirks.py plays each.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Quirk(NamedTuple):
    """One oddity."""

    name: str
    seen_in: str
    rule: str
    """What the RFC says."""
    treatment: str


TAGGED_OK_WITHOUT_TEXT: Final = Quirk(
    "TAGGED_OK_WITHOUT_TEXT",
    "old gateways and test servers: `a1 OK` with nothing behind it",
    "RFC 9051 9: resp-text has at least one character",
    "taken as it is; where the text goes to the client, a sentence of ours stands in for it",
)
CAPABILITIES_NOT_VOLUNTEERED: Final = Quirk(
    "CAPABILITIES_NOT_VOLUNTEERED",
    "Courier: neither the greeting nor the answer to the login has the list",
    "RFC 9051 7.1: the CAPABILITY code is optional",
    "asked for; the client's answer always has the list",
)
BARE_LF: Final = Quirk(
    "BARE_LF",
    "people with `openssl s_client` without -crlf, scripts",
    "RFC 9051 2.2: lines end with CRLF",
    "a line ends at LF, as Dovecot and Cyrus take it; a CR before it belongs to the line end",
)
BRACE_IN_FREE_TEXT: Final = Quirk(
    "BRACE_IN_FREE_TEXT",
    "servers that quote a client's literal in their complaint: `a1 BAD unexpected {5}`",
    "RFC 9051 7.1: a status response ends in text, which announces nothing",
    "the end of a status response is never taken for a literal",
)
STARTTLS_NOT_LISTED: Final = Quirk(
    "STARTTLS_NOT_LISTED",
    "load balancers and attackers that take STARTTLS out of the list",
    "RFC 9051 11.2: a client should not trust a list from before TLS",
    "where TLS is set for the server it is asked for all the same, and nothing is said in clear if it is refused",
)

LITERAL_TAKEN_FOR_COMMANDS: Final = Quirk(
    "LITERAL_TAKEN_FOR_COMMANDS",
    "Dovecot 2.3: `a1 NOOP {17+}` is answered at the end of its line, and the 17 octets behind it are carried out",
    "RFC 7888 4: the octets of a literal are read, whatever becomes of the command",
    "where somebody is asked about commands, a literal goes to the server only when it has said `+`; else it goes nowhere",
)

ALL: Final = (
    TAGGED_OK_WITHOUT_TEXT,
    CAPABILITIES_NOT_VOLUNTEERED,
    BARE_LF,
    BRACE_IN_FREE_TEXT,
    STARTTLS_NOT_LISTED,
    LITERAL_TAKEN_FOR_COMMANDS,
)
