"""The skimmer gives back every octet, cuts out what is wanted, and never takes a literal for a line."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st
from portico.wire.skim import Piece, Skimmer

WANTED = re.compile(rb"\* (?:\d+ )?(?:LIST|FETCH)\b|[^*+ \r\n][^ \r\n]{0,127} (?:OK|NO|BAD)")


def skim(cuts: list[bytes], limit: int = 1000) -> list[tuple[Piece, bytes]]:
    skimmer = Skimmer(WANTED, limit)
    return [piece for cut in cuts for piece in skimmer.feed(cut)]


def wanted(pieces: list[tuple[Piece, bytes]]) -> list[bytes]:
    return [data for piece, data in pieces if piece is Piece.WANTED]


def octets(pieces: list[tuple[Piece, bytes]]) -> bytes:
    return b"".join(data for piece, data in pieces if piece in (Piece.RUN, Piece.WANTED))


def pieces_of(data: bytes, points: list[int]) -> list[bytes]:
    edges = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


RESPONSE = st.sampled_from([
    b"* LIST () \"/\" INBOX\r\n",
    b"* 1 EXISTS\r\n",
    b"* 5 FETCH (UID 5 BODY[] {12}\r\n* LIST a b\r\n FLAGS (\\Seen))\r\n",
    b"* 6 FETCH (BODY[] {0}\r\n)\r\n",
    b"* OK free text {5}\r\n",
    b"a1 OK done {3}\r\n",
    b"* SEARCH " + b"1 " * 300 + b"\r\n",
    b"* STATUS {5}\r\nINBOX (MESSAGES 3)\r\n",
    b"+ idling\r\n",
    b"* LIST () NIL {4}\r\na\r\nb\r\n",
    b"* 7 FETCH (BODY[] {2000}\r\n" + b"x" * 2000 + b")\r\n",
    b"* bare LF\n",
])  # fmt: skip


@given(st.lists(RESPONSE, max_size=8), st.lists(st.integers(0, 5000), max_size=12))
def test_however_the_octets_are_cut_the_wanted_responses_are_the_same(responses: list[bytes], points: list[int]) -> None:
    data = b"".join(responses)
    whole = skim([data])
    cut = skim(pieces_of(data, points))
    expected = [r for r in responses if WANTED.match(r) and len(r) < 1000]
    assert wanted(whole) == wanted(cut) == expected
    assert octets(whole) == octets(cut) == data


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 400))
def test_any_octets_come_out_as_they_went_in(chunks: list[bytes], limit: int) -> None:
    skimmer = Skimmer(WANTED, limit)
    out = b"".join(octets(skimmer.feed(chunk)) for chunk in chunks)
    data = b"".join(chunks)
    assert data.startswith(out)
    assert len(data) - len(out) == skimmer.held
    assert skimmer.held <= limit + 300 + 256


@given(st.lists(RESPONSE, min_size=1, max_size=6), st.lists(st.integers(0, 3000), max_size=8))
def test_a_boundary_lies_only_between_whole_responses(responses: list[bytes], points: list[int]) -> None:
    skimmer = Skimmer(WANTED, 1000)
    ends = {0}
    for response in responses:
        ends.add(max(ends) + len(response))
    position = 0
    for cut in pieces_of(b"".join(responses), points):
        skimmer.stop_at_boundary = True
        for piece, data in skimmer.feed(cut):
            if piece is Piece.BOUNDARY:
                assert position in ends
            elif piece is not Piece.TOO_MUCH:
                position += len(data)
        if skimmer.at_boundary:
            assert position in ends


def test_a_long_status_response_announces_no_literal_even_if_its_head_is_gone() -> None:
    line = b"* OK " + b"x" * 300 + b" {9}\r\n"
    assert wanted(skim([line[:280], line[280:] + b"* 1 FETCH (UID 1)\r\n"])) == [b"* 1 FETCH (UID 1)\r\n"]


def test_a_word_too_long_to_be_a_tag_makes_no_status_response_however_it_is_cut() -> None:
    line = b"x" * 300 + b" OK {19}\r\n* 9 FETCH (UID 2)\r\n\r\n"
    for cut in (0, 260, 302, len(line)):
        assert wanted(skim([line[:cut], line[cut:] + b"* 1 FETCH (UID 1)\r\n"])) == [b"* 1 FETCH (UID 1)\r\n"]


def test_an_announcement_cut_in_a_long_line_is_still_one() -> None:
    unwanted = b"* 1 X (" + b"x" * 300 + b" BODY[] {17}\r\n* 9 FETCH (UID 2)\r\n)\r\n"
    held = b"* 1 FETCH (A {1}\r\nx" + b" " + b"x" * 2000 + b" BODY[] {17}\r\n* 9 FETCH (UID 2)\r\n)\r\n"
    for response in (unwanted, held):
        brace = response.index(b"{17}")
        for cut in range(brace, brace + 6):
            pieces = skim([response[:cut], response[cut:] + b"* 1 FETCH (UID 1)\r\n"])
            assert wanted(pieces) == [b"* 1 FETCH (UID 1)\r\n"]
            assert octets(pieces) == response + b"* 1 FETCH (UID 1)\r\n"


LISTED = st.sampled_from([
    b"* 4 FETCH (UID 4 FLAGS ())\r\n",
    b"* 5 FETCH (UID 5 FLAGS ())\r\n",
    b"* 6 FETCH (UID 6 ENVELOPE ({4}\r\n* 5 NIL))\r\n",
    b"* 7 FETCH (UID 7 ENVELOPE (\"{5}\"))\r\n",
    b"* 7 FETCH (BODY[] {18}\r\n* 5 FETCH (UID 5)\r\n)\r\n",
    b"* 8 FETCH (BODY[] {0}\r\n BODY[TEXT] {3}\r\n)\r\n)\r\n",
    b"* 55 FETCH (BODY[] {300}\r\n" + b"x)\r\n" * 75 + b" FLAGS ())\r\n",
    b"* 5 FETCH (BODY[] {6}\r\nabc)\r\n)\r\n",
    b"* 05 FETCH (FLAGS ())\r\n",
    b"* 1 EXISTS\r\n",
    b"a1 OK done {3}\r\n",
])  # fmt: skip
MOVES = b"* 1 EXPUNGE\r\n"
NUMBERED = re.compile(rb"\* \d+ (?:FETCH|EXPUNGE)\b|[^*+ \r\n][^ \r\n]{0,127} (?:OK|NO|BAD)")


def numbered(cuts: list[bytes], numbers: frozenset[bytes]) -> list[tuple[Piece, bytes]]:
    skimmer = Skimmer(NUMBERED, 1000)
    skimmer.want(NUMBERED, numbers)
    return [piece for cut in cuts for piece in skimmer.feed(cut)]


@given(st.lists(LISTED, max_size=12), st.lists(st.integers(0, 2000), max_size=12), st.sampled_from([frozenset(), frozenset([b"5"])]))
def test_of_fetch_responses_only_those_of_the_messages_named_are_cut_out(
    responses: list[bytes], points: list[int], numbers: frozenset[bytes]
) -> None:
    data = b"".join(responses)
    cut = numbered(pieces_of(data, points), numbers)
    due = [each for each in responses if each[:1] == b"a" or (b"FETCH" in each and (each[:4] == b"* 05" or each.split()[1] in numbers))]
    assert octets(cut) == data
    found = wanted(cut)
    assert [each for each in found if each in due] == due
    # Behind a response of another kind, or an odd one, more may be cut out than was named, never less.
    assert found == due or any(each[:4] in (b"a1 O", b"* 05") for each in responses)


def test_behind_an_expunge_every_fetch_response_is_cut_out() -> None:
    renumbered = b"* 4 FETCH (UID 5 FLAGS ())\r\n"
    pieces = numbered([renumbered + MOVES + renumbered], frozenset([b"5"]))
    assert pieces == [(Piece.RUN, renumbered), (Piece.WANTED, MOVES), (Piece.WANTED, renumbered)]


def test_a_long_list_of_which_nothing_is_wanted_is_one_run() -> None:
    lines = b"".join(b'* %d FETCH (UID %d FLAGS (\\Seen) ENVELOPE ("x" {2}\r\n* NIL))\r\n' % (n, n) for n in range(10, 60))
    lines += b"".join(b"* %d FETCH (UID %d FLAGS ())\r\n" % (n, n) for n in range(60, 500))
    skimmer = Skimmer(NUMBERED, 1000)
    skimmer.want(NUMBERED, frozenset([b"5"]))
    assert skimmer.feed(lines + b"* 5") == [(Piece.RUN, lines)]
    assert skimmer.at_boundary
    assert skimmer.feed(b" FETCH (UID 1)\r\n") == [(Piece.WANTED, b"* 5 FETCH (UID 1)\r\n")]


def test_many_bodies_of_which_none_is_wanted_are_one_run_and_the_last_literal_is_left() -> None:
    bodies = b"".join(b"* %d FETCH (UID %d BODY[] {9}\r\n* 5 FETCH)\r\n" % (n, n) for n in range(10, 60)) + b"* 60 FETCH (BODY[] {9}\r\n* 5"
    skimmer = Skimmer(NUMBERED, 1000)
    skimmer.want(NUMBERED, frozenset([b"5"]))
    assert skimmer.feed(bodies) == [(Piece.RUN, bodies)]
    assert skimmer.left == 6
