"""Transformed messages in the selected mailbox of a watched IMAP session.

Rule of this file: what a client asks of a transformed message is answered from our own octets; what only the server knows (flags, dates,
and that the message has been read) it is asked, as always by an Errand, and its answer to that is completed. So a FETCH that names
transformed messages and others is answered in two steps, and nothing of the server's octets of a transformed message reaches the client.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from portico.errors import PeerError
from portico.session.annotations.annotation import Annotation, Ledger, Told
from portico.session.annotations.judge import Judge
from portico.session.annotations.outline import Outline, outline_of
from portico.session.annotations.transform import Made, Transforms
from portico.session.decisions import Decision, Record
from portico.session.imap.annotate import Annotations
from portico.session.imap.plan import Errand, Job, Plan, Result, Say
from portico.session.imap.questions import fetched, in_pieces
from portico.wire.fetch import MACROS, FetchCommand, Item, parse_fetch_command, ranges_of
from portico.wire.imap import FetchResponse, unquoted
from portico.wire.message import Message, Section, parse_section

_CHUNK: Final = 64 * 1024
_BATCH: Final = 200
"""Messages that the server is asked about in one errand."""
_MOST: Final = 4
"""One response has at most so many times the octets that a transformed message may have."""
_SECTIONED: Final = frozenset(["BODY.PEEK", "BINARY", "BINARY.PEEK", "BINARY.SIZE"])
_OURS: Final = _SECTIONED | {"RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE", "RFC822", "RFC822.HEADER", "RFC822.TEXT"}
_TOLD: Final = frozenset(["RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE"])
"""What is answered without the octets; BODY too, without a section."""
_READS: Final = frozenset(["BODY", "BINARY", "RFC822", "RFC822.TEXT"])
"""RFC 9051 6.4.5: these set \\Seen."""
_TOUCHES: Final = b"BODY[]<0.1>"
_LOST: Final = ("UNAVAILABLE", "A message cannot be shown as it was before; try again later.")

Out = Callable[[], list[Decision]]


@dataclass(slots=True)
class Wish:
    """What a FETCH asks, sorted by who answers."""

    ours: list[tuple[Item, Section]] = field(default_factory=list)
    theirs: list[bytes] = field(default_factory=list)
    uid: bool = False
    reads: bool = False
    octets: bool = False
    """The message itself is needed."""
    modifiers: bytes = b""
    """With its space, as ``(CHANGEDSINCE 5)`` (RFC 7162 3.1.4.1)."""

    @property
    def errand(self) -> bytes:
        """The items that the server is asked for. RFC822.SIZE is always there: by it the answer is known for ours."""
        return b"(%b)" % b" ".join([b"UID", b"RFC822.SIZE", *self.theirs, *([_TOUCHES] if self.reads else [])])


def wish_of(command: FetchCommand) -> Wish:
    """Raises PeerError where a section makes no sense."""
    wish = Wish()
    for item in command.items:
        if item.name in MACROS and item.section is None:
            for name in MACROS[item.name]:
                _add(wish, Item(name, None, -1, -1, (0, 0)))
        else:
            _add(wish, item)
    rest = command.raw[command.items[-1].span[1] :].lstrip(b" )")
    # VANISHED is about messages that are not there any more: it stays with the client's own command.
    words = [word for word in rest.rstrip(b")").lstrip(b"(").split() if word.upper() != b"VANISHED"]
    wish.modifiers = b" (%b)" % b" ".join(words) if words else b""
    return wish


def _add(wish: Wish, item: Item) -> None:
    name, section = item.name, item.section
    if name == "UID":
        wish.uid = True
    elif name not in _OURS:
        wish.theirs.append(name.encode("ascii") + (b"" if section is None else b"[%b]" % section.encode("latin-1", "replace")))
    else:
        whole = section is None
        if item.length == 0 or (name in _SECTIONED and whole) or (whole and item.start >= 0):
            raise PeerError("Invalid item")
        meant = parse_section(section or "")
        if name.startswith("BINARY") and meant.what:
            raise PeerError("Invalid section")
        wish.ours.append((item, meant))
        wish.reads |= name in _READS and (name != "BODY" or not whole)
        wish.octets |= name not in _TOLD and (name != "BODY" or not whole)


class _Shown(NamedTuple):
    """A transformed message, as far as it is needed for an answer."""

    made: Annotation
    told: Told
    message: bytes


class Transformations(Annotations):
    """As Annotations, with transformers too."""

    __slots__ = ("_transforms",)

    def __init__(self, judge: Judge, transforms: Transforms, ledger: Ledger, account: str, *, newest: int, held: int) -> None:
        super().__init__(judge, ledger, account, newest=newest, held=held)
        self._transforms = transforms

    # -- finding out

    def _settled(self, out: list[Decision]) -> bool:
        return super()._settled(out) or bool(self._transforms)

    def _may_be(self, structure: bytes) -> bool:
        return super()._may_be(structure) or self._transforms.may_be(structure)

    def _transformed(self, number: int, outline: Outline, out: Out) -> Generator[Errand, Result, Annotation | None]:
        wanted = self._transforms.wanted(outline, out())
        if not wanted:
            return None
        if outline.size > self._transforms.most:
            _stays(outline, f"{outline.size} octets, {self._transforms.most} are allowed", out)
            return None
        message = yield from self._read(number, self._transforms.most)
        if message is None:
            _stays(outline, "the server does not give what it has announced", out)
            return None
        made = self._transforms.made(wanted, outline, message, out())
        state = self.selected
        if made is None or state is None:
            return None
        self._ledger.show(state.mailbox, str(outline.uid), made.annotation, made.message, made.told)
        return made.annotation

    def _read(self, number: int, most: int) -> Generator[Errand, Result, bytes | None]:
        """A message of the server's; None: it has more than `most` octets, or none."""
        message = bytearray()
        while len(message) <= most:
            result = yield Errand(b"FETCH %d (BODY.PEEK[]<%d.%d>)" % (number, len(message), _CHUNK), frozenset(["FETCH"]))
            octets = None
            for response in fetched(result):
                if response.number == number:
                    octets = unquoted(response.value(f"BODY[]<{len(message)}>") or b"") or octets
            message += octets or b""
            if octets is None or len(octets) < _CHUNK:
                return bytes(message) if result.ok and 0 < len(message) <= most else None
        return None

    def _again(self, number: int, uid: str, made: Annotation, out: Out) -> Generator[Errand, Result, Made | None]:
        """A transformed message for which there was no room; None: it cannot be had as it was."""
        state = self.selected
        assert state is not None and made.whole is not None
        result = yield Errand(b"FETCH %d (UID RFC822.SIZE ENVELOPE BODYSTRUCTURE)" % number, frozenset(["FETCH"]))
        for response in fetched(result):
            if response.number != number or str(response.uid) != uid:
                continue
            structure, envelope = response.value("BODYSTRUCTURE") or b"", response.value("ENVELOPE")
            try:
                outline = outline_of(state.mailbox.name, int(uid), state.mailbox.uid_validity, made.size, structure, envelope)
            except PeerError:
                break
            message = yield from self._read(number, max(made.size, self._transforms.most))
            if message is None:
                break
            again = self._transforms.made(self._transforms.wanted(outline, out()), outline, message, out())
            if again is None or again.annotation.whole != made.whole:
                break
            self._ledger.show(state.mailbox, uid, made, again.message, again.told)
            return again
        fields = {"mailbox": state.mailbox.name, "uid": uid, "text": "no plugin makes the same of it again"}
        out().append(Record("annotations.transform_lost", fields))
        return None

    # -- commands

    @property
    def _wholes(self) -> bool:
        """Some message is transformed, or may be."""
        return bool(self._transforms) or (self.selected is not None and self.selected.known.wholes)

    def _changes(self, command: FetchCommand) -> bool:
        return super()._changes(command) or (self._wholes and any(item.name in _OURS for item in command.items))

    def _not_understood(self) -> Plan | None:
        return Plan(b"", refusal="This FETCH is not understood.") if self._wholes else None

    def _hit(self, messages: bytes, uid: bool) -> dict[int, Annotation]:
        return {number: made for number, made in super()._hit(messages, uid).items() if made.whole is None}

    def _fetch(self, command: FetchCommand, uid: bool, out: Out) -> Job:
        command = yield from self._begun(command, uid, out)
        whole = {number: made for number, made in super()._hit(command.messages, uid).items() if made.whole is not None}
        if whole and b"$" in command.messages:
            spelled = yield from self._without_saved(command, uid)
            if spelled is None:
                return (yield from self._planned(command, uid, out))
            command = spelled
            whole = {number: made for number, made in super()._hit(command.messages, uid).items() if made.whole is not None}
        if not whole:
            return (yield from self._planned(command, uid, out))
        try:
            wish = wish_of(command)
        except PeerError as error:
            return Plan(b"", refusal=error.text)
        state = self.selected
        assert state is not None
        uids = {number: state.numbers[number] for number in whole}
        failure = yield from self._show(wish, uid, whole, uids, out)
        kept = list(_sets(command.messages, [int(uids[number]) for number in whole] if uid else whole, state.exists))
        rest = command.raw[len(command.messages) :]
        for messages in kept[:-1]:
            plan = yield from self._planned(parse_fetch_command(messages + rest), uid, out)
            if plan.refusal:
                return plan
            result = yield Errand((b"UID FETCH " if uid else b"FETCH ") + plan.arguments, frozenset(), plan.ranges)
            failure = failure if result.ok else ("CANNOT", "The server did not answer.")
        if kept:
            plan = yield from self._planned(parse_fetch_command(kept[-1] + rest), uid, out)
            plan.failure = failure
            return plan
        if failure is not None:
            return Plan(b"", refusal=failure[1], code=failure[0])
        return Plan(b"", answer=b"")

    def _without_saved(self, command: FetchCommand, uid: bool) -> Generator[Errand, Result, FetchCommand | None]:
        """``$`` (RFC 5182) as the messages that it stands for; None: there are none."""
        result = yield Errand(b"FETCH $ (UID)", frozenset(["FETCH"]))
        saved = sorted((response.uid or 0) if uid else response.number for response in fetched(result))
        pieces = [b",".join(b"%d" % each for each in saved) if piece == b"$" else piece for piece in command.messages.split(b",")]
        messages = b",".join(filter(None, pieces))
        return parse_fetch_command(messages + command.raw[len(command.messages) :]) if messages else None

    def _show(
        self, wish: Wish, uid: bool, whole: Mapping[int, Annotation], uids: Mapping[int, str], out: Out
    ) -> Generator[Errand | Say, Result, tuple[str, str] | None]:
        """Answer for transformed messages. What could not be answered for all: code and text for the client."""
        failure: tuple[str, str] | None = None
        for batch in self._batches(wish, whole):
            shown: dict[int, _Shown] = {}
            for number in batch:
                found = yield from self._found(wish, number, uids[number], whole[number], out)
                if found is not None:
                    shown[number] = found
                else:
                    failure = _LOST
            if not shown:
                continue
            numbers = b",".join(b"%d" % number for number in shown)
            result = yield Errand(b"FETCH %b %b%b" % (numbers, wish.errand, wish.modifiers), frozenset(["FETCH"]), news=False)
            for response in fetched(result):
                found = shown.get(response.number)
                if found is None or str(response.uid) != uids[response.number]:
                    continue
                try:
                    yield Say(_answer(wish, uid, response, found, _MOST * max(self._transforms.most, len(found.message))))
                    if wish.octets:
                        self._count(uids[response.number])
                except PeerError as error:
                    failure = (error.code or "CANNOT", f"{error.text}.")
            if not result.whole:
                failure = ("CANNOT", "The server did not answer.")
        return failure

    def _batches(self, wish: Wish, whole: Mapping[int, Annotation]) -> Iterator[list[int]]:
        """What is held at a time: so many messages, and of their octets no more than of one large message."""
        batch: list[int] = []
        octets = 0
        for number in sorted(whole):
            size = whole[number].size + whole[number].octets if wish.octets else 0
            if batch and (len(batch) >= _BATCH or octets + size > self._transforms.most):
                yield batch
                batch, octets = [], 0
            batch.append(number)
            octets += size
        if batch:
            yield batch

    def _found(self, wish: Wish, number: int, uid: str, made: Annotation, out: Out) -> Generator[Errand, Result, _Shown | None]:
        state = self.selected
        assert state is not None and made.whole is not None
        told = self._ledger.told(state.mailbox, uid, made.whole)
        message = self._ledger.message(state.mailbox, uid, made.whole) if wish.octets else b""
        if told is not None and message is not None:
            return _Shown(made, told, message)
        again = yield from self._again(number, uid, made, out)
        return _Shown(made, again.told, again.message) if again is not None else None


def _stays(outline: Outline, text: str, out: Out) -> None:
    fields = {"mailbox": outline.mailbox, "uid": str(outline.uid), "text": text}
    out().append(Record("annotations.not_transformed", fields))


def _answer(wish: Wish, uid: bool, response: FetchResponse, shown: _Shown, most: int) -> bytes:
    """The server's answer with what is ours in it. Raises PeerError."""
    values: list[bytes] = []
    for name, (start, end) in response.items.items():
        if name == "RFC822.SIZE" or (name == "UID" and not (uid or wish.uid)) or name.startswith("BODY["):
            continue
        values.append(name.encode("latin-1") + b" " + response.raw[start:end])
    message = Message(shown.message) if wish.octets else None
    octets = 0
    for item, section in wish.ours:
        value = _value(item, section, shown, message)
        octets += len(value)
        if octets > most:
            raise PeerError("Too much is asked for at once", code="LIMIT")
        values.append(value)
    return b"* %d FETCH (%b)\r\n" % (response.number, b" ".join(values))


def _value(item: Item, section: Section, shown: _Shown, message: Message | None) -> bytes:
    """One item with its name, as a response has them."""
    name = item.name.removesuffix(".PEEK")
    if name == "RFC822.SIZE":
        return b"RFC822.SIZE %d" % (shown.made.size + shown.made.octets)
    if name == "ENVELOPE":
        return b"ENVELOPE " + shown.told.envelope
    if name == "BODYSTRUCTURE" or (item.section is None and name == "BODY"):
        return name.encode("ascii") + b" " + (shown.told.structure if name == "BODYSTRUCTURE" else shown.told.body)
    assert message is not None
    if name == "BINARY.SIZE":
        return b"BINARY.SIZE[%b] %d" % (section.written, len(message.binary(section.part)))
    if name.startswith("RFC822"):
        what = name[7:]
        return b"%b %b" % (name.encode("ascii"), _literal(message.section(Section("", what))))
    octets = message.binary(section.part) if name == "BINARY" else message.section(section)
    start = b""
    if item.start >= 0:
        octets = octets[item.start : item.start + item.length]
        start = b"<%d>" % item.start
    return b"%b[%b]%b %b" % (name.encode("ascii"), section.written, start, _literal(octets))


def _literal(octets: bytes) -> bytes:
    return b"%b{%d}\r\n%b" % (b"~" if b"\0" in octets else b"", len(octets), octets)


def _sets(messages: bytes, without: Collection[int], last: int) -> Iterator[bytes]:
    """A sequence set without some messages, in pieces that fit a command; none: nothing is left."""
    left = _without(sorted(ranges_of(messages, last)), sorted(without))
    return in_pieces(b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in left))


def _without(ranges: Sequence[tuple[int, int]], numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Rising ranges, which may overlap, without rising numbers; none twice."""
    done, at = 0, 0
    for low, high in ranges:
        low = max(low, done + 1)
        while at < len(numbers) and numbers[at] < low:
            at += 1
        while at < len(numbers) and numbers[at] <= high:
            if low < numbers[at]:
                yield low, numbers[at] - 1
            low = numbers[at] + 1
            at += 1
        if low <= high:
            yield low, high
        done = max(done, high)
