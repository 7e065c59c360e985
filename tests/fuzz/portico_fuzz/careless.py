"""A target for what must not be got past: a server that reads carelessly, and a plugin that refuses DELETE.

Rule of this file: the server decides at each command, as real ones do, whether it looks at the whole of it (literals and all), answers at once
and skips to the end of the line (Dovecot 2.3 where it finds a fault), or answers at once and swallows what comes unasked. Whatever it
takes for a command it carries out; DELETE is never among them.
"""

from __future__ import annotations

import re

from portico.session.decisions import Close, Decision, SendToServer
from portico.session.events import CLIENT, MAIN, BytesReceived
from portico.session.imap.watch import Watch
from portico.session.interests import Interests, Refuse, compile_interests

from portico_fuzz.session_targets import surroundings
from portico_fuzz.source import Source, mutated

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r?\n\Z")
_COMMAND = re.compile(rb"([^ \r\n]+) (?:uid +)?([a-z]+)(?=[ \r\n])", re.IGNORECASE)
_HIDDEN = b"z1 DELETE x\r\n"
_HEADS = (
    b"a%d NOOP ", b"a%d SEARCH SUBJECT ", b"a%d APPEND x ", b"a%d APPEND x (\\Seen) ", b'a%d CREATE "', b"a%d CREATE ~", b"a%d FROB ", b"((", b"a%d IDLE ",
    b"a%d IDLE\r\n", b"a%d IDLE x\r\n", b"a%d SELECT ", b"a%d COMPRESS ", b"a%d LOGIN alice ", b"a%d UID FETCH 1 ", b"DONE\r\n", b"a%d DELETE ", b"",
)  # fmt: skip
_LITERALS = (
    b"{13}\r\n", b"{13+}\r\n", b"{00013+}\r\n", b"{13-}\r\n", b"{0}\r\n", b"{0+}\r\n", b"{26+}\r\n", b"{70000+}\r\n", b"{70000}\r\n", b"\r\n", b"\n",
    b'x" {13+}\r\n', b"\0{13+}\r\n", b"\r{13}\r\n", b"x ",
)  # fmt: skip


class Careless:
    """The server. `answer` is what it says to the octets it has got."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffer = b""
        self._swallow = 0  # octets of a literal
        self._tail = False  # behind a literal: the line is not a command
        self._skip = False  # as _tail, and its end is all that counts
        self._tag = b""  # of the command that is being read whole
        self._idle = b""
        self.carried_out: list[bytes] = []

    def answer(self, data: bytes) -> bytes:
        self._buffer += data
        said = b""
        while self._buffer:
            if self._swallow:
                taken = min(self._swallow, len(self._buffer))
                self._swallow -= taken
                self._buffer = self._buffer[taken:]
                continue
            line, found, rest = self._buffer.partition(b"\n")
            if not found:
                break
            self._buffer = rest
            said += self._line(line + b"\n")
        return said

    def _line(self, line: bytes) -> bytes:
        if self._idle:
            tag, self._idle = self._idle, b""
            return tag + (b" OK done\r\n" if line.strip().upper() == b"DONE" else b" BAD Expected DONE\r\n")
        literal = _LITERAL.search(line)
        if self._tail:
            return self._read_on(literal)
        match = _COMMAND.match(line)
        if match is None:
            return b"* BAD what\r\n"
        tag, name = match[1], match[2].upper()
        kind = self._source.below(3)
        if name == b"IDLE" and kind:
            self._idle = tag
            return b"+ idling\r\n"
        if kind == 0 or (kind == 2 and literal is None):
            # It looks no further than the name, or the fault it finds.
            self.carried_out.append(name)
            return tag + b" BAD no\r\n"
        self._tag = tag
        if kind == 2:
            self.carried_out.append(name)
            self._tag = b""
            return tag + b" NO at once\r\n" + self._read_on(literal)
        self.carried_out.append(name)
        return self._read_on(literal)

    def _read_on(self, literal: re.Match[bytes] | None) -> bytes:
        """The rest of a command that is read whole. Without a tag it has been answered, and nothing is asked for any more."""
        if literal is None or (not self._tag and not literal[2]):
            tag, self._tag, self._tail = self._tag, b"", False
            return tag + b" OK done\r\n" if tag else b""
        self._tail = True
        self._swallow = int(literal[1])
        return b"" if literal[2] else b"+ go\r\n"


def careless(data: bytes) -> None:
    """No command that a plugin refuses reaches a server that reads as carelessly as it likes."""
    source = Source(data)
    context, view, _ = surroundings("imap")
    interests = compile_interests(view, [("p", Interests(commands={"DELETE": lambda view, command: Refuse("No.")}))])
    watching = Watch(context, view, interests, source.choice([[b"IMAP4rev1", b"LITERAL+"], [b"IMAP4rev1", b"LITERAL-"], [b"IMAP4rev1"]]))
    server = Careless(source)
    for count in range(1, 30):
        if source.empty:
            break
        head = source.choice(_HEADS)
        text = (head % count if b"%d" in head else head) + source.choice(_LITERALS)
        if source.chance(160):
            text += _HIDDEN
        if source.chance(100):
            text += source.choice(_LITERALS)
        if source.chance(40):
            text = mutated(source, text)
        for piece in source.cut(text):
            events = [BytesReceived(CLIENT, piece)]
            while events:
                out: list[Decision] = []
                watching.handle(events.pop(0), out)
                sent = b"".join(decision.data for decision in out if isinstance(decision, SendToServer))
                if any(isinstance(decision, Close) for decision in out):
                    return
                said = server.answer(sent)
                if said:
                    events.append(BytesReceived(MAIN, said))
    assert b"DELETE" not in server.carried_out, "what a plugin refuses does not reach the server"
