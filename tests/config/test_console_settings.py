"""[console]: nobody opens a door to the world, or one without a lock, by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.document import parse_document
from portico.config.load import Loaded, understand
from portico.errors import SettingsError

from tests.least import LEAST


def loaded(directory: Path, *lines: str) -> Loaded:
    (directory / "operators").touch()
    return understand(parse_document("portico.toml", "\n".join([LEAST + "[console]", *lines])), directory)


def problems(directory: Path, *lines: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(directory, *lines)
    return caught.value.problems


def test_it_is_off_unless_it_is_asked_for(tmp_path: Path) -> None:
    console = loaded(tmp_path).settings.console
    assert (console.address, console.socket, console.act) == (None, None, [])


def test_an_address_needs_keys_on_both_sides(tmp_path: Path) -> None:
    one, two = problems(tmp_path, 'address = "localhost:8022"')
    assert "console.address: needs authorized_keys" in one
    assert "console.address: needs host_key" in two
    keys = ('authorized_keys = "operators"', 'host_key = "key"')
    console = loaded(tmp_path, 'address = "localhost:8022"', *keys).settings.console
    assert console.host_key == str(tmp_path / "key")


@pytest.mark.parametrize("address", ["0.0.0.0:8022", "[::]:8022", "192.0.2.1:8022", "mail.example.org:8022"])
def test_an_address_that_others_can_reach_must_be_meant(tmp_path: Path, address: str) -> None:
    keys = ('authorized_keys = "operators"', 'host_key = "key"')
    (said,) = problems(tmp_path, f'address = "{address}"', *keys)
    assert "other machines can reach it: public = true, if that is meant" in said
    assert loaded(tmp_path, f'address = "{address}"', "public = true", *keys).settings.console.public


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['address = "8022"'], "an address with its port is expected"),
        (['address = "unix:/run/x"'], "SSH needs a host and a port"),
        (['address = "localhost:8022"', 'authorized_keys = "nowhere"', 'host_key = "key"'], "is not there"),
        (['address = "localhost:8022"', 'authorized_keys = "operators"', 'host_key = "nowhere/key"'], "the directory does not exist"),
        (['socket = "nowhere/ctl"'], "the directory does not exist"),
        ([f'socket = "/{"x" * 120}"'], "at most 107 octets"),
        (["connections = 0"], "connections"),
    ],
)
def test_mistakes_are_said_with_what_is_possible(tmp_path: Path, lines: list[str], said: str) -> None:
    assert any(said in each for each in problems(tmp_path, *lines))
