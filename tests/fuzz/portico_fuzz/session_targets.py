"""Targets for the room `session`.

Rule of this file: whatever comes, from whichever leg, in whichever order, `handle` raises nothing, nothing follows a Close, and
what nobody is interested in passes octet for octet.
"""

from __future__ import annotations

import re

from portico.config.settings import Listener
from portico.session.context import Context, Peer, SessionView
from portico.session.decisions import Close, Decision, SendToClient, SendToServer
from portico.session.events import CLIENT, MAIN, BytesReceived
from portico.session.imap.session import ImapSession
from portico.session.imap.watch import Watch
from portico.session.pop3.session import Pop3Session
from portico.session.pop3.watch import Watch as Pop3Watch

from portico_fuzz import corpus, plugins
from portico_fuzz.source import Source, mutated
from portico_fuzz.world import World, held

_TAG = re.compile(rb"(?:^|\n)([A-Za-z0-9]+) (?:[A-Z]+)")


class ImapDialogue:
    """Clients count their commands; servers answer the tags they have seen."""

    def __init__(self) -> None:
        self._count = 0

    def client(self, source: Source, *, signed_in: bool) -> bytes:
        self._count += 1
        if signed_in:
            command = source.choice(corpus.IMAP_COMMANDS)
        else:
            command = source.choice(corpus.IMAP_SIGN_IN) if source.chance(170) else source.choice(corpus.IMAP_BEFORE_LOGIN)
        line = b"a%d %b" % (self._count, command)
        if source.chance(90):  # pipelined
            self._count += 1
            line += b"a%d %b" % (self._count, source.choice(corpus.IMAP_COMMANDS))
        return line

    def greeting(self, source: Source) -> bytes:
        return corpus.IMAP_GREETINGS[0] if source.chance(200) else source.choice(corpus.IMAP_GREETINGS)

    def server(self, source: Source, sent: bytes) -> bytes:
        tags = _TAG.findall(sent)
        said = b"".join(source.choice(corpus.IMAP_UNTAGGED) for _ in range(source.below(3)))
        if not tags:
            return said or source.choice(corpus.IMAP_UNTAGGED)
        for tag in tags:
            answer = source.choice(corpus.IMAP_ANSWERS[:4]) if source.chance(190) else source.choice(corpus.IMAP_ANSWERS)
            said += tag + b" " + answer
        return said


class Pop3Dialogue:
    """Servers answer one command after the other, mostly with what belongs to it."""

    def client(self, source: Source, *, signed_in: bool) -> bytes:
        if signed_in:
            return source.choice(corpus.POP3_COMMANDS)
        line = source.choice(corpus.POP3_SIGN_IN) if source.chance(170) else source.choice(corpus.POP3_BEFORE_LOGIN)
        return line + source.choice(corpus.POP3_COMMANDS) if source.chance(60) else line  # pipelined

    def greeting(self, source: Source) -> bytes:
        return source.choice(corpus.POP3_GREETINGS[:2]) if source.chance(220) else source.choice(corpus.POP3_GREETINGS)

    def server(self, source: Source, sent: bytes) -> bytes:
        said = b""
        for line in sent.splitlines():
            name = line[:4].upper()
            if source.chance(50):
                said += source.choice(corpus.POP3_ANSWERS)
            elif name in (b"CAPA", b"LIST", b"UIDL", b"RETR", b"TOP "):
                said += corpus.POP3_BODIES[name]
            else:
                said += b"+OK\r\n"
        return said or source.choice(corpus.POP3_ANSWERS)


def imap(data: bytes) -> None:
    """An IMAP session in a world that does what it likes."""
    World(Source(data), "imap", ImapSession, ImapDialogue()).run()


def pop3(data: bytes) -> None:
    """A POP3 session in a world that does what it likes."""
    World(Source(data), "pop3", Pop3Session, Pop3Dialogue()).run()


def surroundings(protocol: str) -> tuple[Context, SessionView, Listener]:
    listener = Listener.model_validate({"protocol": protocol, "addresses": ["127.0.0.1:0"], "limits": {"line": 4000, "held": 3000}})
    peer = Peer("192.0.2.1", 1, "192.0.2.2", 993)
    view = SessionView("sid", "imap" if protocol == "imap" else "pop3", "l", peer, user="alice", server="main")
    return Context("sid", view.protocol, "l", peer, listener), view, listener


def watch(data: bytes) -> None:
    """Observed or not, what the server says reaches the client octet for octet, and what the client says the server."""
    source = Source(data)
    context, view, listener = surroundings("imap")
    observed = source.chance(128)
    watching = Watch(context, view, plugins.observers(view) if observed else None, [b"IMAP4rev1", b"LITERAL+"])
    skimmer = watching.links[MAIN].skimmer
    count = 0
    sent: dict[int, bytes] = {CLIENT: b"", MAIN: b""}
    got: dict[int, bytes] = {CLIENT: b"", MAIN: b""}
    for _ in range(40):
        if source.empty:
            break
        if source.chance(100):
            count += 1
            leg, text = CLIENT, b"a%d %b" % (count, source.choice(_WHOLE_COMMANDS))
        else:
            leg, text = MAIN, source.choice(_PLAIN_RESPONSES)
            if source.chance(60):
                text = mutated(source, text)
                if _READ_BY_US.search(text):
                    continue
            if count and source.chance(80):
                text = b"a%d %b" % (count, source.choice(_PLAIN_ANSWERS))
            if observed and (watching.waits_for_server or b"\n+" in b"\n" + text):
                continue  # it could be for a literal, and is not the client's then
        for piece in source.cut(text):
            out: list[Decision] = []
            watching.handle(BytesReceived(leg, piece), out)
            sent[leg] += piece
            for decision in out:
                assert not isinstance(decision, Close), "octets alone do not end a watch"
                if isinstance(decision, SendToClient):
                    got[CLIENT] += decision.data
                elif isinstance(decision, SendToServer):
                    got[MAIN] += decision.data
        while watching.waits_for_server and skimmer.at_boundary and not skimmer.held:
            # Where somebody asks about commands, literals wait for the server's word; of it the client hears nothing.
            out = []
            watching.handle(BytesReceived(MAIN, b"+ go\r\n"), out)
            got[MAIN] += b"".join(decision.data for decision in out if isinstance(decision, SendToServer))
            assert not any(isinstance(decision, SendToClient) for decision in out), "the word was not for the client"
    kept = len(sent[MAIN]) - len(got[CLIENT])
    assert sent[MAIN].startswith(got[CLIENT]), "what the server says reaches the client as it came"
    assert kept <= listener.limits.held + 256, "held memory never passes its limit"
    said = sent[CLIENT].replace(b"+}", b"}") if observed else sent[CLIENT]
    assert said.startswith(got[MAIN]), "what the client says reaches the server as it came"


_READ_BY_US = re.compile(rb"CAPABILITY", re.IGNORECASE)
_WHOLE_COMMANDS = (
    b"NOOP\r\n", b"UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (From To)])\r\n", b"SELECT INBOX\r\n", b"SELECT {5+}\r\nINBOX\r\n",
    b"APPEND a {2+}\r\nab {3+}\r\ncde\r\n", b"APPEND {4+}\r\nSent (\\Seen) {11+}\r\nSubject: x\n\r\n", b'LIST "" *\r\n', b"LOGOUT\r\n",
    b"UID SEARCH CHARSET UTF-8 SUBJECT {5+}\r\nhello TEXT {2+}\r\nab\r\n", b'CREATE "a\\"b"\r\n', b"status {1+}\r\nx (MESSAGES)\r\n",
)  # fmt: skip
_PLAIN_RESPONSES = tuple(line for line in corpus.IMAP_UNTAGGED if not _READ_BY_US.search(line))
_PLAIN_ANSWERS = tuple(line for line in corpus.IMAP_ANSWERS if not _READ_BY_US.search(line))


def pop3_watch(data: bytes) -> None:
    """As `watch`, for POP3: each command has its answer, and the answers pass as they came."""
    source = Source(data)
    context, view, listener = surroundings("pop3")
    watching = Pop3Watch(context, view, plugins.observers(view) if source.chance(128) else None)
    sent: dict[int, bytes] = {CLIENT: b"", MAIN: b""}
    got: dict[int, bytes] = {CLIENT: b"", MAIN: b""}
    for _ in range(40):
        if source.empty:
            break
        name = source.choice((b"LIST", b"UIDL", b"RETR", b"TOP "))
        body = corpus.POP3_BODIES[name]
        if source.chance(60):
            body = mutated(source, body[:-5]).replace(b"\r\n.\r\n", b"\r\n..\r\n") + b"\r\n.\r\n"
            if not body.startswith(b"+OK") or b"\r\n.\r\n" in body[:-5] or b"\n" not in body[:_STATUS_LINE]:
                continue
        for leg, text in ((CLIENT, name.strip() + (b" 1\r\n" if name in (b"RETR", b"TOP ") else b"\r\n")), (MAIN, body)):
            for piece in source.cut(text):
                out: list[Decision] = []
                watching.handle(BytesReceived(leg, piece), out)
                sent[leg] += piece
                for decision in out:
                    assert not isinstance(decision, Close), "octets alone do not end a watch"
                    if isinstance(decision, SendToClient):
                        got[CLIENT] += decision.data
                    elif isinstance(decision, SendToServer):
                        got[MAIN] += decision.data
        assert sent[CLIENT] == got[MAIN], "what the client says reaches the server as it came"
        assert sent[MAIN] == got[CLIENT], "what the server says reaches the client as it came"
    assert held(watching) <= listener.limits.held + 4000, "held memory never passes its limit"


_STATUS_LINE = 500
"""Where a line of a POP3 server has ended at the latest (RFC 2449 4: 512)."""
