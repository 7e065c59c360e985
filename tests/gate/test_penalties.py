"""What an address pays: as Dovecot has it, but that a right password takes nothing off, and waits for nothing where it was right before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from portico.errors import Secret
from portico.gate.penalties import Penalties, digest_key, digest_of

SPEED = {"first": 2.0, "longest": 15.0, "step": 900.0}
KEY = digest_key(Secret("of the proxies"))


class Town:
    """Penalties with a clock that the test sets."""

    def __init__(self, most: int = 1000) -> None:
        self.now = 1000.0
        self.penalties = Penalties(lambda: self.now, most)

    def wrong(self, network: str, password: str, user: str = "alice") -> None:
        self.penalties.wrong(network, digest_of(KEY, user, Secret(password), network), **SPEED)

    def delay(self, network: str, password: str = "new", user: str = "alice") -> float:
        return self.penalties.delay(network, digest_of(KEY, user, Secret(password), network), **SPEED)


def test_the_delay_of_an_address_grows_with_each_new_wrong_password_and_of_no_other() -> None:
    town = Town()
    delays = [town.delay("192.0.2.1")]
    for number in range(6):
        town.wrong("192.0.2.1", f"guess {number}")
        delays.append(town.delay("192.0.2.1"))
    assert delays == [0, 2, 4, 8, 15, 15, 15]
    assert town.delay("192.0.2.2") == 0


def test_the_same_wrong_password_of_the_same_user_counts_once() -> None:
    town = Town()
    for _ in range(50):
        town.wrong("192.0.2.1", "old password")
    assert town.delay("192.0.2.1") == 2
    town.wrong("192.0.2.1", "old password", user="ALICE")
    assert town.delay("192.0.2.1") == 2
    town.wrong("192.0.2.1", "old password", user="bob")
    assert town.delay("192.0.2.1") == 4


def test_what_nobody_adds_to_is_forgotten_step_by_step_and_then_not_kept() -> None:
    town = Town()
    for number in range(20):
        town.wrong("192.0.2.1", f"guess {number}")
    seen = []
    for _ in range(5):
        seen.append(town.delay("192.0.2.1"))
        town.now += 900
    assert seen == [15, 8, 4, 2, 0]
    assert len(town.penalties) == 0


def test_while_a_wrong_password_costs_nothing_none_is_counted_and_nobody_pays_for_it_later() -> None:
    town = Town()
    for number in range(3000):
        town.penalties.wrong("192.0.2.1", f"{number}", first=0.0, longest=15.0, step=900.0)
    assert len(town.penalties) == 0
    assert town.delay("192.0.2.1") == 0


def test_who_has_an_account_of_his_own_guesses_no_faster_at_others() -> None:
    town = Town()
    for number in range(3):
        town.wrong("192.0.2.1", f"guess {number}", user="victim")
        town.penalties.right(digest_of(KEY, "mallory", Secret("my own"), "192.0.2.1"))
    assert town.delay("192.0.2.1", "guess 4", "victim") == 8
    assert town.delay("192.0.2.1", "my own", "mallory") == 0


def test_a_good_user_behind_a_guessers_address_waits_for_nothing_until_the_password_changes() -> None:
    town = Town()
    town.penalties.right(digest_of(KEY, "alice", Secret("wonderland"), "192.0.2.1"))
    for number in range(10):
        town.wrong("192.0.2.1", f"guess {number}")
    assert town.delay("192.0.2.1", "wonderland") == 0
    town.wrong("192.0.2.1", "wonderland")  # the server does not take it any more
    assert town.delay("192.0.2.1", "wonderland") == 15


def test_who_guesses_beside_a_user_and_does_not_stay_for_the_answer_soon_learns_nothing_by_that() -> None:
    town = Town()
    town.penalties.right(digest_of(KEY, "alice", Secret("wonderland"), "192.0.2.1"))
    town.wrong("192.0.2.1", "guess")
    for number in range(500):  # these wait, and are found wrong
        assert town.delay("192.0.2.1", f"guess {number}") > 0
        town.wrong("192.0.2.1", f"guess {number}")
    assert town.delay("192.0.2.1", "wonderland") == 0
    for number in range(500):  # these are right
        digest = digest_of(KEY, "bob", Secret(f"right {number}"), "192.0.2.1")
        assert town.delay("192.0.2.1", f"right {number}", "bob") == 15
        town.penalties.right(digest, "192.0.2.1")
        town.penalties.right(digest, "192.0.2.1")
    assert town.delay("192.0.2.1", "wonderland") == 0
    for number in range(100):  # these have left
        town.delay("192.0.2.1", f"dash {number}")
    assert town.delay("192.0.2.1", "wonderland") == town.delay("192.0.2.1", "looking glass") == 15
    town.now += 900
    assert town.delay("192.0.2.1", "wonderland") == 0


def test_who_is_heard_of_longest_ago_is_forgotten_first_and_memory_is_bounded() -> None:
    town = Town(most=100)
    for number in range(1000):
        town.wrong(f"198.51.{number >> 8}.{number & 255}", f"guess {number}")
        town.penalties.right(f"{number:024x}")
        town.wrong("192.0.2.1", f"guess {number}")
    assert len(town.penalties) == 100
    assert town.delay("192.0.2.1") == 15 and town.delay("198.51.0.0") == 0


@given(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=20), st.binary(max_size=20))
def test_a_digest_stands_for_one_user_with_one_password(one: str, first: bytes, two: str, second: bytes) -> None:
    digests = digest_of(KEY, one, Secret(first), "192.0.2.1"), digest_of(KEY, two, Secret(second), "192.0.2.1")
    assert (digests[0] == digests[1]) is ((one.casefold(), first) == (two.casefold(), second))
    assert digest_of(digest_key(Secret("of others")), one, Secret(first), "192.0.2.1") != digests[0]
    assert digest_of(KEY, one, Secret(first), "192.0.2.2") != digests[0]


def test_without_a_password_there_is_nothing_to_tell_apart_and_each_counts() -> None:
    town = Town()
    assert digest_of(KEY, "alice", None, "192.0.2.1") == ""
    for _ in range(3):
        town.penalties.wrong("192.0.2.1", "", **SPEED)
    assert town.penalties.delay("192.0.2.1", "", **SPEED) == 8


def test_a_network_that_is_not_counted_pays_nothing() -> None:
    town = Town()
    town.wrong("", "guess")
    assert len(town.penalties) == 0 and town.delay("") == 0
