"""What a plugin may take part in after login, and what it may answer.

Rule of this file: the words are defined here and offered to authors by `portico.plugin`.
A plugin says its interests once, when a session opens; they are compiled to tuples of
callables. Handlers are plain functions, called on the worker's thread: they must not
block. A handler that raises is logged with its plugin's name and counts as if it had returned
None: the original bytes pass (observers and rewriters fail open). An answer of the wrong type raises where it is made: in the handler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from portico.session.context import SessionView

if TYPE_CHECKING:
    from portico.session.annotations.annotator import Annotator
    from portico.session.annotations.transform import Transformer
    from portico.session.mounts.mount import Mount
    from portico.session.sizes.sizer import Sizer


@dataclass(slots=True)
class Command:
    """One command of the client, after login."""

    name: str
    """Upper case; ``UID FETCH`` is ``FETCH`` with `uid` true."""
    arguments: bytes
    """What follows the name, as received, without the final CRLF. Literals stand in it as they came: ``{3}CRLFabc``."""
    tag: bytes = b""
    """IMAP only."""
    uid: bool = False
    head_only: bool = False
    """True where the command carries a literal too large to be held (APPEND's message): `arguments` ends with the literal's
    announcement. Such a command can be observed and refused, not changed or answered."""
    mailbox: bytes | None = None
    """IMAP: the selected mailbox, as the client named it, or None."""


@dataclass(slots=True)
class Response:
    """One response of the server."""

    kind: str
    """IMAP: upper case name: FETCH, LIST, EXISTS, CAPABILITY, OK, …; TAGGED for the end of a command.
    POP3: the name of the command that it answers."""
    raw: bytes
    """The whole response as received: literals (IMAP) or all lines to the final ``.CRLF`` (POP3) included."""
    number: int | None = None
    """IMAP: the number of ``* 5 FETCH``."""
    command: str = ""
    """IMAP, TAGGED: the name of the command that ends. POP3: as kind."""
    mailbox: bytes | None = None


@dataclass(slots=True)
class FetchItem:
    """One item of a FETCH response, as ``RFC822.SIZE 1234``."""

    name: str
    value: bytes
    """As received: ``1234``, ``(\\Seen)``, ``"text"`` or ``{3}CRLFabc``."""
    number: int
    """The message sequence number of the response."""
    uid: int | None
    """The UID, where the same response has it."""
    mailbox: bytes | None = None
    items: Mapping[str, bytes] = field(default_factory=dict)
    """All items of the response by their upper-case name, this one included."""


@dataclass(slots=True, frozen=True)
class Change:
    """Command: other arguments (literals as ``{n+}``). Response: other octets in place of `raw`, whole lines."""

    data: bytes

    def __post_init__(self) -> None:
        _must_be(bytes, self.data)


@dataclass(slots=True, frozen=True)
class Drop:
    """Response only: the client does not get it. Not for TAGGED, and not for POP3."""


@dataclass(slots=True, frozen=True)
class Refuse:
    """Command only: it does not reach the server. Tagged NO [`code`] `text`; POP3 -ERR."""

    text: str
    code: str = ""

    def __post_init__(self) -> None:
        _must_be(str, self.text, self.code)


@dataclass(slots=True, frozen=True)
class Answer:
    """Command only: it does not reach the server, and this is its answer.

    IMAP: `lines` are untagged responses without ``* `` and CRLF, then tagged OK `text`.
    POP3: +OK `text`, then, unless `lines` is None, `lines` (dot-stuffed by Portico) and the final dot.
    """

    text: str = "Completed."
    lines: Sequence[bytes] | None = None

    def __post_init__(self) -> None:
        _must_be(str, self.text)
        if self.lines is not None:
            _must_be(Sequence, self.lines)
            _must_be(bytes, *self.lines)


def _must_be(kind: type, *values: object) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"{kind.__name__} is expected, not {type(value).__name__}")


CommandHandler = Callable[[SessionView, Command], "Change | Refuse | Answer | None"]
ResponseHandler = Callable[[SessionView, Response], "Change | Drop | None"]
FetchItemHandler = Callable[[SessionView, FetchItem], "bytes | None"]


@dataclass(slots=True)
class Interests:
    """A plugin's answer to `session_opened`. Keys in upper case, as RFC 9051 and 1939 write them."""

    commands: Mapping[str, CommandHandler] = field(default_factory=dict)
    responses: Mapping[str, ResponseHandler] = field(default_factory=dict)
    fetch_items: Mapping[str, FetchItemHandler] = field(default_factory=dict)
    """IMAP only. The item's handler may return another value for it."""
    annotator: Annotator | None = None
    """Says which messages get a block of text or HTML, and which."""
    transformer: Transformer | None = None
    """Says in place of which messages another one is shown, and which."""
    mounts: Sequence[Mount] = ()
    """Accounts on other servers that become part of the user's mailbox tree. IMAP only."""
    sizer: Sizer | None = None
    """Estimates sizes of messages. Of several plugins' the first in their order is asked."""


class BoundAnnotator(NamedTuple):
    """An annotator and the plugin it belongs to."""

    plugin: str
    annotator: Annotator


class BoundTransformer(NamedTuple):
    """A transformer and the plugin it belongs to."""

    plugin: str
    transformer: Transformer


class BoundSizer(NamedTuple):
    """A sizer and the plugin it belongs to."""

    plugin: str
    sizer: Sizer


class BoundMount(NamedTuple):
    """A mount and the plugin it belongs to."""

    plugin: str
    mount: Mount


class Bound(NamedTuple):
    """A handler and the plugin it belongs to."""

    plugin: str
    handler: Callable[[SessionView, Any], Any]


@dataclass(slots=True)
class Compiled:
    """The interests of all plugins in one session: name to handlers in plugin order. Each handler sees what the one
    before it made of the command; the first Refuse, Answer or Drop ends the row."""

    view: SessionView
    commands: dict[str, tuple[Bound, ...]] = field(default_factory=dict)
    responses: dict[str, tuple[Bound, ...]] = field(default_factory=dict)
    fetch_items: dict[str, tuple[Bound, ...]] = field(default_factory=dict)
    annotators: tuple[BoundAnnotator, ...] = ()
    transformers: tuple[BoundTransformer, ...] = ()
    mounts: tuple[BoundMount, ...] = ()
    sizers: tuple[BoundSizer, ...] = ()

    @property
    def plugins(self) -> list[str]:
        """The names of the plugins that are interested, sorted."""
        rows = (*self.commands.values(), *self.responses.values(), *self.fetch_items.values())
        return sorted(
            {bound.plugin for row in rows for bound in row}
            | {bound.plugin for bound in self.annotators}
            | {bound.plugin for bound in self.transformers}
            | {bound.plugin for bound in self.mounts}
            | {bound.plugin for bound in self.sizers}
        )


def compile_interests(view: SessionView, said: Sequence[tuple[str, Interests | None]]) -> Compiled | None:
    """Merge what the plugins said, in order; None when nobody is interested in anything."""
    compiled = Compiled(view)
    for plugin, interests in said:
        if interests is None:
            continue
        for into, handlers in (
            (compiled.commands, interests.commands),
            (compiled.responses, interests.responses),
            (compiled.fetch_items, interests.fetch_items),
        ):
            for name, handler in handlers.items():
                into[name.upper()] = (*into.get(name.upper(), ()), Bound(plugin, handler))
        if interests.annotator is not None:
            compiled.annotators = (*compiled.annotators, BoundAnnotator(plugin, interests.annotator))
        if interests.transformer is not None:
            compiled.transformers = (*compiled.transformers, BoundTransformer(plugin, interests.transformer))
        compiled.mounts = (*compiled.mounts, *(BoundMount(plugin, mount) for mount in interests.mounts))
        if interests.sizer is not None:
            compiled.sizers = (*compiled.sizers, BoundSizer(plugin, interests.sizer))
    by_word = (compiled.commands, compiled.responses, compiled.fetch_items)
    by_message = (compiled.annotators, compiled.transformers, compiled.mounts, compiled.sizers)
    return compiled if any(by_word) or any(by_message) else None
