"""What a mail program says of itself (RFC 2971), before it signs in or after.

Rule of this file: the arguments of ID in, names and values out. What only a proxy may say (``x-…``) is not taken from a client.
"""

from __future__ import annotations

from typing import Final

from portico.errors import PeerError
from portico.session.forwarded import said_by_id
from portico.wire.imap import parse_arguments

_MOST_PAIRS: Final = 30


def client_id(arguments: bytes) -> dict[str, str]:
    """Names in lower case; those with the value NIL are not there. Raises PeerError for what RFC 2971 3.3 does not allow."""
    return client_id_and_origin(arguments)[0]


def client_id_and_origin(arguments: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """As `client_id`; and what was said of whom a proxy speaks for, as session.forwarded names it."""
    words = parse_arguments(arguments)
    if len(words) != 1 or isinstance(words[0], bytes):
        raise PeerError("ID takes a list or NIL")
    pairs = words[0] or []
    if len(pairs) % 2 or len(pairs) > 2 * _MOST_PAIRS:
        raise PeerError("ID takes up to 30 pairs")
    said: dict[str, str] = {}
    origin: dict[str, str] = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not isinstance(key, bytes) or isinstance(value, list) or len(key) > 30 or len(value or b"") > 1024:
            raise PeerError("ID takes pairs of strings, keys of 30 and values of 1024 octets at most")
        name = key.decode("utf-8", "replace").lower()
        if value is not None and not name.startswith("x-"):
            said[name] = value.decode("utf-8", "replace")
        elif value is not None and (about := said_by_id(name)) is not None:
            origin[about] = value.decode("utf-8", "replace")
    return said, origin
