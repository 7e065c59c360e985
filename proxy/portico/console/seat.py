"""Where an operator sits: who he is, what he may do, and the terminal in front of him.

Rule of this file: everything that is shown goes through here, and nothing that a client, a server or a plugin has said can steer the
terminal: what is not printable is shown as an escape. JSON is in ASCII.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from portico.console.control import Control, Role

WIDE: Final = 200
"""Columns of what is no terminal."""


class Terminal(Protocol):
    """What an operator sees and types. `columns` and `rows` are those at the moment."""

    colours: bool
    interactive: bool
    """It is a terminal: it can be drawn upon, and keys come from it."""

    @property
    def columns(self) -> int: ...

    @property
    def rows(self) -> int: ...

    def write(self, text: str, *, err: bool = False) -> None:
        """Show text; lines end with ``\\n``."""
        ...

    async def flush(self) -> None:
        """Returns when most of it has been taken."""
        ...

    async def key(self, seconds: float) -> str | None:
        """The next key, as soon as there is one; None: none came in time, or the size has changed. Raises EOFError when nobody is there
        any more. Only between `begin_keys` and `end_keys`."""
        ...

    def begin_keys(self) -> None:
        """Keys are to come one by one, unseen."""
        ...

    def end_keys(self) -> None: ...


@dataclass(slots=True)
class Seat:
    """One operator, for as long as he is there."""

    operator: str
    role: Role
    address: str
    """Where he comes from, for the log."""
    control: Control
    terminal: Terminal
    names: dict[str, list[str]] = field(default_factory=dict)
    """Sessions, users and servers seen last, for completion."""

    @property
    def may_act(self) -> bool:
        return self.role == "act"

    # -- what is shown

    def say(self, text: str, *, style: str = "", err: bool = False) -> None:
        """A line, or several."""
        self.show(Text("\n".join(map(plain, text.split("\n"))), style=style), err=err)

    def show(self, what: RenderableType, *, err: bool = False) -> None:
        self.terminal.write(rendered(what, self.terminal.columns, colours=self.terminal.colours), err=err)

    def json(self, value: Any) -> None:
        self.terminal.write(json.dumps(value, indent=2) + "\n")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> None:
        """`numbers`: headings of columns that stand to the right."""
        self.show(table(headings, rows, numbers=numbers))


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> Table:
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    right = set(numbers)
    for heading in headings:
        whole = heading in right or heading == "ID"  # an id is to be copied
        made.add_column(heading, justify="right" if heading in right else "left", overflow="fold", no_wrap=whole)
    for row in rows:
        made.add_row(*(Text(plain(str(cell))) for cell in row))
    return made


def rendered(what: RenderableType, columns: int, *, colours: bool) -> str:
    out = io.StringIO()
    console = Console(
        file=out, width=columns, force_terminal=colours, no_color=not colours, color_system="standard" if colours else None,
        highlight=False, emoji=False, markup=False, legacy_windows=False,
    )  # fmt: skip
    console.print(what, soft_wrap=isinstance(what, Text))  # a line stays one: terminals wrap, and files are searched
    return out.getvalue()


def plain(text: str) -> str:
    """`text` on one line, without anything that a terminal obeys."""
    return text if text.isprintable() else "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def octets(number: float) -> str:
    """``1.2M``: for people; in powers of 1000."""
    for unit in ("", "k", "M", "G"):
        if number < 1000:
            return f"{number:.0f}{unit}" if not unit or number >= 100 else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.1f}T"


def span(seconds: float | None) -> str:
    """``2h05``: for people."""
    if seconds is None:
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{left:02}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}" if hours < 48 else f"{hours // 24}d{hours % 24:02}h"
