"""Plugins as the command line sees them: what distributions announce."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from portico.cli.main import portico
from portico.cli.options import check_options
from portico.config.document import parse_document
from portico.config.load import understand
from portico.errors import SettingsError

SETTINGS = """\
[servers.mail]
imap = "127.0.0.1:143"
[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
plain_login = true
server = "mail"
[listeners.imap.plugins.login-notice]
text = "hello"
[plugins.other]
"""


@pytest.fixture
def announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with one plugin, on the path."""
    place = tmp_path / "acme_portico-1.2.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-portico\nVersion: 1.2\n")
    (place / "entry_points.txt").write_text("[portico.plugins]\nacme = acme_portico:plugin\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("announced")
def test_an_installed_plugin_is_listed_with_distribution_and_version() -> None:
    listed = json.loads(CliRunner().invoke(portico, ["plugins", "--json"]).stdout)
    assert {"name": "acme", "distribution": "acme-portico", "version": "1.2", "module": "acme_portico:plugin"} in listed


@pytest.mark.usefixtures("announced")
def test_the_table_has_one_line_for_each_plugin_and_no_colours_when_piped() -> None:
    result = CliRunner().invoke(portico, ["plugins"])
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    (row,) = [line.split() for line in result.stdout.splitlines() if line.startswith("acme ")]
    assert row == ["acme", "acme-portico", "1.2", "acme_portico:plugin"]


def test_a_plugin_that_is_not_installed_is_a_mistake_with_its_line(tmp_path: Path) -> None:
    loaded = understand(parse_document("portico.toml", SETTINGS), tmp_path)
    check_options(loaded, ["login-notice", "other"])
    with pytest.raises(SettingsError) as caught:
        check_options(loaded, ["login_notice", "others"])
    assert caught.value.problems == [
        "portico.toml:9: listeners.imap.plugins.login-notice: there is no such plugin; installed: login_notice, others; did you mean login_notice",
        "portico.toml:11: plugins.other: there is no such plugin; installed: login_notice, others; did you mean others",
    ]
    with pytest.raises(SettingsError, match="none is installed"):
        check_options(loaded, [])
