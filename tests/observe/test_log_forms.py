"""The log in the names of ECS, and as the journal takes it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from portico.observe.ecs import NAMES, VALUES, to_ecs
from portico.observe.events import EVENTS
from portico.observe.fields import FIELDS
from portico.observe.log import Log
from portico.observe.sink import Sink

SESSION: dict[str, Any] = {
    "session": "t41", "protocol": "imap", "listener": "imaps", "rip": "192.0.2.7", "rport": 5, "lip": "192.0.2.1", "lport": 993,
}  # fmt: skip
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "ship-the-logs.md"


def written(path: Path, *events: tuple[str, dict[str, Any]], **options: Any) -> list[str]:
    log = Log(Sink(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), owned=True), strict=True, level="debug", **options)
    for event, fields in events:
        log.event(event, fields)
    log.close()
    return path.read_text().splitlines()


CLOSED = ("session.closed", {
    **SESSION, "user": "alice", "tls": "TLSv1.3", "reason": "logout", "side": "client", "bytes_in": 1, "bytes_out": 2, "seconds": 0.5,
    "commands": None, "client": "Mutt 2.2",
})  # fmt: skip


def test_a_session_has_the_names_and_units_of_ecs(tmp_path: Path) -> None:
    (line,) = written(tmp_path / "log", CLOSED, names="ecs")
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\S+\+00:00", told.pop("@timestamp"))
    assert told == {
        "log.level": "info", "event.action": "session.closed", "portico.session": "t41", "network.protocol": "imap",
        "portico.listener": "imaps", "source.ip": "192.0.2.7", "source.port": 5, "destination.ip": "192.0.2.1", "destination.port": 993,
        "user.name": "alice", "tls.version": "1.3", "event.reason": "logout", "portico.side": "client", "source.bytes": 1,
        "destination.bytes": 2, "event.duration": 500_000_000, "portico.commands": None, "user_agent.original": "Mutt 2.2",
        "ecs.version": "8.11", "event.dataset": "portico.log",
    }  # fmt: skip


def test_a_login_has_an_outcome() -> None:
    assert to_ecs({"event": "login.failed"})["event.outcome"] == "failure"
    assert to_ecs({"event": "login.succeeded"})["event.category"] == ["authentication"]
    assert "event.outcome" not in to_ecs({"event": "session.closed"})


def test_an_address_that_is_none_is_left_out_and_a_traceback_is_one_text() -> None:
    told = to_ecs({"event": "session.bug", "rip": "", "traceback": ["a:1 f", "b:2 g"]})
    assert "source.ip" not in told
    assert told["error.stack_trace"] == "a:1 f\nb:2 g"


def test_no_two_fields_have_one_name() -> None:
    names = [NAMES.get(name, f"portico.{name}") for name in FIELDS]
    assert len(set(names)) == len(names)
    assert NAMES.keys() | VALUES.keys() <= FIELDS.keys()
    assert not [name for name in NAMES.values() if any(other.startswith(f"{name}.") for other in names)], "an object and a value"


def test_the_page_has_each_field_with_its_ecs_name() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| `([\w.@]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == dict(NAMES)
    assert len(rows) == len(NAMES)


@pytest.mark.parametrize(("event", "priority"), [("session.connected", 7), ("login.succeeded", 6), ("log.dropped", 4), ("proxy.failed", 3)])
def test_the_journal_gets_the_priority_in_front(event: str, priority: int, tmp_path: Path) -> None:
    more: dict[str, dict[str, Any]] = {
        "session.connected": SESSION,
        "login.succeeded": {**SESSION, "method": "PLAIN", "server": "main", "address": "x:1", "seconds": 1},
        "log.dropped": {"count": 1},
        "proxy.failed": {"reason": "settings", "text": "No."},
    }
    (line,) = written(tmp_path / "log", (event, more[event]), format="journal")
    assert line.startswith(f"<{priority}>{{")
    assert json.loads(line[3:])["event"] == event
    assert EVENTS[event].level == json.loads(line[3:])["level"]
