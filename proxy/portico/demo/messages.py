"""Messages worth looking at, octet for octet the same at every run.

Rule of this file: each function gives finished CRLF text; no clock, no random numbers, nobody's real mail.
"""

from __future__ import annotations

import base64
import hashlib
import quopri
from collections.abc import Sequence
from email.header import Header

DOMAIN = "example.org"


def header(
    subject: str, number: int, *, sender: str = f"Bob Builder <bob@{DOMAIN}>", to: str = f"Alice <alice@{DOMAIN}>", more: str = ""
) -> str:
    """The head of message `number` without its content fields; `more` is finished header lines."""
    encoded = Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n") if not subject.isascii() else subject
    return (
        f"From: {sender}\r\nTo: {to}\r\nSubject: {encoded}\r\n"
        f"Date: Mon, 04 May 2026 09:{number:02d}:00 +0200\r\nMessage-ID: <demo-{number}@{DOMAIN}>\r\n{more}MIME-Version: 1.0\r\n"
    )


def crlf(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\n", "\r\n")


def b64(octets: bytes) -> str:
    """Base64 in lines of 76 characters (RFC 2045 6.8)."""
    return base64.encodebytes(octets).decode("ascii").replace("\n", "\r\n")


def qp(text: str, charset: str = "utf-8") -> str:
    return crlf(quopri.encodestring(text.encode(charset)).decode("ascii"))


def noise(size: int, seed: str) -> bytes:
    """Octets that do not compress, the same for the same seed."""
    blocks = (hashlib.sha256(f"{seed}/{number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def part(content_type: str, body: str, *, encoding: str = "7bit", more: str = "") -> str:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n{more}\r\n{body}"


def multipart(subtype: str, boundary: str, parts: Sequence[str]) -> str:
    """A multipart entity from its Content-Type line on; each part ends before its boundary's CRLF."""
    inner = "".join(f"--{boundary}\r\n{piece}\r\n" for piece in parts)
    return f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n\r\n{inner}--{boundary}--\r\n'


def plain(
    number: int, subject: str, text: str, *, sender: str = f"Bob Builder <bob@{DOMAIN}>", to: str = f"Alice <alice@{DOMAIN}>"
) -> bytes:
    return (header(subject, number, sender=sender, to=to) + part("text/plain; charset=us-ascii", crlf(text))).encode("ascii")


def quoted_printable(number: int) -> bytes:
    text = "Grüße aus Köln!\n\nDie Größe stimmt, das Gewicht auch: 3 × 4 kg = 12 kg.\nZażółć gęślą jaźń. Ελληνικά. Русский. 日本語。\n"
    sender = Header("Jürgen Groß", "utf-8").encode() + f" <juergen@{DOMAIN}>"
    return (
        header("Grüße und Größe", number, sender=sender) + part("text/plain; charset=utf-8", qp(text), encoding="quoted-printable")
    ).encode("ascii")


def base64_text(number: int) -> bytes:
    text = "こんにちは。\r\n会議は三時からです。\r\n" * 6
    return (header("会議のお知らせ", number) + part("text/plain; charset=utf-8", b64(text.encode()), encoding="base64")).encode("ascii")


def eight_bit(number: int) -> bytes:
    """Latin-1 as it is, unencoded."""
    text = header("Rechnung", number) + part("text/plain; charset=iso-8859-1", "Betrag: 12,50 \xa4 f\xfcr K\xe4se\r\n", encoding="8bit")
    return text.encode("latin-1")


def html_and_text(number: int) -> bytes:
    text = part("text/plain; charset=utf-8", qp("Unser Rundbrief: alles bleibt besser.\n"), encoding="quoted-printable")
    html = part(
        "text/html; charset=utf-8",
        qp("<html><body><h1>Rundbrief</h1><p>Alles bleibt <b>besser</b>.</p></body></html>\n"),
        encoding="quoted-printable",
    )
    return (header("Rundbrief", number) + multipart("alternative", "=_rundbrief", [text, html])).encode("ascii")


def attachments(number: int, size: int = 200 * 1024) -> bytes:
    """A text, a tiny picture and a file of `size` octets with a non-ASCII name (RFC 2231)."""
    picture = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPj/HwADAgH/p+s9WQAAAABJRU5ErkJggg==")
    parts = [
        part("text/plain; charset=us-ascii", "Plan and picture attached.\r\n"),
        part('image/png; name="dot.png"', b64(picture), encoding="base64", more='Content-Disposition: attachment; filename="dot.png"\r\n'),
        part(
            "application/octet-stream",
            b64(noise(size, "plan")),
            encoding="base64",
            more="Content-Disposition: attachment; filename*=utf-8''Pl%C3%A4ne%20und%20Ma%C3%9Fe.bin\r\n",
        ),
    ]
    return (header("Plan and picture", number) + multipart("mixed", "=_plan", parts)).encode("ascii")


def forwarded(number: int) -> bytes:
    inner = plain(90, "The original", "This is the letter that was forwarded.\n").decode("ascii")
    parts = [part("text/plain; charset=us-ascii", "See below.\r\n"), f"Content-Type: message/rfc822\r\n\r\n{inner}"]
    return (header("Fwd: The original", number) + multipart("mixed", "=_forward", parts)).encode("ascii")


def dots_and_long_lines(number: int) -> bytes:
    """Lines that POP3 has to stuff (RFC 1939 3), one that looks like an end, one of 998 octets (RFC 5322 2.1.1)."""
    text = ".\n..\n.starts with a dot\n* 1 EXISTS looks like a response\na1 OK neither is this\n{12}\n" + "x" * 998 + "\n\n.\n"
    return plain(number, "Dots and long lines", text)


def calendar(
    number: int,
    summary: str,
    *,
    method: str = "REQUEST",
    organizer: str = f"bob@{DOMAIN}",
    product: str = "-//Portico//demo//EN",
    more: str = "",
) -> str:
    """An iTIP object (RFC 5546) with one event."""
    uid = f"UID:meeting-{number}@{DOMAIN}"
    return crlf(
        f"BEGIN:VCALENDAR\nPRODID:{product}\nVERSION:2.0\nMETHOD:{method}\nBEGIN:VEVENT\n{uid}\nSEQUENCE:0\nDTSTAMP:20260504T070000Z\n"
        f"DTSTART:20300514T080000Z\nDTEND:20300514T090000Z\nSUMMARY:{summary}\nLOCATION:Room 4\nORGANIZER:mailto:{organizer}\n"
        f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:alice@{DOMAIN}\n{more}END:VEVENT\nEND:VCALENDAR\n"
    )


def outlook_request(number: int) -> bytes:
    """As Outlook and Exchange send it: alternative of text, HTML and calendar, base64 calendar."""
    ics = calendar(number, "Quartalsplanung", product="Microsoft Exchange Server 2010", more="X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE\n")
    parts = [
        part("text/plain; charset=utf-8", qp("When: Tuesday, 14 May 2030 10:00-11:00\nWhere: Room 4\n"), encoding="quoted-printable"),
        part("text/html; charset=utf-8", qp("<html><body><p>Quartalsplanung, Room 4</p></body></html>\n"), encoding="quoted-printable"),
        part("text/calendar; charset=utf-8; method=REQUEST", b64(ics.encode()), encoding="base64"),
    ]
    more = "Content-Class: urn:content-classes:calendarmessage\r\n"
    return (header("Quartalsplanung", number, more=more) + multipart("alternative", "_000_demoexchange_", parts)).encode("ascii")


def google_request(number: int) -> bytes:
    """As Google Calendar sends it: alternative inside mixed, and an application/ics twin."""
    ics = calendar(number, "Lunch talk", product="-//Google Inc//Google Calendar 70.9054//EN", organizer=f"carol@{DOMAIN}")
    alternative = multipart(
        "alternative",
        "000000000000demoalt",
        [
            part(
                "text/plain; charset=UTF-8",
                b64(b"You have been invited to the following event.\r\n\r\nTitle: Lunch talk\r\n"),
                encoding="base64",
            ),
            part(
                "text/html; charset=UTF-8",
                qp("<html><body>You have been invited: <b>Lunch talk</b></body></html>\n"),
                encoding="quoted-printable",
            ),
            part("text/calendar; charset=UTF-8; method=REQUEST", ics),
        ],
    )
    twin = part(
        'application/ics; name="invite.ics"',
        b64(ics.encode()),
        encoding="base64",
        more='Content-Disposition: attachment; filename="invite.ics"\r\n',
    )
    mail = header("Invitation: Lunch talk", number, sender=f"Carol <carol@{DOMAIN}>")
    return (mail + multipart("mixed", "000000000000demomix", [alternative, twin])).encode("ascii")


def icloud_request(number: int) -> bytes:
    """As iCloud sends it: the calendar part is an attachment beside the text."""
    ics = calendar(number, "Walk in the park", product="-//Apple Inc.//iCloud//EN", organizer=f"dave@{DOMAIN}")
    parts = [
        part("text/plain; charset=utf-8", qp("dave invited you to “Walk in the park”.\n"), encoding="quoted-printable"),
        part(
            "text/calendar; method=REQUEST; charset=UTF-8; name=iCal.ics",
            qp(ics),
            encoding="quoted-printable",
            more="Content-Disposition: attachment; filename=iCal.ics\r\n",
        ),
    ]
    return (header("Walk in the park", number, sender=f"Dave <dave@{DOMAIN}>") + multipart("mixed", "Apple-Mail-demo", parts)).encode(
        "ascii"
    )


def calendar_only_request(number: int) -> bytes:
    """As some servers send it: nothing but the calendar."""
    text = header("Stand-up", number) + part("text/calendar; charset=utf-8; method=REQUEST", calendar(number, "Stand-up"))
    return text.encode("ascii")


def reply(number: int) -> bytes:
    """An answer to a request; not itself one."""
    parts = [
        part("text/plain; charset=us-ascii", "Bob has accepted.\r\n"),
        part("text/calendar; charset=utf-8; method=REPLY", calendar(number, "Quartalsplanung", method="REPLY")),
    ]
    return (header("Accepted: Quartalsplanung", number) + multipart("alternative", "=_reply", parts)).encode("ascii")


def cancel(number: int) -> bytes:
    """The meeting is off; not a request."""
    parts = [
        part("text/plain; charset=us-ascii", "The lunch talk is cancelled.\r\n"),
        part("text/calendar; charset=utf-8; method=CANCEL", calendar(number, "Lunch talk", method="CANCEL", more="STATUS:CANCELLED\n")),
    ]
    return (header("Cancelled: Lunch talk", number) + multipart("alternative", "=_cancel", parts)).encode("ascii")
