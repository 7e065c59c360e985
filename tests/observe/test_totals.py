"""Several processes are one sum, and a counter never goes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.observe.health import together
from portico.observe.metrics import Counts, Samples
from portico.observe.totals import Totals, row, summed


def counted(**logins: int) -> Samples:
    counts = Counts()
    for result, number in logins.items():
        counts.count("portico_logins_total", "imap", result, by=number)
    counts.observe("portico_login_seconds", 0.02, "imap")
    return counts.samples()


def test_counters_and_histograms_are_added_and_gauges_as_each_wants_it() -> None:
    one: Samples = {**counted(ok=3, wrong=1), "portico_server_up": [["main", "imap", 1]], "portico_workers": [[1]]}
    two: Samples = {**counted(ok=4), "portico_server_up": [["main", "imap", 0]], "portico_workers": [[1]], "strange": [[1]]}
    both = summed([one, two])
    assert row(both, "portico_logins_total", "imap", "ok") == 7
    assert row(both, "portico_logins_total", "imap", "wrong") == 1
    assert sum(row(both, "portico_login_seconds", "imap")[:-1]) == 2
    assert row(both, "portico_server_up", "main", "imap") == 0
    assert row(both, "portico_workers") == 2
    assert "strange" not in both


def test_what_a_process_has_counted_outlives_it_and_what_it_was_does_not() -> None:
    totals = Totals()
    totals.said(0, {**counted(ok=3), "portico_workers": [[1]]})
    totals.ended(0)
    totals.ended(0)  # nobody is counted to the dead twice
    assert row(totals.together(), "portico_logins_total", "imap", "ok") == 3
    assert row(totals.together(), "portico_workers") == 0
    totals.said(0, counted(ok=1))  # another one with its number
    assert row(totals.together(counted(ok=1)), "portico_logins_total", "imap", "ok") == 5


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["count", "say", "end"])), max_size=60))
def test_a_counter_never_goes_back_whoever_ends_when(steps: list[tuple[int, str]]) -> None:
    totals = Totals()
    processes = {number: Counts() for number in range(3)}
    before = 0.0
    for number, step in steps:
        if step == "count":
            processes[number].count("portico_worker_ends_total")
        elif step == "say":
            totals.said(number, processes[number].samples())
        else:
            totals.ended(number)
            processes[number] = Counts()
        now = row(totals.together(), "portico_worker_ends_total")
        assert now >= before
        before = now


def test_a_sum_changes_nothing_of_what_it_was_made_from() -> None:
    one, two = counted(ok=1), counted(ok=1)
    summed([one, two])
    assert one == two == counted(ok=1)


def test_ready_is_who_is_open_and_reaches_a_server() -> None:
    well = {"draining": False, "listeners": {"imap": {"open": True, "servers": {"a": True, "b": False}}}}
    ill = {"draining": False, "listeners": {"imap": {"open": True, "servers": {"a": False, "b": False}}}}
    shut = {"draining": False, "listeners": {"imap": {"open": False, "servers": {"a": True, "b": True}}}}
    assert together([well]) == {"ready": True, "problems": [], **well}
    assert together([ill, well])["ready"]  # one worker reaches it
    assert together([ill])["problems"] == ["Listener imap: no server is well (a, b)."]
    assert together([shut])["problems"] == ["Listener imap is not open."]
    assert together([])["problems"] == ["No worker serves."]
    assert together([well], draining=True)["problems"] == ["Portico is stopping."]
