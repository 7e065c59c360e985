"""Who may do what with the folders of an account that is nobody's own.

Rule of this file: rows of the settings in, letters of RFC 4314 out. Names are compared without regard to case and to how a letter with
an accent is composed, so that on a server that does so itself no other spelling leads past a row.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

LETTERS: Final = {"none": "", "read": "lrs", "post": "lrsip", "delete": "lrswipte", "manage": "lrswipkxte"}
"""RFC 4314 2.1. ``a`` is in none: lists of rights at the store are the store's affair, and who may see what is said here."""


class Permission(BaseModel):
    """One row."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    users: list[str] = Field(["*"], min_length=1)
    folders: list[str] = Field(["*"], min_length=1)
    """Patterns of names under the root; a folder under one that fits fits too."""
    rights: Literal["none", "read", "post", "delete", "manage"]


def named(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns fits; an empty name fits none."""
    return bool(name) and any(fnmatchcase(_plain(name), _plain(pattern)) for pattern in patterns)


def rights_of(user: str, rows: Sequence[Permission]) -> Callable[[str], str] | None:
    """What `user` may do with a folder, by its name; None: nothing with any."""
    mine = [([_plain(pattern) for pattern in row.folders], LETTERS[row.rights]) for row in rows if named(user, row.users)]
    if not any(letters for _, letters in mine):
        return None

    def rights(folder: str) -> str:
        levels = _plain(folder).split("/")
        if folder and any(level in ("", ".", "..") for level in levels):
            return ""  # a server that takes names for paths would find another folder than the one that is judged here
        names = ["/".join(levels[: depth + 1]) for depth in range(len(levels))]
        letters = next((letters for patterns, letters in mine if any(fnmatchcase(name, each) for each in patterns for name in names)), "")
        return letters or ("" if folder else "l")  # something is seen below the mount itself, and so it is there

    return rights


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()
