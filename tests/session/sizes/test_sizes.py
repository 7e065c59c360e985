"""What was told of sizes stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.session.sizes.sizes import Size, Sizes

ROWS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 1 << 40), st.booleans()), max_size=60)


@given(ROWS)
def test_the_first_size_told_of_a_message_is_the_one_that_stays(rows: list[tuple[int, int, bool]]) -> None:
    told = Sizes()
    first: dict[int, Size] = {}
    for uid, octets, estimated in rows:
        first.setdefault(uid, Size(octets, estimated))
        assert told.tell(uid, octets, estimated=estimated) == first[uid].octets
    assert {uid: told.get(uid) for uid in first} == first
    assert told.get(41) is None
    assert list(told.estimates()) == sorted((uid, size.octets) for uid, size in first.items() if size.estimated)
    assert told.estimated == sum(size.estimated for size in first.values())
    assert len(told) == len(first)
    again = Sizes(told.take_new())
    assert {uid: again.get(uid) for uid in first} == first
    assert told.take_new() == []
