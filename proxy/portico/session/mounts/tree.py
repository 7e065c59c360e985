"""Names in the user's tree, and whose they are.

Rule of this file: one Place for each mount says which names are its own and what they are called at the store. All is done in octets, in
the encoding that the client and both servers have agreed on; a separator never occurs inside an encoded run of modified UTF-7, because it
is no letter, digit, "+" or ",".
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from portico.session.mounts.mount import Mount
from portico.wire import mailbox

_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


class Place:
    """Where a mount stands. `separator` of the user's tree and `store_separator` are one octet each."""

    __slots__ = ("mount", "separator", "store_separator", "utf8")

    def __init__(self, mount: Mount, separator: bytes = b"/", store_separator: bytes = b"/", *, utf8: bool = False) -> None:
        self.mount = mount
        self.separator = separator
        self.store_separator = store_separator
        self.utf8 = utf8

    def _joined(self, levels: str, separator: bytes) -> bytes:
        return _joined(levels, separator, self.utf8)

    @property
    def prefix(self) -> bytes:
        """The name of the mount itself."""
        return self._joined(self.mount.prefix, self.separator)

    @property
    def below(self) -> bytes:
        """What all names under the mount begin with."""
        return self.prefix + self.separator

    @property
    def root(self) -> bytes:
        """What all names of the store that are shown begin with; may be empty."""
        root = self._joined(self.mount.root, self.store_separator)
        return root + self.store_separator if root else b""

    @property
    def ancestors(self) -> list[bytes]:
        """The levels above the mount, outermost first."""
        levels = self.prefix.split(self.separator)
        return [self.separator.join(levels[:count]) for count in range(1, len(levels))]

    def owns(self, name: bytes) -> bool:
        """The mount itself, or something under it (a separator at the end included)."""
        return name == self.prefix or name.startswith(self.below)

    def is_mount(self, name: bytes) -> bool:
        """The mount itself."""
        return name in (self.prefix, self.below)

    def inner(self, name: bytes) -> bytes:
        """Of a name under the mount, what stands behind it."""
        return name[len(self.below) :]

    def known(self, name: bytes) -> bytes | None:
        """A name that the place owns as it would be listed; None: no mailbox can be called so. One mailbox has one name here: rights are
        asked about by name, and what the store would take for another one (its own separator inside a level, ``..``) has none."""
        if self.is_mount(name):
            return self.prefix
        levels = self.inner(name).removesuffix(self.separator).split(self.separator)
        if any(level in (b"", b".", b"..") or _CONTROL.search(level) for level in levels):
            return None
        if not self.mount.root and levels[0].upper() == b"INBOX":
            levels[0] = b"INBOX"  # RFC 9051 5.1
        if self.mount.rights is not None and any(mailbox.encode(self._decoded(level), utf8=self.utf8) != level for level in levels):
            return None
        known = self.below + self.separator.join(levels)
        return known if self.from_store(self.to_store(known)) == known else None

    def to_store(self, name: bytes) -> bytes:
        """What a name that the place owns is called at the store. The mount itself is the store's root, without a name if there is none."""
        inner = self.inner(name)
        if not inner:
            return self.root.removesuffix(self.store_separator)
        return self.root + _exchanged(inner, self.separator, self.store_separator, back=True)

    def from_store(self, name: bytes) -> bytes | None:
        """What a mailbox of the store is called in the user's tree; None: it is not there."""
        root = self.root
        if root and name == root.removesuffix(self.store_separator):
            return self.prefix
        if not name.startswith(root) or (not root and name.upper() == b"INBOX" and not self.mount.inbox):
            return None
        return self.below + _exchanged(name[len(root) :], self.store_separator, self.separator)

    def pattern_to_store(self, rest: bytes) -> bytes:
        """What is left of a LIST pattern below the mount, as the store takes it."""
        return self.root + rest.replace(self.separator, self.store_separator)

    def name(self, text: str) -> bytes:
        """The name of what `text` says."""
        return self.below + self._joined(text, self.separator) if text else self.prefix

    def text(self, name: bytes) -> str:
        """What stands behind the mount, for people and plugins: levels parted by ``/``."""
        inner = self.inner(name).rstrip(self.separator)
        return "/".join(self._decoded(level) for level in inner.split(self.separator)) if inner else ""

    def _decoded(self, level: bytes) -> str:
        return mailbox.decode(level, utf8=self.utf8)


@lru_cache(maxsize=1024)
def _joined(levels: str, separator: bytes, utf8: bool) -> bytes:
    return separator.join(mailbox.encode(level, utf8=utf8) for level in levels.split("/") if level)


def _exchanged(name: bytes, one: bytes, other: bytes, *, back: bool = False) -> bytes:
    """`name` with another separator. Where the octet that is a separator on the user's side stands in a name of the store, it is written as
    ``=2F`` there (its code), and a ``=`` before such a code as ``=3D``."""
    if one == other:
        return name
    ours = one if back else other
    code = b"=%02X" % ours[0]
    escaped = b"=3D%02X" % ours[0]
    levels = name.split(one)
    if back:
        return other.join(level.replace(code, ours).replace(escaped, code) for level in levels)
    return other.join(level.replace(code, escaped).replace(ours, code) for level in levels)
