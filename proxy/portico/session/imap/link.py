"""A server leg of a watched IMAP session.

Rule of this file: what is known of one leg and what is under way on it. Commands that must go in steps
(synchronising literals that the client has already been asked for) go in steps here.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from portico.session.decisions import Decision, SendToServer
from portico.wire.skim import Skimmer

_LITERAL = re.compile(rb"\{(\d{1,20})(\+?)\}\r?\n\Z")


@dataclass(slots=True)
class Pending:
    """A command that a leg has not answered yet."""

    name: str
    mailbox: bytes | None = None
    """SELECT, EXAMINE: what will be selected."""


@dataclass(slots=True)
class Link:
    """One leg, signed in."""

    leg: int
    skimmer: Skimmer
    capabilities: frozenset[bytes]
    """Upper case, as the server has them (before filtering)."""
    pending: dict[bytes, Pending] = field(default_factory=dict)
    """Tag to command, oldest first."""
    said_bye: bool = False
    _steps: deque[bytes] = field(default_factory=deque)
    _tag: bytes = b""

    @property
    def blocked(self) -> bool:
        """A command waits for the server's ``+``; nothing else may be sent."""
        return bool(self._steps)

    def send_command(self, tag: bytes, command: Pending, line: bytes, out: list[Decision]) -> None:
        """Send a whole command, line end and literals included; its literals non-synchronising where the leg takes them
        so (RFC 7888), else step by step."""
        self.pending[tag] = command
        self._tag = tag
        steps = self._in_steps(line)
        out.append(SendToServer(self.leg, steps[0]))
        self._steps.extend(steps[1:])

    def send_head(self, tag: bytes, command: Pending, line: bytes, out: list[Decision]) -> None:
        """Send a command up to the line that announces its message, as it came: the server's ``+`` for the message is the
        client's; only what stands before (a mailbox name as a literal) goes in steps."""
        self.pending[tag] = command
        self._tag = tag
        brace = line.rfind(b"{")
        steps = self._in_steps(line[:brace])
        steps[-1] += line[brace:]
        out.append(SendToServer(self.leg, steps[0]))
        self._steps.extend(steps[1:])

    def go_ahead(self, out: list[Decision]) -> bool:
        """The leg said ``+``. True: it was for a command of ours, and the next step is sent."""
        if not self._steps:
            return False
        out.append(SendToServer(self.leg, self._steps.popleft()))
        return True

    def completed(self, tag: bytes) -> Pending | None:
        """The leg has answered `tag`; steps of it that were not sent are not wanted any more."""
        if tag == self._tag:
            self._steps.clear()
        return self.pending.pop(tag, None)

    def _in_steps(self, command: bytes) -> list[bytes]:
        steps: list[bytes] = []
        start = pos = 0
        while True:
            end = command.find(b"\n", pos) + 1
            match = _LITERAL.search(command, max(pos, end - 26), end) if end else None
            if match is None:
                steps.append(command[start:])
                return steps
            count = int(match[1])
            if b"LITERAL+" in self.capabilities or (b"LITERAL-" in self.capabilities and count <= 4096):
                if not match[2]:
                    command = command[: match.end(1)] + b"+" + command[match.end(1) :]
                    end += 1
            else:
                if match[2]:
                    command = command[: match.start(2)] + command[match.end(2) :]
                    end -= 1
                steps.append(command[start:end])
                start = end
            pos = end + count
