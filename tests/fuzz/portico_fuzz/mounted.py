"""A target for the mailbox tree: a client, its server and two stores that answer as they like, are lost, late and found again.

Rule of this file: whatever comes, `handle` raises nothing, nothing follows a Close, a command is answered once, and neither our own tags
nor what a store calls its mailboxes reach the client by a response that names one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from portico.errors import Secret
from portico.ledger.ledger import SqliteLedger
from portico.session.annotations.judge import Judge
from portico.session.annotations.outline import Insertion, Outline
from portico.session.annotations.transform import Transforms
from portico.session.context import LoginAttempt, SessionView, Target
from portico.session.decisions import Close, Connect, Decision, Disconnect, SendToClient, SendToServer, SetPhase, StartTls
from portico.session.events import CLIENT, MAIN, BytesReceived, Closed, Event, Kicked, ServerConnected, ServerFailed, TimedOut
from portico.session.imap.annotated import AnnotatedWatch
from portico.session.imap.mounted import MountedWatch
from portico.session.imap.sized import SizedWatch
from portico.session.interests import BoundAnnotator, BoundMount, BoundSizer, Compiled
from portico.session.mounts.memory import Memory
from portico.session.mounts.mount import Mount
from portico.session.sizes.sizer import Sketch

from portico_fuzz.session_targets import surroundings
from portico_fuzz.source import Source, mutated

_STEPS = 120
_TAGGED = re.compile(rb"(?:^|\n)([A-Za-z0-9\-]+) (?=[A-Z])")
_ANSWER = re.compile(rb"(?:^|\n)((?:portico|a)[\w\-]*) (?:OK|NO|BAD)")
_NAMES = (
    b"INBOX",
    b"P",
    b"P/",
    b"P/Team",
    b'"P/Te am"',
    b"Q/{5+}",
    b"{6}\r\nP/Team",
    b"{2+}\r\nP/",
    b"Q/x",
    b"Pfarrer",
    b"*",
    b"%",
    b'""',
    b'"P/%"',
    b"P/&ANY-",
)
_COMMANDS = (
    b"SELECT %b", b"EXAMINE %b", b"CREATE %b", b"DELETE %b", b"RENAME %b P/new", b"RENAME x %b", b"SUBSCRIBE %b", b"UNSUBSCRIBE %b", b'LIST "" %b',
    b'LSUB "" %b', b"LIST %b %%", b'LIST (SUBSCRIBED) "" %b RETURN (CHILDREN STATUS (MESSAGES))', b"STATUS %b (MESSAGES)", b"APPEND %b {5}\r\nhello",
    b"APPEND %b (\\Seen) {5+}\r\nhello", b"COPY 1:2 %b", b"UID COPY 1:* %b", b"UID MOVE 7,9 %b", b"MOVE 1 %b", b"GETACL %b", b"MYRIGHTS %b", b"GETQUOTA %b",
    b"GETQUOTAROOT %b", b"GETMETADATA (DEPTH 1) %b /x", b"SETMETADATA %b (/x NIL)",
)  # fmt: skip
_PLAIN = (
    b"NOOP", b"NAMESPACE", b"ENABLE UTF8=ACCEPT", b"CAPABILITY", b"IDLE", b"FETCH 1 BODY[]", b"UID FETCH 1:* FLAGS", b"EXPUNGE", b"STORE 1 +FLAGS (\\Seen)",
    b"STORE 1 FLAGS (\\Deleted x)", b"CLOSE", b"UNSELECT", b"CHECK", b"SEARCH ALL", b"LOGOUT", b"UID FETCH 1:* (FLAGS RFC822.SIZE)", b"FETCH 1:2 FAST",
    b"FETCH 1 (BODY[] RFC822.SIZE)", b"UID SEARCH LARGER 100", b"SEARCH RETURN (COUNT) NOT SMALLER 9", b"SORT (SIZE DATE) UTF-8 ALL", b"STATUS INBOX (SIZE)",
)  # fmt: skip
_UNTAGGED = (
    b'* LIST (\\HasChildren) "/" Team\r\n', b'* LIST () "." "P/Team"\r\n', b"* LIST () NIL INBOX\r\n", b'* LSUB () "/" Team\r\n', b"* STATUS Team (MESSAGES 3)\r\n",
    b"* 3 EXISTS\r\n", b"* 1 EXPUNGE\r\n", b"* 1 FETCH (UID 7 FLAGS ())\r\n", b'* 1 FETCH (UID 7 FLAGS (\\Seen) INTERNALDATE "01-Jan-2026 10:00:00 +0100")\r\n',
    b'* 2 FETCH (UID 9 FLAGS () INTERNALDATE "01-Jan-2026 10:00:00 +0100")\r\n', b"* 1 FETCH (UID 7 BODY[] {5}\r\nhello)\r\n", b"* 2 FETCH (UID 9 BODY[] {2}\r\nhi)\r\n",
    b"* 2 FETCH (BODY[] {2}\r\nhi UID 9)\r\n", b'* 1 FETCH (UID 7 BODY[] "hi")\r\n', b"* OK [UIDVALIDITY 5] v\r\n", b"* OK [PERMANENTFLAGS (\\Seen \\*)] f\r\n", b"+ go\r\n", b"+ go\r\n",
    b"* BYE bored\r\n", b"* OK [ALERT] soon\r\n", b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n", b"* ENABLED UTF8=ACCEPT\r\n", b"* MYRIGHTS Team lrste\r\n", b"* QUOTAROOT Team all\r\n",
    b'* 2 FETCH (UID 9 BODYSTRUCTURE (("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 20 1)("text" "calendar" NIL NIL NIL "7bit" 5 1) "mixed"))\r\n',
    b'* 2 FETCH (UID 9 RFC822.SIZE 200 ENVELOPE (NIL "Lunch" NIL NIL NIL NIL NIL NIL NIL "<m@x>"))\r\n', b'* 2 FETCH (UID 9 BODY[2] "BEGIN")\r\n',
    b"* CAPABILITY IMAP4rev1 X\r\n", b"* SEARCH 1 2\r\n", b"* SORT 2 1\r\n", b"* 1 FETCH (UID 7 RFC822.SIZE 5)\r\n", b"* 2 FETCH (UID 9)\r\n",
    b"* 1 FETCH (UID 4294967296 RFC822.SIZE 5)\r\n", b"* 2 FETCH (RFC822.SIZE 5 BODY[] {2}\r\nhi UID 9)\r\n", b"* VANISHED 7\r\n", b'* LIST (\\Noselect) "." ""\r\n', b'* METADATA "" (/x "y")\r\n',
)  # fmt: skip
_ANSWERS = (
    b"OK done", b"OK done", b"OK [READ-WRITE] in", b"OK [APPENDUID 5 21:22] in", b"NO [TRYCREATE] none", b"BAD what", b"OK [READ-ONLY] in", b"NO [OVERQUOTA] full",
)  # fmt: skip


class _Annotator:
    """Annotates what has a calendar in it."""

    types = ("text/calendar",)

    def wants(self, session: SessionView, outline: Outline) -> Sequence[str] | None:
        return ("2",)

    def insertions(self, session: SessionView, outline: Outline, parts: Mapping[str, bytes]) -> Sequence[Insertion]:
        return [Insertion("1", "see\n")]


class _Sizer:
    """Says one size of all."""

    def __init__(self, sample: int) -> None:
        self.sample = sample

    def serves(self, session: SessionView) -> bool:
        return True

    def learn(self, session: SessionView, sketch: Sketch, size: int) -> None:
        assert 0 < sketch.uid < 1 << 32

    def estimate(self, session: SessionView, sketch: Sketch) -> int:
        assert 0 < sketch.uid < 1 << 32
        return 5000


class _World:
    def __init__(self, source: Source) -> None:
        self.source = source
        context, view, _ = surroundings("imap")
        service = Mount("Q", "two", user="service", password=Secret(b"x"), rights=lambda name: "lrs" if "x" in name else "lrswipkxtea",
                        subscribed=source.choice(["all", "none"]))  # fmt: skip
        mounts = (Mount("P", "one", listed=source.choice(["all", "root", "subscribed", "no"])), service)
        context.targets = {name: Target(name, "127.0.0.1:143") for name in ("one", "two")}
        context.memory = Memory()
        abilities = source.choice([b"IMAP4rev1 UNSELECT UIDPLUS MULTIAPPEND MOVE ENABLE ACL", b"IMAP4rev1", b"IMAP4rev1 UIDPLUS LITERAL+"])
        self.abilities = abilities
        for name in ("one", "two"):
            context.memory.learned(name, frozenset(abilities.upper().split()))
        compiled = Compiled(view, mounts=tuple(BoundMount("p", mount) for mount in mounts))
        attempt = LoginAttempt("alice", "PLAIN", Secret(b"hunter2"))
        if source.chance(100):  # with sizes by estimate there
            compiled.sizers = (BoundSizer("s", _Sizer(source.choice([0, 1, 100]))),)
            context.sizes = SqliteLedger()
        if source.chance(100):  # with annotations in the personal mailboxes
            compiled.annotators = (BoundAnnotator("a", _Annotator()),)
            judge, transforms = Judge(view, compiled.annotators), Transforms(view, (), 1000)
            ledger = SqliteLedger()
            self.watch: MountedWatch = AnnotatedWatch(
                context, view, compiled, abilities.split(), judge, transforms, ledger, attempt=attempt
            )
        else:
            self.watch = SizedWatch(context, view, compiled, abilities.split(), attempt=attempt)
        self.phases: dict[int, str] = {}
        self.open: set[int] = {MAIN}
        self.dialling: set[int] = set()
        self.tags: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
        self.to_client = b""
        self.count = 0
        self.over = False
        self.mutated = False
        self.letters: list[str] = []
        """What came and what was decided, for the one who has to understand a failure."""

    def run(self) -> None:
        out: list[Decision] = []
        self.watch.begin(b"", b"", out)
        self.obey(out)
        for _ in range(_STEPS):
            if self.over or self.source.empty:
                break
            self.tell(self.next())
        assert self.mutated or b"portico-" not in self.to_client, "our own tags are ours"
        answered = _ANSWER.findall(self.to_client)
        assert self.mutated or len(answered) == len(set(answered)), "a command is answered once"

    def tell(self, event: Event) -> None:
        pieces = self.source.cut(event.data) if isinstance(event, BytesReceived) and self.source.chance(60) else None
        for one in [BytesReceived(event.leg, piece) for piece in pieces] if pieces and isinstance(event, BytesReceived) else [event]:
            if self.over:
                return
            out: list[Decision] = []
            self.letters.append(f"-> {one}")
            self.watch.handle(one, out)
            self.letters += [f"   {decision}" for decision in out]
            self.obey(out)

    def obey(self, out: list[Decision]) -> None:
        for decision in out:
            assert not self.over, "nothing follows a Close"
            if isinstance(decision, SendToClient):
                self.to_client += decision.data
            elif isinstance(decision, SendToServer):
                assert b"hunter2" not in decision.data or decision.leg != MAIN
                self.tags[decision.leg] += _TAGGED.findall(decision.data)
            elif isinstance(decision, SetPhase):
                self.phases[decision.leg] = decision.phase
            elif isinstance(decision, Connect):
                assert decision.leg not in self.open, "a leg is opened when it is closed"
                self.dialling.add(decision.leg)
            elif isinstance(decision, Disconnect):
                self.open.discard(decision.leg)
                self.dialling.discard(decision.leg)
                self.tags[decision.leg] = []
            elif isinstance(decision, StartTls):
                raise AssertionError("no TLS was asked for")
            elif isinstance(decision, Close):
                self.over = True

    def next(self) -> Event:
        source = self.source
        if self.dialling and source.chance(120):
            leg = source.choice(sorted(self.dialling))
            self.dialling.discard(leg)
            if source.chance(40):
                return ServerFailed(leg, "refused")
            self.open.add(leg)
            return ServerConnected(leg)
        if source.chance(90):
            return BytesReceived(CLIENT, self.command())
        if source.chance(8):
            legs = [leg for leg, phase in self.phases.items() if phase and leg != MAIN]
            if legs:
                leg = source.choice(sorted(legs))
                phase, self.phases[leg] = self.phases[leg], ""
                return TimedOut(phase, leg)
        if source.chance(6):
            leg = source.choice(sorted(self.open | {CLIENT}))
            self.open.discard(leg)
            return Closed(leg, source.chance(128))
        if source.chance(2):
            return Kicked("go")
        return self.server(source.choice(sorted(self.open)) if self.open else CLIENT)

    def command(self) -> bytes:
        source = self.source
        self.count += 1
        text = source.choice(_COMMANDS) % source.choice(_NAMES) if source.chance(180) else source.choice(_PLAIN)
        text = b"a%d %b\r\n" % (self.count, text)
        if source.chance(30):
            text = b"DONE\r\n" + text
        return self.changed(text) if source.chance(20) else text

    def changed(self, text: bytes) -> bytes:
        self.mutated = True
        return mutated(self.source, text)

    def server(self, leg: int) -> Event:
        source = self.source
        said = b"".join(source.choice(_UNTAGGED) for _ in range(source.below(4)))
        if self.tags[leg] and source.chance(200):
            tag = self.tags[leg].pop(0)
            answer = source.choice(_ANSWERS)
            said += b"%b %b\r\n" % (tag, b"OK [CAPABILITY %b] in" % self.abilities if tag.startswith(b"P") else answer)
        if leg != CLIENT and self.phases.get(leg) == "greeting":
            said = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n" + said
        said = said or source.choice(_UNTAGGED)
        return BytesReceived(leg, self.changed(said) if source.chance(16) else said)


def mounted(data: bytes) -> None:
    """A session with mounts in a world that does what it likes."""
    world = _World(Source(data))
    try:
        world.run()
    except Exception as error:
        error.add_note("\n".join(world.letters[-60:]))
        raise
