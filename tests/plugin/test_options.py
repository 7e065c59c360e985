"""Options of plugins: from a declaration and a table to values, or to mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from portico.config.units import Reading
from portico.errors import Secret
from portico.plugin import Duration, Option, SecretText, Size
from portico.plugin.options import Values, model_of, read
from pydantic import AfterValidator

OPTIONS = [
    Option("limit", Duration, "How long.", "30s"),
    Option("pause", Duration, "How long not.", 1.5),
    Option("room", Size, "How much.", "64KiB"),
    Option("words", list[str], "Which.", ["a"]),
    Option("mode", Literal["soft", "hard"], "How.", "soft"),
    Option("token", SecretText, "A secret.", None),
    Option("count", int, "How many."),
]


def values(table: dict[str, Any], reading: Reading | None = None) -> Any:
    found, problems = read(model_of("p", OPTIONS), table, reading)
    assert problems == []
    return found


def problems(table: dict[str, Any], *options: Option) -> dict[str, str]:
    found, wrong = read(model_of("p", options or OPTIONS), table, Reading(Path("/")))
    assert (found is None) == bool(wrong)
    return dict(wrong)


def test_defaults_may_be_written_as_in_a_file_or_be_the_value_itself() -> None:
    for reading in (None, Reading(Path("/"))):
        got = values({"count": 1}, reading)
        assert (got.limit, got.pause, got.room, got.words, got.mode, got.token) == (30.0, 1.5, 65536, ["a"], "soft", None)


def test_the_default_of_one_listener_is_not_that_of_another() -> None:
    one, other = values({"count": 1}), values({"count": 1})
    one.words.append("b")
    assert other.words == ["a"]


def test_values_are_frozen_and_secrets_do_not_print() -> None:
    got = values({"count": 1, "token": "xyzzy"})
    assert got.token == Secret("xyzzy") and "xyzzy" not in repr(got)
    with pytest.raises(ValueError, match="frozen"):
        got.count = 2


def test_a_secret_comes_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P_TOKEN", "plugh")
    assert values({"count": 1, "token": {"env": "P_TOKEN"}}).token == Secret("plugh")


def test_each_mistake_says_what_was_found_and_what_is_possible_but_no_secret() -> None:
    assert problems({"limit": 30, "room": "much", "words": "a", "mode": "herd", "token": 5, "cuont": 1}) == {
        "limit": 'found 30; a time with its unit is expected, as "30s", "5m" or "2h"'.removeprefix("found 30; "),
        "room": 'a size is expected, as "64KiB", "10MB" or a number of octets',
        "words": 'found "a"; possible: a list of texts',
        "mode": 'found "herd"; possible: "soft" or "hard"; did you mean hard',
        "token": 'a text, {file = "path"} or {env = "NAME"} is expected',
        "cuont": "there is no such option; possible: count, enabled, limit, mode, pause, room, token, words; did you mean count",
        "count": "is needed",
    }


def test_the_words_of_a_plugins_own_check_are_told() -> None:
    def even(number: int) -> int:
        if number % 2:
            raise ValueError("an even number is expected")
        return number

    option = Option("legs", Annotated[int, AfterValidator(even)], "How many.")
    assert problems({"legs": 3}, option) == {"legs": "an even number is expected"}
    assert problems({"legs": "three"}, option) == {"legs": 'found "three"; possible: a whole number'}


@pytest.mark.parametrize("word", ["no", 0, None])
def test_enabled_is_true_or_false(word: Any) -> None:
    assert problems({"enabled": word, "count": 1}) == {"enabled": "true or false is expected"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([Option("enabled", bool, "Reserved.")], "reserved"),
        ([Option("two words", str, "x")], "not a name"),
        ([Option("_x", str, "x")], "not a name"),
        ([Option("x", str, "x"), Option("x", int, "y")], "declared twice"),
        ([Option("x", str, "")], "has no help"),
        ([Option("x", Duration, "x", "soon")], "the default of option x, 'soon', is not of its type"),
        ([Option("x", int, "x", "5")], "the default of option x, '5', is not of its type"),
    ],
)
def test_a_declaration_that_makes_no_sense_is_refused(options: list[Option], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        model_of("p", options)


def test_only_options_are_options() -> None:
    with pytest.raises(TypeError, match="str is no Option"):
        model_of("p", ["limit"])  # type: ignore[list-item]


def test_a_plugin_without_options_takes_none() -> None:
    assert isinstance(read(model_of("p", ()), {})[0], Values)
    assert read(model_of("p", ()), {"x": 1})[1] == [("x", "there is no such option; possible: enabled")]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Duration, "time"), (Size, "size"), (SecretText, "secret"), (str, "text"), (bool, "true or false"), (int, "number"),
        (list[str], "list of texts"), (Literal["a", "b"], '"a" or "b"'), (Annotated[int, "x"], "number"), (float, "number"), (dict[str, str], "table"),
    ],
)  # fmt: skip
def test_types_are_told_as_people_say_them(kind: Any, said: str) -> None:
    assert Option("x", kind, "x").type_name == said
