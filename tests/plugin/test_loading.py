"""Which plugins there are, and what is wrong with them or with what the settings say of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from portico.config.document import spell
from portico.errors import PluginError
from portico.plugin import Option, hookimpl
from portico.plugin.loading import inspect, known, mistakes


class Fine:
    """Wants a word."""

    portico_interests = ("command delete", "fetch item body[]", "response *", "annotations", "transforms")

    @hookimpl
    def settings_declared(self) -> list[Option]:
        return [Option("word", str, "A word."), Option("count", int, "A number.", 1)]

    @hookimpl
    def session_opened(self, session: Any, options: Any) -> None: ...


def told(text: str, **plugins: object) -> list[str]:
    data = tomllib.loads("[listeners.one]\n[listeners.two]\n" + text)
    return [f"{spell(problem.key_path)}: {problem.text}" for problem in mistakes(data, extra={"fine": Fine, **plugins})]


def announce(place: Path, distribution: str, name: str, source: str) -> None:
    module = distribution.replace("-", "_")
    info = place / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[portico.plugins]\n{name} = {module}:Plugin\n")
    (place / f"{module}.py").write_text(source)


def test_what_a_plugin_says_of_itself_is_known_before_it_is_asked_anything() -> None:
    loaded = inspect("fine", Fine)
    assert loaded.hooks == ("settings_declared", "session_opened")
    assert [option.name for option in loaded.options] == ["word", "count"]
    assert loaded.interests == ("command DELETE", "fetch item BODY[]", "response *", "annotations", "transforms")


def test_an_object_and_a_module_are_plugins_too() -> None:
    plugin = Fine()
    assert inspect("fine", plugin).plugin is plugin


@pytest.mark.parametrize(
    ("interests", "complaint"),
    [
        ("command NOOP", "a tuple of texts is expected"),
        (5, "a tuple of texts is expected"),
        (("NOOP",), "'NOOP' is none of 'command NAME'"),
        ((5,), "5 is none of 'command NAME'"),
        (("fetch FLAGS",), "'fetch FLAGS' is none of"),
    ],
)
def test_interests_that_are_declared_otherwise_are_an_error_at_start(interests: Any, complaint: str) -> None:
    plugin = type("P", (Fine,), {"portico_interests": interests})
    with pytest.raises(PluginError, match=complaint):
        inspect("p", plugin)


def test_hooks_around_hooks_are_refused() -> None:
    class Around:
        @hookimpl(wrapper=True)
        def session_opened(self) -> Any:
            return (yield)

    with pytest.raises(PluginError, match="session_opened is a wrapper"):
        inspect("around", Around)


@pytest.mark.parametrize(
    "source", ["raise SystemExit(1)", "import there_is_no_such_module", "Plugins = 5", "class Plugin:\n def __init__(self): exit()"]
)
def test_whatever_keeps_a_plugin_from_being_loaded_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, request: pytest.FixtureRequest
) -> None:
    name = f"bad-{abs(hash(request.node.name))}"
    announce(tmp_path, name, "bad", source)
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = told("[listeners.two.plugins.bad]")
    assert problem.startswith("listeners.two.plugins.bad: cannot be ")


def test_a_name_that_two_distributions_give_is_neithers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for distribution in ("one-door", "another-door"):
        announce(tmp_path, distribution, "door", "from portico.plugin import hookimpl")
    monkeypatch.syspath_prepend(tmp_path)
    assert told("[plugins.door]") == ["plugins.door: is installed twice, by another-door and one-door"]
    assert "door" in known(None)


def test_every_mistake_is_told_once_where_it_stands() -> None:
    assert told(
        """
        [plugins.fine]
        count = "three"
        wrod = "x"
        [plugins.fime]
        [listeners.one.plugins.fine]
        word = 5
        [listeners.two.plugins.fine]
        word = "good"
        colour = "red"
        """
    ) == [
        "plugins.fime: " + told("[plugins.fime]")[0].partition(": ")[2],
        "listeners.one.plugins.fine.word: found 5; possible: a text",
        'plugins.fine.count: found "three"; possible: a whole number',
        "plugins.fine.wrod: there is no such option; possible: count, enabled, word; did you mean word",
        "listeners.two.plugins.fine.colour: there is no such option; possible: count, enabled, word",
    ]
    assert told("[plugins.fime]")[0].endswith("; did you mean fine")


def test_what_is_missing_is_missed_only_where_the_plugin_takes_part() -> None:
    assert told("[plugins.fine]") == ["plugins.fine.word: is needed"]
    assert told("[listeners.one.plugins.fine]") == ["listeners.one.plugins.fine.word: is needed"]
    assert told("[plugins.fine]\nenabled = false") == []
    assert told("[plugins.fine]\nenabled = false\n[listeners.one.plugins.fine]\nenabled = true") == [
        "listeners.one.plugins.fine.word: is needed"
    ]
    assert told('[plugins.fine]\nword = "x"\n[listeners.one.plugins.fine]\nenabled = false') == []


@pytest.mark.parametrize("text", ["plugins = 5", "[plugins]\nfine = 5", "[listeners.three]\nplugins = 5"])
def test_what_is_no_table_is_somebody_elses_mistake(text: str) -> None:
    data = tomllib.loads(text)
    assert mistakes(data, extra={"fine": Fine}) == []
