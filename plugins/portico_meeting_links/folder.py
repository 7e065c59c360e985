"""A mailbox name as people read it.

Rule of this file: modified UTF-7 (RFC 3501 5.1.3) undone; what is none stays as it is.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from typing import Final

_SHIFTED: Final = re.compile(r"&([A-Za-z0-9+,]*)-")


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
