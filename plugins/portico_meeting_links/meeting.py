"""What a meeting request says, as its reader wants to see it.

Rule of this file: octets of a calendar part in, a Meeting or None out; never an exception, never slow (essence.py cuts it down first). The
library icalendar parses; what is shown is bounded and free of control characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from warnings import catch_warnings, simplefilter

from icalendar import Calendar, Component

from portico_meeting_links.essence import MOST_OCTETS, SEVERAL, essence

MOST_TEXT: Final = 200
"""Characters shown of any text."""
_MOST_NUMBER: Final = 9999
_SPACE: Final = re.compile(r"\s+")
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but some scripts and emoji are written with them."""
_CHARSETS: Final = re.compile(r"(?:utf|iso|windows|koi8|gb|big5|euc|shift|cp125)[a-z0-9_\-]*", re.ASCII)
"""Those that somebody writes a calendar in. Not each codec of Python is a charset, or fast."""
_LANGUAGE: Final = re.compile(r"([A-Za-z]{2,3})(?:[\-_]|\Z)")
"""The language of a tag of RFC 5646; some write ``de_AT``."""
_WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_OF_A_MONTH: Final = re.compile(r"([+-]?\d{1,2})(MO|TU|WE|TH|FR|SA|SU)")
_PREFIXED: Final = re.compile(r"/.*?/([A-Z][A-Za-z_]+(?:/[A-Za-z0-9_+\-]+){1,2})")


@dataclass(frozen=True, slots=True)
class Recurrence:
    """How it recurs, as far as it can be said in a few words (RFC 5545 3.3.10)."""

    frequency: str
    """DAILY, WEEKLY, MONTHLY, YEARLY, or empty: it does, in a way that is not said here."""
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    """0 is Monday."""
    nth: int = 0
    """MONTHLY: on the nth of the one weekday; -1: on the last. 0: on a day of the month."""
    day: int = 0
    """MONTHLY: that day; 0: the day on which it starts."""
    count: int = 0
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Meeting:
    """One VEVENT of a request."""

    summary: str = ""
    start: datetime | date | None = None
    """In the event's own time zone; a date: all day."""
    end: datetime | date | None = None
    """Exclusive where it is a date (RFC 5545 3.6.1). In the time zone of the start."""
    zone: str = ""
    """The time zone's name as the event has it; empty: the time is floating, or the meeting takes all day."""
    location: str = ""
    organizer: str = ""
    recurrence: Recurrence | None = None
    language: str = ""
    """In which the summary is written, as the event says (RFC 5545 3.2.10): ``de`` of ``de-AT``, lower case; empty: it does not say."""


def read(octets: bytes, charset: str = "") -> Meeting | None:
    """The meeting that is asked for; None: the part is not a request for one (RFC 5546 3.2.2), or cannot be read."""
    if len(octets) > MOST_OCTETS:
        return None
    try:
        short = essence(_decoded(octets, charset.lower()))
        if short is None:
            return None
        with catch_warnings():
            simplefilter("ignore")  # the library guesses what is meant, and tells the operator about each
            return _meeting(Calendar.from_ical(short).subcomponents[0])
    except Exception:  # whatever somebody sent: it is no meeting that can be shown
        return None


def _decoded(octets: bytes, charset: str) -> str:
    """UTF-8 unless another charset is named (RFC 5545 3.1.4); what calls itself ASCII may be more."""
    if _CHARSETS.fullmatch(charset):
        try:
            return octets.decode(charset, "replace")
        except LookupError:
            pass
    return octets.decode("utf-8", "replace")


def _meeting(event: Component) -> Meeting:
    broken = {str(name) for name, _ in event.errors}
    for name in broken:
        event.pop(name, None)
    start, zone = _time(event, "DTSTART")
    return Meeting(
        _text(event, "SUMMARY"),
        start,
        _end(event, start),
        zone,
        _text(event, "LOCATION"),
        _organizer(event),
        Recurrence("") if "RRULE" in broken else _recurrence(event, start),
        _language(event),
    )


def _language(event: Component) -> str:
    tag = str(getattr(event.get("SUMMARY"), "params", {}).get("LANGUAGE", ""))
    found = _LANGUAGE.match(tag)
    return found[1].lower() if found is not None else ""


def _text(event: Component, name: str) -> str:
    value = event.get(name)
    return _shown(str(value)) if value is not None else ""


def _shown(text: str) -> str:
    plain = _SPACE.sub(" ", "".join(each if each.isprintable() or each in _JOINERS else " " for each in text[: 4 * MOST_TEXT])).strip()
    return plain if len(plain) <= MOST_TEXT else plain[: MOST_TEXT - 1].rstrip() + "…"


def _time(event: Component, name: str) -> tuple[datetime | date | None, str]:
    found = event.get(name)
    value: Any = getattr(found, "dt", None)
    if isinstance(value, datetime):
        zone = _shown(str(getattr(found, "params", {}).get("TZID", "")))
        prefixed = _PREFIXED.fullmatch(zone)  # "/example.org/20260101_1/Europe/Berlin"
        return value, prefixed[1] if prefixed else zone or ("UTC" if value.utcoffset() == timedelta(0) else "")
    return (value, "") if isinstance(value, date) else (None, "")


def _end(event: Component, start: datetime | date | None) -> datetime | date | None:
    """None: the meeting has none, or none that could be told beside the start."""
    if start is None:
        return None
    end, zone = _time(event, "DTEND")
    try:
        if end is None:
            length = getattr(event.get("DURATION"), "dt", None)
            end = start + length if isinstance(length, timedelta) else start if isinstance(start, datetime) else start + timedelta(days=1)
        elif isinstance(start, datetime) and isinstance(end, datetime):
            if start.tzinfo is not None and end.tzinfo is not None:
                end = end.astimezone(start.tzinfo)
            elif (start.tzinfo, zone) != (end.tzinfo, _time(event, "DTSTART")[1]):
                return None
        return end if isinstance(start, datetime) == isinstance(end, datetime) and end > start else None
    except OverflowError:
        return None


def _organizer(event: Component) -> str:
    value = event.get("ORGANIZER")
    if value is None:
        return ""
    address = _shown(str(value))
    address = address[7:] if address.lower().startswith("mailto:") else address if "@" in address and ":" not in address else ""
    name = _shown(str(getattr(value, "params", {}).get("CN", "")))
    return f"{name} <{address}>" if name and address and name != address else name or address


def _recurrence(event: Component, start: datetime | date | None) -> Recurrence | None:
    """None: it does not recur."""
    rule = event.get("RRULE")
    if event.get(SEVERAL) is not None:
        return Recurrence("")
    if rule is None:
        return None
    parts = {str(name).upper(): value if isinstance(value, list) else [value] for name, value in rule.items()}

    def only(name: str, default: Any = 0) -> Any:
        values = parts.pop(name, [default])
        return values[0] if len(values) == 1 else None

    parts.pop("WKST", None)
    frequency, interval, count, until = str(only("FREQ", "")).upper(), only("INTERVAL", 1), only("COUNT"), only("UNTIL", None)
    days = [str(day).upper() for day in parts.pop("BYDAY", [])]
    weekdays = tuple(index for index, name in enumerate(_WEEKDAYS) if name in days)
    nth = day = 0
    if frequency == "MONTHLY":
        one = _OF_A_MONTH.fullmatch(days[0] if len(days) == 1 else "")
        position = only("BYSETPOS") if len(days) == 1 and not one else 0  # BYDAY=TU;BYSETPOS=2 is BYDAY=2TU
        day = only("BYMONTHDAY")
        if one:
            nth, weekdays = int(one[1]), (_WEEKDAYS.index(one[2]),)
        elif weekdays and position:
            nth = int(position)
        if nth not in (-1, 0, 1, 2, 3, 4) or bool(nth) != bool(days) or not isinstance(day, int) or not 0 <= day <= 31 or (nth and day):
            return Recurrence("")
    elif frequency == "YEARLY" and start is not None:
        if only("BYMONTH", start.month) != start.month or only("BYMONTHDAY", start.day) != start.day or days:
            return Recurrence("")
    elif frequency not in ("DAILY", "WEEKLY") or len(weekdays) != len(set(days)) or (frequency == "DAILY" and interval != 1 and days):
        return Recurrence("")
    if (
        parts
        or not isinstance(interval, int)
        or not isinstance(count, int)
        or not (1 <= interval <= _MOST_NUMBER and 0 <= count <= _MOST_NUMBER)
    ):
        return Recurrence("")
    if count == 1:
        return None
    return Recurrence(frequency, interval, weekdays, nth, day, count, _last_day(until, start))


def _last_day(until: object, start: datetime | date | None) -> date | None:
    """UNTIL is told in UTC; the day is that in the meeting's own time zone."""
    if isinstance(until, datetime):
        if until.tzinfo is not None and isinstance(start, datetime) and start.tzinfo is not None:
            try:
                until = until.astimezone(start.tzinfo)
            except OverflowError:
                until = until.astimezone(UTC)
        return until.date()
    return until if isinstance(until, date) else None
