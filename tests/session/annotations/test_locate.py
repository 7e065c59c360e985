"""The places of an annotation's pieces, found while the message is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.session.annotations.annotation import Annotation, Located, Piece
from portico.session.annotations.block import encode
from portico.session.annotations.locate import Locator
from portico.wire.mime import scan

MESSAGE = b"\r\n".join(
    [
        b"Subject: x",
        b'Content-Type: multipart/alternative; boundary="b"',
        b"",
        b"preamble",
        b"--b",
        b"Content-Type: text/plain",
        b"",
        b"old text",
        b"--b",
        b"Content-Type: text/html",
        b"",
        b"<html><body class=x><p>old</p></body></html>",
        b"--b--",
        b"",
    ]
)


def annotation(message: bytes) -> Annotation:
    pieces = []
    for part in scan(message).finish().walk():
        block = encode(part, "see: https://example.org/\n") if part.type.startswith("text/") else None
        if block is not None:
            pieces.append(Piece(part.number, block.octets, block.lines, block.decoded, block.where, part.encoding))
    return Annotation(len(message), tuple(pieces))


def located(message: bytes, made: Annotation, step: int) -> tuple[Located | None, str, int]:
    locator = Locator(made)
    at = 0
    while locator.wants_more and at < len(message):
        locator.feed(message[at : at + step])
        at += step
    return locator.finish(), locator.trouble, at


@given(st.integers(1, 400))
def test_places_are_found_however_the_message_is_cut(step: int) -> None:
    made = annotation(MESSAGE)
    places, trouble, _ = located(MESSAGE, made, step)
    assert trouble == ""
    assert places is not None
    assert places.header == MESSAGE.index(b"\r\n\r\n") + 4
    whole = MESSAGE
    for insert in reversed(made.at(places).inserts("")):
        whole = whole[: insert.at] + insert.octets + whole[insert.at :]
    assert whole.index(b"see: ") < whole.index(b"old text")
    assert whole.index(b"<body class=x>") < whole.index(b"<!-- portico -->") < whole.index(b"<p>old</p>")
    assert len(whole) == made.size + made.octets


def test_no_more_is_read_than_is_needed() -> None:
    message = MESSAGE.replace(b"--b--", b"--b\r\nContent-Type: application/pdf\r\n\r\n" + b"x" * 200_000 + b"\r\n--b--")
    _, _, read = located(message, annotation(message), 4096)
    assert read <= 3 * 16384


def test_a_message_that_carries_a_block_already_gets_no_second_one_but_its_size_in_blanks() -> None:
    made = annotation(MESSAGE)
    places, _, _ = located(MESSAGE, made, 100)
    assert places is not None
    whole = MESSAGE
    for insert in reversed(made.at(places).inserts("")):
        whole = whole[: insert.at] + insert.octets + whole[insert.at :]
    twice = annotation(whole)
    again, trouble, _ = located(whole, twice, 100)
    assert again is not None
    assert (trouble, again.blank) == ("", True)
    inserts = twice.at(again).inserts("")
    assert sum(len(insert.octets) for insert in inserts) == twice.octets
    assert not any(word in insert.octets for insert in inserts for word in (b"see", b"href", b"portico", b"~"))


def test_a_part_that_is_not_there_is_told() -> None:
    made = annotation(MESSAGE)
    other = Annotation(made.size, tuple(Piece("7", piece.octets, piece.lines, piece.decoded, piece.where) for piece in made.pieces))
    assert located(MESSAGE, other, 50)[:2] == (None, "a part is not where the structure says")


def test_where_the_server_numbers_parts_in_another_way_there_are_no_places() -> None:
    """Cyrus takes a multipart without MIME-Version, or behind a very long header, for one text: its part 1 is not our part 1."""
    one_text = scan(b"Subject: x\r\n\r\n" + MESSAGE.partition(b"\r\n\r\n")[2]).finish()
    for structure, trouble in ((scan(MESSAGE).finish(), ""), (one_text, "the message has other parts than the structure says")):
        locator = Locator(annotation(MESSAGE), structure)
        locator.feed(MESSAGE)
        assert (locator.finish() is None, locator.trouble) == (bool(trouble), trouble)


def test_a_server_that_says_8bit_where_nothing_is_said_means_the_same_parts() -> None:
    """As Courier does."""
    structure = scan(MESSAGE).finish()
    for part in structure.parts:
        part.encoding = "8bit"
    locator = Locator(annotation(MESSAGE), structure)
    locator.feed(MESSAGE)
    assert locator.finish() is not None
