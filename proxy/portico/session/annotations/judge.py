"""From what plugins say of a message to its annotation.

Rule of this file: plugins are asked here and nowhere else; each message once, in the order of the plugins. A plugin that raises, or
says what cannot be, is recorded, and the message is as if it had said nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from portico.session.annotations.annotation import Annotation, Piece
from portico.session.annotations.block import encode, recognise
from portico.session.annotations.outline import Insertion, Outline
from portico.session.ask import blame, raised
from portico.session.context import SessionView
from portico.session.decisions import Decision
from portico.session.interests import Bound, BoundAnnotator
from portico.wire.bodystructure import Part

MOST_OF_A_PART: Final = 256 * 1024
"""Octets of a part that a plugin may read, decoded; a message with a larger one is not annotated."""

_TEXTS: Final = frozenset([b"PLAIN", b"HTML"])
_TOO_LARGE: Final = "a part that would have to be read is too large, or the server did not send it"


@dataclass(slots=True)
class Wishes:
    """What the plugins want to read of one message."""

    outline: Outline
    by_plugin: dict[int, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""
    """Why it is not annotated, if so it was decided."""

    @property
    def parts(self) -> list[str]:
        """The numbers of all parts wanted."""
        return sorted({part for parts in self.by_plugin.values() for part in parts})


class Judge:
    """The annotators of one session, in order."""

    __slots__ = ("_asked", "_named", "_nobody", "_settled", "_types", "_view", "single")

    def __init__(self, view: SessionView, asked: Sequence[BoundAnnotator]) -> None:
        self._view = view
        self._settled = False
        self._nobody = not asked
        """Nobody annotates: what was shown before stays."""
        self._ask_only(asked)

    def _ask_only(self, asked: Sequence[BoundAnnotator]) -> None:
        self._asked = tuple(asked)
        types = [each.annotator.types for each in asked]
        self._types = (
            None if any(not each for each in types) else {name.rpartition("/")[2].upper().encode() for each in types for name in each}
        )
        # What says nothing of its type is plain text (RFC 2045 5.2).
        self._named = None if self._types is None or b"PLAIN" in self._types else _any_of(frozenset(self._types))
        self.single = self._types is None or not _TEXTS.isdisjoint(self._types)
        """Whether a message of one part may be annotated: only texts carry blocks."""

    def settled(self, out: list[Decision]) -> bool:
        """Whether somebody annotates for this client. Those who can say no are asked now, once; what they said holds for the session."""
        if not self._settled:
            self._settled = True
            self._ask_only([each for each in self._asked if not hasattr(each.annotator, "serves") or self._ask(each, "serves", out)])
        return bool(self._asked) or self._nobody

    def may_be(self, structure: bytes) -> bool:
        """A quick look at a BODYSTRUCTURE as it came: whether somebody may be interested."""
        if self._types is None:
            return True
        upper = structure.upper()
        return any(b'"%b"' % name in upper for name in self._types)

    def may_be_in(self, message: bytes) -> bool:
        """The same of a message itself, or its first octets: whether one of the types is named in it."""
        return self._named is None or self._named.search(message) is not None

    def wishes(self, outline: Outline, out: list[Decision]) -> Wishes | None:
        """What has to be read before it is decided; None: the message is not annotated."""
        wishes = Wishes(outline)
        sizes = {part.number: part.octets for part in outline.structure.walk()}
        for index, asked in enumerate(self._asked):
            said = self._ask(asked, "wants", out, outline)
            if said is None:
                continue
            if isinstance(said, str) or not isinstance(said, Sequence) or not all(part in sizes for part in said):
                self._blame(asked, "wants", "parts that the message does not have", out)
            # Base64 needs 78 octets for 57.
            elif all(0 <= sizes[part] <= MOST_OF_A_PART * 3 // 2 for part in said):
                wishes.by_plugin[index] = tuple(said)
            else:
                wishes.reason = _TOO_LARGE
        return wishes if wishes.by_plugin or wishes.reason else None

    def annotation(self, wishes: Wishes, parts: Mapping[str, bytes], size: int, out: list[Decision]) -> Annotation | None:
        """The message's annotation; None: it has none, and `wishes` says why. `parts`: decoded; one that is missing could not be read."""
        texts: dict[str, list[str]] = {}
        reason = wishes.reason or "no plugin inserts anything"
        for index, wanted in wishes.by_plugin.items():
            asked = self._asked[index]
            if any(part not in parts or len(parts[part]) > MOST_OF_A_PART for part in wanted):
                reason = _TOO_LARGE
                continue
            said = self._ask(asked, "insertions", out, wishes.outline, {part: parts[part] for part in wanted})
            if said is None:
                continue
            if not isinstance(said, list | tuple):
                self._blame(asked, "insertions", f"{type(said).__name__} returned", out)
                continue
            for insertion in said:
                if not (isinstance(insertion, Insertion) and isinstance(insertion.text, str)):
                    self._blame(asked, "insertions", f"{type(insertion).__name__} returned, or without a text", out)
                    break
                texts.setdefault(insertion.part, []).append(insertion.text)
        types = {part.number: part.type for part in wishes.outline.structure.walk()}
        if any(types.get(number, "").startswith("text/") and recognise(octets) for number, octets in parts.items()):
            wishes.reason = "it carries a block already"
            return None
        pieces = _pieces(wishes.outline.structure, texts)
        if not pieces:
            wishes.reason = "no text part can carry a block" if texts else reason
        return Annotation(size, pieces) if pieces else None

    def _ask(self, asked: BoundAnnotator, hook: str, out: list[Decision], *about: Any) -> Any:
        try:
            said = getattr(asked.annotator, hook)(self._view, *about)
            return tuple(said) if isinstance(said, Iterator) else said  # what a generator raises, it raises here
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's fault never ends a session, or the proxy
            self._blame(asked, hook, raised(error), out)
            return None

    def _blame(self, asked: BoundAnnotator, hook: str, error: str, out: list[Decision]) -> None:
        blame(Bound(asked.plugin, asked.annotator.wants), f"annotator {hook}", error, out)


@lru_cache(maxsize=64)
def _any_of(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Finds the subtypes that are named, in any case, by the slash before them."""
    return re.compile(rb"/(?:%b)" % b"|".join(map(re.escape, sorted(names))) if names else rb"(?!)", re.IGNORECASE)


def _pieces(structure: Part, texts: Mapping[str, Sequence[str]]) -> tuple[Piece, ...]:
    """Blocks for the parts that can carry one. What is signed or encrypted is never touched, whatever a plugin says (RFC 1847)."""
    made = []
    sealed = [part.number for part in structure.walk() if part.type in ("multipart/signed", "multipart/encrypted")]
    for part in structure.walk():
        if any(not number or part.number.startswith(f"{number}.") for number in sealed):
            continue
        blocks = [block for text in texts.get(part.number, ()) if (block := encode(part, text)) is not None]
        if blocks:
            octets, decoded = b"".join(block.octets for block in blocks), b"".join(block.decoded for block in blocks)
            made.append(Piece(part.number, octets, sum(block.lines for block in blocks), decoded, blocks[0].where, part.encoding))
    return tuple(made)
