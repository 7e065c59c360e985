"""What a charset cannot say is said in Latin letters, or not at all; never by a question mark."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.session.annotations.latin import written


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("Besprechung für Öffentlichkeitsmaß", b"Besprechung fuer Oeffentlichkeitsmass"),
        ("Réunion à Łódź, Århus, Malmö", b"Reunion a Lodz, AArhus, Malmoe"),
        ("„Gruß“ – 5 €… → ½", b'"Gruss" - 5 EUR... -> 1/2'),
        ("📅 Lunch\u200b\u00a0now\ufe0f", b" Lunch now"),
        ("ﬁn Ⅳ e\u0301", b"fin IV e"),
        ("?", b"?"),
    ],
)
def test_letters_lose_their_marks_and_decoration_goes(text: str, octets: bytes) -> None:
    assert written(text, "ascii", seven_bits=True) == octets


@pytest.mark.parametrize("text", ["Встреча", "会議", "اجتماع", "a ≤ b", "Łódź и"])
def test_another_script_cannot_be_written(text: str) -> None:
    assert written(text, "ascii", seven_bits=True) is None


def test_a_charset_is_used_as_far_as_it_goes() -> None:
    assert written("Grüße – 会議", "shift_jis", seven_bits=False) == b"Gruesse - " + "会議".encode("shift_jis")
    assert written("Grüße", "latin_1", seven_bits=False) == b"Gr\xfc\xdfe"
    assert written("Grüße", "latin_1", seven_bits=True) == b"Gruesse"
    assert written("会議", "iso2022_jp", seven_bits=True) == "会議".encode("iso2022_jp")


@given(
    st.text(st.characters(exclude_categories=["Cc"])),
    st.sampled_from(["ascii", "utf_8", "latin_1", "cp1251", "iso2022_jp", "gb18030"]),
    st.booleans(),
)
def test_what_is_written_can_be_read(text: str, charset: str, seven_bits: bool) -> None:
    octets = written(text, charset, seven_bits=seven_bits)
    if octets is not None:
        assert octets.isascii() or not seven_bits
        assert octets.decode(charset).count("?") <= normalize("NFKD", text).count("?")
