"""docs/how-to/write-a-plugin.md, done as it says: the files written, the package installed, the commands run, the answers compared.

Rule of this file: everything is taken from the page. What is put in is what a reader has already (an environment with Portico) and what
the page lets him choose (ports).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from portico.demo.ports import free_ports

PAGE = "docs/how-to/write-a-plugin.md"
FILE = re.compile(r"`([\w.]+)`[^`\n]*:\n\n```\w+\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
PORTS = ("10143", "10110", "10993")
SERVERS = ("python -m portico.testing", "portico run")
"""These get a terminal of their own."""
SECONDS = 60

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@dataclass
class Terminal:
    """The reader's directory, and an environment that has what ours has, Portico included."""

    directory: Path
    environment: dict[str, str]
    servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def serve(self, command: str, log: Path) -> str:
        """Start a server; what it has said once something is there."""
        with log.open("w") as file:
            server = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                cwd=self.directory,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.servers.append(server)
        ready = "pop3 " if "portico.testing" in command else '"proxy.started"'
        end = time.monotonic() + SECONDS
        while ready not in log.read_text():
            assert server.poll() is None and time.monotonic() < end, f"$ {command}\n{log.read_text()}"
            time.sleep(0.05)
        return log.read_text()

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.send_signal(signal.SIGTERM)
            server.wait(SECONDS)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    place = tmp_path / "environment"
    venv.create(place, with_pip=True)
    # What is installed here is installed there: pip and `portico plugins` see it, and nothing is fetched.
    ours = Path(sysconfig.get_path("purelib"))
    theirs = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for own in theirs.glob("setuptools*"):
        shutil.rmtree(own)  # Python 3.11 brings one that is too old to build without the package wheel
    (theirs / "ours.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    for program in ("portico",):
        script = place / "bin" / program
        script.write_text(f"#!{place / 'bin' / 'python'}\nfrom portico.cli.main import main\nmain()\n")
        script.chmod(0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "COVERAGE", "PYTEST"))},
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ.get('PATH', '/usr/bin:/bin')}",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it so: no isolation, with the setuptools that is here
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    directory = tmp_path / "acme"
    directory.mkdir()
    terminal = Terminal(directory, environment)
    yield terminal
    terminal.stop()


@pytest.fixture
def page(project: Path) -> str:
    """The page, with ports that are free."""
    text = (project / PAGE).read_text("utf-8")
    for shown, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        assert shown in text
        text = text.replace(shown, str(free))
    return text


def steps(page: str) -> list[tuple[str, list[str]]]:
    """Each command of the page in order, with the lines shown behind it."""
    found: list[tuple[str, list[str]]] = []
    for block in CONSOLE.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def shown_in_order(shown: list[str], output: str) -> None:
    """Each line shown is there, in the order shown; ``…`` stands for anything, and columns may be wider."""
    rest = [" ".join(line.split()) for line in output.splitlines()]
    for line in shown:
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        hits = [index for index, said in enumerate(rest) if re.fullmatch(pattern, said)]
        assert hits, f"{line!r} is not in\n{output}"
        rest = rest[hits[0] + 1 :]


def test_the_page_holds_what_it_promises(page: str, terminal: Terminal, tmp_path: Path) -> None:
    if shutil.which("openssl", path=terminal.environment["PATH"]) is None:
        if os.environ.get("PORTICO_LIVE") == "require":
            pytest.fail("openssl is not installed (make test installs it)")
        pytest.skip("openssl is not installed")
    files = FILE.findall(page)
    first = ["pyproject.toml", "setup.cfg", "acme_house_rules.py", "test_house_rules.py", "portico.toml"]
    assert [name for name, _ in files][: len(first)] == first
    for name, text in files[: len(first)]:
        (terminal.directory / name).write_text(text)
    commands = steps(page)
    assert len(commands) == 9
    for command, shown in commands:
        if command.startswith(SERVERS):
            output = terminal.serve(command, tmp_path / f"{len(terminal.servers)}.log")
        else:
            output = terminal.run(command)
        shown_in_order(shown, output)
    log = (tmp_path / "1.log").read_text()
    for said in re.findall(r'`("[^`]+)`', page):
        assert said in log, f"{said} is not in\n{log}"


def test_the_plugin_of_the_page_takes_a_few_lines(page: str) -> None:
    plugin = dict(FILE.findall(page))["acme_house_rules.py"]
    assert len([line for line in plugin.splitlines() if line.strip()]) <= 40
    assert set(re.findall(r"^from (portico\S*)", plugin, re.MULTILINE)) == {"portico.plugin"}
    tests = dict(FILE.findall(page))["test_house_rules.py"]
    assert set(re.findall(r"^from (portico\S*)", tests, re.MULTILINE)) == {"portico.testing"}


def test_a_slip_of_the_pen_in_its_options_is_told_with_its_line(page: str, terminal: Terminal) -> None:
    for name, text in FILE.findall(page):
        (terminal.directory / name).write_text(text.replace("technical = [", "tecnical = ["))
    for command, _ in steps(page):
        if command == "portico check":
            break
        if not command.startswith((*SERVERS, "python", "portico plugins")):
            terminal.run(command)
    with pytest.raises(AssertionError, match=r"portico\.toml:12.*tecnical.*did you mean technical"):
        terminal.run("portico check")
