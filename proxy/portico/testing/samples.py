"""Messages that an annotator is asked about: what mail looks like, and what it should not look like but does.

Rule of this file: made by hand; each is of one kind, and its name says which. A meeting request is only one of them.
"""

from __future__ import annotations

from typing import Final

_HEADER: Final = "From: =?UTF-8?Q?B=C3=B6b?= <bob@example.org>\nTo: alice@example.org\nSubject: =?UTF-8?B?w4RwZmVs?= & more\n"
_KNOWN: Final = "Message-ID: <a.1@example.org>\nDate: Tue, 1 Sep 2026 09:00:00 +0200\n"
_PLAIN: Final = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße, see http://example.org/.\n"
_FLOWED: Final = "Content-Type: text/plain; charset=us-ascii; format=flowed\n\nA text \nthat flows.\n"
_HTML: Final = (
    "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
    '<html><body class=3D"x"><p>Gr=C3=BC=C3=9Fe</p></body></html>\n'
)
_BASE64: Final = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nR3LDvMOfZSBhdXMgS8O2bG4KCg==\n"
_FILE: Final = (
    "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
    "Content-Disposition: attachment; filename=a.bin\n\nAAECAw==\n"
)
_NOTE: Final = 'Content-Type: text/plain; name="note.txt"\nContent-Disposition: attachment; filename="note.txt"\n\nA note.\n'
_EVENT: Final = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Portico//samples//EN\nMETHOD:REQUEST\nBEGIN:VEVENT\nUID:1@example.org\nDTSTAMP:20260901T070000Z\n"
    "DTSTART:20300514T080000Z\nDTEND:20300514T090000Z\nSUMMARY:Budget\nORGANIZER:mailto:bob@example.org\nEND:VEVENT\nEND:VCALENDAR\n"
)
_REQUEST: Final = "Content-Type: text/calendar; charset=utf-8; method=REQUEST\n\n" + _EVENT
_REPLY: Final = "Content-Type: text/calendar; charset=utf-8; method=REPLY\n\n" + _EVENT.replace("REQUEST", "REPLY")
_SIGNATURE: Final = "Content-Type: application/pgp-signature\n\n-----BEGIN PGP SIGNATURE-----\n"


def _multipart(kind: str, edge: str, *parts: str) -> str:
    return f'Content-Type: multipart/{kind}; boundary="{edge}"\n\n' + "".join(f"--{edge}\n{part}\n" for part in parts) + f"--{edge}--\n"


def _message(body: str, known: str = _KNOWN) -> bytes:
    return f"{_HEADER}{known}MIME-Version: 1.0\n{body}".replace("\n", "\r\n").encode()


MESSAGES: Final = {
    "a text": _message(_PLAIN),
    "a text that flows": _message(_FLOWED),
    "a text in base64": _message(_BASE64),
    "HTML alone": _message(_HTML),
    "a text and HTML": _message(_multipart("alternative", "a", _PLAIN, _HTML)),
    "HTML with a picture": _message(
        _multipart("related", "r", _HTML, "Content-Type: image/png\nContent-Transfer-Encoding: base64\nContent-ID: <p>\n\nAAEC\n")
    ),
    "a file": _message(_multipart("mixed", "m", _PLAIN, _FILE, _NOTE)),
    "a file alone": _message(_FILE),
    "a forwarded message": _message(
        _multipart("mixed", "m", _FLOWED, "Content-Type: message/rfc822\n\n" + _message(_HTML).decode().replace("\r\n", "\n"))
    ),
    "a meeting request": _message(_multipart("alternative", "a", _PLAIN, _HTML, _REQUEST)),
    "a meeting request with a file": _message(_multipart("mixed", "m", _multipart("alternative", "a", _PLAIN, _REQUEST), _FILE)),
    "a meeting request alone": _message(_REQUEST),
    "an answer to a meeting request": _message(_multipart("alternative", "a", _PLAIN, _REPLY)),
    "a signed text": _message(_multipart("signed", "s", _PLAIN, _SIGNATURE)),
    "a digest": _message(_multipart("digest", "d", "\n" + _message(_PLAIN).decode().replace("\r\n", "\n"))),
    "a delivery report": _message(
        _multipart("report", "r", _FLOWED, "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mail.example.org\n")
    ),
    "no Message-ID, no Date, no end": _message('Content-Type: multipart/mixed; boundary="m"\n\n--m\n' + _REQUEST, ""),
    "an unknown charset": _message("Content-Type: text/plain; charset=x-klingon\n\nnuqneH\n"),
    "an empty text": _message("Content-Type: text/plain\n\n"),
    "multiparts in multiparts": _message(_multipart("mixed", "q", *[_multipart("mixed", f"q{n}", _FLOWED, _FLOWED) for n in range(9)])),
}
"""Complete messages with CRLF, by what they are."""
