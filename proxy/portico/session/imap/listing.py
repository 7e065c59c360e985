"""LIST and LSUB over the user's own tree and the mounts in it.

Rule of this file: what is asked of a store for a listing, and what of its answer is shown. RFC 9051 6.3.9, RFC 3501 6.3.9 (LSUB), RFC 5258.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from portico.errors import PeerError
from portico.session.mounts.mount import Mount
from portico.session.mounts.pattern import asks_below, matches, rests
from portico.session.mounts.tree import Place
from portico.wire.imap import Value, parse_arguments
from portico.wire.mailbox import Listed, astring, written

_SPECIAL: Final = frozenset(
    rb"""\ALL \ARCHIVE \DRAFTS \FLAGGED \JUNK \SENT \TRASH \IMPORTANT \MEMOS \SCHEDULED \SNOOZED \INBOX \ALLMAIL \SPAM
    \STARRED""".split()
)
"""RFC 6154 and the registry: a store's own are not the user's."""
_SUBSCRIPTION: Final = frozenset([b"SUBSCRIBED", b"RECURSIVEMATCH"])
"""Selections that the proxy makes itself where it keeps subscriptions: the store is asked for all."""


@dataclass(slots=True)
class Request:
    """A LIST or LSUB command of the client."""

    name: str
    selection: list[Value] = field(default_factory=list)
    reference: bytes = b""
    patterns: list[bytes] = field(default_factory=list)
    returns: list[Value] = field(default_factory=list)
    """Of ``RETURN (…)``, as they stand."""
    extended: bool = False

    @property
    def selected(self) -> frozenset[bytes]:
        return frozenset(each.upper() for each in self.selection if isinstance(each, bytes))

    @property
    def returned(self) -> frozenset[bytes]:
        return frozenset(each.upper() for each in self.returns if isinstance(each, bytes))

    @property
    def subscribed_only(self) -> bool:
        return self.name == "LSUB" or b"SUBSCRIBED" in self.selected

    @property
    def whole(self) -> list[bytes]:
        """The patterns with the reference before them (RFC 9051 6.3.9.5: most servers do so)."""
        return [self.reference + pattern for pattern in self.patterns if pattern]


def parse_list(name: str, arguments: bytes) -> Request:
    """Raises PeerError."""
    values = parse_arguments(arguments)
    request = Request(name)
    if name == "LIST" and values and isinstance(values[0], list):
        request.selection, request.extended = values[0], True
        values = values[1:]
    if len(values) < 2:
        raise PeerError("Missing argument")
    reference, patterns = values[0], values[1]
    request.reference = b"NIL" if reference is None else reference if isinstance(reference, bytes) else b""
    if isinstance(patterns, list):
        request.patterns, request.extended = [each for each in patterns if isinstance(each, bytes)], True
    else:
        request.patterns = [b"NIL" if patterns is None else patterns]
    if (
        name == "LIST"
        and len(values) == 4
        and isinstance(values[2], bytes)
        and values[2].upper() == b"RETURN"
        and isinstance(values[3], list)
    ):
        request.returns, request.extended = values[3], True
    elif len(values) > 2:
        raise PeerError("Too many arguments")
    return request


class Listing:
    """What a mount shows for one request. `overrides`: what the user has said of subscriptions that the proxy keeps."""

    __slots__ = ("_overrides", "_own", "_rests", "_shown", "mount", "place", "request")

    def __init__(self, place: Place, request: Request, overrides: Mapping[str, bool]) -> None:
        self.place = place
        self.mount: Mount = place.mount
        self.request = request
        self._overrides = overrides
        self._own = place.mount.subscribed != "store"
        self._rests: list[bytes] = []
        for pattern in request.whole:
            self._rests += [rest for rest in rests(pattern, place.below, place.separator) if rest and rest not in self._rests]
        if b"*" in self._rests:
            self._rests = [b"*"]
        if b"SPECIAL-USE" in request.selected:
            self._rests = []  # it has none
        below = any(asks_below(pattern, place.below) for pattern in request.whole)
        if not below and place.mount.listed in ("root", "no"):
            self._rests = []
        self._shown = below or place.mount.listed != "no"

    @property
    def _filters(self) -> bool:
        """Whether LIST shows only what the user is subscribed to, though the client has not asked for that."""
        return self.mount.listed == "subscribed" and not self.request.subscribed_only and bool(self._rests) and not self._named

    @property
    def asks_what_is_subscribed(self) -> bool:
        """Whether the store has to be asked that too, for it alone knows which of its mailboxes LIST shows."""
        return self._filters and not self._own

    @property
    def _named(self) -> bool:
        return all(asks_below(pattern, self.place.below) for pattern in self.request.whole)

    # -- what is asked

    @property
    def asks(self) -> bool:
        """Whether the store has to be asked."""
        return bool(self._rests) or self.asks_for_any

    @property
    def asks_for_any(self) -> bool:
        """Whether the mount itself is shown depends on whether anything below it is subscribed to, which only the store knows."""
        return self.request.subscribed_only and not self._own and self._matches_mount and not self._rests and self._shown

    @property
    def everything(self) -> bool:
        """All mailboxes are asked for, and nothing about them but their names and attributes."""
        return (
            self._rests == [b"*"]
            and not self.request.selected - (_SUBSCRIPTION if self._own else frozenset())
            and b"STATUS" not in self.request.returned
            and self.command("").startswith(b"LIST ")
        )

    def command(self, name: str) -> bytes:
        """To be sent to the store. `name`: LIST or LSUB in place of what the client said."""
        request, place = self.request, self.place
        rest = self._rests or [b"*"]
        patterns = [place.pattern_to_store(each) for each in rest]
        if self.asks_for_any:
            return (b"LIST (SUBSCRIBED)" if request.name == "LIST" else b"LSUB") + b' "" ' + astring(patterns[0])
        name = name or ("LIST" if self._own else request.name)
        selection = [each for each in request.selection if not (self._own and isinstance(each, bytes) and each.upper() in _SUBSCRIPTION)]
        returns = self._returns()
        if len(patterns) == 1 and not selection and not returns:
            return b'%b "" %b' % (name.encode(), astring(patterns[0]))
        if name == "LSUB":
            return b'LSUB "" %b' % astring(patterns[0])
        head = b"LIST " + (written(selection) + b" " if selection else b"")
        shown = astring(patterns[0]) if len(patterns) == 1 else b"(" + b" ".join(map(astring, patterns)) + b")"
        return head + b'"" ' + shown + (b" RETURN " + written(returns) if returns else b"")

    @property
    def commands(self) -> list[bytes]:
        """All that is to be sent: where the server knows no lists of patterns, each by itself."""
        if len(self._rests) < 2 or self.request.extended:
            return [self.command("")]
        found = []
        for rest in self._rests:
            one = Listing(self.place, self.request, self._overrides)
            one._rests = [rest]
            found.append(one.command(""))
        return found

    def _returns(self) -> list[Value]:
        """Without what the proxy answers itself."""
        hidden = (b"SPECIAL-USE", b"SUBSCRIBED") if self._own else (b"SPECIAL-USE",)
        return [each for each in self.request.returns if not (isinstance(each, bytes) and each.upper() in hidden)]

    # -- what is shown

    def subscribed(self, name: bytes, *, mailbox: bool = True) -> bool:
        """Of a name in the user's tree, where the proxy keeps subscriptions. `mailbox`: it can be selected. What cannot is subscribed only
        if the user said so: Thunderbird asks for the rights in what is, and shows each NO to its user."""
        return self._overrides.get(self.place.text(name), self.mount.subscribed == "all" and mailbox)

    def _subscribed_below(self, name: bytes) -> bool:
        if self.mount.subscribed == "all":
            return True
        return any(on and each.startswith(self._start(name)) for each, on in self._overrides.items())

    def _hides_below(self, name: bytes) -> bool:
        """RFC 3501 6.3.9: a level that is not subscribed stands for subscribed ones below it which no pattern reaches."""
        if self.mount.subscribed == "all":
            return b"*" not in self._rests
        below = [self.place.name(each) for each, on in self._overrides.items() if on and each.startswith(self._start(name))]
        return any(not matches(pattern, each, self.place.separator) for each in below for pattern in self.request.whole)

    def _start(self, name: bytes) -> str:
        text = self.place.text(name)
        return f"{text}/" if text else ""

    def shown(self, listed: Listed, rights: Callable[[str], str] | None, wanted: frozenset[bytes] | None = None) -> Listed | None:
        """A line of the store as the client sees it; None: not at all. `wanted`: names at the store, nothing else is shown."""
        place, request = self.place, self.request
        name = place.from_store(listed.name)
        if name is None or (wanted is not None and listed.name not in wanted):
            return None
        if rights is not None and not (set("lr") & set(rights(place.text(name)))):
            return None
        if not any(matches(pattern, name, place.separator) for pattern in request.whole):
            return None  # the store's root, or a server that lists more than it was asked for
        attributes = [each for each in listed.attributes if each.upper() not in _SPECIAL]
        kind = "LSUB" if request.name == "LSUB" else "LIST"
        extended = listed.extended
        if self._own and (request.subscribed_only or b"SUBSCRIBED" in request.returned or self._filters):
            mailbox = not any(each.lower() in (b"\\noselect", b"\\nonexistent") for each in attributes)
            on = self.subscribed(name, mailbox=mailbox)
            if request.subscribed_only and not on:
                below = self._subscribed_below(name) and not (mailbox and self.mount.subscribed == "all")
                if kind == "LSUB" and self._hides_below(name) and below:
                    attributes = [*(each for each in attributes if each.lower() != b"\\noselect"), b"\\Noselect"]
                elif b"RECURSIVEMATCH" in request.selected and below:
                    extended = b' ("CHILDINFO" ("SUBSCRIBED"))'
                else:
                    return None
            if self._filters and not on:
                return None
            asked = request.subscribed_only or b"SUBSCRIBED" in request.returned
            if asked and on and kind == "LIST" and b"\\SUBSCRIBED" not in [each.upper() for each in attributes]:
                attributes.append(b"\\Subscribed")
        return Listed(kind, tuple(attributes), place.separator, name, extended)

    @property
    def _matches_mount(self) -> bool:
        return any(matches(pattern, self.place.prefix, self.place.separator) for pattern in self.request.whole)

    @property
    def heads_are_known(self) -> bool:
        """Whether `heads` depend on nothing that the store has to say."""
        return not self.request.subscribed_only or self._own

    def heads(self, *, any_below: bool) -> list[Listed]:
        """The mount itself and the levels above it, where the request matches them. `any_below`: the store has something subscribed."""
        request, place = self.request, self.place
        if not self._shown or b"SPECIAL-USE" in request.selected:
            return []
        kind = "LSUB" if request.name == "LSUB" else "LIST"
        found = []
        for name in (*place.ancestors, place.prefix):
            if not any(matches(pattern, name, place.separator) for pattern in request.whole):
                continue
            attributes: tuple[bytes, ...] = (b"\\Noselect", b"\\HasChildren") if kind == "LIST" else (b"\\Noselect",)
            extended = b""
            if request.subscribed_only:
                below = self._subscribed_below(place.prefix) if self._own else any_below
                on = name == place.prefix and self.subscribed(name, mailbox=False)
                if kind == "LIST":
                    if on:
                        attributes = (b"\\Subscribed", *attributes)
                    if b"RECURSIVEMATCH" in request.selected and below:
                        extended = b' ("CHILDINFO" ("SUBSCRIBED"))'
                    elif not on:
                        continue
                elif not on and not (self._hides_below(place.prefix) if self._own else any_below and b"*" not in self._rests):
                    continue
            elif b"SUBSCRIBED" in request.returned and name == place.prefix and self.subscribed(name, mailbox=False):
                attributes = (*attributes, b"\\Subscribed")
            found.append(Listed(kind, attributes, place.separator, name, extended))
        return found

    def answered_by(self, listing: Sequence[Listed]) -> bool:
        """Whether what the store listed before can answer the request now: names, attributes, and subscriptions that the proxy keeps."""
        request = self.request
        return bool(listing) and (self._own or not (request.subscribed_only or self._filters)) and b"STATUS" not in request.returned
