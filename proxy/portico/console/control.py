"""How an operator's verb reaches the processes: the Control that console, ctl and metrics ask.

Rule of this file: how the answers of several processes become one; JSON values in and out. What a verb does is in app.control (one
process); asking all workers is the supervisor's; who may use it was decided before it was asked (console.verb).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from portico.errors import PorticoError
from portico.observe import health, totals

Role = Literal["look", "act"]


class ControlError(PorticoError):
    """What was asked for cannot be done; the text says why. `details`: more, for programs."""

    def __init__(self, text: str, details: Any = None) -> None:
        super().__init__(text)
        self.details = details


class Denied(ControlError):
    """The operator may only look."""

    def __init__(self) -> None:
        super().__init__("you may only look ([console] act says who may act)")


class Control(Protocol):
    """A whole Portico, of one process or many. Any PorticoError that it raises is an answer: its text is told to who asked."""

    async def ask(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        """JSON values in and out. Raises ControlError for what cannot be done."""
        ...

    def follow(self, verb: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """What there is to tell as it comes, until the iterator is closed (or all that was followed has ended)."""
        ...


class Machines(Protocol):
    """Those that this one shares a Redis with (gate.machines)."""

    async def ask(self, verb: str, arguments: Mapping[str, Any], operator: str) -> list[dict[str, Any]]:
        """{machine, answer, error, left_out} of each, ours first."""
        ...


async def of_machines(machines: Machines | None, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verb ``machines {verb, arguments, operator}``: another verb, asked of all machines. Raises ControlError."""
    if machines is None:
        raise ControlError("this machine knows of no others ([shared] redis)")
    return await machines.ask(str(arguments.get("verb")), dict(arguments.get("arguments") or {}), str(arguments.get("operator") or ""))


Merge = Callable[[Sequence[Any]], Any]
"""The answers of all processes, at least one, become one answer."""


def concatenated(answers: Sequence[list[Any]]) -> list[Any]:
    return [each for answer in answers for each in answer]


def first_known(answers: Sequence[Any]) -> Any:
    """The one that is not null; null if all are."""
    return next((answer for answer in answers if answer is not None), None)


def first(answers: Sequence[Any]) -> Any:
    """All processes have the same."""
    return answers[0]


def summed(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers are added, at any depth, lists put behind each other; of what is no number the first stands. `seconds` is the greatest."""
    total: dict[str, Any] = {}
    for answer in answers:
        for name, value in answer.items():
            if name not in total:
                total[name] = summed([value]) if isinstance(value, Mapping) else value
            elif isinstance(value, Mapping):
                total[name] = summed([total[name], value])
            elif isinstance(value, list):
                total[name] = [*total[name], *value]
            elif name == "seconds":
                total[name] = max(total[name], value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                total[name] += value
    return total


_LONGEST: Final = frozenset(["last_seconds", "opens_in"])
_SINCE: Final = frozenset(["last_failure", "last_success", "probed"])
_WORST: Final = ("unused", "well", "trying", "failing", "open", "drained")


def servers_merged(answers: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """By server, protocol and address: counts added, `state` the worst, of times the longest, of seconds since the shortest, words those of
    the worst."""
    merged: dict[tuple[str, str, str], dict[str, Any]] = {}
    for answer in answers:
        for entry in answer:
            key = (entry["server"], entry["protocol"], entry["address"])
            known = merged.get(key)
            if known is None:
                merged[key] = dict(entry)
                continue
            worse = _bad(entry.get("state")) > _bad(known.get("state"))
            for name, value in entry.items():
                before = known.get(name)
                if name in _LONGEST:
                    known[name] = max(before or 0.0, value or 0.0)
                elif name in _SINCE:
                    known[name] = min((each for each in (before, value) if each is not None), default=None)
                elif isinstance(value, int | float) and not isinstance(value, bool) and isinstance(before, int | float):
                    known[name] = before + value
                elif worse or not before:
                    known[name] = value
    return list(merged.values())


def _bad(state: Any) -> int:
    return _WORST.index(state) if state in _WORST else len(_WORST)


_MERGES: Final[Mapping[str, Merge]] = {
    "who": concatenated,
    "show": first_known,
    "kick": concatenated,
    "hold": first,
    "release": first,
    "holds": first,
    "servers": servers_merged,
    "drain_server": first,
    "undrain_server": first,
    "plugins": first,
    "settings": first,
    "reload": first,
    "drain": first,
    "log_level": first,
    "certs": first,
    "stats": summed,
    "top": summed,
    "plugin_commands": first,
    "plugin_run": concatenated,
    "metrics": totals.summed,
    "ready": health.together,
}


def merge(verb: str, answers: Sequence[Any]) -> Any:
    """One answer from those of several processes. Raises ControlError where no process has answered."""
    if not answers:
        raise ControlError("no worker answers")
    made: Merge = _MERGES.get(verb, concatenated)
    return made(answers)
