"""Mailboxes as a client sees them in answers to LIST and LSUB, and what it should see.

Rule of this file: names are Unicode, levels parted by "/"; nothing here knows how Portico maps names.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field

_ROW = re.compile(
    rb'^\* (?:LIST|LSUB) \(([^)]*)\) (?:"(.)"|NIL) (?:"((?:[^"\\]|\\.)*)"|([^ \r\n"]+))(?: \((.*)\))?\r\n', re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True, order=True)
class Listed:
    """One row."""

    name: str
    attributes: frozenset[str] = field(compare=False)
    """Lower case, without the backslash."""
    more: str = field(compare=False, default="")
    """Extended data, as CHILDINFO."""


def unicode_of(name: bytes) -> str:
    """Modified UTF-7 undone (RFC 3501 5.1.3)."""

    def shifted(run: re.Match[str]) -> str:
        octets = base64.b64decode(run[1].replace(",", "/") + "=" * (-len(run[1]) % 4))
        return octets.decode("utf-16-be") if run[1] else "&"

    return re.sub(r"&([A-Za-z0-9+,]*)-", shifted, name.decode("ascii"))


def listed(answer: bytes) -> list[Listed]:
    """The rows of an answer that ends in OK, in their order."""
    rows = answer.splitlines(keepends=True)
    assert re.match(rb"\S+ OK", rows[-1]), answer
    found = []
    for row in rows[:-1]:
        read = _ROW.match(row)
        if read is None:
            assert not row.startswith((b"* LIST", b"* LSUB")), row
            continue
        name = re.sub(rb"\\(.)", rb"\1", read[3]) if read[4] is None else read[4]
        attributes = frozenset(word.decode().lower().lstrip("\\") for word in read[1].split())
        found.append(Listed(unicode_of(name), attributes, (read[5] or b"").decode()))
    return found


def names(answer: bytes) -> list[str]:
    return [row.name for row in listed(answer)]


def matching(pattern: str, mailboxes: set[str]) -> set[str]:
    """Those that a LIST pattern matches (RFC 9051 6.3.9)."""
    parts = {"*": ".*", "%": "[^/]*"}
    regex = re.compile("".join(parts.get(character, re.escape(character)) for character in pattern), re.DOTALL)
    return {name for name in mailboxes if regex.fullmatch(name)}
