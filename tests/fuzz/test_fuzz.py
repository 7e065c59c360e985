"""The fuzzer finds what is there to be found, tells it so that it can be repeated, and finds nothing in Portico in a few seconds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from portico.session.imap.session import ImapSession
from portico_fuzz import driver, main
from portico_fuzz.driver import Target
from portico_fuzz.session_targets import ImapDialogue
from portico_fuzz.source import Source
from portico_fuzz.world import World


def _dislikes_literals(data: bytes) -> None:
    if b"{5}" in data:
        raise ValueError("a literal")


GRUMPY = Target("grumpy", _dislikes_literals, [b"a1 LOGIN {5}\r\nalice x\r\n", b"a1 NOOP\r\n"])


@pytest.mark.parametrize("target", main.TARGETS, ids=lambda target: target.name)
def test_a_short_run_finds_nothing(target: Target) -> None:
    count, failure = driver.by_chance(target, 5 / len(main.TARGETS), seed=9051)
    assert failure is None, f"{failure.error}\n{failure.data!r}" if failure else ""
    assert count


@pytest.mark.parametrize("target", main.TARGETS, ids=lambda target: target.name)
def test_the_seeds_themselves_break_nothing(target: Target) -> None:
    failures = [driver.failure_of(target, data) for data in (b"", *target.seeds)]
    assert failures == [None] * len(failures)


def test_what_is_broken_is_found_and_made_as_short_as_it_can_be() -> None:
    _, failure = driver.by_chance(GRUMPY, 10, seed=1)
    assert failure is not None
    assert failure.data == b"{5}"
    assert "ValueError: a literal" in failure.error


def test_the_same_seed_gives_the_same_octets() -> None:
    first, second = ([driver.generate(GRUMPY, random.Random("7")) for _ in range(3)] for _ in range(2))
    assert first == second


def test_a_failure_is_kept_and_can_be_replayed(tmp_path: Path) -> None:
    path = driver.keep(driver.Failure("syntax", b"{5}", ""), tmp_path / "found")
    assert path.read_bytes() == b"{5}"
    assert main.main(["--target", "syntax", "--replay", str(path)]) == 0


def test_the_driver_gets_deep_into_a_session() -> None:
    chance = random.Random("deep")
    ends = {"tunnel": 0, "watch": 0}
    for _ in range(300):
        world = World(Source(chance.randbytes(1000)), "imap", ImapSession, ImapDialogue())
        world.run()
        if world.tunnel is not None:
            ends["tunnel"] += 1
        elif any("mode': 'watch" in letter for letter in world.letters):
            ends["watch"] += 1
    assert min(ends.values()) > 10, ends


def test_an_unknown_target_is_a_wrong_option() -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["--target", "ftp"])
    assert ended.value.code == 2
