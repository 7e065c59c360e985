"""What the commands print, and where.

Rule of this file: answers go to standard output, everything else to standard error; colours only on a terminal, and
never with NO_COLOR (no-color.org) or TERM=dumb; `--json` is never coloured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


def fill_standard_streams() -> None:
    """Open what of 0, 1 and 2 is closed, as service managers and cron may leave it: the next socket opened would get the number, and with
    it whatever is printed to standard error."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The system gives the lowest number that is free.
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w" if descriptor else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 (for the life of the process)


def coloured(stream: IO[str]) -> bool:
    """Whether colours may be written to the stream."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def say(text: str, *, style: str | None = None, err: bool = False) -> None:
    """A line, as a whole in one colour (click's name for it) where colours are possible."""
    stream = sys.stderr if err else sys.stdout
    use = style is not None and coloured(stream)
    click.echo(click.style(text, fg=style) if use else text, err=err, color=use)


def complain(text: str) -> None:
    say(text, style="red", err=True)


def warn(lines: Sequence[str]) -> None:
    for line in lines:
        say(f"warning: {line}", style="yellow", err=True)


def console() -> Console:
    """For tables: as wide as the terminal; wide enough for anything where there is none."""
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout,
        no_color=not coloured(sys.stdout),
        force_terminal=on_terminal,
        highlight=False,
        emoji=False,
        markup=False,
        width=None if on_terminal else 200,
    )
