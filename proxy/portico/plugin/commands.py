"""Commands that a plugin adds to the operator's console.

Rule of this file: values only; portico.console gives them to operators.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class ConsoleCommand:
    """One command. It runs in each worker process; the operator gets what each has answered."""

    name: str
    """Lower-case letters, digits and hyphens; none of the console's own."""
    help: str
    """One sentence for `help`."""
    run: Callable[[list[str]], Any | Awaitable[Any]]
    """Gets the words behind the name; returns a text, or what JSON can hold. May be a coroutine function. It must not block."""
    role: Literal["look", "act"] = "look"
    """What an operator must be allowed to use it."""


def mistake(command: Any) -> str:
    """What is wrong with it; empty: nothing."""
    if not isinstance(command, ConsoleCommand):
        return "is no ConsoleCommand"
    if not isinstance(command.name, str) or not NAME.fullmatch(command.name):
        return "has a name that is none"
    good = isinstance(command.help, str) and callable(command.run) and command.role in ("look", "act")
    return "" if good else f"{command.name} has a help, role or run that is none"
