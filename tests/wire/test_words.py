"""Header text: what is encoded is decoded, what is damaged stays as it stands, and nothing raises."""

from __future__ import annotations

import time
from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.wire.words import MOST, codec, decode_words, parameters, plain

TEXT = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="?="), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"Re: =?iso-8859-1?q?a_b?= =?iso-8859-1?q?c?= and more", "Re: a bc and more"),
        (b"=?utf-8?B?w6Q=?=\r\n =?utf-8?B?w7Y=?=", "äö"),
        # Outlook cuts a character in two (RFC 2047 5 forbids it).
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "ä"),
        # RFC 2231 5: a language.
        (b"=?utf-8*de?Q?=C3=A4?=", "ä"),
        (b"caf\xe9", "café"),
        (b"caf\xc3\xa9", "café"),
        (b"C:\\u0041 \xc3\xa4", "C:\\u0041 ä"),
    ],
)
def test_encoded_words_are_decoded(field: bytes, text: str) -> None:
    assert decode_words(field) == text


@pytest.mark.parametrize("field", [b"=?x-nobody?Q?a?=", b"=?utf-8?B?a?=", b"=?rot13?Q?a?=", b"=?punycode?Q?a-b?=", b"=?utf-8?X?a?="])
def test_a_damaged_word_stays_as_it_stands(field: bytes) -> None:
    assert decode_words(field) == field.decode()


@given(TEXT, st.sampled_from(["utf-8", "iso-8859-15", "shift_jis", "koi8-r"]))
def test_what_another_encoder_makes_is_read_back(text: str, charset: str) -> None:
    text = text.encode(charset, "ignore").decode(charset)
    assert decode_words(Header(text, charset).encode().encode()) == text.strip()


def test_text_has_no_line_ends_and_no_controls() -> None:
    assert decode_words(b"a\r\n\tb =?utf-8?Q?c=0D=0Ad=00?=") == "a b c d "
    assert plain(b" x\x00y\xc2\x85z ") == "x y z"


@pytest.mark.parametrize(
    "name", ["utf8", "UTF-8", "us-ascii", "ANSI_X3.4-1968", "windows-1252", "iso-8859-8-i", "gb2312", "ks_c_5601-1987", "koi8-u"]
)
def test_charsets_of_mail_are_known(name: str) -> None:
    assert codec(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x-unknown",
        "rot13",
        "hex",
        "zlib",
        "idna",
        "punycode",
        "unicode_escape",
        "mbcs",
        "undefined",
        "a\0b",
        "../os",
        "__init__",
        "aliases",
    ],
)
def test_what_is_no_charset_is_not_taken_for_one(name: str) -> None:
    assert codec(name) is None


def test_parameters_in_pieces_and_charsets_are_put_together() -> None:
    # RFC 2231 3 and 4.1
    pairs = [
        (b"URL*1", b"b.example"),
        (b"url*0", b"ftp://"),
        (b"title*0*", b"us-ascii'en'This%20is%20"),
        (b"title*1*", b"%2A%2A"),
        (b"title*2", b" it"),
    ]
    assert parameters(pairs) == {"url": "ftp://b.example", "title": "This is ** it"}
    assert parameters([(b"filename", b"a"), (b"filename*", b"utf-8''%C3%A4"), (b"FILENAME", b"b")]) == {"filename": "ä"}
    assert parameters([(b"x*1", b"no start"), (b"y*0", b"a"), (b"y*2", b"gap")]) == {"y": "a"}
    assert parameters([(b"x*", b"x-nobody'' %E4"), (b"*", b""), (b"", b"")]) == {"x": "ä", "*": "", "": ""}


@given(
    st.binary(max_size=300) | st.text("=?utf-8QB_*'", max_size=200).map(str.encode),
    st.lists(st.tuples(st.binary(max_size=8), st.binary(max_size=20)), max_size=8),
)
def test_any_octets_give_text(octets: bytes, pairs: list[tuple[bytes, bytes]]) -> None:
    assert not any(ord(each) < 32 for each in plain(octets) + decode_words(octets))
    assert all(isinstance(each, str) for each in parameters([*pairs, (b"a*0*", octets), (b"b*", octets)]).values())


@pytest.mark.parametrize("unit", [b"=?", b"=?a?q?", b"=?utf-8?q?a?= ", b" ", b"=?a?b?YQ==?= x", b"=?punycode?q?a?="])
def test_time_and_length_are_bounded(unit: bytes) -> None:
    start = time.process_time()
    assert len(decode_words(unit * 200_000)) <= MOST
    assert time.process_time() - start < 1.0
