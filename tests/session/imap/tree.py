"""A watched session with mounts, played as letters between a client (C), its server (0) and stores (1, 2, …).

Rule of this file: in a script ``C:``, ``0:``, ``1:`` is what somebody says; ``to C:``, ``to 0:`` what must come of it, in that order, and
nothing else. ``~ text`` has no line end, and ``\\r\\n`` in it is one. The sign-in at a store is played by itself, unless the script says it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from portico.config.settings import Listener
from portico.errors import Secret
from portico.session.context import Context, LoginAttempt, Peer, SessionView, Target
from portico.session.decisions import (
    Close,
    Connect,
    Decision,
    Disconnect,
    HoldServer,
    ReadServer,
    Record,
    SendToClient,
    SendToServer,
    SetPhase,
)
from portico.session.events import CLIENT, BytesReceived, Closed, Event, ServerConnected, ServerFailed, TimedOut
from portico.session.imap.mounted import MountedWatch
from portico.session.interests import BoundMount, Compiled
from portico.session.mounts.memory import Memory
from portico.session.mounts.mount import Mount

CAPABILITIES = "IMAP4rev1 ENABLE UIDPLUS MOVE UNSELECT NAMESPACE LIST-EXTENDED LIST-STATUS SPECIAL-USE MULTIAPPEND LITERAL+ IDLE ACL QUOTA"
_LINE = re.compile(r"(to )?([C0-9]): ?(.*)\Z")


class Kept:
    """Subscriptions, in memory."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, str], bool] = {}

    def subscriptions(self, account: str) -> dict[str, bool]:
        return {name: on for (whose, name), on in self.said.items() if whose == account}

    def subscribe(self, account: str, name: str, on: bool) -> None:
        self.said[account, name] = on


class Tree:
    """One session. `main` and `store`: capabilities."""

    def __init__(
        self,
        *mounts: Mount,
        main: str = CAPABILITIES,
        store: str = CAPABILITIES,
        memory: Memory | None = None,
        kept: Kept | None = None,
        answers: bool = True,
    ) -> None:
        mounts = mounts or (Mount("Public Folders", "public"),)
        self.store_capabilities = store
        self.answers = answers
        """Stores take whoever comes."""
        peer = Peer("192.0.2.1", 4711, "192.0.2.2", 993)
        settings = Listener(protocol="imap", addresses=["127.0.0.1:143"], server="main", tls="none", plain_login=True)
        self.context = Context("sid", "imap", "here", peer, settings)
        self.context.targets = {mount.server: Target(mount.server, "127.0.0.2:143") for mount in mounts}
        self.context.memory = memory or Memory()
        if memory is None:
            for mount in mounts:
                self.context.memory.learned(mount.server, frozenset(store.upper().encode().split()))
        self.context.subscriptions = self.kept = kept or Kept()
        view = SessionView("sid", "imap", "here", peer, "alice", "main", "PLAIN")
        compiled = Compiled(view, mounts=tuple(BoundMount("folders", mount) for mount in mounts))
        attempt = LoginAttempt("alice", "PLAIN", Secret(b"hunter2"))
        self.watch = MountedWatch(self.context, view, compiled, [name.encode() for name in main.split()], attempt=attempt)
        self.said: list[tuple[str, bytes]] = []
        self.log: list[tuple[str, dict[str, object]]] = []
        self.phases: dict[int, str] = {}
        self.held: set[int] = set()
        self.closed: Close | None = None
        self._do(self._begin())

    def _begin(self) -> list[Decision]:
        out: list[Decision] = []
        self.watch.begin(b"", b"", out)
        return out

    # -- events

    def event(self, event: Event) -> None:
        out: list[Decision] = []
        self.watch.handle(event, out)
        self._do(out)

    def _do(self, out: Sequence[Decision]) -> None:
        for decision in out:
            assert self.closed is None, "nothing follows a Close"
            if isinstance(decision, SendToClient):
                self._note("C", decision.data)
            elif isinstance(decision, SendToServer):
                self._note(str(decision.leg), decision.data)
            elif isinstance(decision, Record):
                self.log.append((decision.event, decision.fields))
            elif isinstance(decision, SetPhase):
                self.phases[decision.leg] = decision.phase
            elif isinstance(decision, HoldServer):
                self.held.add(decision.leg)
            elif isinstance(decision, ReadServer):
                self.held.discard(decision.leg)
            elif isinstance(decision, Connect | Disconnect):
                self._note(str(decision.leg), b"<connect>\r\n" if isinstance(decision, Connect) else b"<disconnect>\r\n")
            elif isinstance(decision, Close):
                self.closed = decision
        for decision in out:
            if isinstance(decision, Connect) and self.answers:
                self.sign_in(decision.leg)

    def _note(self, whom: str, data: bytes) -> None:
        if self.said and self.said[-1][0] == whom:
            data = self.said.pop()[1] + data
        self.said.append((whom, data))

    def sign_in(self, leg: int) -> None:
        """The store takes the client; the letters of it are not kept."""
        self.said = [each for each in self.said if each != (str(leg), b"<connect>\r\n")]
        kept, self.said = self.said, []
        self.event(ServerConnected(leg))
        self.event(BytesReceived(leg, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] here\r\n"))
        tag = self.said[-1][1].split()[-4 if b"AUTHENTICATE" in self.said[-1][1] else 0]
        self.said, kept = kept, self.said
        self.event(BytesReceived(leg, b"%b OK [CAPABILITY %b] in\r\n" % (tag, self.store_capabilities.encode())))

    # -- letters

    def play(self, script: str) -> None:
        """Play a script; what is said and not in it is an error."""
        lines = [line for line in (each.strip() for each in script.splitlines()) if line]
        index = 0
        while index < len(lines):
            match = _LINE.match(lines[index])
            assert match is not None and not match[1], f"somebody must say something first: {lines[index]}"
            whom, words = match[2], match[3]
            end = index + 1
            expected: list[tuple[str, bytes]] = []
            while end < len(lines) and lines[end].startswith("to "):
                told = _LINE.match(lines[end])
                assert told is not None, lines[end]
                if expected and expected[-1][0] == told[2]:
                    expected[-1] = (told[2], expected[-1][1] + _octets(told[3]))
                else:
                    expected.append((told[2], _octets(told[3])))
                end += 1
            self.said = []
            self.event(BytesReceived(CLIENT if whom == "C" else int(whom), _octets(words)))
            assert self.said == expected, f"after: {lines[index]}"
            index = end

    def fail(self, leg: int, reason: str = "refused") -> None:
        self.event(ServerFailed(leg, reason))

    def close(self, leg: int) -> None:
        self.said = []
        self.event(Closed(leg))

    def late(self, leg: int) -> None:
        """The clock of the leg runs out."""
        self.said = []
        self.event(TimedOut(self.phases[leg], leg))

    @property
    def to_client(self) -> bytes:
        return b"".join(data for whom, data in self.said if whom == "C")

    def events(self, name: str) -> list[dict[str, object]]:
        return [fields for event, fields in self.log if event == name]


def _octets(words: str) -> bytes:
    text = words.encode("utf-8").replace(b"\\r\\n", b"\r\n")
    return text[2:] if words.startswith("~ ") else text + b"\r\n"


LEARN = """
C: l LSUB "" nowhere
to 0: portico-m1 LIST "" ""
0: * LIST (\\Noselect) "/" ""
0: portico-m1 OK done
to 0: portico-m2 LSUB "" nowhere
0: portico-m2 OK done
to C: l OK done
"""
"""What the first command that names a mailbox brings about once: the separators."""


def begun(*mounts: Mount, learned: bool = True, **more: object) -> Tree:
    """A session that knows its own separator; the store is not connected."""
    tree = Tree(*mounts, **more)  # type: ignore[arg-type]
    if learned:
        tree.play(LEARN)
    return tree


def reached(*mounts: Mount, **more: object) -> Tree:
    """A session that has been at the store, whose separator is a dot."""
    tree = begun(*mounts, **more)
    tree.play(
        """
        C: r STATUS "Public Folders/x" (MESSAGES)
        to 1: portico-m3 LIST "" ""
        1: * LIST (\\Noselect) "." ""
        1: portico-m3 OK done
        to 1: r STATUS "x" (MESSAGES)
        1: * STATUS x (MESSAGES 7)
        to C: * STATUS "Public Folders/x" (MESSAGES 7)
        1: r OK done
        to C: r OK done
        """
    )
    return tree


def selected(where: str = "INBOX", *mounts: Mount, **more: object) -> Tree:
    """And has selected one of its mailboxes, or one of the store's."""
    tree = reached(*mounts, **more)
    if where == "INBOX":
        tree.play("C: s SELECT INBOX\nto 0: s SELECT INBOX\n0: s OK [READ-WRITE] in\nto C: s OK [READ-WRITE] in")
    else:
        tree.play(
            """
            C: s SELECT "Public Folders/Team/Room"
            to 1: portico-m4 SELECT "Team.Room"
            1: * 3 EXISTS
            to C: * 3 EXISTS
            1: portico-m4 OK [READ-WRITE] in
            to C: s OK [READ-WRITE] in
            """
        )
    return tree
