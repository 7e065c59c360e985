"""How sizes are guessed.

Rule of this file: from the true sizes of some messages to a guess at another's. An estimate that is twice too large and one that is twice
too small are equally bad, so means are taken of logarithms.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import Final, Protocol

from portico.plugin import Sketch

Folder = tuple[str, str, str]
"""Server, user and mailbox."""

_FOLDERS: Final = 5000
"""Those not used for longest are forgotten."""
_TYPE: Final = re.compile(rb"^content-type:\s*([a-z]+/[a-z0-9.+\-]+)", re.IGNORECASE | re.MULTILINE)
_ENOUGH: Final = 3
"""Messages of a kind; of a kind of which fewer are known the whole folder is taken."""


class Estimator(Protocol):
    def learn(self, folder: Folder, sketch: Sketch, size: int) -> None: ...

    def confident(self, folder: Folder) -> bool:
        """Whether what was learned promises that no estimate is too far off."""
        ...

    def estimate(self, folder: Folder, sketch: Sketch) -> int: ...


class Fixed:
    """The same for all."""

    def __init__(self, octets: int) -> None:
        self._octets = octets

    def learn(self, folder: Folder, sketch: Sketch, size: int) -> None:
        """Nothing changes."""

    def confident(self, folder: Folder) -> bool:
        return True

    def estimate(self, folder: Folder, sketch: Sketch) -> int:
        return self._octets


class _Mean:
    """Of logarithms."""

    __slots__ = ("count", "greatest", "least", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.least = self.greatest = 0

    def add(self, size: int) -> None:
        size = max(1, size)
        self.least = min(self.least, size) if self.count else size
        self.greatest = max(self.greatest, size)
        self.count += 1
        self.total += math.log(size)

    @property
    def octets(self) -> int:
        return round(math.exp(self.total / self.count))


class Learned:
    """The mean of the same kind in the same folder, of the folder, or `fixed`; never above `most`.

    `off`: a folder in which one of the sizes learned differs by a greater factor is not estimated; 0: all are.
    """

    def __init__(self, fixed: int, most: int, off: float = 0.0) -> None:
        self._fixed = fixed
        self._most = most
        self._off = off
        self._folders: OrderedDict[Folder, dict[str, _Mean]] = OrderedDict()

    def learn(self, folder: Folder, sketch: Sketch, size: int) -> None:
        means = self._folders.setdefault(folder, {})
        self._folders.move_to_end(folder)
        if len(self._folders) > _FOLDERS:
            self._folders.popitem(last=False)
        for kind in {"", kind_of(sketch)}:
            means.setdefault(kind, _Mean()).add(size)

    def estimate(self, folder: Folder, sketch: Sketch) -> int:
        means = self._folders.get(folder)
        if not means:
            return self._fixed
        mean = means.get(kind_of(sketch))
        return self._said(mean if mean is not None and mean.count >= _ENOUGH else means[""])

    def _said(self, mean: _Mean) -> int:
        return max(1, min(mean.octets, self._most))

    def confident(self, folder: Folder) -> bool:
        means = self._folders.get(folder, {})
        if not self._off:
            return True
        judged = [mean for kind, mean in means.items() if kind and mean.count >= _ENOUGH]
        if not judged or sum(mean.count for mean in judged) < means[""].count:  # some are of a kind that is too rare
            judged = [means[""]] if means else []
        return bool(judged) and all(
            mean.greatest <= self._said(mean) * self._off and self._said(mean) <= mean.least * self._off for mean in judged
        )


def kind_of(sketch: Sketch) -> str:
    """The content type of the message, where the client asked for a header that tells it; empty: not known."""
    for name, value in sketch.items.items():
        if name.startswith(("BODY[HEADER", "RFC822.HEADER")):
            found = _TYPE.search(value)
            if found is not None:
                return found[1].decode("ascii").lower()
    return ""
