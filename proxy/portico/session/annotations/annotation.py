"""What is inserted into one message, and what follows from it for sizes, structure and sections.

Rule of this file: values and arithmetic. A message's annotation is made once, from what the server says of the message and from its
wanted parts (session.annotations.judge), and never changes: IMAP holds a message immutable for its UID (RFC 9051 2.3.1.1). Only `located`
comes later, when a body is first asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from portico.session.annotations.block import blank
from portico.session.annotations.splice import Insert

_WHOLE: Final = ("", "TEXT")


@dataclass(frozen=True, slots=True)
class Piece:
    """A block in one text part, encoded as the part is."""

    part: str
    """The part's number (RFC 9051 6.4.5.1)."""
    octets: bytes
    lines: int
    """Lines by which the part grows."""
    decoded: bytes
    """The same without the transfer encoding, for BINARY (RFC 3516)."""
    where: str
    """``start`` or ``body`` (behind the body tag of HTML): session.annotations.block."""
    encoding: str = ""
    """The part's transfer encoding, lower case."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where things are in the server's octets of the message. All offsets in octets, from the message's first."""

    header: int
    """Where the message's text begins: behind the empty line."""
    bodies: Mapping[str, int]
    """Where the body of each part begins that holds a piece or is around one."""
    points: Mapping[str, int]
    """Where each piece goes, by the number of its part; counted from the begin of that part's body."""
    decoded_points: Mapping[str, int]
    """The same in the part without its transfer encoding."""
    blank: bool = False
    """The message carries a block already: in place of each piece stands one of the same size that says nothing."""


class Whole(NamedTuple):
    """Of a message that has been transformed: none of the server's octets is shown."""

    size: int
    """Its octets, as they are shown."""
    digest: str
    """SHA-256 of them, in hex."""


class Told(NamedTuple):
    """What is told of a transformed message without its octets: values as they stand in a FETCH response."""

    structure: bytes
    body: bytes
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Annotation:
    """All that is inserted into one message, or, with `whole`, that another one is shown in its place. `size`: the server's RFC822.SIZE."""

    size: int
    pieces: tuple[Piece, ...]
    located: Located | None = None
    whole: Whole | None = None

    @property
    def octets(self) -> int:
        """By which the message grows; less than 0 where a transformed one is shorter."""
        if self.whole is not None:
            return self.whole.size - self.size
        return sum(len(piece.octets) for piece in self.pieces)

    @property
    def growth(self) -> dict[str, tuple[int, int]]:
        """By part number: octets and lines by which the part grows, for BODYSTRUCTURE and BODY."""
        return {piece.part: (len(piece.octets), piece.lines) for piece in self.pieces}

    @property
    def sections(self) -> set[tuple[str, str]]:
        """All sections with a piece in them, as ``("BODY", "1")`` and ``("BINARY", "1.2")``. Headers and MIME headers have none."""
        found = {("BODY", ""), ("BODY", "TEXT"), ("BINARY", "")}
        for piece in self.pieces:
            found.add(("BINARY", piece.part))
            number = piece.part
            while number:
                found.add(("BODY", number))
                number = number.rpartition(".")[0]
        return found

    def touches(self, section: str) -> bool:
        """Whether BODY[section] has a piece in it."""
        return section in _WHOLE or any(_within(piece.part, section) for piece in self.pieces)

    def misnames(self, section: str) -> bool:
        """Whether a section is below a part that has none below it, or has a number with 0 in front (RFC 9051 9 knows neither): there are
        servers that take it for the part, and their answer would be one without the piece."""
        number = section.removesuffix(".TEXT")
        return any(step.startswith("0") for step in number.split(".")) or any(number.startswith(piece.part + ".") for piece in self.pieces)

    def inserts(self, section: str) -> list[Insert]:
        """The insertions in BODY[section] as the server has it. The message must have been located."""
        located = self.located
        assert located is not None
        begin = 0 if section == "" else located.header if section == "TEXT" else located.bodies.get(section, 0)
        return sorted(
            Insert(located.bodies[piece.part] + located.points[piece.part] - begin, self._shown(piece).octets)
            for piece in self.pieces
            if section in _WHOLE or _within(piece.part, section)
        )

    def decoded_inserts(self, section: str) -> list[Insert]:
        """The insertions in BINARY[section]; the whole message is never decoded (RFC 3516 4.2)."""
        if section == "":
            return self.inserts("")
        located = self.located
        assert located is not None
        return [Insert(located.decoded_points[piece.part], self._shown(piece).decoded) for piece in self.pieces if piece.part == section]

    def decoded_growth(self, section: str) -> int:
        """By which BINARY.SIZE[section] grows."""
        return self.octets if section == "" else sum(len(piece.decoded) for piece in self.pieces if piece.part == section)

    def _shown(self, piece: Piece) -> Piece:
        if self.located is None or not self.located.blank:
            return piece
        octets, decoded = blank(piece.octets, piece.encoding)
        return replace(piece, octets=octets, decoded=decoded)

    def at(self, located: Located) -> Annotation:
        """The same, with its places known."""
        return replace(self, located=located)


def _within(part: str, section: str) -> bool:
    return part == section or part.startswith(section + ".")


MOST_COUNTED: Final = 10_000
"""Annotated messages that a session counts as shown."""
NOTHING_IS_NEW: Final = 0xFFFFFFFF
"""The watermark of a mailbox of which nothing can be known: no message of it is annotated (RFC 9051 2.3.1.1: UIDs have 32 bits)."""


class Mailbox(NamedTuple):
    """Whose messages are meant: the same name under another UIDVALIDITY is another mailbox."""

    account: str
    """Server and user."""
    name: str
    uid_validity: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a mailbox."""

    watermark: int
    """Messages up to this UID have been judged: what is not in `annotations` is not annotated, now and later."""
    annotations: Mapping[str, Annotation]
    """By UID (POP3: by unique-id, RFC 1939 7), as text."""
    passed: frozenset[str] = frozenset()
    """Those of which it was said that they are not annotated."""
    wholes: bool = False
    """Some of them are transformed."""


class Ledger(Protocol):
    """Remembers what was shown (portico.ledger supplies it; a session calls it a few times per mailbox)."""

    def knows(self, account: str) -> bool:
        """Whether messages of an account have been judged."""
        ...

    def known(self, mailbox: Mailbox) -> Known:
        """What is remembered; nothing: watermark 0."""
        ...

    def judged(self, mailbox: Mailbox, watermark: int, annotations: Mapping[str, Annotation | None]) -> Known:
        """Messages have been judged; None: not annotated, to be remembered by itself. What another session has said before stays; what
        holds now is returned."""
        ...

    def judged_one(self, mailbox: Mailbox, uid: str, made: Annotation | None) -> Annotation | None:
        """As `judged`, of one message; what holds of it is returned."""
        ...

    def located(self, mailbox: Mailbox, uid: str, located: Located) -> None:
        """The places in an annotated message are known."""
        ...

    def forget(self, mailbox: Mailbox, uid: str) -> None:
        """The message is not annotated any more, and will not be judged again."""
        ...

    def show(self, mailbox: Mailbox, uid: str, made: Annotation, message: bytes, told: Told) -> None:
        """A message has been transformed, or has been again: to be kept as long as there is room. It counts once it is `judged`."""
        ...

    def told(self, mailbox: Mailbox, uid: str, whole: Whole) -> Told | None:
        """What is told of a transformed message; as long as its annotation is remembered."""
        ...

    def message(self, mailbox: Mailbox, uid: str, whole: Whole) -> bytes | None:
        """A transformed message; None: there was no room for it any more."""
        ...

    def gone(self, mailbox: Mailbox, uids: Collection[str]) -> None:
        """These messages are not in the mailbox any more."""
        ...

    def growth(self, account: str, name: str) -> int:
        """Octets by which all annotated messages of a mailbox grow together, or more; for STATUS SIZE (RFC 8438)."""
        ...
