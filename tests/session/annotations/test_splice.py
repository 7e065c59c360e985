"""Whatever range a client asks for, it gets that range of the annotated section."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.session.annotations.splice import Insert, Range, Splice, asked_of_server, total

SECTIONS = st.binary(max_size=60)


@st.composite
def sections(draw: st.DrawFn) -> tuple[bytes, list[Insert]]:
    section = draw(SECTIONS)
    places = draw(st.lists(st.integers(0, len(section)), max_size=3, unique=True))
    return section, [Insert(at, draw(st.binary(min_size=1, max_size=20))) for at in places]


def annotated(section: bytes, inserts: list[Insert]) -> bytes:
    out, last = b"", 0
    for at, octets in sorted(inserts):
        out += section[last:at] + octets
        last = at
    return out + section[last:]


def fed(splice: Splice, literal: bytes, cuts: list[int]) -> bytes:
    out, last = b"", 0
    for cut in [*sorted(cut % (len(literal) + 1) for cut in cuts), len(literal)]:
        if cut > last:
            out += splice.feed(literal[last:cut])
        last = cut
    return out + splice.finish()


@given(sections(), st.lists(st.integers(0, 100), max_size=4))
def test_a_whole_section_has_every_insertion_in_its_place_however_it_is_cut(made: tuple[bytes, list[Insert]], cuts: list[int]) -> None:
    section, inserts = made
    splice = Splice(0, len(section), inserts)
    assert splice.count == len(section) + total(inserts)
    assert fed(splice, section, cuts) == annotated(section, inserts)


@given(sections(), st.integers(0, 130), st.integers(1, 130), st.integers(0, 70), st.lists(st.integers(0, 100), max_size=4))
def test_a_range_is_that_range_of_the_annotated_section(
    made: tuple[bytes, list[Insert]], start: int, count: int, more: int, cuts: list[int]
) -> None:
    section, inserts = made
    wanted = Range(start, count)
    ask = asked_of_server(wanted, total(inserts) + more)  # another message of the same command may grow by more
    literal = section[ask.start : ask.start + ask.length]
    begin = min(ask.start, len(section))
    splice = Splice(begin, len(literal), inserts, wanted)
    expected = annotated(section, inserts)[start : start + count]
    assert splice.count == len(expected)
    assert fed(splice, literal, cuts) == expected
