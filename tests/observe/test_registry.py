"""The registry, the reference made from it, and the source: each holds the others."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import jsonschema
import portico
import pytest
from portico.observe import reference
from portico.observe.events import EVENTS
from portico.observe.fields import EVERY_LINE, FIELDS, SESSION_ALWAYS, SESSION_WHEN_KNOWN
from portico.session.context import Peer

SOURCE = Path(portico.__file__).parent
DOCS = SOURCE.parent.parent / "docs" / "reference"
EMITTERS = {"Record", "record", "event", "_event", "report", "_record", "_report", "_note"}


def emitted() -> dict[str, set[str]]:
    """Each event name in the source that is given to something that emits, and the files that do so.

    A name is found as the first text among the arguments of Record(…), x.record(…), log.event(…), report(…).
    """
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in EMITTERS:
                continue
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            dotted = [text for text in texts if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", text)]
            if dotted:
                found.setdefault(dotted[0], set()).add(path.relative_to(SOURCE).as_posix())
    return found


def test_every_event_in_the_source_is_registered() -> None:
    strange = {name: files for name, files in emitted().items() if name not in EVENTS}
    assert strange == {}


def test_every_registered_event_is_emitted_somewhere() -> None:
    assert EVENTS.keys() - emitted().keys() - {"log.dropped"} == set()
    assert '"log.dropped"' in (SOURCE / "observe" / "log.py").read_text()


def test_every_field_is_in_use_and_known() -> None:
    used = {*EVERY_LINE, *SESSION_ALWAYS, *SESSION_WHEN_KNOWN, "unregistered"}
    for known in EVENTS.values():
        used |= {*known.fields, *known.optional}
    assert used == FIELDS.keys()


def test_the_fields_of_a_session_have_dovecots_names() -> None:
    assert {"rip", "rport", "lip", "lport"} <= {*SESSION_ALWAYS} and {"rip", "rport", "lip", "lport"} <= {*Peer.__slots__}


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_a_name_is_dotted_and_its_meaning_a_sentence(name: str) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
    assert EVENTS[name].meaning.endswith(".") and EVENTS[name].meaning[0].isupper()
    assert not (EVENTS[name].session and EVENTS[name].either)


def test_the_reference_is_what_the_registry_says() -> None:
    assert (DOCS / reference.PAGE).read_text(encoding="utf-8") == reference.page(), "make docs"
    assert json.loads((DOCS / reference.SCHEMA).read_text(encoding="utf-8")) == reference.schema(), "make docs"


def test_the_page_has_every_event_once() -> None:
    headings = re.findall(r"^### (\S+)$", reference.page(), re.MULTILINE)
    assert sorted(headings) == sorted(EVENTS)


def test_the_schema_is_a_schema_and_knows_what_is_wrong() -> None:
    schema = reference.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    line = {"timestamp": "2026-01-01T00:00:00.000000+00:00", "level": "warning", "event": "log.dropped", "count": 3}
    assert validator.is_valid(line)
    assert not validator.is_valid({**line, "event": "log.unheard_of"})
    assert not validator.is_valid({**line, "count": "3"})
    assert not validator.is_valid({**line, "user": "alice"})
    assert not validator.is_valid({key: value for key, value in line.items() if key != "count"})
