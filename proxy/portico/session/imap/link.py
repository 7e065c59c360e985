"""A server leg of a watched IMAP session.

Rule of this file: what is known of one leg and what is under way on it. Commands that must go in steps
(synchronising literals that the client has already been asked for) go in steps here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from portico.session.decisions import Decision, SendToServer
from portico.wire.lines import Line, Reader
from portico.wire.skim import Skimmer


@dataclass(slots=True)
class Pending:
    """A command that a leg has not answered yet."""

    name: str
    mailbox: bytes | None = None
    """SELECT, EXAMINE: what will be selected."""
    waits: bool = False
    """IDLE: the server has not said ``+`` to it."""


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
    asks: bool = False
    """Literals go only when the server has said ``+``, whatever it announces: one that refuses a command for what stands before
    the literal may take the octets of it for commands (Dovecot 2.3), which then nobody here has been asked about."""
    _steps: list[bytes] = field(default_factory=list)
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

    def send_head(self, tag: bytes, command: Pending, line: bytes, announcement: bytes, out: list[Decision]) -> None:
        """Send a command up to the line that announces its message: `announcement`, ``{n}CRLF``, stands for the one in `line`. The
        server's ``+`` for the message is the client's; only what stands before (a mailbox name as a literal) goes in steps."""
        self.pending[tag] = command
        self._tag = tag
        steps = self._in_steps(line[: line.rfind(b"{")])
        steps[-1] += announcement
        out.append(SendToServer(self.leg, steps[0]))
        self._steps.extend(steps[1:])

    def go_ahead(self, out: list[Decision]) -> bool:
        """The leg said ``+``. True: it was for a command of ours, and the next step is sent."""
        if not self._steps:
            return False
        out.append(SendToServer(self.leg, self._steps.pop(0)))
        return True

    def completed(self, tag: bytes) -> tuple[Pending | None, bool]:
        """The leg has answered `tag`: the command, and whether it has been sent whole. Steps of it that were not sent are not
        wanted any more."""
        whole = tag != self._tag or not self._steps
        if not whole:
            self._steps.clear()
        return self.pending.pop(tag, None), whole

    def takes_unasked(self, count: int) -> bool:
        """Whether the leg takes a literal of `count` octets without having said ``+`` (RFC 7888 4, 5)."""
        if self.asks:
            return False
        return b"LITERAL+" in self.capabilities or (b"LITERAL-" in self.capabilities and count <= 4096)

    def _in_steps(self, command: bytes) -> list[bytes]:
        """`command` cut behind each literal's announcement that the leg has to answer."""
        if b"{" not in command:
            return [command]
        steps: list[bytes] = []
        step = b""
        reader = Reader(len(command) + 1, len(command) + 1)
        reader.feed(command)
        while (piece := reader.next()) is not None:
            if not isinstance(piece, Line) or piece.literal < 0:
                step += piece.data
                continue
            unasked = self.takes_unasked(piece.literal)
            step += announced(piece, sync=not unasked)
            if not unasked:
                steps.append(step)
                step = b""
        steps.append(step + reader.take_rest())
        return steps


def announced(line: Line, *, sync: bool) -> bytes:
    """A line that announces a literal, with the announcement as it is wanted; all else as it came."""
    return line.data if line.sync == sync else announced_head(line) + announcement(line.literal, sync=sync)


def announced_head(line: Line) -> bytes:
    """Such a line without its announcement."""
    return line.data[: line.data.rfind(b"{")]


def announcement(count: int, *, sync: bool) -> bytes:
    return b"{%d}\r\n" % count if sync else b"{%d+}\r\n" % count
