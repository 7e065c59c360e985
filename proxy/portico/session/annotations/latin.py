"""Text in fewer characters: for parts whose charset has not all of them.

Rule of this file: a character is replaced by what a reader takes for it, never by a question mark; where there is nothing of the kind, the
text cannot be written so. Umlauts are written ae, oe, ue (ICAO Doc 9303-3, 6 A): right in German, and understood in Swedish and Turkish;
other letters lose their marks. Decoration (symbols, emoji, marks without a letter) is left out.
"""

from __future__ import annotations

import unicodedata
from typing import Final

_LETTERS: Final = {
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE",
    "ø": "oe", "Ø": "OE", "å": "aa", "Å": "AA", "þ": "th", "Þ": "TH", "ð": "d", "Ð": "D", "đ": "d", "Đ": "D", "ħ": "h", "Ħ": "H", "ı": "i",
    "ł": "l", "Ł": "L", "ŧ": "t", "Ŧ": "T", "ŋ": "n", "Ŋ": "N",
}  # fmt: skip
_SIGNS: Final = {
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "‹": "'", "›": "'", "′": "'",
    "“": '"', "”": '"', "„": '"', "‟": '"', "«": '"', "»": '"', "″": '"',
    "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "―": "-", "−": "-", "·": "-", "•": "*", "∙": "*", "…": "...",
    "→": "->", "←": "<-", "⇒": "=>", "×": "x", "÷": "/", "⁄": "/", "€": "EUR", "£": "GBP", "¥": "JPY", "¿": "", "¡": "",
}  # fmt: skip
_DECORATION: Final = frozenset(["So", "Sk", "Cf", "Mn", "Me", "Cc", "Co"])


def written(text: str, charset: str, *, seven_bits: bool) -> bytes | None:
    """`text`, a line without controls, in a charset (Python's name of one that has ASCII in it); None: it cannot be written so."""
    octets = _encoded(text, charset, seven_bits)
    if octets is not None:
        return octets
    out: list[str] = []
    for character in text:
        if _encoded(character, charset, seven_bits) is None:
            replacement = _replacement(character)
            if replacement is None:
                return None
            out.append(replacement)
        else:
            out.append(character)
    return _encoded("".join(out), charset, seven_bits)


def _encoded(text: str, charset: str, seven_bits: bool) -> bytes | None:
    try:
        octets = text.encode(charset)
    except ValueError:
        return None
    return octets if not seven_bits or octets.isascii() else None


def _replacement(character: str) -> str | None:
    """ASCII in place of a character."""
    out = ""
    for each in _LETTERS.get(character) or unicodedata.normalize("NFKD", character):
        found = each if each.isascii() else _LETTERS.get(each, _SIGNS.get(each))
        if found is None and unicodedata.category(each) in _DECORATION:
            found = ""
        if found is None:
            return " " if each.isspace() else None
        out += found
    return out
