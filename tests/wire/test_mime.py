"""The scanner finds parts where other parsers find them, however the message is cut, and is never slow.

tests/live/test_structures.py compares it with real servers.
"""

from __future__ import annotations

import email
import time
from collections.abc import Iterator
from email.message import Message
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.bodystructure import OPAQUE, Envelope, Part
from portico.wire.mime import HEAD, MOST_HEADER, MOST_NESTING, MOST_PARTS, Place, Scanner, scan


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


MESSAGE = crlf("""\
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
From: "Bob \\"B.\\" Builder" <bob@example.org>
Message-ID: <1@x>
Date: Mon, 4 May 2026 09:00:00 +0200
Content-Type: multipart/mixed; boundary=out

preamble
--out
Content-Type: multipart/alternative; boundary="in"

--in
content-type: TEXT/plain; format=flowed
Content-Transfer-Encoding: 8BIT

One
two
--in
Content-Type: text/html; charset=utf-8
Content-MD5: abc
Content-Disposition: INLINE; filename="a.html"

<p>
--in--
--out
Content-Type: message/rfc822
Content-Description: letter

Subject: inner

inner text
--out--
epilogue
""")


def bodies(octets: bytes) -> dict[str, bytes]:
    return {number: octets[place.body : place.end] for number, place in scan(octets).places.items()}


def test_every_part_has_its_number_and_its_body() -> None:
    found = bodies(MESSAGE)
    assert list(found) == ["", "1", "1.1", "1.2", "2", "2.1"]
    assert found["1.1"] == b"One\r\ntwo"
    assert found["1.2"] == b"<p>"
    assert found["2"] == b"Subject: inner\r\n\r\ninner text"
    assert found["2.1"] == b"inner text"
    assert found["1"].startswith(b"--in\r\n") and found["1"].endswith(b"\r\n--in--\r\n")
    assert found[""] == MESSAGE.partition(b"\r\n\r\n")[2]


def test_the_structure_is_as_a_server_would_tell_it() -> None:
    root = scan(MESSAGE).finish()
    assert [(part.number, part.type, part.octets, part.lines) for part in root.walk()] == [
        ("", "multipart/mixed", -1, -1),
        ("1", "multipart/alternative", -1, -1),
        ("1.1", "text/plain", 8, 1),
        ("1.2", "text/html", 3, 0),
        ("2", "message/rfc822", 28, 2),
    ]
    plain, html = root.parts[0].parts
    assert (plain.encoding, plain.parameters) == ("8bit", {"format": "flowed", "charset": "us-ascii"})
    assert (html.encoding, html.md5, html.disposition, html.disposition_parameters) == ("7bit", "abc", "inline", {"filename": "a.html"})
    letter = root.parts[1]
    assert letter.description == "letter"
    assert letter.message == Part("2.1", "text/plain", {"charset": "us-ascii"}, "7bit", 10, 0)


def test_the_header_says_what_an_envelope_would() -> None:
    assert scan(MESSAGE).envelope == Envelope("Grüße", "<1@x>", "Mon, 4 May 2026 09:00:00 +0200", 'Bob "B." Builder <bob@example.org>')


def test_offsets_are_known_as_soon_as_the_octets_are_there() -> None:
    scanner = Scanner()
    at = MESSAGE.index(b"One")
    scanner.feed(MESSAGE[: at - 1])
    assert scanner.places["1"].body == MESSAGE.index(b"--in\r\n") and "1.1" not in scanner.places
    scanner.feed(MESSAGE[at - 1 : at])
    assert scanner.places["1.1"] == Place(MESSAGE.index(b"content-type"), at, -1)
    scanner.feed(MESSAGE[at:])
    assert scanner.places["1.1"].end == at + 8


def test_heads_are_given_when_they_are_sure() -> None:
    scanner = Scanner(["1.1", "1.2", "3"], most=5)
    at = MESSAGE.index(b"One")
    scanner.feed(MESSAGE[: at + 5])
    assert scanner.head("1.1") is None  # the CR may belong to a delimiter
    scanner.feed(MESSAGE[at + 5 : at + 8])
    assert scanner.head("1.1") == b"One\r\n"
    assert scanner.head("1.2") is None
    scanner.feed(MESSAGE[at + 8 :])
    scanner.finish()
    assert (scanner.head("1.2"), scanner.head("3")) == (b"<p>", None)


@pytest.mark.parametrize(
    ("octets", "types"),
    [
        (b"", ["1 text/plain 0"]),
        (b"\r\n", ["1 text/plain 0"]),
        (b"no header at all", ["1 text/plain 0"]),
        (b"A: b\r\n\r\n--x\r\n", ["1 text/plain 5"]),
        # An empty part; a part that ends where its header does; one without anything.
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n--x\r\nA: b\r\n--x\r\n--x--", [" multipart/mixed -1", "1 text/plain 0", "2 text/plain 0", "3 text/plain 0"]),
        # No close delimiter, not even a line end.
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nabc", [" multipart/mixed -1", "1 text/plain 3"]),
        # A parent's boundary ends the child (RFC 2046 5.1.2).
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\nabc\r\n--x\r\n\r\n--y\r\n--x--\r\n--x\r\n", [" multipart/mixed -1", "1 multipart/mixed -1", "1.1 text/plain 3", "2 text/plain 3"]),
        # The longest boundary is meant; and the beginning of the line counts, not its end.
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=xy\r\n\r\n--xy\r\n\r\nabc\r\n--xy--\r\n--x more\r\n\r\n12", [" multipart/mixed -1", "1 multipart/mixed -1", "1.1 text/plain 3", "2 text/plain 2"]),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=x--\r\n\r\n--x--\r\n\r\nabc\r\n--x\r\n\r\n12", [" multipart/mixed -1", "1 multipart/mixed -1", "1.1 text/plain 3", "2 text/plain 2"]),
        # The header of a multipart ends at its parent's close delimiter, which looks like its own boundary.
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: multipart/mixed; boundary=x--\r\n--x--\r\n--x\r\n", [" multipart/mixed -1", "1 multipart/mixed -1"]),
        # Parts of a digest are messages unless they say otherwise (RFC 2046 5.1.5).
        (b"Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\nA: b\r\n\r\n123\r\n--x\r\nContent-Type: text/html\r\n\r\n1\r\n--x--", [" multipart/digest -1", "1 message/rfc822 11", "1.1 text/plain 3", "2 text/html 1"]),
        # A message that is one message, and one that is cut short in its header.
        (b"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n1\r\n--x--", ["1 message/rfc822 60", "1.TEXT multipart/mixed -1", "1.1 text/plain 1"]),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: message/rfc822\r\n--x--\r\n", [" multipart/mixed -1", "1 message/rfc822 0", "1.1 text/plain 0"]),
        # No boundary, or none that could be seen.
        (b"Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\nabc", [" multipart/mixed -1"]),
        (b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\nabc", [" multipart/mixed -1"]),
        # Two of a field: the first (otherwise two readers see two messages).
        (b"Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\nabc", ["1 text/html 3"]),
        (b"Content-Type: text\r\n\r\nabc", [f"1 {OPAQUE} 3"]),
        # A boundary in pieces (RFC 2231 3).
        (b"Content-Type: multipart/mixed; boundary*0=x; boundary*1=y\r\n\r\n--xy\r\n\r\nabc\r\n--xy--", [" multipart/mixed -1", "1 text/plain 3"]),
        # Folded, commented, quoted (RFC 2045 5.1).
        (b"Content-Type: (a (b) \\) c) multipart\r\n / mixed ( x ) ;\r\n\tboundary = \"x\\y\"\r\n\r\n--xy\r\n\r\nabc\r\n--xy--", [" multipart/mixed -1", "1 text/plain 3"]),
    ],
)  # fmt: skip
def test_odd_messages_are_read_as_servers_read_them(octets: bytes, types: list[str]) -> None:
    for message in (octets, octets.replace(b"\r\n", b"\n")):
        found = [f"{part.number} {part.type} {part.octets}" for part in with_messages(scan(message).finish())]
        assert found == types or message is not octets, message
        assert [line.rsplit(" ", 1)[0] for line in found] == [line.rsplit(" ", 1)[0] for line in types]


def with_messages(part: Part) -> Iterator[Part]:
    for each in part.walk():
        yield each
        if each.message is not None:
            yield from with_messages(each.message)


# -- properties

LINES = st.sampled_from(
    [b"", b"--x", b"--x--", b"--xy", b"--xy--", b"--", b"-", b"text", b"Content-Type: multipart/mixed; boundary=x", b"Content-Type: multipart/digest; boundary=xy",
     b"Content-Type: message/rfc822", b"Content-Type: text/html", b"Content-Type: multipart/mixed; boundary=x--", b" folded", b"--x trailing", b"\r", b"--" + b"x" * 70]
)  # fmt: skip
MESSAGES = st.lists(st.tuples(LINES, st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""])), max_size=40).map(
    lambda each: b"".join(b"".join(pair) for pair in each)
)


@given(MESSAGES, st.lists(st.integers(1, 60), max_size=30), st.integers(0, 40))
def test_however_the_message_is_cut_the_parts_are_the_same(octets: bytes, cuts: list[int], most: int) -> None:
    try:
        whole = scan(octets)
    except PeerError:
        return
    wanted = ["1", "1.1", "2", "1.1.1"]
    scanner = Scanner(wanted, most)
    seen: dict[str, bytes] = {}
    pos = 0
    for cut in [*cuts, len(octets) + 1]:
        scanner.feed(octets[pos : pos + cut])
        pos += cut
        seen |= {number: head for number in wanted if number not in seen and (head := scanner.head(number)) is not None}
    assert scanner.finish() == whole.finish()
    assert scanner.places == whole.places
    for number in wanted:
        place = whole.places.get(number)
        head = octets[place.body : place.end][:most] if place is not None else None
        assert scanner.head(number) == head
        assert number not in seen or seen[number] == head  # what was given early was right


@given(MESSAGES)
def test_parts_lie_in_each_other_and_count_their_line_ends(octets: bytes) -> None:
    try:
        scanner = scan(octets)
    except PeerError:
        return
    for part in with_messages(scanner.finish()):
        place = scanner.places[part.number]
        assert 0 <= place.header <= place.body <= place.end <= len(octets)
        if not part.type.startswith("multipart/"):
            assert part.octets == place.end - place.body
        if part.lines >= 0:
            assert part.lines == octets[place.body : place.end].count(b"\n")
        around = scanner.places.get(part.number.rpartition(".")[0])
        if around is not None and around is not place:
            assert around.body <= place.header and place.end <= around.end


@given(st.binary(max_size=300) | st.text("Content-Type: multipart/x;boundary=\"\r\n-'*()\\", max_size=200).map(str.encode))
def test_any_octets_give_a_structure_or_a_peer_error(octets: bytes) -> None:
    for prefix in (b"", b"Content-Type: ", b"Content-Disposition: ", b"From: "):
        try:
            root = scan(prefix + octets).finish()
        except PeerError:
            continue
        assert isinstance(root, Part)


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=80)


def leaf(text: str, kind: int) -> Message:
    if kind == 0:
        return MIMEText(text, "plain", "utf-8")
    if kind == 1:
        part = MIMEText("".join(each for each in text if each.isascii()) + "\n--x\n", "html", "us-ascii")
        part.add_header("Content-Disposition", "attachment", filename="a b.html")
        return part
    return MIMEApplication(text.encode()) if kind == 2 else MIMEBase("application", "empty")


def around(parts: list[Message], kind: int) -> Message:
    if kind == 0:
        return MIMEMessage(parts[0])  # type: ignore[arg-type]
    return MIMEMultipart(["mixed", "alternative"][kind - 1], _subparts=parts)


TREES = st.recursive(
    st.builds(leaf, TEXTS, st.integers(0, 3)), lambda inner: st.builds(around, st.lists(inner, min_size=1, max_size=4), st.integers(0, 2)), max_leaves=8
)  # fmt: skip


def by_number(message: Message) -> dict[str, Message]:
    """As the standard library reads it, numbered as IMAP does."""
    found: dict[str, Message] = {}

    def part(each: Message, number: str) -> None:
        found[number] = each
        if each.get_content_type() == "message/rfc822":
            whole(each.get_payload(0), number + ".")  # type: ignore[arg-type]
        elif each.is_multipart():
            for index, child in enumerate(each.get_payload(), 1):
                part(child, f"{number}.{index}")  # type: ignore[arg-type]

    def whole(each: Message, prefix: str) -> None:
        if each.get_content_maintype() != "multipart":
            part(each, prefix + "1")
            return
        found[prefix and prefix + "TEXT"] = each
        for index, child in enumerate(each.get_payload(), 1):
            part(child, f"{prefix}{index}")  # type: ignore[arg-type]

    whole(message, "")
    return found


def agree(octets: bytes) -> None:
    theirs = by_number(email.message_from_bytes(octets))
    scanner = scan(octets)
    ours = {part.number: part for part in with_messages(scanner.finish())}
    assert list(ours) == list(theirs)
    for number, part in ours.items():
        other = theirs[number]
        assert part.type == other.get_content_type()
        if not other.is_multipart():
            place = scanner.places[number]
            body = other._payload.encode("ascii", "surrogateescape")  # type: ignore[attr-defined]
            assert octets[place.body : place.end] == body


@given(TREES)
@settings(max_examples=60)
def test_the_standard_library_reads_the_same_parts(tree: Message) -> None:
    agree(tree.as_bytes().replace(b"\n", b"\r\n"))


def test_the_standard_library_reads_the_corpus_so_too(corpus: list[Path]) -> None:
    assert corpus
    for path in corpus:
        # It takes text for a header that ended, and a line end before the end of the message for a delimiter's.
        if path.stem not in ("no-header", "header-only-line", "missing-close-boundary"):
            agree(path.read_bytes())


# -- bounds


def nested(depth: int) -> bytes:
    return b"".join(b"Content-Type: multipart/mixed; boundary=%d;\r\n\r\n--%d\r\n" % (n, n) for n in range(1000, 1000 + depth))


def test_nesting_parts_headers_and_boundaries_are_bounded() -> None:
    deepest = scan(nested(MOST_NESTING - 1)).finish()
    assert len(list(deepest.walk())) == MOST_NESTING
    parts = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + b"--x\r\n\r\n" * (MOST_PARTS - 1)
    assert len(scan(parts).finish().parts) == MOST_PARTS - 1
    assert scan(b"A: " + b"x" * (MOST_HEADER - 5)).finish().octets == 0
    for broken in (
        nested(200),
        parts + b"--x\r\n\r\n",
        b"A: " + b"x" * MOST_HEADER,
        b"A: b\r\n" * 50_000,
        b"Content-Type: multipart/mixed; boundary=" + b"x" * 81 + b"\r\n\r\n",
        b"Content-ID: " + b"x" * 20_000 + b"\r\n\r\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + (b"--x\r\nContent-ID: " + b"x" * 16_000 + b"\r\n\r\n") * 100,
    ):
        with pytest.raises(PeerError):
            scan(broken)


def test_nothing_of_a_body_is_held_but_its_head() -> None:
    scanner = Scanner(["1"])
    scanner.feed(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n")
    for _ in range(100):
        scanner.feed(b"--y " + b"text\r\n--" * 8192)
        assert len(scanner._buffer) <= 100 and len(scanner._heads["1"]) <= HEAD
    assert scanner.finish().parts[0].octets > 5_000_000


@pytest.mark.parametrize(
    "unit", [b"--\n", b"--x\n\n", b"--xz\n", b"-", b"\n", b"\r", b"--y\r\n", b"A:b\n", b" \n", b"a" * 1000, b"\n-", b"\n--", b"Content-Type: text/plain;" + b"(" * 999]
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 65536])
def test_time_is_by_length(unit: bytes, piece: int) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=x\n\n--x\n\nbody\n" + unit * (150_000 // len(unit))
    for message in (octets, octets.replace(b"boundary=x\n\n--x\n\nbody\n", b"boundary=x\n\n--x\n")):
        scanner = Scanner(["1"])
        start = time.process_time()
        try:
            for pos in range(0, len(message), piece):
                scanner.feed(message[pos : pos + piece])
            scanner.finish()
        except PeerError:
            pass
        assert time.process_time() - start < 20.0
