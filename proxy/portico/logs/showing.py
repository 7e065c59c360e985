"""How an answer looks: a table for people, CSV for spreadsheets, JSON for programs.

Rule of this file: the same rows in each; times are ISO 8601 in UTC. Nothing that a peer said may steer the terminal, in which
any of them may end up: JSON and CSV have escapes for what is not printable, as far as it does not part lines.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from portico.console.seat import plain
from portico.logs.reading import Answer

_STEERS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tabulator and line end, and those that turn the direction of writing."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_json(answers: Sequence[tuple[str, Answer]]) -> str:
    """One question: a list of objects; several: an object with a list for each, by name."""
    made = {name: [dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows] for name, answer in answers}
    text = json.dumps(next(iter(made.values())) if len(made) == 1 else made, indent=1, ensure_ascii=False)
    return _STEERS.sub(_escaped, text)


def as_csv(answer: Answer) -> str:
    """RFC 4180, with a heading. What a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(answer.columns)
    writer.writerows([_harmless(_cell(value)) for value in row] for row in answer.rows)
    return out.getvalue()


def cells(answer: Answer) -> list[list[str]]:
    """For a table."""
    return [[plain(_cell(value)) for value in row] for row in answer.rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo is not None else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _cell(value: Any) -> str:
    known = _plain(value)
    if isinstance(value, datetime):
        return str(known).replace("+00:00", "Z")
    if known is None:
        return ""
    return known if isinstance(known, str) else json.dumps(known, ensure_ascii=False)


def _escaped(found: re.Match[str]) -> str:
    """As JSON has it."""
    return f"\\u{ord(found[0]):04x}"


def _harmless(text: str) -> str:
    text = _STEERS.sub(_escaped, text)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
