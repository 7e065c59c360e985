"""The log: lines that fit the schema, that hold no secret, and that never stop the proxy."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from portico.errors import Secret
from portico.observe import reference
from portico.observe.events import EVENTS
from portico.observe.fields import FIELDS, SESSION_ALWAYS
from portico.observe.log import Log, LogContractError
from portico.observe.sink import Sink

VALIDATOR = jsonschema.Draft202012Validator(reference.schema())
SESSION: dict[str, Any] = {
    "session": "t41x0591zvwswwe1", "protocol": "imap", "listener": "imaps", "rip": "192.0.2.7", "rport": 50000,
    "lip": "192.0.2.1", "lport": 993,
}  # fmt: skip
_BY_TYPE: dict[str, Any] = {"string": "some text", "integer": 7, "number": 1.5, "boolean": True, "array": ["one", "two"]}


def example(field: str) -> Any:
    schema = FIELDS[field].schema
    kind = schema["type"]
    return schema["enum"][0] if "enum" in schema else _BY_TYPE[kind if isinstance(kind, str) else kind[0]]


class Written:
    """A log into a file, and the lines in it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self.log = Log(Sink(self.fd, owned=True), **{"level": "debug", "strict": True, **options})

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "log")


def fields_of(name: str) -> dict[str, Any]:
    known = EVENTS[name]
    fields = {field: example(field) for field in (*known.fields, *known.optional)}
    return {**SESSION, **fields} if known.session else fields


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_every_event_fits_the_schema_with_all_its_fields_and_with_the_least(name: str, written: Written) -> None:
    fields = fields_of(name)
    written.log.event(name, fields)
    written.log.event(name, {key: value for key, value in fields.items() if key not in EVENTS[name].optional})
    for line in written.lines:
        VALIDATOR.validate(line)
    assert len(written.lines) == 2 and list(written.lines[0])[:3] == ["timestamp", "level", "event"]


def test_an_unknown_event_or_field_is_an_error_in_tests_and_marked_in_production(tmp_path: Path, written: Written) -> None:
    with pytest.raises(LogContractError, match=r"session\.vanished"):
        written.log.event("session.vanished", SESSION)
    with pytest.raises(LogContractError, match="colour"):
        written.log.event("session.connected", {**SESSION, "colour": "red"})
    with pytest.raises(LogContractError, match="lacks count"):
        written.log.event("log.dropped", {})
    tolerant = Written(tmp_path / "tolerant", strict=False)
    tolerant.log.event("session.vanished", {"colour": "red", "event": "x", "self": "y", "level": "z"})
    tolerant.log.event("session.connected", {**SESSION, "colour": "red"})
    first, second = tolerant.lines
    assert first["event"] == "session.vanished" and first["unregistered"][0] == "session.vanished" and first["level"] == "warning"
    assert second["unregistered"] == ["colour"] and second["colour"] == "red"


def test_below_the_level_nothing_is_written_and_nothing_is_put_together(tmp_path: Path) -> None:
    quiet = Written(tmp_path / "quiet", level="warning", strict=False)
    quiet.log.event("session.closed", {})
    assert not quiet.log.enabled("session.closed") and quiet.log.enabled("session.bug") and quiet.log.enabled("not.known")
    assert quiet.lines == []


secrets = st.one_of(
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=6, max_size=30),
    st.binary(min_size=6, max_size=30),
)


@given(secrets, st.sampled_from(sorted(EVENTS)))
@settings(max_examples=60, deadline=None)
def test_no_secret_reaches_the_log_in_any_field_of_any_event(
    tmp_path_factory: pytest.TempPathFactory, octets: bytes | str, name: str
) -> None:
    secret = Secret(octets)
    raw = secret.reveal()
    # A password that is the name of a field, or of this test, stands in every line.
    assume(not any(raw in word.encode() for word in (*FIELDS, *EVENTS, "new_passwd", "client_secret", "authorization", __file__)))
    written = Written(tmp_path_factory.mktemp("log") / "log", strict=False)
    fields = fields_of(name)
    shapes: list[Callable[[Secret], Any]] = [
        lambda s: s,
        lambda s: [s, {"deep": (s,)}],
        lambda s: {"x": s},
        lambda s: raw,
        lambda s: f"{s}",
        lambda s: f"{s!r}",
    ]
    for field in fields:
        for shape in shapes:
            written.log.event(name, {**fields, field: shape(secret)})
    for field in ("password", "new_passwd", "Token", "client_secret", "authorization"):
        text = raw.decode("utf-8", "replace")
        written.log.event(name, {**fields, field: text, "what_else": {field: text, "list": [{field: text}]}})
    try:
        raise ValueError(f"cannot read {raw!r}")
    except ValueError as error:
        written.log.event(name, {**fields, "error": error})
    text = written.path.read_bytes()
    decoded = "\n".join(str(line) for line in written.lines)
    assert len(written.lines) == len(fields) * len(shapes) + 6
    for form in (raw, base64.b64encode(raw), json.dumps(raw.decode("utf-8", "replace"))[1:-1].encode()):
        assert form not in text
    assert raw.decode("utf-8", "replace") not in decoded


def test_a_secret_sent_to_a_strict_log_is_an_error(written: Written) -> None:
    with pytest.raises(LogContractError, match="secret"):
        written.log.event("settings.warning", {"text": Secret("wonderland")})
    assert "wonderland" not in written.text


def test_an_exception_is_logged_by_class_and_place_without_its_words(written: Written) -> None:
    try:
        int(b"wonderland")
    except ValueError as error:
        written.log.event("session.bug", {**SESSION, "error": error})
    line = written.lines[0]
    assert line["error"] == "ValueError" and "test_log.py" in line["traceback"][-1] and "wonderland" not in written.text
    VALIDATOR.validate(line)


@given(st.text(max_size=40))
@settings(max_examples=80, deadline=None)
def test_any_text_is_one_line_of_json_and_harmless_on_a_terminal(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    directory = tmp_path_factory.mktemp("log")
    as_json, console = Written(directory / "json"), Written(directory / "console", format="console")
    for written in (as_json, console):
        written.log.event("settings.warning", {"text": text})
    assert len(as_json.path.read_bytes().splitlines()) == 1
    assert as_json.lines[0]["text"] == text
    shown = console.path.read_bytes().decode()
    assert shown.count("\n") == 1 and shown.rstrip("\n").isprintable()


def test_a_pipe_without_reader_or_with_a_slow_one_never_stops_us() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    log = Log(Sink(writer), strict=True)
    for number in range(3000):  # far more than a pipe holds; who waited for its reader would wait for ever
        log.event("settings.warning", {"text": f"{number} " + "x" * 100})
    assert log.dropped > 1000
    got = b""
    while True:
        try:
            got += os.read(reader, 1 << 16)
        except BlockingIOError:
            break
    log.event("settings.warning", {"text": "again"})
    got += os.read(reader, 1 << 16)
    lines = [json.loads(line) for line in got.splitlines()]
    assert lines[-1]["event"] == "log.dropped" and lines[-2]["text"] == "again"
    assert len(lines) - 2 + lines[-1]["count"] == 3000
    os.close(reader)
    log.event("settings.warning", {"text": "nobody reads"})
    assert log.dropped == 1
    os.close(writer)
    log.event("settings.warning", {"text": "closed"})
    assert log.dropped == 2


def test_lines_lost_by_a_log_of_errors_only_are_no_error_of_their_own() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    log = Log(Sink(writer), strict=True, level="error")
    rejected = {"path": "p", "problems": ["x" * 1000]}
    for _ in range(100):  # more than a pipe holds
        log.event("settings.rejected", rejected)
    assert log.dropped
    got = os.read(reader, 1 << 20)
    log.event("settings.rejected", rejected)
    got += os.read(reader, 1 << 20)
    assert {json.loads(line)["event"] for line in got.splitlines()} == {"settings.rejected"}
    os.close(reader)
    os.close(writer)


def test_a_long_line_is_finished_before_another_begins() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    log = Log(Sink(writer), strict=True)
    for letter in "abc":
        log.event("settings.warning", {"text": letter * 50_000})
    got = os.read(reader, 1 << 20)
    log.event("settings.warning", {"text": "d"})
    got += os.read(reader, 1 << 20)
    texts = [json.loads(line).get("text", "")[:1] for line in got.splitlines()]
    assert texts == ["a", "b", "d", ""] or texts == ["a", "d", ""]


def test_adopting_opens_the_file_anew_and_keeps_the_old_one_when_it_cannot(tmp_path: Path, written: Written) -> None:
    target = tmp_path / "portico.log"
    written.log.adopt(level="info", format="auto", file=str(target), names="portico")
    written.log.event("settings.warning", {"text": "one"})
    target.rename(tmp_path / "portico.log.1")
    written.log.adopt(level="info", format="json", file=str(target), names="portico")
    written.log.event("settings.warning", {"text": "two"})
    with pytest.raises(OSError):
        written.log.adopt(level="info", format="json", file=str(tmp_path / "missing" / "x"), names="portico")
    written.log.event("settings.warning", {"text": "three"})
    assert [json.loads(line)["text"] for line in target.read_text().splitlines()] == ["two", "three"]
    assert target.stat().st_mode & 0o007 == 0


def test_an_event_of_a_session_needs_all_that_names_the_session(written: Written) -> None:
    for missing in SESSION_ALWAYS:
        with pytest.raises(LogContractError, match=missing):
            written.log.event("session.connected", {key: value for key, value in SESSION.items() if key != missing})
    assert written.lines == []
