"""Units as people write them, and secrets that are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.settings import SessionLimits, Timeouts
from portico.config.units import GIB, HOURS, KIB, MINUTES, parse_duration, parse_secret, parse_size
from portico.errors import Secret
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("1.5m", 90), ("5 min", 300), ("2h", 2 * HOURS), ("1d", 24 * HOURS), (" 10S ", 10), ("0s", 0)],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("value", ["30", "", "s", "-1s", "1e3s", "30 parsecs", 30, True, None, ["30s"], "9" * 400 + "s", "1.s"])
def test_what_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='as "30s", "5m" or "2h"'):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        ("64KiB", 64 * KIB),
        ("64kib", 64 * KIB),
        ("10MB", 10_000_000),
        ("1 GiB", GIB),
        ("100", 100),
        ("100B", 100),
        (100, 100),
        (0, 0),
        ("1kB", 1000),
    ],
)
def test_sizes(value: object, octets: int) -> None:
    assert parse_size(value) == octets


@pytest.mark.parametrize("value", ["", "KiB", "-1", -1, 1.5, "1.5KiB", True, None, "64 furlongs", "64K"])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match='as "64KiB"'):
        parse_size(value)


def test_settings_made_in_python_take_plain_seconds_and_octets() -> None:
    assert Timeouts(login=0.1).login == 0.1
    assert SessionLimits(line=100).line == 100


def test_a_time_out_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError):
        Timeouts(login=0.0)


def test_a_time_that_never_ends_is_refused() -> None:
    with pytest.raises(ValidationError):
        Timeouts(login=float("inf"))


def test_a_secret_is_a_text_or_in_a_file_or_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_bytes(b"from file\r\n")
    monkeypatch.setenv("PORTICO_TEST_SECRET", "from env\u00e9")
    assert parse_secret("text").reveal() == b"text"
    assert parse_secret({"file": "password"}, tmp_path).reveal() == b"from file"
    assert parse_secret({"file": str(tmp_path / "password")}).reveal() == b"from file"
    assert parse_secret({"env": "PORTICO_TEST_SECRET"}).reveal() == "from env\u00e9".encode()
    assert parse_secret(Secret("s")) == Secret("s")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"fiel": "geheim"}, "did you mean file"),
        ({"file": "geheim", "env": "geheim"}, "is expected"),
        ({"file": 7}, "is expected"),
        (["geheim"], "is expected"),
        (7, "is expected"),
        ("", "is empty"),
        ("geheim\0", "NUL"),
        ({"env": "PORTICO_NOT_SET"}, "no variable PORTICO_NOT_SET"),
        ({"file": "not/there"}, "No such file"),
        ({"file": "."}, "Is a directory"),
        ({"file": "empty"}, "is empty"),
        ({"file": "long"}, "longer than"),
        ({"file": "x\0"}, "cannot be used"),
    ],
)
def test_what_is_no_secret_is_refused_without_showing_it(tmp_path: Path, value: object, message: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "long").write_bytes(b"geheim" * 20_000)
    with pytest.raises(ValueError, match=message) as caught:
        parse_secret(value, tmp_path)
    assert "geheim" not in str(caught.value)


def test_minutes_are_seconds() -> None:
    assert Timeouts().write == 5 * MINUTES
