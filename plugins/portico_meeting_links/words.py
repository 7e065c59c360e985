"""A meeting and its link in the reader's language: a text, and a fragment of HTML.

Rule of this file: the words are in texts/<language>.toml, one file a language; everything that comes from a message is escaped. Both blocks
say the same.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cache
from html import escape
from importlib.resources import files
from textwrap import wrap
from typing import Any, Final

from portico_meeting_links.meeting import Meeting, Recurrence

_WIDTH: Final = 72


def languages() -> list[str]:
    """Those that there are words for."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__package__).joinpath("texts").iterdir() if entry.name.endswith(".toml")
    )


@cache
def words(language: str) -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("texts", f"{language}.toml").read_text("utf-8"))


def as_text(meeting: Meeting, link: str, language: str) -> str:
    """Plain text; the link stands on a line of its own, and no address that stands in a value is cut."""
    said = words(language)
    colon = said["colon"]
    lines = [said["heading"]]
    rows = _rows(meeting, language)
    width = max((len(label) for label, _ in rows), default=0) + len(colon) + 1
    for label, value in rows:
        first = f"{label}{colon}".ljust(width)
        lines += wrap(
            value, _WIDTH, initial_indent=first, subsequent_indent=" " * width, break_long_words="://" not in value, break_on_hyphens=False
        ) or [first.rstrip()]
    return "\n".join([*lines, "", f"{said['answer']}{colon}", link]) + "\n"


def as_html(meeting: Meeting, link: str, language: str) -> str:
    """A table, because every mail program shows one; its colours are its own, in the light and in the dark.

    Outlook draws with Word: it knows no max-width and no overflow-wrap, but bgcolor and padding of cells. A phone has 360 pixels: nothing
    is wider than that for long, so words break where they must. A name that is written from right to left stands at the left all the same.
    """
    said = words(language)
    cell = "padding:2px 12px 2px 0;vertical-align:top;color:#1f2933;font:14px/1.4 sans-serif"
    breaks = "text-align:left;word-break:break-word;overflow-wrap:anywhere"
    rows = "".join(
        f'<tr><td style="{cell};white-space:nowrap;color:#52606d">{escape(label)}</td>\n'
        f'<td dir="auto" style="{cell};{breaks}">{escape(value)}</td></tr>\n'
        for label, value in _rows(meeting, language)
    )
    address = escape(link, quote=True)
    return (
        '<table role="presentation" cellpadding="0" cellspacing="0" border="0" bgcolor="#f0f4f8"\n'
        ' style="background-color:#f0f4f8;margin:0 0 16px 0;max-width:640px">\n'
        '<tr><td style="border-left:4px solid #2f6fb5;padding:12px 16px">\n'
        f'<div style="font:bold 15px/1.4 sans-serif;color:#1f2933;padding-bottom:6px">{escape(said["heading"])}</div>\n'
        f'<table role="presentation" cellpadding="0" cellspacing="0" border="0">\n{rows}</table>\n'
        '<table role="presentation" cellpadding="0" cellspacing="0" border="0" style="margin-top:10px"><tr>\n'
        '<td bgcolor="#2f6fb5" style="background-color:#2f6fb5;padding:8px 18px">\n'
        f'<a href="{address}" style="display:block;color:#ffffff;font:bold 14px/1.4 sans-serif;text-decoration:none">\n'
        f"{escape(said['answer'])}</a></td>\n"
        "</tr></table>\n"
        f'<div style="font:12px/1.4 sans-serif;color:#52606d;padding-top:8px;word-break:break-all">{address}</div>\n'
        "</td></tr></table>\n"
    )


def _rows(meeting: Meeting, language: str) -> list[tuple[str, str]]:
    said = words(language)
    found = [
        (said["what"], meeting.summary),
        (said["when"], _when(meeting, said)),
        (said["repeats"], _recurs(meeting.recurrence, said) if meeting.recurrence is not None else ""),
        (said["where"], meeting.location),
        (said["who"], meeting.organizer),
    ]
    return [(label, value) for label, value in found if value]


def _day(day: date, said: Mapping[str, Any]) -> str:
    return str(said["day"]).format(weekday=said["weekdays"][day.weekday()], day=day.day, month=said["months"][day.month - 1], year=day.year)


def _when(meeting: Meeting, said: Mapping[str, Any]) -> str:
    start, end = meeting.start, meeting.end
    if start is None:
        return ""
    if not isinstance(start, datetime):
        last = end - timedelta(days=1) if isinstance(end, date) and not isinstance(end, datetime) else start
        days = _day(start, said) if last <= start else f"{_day(start, said)} – {_day(last, said)}"
        return f"{days}, {said['all_day']}"
    text = f"{_day(start, said)}, {start:%H:%M}"
    if isinstance(end, datetime):
        text += f" – {end:%H:%M}" if end.date() == start.date() else f" – {_day(end, said)}, {end:%H:%M}"
    return f"{text} ({meeting.zone})" if meeting.zone else text


def _recurs(recurrence: Recurrence, said: Mapping[str, Any]) -> str:
    if not recurrence.frequency:
        return str(said["recurs"])
    forms = said["every"][recurrence.frequency.lower()]
    text = str(forms[0]) if recurrence.interval == 1 else str(forms[1]).format(interval=recurrence.interval)
    if recurrence.nth:
        weekday = said["weekdays"][recurrence.weekdays[0]]
        text += ", " + str(said["nth"]).format(nth=said["numbers"][recurrence.nth - 1 if recurrence.nth > 0 else -1], weekday=weekday)
    elif recurrence.weekdays:
        text += f" ({', '.join(said['weekdays'][day] for day in recurrence.weekdays)})"
    elif recurrence.day:
        text += ", " + str(said["on_day"]).format(day=recurrence.day)
    if recurrence.count:
        text += ", " + str(said["count"]).format(count=recurrence.count)
    elif recurrence.until is not None:
        text += ", " + str(said["until"]).format(day=_day(recurrence.until, said))
    return text
