"""Where the pieces of an annotation go, found by reading the message from its start.

Rule of this file: octets in, places out; it reads no further than it must, and keeps of each part only the head in which the place is
looked for. What it cannot find leaves the message as it is.
"""

from __future__ import annotations

from portico.errors import PeerError
from portico.session.annotations.annotation import Annotation, Located
from portico.session.annotations.block import insertion_offset, recognise
from portico.wire.bodystructure import Part, decoded
from portico.wire.mime import Scanner


class Locator:
    """`feed` the octets of the message in order while it `wants_more`, then `finish`. `structure`: what the server says the message is;
    where it is read otherwise here, part numbers would mean other octets to the server than to us, and there are no places."""

    __slots__ = ("_made", "_scanner", "_structure", "trouble")

    def __init__(self, made: Annotation, structure: Part | None = None) -> None:
        self._made = made
        self._structure = structure
        self._scanner = Scanner({piece.part for piece in made.pieces})
        self.trouble = ""
        """Why there will be no places; empty: nothing stands against it yet."""

    @property
    def wants_more(self) -> bool:
        return not self.trouble and any(self._scanner.head(piece.part) is None for piece in self._made.pieces)

    def feed(self, data: bytes) -> None:
        try:
            self._scanner.feed(data)
        except PeerError as error:
            self.trouble = error.text

    def finish(self, *, ended: bool = True) -> Located | None:
        """The places; None: they were not found. `ended`: all of the message has been fed."""
        scanner = self._scanner
        if self.wants_more and ended:
            try:
                scanner.finish()
            except PeerError as error:
                self.trouble = error.text
        if self.wants_more:
            self.trouble = "a part is not where the structure says"
        if not self.trouble and self._structure is not None and scanner.structure is not None and not self._read_alike(self._structure):
            self.trouble = "the message has other parts than the structure says"
        if self.trouble:
            return None
        bodies: dict[str, int] = {}
        blank = False
        points: dict[str, int] = {}
        decoded_points: dict[str, int] = {}
        for piece in self._made.pieces:
            head = scanner.head(piece.part) or b""
            blank = blank or recognise(decoded(head, piece.encoding))
            number = piece.part
            while number:
                place = scanner.places.get(number)
                if place is not None:
                    bodies[number] = place.body
                number = number.rpartition(".")[0]
            points[piece.part] = at = insertion_offset(piece.where, piece.encoding, head)
            decoded_points[piece.part] = len(decoded(head[:at], piece.encoding))
        return Located(scanner.places[""].body, bodies, points, decoded_points, blank)

    def _read_alike(self, structure: Part) -> bool:
        """Whether the parts that hold a piece, and those around them, are the same to the server and to us."""
        assert self._scanner.structure is not None
        ours, theirs = ({part.number: part for part in root.walk()} for root in (self._scanner.structure, structure))
        for piece in self._made.pieces:
            number = piece.part
            while number:
                our, their = ours.get(number), theirs.get(number)
                # Types may differ: a type that makes no sense is text/plain to one and unknown to the other (RFC 2045 5.2). And where no
                # encoding is told, Courier says 8bit.
                if our is None or their is None or bool(our.parts) != bool(their.parts) or _coded(our) != _coded(their):
                    return False
                number = number.rpartition(".")[0]
        return ("" in ours) == ("" in theirs)


def _coded(part: Part) -> str:
    """How the octets of a part are encoded; empty: they are as they are (RFC 2045 2)."""
    return part.encoding if part.encoding in ("quoted-printable", "base64") else ""
