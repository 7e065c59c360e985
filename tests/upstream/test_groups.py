"""Groups: who comes where, and that he stays there."""

from __future__ import annotations

from collections import Counter

from portico.config.sections.upstream import Group, Member
from portico.upstream.groups import order, shares

USERS = [f"user{number}@example.org" for number in range(4000)]


def group(*members: Member, sticky: bool = True) -> Group:
    return Group(members=list(members), sticky=sticky)


def test_a_user_always_comes_to_the_same_member_however_his_name_is_written_and_in_whatever_order_they_stand() -> None:
    one = group(Member(server="a"), Member(server="b"), Member(server="c"))
    other = group(Member(server="c"), Member(server="a"), Member(server="b"))
    for user in USERS[:200]:
        assert order(one, user) == order(other, user.upper())


def test_users_are_spread_by_weight() -> None:
    members = (Member(server="a", weight=1), Member(server="b", weight=3))
    found = Counter(order(group(*members), user)[0] for user in USERS)
    assert shares(members) == {"a": 0.25, "b": 0.75}
    assert abs(found["b"] / len(USERS) - 0.75) < 0.03


def test_a_member_that_goes_takes_only_its_own_users_along() -> None:
    three = group(Member(server="a"), Member(server="b"), Member(server="c"))
    two = group(Member(server="a"), Member(server="c"))
    for user in USERS:
        with_b, without = order(three, user), order(two, user)
        assert [server for server in with_b if server != "b"] == without


def test_a_lower_order_comes_first_whatever_the_weights() -> None:
    it = group(Member(server="spare", order=1, weight=1000), Member(server="a"), Member(server="b"))
    assert {order(it, user)[2] for user in USERS[:100]} == {"spare"}
    assert shares(it.members)["spare"] == 0


def test_a_group_that_is_not_sticky_spreads_the_sessions_of_one_user() -> None:
    it = group(Member(server="a"), Member(server="b", weight=3), sticky=False)
    found = Counter(order(it, "alice")[0] for _ in range(4000))
    assert abs(found["b"] / 4000 - 0.75) < 0.05


def test_where_a_user_goes_is_the_same_in_every_version() -> None:
    """Another hash would send all users elsewhere with an upgrade, and processes that are being upgraded would disagree."""
    it = group(Member(server="a"), Member(server="b"), Member(server="c"))
    assert [order(it, user)[0] for user in ("alice", "bob", "carol", "dave", "erin", "frank")] == ["c", "c", "b", "c", "a", "b"]
