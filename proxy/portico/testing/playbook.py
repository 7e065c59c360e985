"""A playbook: an exchange of letters, written as it is read.

    C: a1 DELETE Archive
    to C: a1 NO [NOPERM] Ask the helpdesk.

    C: a2 NOOP
    S: a2 OK done

Rule of this file: from text to letters; nobody is spoken to here.

``C:`` is what the client says, ``S:`` what the server says; CRLF is put behind each line. Lines of the same speaker in a row are one
letter; an empty line ends a letter, and ``#`` begins a comment. Behind a letter may stand what becomes of it: ``to C:`` reaches the
client, ``to S:`` reaches the server, ``to nobody`` says that it goes no further. Where nothing is said, the letter reaches the other
side as it was written, octet for octet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

_LINE: Final = re.compile(r"(to nobody\Z|C:|S:|to C:|to S:) ?(.*)\Z", re.DOTALL)

Speaker = Literal["C", "S"]


class PlaybookFailed(AssertionError):
    """The exchange went otherwise than the playbook says."""


@dataclass(slots=True)
class Letter:
    """What one side says, and what becomes of it."""

    speaker: Speaker
    line: int
    """Where it stands in the playbook, from 1."""
    octets: bytes = b""
    to_client: bytes = b""
    to_server: bytes = b""
    told: bool = field(default=False, repr=False)
    """The playbook says what becomes of it."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.speaker}: {_shown(self.octets)}"


def letters(playbook: str) -> list[Letter]:
    """The letters of a playbook. Raises ValueError with the line that cannot be understood."""
    found: list[Letter] = []
    ended = True
    for number, line in enumerate(playbook.split("\n"), 1):
        text = line.lstrip().removesuffix("\r")
        if not text:
            ended = True
            continue
        if text.startswith("#"):
            continue
        match = _LINE.match(text)
        if match is None:
            raise ValueError(f"line {number} of the playbook begins with none of C: S: to C: to S: to nobody #: {text!r}")
        who, octets = match[1], match[2].encode("utf-8", "surrogateescape") + b"\r\n"
        if who in ("C:", "S:"):
            speaker: Speaker = "C" if who == "C:" else "S"
            if ended or found[-1].speaker != speaker or found[-1].told:
                found.append(Letter(speaker, number))
            found[-1].octets += octets
        elif not found:
            raise ValueError(f"line {number} of the playbook: nobody has said anything yet")
        else:
            found[-1].told = True
            if who == "to C:":
                found[-1].to_client += octets
            elif who == "to S:":
                found[-1].to_server += octets
        ended = False
    for letter in found:
        if not letter.told:
            if letter.speaker == "C":
                letter.to_server = letter.octets
            else:
                letter.to_client = letter.octets
    return found


def difference(what: str, expected: bytes, got: bytes) -> str:
    """Two lines for the one who has to understand it; empty where both are the same."""
    if expected == got:
        return ""
    return f"\n  {what}: expected {_shown(expected)}\n  {' ' * len(what)}       got {_shown(got)}"


def _shown(octets: bytes) -> str:
    return repr(octets)[1:] if len(octets) < 2000 else f"{octets[:1000]!r} … {octets[-500:]!r} ({len(octets)} octets)"
