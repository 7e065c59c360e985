"""Whatever a calendar part holds, reading it is quick, and what is told of it is right."""

from __future__ import annotations

from datetime import date, datetime
from time import process_time

import pytest
from portico_meeting_links import meeting, words
from portico_meeting_links.meeting import Meeting


def calendar(*lines: str, before: tuple[str, ...] = (), method: str = "REQUEST") -> bytes:
    return "\r\n".join(["BEGIN:VCALENDAR", f"METHOD:{method}", *before, "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""]).encode()


def read(*lines: str) -> Meeting:
    made = meeting.read(calendar(*lines))
    assert made is not None
    return made


def repeats(rule: str, start: str = "TZID=Europe/Berlin:20260310T093000", language: str = "en") -> str:
    """What the block says behind "Repeats"; empty: nothing."""
    lines = words.as_text(read(f"DTSTART;{start}", rule), "https://m/", language).replace("\n           ", " ").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(("Repeats:", "Wiederholung:"))), "")


START = "DTSTART:20260310T090000Z"
SECONDLY = (
    "BEGIN:VTIMEZONE", "TZID:Bad/Zone", "BEGIN:STANDARD", "DTSTART:00010101T000000", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200",
    "RRULE:FREQ=SECONDLY", "END:STANDARD", "END:VTIMEZONE",
)  # fmt: skip
HOSTILE = {
    "a thousand attendees": calendar("SUMMARY:Budget", *[f"ATTENDEE;CN=P{i}:mailto:p{i}@example.org" for i in range(3000)]),
    "a rule of a million lines": calendar("SUMMARY:Budget", START, *["RRULE:FREQ=DAILY"] * 13_000),
    "a rule of many days": calendar("SUMMARY:Budget", START, "RRULE:FREQ=WEEKLY;BYDAY=" + ",".join(["MO"] * 60_000)),
    "many dates": calendar("SUMMARY:Budget", START, "RDATE:" + ",".join(["20260310T090000Z"] * 14_000)),
    "a zone that changes each second": calendar(
        "SUMMARY:Budget", "DTSTART;TZID=Bad/Zone:20260310T090000", "DURATION:PT1H", before=SECONDLY
    ),
    "deep components": calendar("SUMMARY:Budget", *["BEGIN:X"] * 12_000, *["END:X"] * 12_000),
    "many parameters": calendar("LOCATION;" + ";".join(f"X{i}=a" for i in range(30_000)) + ":x", "SUMMARY:Budget"),
    "quotes that do not end": calendar("ORGANIZER" + ';CN="' * 50_000 + ":x", "SUMMARY:Budget"),
    "backslashes": calendar("SUMMARY:Budget", "LOCATION:" + "\\" * 240_000),
    "a rule with a number of many digits": calendar("SUMMARY:Budget", START, "RRULE:FREQ=DAILY;COUNT=" + "9" * 1900),
    "folded to single letters": calendar("SUMMARY:Budget", "X-A:" + "\r\n a" * 50_000),
    "carriage returns": calendar("SUMMARY:Budget", "X-A:" + "\r" * 240_000),
    "the end of time": calendar("SUMMARY:Budget", "DTSTART:99991231T235959Z", "DURATION:P9999D"),
}


@pytest.mark.parametrize("octets", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_huge_is_read_quickly_and_still_told(octets: bytes) -> None:
    began = process_time()
    made = meeting.read(octets)
    seconds = process_time() - began
    assert made is not None
    assert made.summary == "Budget"
    assert len(words.as_text(made, "https://m/", "en")) < 2000
    assert len(words.as_html(made, "https://m/", "en")) < 6000
    assert seconds < 5  # some 0.01 s on an idle machine


@pytest.mark.parametrize("octets", [b"BEGIN:VCALENDAR\r\n" * 20_000, b"A" * 10_000_000, b"\r" * 250_000, b"\n " * 120_000, b"\0" * 250_000])
def test_what_is_huge_and_broken_is_none_at_once(octets: bytes) -> None:
    began = process_time()
    assert meeting.read(octets) is None
    assert process_time() - began < 5


@pytest.mark.parametrize(
    "octets",
    [
        calendar("SUMMARY:a").replace(b"END:VEVENT\r\n", b""),
        calendar("SUMMARY:a").replace(b"END:VCALENDAR\r\n", b""),
        calendar("SUMMARY:a").replace(b"METHOD:REQUEST\r\n", b""),
        calendar("SUMMARY:a", "METHOD:REQUEST").replace(b"METHOD:REQUEST\r\n", b"", 1),
        calendar("SUMMARY:a", before=("METHOD:CANCEL",)),
        b"METHOD:REQUEST\r\n" + calendar("SUMMARY:a"),
        b"BEGIN:VTODO\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VTODO\r\n",
        calendar("BEGIN:VEVENT", "END:VEVENT", method="CANCEL"),
    ],
)
def test_a_calendar_that_is_broken_or_of_two_minds_is_no_request(octets: bytes) -> None:
    assert meeting.read(octets) is None


def test_a_line_that_was_folded_badly_spoils_nothing_else() -> None:
    assert read("DESCRIPTION:first", "", "(second line, not folded)", "SUMMARY:Budget").summary == "Budget"


def test_what_an_alarm_says_is_not_what_the_meeting_says() -> None:
    assert read("BEGIN:VALARM", "SUMMARY:Wake up", "END:VALARM", "SUMMARY:Budget").summary == "Budget"


def test_of_a_series_with_exceptions_the_series_is_told() -> None:
    exception = ["SUMMARY:Moved", "RECURRENCE-ID:20260317T090000Z", START, "END:VEVENT", "BEGIN:VEVENT"]
    assert read(*exception, "SUMMARY:Series", START, "RRULE:FREQ=WEEKLY").summary == "Series"
    assert read("SUMMARY:Moved", "RECURRENCE-ID:20260317T090000Z", START).summary == "Moved"


@pytest.mark.parametrize(
    ("charset", "octets"),
    [
        ("utf-8", "Büro".encode()),
        ("us-ascii", "Büro".encode()),
        ("", "Büro".encode()),
        ("ISO-8859-1", "Büro".encode("latin-1")),
        ("windows-1252", "Büro".encode("cp1252")),
        ("no-such-charset", "Büro".encode()),
        ("punycode", "Büro".encode()),
        ("utf-8-strange", "Büro".encode()),
    ],
)
def test_the_charset_of_the_part_is_that_of_the_meeting(charset: str, octets: bytes) -> None:
    made = meeting.read(calendar("SUMMARY:%").replace(b"%", octets), charset)
    assert made is not None
    assert made.summary == "Büro"


def test_a_mark_of_utf_8_at_the_begin_is_no_mistake() -> None:
    assert meeting.read(b"\xef\xbb\xbf" + calendar("SUMMARY:a")) is not None


@pytest.mark.parametrize(
    ("lines", "when"),
    [
        (["DTSTART;TZID=Europe/Berlin:20260310T093000", "DTEND:20260310T100000Z"], "09:30 – 11:00 (Europe/Berlin)"),
        (["DTSTART;TZID=Europe/Berlin:20260310T093000", "DTEND;TZID=America/New_York:20260310T060000"], "09:30 – 11:00 (Europe/Berlin)"),
        (["DTSTART;TZID=W. Europe Standard Time:20260310T093000", "DTEND;TZID=W. Europe Standard Time:20260310T103000"],
         "09:30 – 10:30 (W. Europe Standard Time)"),
        (["DTSTART;TZID=Ours:20260310T093000", "DTEND;TZID=Ours:20260310T103000"], "09:30 – 10:30 (Ours)"),
        (["DTSTART;TZID=Ours:20260310T093000", "DTEND;TZID=Theirs:20260310T103000"], "09:30 (Ours)"),
        (["DTSTART;TZID=/example.org/20260101_1/Europe/Berlin:20260310T093000", "DURATION:PT1H"], "09:30 – 10:30 (Europe/Berlin)"),
        (["DTSTART:20260310T093000", "DTEND:20260310T103000"], "09:30 – 10:30"),
        (["DTSTART:20260310T093000Z", "DTEND:20260310T083000Z"], "09:30 (UTC)"),
        (["DTSTART:20260310T093000Z", "DTEND;VALUE=DATE:20260311"], "09:30 (UTC)"),
        (["DTSTART;VALUE=DATE:20260310"], "all day"),
        (["DTSTART;VALUE=DATE:20260310", "DTEND;VALUE=DATE:20260310"], "all day"),
    ],
)  # fmt: skip
def test_the_time_is_that_of_the_meetings_own_zone(lines: list[str], when: str) -> None:
    said = words.as_text(read(*lines), "https://m/", "en")
    assert f"When: Tuesday, 10 March 2026, {when}\n" in said.replace("\n      ", " ")


def test_a_meeting_whose_time_cannot_be_read_is_told_without_it() -> None:
    made = read("SUMMARY:Budget", "DTSTART:tomorrow", "DTEND:later", "RRULE:FREQ=NEVER")
    assert (made.summary, made.start, made.recurrence) == ("Budget", None, meeting.Recurrence(""))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("RRULE:FREQ=DAILY", "every day"),
        ("RRULE:FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR", "every day (Monday, Tuesday, Wednesday, Thursday, Friday)"),
        ("RRULE:FREQ=WEEKLY;WKST=SU;BYDAY=TH,TU,TH;COUNT=4", "every week (Tuesday, Thursday), 4 times"),
        ("RRULE:FREQ=MONTHLY", "every month"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=10", "every month, on day 10"),
        ("RRULE:FREQ=MONTHLY;BYDAY=2TU", "every month, on the second Tuesday"),
        ("RRULE:FREQ=MONTHLY;INTERVAL=3;BYDAY=-1FR", "every 3 months, on the last Friday"),
        ("RRULE:FREQ=MONTHLY;BYDAY=TU;BYSETPOS=2", "every month, on the second Tuesday"),
        ("RRULE:FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=10", "every year"),
        ("RRULE:FREQ=DAILY;UNTIL=20260331T225959Z", "every day, until Wednesday, 1 April 2026"),
        ("RRULE:FREQ=DAILY;UNTIL=20260331", "every day, until Tuesday, 31 March 2026"),
        ("RRULE:FREQ=DAILY;COUNT=1", ""),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1", "several times"),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO", "several times"),
        ("RRULE:FREQ=YEARLY;BYMONTH=4", "several times"),
        ("RRULE:FREQ=YEARLY;BYDAY=1MO", "several times"),
        ("RRULE:FREQ=WEEKLY;BYDAY=2MO", "several times"),
        ("RRULE:FREQ=HOURLY", "several times"),
        ("RRULE:FREQ=DAILY;INTERVAL=100000", "several times"),
        ("RRULE:FREQ=DAILY;BYHOUR=9,17", "several times"),
        ("RDATE:20260311T093000Z", "several times"),
        ("RRULE:FREQ=DAILY\r\nRRULE:FREQ=WEEKLY", "several times"),
        ("X-NONE:1", ""),
    ],
)
def test_how_a_meeting_recurs_is_said_in_words_or_not_at_all(rule: str, said: str) -> None:
    assert repeats(rule) == said


def test_the_last_day_of_a_series_is_one_of_the_meetings_zone() -> None:
    assert repeats("RRULE:FREQ=DAILY;UNTIL=20260401T013000Z", "TZID=America/Los_Angeles:20260310T093000").endswith("31 March 2026")


def test_german_knows_which_weekday_of_the_month() -> None:
    assert repeats("RRULE:FREQ=MONTHLY;BYDAY=4TU", language="de") == "monatlich, am vierten Dienstag"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ORGANIZER;CN=Bob:mailto:bob@example.org", "Bob <bob@example.org>"),
        ("ORGANIZER:MAILTO:bob@example.org", "bob@example.org"),
        ("ORGANIZER;CN=Bob:invalid:nomail", "Bob"),
        ("ORGANIZER;CN=Bob:urn:uuid:1", "Bob"),
        ("ORGANIZER:/principals/bob", ""),
        ("ORGANIZER;CN=Bob:mailto:bob@example.org\r\nORGANIZER:mailto:eve@example.org", "Bob <bob@example.org>"),
        ('ORGANIZER;CN="a\\u202eb":mailto:bob@example.org', "a\\u202eb <bob@example.org>"),
    ],
)
def test_the_organiser_is_a_name_and_an_address(line: str, said: str) -> None:
    assert read(line).organizer == said


def test_letters_that_turn_the_line_around_are_not_shown_and_joined_emoji_are() -> None:
    assert read("SUMMARY:a\u202eb\u2066c \U0001f469\u200d\U0001f4bb").summary == "a b c \U0001f469\u200d\U0001f4bb"


def test_no_line_of_the_text_is_longer_than_72_but_the_link() -> None:
    made = Meeting("word " * 40, datetime(2026, 3, 10, 9, 30), date(2026, 3, 10), "Z" * 90, "x" * 200, "y" * 190)
    link = "https://m.example.org/" + "z" * 200
    for language in words.languages():
        lines = words.as_text(made, link, language).splitlines()
        assert [line for line in lines if len(line) > 72] == [link]
