"""The recipes of the page on logs give what `portico logs` gives; the fail2ban filter finds who guesses, and nobody else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from portico.demo.certificates import Certificates
from portico.testing.client import Dialogue, eventually

from tests.bench.made_log import lines
from tests.live.conftest import unpacked
from tests.live.front import Front
from tests.live.scripted import CAPABILITIES, UNKNOWN, Connection, Scripted

pytestmark = pytest.mark.live

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "read-the-logs.md").read_text("utf-8")
RECIPES = re.findall(r"^<!-- recipe (\w+): ([\w ]+) -->\n```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(VIEW,) = re.findall(r"^CREATE VIEW log .*;$", PAGE, re.MULTILINE)
COUNTERS = {"logins"}
"""A recipe that counts these has no rows without any."""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "portico.log"
    path.write_text("\n".join(lines(8000, users=300)) + "\n")
    return path


@pytest.fixture(scope="module")
def answered(log: Path) -> dict[str, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "portico", "logs", "--format", "json", str(log)]
    told: dict[str, list[dict[str, Any]]] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return told


def rows_of(text: str) -> set[tuple[str, ...]]:
    """Lines of a shell recipe; ``uniq -c`` puts its count and a space in front."""
    return {tuple(re.sub(r"^ *(\d+) ", r"\1\t", line).split("\t")) for line in text.splitlines()}


@pytest.mark.parametrize(("question", "columns", "kind", "recipe"), RECIPES, ids=[f"{name}-{kind}" for name, _, kind, _ in RECIPES])
def test_a_recipe_gives_what_portico_logs_gives(
    question: str, columns: str, kind: str, recipe: str, log: Path, answered: dict[str, list[dict[str, Any]]], need: Callable[..., None]
) -> None:
    names = columns.split()
    rows = [row for row in answered[question] if kind == "sql" or all(row[name] for name in COUNTERS & set(names))]
    expected = {tuple(str(row[name]) for name in names) for row in rows}
    assert expected
    if kind == "sh":
        need("jq", "awk")
        done = subprocess.run(["/bin/sh", "-c", recipe], cwd=log.parent, capture_output=True, text=True, timeout=60)
        assert done.stderr == ""
        assert rows_of(done.stdout) == expected
    else:
        database = duckdb.connect()
        database.execute(VIEW.replace("portico.log", str(log)))
        assert {tuple(map(str, row)) for row in database.execute(recipe).fetchall()} == expected


def test_each_question_that_the_page_promises_has_a_recipe_of_both_kinds() -> None:
    kinds = {(name, kind) for name, _, kind, _ in RECIPES}
    wanted = ("logins", "failed", "slow", "closed", "traffic", "shown", "folders", "plugins")
    assert kinds == {(name, kind) for name in wanted for kind in ("sh", "sql")}


# --- what a session leaves


def test_a_slow_command_and_the_mail_program_of_a_session_are_found_in_its_log(
    fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=CAPABILITIES + b" " + UNKNOWN)  # so that it is watched
        while True:
            tag, name = connection.command().split(b" ")[:2]
            if name == b"SEARCH":
                time.sleep(0.06)  # longer than what counts as slow
            connection.send(tag + b" OK done\r\n")

    _, front = fronted(script, more='[log]\nslow_command = "50ms"\n')
    with Dialogue(front.ports.imaps, authority=certificates.authority, implicit=True) as talk:
        talk.line()
        talk.command(b'i ID ("name" "Mutt" "version" "2.2.13")')
        talk.command(b"a LOGIN alice wonderland")
        talk.command(b"b SEARCH ALL")
        talk.command(b"c LOGOUT")
    assert eventually(lambda: front.events("session.closed"))
    command = [sys.executable, "-m", "portico", "logs", "--format", "json", str(front.log)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    assert "SEARCH" in [row["command"] for row in told["slow"]]
    assert [(row["client"], row["users"]) for row in told["traffic"]] == [("Mutt 2.2.13", 1)]


# --- fail2ban


def refusal(rip: str, *, worker: str = "", side: str = "client", user: str = "alice", event: str = "login.failed", at: int = 0) -> str:
    return (
        f'{{"timestamp":"2026-03-01T09:30:{at:02}.118213+00:00","level":"info","event":"{event}",{worker}"session":"t41","protocol":"imap",'
        f'"listener":"imaps","rip":"{rip}","rport":50112,"lip":"192.0.2.1","lport":993,"user":{json.dumps(user)},"method":"PLAIN",'
        f'"code":"AUTHENTICATIONFAILED","reason":"refused_by_server","side":"{side}","text":"No."}}'
    )


def test_fail2ban_finds_who_guesses_and_is_not_led_to_others(project: Path, tmp_path: Path) -> None:
    root = unpacked("fail2ban", project)
    (definition,) = re.findall(r"^```ini\n(\[Definition\]\n.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "portico.conf").write_text(definition)
    forged = refusal("198.51.100.9", user='x","rip":"192.0.2.99","rport":1,"side":"client', side="server")
    log = tmp_path / "portico.log"
    found = [refusal("198.51.100.1"), refusal("2001:db8::5", at=1), refusal("198.51.100.2", worker='"worker":3,', at=2)]
    passed = [refusal("198.51.100.3", side="server"), refusal("198.51.100.4", event="login.succeeded"), forged, "Traceback: rip"]
    log.write_text("\n".join(found + passed) + "\n")
    program = next(path for path in (root / "usr/bin").iterdir() if path.name == "fail2ban-regex")
    libraries = root / "usr" / "lib" / "python3" / "dist-packages"
    done = subprocess.run(
        ["/usr/bin/python3", program, "--config", root / "etc" / "fail2ban", "--out", "ip", log, tmp_path / "portico.conf"],
        capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(libraries), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == ["198.51.100.1", "2001:db8::5", "198.51.100.2"], done.stdout + done.stderr
