"""A block is inserted into any part without a change to the part's own octets, and an independent decoder reads both."""

from __future__ import annotations

import email
import quopri
import re
import time
from base64 import encodebytes
from html.parser import HTMLParser

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from portico.session.annotations.block import MOST_TEXT, Block, blank, encode, insertion_offset, recognise
from portico.wire.bodystructure import Part, decoded
from portico.wire.mime import HEAD, scan

LINK = "Answer: https://mail.example.org/m?a=b&c=d"


def part(kind: str = "plain", encoding: str = "7bit", charset: str = "utf-8", **more: str) -> Part:
    return Part("1", f"text/{kind}", {"charset": charset} | more, encoding, 100, 2)


def block(kind: str = "plain", encoding: str = "7bit", charset: str = "utf-8", text: str = LINK, **more: str) -> Block:
    made = encode(part(kind, encoding, charset, **more), text)
    assert made is not None
    return made


def row(made: Block) -> bytes:
    found = re.search(rb"^-[-~]+\r$", made.decoded, re.MULTILINE)
    assert found is not None
    return found[0]


# -- as written


def test_plain_text_has_a_row_and_an_empty_line_below() -> None:
    made = block(text="One\ntwo  \n\n")
    assert made == Block(b"One\r\ntwo\r\n" + b"-~" * 18 + b"\r\n\r\n", 4, made.octets, "start")


def test_html_stands_between_comments_in_ascii() -> None:
    assert block("html", text="<p>Grüße 📅</p>\n") == Block(
        b"\r\n<!-- portico -->\r\n<p>Gr&#252;&#223;e &#128197;</p>\r\n<!-- /portico -->\r\n", 4,
        b"\r\n<!-- portico -->\r\n<p>Gr&#252;&#223;e &#128197;</p>\r\n<!-- /portico -->\r\n", "body",
    )  # fmt: skip


def test_quoted_printable_is_written_by_the_rules() -> None:
    made = block(encoding="quoted-printable", text="Größe=1\n--x\nFrom here\n" + "-" * 160)
    assert made.octets.startswith(b"Gr=C3=B6=C3=9Fe=3D1\r\n=2D-x\r\n=46rom here\r\n=2D-----")
    assert made.octets.endswith(b"\r\n" + b"-~" * 18 + b"\r\n\r\n")
    assert made.decoded.startswith("Größe=1\r\n--x\r\nFrom here\r\n".encode())
    html = block("html", "quoted-printable", text='<a href="x=y">z</a>')
    assert html.octets == b'=\r\n<!-- portico -->\r\n<a href=3D"x=3Dy">z</a>\r\n<!-- /portico -->=\r\n'
    assert html.decoded == b'<!-- portico -->\r\n<a href="x=y">z</a>\r\n<!-- /portico -->'


def test_base64_is_whole_lines_and_the_row_makes_them_whole() -> None:
    made = block(encoding="base64", text="Grüße")
    assert len(made.decoded) % 57 == 0 and all(len(line) == 76 for line in made.octets.split(b"\r\n")[:-1])
    assert made.decoded == "Grüße\r\n".encode() + row(made) + b"\n\r\n"
    html = block("html", "base64")
    assert len(html.decoded) % 57 == 0 and html.where == "start" and html.decoded.rstrip(b" \r\n").endswith(b"<!-- /portico -->")


def test_flowing_text_is_stuffed_and_does_not_flow() -> None:
    made = block(text="a \n> b\nFrom c\n d\n--\n", format="Flowed", delsp="yes")
    assert made.decoded.startswith(b"a\r\n > b\r\n From c\r\n  d\r\n --\r\n-~")
    assert not re.search(rb" \r$", made.decoded, re.MULTILINE)


def test_a_line_that_could_be_a_delimiter_is_moved() -> None:
    assert block(text="--x\n-->").octets.startswith(b" --x\r\n -->\r\n")
    assert b"\r\n -->\r\n" in block("html", text="<!--\n-->").octets


def test_long_lines_are_folded_at_spaces_or_refused() -> None:
    for kind in ("plain", "html"):
        made = block(kind, text="word " * 600)
        assert max(len(line) for line in made.octets.split(b"\r\n")) <= 998
        assert encode(part(kind), "x" * 998) is None
        assert encode(part(kind), "a " + "x" * 997) is not None
        assert encode(part(kind, "quoted-printable"), "x" * 5000) is not None


@pytest.mark.parametrize(
    "other",
    [
        part("calendar"), part("enriched"), part(charset="utf-16"), part(charset="utf-16le", encoding="base64"), part(charset="utf-32", encoding="8bit"),
        part(charset="utf-7"), part(charset="hz-gb-2312"), part(charset="x-unknown"), part(charset="cp037", encoding="8bit"), part(encoding="binary"),
        part(encoding="x-uuencode"), part(encoding=""), Part("1", "text/plain", {}, "7bit"), Part("1", "text/plain", {}, "7bit", 0, 0), Part("1", "text/plain", {}, "7bit", 9, 9, "md5"),
        Part("1", "text/plain", {}, "7bit", 9, 9, disposition="attachment"), Part("", "multipart/mixed"), Part("1", "message/rfc822", {}, "7bit", 9, 9),
    ],
)  # fmt: skip
def test_other_parts_carry_no_block(other: Part) -> None:
    assert encode(other, LINK) is None


@pytest.mark.parametrize("text", ["", "\n\n", " ", "\0", "x" * (MOST_TEXT + 1)])
def test_nothing_is_no_block(text: str) -> None:
    assert encode(part("html", "8bit"), text) is None and encode(part(encoding="base64"), text) is None


def test_a_charset_that_cannot_say_it_carries_no_plain_text_but_html() -> None:
    assert encode(part(charset="us-ascii", encoding="quoted-printable"), "Встреча") is None
    assert encode(part(encoding="7bit"), "Встреча") is None
    assert encode(part(encoding="8bit"), "Встреча") is not None
    assert block("html", charset="us-ascii", text="Встреча").octets.isascii()
    assert block(charset="iso-2022-jp", text="会議").decoded.startswith("会議\r\n".encode("iso-2022-jp"))
    assert block(charset="iso-2022-kr", text="Größe").decoded.startswith(b"Groesse\r\n")
    assert block("html", charset="iso-2022-jp").where == "start"


def test_controls_and_halves_of_characters_are_gone() -> None:
    assert block(encoding="8bit", text="a\0b\x1b[31m\r\nc\ud800d\u2028e").decoded.startswith("a b [31m\r\nc\ufffdd e\r\n".encode())
    assert b"&#65533;" in block("html", text="<p>\udfff").octets


def test_a_block_is_recognised_and_other_text_is_not() -> None:
    for made in (
        block(),
        block("html"),
        block(encoding="base64", text="x" * 40),
        block("html", "quoted-printable"),
        block(format="flowed"),
    ):
        assert recognise(b"old text\r\n" + made.decoded + b"old") and recognise(made.decoded.replace(b"\r\n", b"\n"))
    for other in (b"", b"-~-~-~\r\n", b"> " + b"-~" * 20, b"*~*~*~*~*~*~*~*~*", b"-" * 70, b"<!-- porticos -->"):
        assert not recognise(other)


# -- where it goes


@pytest.mark.parametrize(
    "head",
    [
        b"<html><body>", b"<BODY\r\n bgcolor='a>b' x>", b'<!DOCTYPE html "a"><head><title><body></title></head><body>', b"<!-- <body> --><body class=\"a'>\">",
        b"<!--><body>", b"<style>/*<body>*/</style ><body/>", b'<script>if (a<b) "<body>"</script><!-- a -- b --><body a=b=c>', b"<p title='<body>'><bodyx><body>",
        b"a < b <? <body x> ?><textarea><body></textarea></body><body>", b"<![if !mso]><body>", b"<p x=>< body><body>",
    ],
)  # fmt: skip
def test_the_place_is_behind_the_body_tag(head: bytes) -> None:
    if b"<?" in head:
        head = head.replace(b"<? <body x> ?>", b"<? x ?>")
    for rest in (b"", b"text<body>", b"\r\n--x"):
        assert insertion_offset("body", "7bit", head + rest) == len(head)
    assert insertion_offset("start", "7bit", head) == 0


@pytest.mark.parametrize(
    "head",
    [
        b"", b"text", b"<body", b"<body class='", b"<!-- <body>", b"<title><body>", b"<script><body></scrip>", b"<p a='<body>", b"<p><plaintext><body>",
        b"<body>--x", b"<body>-", b"<? <body", b"</body>", b"<bodyguard>", b"&lt;body>", b"<p class=\"a><body>",
    ],
)  # fmt: skip
def test_where_there_is_no_sure_place_it_is_the_start(head: bytes) -> None:
    assert insertion_offset("body", "8bit", head) == 0


@pytest.mark.parametrize(
    ("head", "behind"),
    [
        (b"<html>=\r\n<bo=\r\ndy bgcolor=3D\"x\">=20text", b'x">'), (b"<=62ody>=\r\n", b"ody>"), (b"=3Cbody=3E", b"=3E"), (b"<body =  \r\nx>a", b"x>"),
        (b"<body>=2D-", b"<body>"), (b"<body  \r\n  >  \r\n", b"  >"),
    ],
)  # fmt: skip
def test_in_quoted_printable_the_tag_is_found_however_it_is_written(head: bytes, behind: bytes) -> None:
    assert insertion_offset("body", "quoted-printable", head) == head.index(behind) + len(behind)


def test_a_tag_at_the_very_end_of_the_head_is_not_used() -> None:
    head = b" " * (HEAD - 6) + b"<body>"
    assert insertion_offset("body", "7bit", head) == 0  # the next octets, unseen, may be dashes
    assert insertion_offset("body", "7bit", head[1:] + b"x") == HEAD - 1


class Places(HTMLParser):
    """The standard library's reading: where the first body tag ends."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.behind = 0
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "body" and not self.behind:
            line, column = self.getpos()
            self.behind = self._starts[line - 1] + column + len(self.get_starttag_text() or "")


PIECES = st.sampled_from(
    ["<html>", "<head>", "<title>a</title>", "<!-- <body> -->", "<style><body></style>", "<script>'<body>'</script>", '<p title="<body>">', "<body>", '<body a="b>c" d=\'e\' f>', "text", " ", "\n", "<br/>", "a < b", "<BODY X=Y>", "é"]
)  # fmt: skip
PAGES = st.lists(PIECES, max_size=12).map("".join)


@given(PAGES)
def test_the_standard_library_finds_the_body_tag_there_too(page: str) -> None:
    octets = page.encode()
    behind = len(page[: Places(page).behind].encode())
    assert insertion_offset("body", "8bit", octets) == (0 if octets.startswith(b"-", behind) else behind)


# -- the property


CONTENTS = (
    st.text(max_size=200)
    | PAGES
    | st.text("<body>=-\r\n \t'\"!aé", max_size=120)
    | st.builds("{}<body{}>{}".format, PAGES, st.sampled_from(["", " a=b", "\n"]), st.text("-=\r\n a", max_size=20))
)
TEXTS = st.text(max_size=200) | st.text("-<>= \nFrom.a", max_size=200) | st.text("ab ", min_size=900, max_size=1300) | st.just(LINK)
ENCODINGS = st.sampled_from(["7bit", "8bit", "quoted-printable", "base64"])


def in_encoding(content: str, encoding: str, charset: str) -> bytes:
    """The old body of a part, as others write it."""
    octets = content.encode(charset, "xmlcharrefreplace")
    if encoding == "base64":
        return encodebytes(octets).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        return quopri.encodestring(octets).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return octets.decode("latin-1").encode("ascii", "ignore") if encoding == "7bit" else octets


def read(body: bytes, kind: str, encoding: str) -> bytes:
    """The part as the standard library decodes it."""
    message = email.message_from_bytes(
        b"Content-Type: text/%b\r\nContent-Transfer-Encoding: %b\r\n\r\n%b" % (kind.encode(), encoding.encode(), body)
    )
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


@given(
    CONTENTS,
    TEXTS,
    st.sampled_from(["plain", "html"]),
    ENCODINGS,
    st.sampled_from(["utf-8", "us-ascii", "iso-8859-1", "shift_jis", "gb18030", "iso-2022-jp"]),
    st.booleans(),
)
@example("<html><body>--x", LINK, "html", "quoted-printable", "utf-8", False)
@example("<body>--x", LINK, "html", "7bit", "utf-8", False)
@example("--", LINK, "plain", "7bit", "utf-8", False)
def test_the_part_is_the_block_and_the_old_text(content: str, text: str, kind: str, encoding: str, charset: str, flowed: bool) -> None:
    made = encode(part(kind, encoding, charset, **({"format": "flowed"} if flowed else {})), text)
    assume(made is not None)
    assert made is not None
    old = in_encoding(content, encoding, charset)
    at = insertion_offset(made.where, encoding, old[:HEAD])
    new = old[:at] + made.octets + old[at:]
    # The decoded part is the block in the old text, at a place that is told by the octets before it.
    before, after = read(old, kind, encoding), read(new, kind, encoding)
    decoded_at = len(read(old[:at], kind, encoding)) if at else 0
    assert after == before[:decoded_at] + made.decoded + before[decoded_at:]
    assert decoded(new, encoding).startswith(decoded(old[:at], encoding) + made.decoded)
    # Octets and lines grow by what the block says.
    assert (new.count(b"\n"), len(new)) == (old.count(b"\n") + made.lines, len(old) + len(made.octets))
    # The block keeps the rules of its encoding, and begins no line with a delimiter.
    most = 76 if encoding in ("base64", "quoted-printable") else 998
    assert all(len(line) <= most and not line.startswith(b"--") for line in made.octets.split(b"\r\n"))
    assert made.octets.isascii() or encoding == "8bit"
    assert made.octets.endswith(b"\r\n") and b"\n" not in made.octets.replace(b"\r\n", b"")
    assert (b"\n" + new).count(b"\n--") == (b"\n" + old).count(b"\n--")
    assert recognise(made.decoded)


@given(CONTENTS, TEXTS, TEXTS, st.sampled_from(["plain", "html"]), ENCODINGS)
def test_two_blocks_stand_one_behind_the_other(content: str, one: str, two: str, kind: str, encoding: str) -> None:
    blocks = [made for text in (one, two) if (made := encode(part(kind, encoding), text)) is not None]
    assume(len(blocks) == 2)
    old = in_encoding(content, encoding, "utf-8")
    at = insertion_offset(blocks[0].where, encoding, old[:HEAD])
    new = old[:at] + blocks[0].octets + blocks[1].octets + old[at:]
    assert blocks[0].decoded + blocks[1].decoded in read(new, kind, encoding)


@given(CONTENTS, TEXTS, ENCODINGS, ENCODINGS)
def test_in_a_whole_message_no_part_moves(content: str, text: str, encoding: str, html_encoding: str) -> None:
    blocks = {"1": encode(part("plain", encoding), text), "2": encode(part("html", html_encoding), text)}
    old = {"1": in_encoding(content, encoding, "utf-8"), "2": in_encoding(content, html_encoding, "utf-8")}
    assume(all(made is not None for made in blocks.values()) and not any(b"--b" in body for body in old.values()))

    def message(bodies: dict[str, bytes]) -> bytes:
        kinds = {"1": ("plain", encoding), "2": ("html", html_encoding)}
        parts = [
            b"--b\r\nContent-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b\r\n" % (kinds[number][0].encode(), kinds[number][1].encode(), body)
            for number, body in bodies.items()
        ]  # fmt: skip
        return b"Content-Type: multipart/alternative; boundary=b\r\n\r\n" + b"".join(parts) + b"--b--\r\n"

    new = {}
    for number, made in blocks.items():
        assert made is not None
        at = insertion_offset(made.where, encoding if number == "1" else html_encoding, old[number][:HEAD])
        new[number] = old[number][:at] + made.octets + old[number][at:]
    before, after = scan(message(old)), scan(message(new))
    for was, now in zip(before.finish().parts, after.finish().parts, strict=True):
        made = blocks[was.number]
        assert made is not None
        assert (now.number, now.octets, now.lines) == (was.number, was.octets + len(made.octets), was.lines + made.lines)


@given(st.binary(max_size=300) | st.text("<body>!-/'\"= \r\n\ttiles", max_size=200).map(str.encode), ENCODINGS)
def test_any_head_has_a_place(head: bytes, encoding: str) -> None:
    assert 0 <= insertion_offset("body", encoding, head) <= len(head)
    assert isinstance(recognise(head), bool)


@given(st.text(), st.text(max_size=30), st.text(max_size=30), st.text(max_size=12))
def test_any_part_and_text_give_a_block_or_none(text: str, charset: str, kind: str, encoding: str) -> None:
    for other in (part(kind, encoding, charset), part("plain", "8bit", charset), part("html", "base64", charset)):
        made = encode(other, text)
        assert made is None or made.lines == made.octets.count(b"\r\n")


@pytest.mark.parametrize(
    "unit",
    [
        b"<",
        b"<p ",
        b"<p a=",
        b"<p a='",
        b"<!--",
        b"<script>",
        b"<a b ",
        b"=",
        b"= ",
        b" ",
        b"<body",
        b"<p a=b ",
        b'<p "',
        b"=3C",
        b"-~",
        b"<title>",
    ],
)
def test_looking_for_the_place_takes_time_by_length(unit: bytes) -> None:
    head = (unit * HEAD)[:HEAD]
    start = time.process_time()
    for encoding in ("7bit", "quoted-printable"):
        insertion_offset("body", encoding, head)
    recognise(unit * 200_000)
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("unit", ["x", "ä", " ", "-", "\n", "📅", "Ж", "\ud800", "a\u0300"])
def test_encoding_takes_time_by_length(unit: str) -> None:
    text = (unit * MOST_TEXT)[:MOST_TEXT]
    start = time.process_time()
    for kind in ("plain", "html"):
        for encoding in ("7bit", "quoted-printable", "base64"):
            encode(part(kind, encoding, "iso-8859-1"), text)
    assert time.process_time() - start < 20.0


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("kind", ["text/plain", "text/html"])
@given(text=st.text(st.sampled_from("aé-= .\n<b>"), min_size=1, max_size=300).filter(str.strip))
def test_blanks_in_place_of_a_block_have_its_size_and_say_nothing(kind: str, encoding: str, text: str) -> None:
    made = encode(Part("1", kind, {"charset": "utf-8"}, encoding, 100, 2), text)
    assume(made is not None)
    assert made is not None
    octets, bare = blank(made.octets, encoding)
    assert (len(octets), octets.count(b"\n")) == (len(made.octets), made.octets.count(b"\n"))
    assert (len(bare), bare.count(b"\n")) == (len(made.decoded), made.decoded.count(b"\n"))
    assert decoded(octets, encoding) == bare
    assert not recognise(bare)
    if kind == "text/html":
        assert bare.strip().startswith(b"<!--")
        assert bare.strip().endswith(b"-->")
        assert bare.count(b"-->") == 1
    else:
        assert bare.strip(b". \r\n") == b""
    if encoding == "quoted-printable":
        assert b" \r\n" not in octets
        assert max(map(len, octets.split(b"\r\n"))) <= 76
