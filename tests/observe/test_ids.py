from __future__ import annotations

import re

from portico.observe.ids import Ids


def test_ids_are_unique_within_and_across_processes() -> None:
    frozen = [Ids(lambda: 10**18) for _ in range(4)]
    made = [ids.new() for ids in frozen for _ in range(5000)]
    assert len(set(made)) == len(made)


def test_an_id_is_sixteen_characters_that_need_no_quoting_anywhere() -> None:
    assert all(re.fullmatch(r"[0-9a-hjkmnp-tv-z]{16}", Ids().new()) for _ in range(50))


def test_ids_sort_by_time() -> None:
    now = 1_800_000_000_000_000_000
    ids = Ids(lambda: now)
    made = []
    for _ in range(50):
        now += 7_000_000
        made.append(ids.new())
    assert made == sorted(made)
