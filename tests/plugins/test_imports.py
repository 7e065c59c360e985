"""plugins/ is shaped as a third party's: what Portico gives to it, it gives to everybody.

Rule of this file: read from the sources, so that a plugin added later is held to it too.
"""

from __future__ import annotations

import ast
import configparser
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def packages(project: Path) -> list[Path]:
    return sorted(init.parent for init in (project / "plugins").glob("portico_*/__init__.py"))


def of_portico(files: list[Path]) -> set[str]:
    return {name for file in files for name in imported(file) if name.split(".")[0] == "portico"}


def test_plugins_import_the_door_and_nothing_deeper(project: Path) -> None:
    files = [file for package in packages(project) for file in package.glob("**/*.py")]
    assert of_portico(files) == {"portico.plugin"}


def test_their_tests_import_what_authors_are_given(project: Path) -> None:
    files = list((project / "plugins" / "tests").glob("**/*.py"))
    assert of_portico(files) <= {"portico.plugin", "portico.testing"}
    assert not any(name.split(".")[0] == "tests" for file in files for name in imported(file))


def test_the_proxy_imports_no_plugin(project: Path) -> None:
    theirs = {package.name for package in packages(project)}
    ours = [*(project / "proxy").glob("**/*.py")]
    assert not {name for file in ours for name in imported(file)} & theirs


def test_each_package_is_a_plugin_that_is_installed_typed_and_type_checked(project: Path) -> None:
    installed = {
        entry.value.split(":")[0] for entry in entry_points(group="portico.plugins") if entry.dist and entry.dist.name == "portico-plugins"
    }
    settings = configparser.ConfigParser()
    settings.read(project / "setup.cfg")
    checked = {name.strip() for name in settings["mypy"]["packages"].split(",")}
    for package in packages(project):
        assert package.name in installed
        assert package.name in checked
        assert (package / "py.typed").exists()
