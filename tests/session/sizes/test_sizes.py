"""What was told of sizes stays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.session.sizes.sizes import MOST_OCTETS, MOST_UID, Size, Sizes

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
    assert list(told.each()) == sorted((uid, *size) for uid, size in first.items())
    assert {uid: told.get(uid) for uid in first} == first
    assert told.estimated == sum(size.estimated for size in first.values())
    assert len(told) == len(first)
    again = Sizes(told.new)
    assert {uid: again.get(uid) for uid in first} == first
    assert again.new == []


@given(ROWS, st.sets(st.integers(1, 40)))
def test_messages_that_have_left_are_forgotten_and_those_that_came_since_are_not(
    rows: list[tuple[int, int, bool]], there: set[int]
) -> None:
    told = Sizes()
    for uid, octets, estimated in rows:
        told.tell(uid, octets, estimated=estimated)
    before = list(told.each())
    gone = told.only(there)
    kept = [row for row in before if row[0] in there or row[0] > max(there, default=0)]
    assert list(told.each()) == kept and sorted(told.new) == kept
    assert gone == [uid for uid, _, _ in before if uid not in {row[0] for row in kept}]
    assert told.estimated == sum(estimated for _, _, estimated in kept)


def test_a_list_from_the_newest_to_the_oldest_moves_no_more_than_one_in_order() -> None:
    told = Sizes()
    for uid in range(20_000, 0, -1):
        told.tell(uid, uid, estimated=True)
    assert [told.get(uid) for uid in (1, 4711, 20_000)] == [(1, True), (4711, True), (20_000, True)]
    assert [uid for uid, _, _ in told.each()] == list(range(1, 20_001))


def test_a_size_that_cannot_be_is_told_as_the_most() -> None:
    assert Sizes().tell(MOST_UID, 1 << 63, estimated=False) == MOST_OCTETS
