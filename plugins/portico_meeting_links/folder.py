"""A mailbox name as people read it, and as IMAP writes it.

Rule of this file: modified UTF-7 (RFC 3501 5.1.3), undone and done; what is none stays as it is. A client that has enabled UTF8=ACCEPT
(RFC 9755) names mailboxes in Unicode: both names give the same.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, b2a_base64
from typing import Final

_SHIFTED: Final = re.compile(r"&([A-Za-z0-9+,]*)-")


_OTHERS: Final = re.compile(r"[^ -~]+")


def readable(mailbox: str) -> str:
    return _SHIFTED.sub(_unshifted, mailbox)


def _unshifted(found: re.Match[str]) -> str:
    if not found[1]:
        return "&"
    digits = found[1].replace(",", "/")
    try:
        return a2b_base64(digits + "=" * (-len(digits) % 4)).decode("utf-16-be")
    except (Error, UnicodeDecodeError):
        return found[0]


def written(folder: str) -> str:
    return _OTHERS.sub(_shifted, folder.replace("&", "&-"))


def _shifted(found: re.Match[str]) -> str:
    octets = found[0].encode("utf-16-be", "surrogatepass")
    return "&" + b2a_base64(octets, newline=False).decode().rstrip("=").replace("/", ",") + "-"
