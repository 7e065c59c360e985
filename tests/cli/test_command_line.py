"""The command line as people and scripts use it."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from portico.cli.exits import Exit
from portico.cli.main import COMMANDS, portico
from portico.tls.issue import issue_into

SETTINGS = """\
[servers.mail]
imap = "127.0.0.1:143"
master_user = "m"
master_password = "geheim"

[listeners.imaps]
protocol = "imap"
addresses = ["127.0.0.1:1993"]
certificate = "server.pem"
key = "server.key"
server = "mail"
"""

Ask = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a certificate and good settings."""
    monkeypatch.chdir(tmp_path)
    for name in ("PORTICO_CONFIG", "PORTS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    issue_into(tmp_path, ["localhost", "127.0.0.1"])
    (tmp_path / "portico.toml").touch(mode=0o600)
    (tmp_path / "portico.toml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture
def ask(place: Path) -> Ask:
    """Calls the command in this process."""
    return lambda *args: CliRunner().invoke(portico, [str(arg) for arg in args], prog_name="portico")


def test_closed_standard_streams_are_no_fault_and_no_socket_gets_their_numbers(place: Path) -> None:
    def told(arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(["/bin/sh", "-c", f'"$0" -m portico {arguments}', sys.executable], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    assert told("check -c missing.toml 2>&-") == (Exit.SETTINGS, "", "")
    assert told("check >&- 2>&- <&-") == (Exit.OK, "", "")
    assert told("plugins --json >&-") == (Exit.OK, "", "")
    assert told("run -c missing.toml 2>&-") == (Exit.SETTINGS, "", "")
    # The log goes to standard error, which is not there; the address tells that it has come to listening.
    taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        (place / "portico.toml").write_text(SETTINGS.replace("127.0.0.1:1993", f"127.0.0.1:{taken.getsockname()[1]}"))
        assert told("run >&- 2>&- <&-") == (Exit.ADDRESS, "", "")


def process(*args: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portico", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})})


def every_command(group: click.Group = portico, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += every_command(command, (*path, name)) if isinstance(command, click.Group) else [((*path, name), command)]
    return found


# --- help, version, completion


def test_the_version_says_what_a_fault_report_needs() -> None:
    done = process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"portico \d+\.\d+\.\d+ \(Python 3\.\d+\.\d+\S*, OpenSSL .+\)\n", done.stdout)


def test_help_version_and_completion_load_nothing_of_the_proxy() -> None:
    code = (
        "import sys; from portico.cli.main import portico\n"
        "portico(['--help'], standalone_mode=False)\n"
        "print([n for n in sys.modules if n.split('.')[0] in ('pydantic', 'cryptography', 'rich', 'structlog')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n")


def test_the_list_of_commands_says_what_each_command_says_of_itself() -> None:
    context = click.Context(portico)
    for name, (_, text) in COMMANDS.items():
        command = portico.get_command(context, name)
        assert command is not None
        assert (command.help or "").splitlines()[0] == text


def test_every_option_and_command_has_help() -> None:
    commands = every_command()
    assert len(commands) >= 7
    for path, command in commands:
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


@pytest.mark.parametrize("arguments", [["--help"], ["run", "-h"], ["check", "--help"], ["certs", "new", "--help"], ["certs", "-h"]])
def test_help_is_an_answer(ask: Ask, arguments: list[str]) -> None:
    result = ask(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: portico")


def test_a_command_misspelt_has_its_near_name_and_exit_code_2(ask: Ask) -> None:
    result = ask("chekc")
    assert result.exit_code == Exit.USAGE
    assert "did you mean check" in result.stderr


def test_an_unknown_option_has_exit_code_2(ask: Ask) -> None:
    assert ask("check", "--shw").exit_code == Exit.USAGE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_completion_script(shell: str) -> None:
    done = process("completion", shell)
    assert done.returncode == 0
    assert "_PORTICO_COMPLETE" in done.stdout
    assert "portico" in done.stdout


def test_completion_knows_commands_and_options() -> None:
    # The script calls the command itself in this way.
    code = "from portico.cli.main import main; main()"
    for words, expected in (("portico che", "check"), ("portico check --s", "--show"), ("portico certs ", "new")):
        env = {**os.environ, "_PORTICO_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
        assert f"plain,{expected}" in done.stdout.splitlines()


def test_the_page_on_the_command_line_has_every_command_option_and_exit_code(project: Path) -> None:
    page = (project / "docs" / "reference" / "command-line.md").read_text("utf-8")
    parts = dict(re.findall(r"^## `portico ([^`]*)`\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    for path, command in every_command():
        arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
        (part,) = [text for title, text in parts.items() if tuple(title.split())[: len(path)] == path]
        assert len(arguments) <= 1
        shown = set(re.findall(r"`(?:-\w`, `)?(--[\w-]+)", part))
        declared = {option for p in command.params if isinstance(p, click.Option) for option in p.opts if option.startswith("--")}
        assert declared <= shown, path
        rows = set(re.findall(r"^\| (?:`-\w`, )?`(--[\w-]+)", part, re.MULTILINE))
        assert rows == declared, path
    codes = re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)
    assert codes == [(str(int(code)), code.name) for code in Exit]


# --- check


def test_good_settings_are_said_to_be_good(ask: Ask) -> None:
    result = ask("check")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "portico.toml: good: 1 listener, 1 server\n", "")


def test_mistakes_are_printed_one_a_line_with_exit_code_3(ask: Ask, place: Path) -> None:
    (place / "portico.toml").write_text(SETTINGS.replace("[listeners.imaps]", "[listeners.imaps]\ntsl = 1").replace('"mail"', '"mial"'))
    result = ask("check")
    assert result.exit_code == Exit.SETTINGS
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "portico.toml:7: listeners.imaps.tsl: unknown key; did you mean tls",
        'portico.toml:12: listeners.imaps.server: found "mial", which is no server; possible: mail; did you mean mail',
        "2 mistakes",
    ]


def test_warnings_do_not_change_the_exit_code(ask: Ask, place: Path) -> None:
    (place / "portico.toml").write_text(SETTINGS.replace('"127.0.0.1:143"', '"192.0.2.1:143"'))
    result = ask("check", "-c", "portico.toml")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: portico.toml:2: servers.mail.imap: passwords go to 192.0.2.1:143 without TLS")
    assert result.stdout.endswith("good: 1 listener, 1 server\n")


def test_settings_in_effect_are_shown_without_secrets(ask: Ask) -> None:
    result = ask("check", "--show")
    assert result.exit_code == 0
    assert "geheim" not in result.output
    assert 'master_password = "<secret>"' in result.stdout
    assert 'login = "3m"' in result.stdout


def test_the_settings_file_is_found_by_option_then_variable_then_place(ask: Ask, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("option.toml", "variable.toml"):
        (place / name).write_text(SETTINGS)
        (place / name).chmod(0o600)
    assert ask("check").stdout.startswith("portico.toml: good")
    monkeypatch.setenv("PORTICO_CONFIG", "variable.toml")
    assert ask("check").stdout.startswith("variable.toml: good")
    assert ask("check", "-c", "option.toml").stdout.startswith("option.toml: good")


def test_no_settings_file_at_all_is_exit_code_3(ask: Ask, place: Path) -> None:
    (place / "portico.toml").unlink()
    result = ask("check")
    assert result.exit_code == Exit.SETTINGS
    assert "name the settings file with -c FILE or PORTICO_CONFIG" in result.stderr
    result = ask("check", "-c", "nowhere.toml")
    assert (result.exit_code, result.stderr) == (Exit.SETTINGS, "nowhere.toml: No such file or directory\n")


def test_nothing_is_coloured_when_piped_and_scripts_see_the_exit_code(place: Path) -> None:
    (place / "bad.toml").write_text("x = 1\n")
    good, bad = process("check"), process("check", "-c", "bad.toml", env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert (good.returncode, bad.returncode) == (0, 3)
    assert "\x1b" not in good.stdout + good.stderr + bad.stdout + bad.stderr
    assert "bad.toml:1: x: unknown key" in bad.stderr


@pytest.mark.parametrize(("env", "colours"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_on_a_terminal_mistakes_are_coloured_unless_no_color_is_set(place: Path, env: dict[str, str], colours: bool) -> None:
    (place / "bad.toml").write_text("x = 1\n")
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "portico", "check", "-c", "bad.toml"]
    done = subprocess.run(command, stdout=theirs, stderr=theirs, timeout=60, env={**os.environ, "TERM": "xterm", **env})
    os.close(theirs)
    text = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 3
    assert "unknown key" in text
    assert ("\x1b[31m" in text) is colours


# --- run and demo


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A stand-in for app: notes what it was called with, and returns or raises what the test wants."""
    seen = types.SimpleNamespace(calls=[], result=0)

    def run(*args: Any) -> int:
        seen.calls.append(args)
        if isinstance(seen.result, BaseException):
            raise seen.result
        return int(seen.result)

    module = types.ModuleType("portico.app.main")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "portico.app.main", module)
    return seen


def test_run_hands_settings_and_file_to_app_and_ends_with_its_exit_code(ask: Ask, app: types.SimpleNamespace) -> None:
    app.result = 1
    assert ask("run").exit_code == 1
    ((settings, file),) = app.calls
    assert (list(settings.listeners), file) == (["imaps"], Path("portico.toml"))


def test_run_starts_nothing_with_mistakes(ask: Ask, app: types.SimpleNamespace, place: Path) -> None:
    (place / "portico.toml").write_text("x = 1\n")
    assert ask("run").exit_code == Exit.SETTINGS
    assert app.calls == []


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), Exit.ADDRESS, "portico: Address already in use\n"),
        (PermissionError(errno.EACCES, "Permission denied"), Exit.ADDRESS, "portico: [Errno 13] Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x.log"), Exit.FAILED, "portico: x.log: No space left on device\n"),
        (KeyboardInterrupt(), Exit.INTERRUPTED, ""),
    ],
)
def test_failures_of_run_have_their_exit_codes(ask: Ask, app: types.SimpleNamespace, error: BaseException, code: Exit, text: str) -> None:
    app.result = error
    result = ask("run")
    assert (result.exit_code, result.stderr) == (code, text)


def test_the_demo_gets_its_options_and_gives_its_exit_code(ask: Ask, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import portico.demo.main

    calls: list[Any] = []
    monkeypatch.setattr(portico.demo.main, "run", lambda ports, *, directory: calls.append((ports, directory)) or 1)
    assert ask("demo", "--ports", "20000", "--directory", place).exit_code == 1
    monkeypatch.setenv("PORTS", "30000")
    assert ask("demo").exit_code == 1
    assert calls == [("20000", place), ("30000", None)]


# --- certs


def test_certs_new_makes_what_check_accepts(ask: Ask, place: Path) -> None:
    result = ask("certs", "new", place / "new", "--name", "localhost", "--client", "alice@example.org", "--days", "30", "--key", "rsa")
    assert result.exit_code == 0
    assert "a new authority" in result.stdout
    assert f'certificate = "{place}/new/server.pem"' in result.stdout
    text = SETTINGS.replace('"server.', '"new/server.') + 'client_certificates = "optional"\nclient_ca_file = "new/ca.pem"\n'
    (place / "portico.toml").write_text(text)
    assert ask("check").exit_code == 0
    again = ask("certs", "new", place / "new", "--name", "localhost")
    assert again.exit_code == Exit.FAILED
    assert "--force makes new ones (the authority stays)" in again.stderr
    forced = ask("certs", "new", place / "new", "--name", "localhost", "--force")
    assert "the authority that was there" in forced.stdout


def test_certs_new_without_names_is_for_localhost(ask: Ask, place: Path) -> None:
    assert ask("certs", "new", place / "new").exit_code == 0
    shown = json.loads(ask("certs", "show", place / "new" / "server.pem", "--json").stdout)
    assert shown[0]["names"] == ["localhost", "127.0.0.1", "::1"]
    assert shown[0]["days_left"] in (364, 365)
    assert re.fullmatch(r"[0-9a-f]{64}", shown[0]["fingerprint"])


def test_certs_show_says_what_people_ask_for(ask: Ask) -> None:
    result = ask("certs", "show", "server.pem")
    assert result.exit_code == 0
    assert re.search(
        r"server\.pem \(1 of 2\)\n  subject +CN=localhost\n  names +localhost, 127\.0\.0\.1\n  issuer +CN=Portico", result.stdout
    )
    assert re.search(r"  valid +\d{4}-\d\d-\d\d .* UTC, 36\d days left\n  key +ECDSA P-256\n  fingerprint +[0-9a-f]{64}\n", result.stdout)
    assert "issuer       itself" in result.stdout


def test_certs_show_of_settings_shows_every_file_they_name(ask: Ask) -> None:
    for arguments in ([], ["portico.toml"]):
        result = ask("certs", "show", *arguments)
        assert result.exit_code == 0
        assert "server.pem (1 of 2) [listeners.imaps.certificate]" in result.stdout


def test_certs_show_of_settings_shows_authorities_of_services_too(ask: Ask, place: Path) -> None:
    more = """
[auth_http.portal]
url = "https://127.0.0.1:1/auth"
ca_file = "ca.pem"

[shared]
redis = "rediss://127.0.0.1:1/0"
ca_file = "ca.pem"
"""
    (place / "portico.toml").write_text(SETTINGS + 'lookups = ["portal"]\n' + more)
    assert "ca.pem [auth_http.portal.ca_file, shared.ca_file]" in ask("certs", "show").stdout


def test_a_certificate_that_ends_soon_has_exit_code_5(ask: Ask, place: Path) -> None:
    result = ask("certs", "show", "server.pem", "--warn", "398")
    assert result.exit_code == Exit.CERTIFICATE
    assert "server.pem (1 of 2): expires in" in result.stderr


def test_what_has_no_certificate_has_exit_code_1(ask: Ask, place: Path) -> None:
    assert ask("certs", "show", "portico.key").exit_code == Exit.FAILED
    result = ask("certs", "show", "127.0.0.1:1")
    assert result.exit_code == Exit.FAILED
    assert result.stderr.startswith("portico: 127.0.0.1:1: ")
    assert ask("certs", "show", "[::1:993").exit_code == Exit.USAGE


def test_a_validity_that_clients_refuse_is_refused(ask: Ask, place: Path) -> None:
    result = ask("certs", "new", place / "new", "--days", "800")
    assert (result.exit_code, (place / "new").exists()) == (Exit.FAILED, False)
    assert "1 to 398 days" in result.stderr
