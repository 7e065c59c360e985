"""IMAP syntax: commands, responses, strings, lists.

Rule of this file: pure functions from bytes to values and back. Input is a whole command or response as the
Reader cut it, literals standing in it as they came (``{3}CRLFabc``). What is malformed raises PeerError and
never anything else; what is not asked about is not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from portico.errors import PeerError

Value = bytes | list["Value"] | None
"""An astring or atom as its octets, a parenthesised list, or None for NIL."""

_COMMAND: Final = re.compile(rb"([^\x00-\x20\x7f(){%*\"\\+]{1,128}) +([A-Za-z][A-Za-z0-9.=\-]*)(?: (.*))?\Z", re.DOTALL)
_TAG: Final = re.compile(rb"[^\x00-\x20\x7f(){%*\"\\+]+")
_LITERAL_HEAD: Final = re.compile(rb"~?\{0*(\d{1,19})\+?\}\r?\n")
_ATOM_END: Final = re.compile(rb"[ ()\r\n\"]|\Z")
_STATUS: Final = re.compile(
    rb"(OK|NO|BAD|BYE|PREAUTH)(?: +|\r?\n|\Z)(?:\[([A-Za-z0-9\-./]+)(?: ([^\]]*))?\] ?)?(.*)\Z", re.DOTALL | re.IGNORECASE
)
_RUN: Final = re.compile(rb'(?: *+(?:"[^"\\\r\n]*+"|[^ ()"{~\r\n][^ ()"\r\n]*+))++')
"""Atoms and quoted strings without backslashes, in a list: most of what stands in one."""
_FETCH: Final = re.compile(rb"\* (\d{1,10}) FETCH +\(", re.IGNORECASE)
_ITEM_NAME: Final = re.compile(rb"[A-Za-z0-9.\-]+(?:\[[^\]]*\](?:<\d+>)?)?")
_QUOTABLE: Final = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")
COMMANDS: Final = frozenset((
    "APPEND", "AUTHENTICATE", "CANCELUPDATE", "CAPABILITY", "CHECK", "CLOSE", "COMPRESS", "CONVERSIONS", "CONVERT", "COPY", "CREATE",
    "DELETE", "DELETEACL", "ENABLE", "ESEARCH", "EXAMINE", "EXPUNGE", "FETCH", "FILTER", "GENURLAUTH", "GETACL", "GETANNOTATION",
    "GETJMAPACCESS", "GETMETADATA", "GETQUOTA", "GETQUOTAROOT", "ID", "IDLE", "LANGUAGE", "LIST", "LISTRIGHTS", "LOGIN", "LOGOUT",
    "LSUB", "MOVE", "MYRIGHTS", "NAMESPACE", "NOOP", "NOTIFY", "RENAME", "REPLACE", "RESETKEY", "RLIST", "RLSUB", "SEARCH", "SELECT",
    "SETACL", "SETANNOTATION", "SETMETADATA", "SETQUOTA", "SORT", "STARTTLS", "STATUS", "STORE", "SUBSCRIBE", "THREAD", "UIDBATCHES",
    "UNAUTHENTICATE", "UNSELECT", "UNSUBSCRIBE", "URLFETCH", "XAPPLEPUSHSERVICE", "XLIST",
))  # fmt: skip
"""Commands of RFC 9051 and of the extensions in the IANA registry. Another word may be a password that was mistyped."""
_MAX_DEPTH: Final = 64
"""Nested lists deeper than this are refused: nobody sends them but an attacker (BODYSTRUCTURE is bounded elsewhere)."""


class CommandLine(NamedTuple):
    """The first line of a command, cut in three."""

    tag: bytes
    name: str
    """Upper case. ``UID FETCH`` is ``FETCH`` with `uid` true."""
    uid: bool
    arguments: bytes
    """What follows the name, to the end of what was given."""


def parse_command(text: bytes) -> CommandLine:
    """``tag SP command [SP arguments]`` (RFC 9051 9, command) from a line without its line end.

    Raises PeerError where there is no tag, no command, or a tag longer than 128 octets: by it an answer is known from its
    head, however it is cut (wire.skim). `tag_of` may still find the tag.
    """
    match = _COMMAND.match(text)
    if match is None:
        raise PeerError("Invalid tag or command")
    tag, name, arguments = match[1], match[2].decode("ascii").upper(), match[3] or b""
    if name == "UID":
        sub, _, arguments = arguments.lstrip(b" ").partition(b" ")
        if not sub.isalpha():
            raise PeerError("Invalid UID command")
        return CommandLine(tag, sub.decode("ascii").upper(), True, arguments)
    return CommandLine(tag, name, False, arguments)


def tag_of(text: bytes) -> bytes:
    """The tag at the start of a line, or ``*`` where there is none to answer to."""
    match = _TAG.match(text)
    return match[0] if match else b"*"


class Status(NamedTuple):
    """A status response (RFC 9051 7.1) without what stands before OK."""

    kind: str
    """OK, NO, BAD, BYE or PREAUTH."""
    code: str
    """The response code's name in upper case, or empty."""
    code_arguments: bytes
    text: bytes
    """The human-readable text, without line end; may be empty (quirks.TAGGED_OK_WITHOUT_TEXT)."""


def parse_status(rest: bytes) -> Status | None:
    """A status response from behind ``* `` or the tag; None where it is something else."""
    match = _STATUS.match(rest)
    if match is None:
        return None
    return Status(match[1].decode("ascii").upper(), (match[2] or b"").decode("ascii").upper(), match[3] or b"", match[4].rstrip(b"\r\n"))


def parse_arguments(raw: bytes) -> list[Value]:
    """All arguments of a command or response: atoms, strings, literals, lists (RFC 9051 4).

    A section (``BODY[HEADER.FIELDS (A B)]``) is not an atom here: such arguments have their own parser.
    """
    stack: list[list[Value]] = [[]]
    pos, size = 0, len(raw)
    while pos < size:
        octet = raw[pos]
        if octet == 0x20:
            pos += 1
        elif octet == 0x28:
            if len(stack) >= _MAX_DEPTH:
                raise PeerError("Too many parentheses")
            stack.append([])
            pos += 1
        elif octet == 0x29:
            if len(stack) == 1:
                raise PeerError("Missing '('")
            done = stack.pop()
            stack[-1].append(done)
            pos += 1
        else:
            value, pos = _string(raw, pos)
            stack[-1].append(value)
    if len(stack) != 1:
        raise PeerError("Missing ')'")
    return stack[0]


def _string(raw: bytes, pos: int) -> tuple[bytes | None, int]:
    """The atom, quoted string or literal at `pos` and the position behind it."""
    octet = raw[pos]
    if octet == 0x22:
        end = _quoted_end(raw, pos)
        inner = raw[pos + 1 : end - 1]
        return (re.sub(rb"\\(.)", rb"\1", inner, flags=re.DOTALL) if b"\\" in inner else inner), end
    if octet in b"{~":
        match = _LITERAL_HEAD.match(raw, pos)
        if match is not None:
            end = match.end() + int(match[1])
            if end > len(raw):
                raise PeerError("Literal cut short")
            return raw[match.end() : end], end
    match = _ATOM_END.search(raw, pos)
    end = match.start() if match else len(raw)
    if end == pos:
        raise PeerError("Unexpected character")
    atom = raw[pos:end]
    return (None if atom.upper() == b"NIL" else atom), end


def _quoted_end(raw: bytes, pos: int) -> int:
    """The position behind the quoted string that begins at `pos`."""
    end = pos + 1
    while True:
        quote = raw.find(b'"', end)
        if quote < 0:
            raise PeerError("Missing '\"'")
        slash = raw.find(b"\\", end, quote)
        if slash < 0:
            return quote + 1
        end = slash + 2


def quote(octets: bytes) -> bytes | None:
    """A quoted string, or None where only a literal can carry the octets (CR, LF, NUL, 8-bit)."""
    if len(octets) > 1000 or not _QUOTABLE.match(octets):
        return None
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def unquoted(value: bytes) -> bytes | None:
    """The octets of a string as it stands in a response: quoted, literal or bare; None for NIL and what is no string."""
    try:
        octets, end = _string(value, 0)
    except (PeerError, IndexError):
        return None
    return octets if end == len(value) else None


@dataclass(slots=True)
class FetchResponse:
    """``* 5 FETCH (…)`` with the places of its values, so that one can be changed and the rest stays as it is."""

    raw: bytes
    number: int
    items: dict[str, tuple[int, int]]
    """Upper-case item name to start and end of its value in `raw`."""

    def value(self, name: str) -> bytes | None:
        span = self.items.get(name)
        return None if span is None else self.raw[span[0] : span[1]]

    @property
    def uid(self) -> int | None:
        value = self.value("UID")
        return int(value) if value is not None and len(value) <= 10 and value.isdigit() else None

    def replaced(self, values: dict[str, bytes]) -> bytes:
        """The response with other values for some items, all other octets as they were."""
        raw = self.raw
        for name, (start, end) in sorted(self.items.items(), key=lambda item: item[1], reverse=True):
            if name in values:
                raw = raw[:start] + values[name] + raw[end:]
        return raw


def parse_fetch(raw: bytes) -> FetchResponse:
    """The items of a whole FETCH response (RFC 9051 7.5.2), literals included. Raises PeerError if malformed."""
    match = _FETCH.match(raw)
    if match is None:
        raise PeerError("Not a FETCH response")
    items, pos = fetch_items(raw, match.end())
    if raw[pos : pos + 1] != b")":
        raise PeerError("FETCH item expected")
    return FetchResponse(raw, int(match[1]), {name: (start, end) for name, start, end in items})


def fetch_items(raw: bytes, pos: int) -> tuple[list[tuple[str, int, int]], int]:
    """The items that stand in `raw` from `pos` on: upper-case name, start and end of the value; and the position behind the last one.

    Raises PeerError where a name has no whole value.
    """
    items: list[tuple[str, int, int]] = []
    size = len(raw)
    while True:
        while pos < size and raw[pos] == 0x20:
            pos += 1
        name = _ITEM_NAME.match(raw, pos)
        if name is None:
            return items, pos
        pos = name.end()
        while pos < size and raw[pos] == 0x20:
            pos += 1
        end = value_end(raw, pos)
        items.append((name[0].decode("latin-1").upper(), pos, end))
        pos = end


def value_end(raw: bytes, pos: int) -> int:
    """The position behind the value (string, number, NIL or list) at `pos`."""
    depth, size = 0, len(raw)
    while pos < size:
        octet = raw[pos]
        if octet == 0x28:
            depth += 1
            pos += 1
        elif octet == 0x29:
            depth -= 1
            pos += 1
            if depth < 0:
                break
        elif depth and (run := _RUN.match(raw, pos)) is not None:
            pos = run.end()
        elif octet == 0x20:
            pos += 1
        else:
            _, pos = _string(raw, pos)
        if depth == 0:
            return pos
    raise PeerError("FETCH value cut short")
