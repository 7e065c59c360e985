"""The few lines of a calendar that say what is asked for.

Rule of this file: text in, a small text out, in one pass; no line is understood, only named. The library icalendar then parses an event of
a dozen short lines instead of whatever was sent: a thousand attendees, a time zone that recurs every second, a rule of a million dates and
ten thousand alarms cost one look each, and the library remembers nothing of a message (it keeps the time zones that it meets).
"""

from __future__ import annotations

import re
from typing import Final

MOST_OCTETS: Final = 256 * 1024
"""Of a calendar part; a larger one is no invitation that somebody wrote."""
MOST_OF_A_LINE: Final = 2000
"""Characters. A text is cut there; any other line as long is left out."""
_FOLD: Final = re.compile(r"\r?\n[ \t]")
_NAME: Final = re.compile(r"[A-Za-z0-9\-]+")
_TEXTS: Final = frozenset(["SUMMARY", "LOCATION"])
_KEPT: Final = _TEXTS | {"DTSTART", "DTEND", "DURATION", "ORGANIZER", "RRULE", "RECURRENCE-ID"}
SEVERAL: Final = "X-PORTICO-SEVERAL"
"""Stands for RDATE, a second RRULE, or one that is too long: it recurs, in a way that is not said here."""


def essence(text: str) -> str | None:
    """One VEVENT in one VCALENDAR; None: this is no request for a meeting, or it is broken.

    Several calendars in one part are one request if all of them are. Of several events the one without a RECURRENCE-ID is the meeting, the
    others are exceptions to it (RFC 5546 3.2.2).
    """
    open_now: list[str] = []
    methods: list[str] = []
    events: list[dict[str, str]] = []
    for line in _FOLD.sub("", text.removeprefix("\ufeff")).split("\n"):
        named = _NAME.match(line)
        if named is None:
            continue  # an empty line, or the rest of one that was folded badly
        name = named[0].upper()
        if name == "BEGIN":
            kind = line[named.end() + 1 :].strip().upper()
            if not open_now and kind != "VCALENDAR":
                return None
            if kind == "VCALENDAR":
                methods.append("")
            elif kind == "VEVENT" and open_now == ["VCALENDAR"]:
                events.append({})
            open_now.append(kind)
        elif name == "END":
            if not open_now or open_now.pop() != line[named.end() + 1 :].strip().upper():
                return None
        elif not open_now:
            return None
        elif name == "METHOD" and open_now == ["VCALENDAR"]:
            methods[-1] += line.rpartition(":")[2].strip().upper()
        elif open_now == ["VCALENDAR", "VEVENT"]:
            _keep(events[-1], name, line)
    if open_now or not events or set(methods) != {"REQUEST"}:
        return None
    event = next((each for each in events if "RECURRENCE-ID" not in each), events[0])
    return "\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *event.values(), "END:VEVENT", "END:VCALENDAR", ""])


def _keep(event: dict[str, str], name: str, line: str) -> None:
    if name in _KEPT and name not in event and (name in _TEXTS or len(line) <= MOST_OF_A_LINE):
        event[name] = line[:MOST_OF_A_LINE].rstrip("\r\\")  # a backslash at the end would be half of an escaped character
    elif name in ("RRULE", "RDATE"):
        event[SEVERAL] = f"{SEVERAL}:1"
