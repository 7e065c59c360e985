"""What every transformer must keep, whatever it makes of messages.

Rule of this file: as portico.testing.annotators. The most that can go wrong is that the same message becomes another one the next time:
then its octets are refused to clients that have seen the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from time import perf_counter, thread_time
from typing import Any

from portico.errors import PeerError
from portico.session.annotations.outline import Outline
from portico.session.annotations.transform import MOST, Transforms
from portico.session.ask import raised
from portico.session.context import SessionView
from portico.session.decisions import Decision, Record
from portico.session.interests import BoundTransformer
from portico.testing.annotators import MOST_SECONDS, MOST_WAITING, outline_for
from portico.testing.samples import MESSAGES
from portico.wire.message import trouble_with


def check_transformer(where: str, transformers: Sequence[tuple[SessionView, BoundTransformer]], messages: Mapping[str, bytes]) -> None:
    """`transformers`: the same one as it was made in several sessions of one user. `messages`: by what they are, beside our own.

    Raises AssertionError in words.
    """
    checks = [_Check(where, view, bound) for view, bound in transformers]
    for check in checks:
        check.words()
    for what, message in (MESSAGES | dict(messages)).items():
        try:
            outline = outline_for(checks[0].view, message)
        except PeerError as error:
            raise AssertionError(f"{where}: {what} is no message that Portico reads: {error.text}") from error
        said = [check.about(what, outline, message) for check in checks]
        assert all(each == said[0] for each in said), (
            f"{where}: {what} becomes another message in another session of the same user: what a message becomes is kept and shown in all "
            "of them, so it may depend on nothing of a session but user, listener and server"
        )


def transformed_by(view: SessionView, transformers: Sequence[BoundTransformer], message: bytes) -> bytes:
    """The message as a client gets it. Raises AssertionError where a transformer does something wrong."""
    out: list[Decision] = []
    transforms = Transforms(view, transformers, MOST)
    outline = outline_for(view, message)
    made = transforms.made(transforms.wanted(outline, out), outline, message, out)
    wrong = "; ".join(f"{each.fields['hook']}: {each.fields['error']}" for each in out if isinstance(each, Record))
    assert not wrong, wrong
    return message if made is None else made.message


class _Check:
    """One transformer in one session."""

    def __init__(self, where: str, view: SessionView, bound: BoundTransformer) -> None:
        self.where = where
        self.view = view
        self.transformer = bound.transformer

    def words(self) -> None:
        types = self.transformer.types
        good = not isinstance(types, str) and all("/" in kind and kind == kind.lower() for kind in types)
        assert good, f"{self.where}: types {types!r}: content types in lower case are expected, as ('text/html',)"

    def about(self, what: str, outline: Outline, message: bytes) -> bytes | None:
        """What becomes of a message. Asked twice."""
        if self.transformer.types and {part.type for part in outline.structure.walk()}.isdisjoint(self.transformer.types):
            return None
        wanted = self._twice("wants", what, outline)
        assert isinstance(wanted, bool), f"{self.where}: wants returned {wanted!r} for {what}: True or False is expected"
        if not wanted:
            return None
        said = self._twice("transform", what, outline, message)
        assert said is None or isinstance(said, bytes), f"{self.where}: transform returned {type(said).__name__} for {what}, no octets"
        if said is None:
            return None
        assert len(said) <= MOST, f"{self.where}: {what} becomes {len(said)} octets; {MOST} are allowed where nothing else is set"
        trouble = trouble_with(said)
        assert not trouble, f"{self.where}: what {what} becomes is no message: {trouble}"
        return said

    def _twice(self, method: str, what: str, outline: Outline, *about: Any) -> Any:
        before = deepcopy(outline.structure)
        first, again = (self._call(method, what, outline, *about) for _ in range(2))
        assert outline.structure == before, f"{self.where}: {method} changes what it is told of {what}"
        assert first == again, f"{self.where}: {method} answers twice about {what}, and differently: it must always say the same"
        return first

    def _call(self, method: str, what: str, *about: Any) -> Any:
        function: Callable[..., Any] = getattr(self.transformer, method)
        computed, began = thread_time(), perf_counter()
        try:
            said = function(self.view, *about)
        except Exception as error:
            raise AssertionError(f"{self.where}: {method} of {what}: {raised(error)}") from error
        computed, waited = thread_time() - computed, perf_counter() - began
        assert computed <= MOST_SECONDS, f"{self.where}: {method} of {what} computes for {computed:.1f} s; all sessions wait meanwhile"
        assert waited <= MOST_WAITING, f"{self.where}: {method} of {what} takes {waited:.1f} s; it must not wait for anything"
        return said
