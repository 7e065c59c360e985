"""Whatever stands in a settings file: settings, or a list of mistakes; never another end, never a secret shown."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from portico.config.document import parse_document
from portico.config.load import understand
from portico.config.schema import sections
from portico.config.show import key_text, value_text
from portico.errors import SettingsError

KEYS = [*sorted({key for _, model in sections() for key in model.model_fields}), "mail", "imaps", "x y", "file", "env"]
TEXTS = st.sampled_from(
    ["mail", "127.0.0.1:993", "[::1]:1", "unix:/x", "starttls", "30s", "1KiB", "PLAIN", "{user}", "{", "*", "", "\0", "é\u2028", "pop3"]
)
LEAVES = st.one_of(
    st.booleans(),
    st.integers(-5, 5),
    st.just(2**63 - 1),
    st.sampled_from([0.5, float("inf"), float("nan")]),
    TEXTS,
    st.just(datetime.date(2026, 1, 2)),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3), max_leaves=5
)
TABLES = ("servers.mail", "servers.two", "listeners.imaps", "listeners.pop", "limits", "log", "trace", "plugins.p")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(TABLES), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5), max_size=6))
def test_any_tables_give_settings_or_mistakes_with_lines(tmp_path: Path, tables: dict[str, dict[str, Any]]) -> None:
    rows = []
    for heading, table in tables.items():
        rows += [f"[{heading}]", *(f"{key_text(key)} = {value_text(value)}" for key, value in table.items())]
    text = "\n".join(rows)
    try:
        understand(parse_document("f.toml", text), tmp_path)
    except SettingsError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.startswith("f.toml:")
            assert 1 <= int(problem.split(":")[1]) <= max(1, len(rows))
            assert "\n" not in problem


@pytest.mark.parametrize(("number", "mistakes"), [("-1", 2), ("0", 2), ("99999999999999999999", 0)])
def test_counts_and_sizes_have_a_least_and_no_largest(tmp_path: Path, number: str, mistakes: int) -> None:
    with pytest.raises(SettingsError) as caught:
        understand(parse_document("f.toml", f"[limits]\nsessions = {number}\n[listeners.l.limits]\nline = {number}\n"), tmp_path)
    assert len([problem for problem in caught.value.problems if "limits" in problem]) == mistakes
