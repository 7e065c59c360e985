"""Plugins as the command line sees them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from portico.cli.main import portico

SETTINGS = """\
[servers.mail]
imap = "127.0.0.1:143"
[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
plain_login = true
server = "mail"
[listeners.imap.plugins.acme]
text = "hello"
[listeners.other]
protocol = "imap"
addresses = ["127.0.0.1:1144"]
tls = "none"
plain_login = true
server = "mail"
"""
PLUGIN = """
from portico.plugin import Duration, Option, hookimpl

class Acme:
    portico_interests = ("command DELETE",)

    @hookimpl
    def settings_declared(self):
        return [Option("text", str, "What is said."), Option("pause", Duration, "How long.", 5.0), Option("words", list[str], "Which.", ["a"])]

    @hookimpl
    def session_opened(self, session, options):
        return None
"""

SECRETIVE = """
from portico.plugin import Duration, Option, SecretText, Size, hookimpl

class Acme:
    @hookimpl
    def settings_declared(self):
        return [
            Option("pause", Duration, "How long.", "5s"), Option("pin", SecretText, "A number."), Option("db_password", str, "A word."),
            Option("words", list[str], "Which.", ["a"]), Option("room", Size, "How much.", None),
            Option("api_tokens", list[str], "Of whom.", []), Option("passwords", dict[str, str], "Of whom.", {}), Option("by_token", bool, "So.", True),
            Option("hosts", dict[str, str], "Where.", {"a": "b", "its password": "in-a-row"}),
        ]
"""


@pytest.fixture
def announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with two plugins, one of them broken, on the path."""
    place = tmp_path / "acme_portico-1.2.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-portico\nVersion: 1.2\n")
    (place / "entry_points.txt").write_text("[portico.plugins]\nacme = acme_portico:Acme\nbroken = acme_portico_broken:Plugin\n")
    (tmp_path / "acme_portico.py").write_text(PLUGIN)
    for module in ("acme_portico", "acme_portico_broken"):
        sys.modules.pop(module, None)  # of the test before
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "portico.toml"
    file.write_text(SETTINGS)
    return file


@pytest.mark.usefixtures("announced")
def test_an_installed_plugin_is_listed_with_all_that_it_says_of_itself() -> None:
    listed = {plugin["name"]: plugin for plugin in json.loads(CliRunner().invoke(portico, ["plugins", "--json"]).stdout)}
    assert listed["acme"] == {
        "name": "acme",
        "distribution": "acme-portico",
        "version": "1.2",
        "module": "acme_portico:Acme",
        "hooks": ["settings_declared", "session_opened"],
        "interests": ["command DELETE"],
        "options": [
            {"name": "text", "type": "text", "unit": "", "default": None, "help": "What is said."},
            {"name": "pause", "type": "time", "unit": "", "default": '"5s"', "help": "How long."},
            {"name": "words", "type": "list of texts", "unit": "", "default": '["a"]', "help": "Which."},
        ],
        "error": "",
        "listeners": [],
    }


@pytest.mark.usefixtures("announced")
def test_one_that_cannot_be_loaded_is_told_and_the_others_are_listed() -> None:
    result = CliRunner().invoke(portico, ["plugins"])
    assert result.exit_code == 1
    assert "broken: cannot be imported: ModuleNotFoundError" in result.stderr
    assert [line.split()[:3] for line in result.stdout.splitlines() if line.startswith("acme ")] == [["acme", "acme-portico", "1.2"]]
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("announced")
def test_the_table_has_no_colours_when_piped_and_tells_the_options() -> None:
    stdout = CliRunner().invoke(portico, ["plugins"]).stdout
    assert "\x1b" not in stdout
    assert "Options of acme:" in stdout
    assert any(line.split() == ["text", "text", "must", "be", "set", "What", "is", "said."] for line in stdout.splitlines())


@pytest.mark.usefixtures("announced")
def test_of_a_settings_file_only_those_that_it_names_are_listed_with_their_listeners(config: Path) -> None:
    (listed,) = json.loads(CliRunner().invoke(portico, ["plugins", "-c", str(config), "--json"]).stdout)
    assert (listed["name"], listed["listeners"]) == ("acme", ["imap"])


@pytest.mark.usefixtures("announced")
def test_mistakes_about_plugins_are_told_with_their_lines_and_with_all_others(config: Path) -> None:
    wrong = SETTINGS.replace('text = "hello"', "txt = 5").replace("127.0.0.1:1144", "127.0.0.1:114400")
    config.write_text(wrong + "[plugins.acne]\n[plugins.broken]\n")
    result = CliRunner().invoke(portico, ["check", "-c", str(config)])
    assert result.exit_code == 3
    lines = [line.removeprefix(f"{config}:") for line in result.stderr.splitlines()]
    assert [line.split(": ")[:2] for line in lines[:-1]] == [
        ["9", "listeners.imap.plugins.acme.text"],
        ["10", "listeners.imap.plugins.acme.txt"],
        ["13", "listeners.other.addresses[0]"],
        ["17", "plugins.acne"],
        ["18", "plugins.broken"],
    ]
    assert lines[1].endswith("there is no such option; possible: enabled, pause, text, words; did you mean text")
    assert lines[3].endswith("did you mean acme")
    assert "cannot be imported: ModuleNotFoundError" in lines[4]


@pytest.mark.usefixtures("announced")
def test_the_options_that_hold_on_each_listener_are_shown_and_no_secret_among_them(config: Path, tmp_path: Path) -> None:
    (tmp_path / "acme_portico.py").write_text(SECRETIVE)
    (tmp_path / "pin").write_text("from-a-file")
    config.write_text(
        SETTINGS.replace('text = "hello"', 'pin = {file = "pin"}')
        + '[plugins.acme]\npause = "90s"\npin = "in-the-file"\ndb_password = "as-a-text"\napi_tokens = ["in-a-list"]\npasswords = {bob = "in-a-table"}\n'
        + "[listeners.other.plugins.acme]\nenabled = false\n"
    )
    result = CliRunner().invoke(portico, ["check", "--show", "-c", str(config)])
    assert result.exit_code == 0
    (acme,) = [part for part in result.stdout.split("\n[") if "plugins.acme" in part.partition("]")[0]]
    assert acme.strip().splitlines() == [
        "listeners.imap.plugins.acme]", 'pause = "90s"', 'pin = "<secret>"', 'db_password = "<secret>"', 'words = ["a"]', "# room is not set",
        'api_tokens = "<secret>"', 'passwords = "<secret>"', "by_token = true",
        'hosts = {a = "b", "its password" = "<secret>"}',
    ]  # fmt: skip
    assert not any(secret in result.output for secret in ("from-a-file", "in-the-file", "as-a-text", "in-a-list", "in-a-table", "in-a-row"))


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize("source", ["raise SystemExit(7)", "raise KeyError('x')", "Acme = 5"])
def test_a_plugin_that_would_end_the_program_is_told_like_any_other(tmp_path: Path, source: str) -> None:
    (tmp_path / "acme_portico_broken.py").write_text(source)
    result = CliRunner().invoke(portico, ["plugins", "--json"])
    listed = {plugin["name"]: plugin for plugin in json.loads(result.stdout)}
    assert (result.exit_code, listed["acme"]["error"]) == (1, "")
    assert listed["broken"]["error"].startswith("cannot be imported: ")
