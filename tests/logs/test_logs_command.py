"""`portico logs`: what it answers, and that a damaged log does not break it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import jsonschema
import pytest
from click.testing import CliRunner, Result
from portico.cli import logs as command
from portico.cli.exits import Exit
from portico.cli.main import portico
from portico.logs.questions import QUESTIONS
from portico.logs.reading import LONGEST, Answer, Logs, column_type
from portico.logs.showing import as_csv, as_json
from portico.observe import reference
from portico.observe.ecs import to_ecs
from portico.observe.events import EVENTS
from portico.observe.fields import EVERY_LINE, FIELDS, SESSION_ALWAYS, SESSION_WHEN_KNOWN

from tests.bench.made_log import lines

SESSION = {"session": "s1", "protocol": "imap", "listener": "imaps", "rip": "192.0.2.7", "rport": 1, "lip": "192.0.2.1", "lport": 993}
Ask = Callable[..., Any]


def line(event: str, at: str = "2026-03-01T09:30:00.000000+00:00", **fields: Any) -> str:
    known = EVENTS[event]
    return json.dumps({"timestamp": at, "level": known.level, "event": event, **(SESSION if known.session else {}), **fields})


def refused(user: str, rip: str = "192.0.2.7", **more: Any) -> str:
    fields = {"method": "PLAIN", "code": "", "reason": "refused_by_server", "side": "client", "text": "No."}
    return line("login.failed", user=user, **{**fields, "rip": rip, **more})


LOG = [
    line("login.succeeded", user="alice", method="PLAIN", server="main", address="127.0.0.1:143", seconds=0.004),
    line("login.succeeded", "2026-03-01T11:00:00.000000+00:00", user="alice", method="PLAIN", server="main", address="x:1", seconds=0.004),
    refused("alice"),
    refused("bob", "198.51.100.1"),
    refused("carol", "198.51.100.1"),
    line("command.slow", user="alice", server="main", command="SEARCH", result="ok", seconds=12.5),
    line("command.slow", user="bob", server="main", command="SEARCH", result="no", seconds=7.5),
    line(
        "session.closed",
        user="alice",
        reason="logout",
        side="client",
        bytes_in=10,
        bytes_out=1000,
        seconds=3,
        commands=5,
        client="Mutt 2.2",
    ),
    line("session.closed", user="bob", reason="logout", side="client", bytes_in=20, bytes_out=500, seconds=5, commands=None),
    line("session.closed", reason="client_closed", side="client", bytes_in=0, bytes_out=20, seconds=1, commands=None),
    line("annotations.shown", user="alice", messages=2),
    line("annotations.shown", user="alice", messages=3),
    line("mount.used", user="alice", server="folders", prefix="Public", asked=7, opened=1),
    line("mount.failed", user="bob", server="folders", prefix="Public", reason="closed", detail=""),
    line("plugin.failed", plugin="links", hook="annotate", error="ValueError", **SESSION),
    line("upstream.failed", user="bob", server="main", reason="connect_refused", detail="Connection refused"),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "portico.log"
    path.write_text("\n".join(LOG) + "\n")
    return path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(portico, ["logs", *map(str, arguments)], input=stdin, prog_name="portico")


def answer(*arguments: object, stdin: bytes | None = None) -> Any:
    result = run(*arguments, "--format", "json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# --- the questions


EXPECTED: dict[str, list[dict[str, Any]]] = {
    "logins": [
        {"user": "alice", "rip": "192.0.2.7", "logins": 2, "failed": 1, "last": "2026-03-01T11:00:00+00:00"},
        {"user": "bob", "rip": "198.51.100.1", "logins": 0, "failed": 1, "last": "2026-03-01T09:30:00+00:00"},
        {"user": "carol", "rip": "198.51.100.1", "logins": 0, "failed": 1, "last": "2026-03-01T09:30:00+00:00"},
    ],
    "failed": [
        {"rip": "198.51.100.1", "side": "client", "reason": "refused_by_server", "failed": 2, "users": 2},
        {"rip": "192.0.2.7", "side": "client", "reason": "refused_by_server", "failed": 1, "users": 1},
    ],
    "slow": [{"command": "SEARCH", "server": "main", "times": 2, "slowest": 12.5, "mean": 10.0, "users": 2, "slowest_user": "alice"}],
    "closed": [
        {"protocol": "imap", "reason": "logout", "side": "client", "sessions": 2, "median_seconds": 4.0, "bytes_out": 1500},
        {"protocol": "imap", "reason": "client_closed", "side": "client", "sessions": 1, "median_seconds": 1.0, "bytes_out": 20},
    ],
    "traffic": [
        {"client": "Mutt 2.2", "sessions": 1, "users": 1, "bytes_in": 10, "bytes_out": 1000, "seconds": 3.0},
        {"client": "(not said)", "sessions": 1, "users": 1, "bytes_in": 20, "bytes_out": 500, "seconds": 5.0},
    ],
    "shown": [{"user": "alice", "sessions": 2, "messages": 5}],
    "folders": [{"prefix": "Public", "server": "folders", "sessions": 1, "users": 2, "commands": 7, "opened": 1, "failed": 1}],
    "plugins": [{"plugin": "links", "hook": "annotate", "error": "ValueError", "times": 1, "sessions": 1}],
    "servers": [
        {"server": "folders", "event": "mount.failed", "reason": "closed", "times": 1, "detail": ""},
        {"server": "main", "event": "upstream.failed", "reason": "connect_refused", "times": 1, "detail": "Connection refused"},
    ],
    "hours": [
        {"hour": "2026-03-01T09:00:00+00:00", "logins": 1, "failed": 3, "ended": 3, "users": 1, "bytes_out": 1520},
        {"hour": "2026-03-01T11:00:00+00:00", "logins": 1, "failed": 0, "ended": 0, "users": 1, "bytes_out": 0},
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_question_is_answered_alone_and_among_all(name: str, log: Path) -> None:
    for rows in (answer("-q", name, log), answer(log)[name]):
        kept = [{key: value for key, value in row.items() if key in EXPECTED[name][0]} for row in rows]
        assert kept == EXPECTED[name]


def test_the_command_knows_all_questions_and_lines_are_counted_by_event(log: Path) -> None:
    assert tuple(QUESTIONS) == command._NAMES
    assert EXPECTED.keys() | {"events"} == QUESTIONS.keys()
    counted = answer("-q", "events", log)
    assert counted[0]["event"] in ("login.failed", "session.closed") and counted[0]["lines"] == 3
    assert sum(row["lines"] for row in counted) == len(LOG)


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_a_question_reads_only_fields_that_some_event_has(question: Any) -> None:
    assert set(question.columns) <= FIELDS.keys()
    known = {*EVERY_LINE, *SESSION_ALWAYS, *SESSION_WHEN_KNOWN}
    named = [event for event in EVENTS.values() if f"'{event.name}'" in question.sql]
    for event in named:
        known |= {*event.fields, *event.optional}
    assert set(question.columns) <= known


def test_a_log_without_what_is_asked_for_has_an_empty_answer(tmp_path: Path) -> None:
    path = tmp_path / "quiet.log"
    path.write_text(line("log.dropped", count=1) + "\n")
    assert all(rows == [] for name, rows in answer(path).items() if name != "events")
    assert run("-q", "slow", path).stdout == "nothing\n"


# --- one's own question


def test_every_field_is_a_column_of_its_documented_type(log: Path) -> None:
    with Logs([log]) as logs:
        described = {row[0]: row[1] for row in logs.ask("DESCRIBE log").rows}
    types = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    assert described == {name: types.get(column_type(known), column_type(known)) for name, known in FIELDS.items()}


def test_a_question_of_ones_own_names_users_and_commands_as_the_reference_does(log: Path) -> None:
    sql = "SELECT user, sum(commands) AS commands FROM log WHERE event = 'session.closed' GROUP BY user ORDER BY user"
    assert answer("--sql", sql, log) == [
        {"user": "alice", "commands": 5},
        {"user": "bob", "commands": None},
        {"user": None, "commands": None},
    ]


def test_a_question_that_is_not_understood_is_said_in_duckdbs_words(log: Path) -> None:
    result = run("--sql", "SELECT usr FROM log", log)
    assert result.exit_code == Exit.FAILED
    assert 'column "usr" not found' in result.stderr.lower()
    assert run("--sql", "SELECT 1", "-q", "slow", log).exit_code == Exit.USAGE


def test_time_bounds_are_half_open_and_without_a_zone_utc(log: Path) -> None:
    counted = "SELECT count(*) AS n FROM log"
    assert answer("--sql", counted, "--since", "2026-03-01T11:00", log) == [{"n": 1}]
    assert answer("--sql", counted, "--until", "2026-03-01T12:00+01:00", log) == [{"n": len(LOG) - 1}]
    assert answer("--since", "2026-03-01T10:30", log)["logins"][0]["logins"] == 1
    result = run("--since", "yesterday", log)
    assert (result.exit_code, result.stderr) == (
        Exit.FAILED,
        "portico: yesterday is no time; write 2026-03-01, 2026-03-01T09:30 or 2026-03-01T09:30:00+01:00\n",
    )


# --- files of every kind


def test_rotated_and_compressed_files_and_standard_input_are_one_log(log: Path, tmp_path: Path) -> None:
    packed = tmp_path / "portico.log.2.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    turned = tmp_path / "portico.log.1"
    turned.write_bytes(log.read_bytes())
    odd = tmp_path / "what's [this]*.log"
    odd.write_bytes(log.read_bytes())
    (row,) = answer("--sql", "SELECT count(*) AS n FROM log", log, turned, packed, odd, "-", stdin=log.read_bytes())
    assert row["n"] == 5 * len(LOG)
    assert answer("--sql", "SELECT count(*) AS n FROM log", stdin=log.read_bytes()) == [{"n": len(LOG)}]


@pytest.mark.parametrize("names", ["portico", "ecs"])
def test_a_log_packed_by_zstd_has_the_same_answers(log: Path, tmp_path: Path, names: str) -> None:
    told = [json.loads(each) for each in LOG]
    rows = ", ".join(f"('{json.dumps(to_ecs(each) if names == 'ecs' else each)}')" for each in told)
    packed = tmp_path / "portico.log.zst"
    as_they_are = "FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\t', COMPRESSION zstd"
    duckdb.sql(f"COPY (FROM (VALUES {rows})) TO '{packed}' ({as_they_are})")
    assert packed.read_bytes().startswith(b"\x28\xb5\x2f\xfd")  # RFC 8878 3.1.1
    assert answer(packed) == answer(log)


def test_a_log_in_the_names_of_ecs_has_the_same_answers_beside_another_too(log: Path, tmp_path: Path) -> None:
    told = [
        json.loads(each) for each in [*LOG, line("session.bug", user="x", tls="TLSv1.3", error="KeyError", traceback=["a:1 f", "b:2 g"])]
    ]
    log.write_text("\n".join(map(json.dumps, told)) + "\n")
    ecs = tmp_path / "ecs.log.gz"
    ecs.write_bytes(gzip.compress("\n".join(json.dumps(to_ecs(each)) for each in told).encode() + b"\nnot a line\n"))
    assert answer(ecs) == answer(log)
    sql = "SELECT * FROM log ORDER BY timestamp, event, user, rip, messages, seconds"
    assert answer("--sql", sql, ecs) == answer("--sql", sql, log)
    assert answer("--sql", "SELECT count(*) AS n FROM log", ecs, log) == [{"n": 2 * len(told)}]
    assert run("-q", "events", ecs).stderr == "warning: 1 line is not of Portico's log, or damaged\n"


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "portico.log.gz"
    path.write_bytes(gzip.compress(b"x" * 1000)[:-20])
    result = run(path)
    assert (result.exit_code, result.stderr) == (Exit.FAILED, f"portico: {path}: cannot be unpacked\n")
    path = path.with_suffix(".zst")
    path.write_bytes(b"x" * 1000)
    result = run(path)
    assert (result.exit_code, result.stderr) == (Exit.FAILED, f"portico: {path}: cannot be unpacked\n")


def test_what_is_not_of_the_log_is_counted_and_costs_nothing_else(log: Path) -> None:
    damaged = [
        b"Traceback (most recent call last):", b"[1, 2]", b"5", b'"text"', b"null", b"\xff\xfe\x00", b'{"event": "login.fa',
        b'{"timestamp": "now"}', b'{"a":' * 2000, LOG[0].encode() + b" trailing",
    ]  # fmt: skip
    log.write_bytes(b"\n".join([*damaged, *map(str.encode, LOG)]) + b'\n\n{"timestamp":"2026-03-01T09:30:00.118213+00:00","level":"in')
    result = run("-q", "logins", "--format", "json", log)
    assert json.loads(result.stdout) == answer("-q", "logins", stdin="\n".join(LOG).encode())
    assert result.stderr == f"warning: {len(damaged) + 1} lines are not of Portico's log, or damaged\n"
    assert json.loads(run("--format", "json", log).stdout)["logins"] == json.loads(result.stdout)


def test_a_field_of_another_type_is_unknown_in_that_line_only(log: Path) -> None:
    log.write_text("\n".join([*LOG, refused("alice", rport="four", seconds="x", timestamp="then")]) + "\n")
    assert run("-q", "events", log).stderr == ""
    assert answer("-q", "logins", log)[0]["failed"] == 2


def test_a_line_without_end_is_an_error_and_no_more(log: Path) -> None:
    log.write_bytes(b"\0" * (LONGEST // 10) + b"\n" + "\n".join(LOG).encode() + b"\n")
    assert run("-q", "logins", log).stderr == "warning: 1 line is not of Portico's log, or damaged\n"
    log.write_bytes(b"\0" * (LONGEST + 1000) + b"\n" + "\n".join(LOG).encode() + b"\n")
    result = run("-q", "logins", log)
    assert result.exit_code == Exit.FAILED
    assert str(log) in result.stderr and len(result.stderr) < 500


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere.log").stderr == f"portico: {tmp_path}/nowhere.log: No such file or directory\n"
    result = run(tmp_path)
    assert (result.exit_code, result.stderr) == (Exit.FAILED, f"portico: {tmp_path}: Is a directory\n")


def test_nothing_is_left_in_the_temporary_directory(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    answer(log)
    run("--sql", "SELECT nonsense", log)
    run(tmp_path / "nowhere.log")
    assert list(place.iterdir()) == []


def test_without_duckdb_it_says_what_to_install(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = run(log)
    assert (result.exit_code, result.stderr) == (Exit.FAILED, 'portico: this needs DuckDB: pip install "portico-mail[logs]"\n')


# --- how it looks


def test_csv_is_read_back_and_runs_no_formula(log: Path) -> None:
    log.write_text("\n".join([*LOG, *[refused("=HYPERLINK(1)")] * 4]) + "\n")
    result = run("-q", "logins", "--format", "csv", log)
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["user"] for row in rows] == ["alice", "'=HYPERLINK(1)", "bob", "carol"]
    assert run("--format", "csv", log).exit_code == Exit.USAGE


def test_a_table_has_the_first_rows_and_steers_no_terminal(log: Path) -> None:
    log.write_text("\n".join([refused("\x1b[2J[red]x", "192.0.2.9"), *(refused(f"u{n}") for n in range(30))]) + "\n")
    result = run("-q", "logins", log)
    assert len(result.stdout.splitlines()) == 2 + 10
    assert "\x1b" not in result.stdout
    assert "\\x1b[2J[red]x" in result.stdout
    assert len(run("-q", "logins", "--top", "20", log).stdout.splitlines()) == 2 + 20


def test_it_ends_quietly_when_its_reader_does(log: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'"{sys.executable}" -m portico logs "{log}" | head -1'], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("Lines by event (events)\n", "")


def test_a_made_up_log_is_of_the_schema_and_the_same_for_the_same_seed() -> None:
    made = list(lines(3000, seed=7))
    assert made == list(lines(3000, seed=7))
    assert len(made) == 3000
    check = jsonschema.Draft202012Validator(reference.schema())
    for text in {json.loads(text)["event"]: text for text in made}.values():
        check.validate(json.loads(text))
    assert {json.loads(text)["event"] for text in made} >= {"login.failed", "session.closed", "command.slow", "mount.used"}


def test_json_and_csv_steer_no_terminal_either_and_lose_nothing() -> None:
    evil = "a\x1b]0;title\x07\x9b31m\u202eb\tc\nd"
    answer = Answer(("text",), [(evil,)])
    told = as_json([("sql", answer)])
    assert json.loads(told) == [{"text": evil}]
    assert not any(character in told + as_csv(answer) for character in "\x1b\x07\x9b\u202e")
    assert as_csv(answer) == 'text\r\n"a\\u001b]0;title\\u0007\\u009b31m\\u202eb\tc\nd"\r\n'
