"""Messages that somebody sends to see what happens: broken MIME, broken iCalendar, too much of everything.

Rule of this file: built here, from the invitation that each of them would be. `BAD` says of each whether it must stay as it is; the others
may carry a link, as long as all that is told of them agrees.
"""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Callable
from typing import Final, NamedTuple

_HEAD: Final = (
    b"From: Anna <anna@example.org>\r\nTo: bob@example.org\r\nSubject: Lunch\r\nMessage-ID: <bad@example.org>\r\nMIME-Version: 1.0\r\n"
)
_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\n\r\nWill you come?\r\n"
_CALENDAR_HEAD: Final = b"Content-Type: text/calendar; charset=utf-8; method=REQUEST\r\n"
EVENT: Final = (
    b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1@example.org\r\nSUMMARY:Lunch\r\nDTSTART:20260101T120000Z\r\n"
    b"END:VEVENT\r\nEND:VCALENDAR\r\n"
)


class Bad(NamedTuple):
    """`make`: the message. `untouched`: it must be the server's, octet for octet."""

    make: Callable[[], bytes]
    untouched: bool = True
    judged: bool = True
    """Its structure is that of a request, so that it is looked at, and what becomes of it is said."""


def mixed(*parts: bytes, close: bytes = b"--b--\r\n", kind: bytes = b"mixed; boundary=b", head: bytes = _HEAD) -> bytes:
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts)
    return head + b"Content-Type: multipart/" + kind + b"\r\n\r\n" + body + close


def invitation(event: bytes = EVENT, *, encoding: bytes = b"") -> bytes:
    field = b"Content-Transfer-Encoding: " + encoding + b"\r\n" if encoding else b""
    return mixed(_TEXT, _CALENDAR_HEAD + field + b"\r\n" + event)


def _in_event(*lines: bytes) -> bytes:
    return EVENT.replace(b"SUMMARY:Lunch\r\n", b"SUMMARY:Lunch\r\n" + b"\r\n".join(lines) + b"\r\n")


def _deep(depth: int) -> bytes:
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=d%d\r\n\r\n--d%d\r\n" % (level, level) for level in range(depth))
    inner = invitation().removeprefix(_HEAD)
    closed = b"".join(b"\r\n--d%d--\r\n" % level for level in reversed(range(depth)))
    return _HEAD + opened + inner + closed


BAD: Final = {
    "a calendar that ends in the middle": Bad(lambda: invitation(EVENT[:90])),
    "a calendar whose ends are crossed": Bad(lambda: invitation(EVENT.replace(b"END:VEVENT", b"END:VTODO"))),
    "a calendar that is none": Bad(lambda: invitation(bytes(range(32, 127)) * 40)),
    "a calendar without an end of its lines": Bad(lambda: invitation(EVENT.replace(b"\r\n", b""))),
    "base64 that is none": Bad(lambda: invitation(b"!!!! this is not base64 ????\r\n", encoding=b"base64")),
    "base64 that is cut": Bad(lambda: invitation(encodebytes(EVENT).replace(b"\n", b"\r\n")[:61], encoding=b"base64")),
    "an encoding that nobody knows": Bad(lambda: invitation(b"begin 644 invite.ics\r\n", encoding=b"x-uuencode")),
    "a calendar of 10 MB": Bad(lambda: invitation(_in_event(*[b"DESCRIPTION:" + b"x" * 900] * 11_000))),
    "one line of 10 MB in a calendar": Bad(lambda: invitation(_in_event(b"X-LONG:" + b"x" * 10_000_000))),
    "a million lines of recurrence": Bad(lambda: invitation(_in_event(*[b"RDATE:20260101"] * 1_000_000))),
    "a quarter of a megabyte of recurrence": Bad(lambda: invitation(_in_event(*[b"RDATE:20260101T000000Z"] * 10_000)), untouched=False),
    "a rule that never ends": Bad(
        lambda: invitation(_in_event(b"RRULE:FREQ=SECONDLY;INTERVAL=1;COUNT=999999999;BYSECOND=" + b",".join([b"1"] * 500))),
        untouched=False,
    ),
    "events in events": Bad(lambda: invitation(b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n" + b"BEGIN:VEVENT\r\n" * 15_000)),
    "a nul in the calendar": Bad(lambda: invitation(_in_event(b"LOCATION:a\0b")), untouched=False),
    "a nul in the text": Bad(lambda: invitation().replace(b"Will you", b"Will\0you"), untouched=False),
    "a nul in the header": Bad(lambda: invitation().replace(b"Subject: Lunch", b"Subject: Lu\0nch"), untouched=False),
    "8-bit headers": Bad(lambda: invitation().replace(b"Subject: Lunch", b"Subject: Gr\xfc\xdfe \xff\xfe"), untouched=False),
    "parts 200 deep": Bad(lambda: _deep(200), judged=False),
    "ten thousand parts": Bad(
        lambda: mixed(_TEXT, *[b"Content-Type: text/calendar; method=REQUEST\r\n\r\n" + EVENT] * 10_000), judged=False
    ),
    "ten thousand parameters": Bad(
        lambda: mixed(
            _TEXT,
            b"Content-Type: text/calendar; method=REQUEST"
            + b"".join(b';\r\n p%d="\xe4"' % each for each in range(10_000))
            + b"\r\n\r\n"
            + EVENT,
        ),
        untouched=False,
    ),
    "no boundary": Bad(lambda: mixed(_TEXT, _CALENDAR_HEAD + b"\r\n" + EVENT, kind=b"mixed"), judged=False),
    "a boundary that never comes": Bad(lambda: mixed(_TEXT, _CALENDAR_HEAD + b"\r\n" + EVENT, kind=b"mixed; boundary=c"), judged=False),
    "a boundary of a thousand octets": Bad(
        lambda: mixed(_TEXT, _CALENDAR_HEAD + b"\r\n" + EVENT, kind=b"mixed; boundary=" + b"b" * 1000), judged=False
    ),
    "no close delimiter": Bad(lambda: mixed(_TEXT, _CALENDAR_HEAD + b"\r\n" + EVENT, close=b""), untouched=False),
    "a header that never ends": Bad(lambda: _HEAD + b"X-Long: " + b"\r\n ".join([b"x" * 900] * 400), judged=False),
    "a header without a colon": Bad(lambda: invitation().replace(b"MIME-Version: 1.0", b"MIME-Version 1.0"), untouched=False),
    "two content types": Bad(lambda: mixed(_TEXT, b"Content-Type: text/plain\r\n" + _CALENDAR_HEAD + b"\r\n" + EVENT), judged=False),
    "another method in the header": Bad(lambda: invitation(EVENT.replace(b"METHOD:REQUEST", b"METHOD:CANCEL"))),
}
