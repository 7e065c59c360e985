"""The near name for a typing mistake.

Rule of this file: the one place that says "did you mean".
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_name(word: str, possible: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The possible name nearest to `word`, case and ``-`` for ``_`` aside; empty where none is near."""
    by_plain = {_plain(name): name for name in possible}
    found = difflib.get_close_matches(_plain(word), list(by_plain), 1, cutoff)
    return by_plain[found[0]] if found else ""


def near(word: str, possible: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``; did you mean X``, or an empty text: to be put at the end of a message."""
    found = near_name(word, possible, cutoff=cutoff)
    return f"; did you mean {found}" if found else ""


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_")
