"""Transforms: a message in place of another one, by a plugin that has read all of it.

Rule of this file: plugins are asked here and nowhere else, in their order; the first that answers with a message has said it. A plugin that
raises, or answers with what is no message, is recorded, and it is as if it had said nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple, Protocol

from portico.session.annotations.annotation import Annotation, Told, Whole
from portico.session.annotations.outline import Outline
from portico.session.ask import blame, raised
from portico.session.context import SessionView
from portico.session.decisions import Decision
from portico.session.interests import Bound, BoundTransformer
from portico.wire.message import Message, trouble_with

MOST: Final = 1024 * 1024
"""Octets of a message that is transformed, before and after, where nothing else is set."""


class Transformer(Protocol):
    """A plugin that makes another message of one. Both methods are plain functions, called once per message; `transform` again where its
    result could not be kept, so it must always make the same of the same message."""

    types: Sequence[str]
    """Content types, lower case, of which a message must have one to be of interest; empty: all are."""

    def wants(self, session: SessionView, outline: Outline) -> bool:
        """Whether the message is to be read whole. Nothing of it has been read."""
        ...

    def transform(self, session: SessionView, outline: Outline, message: bytes) -> bytes | None:
        """What is shown in its place: a whole message with CRLF at the end of each line; None: it stays as it is. `message`: as the server
        has it."""
        ...


class Made(NamedTuple):
    """What came of it."""

    annotation: Annotation
    message: bytes
    told: Told


class Transforms:
    """The transformers of one session, in order. `most`: octets of a message, before and after."""

    __slots__ = ("_asked", "_types", "_view", "most")

    def __init__(self, view: SessionView, asked: Sequence[BoundTransformer], most: int) -> None:
        self._view = view
        self._asked = tuple(asked)
        self.most = most
        types = [each.transformer.types for each in asked]
        self._types = None if not all(types) else {name.rpartition("/")[2].upper().encode() for each in types for name in each}

    def __bool__(self) -> bool:
        return bool(self._asked)

    def may_be(self, structure: bytes) -> bool:
        """A quick look at a BODYSTRUCTURE as it came: whether somebody may be interested."""
        if not self._asked or self._types is None:
            return bool(self._asked)
        upper = structure.upper()
        return any(b'"%b"' % name in upper for name in self._types)

    def wanted(self, outline: Outline, out: list[Decision]) -> list[BoundTransformer]:
        """Who wants to read the message."""
        found = []
        kinds = {part.type for part in outline.structure.walk()}
        for asked in self._asked:
            if asked.transformer.types and kinds.isdisjoint(asked.transformer.types):
                continue
            said = self._ask(asked, "wants", out, outline)
            if said is True:
                found.append(asked)
            elif said is not None and said is not False:
                self._blame(asked, "wants", f"{type(said).__name__} returned", out)
        return found

    def made(self, wanted: Sequence[BoundTransformer], outline: Outline, message: bytes, out: list[Decision]) -> Made | None:
        """What is shown in place of the message; None: nothing, it stays as it is."""
        for asked in wanted:
            said = self._ask(asked, "transform", out, outline, message)
            if said is None or said == message:
                continue
            if not isinstance(said, bytes):
                self._blame(asked, "transform", f"{type(said).__name__} returned", out)
            elif len(said) > self.most:
                self._blame(asked, "transform", f"{len(said)} octets returned, {self.most} are allowed", out)
            elif trouble := trouble_with(said):
                self._blame(asked, "transform", f"what is returned is no message: {trouble}", out)
            else:
                return made_of(said, outline.size)
        return None

    def _ask(self, asked: BoundTransformer, hook: str, out: list[Decision], *about: Any) -> Any:
        try:
            return getattr(asked.transformer, hook)(self._view, *about)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin's fault never ends a session, or the proxy
            self._blame(asked, hook, raised(error), out)
            return None

    def _blame(self, asked: BoundTransformer, hook: str, error: str, out: list[Decision]) -> None:
        blame(Bound(asked.plugin, asked.transformer.wants), f"transformer {hook}", error, out)


def made_of(message: bytes, size: int) -> Made:
    """A message that is shown in place of one of `size` octets. Raises PeerError for what is none."""
    parsed = Message(message)
    told = Told(parsed.structure(extended=True), parsed.structure(extended=False), parsed.envelope())
    return Made(Annotation(size, (), None, Whole(len(message), sha256(message).hexdigest())), message, told)
