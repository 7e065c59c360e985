"""The README's steps, done as it says.

Rule of this file: the text is taken from the README, so that it cannot go stale.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def readme(project: Path) -> str:
    return (project / "README.md").read_text("utf-8")


def test_the_readme_opens_with_the_two_commands(readme: str) -> None:
    block = re.search(r"```console\n(.*?)```", readme, re.DOTALL)
    assert block is not None
    assert readme.index(block[0]) < 300
    assert re.findall(r"^\$ (make \w+)", block[1], re.MULTILINE) == ["make run", "make test"]


def test_the_ten_line_settings_file_is_right_as_it_stands(readme: str, tmp_path: Path) -> None:
    settings = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert settings is not None
    assert len(settings[1].splitlines()) == 10
    (tmp_path / "portico.toml").write_text(settings[1])
    steps = re.search(r"```toml.*?```console\n(.*?)```", readme, re.DOTALL)
    assert steps is not None
    commands = [line.split("#")[0].split() for line in re.findall(r"^\$ (portico .*)$", steps[1], re.MULTILINE)]
    assert [command[1] for command in commands] == ["certs", "check", "run"]
    for command in commands[:-1]:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "portico.toml").write_text(settings[1].replace("starttls", "startls"))
    wrong = subprocess.run(
        [sys.executable, "-m", "portico", "check"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert wrong.returncode == 3
    assert "starttls" in wrong.stdout + wrong.stderr


def test_every_verb_of_the_makefile_is_there(project: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (project / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"run", "test", "check", "pythons", "bench", "fuzz", "docs", "clean"} <= targets


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/README.md", "docs/tutorial.md", "certs/README.md"]
)
def test_links_lead_somewhere(page: str, project: Path) -> None:
    source = project / page
    links = re.findall(r"\]\((?!https?:)([^)#]+)", source.read_text("utf-8"))
    assert [link for link in links if not (source.parent / link).exists()] == []
