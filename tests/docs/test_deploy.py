"""docs/deploy: what the files call is there, and they agree with each other, with the program and with their page."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from portico.cli.exits import Exit
from portico.cli.main import portico as program
from portico.cli.where import DEFAULT_FILES
from portico.config.address import parse_address
from portico.config.load import load
from portico.config.settings import Portico
from portico.config.units import SECONDS, parse_duration
from portico.tls.issue import issue_into

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "docs" / "deploy"
PAGE = (ROOT / "docs" / "how-to" / "run-it-in-production.md").read_text("utf-8")
PROGRAM = "/opt/portico/bin/portico"


def text(name: str) -> str:
    return (DEPLOY / name).read_text("utf-8")


def unit(name: str) -> list[tuple[str, str]]:
    """The settings of a unit file, in order."""
    lines = [line for line in text(name).splitlines() if line and not line.startswith(("#", "["))]
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines]


def values(name: str, key: str) -> list[str]:
    return [value for found, value in unit(name) if found == key]


def value(name: str, key: str) -> str:
    (only,) = values(name, key)
    return only


def understood(arguments: list[str]) -> bool:
    """Whether the command line takes these words; nothing is run."""
    context: click.Context = click.Context(program, info_name="portico")
    name, command, rest = program.resolve_command(context, list(arguments))
    assert command is not None
    command.make_context(name, rest, parent=context)
    return True


COMMANDS = [words[1:] for words in map(shlex.split, (v for k, v in unit("portico.service") if k.startswith("Exec"))) if words[0] == PROGRAM]
ENTRY = re.findall(r"^CMD \[(.*)\]$", text("Dockerfile"), re.MULTILINE)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_each_command_of_the_unit_is_one(arguments: list[str]) -> None:
    assert understood(arguments)
    assert arguments[arguments.index("-c") + 1] == DEFAULT_FILES[-1]


def test_the_unit_starts_checks_and_reloads() -> None:
    assert [words[0] for words in COMMANDS] == ["run", "check"]
    assert values("portico.service", "ExecReload")[-1] == "/bin/kill -HUP $MAINPID"


def test_what_cannot_become_better_is_not_tried_again() -> None:
    assert value("portico.service", "RestartPreventExitStatus").split() == [str(int(Exit.USAGE)), str(int(Exit.SETTINGS))]


def test_systemd_waits_longer_than_portico_drains() -> None:
    drain = Portico.model_fields["workers"].get_default(call_default_factory=True).drain
    assert parse_duration(value("portico.service", "TimeoutStopSec")) >= drain + 30 * SECONDS


def test_one_user_and_one_directory_of_each_kind_everywhere() -> None:
    user = value("portico.service", "User")
    assert user == value("portico.service", "Group") == "portico"
    assert re.search(rf"^u {user} ", text("portico.sysusers.conf"), re.MULTILINE)
    assert f" {user} --" not in text("Dockerfile") and f"\nUSER {user}\n" in text("Dockerfile")
    kinds = {"ConfigurationDirectory": "/etc", "RuntimeDirectory": "/run", "StateDirectory": "/var/lib", "LogsDirectory": "/var/log"}
    for kind, parent in kinds.items():
        where, mode = f"{parent}/{value('portico.service', kind)}", value("portico.service", f"{kind}Mode")
        assert re.search(rf"^d {where} +{mode} ", text("portico.tmpfiles.conf"), re.MULTILINE), where
        assert f"`{where}" in PAGE
    assert DEFAULT_FILES[-1] == "/etc/portico/portico.toml"
    assert text("portico.logrotate").count("/var/log/portico/*.log {") == 1
    # systemd gives the directory to the unit's user and group at each start; all others have to agree.
    for line in ("/var/log/portico  0750 portico portico", "su portico portico", "create 0640 portico portico"):
        assert line in text("portico.logrotate") + text("portico.tmpfiles.conf")


def test_the_sockets_are_the_listeners_of_the_settings() -> None:
    opened = [str(parse_address(address)) for address in values("portico.socket", "ListenStream")]
    named = re.findall(r'"([^"]+:\d+)"', "".join(re.findall(r"^addresses = .*$", text("portico.toml"), re.MULTILINE)))
    assert sorted(opened) == sorted(named)
    ports = {address.rpartition(":")[2] for address in named}
    assert set(re.findall(r"^EXPOSE (.*)$", text("Dockerfile"), re.MULTILINE)[0].split()) == ports


def test_the_image_starts_what_the_command_line_knows() -> None:
    assert re.search(r'^ENTRYPOINT \["portico"\]$', text("Dockerfile"), re.MULTILINE)
    assert understood([word.strip('" ') for word in ENTRY[0].split(",")])


def test_the_image_is_made_of_what_is_there() -> None:
    kept = re.findall(r"^!(.+)$", text("Dockerfile.dockerignore"), re.MULTILINE)
    assert kept and all((ROOT / name).exists() for name in kept)
    setup = (ROOT / "setup.cfg").read_text("utf-8")
    for extra in re.findall(r"/src\[([\w,]+)\]", text("Dockerfile"))[0].split(","):
        assert f"\n{extra} =\n" in setup


def test_the_settings_are_good_but_for_the_files_that_each_site_has_its_own(tmp_path: Path) -> None:
    for name in ("mail.pem", "mail.key", "internal-ca.pem"):
        assert f'"{name}"' in text("portico.toml")
    issue_into(tmp_path, ["mail.example.org"])
    shutil.copy(tmp_path / "server.pem", tmp_path / "mail.pem")
    shutil.copy(tmp_path / "server.key", tmp_path / "mail.key")
    shutil.copy(tmp_path / "ca.pem", tmp_path / "internal-ca.pem")
    (tmp_path / "portico.toml").write_text(text("portico.toml").replace("/var/lib/portico", str(tmp_path)))
    assert set(load(tmp_path / "portico.toml").listeners) == {"imaps", "pop3s"}


def test_the_page_names_every_file() -> None:
    for file in filter(Path.is_file, DEPLOY.iterdir()):
        assert file.name.removesuffix(".dockerignore") in PAGE, file.name
