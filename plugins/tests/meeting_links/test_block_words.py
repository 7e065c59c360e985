"""The words of a block: whose language they are in, and that they stay whole on a narrow screen and in narrow lines."""

from __future__ import annotations

import re
from typing import Any

import pytest
from portico.plugin import Insertion, Outline, Part
from portico.testing import Correspondence
from portico_meeting_links import MeetingLinks, meeting, words

LINK = "https://mail.example.org/apps/mail/open/" + "x" * 100
TEAMS = "https://meet.example.org/l/" + "A-b_0%20" * 14


def calendar(*lines: str) -> bytes:
    return "\r\n".join(["BEGIN:VCALENDAR", "METHOD:REQUEST", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""]).encode()


def read(*lines: str) -> meeting.Meeting:
    found = meeting.read(calendar(*lines))
    assert found is not None
    return found


def test_an_address_that_stands_in_a_value_is_not_cut() -> None:
    text = words.as_text(read(f"LOCATION:Room 4 - or {TEAMS}"), LINK, "en")
    assert TEAMS in re.split(r"\s+", text)
    assert text.splitlines()[-1] == LINK


def test_french_has_a_space_before_its_colon() -> None:
    text = words.as_text(read("SUMMARY:Budget", "DTSTART;VALUE=DATE:20300514", "RRULE:FREQ=MONTHLY;BYDAY=2TU;UNTIL=20301210"), LINK, "fr")
    assert text == (
        "Demande de réunion\n"
        "Objet :      Budget\n"
        "Quand :      mardi 14 mai 2030, toute la journée\n"
        "Répétition : tous les mois, le deuxième mardi, jusqu’au mardi 10\n"
        "             décembre 2030\n"
        "\n"
        "Accepter, refuser ou proposer un autre horaire :\n"
        f"{LINK}\n"
    )


@pytest.mark.parametrize("language", words.languages())
def test_nothing_in_the_html_is_wider_than_a_phone(language: str) -> None:
    """But for the labels, which are short, each cell with a text may break it anywhere; nothing has a width of its own."""
    html = words.as_html(read(f"SUMMARY:{'w' * 200}", f"LOCATION:{TEAMS}", "ORGANIZER:mailto:a@b"), LINK, language)
    assert html.count("overflow-wrap:anywhere") == 3
    assert f'word-break:break-all">{LINK}<' in html
    assert not re.search(r"\bwidth[:=]", html.replace("max-width:640px", ""))
    said = words.words(language)
    assert all(len(said[label]) <= 14 for label in ("what", "when", "repeats", "where", "who"))


@pytest.mark.parametrize(
    ("parameter", "language"),
    [
        ("", ""),
        (";LANGUAGE=de-AT", "de"),
        (";LANGUAGE=FR", "fr"),
        (";LANGUAGE=en_US", "en"),
        (';LANGUAGE="x-klingon"', ""),
        (";LANGUAGE=1", ""),
    ],
)
def test_an_event_may_say_its_language(parameter: str, language: str) -> None:
    assert read(f"SUMMARY{parameter}:Budget").language == language


STRUCTURE = Part(
    "", "multipart/alternative", {}, "", -1, -1, "", "", {}, "", "",
    [
        Part("1", "text/plain", {"charset": "utf-8"}, "8bit", 10, 1, "", "", {}, "", "", [], None),
        Part("2", "text/calendar", {"method": "REQUEST"}, "8bit", 10, 1, "", "", {}, "", "", [], None),
    ],
    None,
)  # fmt: skip


def insertions(user: str, event: bytes, **options: Any) -> list[Insertion]:
    """What a reader gets of an event."""
    outline = Outline("INBOX", 7, 1, 1000, STRUCTURE, message_id="<a@example.org>")
    interests: list[Any] = []

    def seen(compiled: Any) -> Any:
        interests.append(compiled)
        return compiled

    with Correspondence(MeetingLinks, {"webmail": "nextcloud", "host": "mail.example.org", **options}, wrap=seen) as session:
        session.sign_in(user)
        ((bound,),) = (compiled.annotators for compiled in interests)
        return list(bound.annotator.insertions(session.view, outline, {"2": event}))


@pytest.mark.parametrize(
    ("user", "own", "options", "heading"),
    [
        ("alice", "", {}, "Meeting request"),
        ("alice", ";LANGUAGE=de", {}, "Meeting request"),
        ("alice", ";LANGUAGE=de-CH", {"event_language": True}, "Besprechungsanfrage"),
        ("alice", ";LANGUAGE=ja", {"event_language": True, "language": "fr"}, "Demande de réunion"),
        ("alice", "", {"event_language": True, "language": "fr"}, "Demande de réunion"),
        ("bob", ";LANGUAGE=de", {"event_language": True, "languages": {"b*": "fr"}}, "Demande de réunion"),
    ],
)
def test_the_block_is_in_the_readers_language_else_in_the_events_where_that_is_set(
    user: str, own: str, options: dict[str, Any], heading: str
) -> None:
    (insertion,) = insertions(user, calendar(f"SUMMARY{own}:Budget"), **options)
    assert insertion.text.splitlines()[0] == heading
