"""What every transformer must keep, whatever it makes of messages.

Rule of this file: as testing.asked has it. The most that can go wrong is that the same message becomes another one the next time:
then its octets are refused to clients that have seen the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portico.session.annotations.outline import Outline
from portico.session.annotations.transform import MOST, Transforms
from portico.session.context import SessionView
from portico.session.decisions import Decision
from portico.session.interests import BoundTransformer
from portico.testing.asked import Asked, check_messages, nothing_wrong, outline_for
from portico.wire.message import trouble_with


def check_transformer(where: str, transformers: Sequence[tuple[SessionView, BoundTransformer]], messages: Mapping[str, bytes]) -> None:
    """`transformers`: the same one as it was made in several sessions of one user. `messages`: by what they are, beside our own.

    Raises AssertionError in words.
    """
    checks = [_Check(where, view, bound) for view, bound in transformers]
    check_messages(checks, messages, _differs)


def _differs(what: str, one: object, other: object) -> str:
    return (
        f"{what} becomes another message in another session of the same user: what a message becomes is kept and shown in all of them, so "
        "it may depend on nothing of a session but user, listener and server"
    )


def transformed_by(view: SessionView, transformers: Sequence[BoundTransformer], message: bytes) -> bytes:
    """The message as a client gets it. Raises AssertionError where a transformer does something wrong."""
    out: list[Decision] = []
    transforms = Transforms(view, transformers, MOST)
    outline = outline_for(view, message)
    made = transforms.made(transforms.wanted(outline, out), outline, message, out)
    nothing_wrong(out)
    return message if made is None else made.message


class _Check(Asked):
    """One transformer in one session."""

    def __init__(self, where: str, view: SessionView, bound: BoundTransformer) -> None:
        super().__init__(where, view, bound.transformer, "text/html")

    def about(self, what: str, outline: Outline, message: bytes) -> bytes | None:
        """What becomes of a message. Asked twice."""
        if self.asked.types and {part.type for part in outline.structure.walk()}.isdisjoint(self.asked.types):
            return None
        wanted = self.twice("wants", what, outline)
        assert isinstance(wanted, bool), f"{self.where}: wants returned {wanted!r} for {what}: True or False is expected"
        if not wanted:
            return None
        said = self.twice("transform", what, outline, message)
        assert said is None or isinstance(said, bytes), f"{self.where}: transform returned {type(said).__name__} for {what}, no octets"
        if said is None:
            return None
        assert len(said) <= MOST, f"{self.where}: {what} becomes {len(said)} octets; {MOST} are allowed where nothing else is set"
        trouble = trouble_with(said)
        assert not trouble, f"{self.where}: what {what} becomes is no message: {trouble}"
        return said
