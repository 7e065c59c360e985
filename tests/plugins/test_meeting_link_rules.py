"""Which messages carry a link, and in which of their parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from portico.plugin import Insertion, Session
from portico.plugin.loading import inspect
from portico.plugin.options import read
from portico.session.annotations.outline import outline_of_message
from portico.session.context import Peer
from portico.wire.bodystructure import decoded
from portico.wire.mime import scan
from portico_meeting_links import MeetingLinks

INVITES = Path(__file__).resolve().parents[3] / "shared" / "corpus" / "invites"
OPTIONS = {"webmail": "nextcloud", "host": "mail.example.org"}
CALENDAR = "BEGIN:VCALENDAR\nMETHOD:REQUEST\nBEGIN:VEVENT\nSUMMARY:Budget\nDTSTART:20260310T090000Z\nEND:VEVENT\nEND:VCALENDAR\n"


def mime(kind: str, body: str, more: str = "") -> str:
    return f"Content-Type: {kind}\n{more}\n{body}"


def multipart(kind: str, *parts: str) -> str:
    edge = f"edge{abs(hash(parts))}"
    return mime(f'multipart/{kind}; boundary="{edge}"', "".join(f"--{edge}\n{part}\n" for part in parts) + f"--{edge}--\n")


PLAIN = mime("text/plain", "You are invited.\n")
HTML = mime("text/html", "<p>You are invited.</p>\n")
REQUEST = mime("text/calendar; method=REQUEST", CALENDAR)
SHOWN = "Content-Disposition: inline; filename=a.txt\n"
ATTACHED = "Content-Disposition: attachment; filename=a.txt\n"


def session(protocol: Any) -> Session:
    return Session("sid", protocol, "here", Peer("192.0.2.1", 1, "192.0.2.2", 2), user="alice@example.org", server="mail")


def insertions(message: str | bytes, protocol: str = "imap", **options: Any) -> tuple[list[Insertion], list[str]]:
    """What goes into a message, and which parts of it were read to know that."""
    octets = (
        message if isinstance(message, bytes) else f"Message-ID: <a@example.org>\nSubject: Budget\nMIME-Version: 1.0\n{message}".encode()
    )
    octets = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    scanner = scan(octets)
    outline = outline_of_message("uidl", len(octets), scanner)
    loaded = inspect("meeting_links", MeetingLinks)
    values, wrong = read(loaded.model, OPTIONS | options)
    assert values is not None, wrong
    opened = next(function for function in loaded.functions if function.hook == "session_opened")
    at = session(protocol)
    interests = opened.call(*[{"session": at, "options": values}[name] for name in opened.takes])
    wanted = interests.annotator.wants(at, outline)
    if wanted is None:
        return [], []
    encodings = {part.number: part.encoding for part in outline.structure.walk()}
    places = scanner.places
    parts = {number: decoded(octets[places[number].body : places[number].end], encodings[number]) for number in wanted}
    return list(interests.annotator.insertions(at, outline, parts)), list(wanted)


def numbers(message: str | bytes, protocol: str = "imap", **options: Any) -> list[str]:
    return [each.part for each in insertions(message, protocol, **options)[0]]


LINKED = {
    "as Exchange sends it": (multipart("alternative", PLAIN, HTML, REQUEST), ["1", "2"]),
    "as Google sends it": (
        multipart("mixed", multipart("alternative", PLAIN, HTML, REQUEST), mime("application/ics", CALENDAR, ATTACHED)), ["1.1", "1.2"],
    ),
    "as iCloud sends it": (multipart("mixed", PLAIN, mime("text/calendar; method=REQUEST", CALENDAR, ATTACHED)), ["1"]),
    "HTML with pictures": (multipart("alternative", multipart("related", HTML, mime("image/png", "x\n")), REQUEST), ["1.1"]),
    "a twin that has no method": (
        multipart("mixed", multipart("alternative", PLAIN, REQUEST), mime("text/calendar", CALENDAR, ATTACHED)), ["1.1"],
    ),
    "the twin first": (multipart("mixed", mime("text/calendar", CALENDAR, ATTACHED), PLAIN, REQUEST), ["2"]),
    "two of one method": (multipart("mixed", PLAIN, REQUEST, mime("text/calendar; method=request", CALENDAR, ATTACHED)), ["1"]),
    "with a text file": (multipart("mixed", multipart("alternative", PLAIN, REQUEST), mime("text/plain", "x\n", ATTACHED)), ["1.1"]),
    "with a text file that is shown": (
        multipart("mixed", multipart("alternative", PLAIN, REQUEST), mime("text/plain", "x\n", SHOWN)),
        ["1.1"],
    ),
    "with a text file that only its type names": (
        multipart("mixed", multipart("alternative", PLAIN, REQUEST), mime("text/html; name=a.html", "<p>x</p>\n")), ["1.1"],
    ),
    "with other people's messages": (
        multipart("mixed", PLAIN, REQUEST, multipart("digest", mime("message/rfc822", PLAIN)), mime("message/rfc822", HTML)), ["1"],
    ),
    "with texts in a digest": (multipart("mixed", PLAIN, REQUEST, multipart("digest", PLAIN)), ["1"]),
}  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), LINKED.values(), ids=LINKED.keys())
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_request_carries_its_link_in_what_its_sender_wrote(message: str, expected: list[str], protocol: str) -> None:
    assert numbers(message, protocol) == expected


UNTOUCHED = {
    "a calendar alone": REQUEST,
    "a calendar without a text": multipart("mixed", REQUEST),
    "no method in the header": multipart("mixed", PLAIN, mime("text/calendar", CALENDAR)),
    "no method in the object": multipart("mixed", PLAIN, mime("text/calendar; method=REQUEST", CALENDAR.replace("METHOD:REQUEST\n", ""))),
    "methods that disagree": multipart("mixed", PLAIN, mime("text/calendar; method=REQUEST", CALENDAR.replace("REQUEST", "CANCEL"))),
    "the other way round": multipart("mixed", PLAIN, mime("text/calendar; method=CANCEL", CALENDAR)),
    "two methods": multipart("mixed", PLAIN, REQUEST, mime("text/calendar; method=CANCEL", CALENDAR)),
    "application/ics alone": multipart("mixed", PLAIN, mime("application/ics; method=REQUEST", CALENDAR)),
    "a task": multipart("mixed", PLAIN, mime("text/calendar; method=REQUEST", CALENDAR.replace("VEVENT", "VTODO"))),
    "free or busy": multipart("mixed", PLAIN, mime("text/calendar; method=REQUEST", CALENDAR.replace("VEVENT", "VFREEBUSY"))),
    "forwarded": multipart("mixed", PLAIN, mime("message/rfc822", multipart("alternative", PLAIN, REQUEST))),
    "in a digest": multipart("mixed", PLAIN, multipart("digest", mime("message/rfc822", multipart("mixed", PLAIN, REQUEST)))),
    "in a digest, by itself": multipart("mixed", PLAIN, multipart("digest", REQUEST)),
    "a digest that is the whole": multipart("digest", PLAIN, REQUEST),
    "signed": multipart("signed", multipart("alternative", PLAIN, REQUEST), mime("application/pgp-signature", "x\n")),
    "signed, and a footer added": multipart("mixed", multipart("signed", multipart("alternative", PLAIN, REQUEST), PLAIN), PLAIN),
    "signed, its wrapping lost": multipart("mixed", PLAIN, REQUEST, mime("application/pkcs7-signature", "x\n")),
    "encrypted": multipart("encrypted", mime("application/pgp-encrypted", "x\n"), multipart("mixed", PLAIN, REQUEST)),
    "S/MIME beside it": multipart("mixed", PLAIN, REQUEST, mime("application/pkcs7-mime", "x\n")),
    "S/MIME by its old name": multipart("mixed", PLAIN, REQUEST, mime("application/x-pkcs7-mime", "x\n")),
    "TNEF beside it": multipart("mixed", PLAIN, REQUEST, mime("application/ms-tnef", "x\n")),
    "TNEF by its newer name": multipart("mixed", PLAIN, REQUEST, mime("application/vnd.ms-tnef", "x\n")),
    "PGP that its type tells": multipart("mixed", mime("text/plain; x-action=pgp-encrypted", "x\n"), REQUEST),
    "a broken calendar": multipart("mixed", PLAIN, mime("text/calendar; method=REQUEST", CALENDAR.replace("END:VEVENT\n", ""))),
}


@pytest.mark.parametrize("message", UNTOUCHED.values(), ids=UNTOUCHED.keys())
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_all_else_is_left_alone(message: str, protocol: str) -> None:
    assert numbers(message, protocol, read_texts=True) == []


@pytest.mark.parametrize("method", ["REPLY", "CANCEL", "COUNTER", "DECLINECOUNTER", "ADD", "REFRESH", "PUBLISH", "X-REQUEST", "REQUESTS"])
def test_only_a_request_is_a_request(method: str) -> None:
    part = mime(f"text/calendar; method={method}", CALENDAR.replace("METHOD:REQUEST", f"METHOD:{method}"))
    assert numbers(multipart("alternative", PLAIN, part)) == []


# -- texts that have a link already


OWA = "https://mail.example.net/owa/?ItemID=AAMk%3D&exvsurl=1&viewmodel=ReadMessageItem"
FULL = {
    "a link of OWA": f"To answer:\n{OWA}\n",
    "a link of OWA in HTML": f'<a href="{OWA.replace("&", "&amp;")}">Answer</a>\n',
    "a link of Exchange 2003": "http://mail/exchange/alice/Inbox/Budget%20again.EML\n",
    "our own link": "https://mail.example.org/apps/mail/open/a%40example.org\n",
    "our own link to another copy": "https://mail.example.org/apps/mail/open/b%40example.org\n",
    "PGP, encrypted": "-----BEGIN PGP MESSAGE-----\n\nx\n-----END PGP MESSAGE-----\n",
    "PGP, signed": "Hello\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n",
}


@pytest.mark.parametrize("text", FULL.values(), ids=FULL.keys())
def test_a_text_with_a_link_already_or_pgp_in_it_gets_none_where_texts_are_read(text: str) -> None:
    kind = "text/html" if text.startswith("<") else "text/plain"
    message = multipart("alternative", PLAIN, mime(kind, text), REQUEST)
    assert numbers(message, "pop3") == []
    assert numbers(message, "imap", read_texts=True) == []


@pytest.mark.parametrize(
    "text",
    [
        "https://mail.example.net/owa/\n",
        "https://mail.example.org/\n",
        "https://mail.example.org.example.net/apps/mail/open/x\n",
        "See https://example.net/exchange/rates.html and -----BEGIN PGP MESSAGE-----\n",
        "http://" * 2000 + "\n",
        "",
    ],
)
def test_other_addresses_are_no_link_to_answer_with(text: str) -> None:
    assert numbers(multipart("alternative", mime("text/plain", text + "Hello\n"), REQUEST), "pop3") == ["1"]


def test_over_imap_no_text_is_read_unless_that_is_wanted() -> None:
    message = multipart("alternative", PLAIN, HTML, REQUEST)
    assert insertions(message)[1] == ["3"]
    assert insertions(message, read_texts=True)[1] == ["3", "1", "2"]
    assert insertions(message, "pop3")[1] == ["3", "1", "2"]


def test_a_text_that_is_too_long_is_not_read() -> None:
    long = mime("text/plain", "x" * 70 + "\n" + ("y" * 70 + "\n") * 4000)
    assert insertions(multipart("alternative", long, HTML, REQUEST), "pop3")[1] == ["3", "2"]


# -- links that would be dead


def test_a_message_without_message_id_gets_no_link_that_needs_one() -> None:
    octets = ("Subject: x\n" + multipart("alternative", PLAIN, REQUEST)).encode()
    assert numbers(octets) == []
    assert numbers(octets, webmail="custom", template="https://mail.example.org/?s={subject}") == ["1"]


def test_a_message_id_of_two_dots_is_no_step_in_the_path() -> None:
    octets = ("Message-ID: <..>\n" + multipart("alternative", PLAIN, REQUEST)).encode()
    assert numbers(octets) == []


def test_exchange_2003_knows_its_inbox_only() -> None:
    assert numbers(multipart("alternative", PLAIN, REQUEST), "pop3", webmail="exchange-2003") == ["1"]
    linker = inspect("meeting_links", MeetingLinks)
    values, _ = read(linker.model, OPTIONS | {"webmail": "exchange-2003"})
    annotator = MeetingLinks().session_opened(session("imap"), values).annotator  # type: ignore[union-attr]
    octets = ("Subject: Budget\n" + multipart("alternative", PLAIN, REQUEST)).encode().replace(b"\n", b"\r\n")
    outline: Any = outline_of_message("", len(octets), scan(octets))
    other: Any = SimpleNamespace(
        **{name: getattr(outline, name) for name in ("structure", "uid", "message_id", "subject")}, mailbox="Archive"
    )
    assert annotator.wants(session("imap"), outline) == ("2",)  # type: ignore[union-attr]
    assert annotator.wants(session("imap"), other) is None  # type: ignore[union-attr]


# -- the larger corpus: every row that leaves it to us


POLICY: Mapping[str, tuple[list[str], list[str]]] = {
    "013": ([], []),  # METHOD inside only: a file that somebody attached
    "014": ([], []),
    "020": ([], []),  # nothing but a calendar: no part is added, and the calendar is never touched
    "023": ([], []),
    "024": ([], []),
    "028": ([], []),
    "033": ([], []),
    "034": ([], []),
    "035": ([], []),  # methods that disagree
    "037": ([], []),
    "038": ([], []),
    "039": ([], []),
    "040": (["1", "2"], []),  # an OWA link is in the text: seen where texts are read
    "041": ([], []),  # application/ics only
    "060": ([], []),
    "061": (["1", "2"], ["1", "2"]),  # no closing boundary: the block goes in, nothing is repaired
    "073": ([], []),
    "077": (["1", "2"], ["1", "2"]),  # two calendars in a part: one link, to the message
}
"""By the number of the message: where its links are over IMAP, and over POP3 (and over IMAP with `read_texts`)."""


@pytest.mark.skipif(not INVITES.is_dir(), reason="the larger corpus is not beside the project")
def test_each_row_of_the_larger_corpus_that_leaves_a_choice_is_decided() -> None:
    listed = (INVITES / "SOURCES.md").read_text("utf-8").splitlines()
    rows = [line.split("|")[1].strip() for line in listed if line.startswith("| 0") and "| POLICY" in line]
    assert sorted(row[:3] for row in rows) == sorted(POLICY)
    found = {row[:3]: (numbers((INVITES / row).read_bytes()), numbers((INVITES / row).read_bytes(), "pop3")) for row in rows}
    assert found == POLICY
    again = {row[:3]: numbers((INVITES / row).read_bytes(), read_texts=True) for row in rows}
    assert again == {number: pop3 for number, (_, pop3) in POLICY.items()}


@pytest.mark.skipif(not INVITES.is_dir(), reason="the larger corpus is not beside the project")
@pytest.mark.parametrize("options", [{}, {"read_texts": True}])
def test_each_row_of_the_larger_corpus_that_leaves_none_is_as_it_says(options: dict[str, bool]) -> None:
    wrong = []
    for line in (INVITES / "SOURCES.md").read_text("utf-8").splitlines():
        name, word = ([*line.split("|"), "", "", ""][column].strip() for column in (1, 3))
        path = INVITES / name
        if word.startswith(("LINK", "UNTOUCHED")) and not word.startswith("UNTOUCHED: file does not start") and path.is_file():
            found = numbers(path.read_bytes(), webmail="custom", template="https://mail.example.org/?s={subject}", **options)
            if bool(found) != word.startswith("LINK"):
                wrong.append((name, word, found))
    assert wrong == []
