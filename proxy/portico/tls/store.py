"""The certificates of one listener: chosen by the name that the client asks for, read anew when their files change.

Rule of this file: `context` can be used at any time, and is put in place in one assignment; who has begun a handshake with the one before
goes on with that. What cannot be used never takes the place of what can.

Which certificate: those that have the name (RFC 6066 3), before those that have a wildcard for it (RFC 9525 6.3: one label), one for
each kind of key, the first in the settings' order. A name that nobody has, or none: what the first certificate's first name gives.
"""

from __future__ import annotations

import datetime
import hashlib
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from portico.config.revocations import crl_ends
from portico.errors import SettingsError
from portico.tls.contexts import Policy, note_name, serving_context
from portico.tls.material import Known, Pair, Signature, read_pair, signature
from portico.tls.tickets import Tickets, set_keys

_TRIES: Final = 3
"""Files are read again that were replaced while they were read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was made from the files."""

    context: ssl.SSLContext
    known: tuple[Known, ...]
    """In the settings' order."""
    signature: Signature
    purpose: bytes
    """See Tickets.keys."""
    crl_ends: datetime.datetime | None


class Store:
    """Raises SettingsError with a line for each file that cannot be used. `clock`: seconds since 1970."""

    def __init__(self, pairs: Sequence[Pair], policy: Policy, tickets: Tickets, clock: Callable[[], float] = time.time) -> None:
        self.pairs = tuple(pairs)
        self.policy = policy
        self._tickets = tickets
        self._clock = clock
        self._files = [file for pair in self.pairs for file in (pair.certificate, pair.key)]
        if policy.client_certificates != "no":
            self._files += [policy.client_ca, policy.client_crl]
        self.shared = False
        """Tickets hold wherever the secret is the same, not in this process only."""
        self.adopt(self.load())

    def __repr__(self) -> str:
        return f"<Store {' '.join(name for known in self.loaded.known for name in known.names) or 'without a name'}>"

    @property
    def context(self) -> ssl.SSLContext:
        """For the next handshake."""
        return self.loaded.context

    # -- the files

    def signature(self) -> Signature:
        """Of the files as they are now. Blocking, in any thread."""
        return signature(self._files)

    def load(self) -> Loaded:
        """Make everything from the files; nothing changes before `adopt`. Blocking, in any thread. Raises SettingsError."""
        for _ in range(_TRIES):
            before = self.signature()
            try:
                loaded = self._load(before)
            except SettingsError:
                if self.signature() != before:
                    continue
                raise
            if self.signature() == before:
                return loaded
        raise SettingsError([f"{self.pairs[0].certificate}: the files change while they are read"])

    def _load(self, before: Signature) -> Loaded:
        contexts: dict[tuple[Pair, ...], ssl.SSLContext] = {}
        problems: list[str] = []
        known = []
        for pair in self.pairs:  # each alone, so that everything wrong is said at once
            try:
                contexts[(pair,)] = serving_context([(pair.certificate, pair.key)], self.policy)
                known.append(read_pair(pair))
            except SettingsError as error:
                problems += error.problems
        if problems:
            raise SettingsError(list(dict.fromkeys(problems)))

        def made(chosen: Sequence[Known]) -> ssl.SSLContext:
            pairs = tuple(each.pair for each in chosen)
            if pairs not in contexts:
                contexts[pairs] = serving_context([(pair.certificate, pair.key) for pair in pairs], self.policy)
            return contexts[pairs]

        default = made(_default(known))
        names = {name: made(_having(known, name)) for each in known for name in each.names}
        if any(context is not default for context in names.values()):
            # Without the default itself, or it would hold itself in memory when another one is in its place.
            default.sni_callback = _chooser({name: context if context is not default else None for name, context in names.items()})
        return Loaded(default, tuple(known), before, self._purpose(known), self._crl_ends())

    def _purpose(self, known: Sequence[Known]) -> bytes:
        told = hashlib.sha256(repr((self.policy.minimum, self.policy.ciphers)).encode())
        for each in known:
            told.update(each.digest + "\0".join(each.names).encode() + b"\n")
        return told.digest()

    def _crl_ends(self) -> datetime.datetime | None:
        file = self.policy.client_crl
        return crl_ends(file) if file is not None and self.policy.client_certificates != "no" else None

    def adopt(self, loaded: Loaded) -> None:
        """It is what the next client gets. In the thread that shakes hands."""
        self._epoch = self._tickets.epoch(self._clock())
        self.shared = set_keys(loaded.context, self._tickets.keys(self._epoch, loaded.purpose))
        self.loaded = loaded

    # -- the keys of tickets

    @property
    def due(self) -> bool:
        """The time of the tickets' keys has come."""
        return self._tickets.epoch(self._clock()) != self._epoch

    def rotate(self) -> bool:
        """New keys for tickets; those of before are refused, which costs their owners a whole handshake. In the thread that shakes hands.
        False: that cannot be done here, and only another context has others."""
        self._epoch = self._tickets.epoch(self._clock())
        return set_keys(self.context, self._tickets.keys(self._epoch, self.loaded.purpose))


def _having(known: Sequence[Known], name: str) -> list[Known]:
    exact = [each for each in known if name in each.names]
    wild = f"*.{name.partition('.')[2]}"
    return _of_each_kind(exact + [each for each in known if wild in each.names])


def _default(known: Sequence[Known]) -> list[Known]:
    first = known[0]
    return _of_each_kind([first, *(_having(known, first.names[0]) if first.names else ())])


def _of_each_kind(known: Sequence[Known]) -> list[Known]:
    kinds: dict[str, Known] = {}
    for each in known:
        kinds.setdefault(each.kind, each)
    return list(kinds.values())


def _chooser(names: Mapping[str, ssl.SSLContext | None]) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """An sni_callback. None in `names`: the context that the handshake has begun with."""

    def choose(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if name is None:
            return
        note_name(tls, name, context)
        name = name.lower()
        chosen = names[name] if name in names else names.get("*." + name.partition(".")[2])
        if chosen is not None:
            tls.context = chosen

    return choose
