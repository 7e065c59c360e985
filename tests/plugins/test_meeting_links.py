"""Meeting links: which messages, which words, which address."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.plugin.loading import inspect
from portico.plugin.options import read
from portico.session.annotations.outline import outline_of_message
from portico.session.context import Peer, SessionView
from portico.testing import check_plugin
from portico.wire.bodystructure import decoded
from portico.wire.mime import scan
from portico_meeting_links import MeetingLinks, links, meeting, request, words

ROOT = Path(__file__).resolve().parents[2]
INVITES = ROOT.parent / "shared" / "corpus" / "invites"


def calendar(*lines: str, method: str = "REQUEST", kind: str = "VEVENT") -> bytes:
    body = "\r\n".join(["BEGIN:VCALENDAR", f"METHOD:{method}", f"BEGIN:{kind}", *lines, f"END:{kind}", "END:VCALENDAR", ""])
    return body.encode()


def asked(message: bytes) -> tuple[request.Request, meeting.Meeting] | None:
    """The request in a message, as the plugin would find it."""
    octets = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    scanner = scan(octets)
    structure = scanner.finish()
    found = request.may_be(structure)
    if found is None:
        return None
    place = scanner.places[found.calendar]
    encoding = next(part.encoding for part in structure.walk() if part.number == found.calendar)
    read = meeting.read(decoded(octets[place.body : place.end], encoding))
    return None if read is None else (found, read)


# -- which messages


OWN = {
    "invite-outlook.eml": True,
    "invite-google.eml": True,
    "invite-icloud.eml": True,
    "invite-calendar-only.eml": False,
    "meeting-cancel.eml": False,
    "meeting-reply.eml": False,
    "signed.eml": False,
    "plain.eml": False,
    "forwarded.eml": False,
}


@pytest.mark.parametrize(("name", "is_one"), OWN.items())
def test_our_own_messages_are_requests_or_not(name: str, is_one: bool) -> None:
    assert (asked((ROOT / "tests" / "corpus" / name).read_bytes()) is not None) == is_one


UNDECIDED = {
    "040-gen-already-linked-a.eml": True,  # whether a link is there, the text would tell, and no text is read for a listing
    "061-gen-missing-close-boundary-a.eml": True,  # the block goes in, nothing is repaired
    "077-gen-two-vcalendars-a.eml": True,  # one link, to the message
    "016-james-project-wild-alt-another-reply.eml": None,  # depends on how the server reads the garbage before its header
    "017-james-project-wild-alt-reply4.eml": None,
    "008-zm-mailbox-bug_45331.eml": None,
}
"""Rows of the list that leave it to us (POLICY), where it is not the safe answer; None: the server decides what the message is."""


@pytest.mark.skipif(not INVITES.is_dir(), reason="the larger corpus is not beside the project")
def test_the_expectations_of_the_larger_corpus_are_met() -> None:
    rows = re.findall(r"^\| (\d{3}-\S+\.eml) \| \d+ \| (LINK|UNTOUCHED|POLICY)", (INVITES / "SOURCES.md").read_text("utf-8"), re.MULTILINE)
    assert len(rows) == 80
    wrong = []
    for name, expected in rows:
        wanted = UNDECIDED.get(name, expected == "LINK")
        found = asked((INVITES / name).read_bytes())
        if wanted is not None and (found is not None) != wanted:
            wrong.append((name, expected, found))
    assert wrong == []


@pytest.mark.parametrize(
    "octets",
    [
        calendar(method="CANCEL"),
        calendar(method="PUBLISH"),
        calendar(kind="VTODO"),
        calendar() + calendar(method="REPLY"),
        b"",
        b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\n",
        b"\0" * 1000,
        calendar(*["X-LINE:x"] * 30_000),
    ],
)
def test_what_is_no_request_for_a_meeting_is_none(octets: bytes) -> None:
    assert meeting.read(octets) is None


@given(st.binary(max_size=300))
def test_any_octets_are_a_meeting_or_none(octets: bytes) -> None:
    meeting.read(octets)
    meeting.read(calendar("SUMMARY:x", octets.decode("latin-1")))


# -- which words


def test_a_meeting_is_told_in_its_own_time_zone() -> None:
    read = meeting.read(
        calendar(
            "SUMMARY:Budget\\, again",
            "DTSTART;TZID=Europe/Berlin:20260310T093000",
            "DURATION:PT90M",
            "LOCATION:Room 5",
            "ORGANIZER;CN=Bob Builder:mailto:bob@example.org",
            "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH;COUNT=4",
        )
    )
    assert read is not None
    assert words.as_text(read, "https://m.example.org/x", "en") == (
        "Meeting request\n"
        "What:      Budget, again\n"
        "When:      Tuesday, 10 March 2026, 09:30 – 11:00 (Europe/Berlin)\n"
        "Repeats:   every 2 weeks (Tuesday, Thursday), 4 times\n"
        "Where:     Room 5\n"
        "Organiser: Bob Builder <bob@example.org>\n"
        "\n"
        "Accept, decline or propose a new time:\n"
        "https://m.example.org/x\n"
    )


def test_a_meeting_that_takes_days_is_told_by_its_days_in_german() -> None:
    read = meeting.Meeting("Messe", date(2026, 3, 30), date(2026, 4, 2))
    assert "Wann: Montag, 30. März 2026 – Mittwoch, 1. April 2026, ganztägig\n" in words.as_text(read, "https://m/", "de")


@pytest.mark.parametrize("language", words.languages())
def test_every_language_has_every_word(language: str) -> None:
    def shape(table: Any) -> Any:
        return {key: shape(value) for key, value in table.items()} if isinstance(table, dict) else type(table), len(table)

    assert list(words.words(language)) == list(words.words("en"))
    assert shape(words.words(language)["every"])[0].keys() == shape(words.words("en")["every"])[0].keys()
    assert (len(words.words(language)["weekdays"]), len(words.words(language)["months"])) == (7, 12)


def test_nothing_of_a_message_is_markup() -> None:
    read = meeting.read(calendar('SUMMARY:<script>alert("x")</script>', "LOCATION:</td></table><b>", 'ORGANIZER;CN="<i>":mailto:a@b'))
    assert read is not None
    html = words.as_html(read, links.fill("https://m/{subject}", {"subject": '"><script>'}), "en")
    assert "<script" not in html
    assert "<b>" not in html
    assert "<i>" not in html


def test_what_is_shown_is_bounded_and_on_one_line() -> None:
    read = meeting.read(calendar("SUMMARY:" + "a\\nb" * 10_000, "LOCATION:x\x07\x1b[31m"))
    assert read is not None
    assert len(read.summary) <= meeting.MOST_TEXT
    assert read.summary.isprintable()
    assert read.location.isprintable()


# -- which address


@given(st.fixed_dictionaries({name: st.text(min_size=1, max_size=20) for name in links.VARIABLES}))
def test_no_value_reaches_scheme_host_or_a_separator(values: dict[str, str]) -> None:
    link = links.fill("https://mail.example.org/a/{user}/b?c={subject}&d={message_id}#{mailbox}", values)
    steps = {values["user"], values["subject"], values["message_id"], values["mailbox"]} & {".", ".."}
    assert link is not None or steps or "/" in values["user"]
    assert link is None or re.fullmatch(r"https://mail\.example\.org/a/[\w.~%\-]*/b\?c=[\w.~%\-]*&d=[\w.~%\-]*#[\w.~%\-]*", link, re.ASCII)


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("https://{domain}/x", "no variable may stand there"),
        ("{user}", "must begin with"),
        ("javascript:alert(1)", "must begin with"),
        ("https://mail.example.org/{uidd}", "no variable"),
        ("https://mail.example.org/{uid!r}", "no variable"),
        ("https://mail.example.org/{uid", "brace"),
        ("https://mail.example.org/a b", "spaces"),
        ("https://mail.example.org@evil.example/", "must begin with"),
    ],
)
def test_a_template_that_cannot_be_used_is_told(template: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        links.check_template(template)


@pytest.mark.parametrize("preset", links.PRESETS)
def test_the_path_of_every_preset_is_a_good_template(preset: str) -> None:
    assert links.check_template("https://mail.example.org" + links.PRESETS[preset])


def objection(protocol: str, **options: Any) -> str:
    loaded = inspect("meeting_links", MeetingLinks)
    values, wrong = read(loaded.model, options)
    assert values is not None, wrong
    return " ".join(loaded.objections("here", protocol, values, ["east", "west"]))


def test_what_would_give_dead_links_is_told_at_start() -> None:
    assert "over POP3 nothing tells {mailbox} and {uid}" in objection("pop3", webmail="roundcube", host="mail.example.org")
    assert objection("pop3", webmail="nextcloud", host="mail.example.org") == ""
    assert objection("pop3", webmail="exchange-2003", host="mail.example.org") == ""
    assert objection("imap", webmail="roundcube", host="mail.example.org:8443") == ""
    assert "no host" in objection("imap", webmail="roundcube")
    assert "hosts does not say" in objection("imap", webmail="roundcube", target="recipient")
    misspelt = objection("imap", webmail="roundcube", target="recipient", hosts={"eats": "e.example.org"})
    assert "nothing of east and west" in misspelt
    assert objection("imap", webmail="roundcube", target="recipient", hosts={"east": "e.example.org"}) == ""
    assert "no template" in objection("imap", webmail="custom")
    assert "{uid}" in objection("pop3", webmail="custom", template="https://mail.example.org/?{uid}")


def linker(session: SessionView, **options: Any) -> Any:
    loaded = inspect("meeting_links", MeetingLinks)
    values, wrong = read(loaded.model, options)
    assert values is not None, wrong
    (opened,) = [function for function in loaded.functions if function.hook == "session_opened"]
    arguments = {"session": session, "options": values}
    interests = opened.call(*[arguments[name] for name in opened.takes])
    return interests.annotator if interests is not None else None


def test_the_link_leads_where_the_settings_say_and_the_block_speaks_the_readers_language() -> None:
    octets = (ROOT / "tests" / "corpus" / "invite-outlook.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    scanner = scan(octets)
    bare = outline_of_message("", len(octets), scanner)
    outline = replace(bare, mailbox="Entw&APw-rfe", uid=7)
    session = SessionView("sid", "imap", "here", Peer("192.0.2.1", 1, "192.0.2.2", 2), user="alice@example.de", server="east")
    made = linker(
        session, webmail="roundcube", target="recipient", hosts={"east": "e.example.org"}, path="/rc/", languages={"*@example.de": "de"}
    )
    (number,) = made.wants(session, outline)
    place = scanner.places[number]
    encoding = next(part.encoding for part in outline.structure.walk() if part.number == number)
    insertions = made.insertions(session, outline, {number: decoded(octets[place.body : place.end], encoding)})
    link = "https://e.example.org/rc/?_task=mail&_action=show&_mbox=Entw%26APw-rfe&_uid=7"
    assert insertions[0].text.startswith("Besprechungsanfrage\n")
    assert insertions[0].text.endswith(f":\n{link}\n")
    assert all(link.replace("&", "&amp;") in each.text for each in insertions[1:])


@pytest.mark.parametrize(
    ("webmail", "mailbox", "link"),
    [
        ("roundcube", "Entw&APw-rfe", "/?_task=mail&_action=show&_mbox=Entw%26APw-rfe&_uid=7"),
        ("roundcube", "Entwürfe", "/?_task=mail&_action=show&_mbox=Entw%26APw-rfe&_uid=7"),
        ("sogo", "INBOX", "/SOGo/so/alice/Mail/view#!/Mail/0/INBOX/7"),
        ("sogo", "a/Entw&APw-rfe", "/SOGo/so/alice/Mail/view#!/Mail/0/a%252FEntw%2526APw-rfe/7"),
        ("horde", "Entw&APw-rfe", "/imp/dynamic.php?page=message&mailbox=RW50d8O8cmZl&buid=7"),
        ("zimbra", "INBOX", "/?view=msg&id=7"),
        ("zimbra", "Archive", None),
        ("exchange-2003", "inbox", "/exchange/alice/Inbox/Q1_xF8FF_Q2.EML?Cmd=open"),
        ("exchange-2003", "Archive", None),
        ("nextcloud", "Archive", None),
    ],
)
def test_each_preset_writes_the_mailbox_as_its_webmail_reads_it(webmail: str, mailbox: str, link: str | None) -> None:
    octets = (ROOT / "tests" / "corpus" / "invite-outlook.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    scanner = scan(octets)
    outline = replace(outline_of_message("", len(octets), scanner), mailbox=mailbox, uid=7, subject="Q1/Q2", message_id="<a/b@example.org>")
    session = SessionView("sid", "imap", "here", Peer("192.0.2.1", 1, "192.0.2.2", 2), user="alice")
    made = linker(session, webmail=webmail, host="m.example.org")
    wanted = made.wants(session, outline)
    if link is None:
        assert wanted is None
        return
    place = scanner.places[wanted[0]]
    encoding = next(part.encoding for part in outline.structure.walk() if part.number == wanted[0])
    insertions = made.insertions(session, outline, {wanted[0]: decoded(octets[place.body : place.end], encoding)})
    assert insertions[0].text.endswith(f"\nhttps://m.example.org{link}\n")


def test_some_users_and_programs_are_left_alone() -> None:
    session = SessionView("sid", "imap", "here", Peer("192.0.2.1", 1, "192.0.2.2", 2), user="alice", client_id={"name": "Outlook"})
    options = {"webmail": "roundcube", "host": "mail.example.org"}
    assert linker(session, **options) is not None
    assert linker(session, **options, exclude_users=["ALI*"]) is None
    assert linker(session, **options, exclude_clients=["outlook"]) is None


# -- the door


@pytest.mark.parametrize("options", [{"exclude_users": ["*"]}, {"read_texts": True, "event_language": True}, {"exclude_clients": ["x"]}])
def test_it_keeps_what_portico_promises_of_every_plugin(options: dict[str, Any]) -> None:
    own = [path.read_bytes() for path in sorted((ROOT / "tests" / "corpus").glob("*.eml"))]
    assert len(own) >= len(OWN)
    check_plugin(MeetingLinks, {"webmail": "nextcloud", "host": "mail.example.org", **options}, messages=own)
