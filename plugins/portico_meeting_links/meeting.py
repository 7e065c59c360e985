"""What a meeting request says, as its reader wants to see it.

Rule of this file: octets of a calendar part in, a Meeting or None out; never an exception, never slow. The library icalendar parses; what
is shown is bounded and free of control characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from icalendar import Calendar, Component

MOST_LINES: Final = 5000
"""Content lines of a calendar part; one with more is no invitation that somebody wrote."""
MOST_TEXT: Final = 200
"""Characters shown of any text."""
_SPACE: Final = re.compile(r"\s+")
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@dataclass(frozen=True, slots=True)
class Recurrence:
    """How it recurs, as far as it can be said in a few words (RFC 5545 3.3.10)."""

    frequency: str
    """DAILY, WEEKLY, MONTHLY, YEARLY, or empty: it does, in a way that is not said here."""
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    """0 is Monday."""
    count: int = 0
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Meeting:
    """One VEVENT of a request."""

    summary: str = ""
    start: datetime | date | None = None
    """In the event's own time zone; a date: all day."""
    end: datetime | date | None = None
    """Exclusive where it is a date (RFC 5545 3.6.1)."""
    zone: str = ""
    """The time zone's name as the event has it; empty: the time is floating, or the meeting takes all day."""
    location: str = ""
    organizer: str = ""
    recurrence: Recurrence | None = None


def read(octets: bytes) -> Meeting | None:
    """The meeting that is asked for; None: the part is not a request for one (RFC 5546 3.2.2), or cannot be read.

    Several calendars in one part are one request if all of them are.
    """
    if octets.count(b"\n") > MOST_LINES:
        return None
    try:
        calendars = Calendar.from_ical(octets.decode("utf-8", "replace"), multiple=True)
        methods = {str(calendar.get("METHOD", "")).strip().upper() for calendar in calendars}
        if methods != {"REQUEST"}:
            return None
        events = [each for calendar in calendars for each in calendar.subcomponents if each.name == "VEVENT"]
        return _meeting(events[0]) if events else None
    except Exception:  # whatever somebody sent: it is no meeting that can be shown
        return None


def _meeting(event: Component) -> Meeting:
    start, zone = _time(event, "DTSTART")
    end, _ = _time(event, "DTEND")
    if end is None and start is not None:
        duration = getattr(event.get("DURATION"), "dt", None)
        end = (
            start + duration if isinstance(duration, timedelta) else start + timedelta(days=1) if not isinstance(start, datetime) else None
        )
    return Meeting(_text(event, "SUMMARY"), start, end, zone, _text(event, "LOCATION"), _organizer(event), _recurrence(event))


def _text(event: Component, name: str) -> str:
    value = event.get(name)
    if isinstance(value, list):
        value = value[0] if value else None
    return _shown(str(value)) if value is not None else ""


def _shown(text: str) -> str:
    plain = _SPACE.sub(" ", "".join(each if each.isprintable() else " " for each in text[: 4 * MOST_TEXT])).strip()
    return plain if len(plain) <= MOST_TEXT else plain[: MOST_TEXT - 1].rstrip() + "…"


def _time(event: Component, name: str) -> tuple[datetime | date | None, str]:
    found = event.get(name)
    value: Any = getattr(found, "dt", None)
    if isinstance(value, datetime):
        zone = str(getattr(found, "params", {}).get("TZID", "") or ("UTC" if value.utcoffset() == timedelta(0) else ""))
        return value, _shown(zone)
    return (value, "") if isinstance(value, date) else (None, "")


def _organizer(event: Component) -> str:
    value = event.get("ORGANIZER")
    if value is None:
        return ""
    address = _shown(str(value))
    address = address[7:] if address.lower().startswith("mailto:") else address
    name = _shown(str(getattr(value, "params", {}).get("CN", "")))
    return f"{name} <{address}>" if name and name != address else address


def _recurrence(event: Component) -> Recurrence | None:
    rule = event.get("RRULE")
    if rule is None:
        return Recurrence("") if event.get("RDATE") is not None else None
    if isinstance(rule, list):
        return Recurrence("")

    def first(name: str, default: Any = None) -> Any:
        value = rule.get(name)
        return value[0] if isinstance(value, list) and value else default

    frequency = str(first("FREQ", "")).upper()
    named = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST"} | ({"BYDAY"} if frequency == "WEEKLY" else set())
    if frequency not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY") or {str(name).upper() for name in rule} - named:
        return Recurrence("")
    days = rule.get("BYDAY") or []
    weekdays = tuple(_WEEKDAYS.index(str(day).upper()) for day in days if str(day).upper() in _WEEKDAYS)
    until = first("UNTIL")
    return Recurrence(
        frequency,
        max(1, int(first("INTERVAL", 1))),
        weekdays,
        int(first("COUNT", 0)),
        until.date() if isinstance(until, datetime) else until if isinstance(until, date) else None,
    )
