"""Writes the corpus: one message, one shape, in CRLF text.

Rule of this file: made by us, octet for octet the same each time; a test compares the files with it.

    python -m tests.corpus.make
"""

from __future__ import annotations

from pathlib import Path

from portico.demo import messages
from portico.demo.messages import b64, header, multipart, part


def corpus() -> dict[str, bytes]:
    """File names and contents."""
    m = messages
    made = {
        "plain": m.plain(1, "Plain", "Nothing to see.\n"),
        "quoted-printable": m.quoted_printable(2),
        "base64-text": m.base64_text(3),
        "eight-bit": m.eight_bit(4),
        "html-and-text": m.html_and_text(5),
        "attachments": m.attachments(6, size=30 * 1024),
        "forwarded": m.forwarded(7),
        "dots-and-long-lines": m.dots_and_long_lines(8),
        "invite-outlook": m.outlook_request(9),
        "invite-google": m.google_request(10),
        "invite-icloud": m.icloud_request(11),
        "invite-calendar-only": m.calendar_only_request(12),
        "meeting-reply": m.reply(13),
        "meeting-cancel": m.cancel(14),
        "no-body": header("No body", 15).encode(),
        "no-header": b"\r\nOnly a body.\r\n",
        "no-final-newline": m.plain(16, "No final newline", "The last line has no end"),
        "header-only-line": b"Subject: one line and no more",
        "empty-parts": (
            header("Empty parts", 17) + multipart("mixed", "=_empty", [part("text/plain", ""), part("text/html", "")])
        ).encode(),
        "missing-close-boundary": (header("No end", 18) + multipart("mixed", "=_open", [part("text/plain", "Text.\r\n")]))
        .replace("--=_open--\r\n", "")
        .encode(),
        "utf8-header": header("Ungekürzt", 19).replace("=?utf-8?q?Ungek=C3=BCrzt?=", "Ungekürzt").encode() + b"\r\nRFC 6532.\r\n",
        "folded-headers": (
            b"Subject: a subject\r\n that goes on\r\n\tand on\r\nTo: a@example.org,\r\n b@example.org,\r\n c@example.org\r\n"
            b"X-Empty:\r\n\r\nFolded.\r\n"
        ),
        "deep-nesting": (header("Deep", 20) + _nested(12)).encode(),
        "digest": (
            header("Digest", 21)
            + multipart("digest", "=_digest", ["\r\n" + m.plain(n, f"Part {n}", "One.\n").decode() for n in (91, 92, 93)])
        ).encode(),
        "signed": (
            header("Signed", 22)
            + 'Content-Type: multipart/signed; micalg="pgp-sha256"; protocol="application/pgp-signature"; boundary="=_sig"\r\n\r\n'
            "--=_sig\r\nContent-Type: text/plain\r\n\r\nSigned text.\r\n\r\n--=_sig\r\nContent-Type: application/pgp-signature\r\n\r\n"
            "-----BEGIN PGP SIGNATURE-----\r\n\r\nmade up\r\n-----END PGP SIGNATURE-----\r\n\r\n--=_sig--\r\n"
        ).encode(),
        "utf16-text": (
            header("UTF-16", 23) + part("text/plain; charset=utf-16", b64("Grüße\r\n".encode("utf-16")), encoding="base64")
        ).encode(),
        "looks-like-protocol": m.plain(24, "* OK [ALERT]", "a1 OK FETCH completed\n* BYE\n+ go ahead\n+OK\n-ERR\n) {5}\n\n.\n"),
    }
    return {f"{name}.eml": octets for name, octets in made.items()}


def _nested(depth: int) -> str:
    entity = part("text/plain", "At the bottom.\r\n")
    for level in range(depth):
        entity = multipart("mixed", f"=_level{level}", [entity])
    return entity


if __name__ == "__main__":
    for name, octets in corpus().items():
        (Path(__file__).parent / name).write_bytes(octets)
