"""Every key has the line that an editor shows for it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config.document import KeyPath, parse_document, read_document, spell
from portico.errors import SettingsError

TEXT = """\
# a comment
a.b."c d" = 1
[x.y]
k = {file = "p", z.q = [1, {r = 2}]}
long = \"\"\"
[not.a.table]
\"\"\"
list = [
  1,
  # between
  2,
]
[[x.rows]]
u = 1
[x.rows.below]
v = 1
[[x.rows]]
u = 2
['quoted "key"'.t]
w = 1
"""


@pytest.mark.parametrize(
    ("key_path", "line"),
    [
        ((), 1),
        (("a", "b", "c d"), 2),
        (("x", "y"), 3),
        (("x", "y", "k", "file"), 4),
        (("x", "y", "k", "z", "q", 1, "r"), 4),
        (("x", "y", "long"), 5),
        (("x", "y", "list"), 8),
        (("x", "y", "list", 1), 11),
        (("x", "rows", 0), 13),
        (("x", "rows", 0, "u"), 14),
        (("x", "rows", 0, "below", "v"), 16),
        (("x", "rows", 1), 17),
        (("x", "rows", 1, "u"), 18),
        (('quoted "key"', "t", "w"), 20),
        (("x", "y", "not there", "deeper"), 3),
        (("nowhere",), 1),
    ],
)
def test_a_key_has_its_line_and_a_missing_one_that_of_the_table_around(key_path: KeyPath, line: int) -> None:
    assert parse_document("f.toml", TEXT).locate(key_path) == line


def all_paths(value: Any, above: KeyPath = ()) -> list[KeyPath]:
    items: list[tuple[str | int, Any]] = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path for key, inner in items for path in ((*above, key), *all_paths(inner, (*above, key)))]


def test_no_key_is_without_a_line() -> None:
    document = parse_document("f.toml", TEXT)
    paths = all_paths(tomllib.loads(TEXT))
    assert len(paths) > 20
    assert [path for path in paths if path not in document.lines] == []


KEYS = st.sampled_from(["a", "b-c", '"d e"', "'f.g'", '"\\u00e9"'])
VALUES = st.sampled_from(["1", '"x"', "[1, [2]]", "{p = 1, q.r = [{s = 2}]}", '"""\n\n[x]\n"""', "2026-01-02", "[\n 1, # c\n 2]"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=3), VALUES), max_size=8),
    st.lists(st.sampled_from(["", "# c", "  "]), max_size=3),
)
def test_whatever_toml_the_lines_cover_its_keys(pairs: list[tuple[list[str], str]], blank: list[str]) -> None:
    text = "\n".join([*blank, *(f"[t{number}]\n{'.'.join(keys)} = {value}" for number, (keys, value) in enumerate(pairs))])
    document = parse_document("f.toml", text)
    lines = text.split("\n")
    for path in all_paths(document.data):
        assert path in document.lines
        assert document.lines[path] <= len(lines)
    for number in range(len(pairs)):
        assert lines[document.locate((f"t{number}",)) - 1] == f"[t{number}]"


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="a=[]{}\"'\n.#1 \\,", max_size=40))
def test_any_text_gives_a_document_or_one_line(text: str) -> None:
    try:
        assert parse_document("f.toml", text).data == tomllib.loads(text)
    except SettingsError as error:
        (problem,) = error.problems
        assert problem.startswith("f.toml:")
        assert int(problem.split(":")[1]) >= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = \n", "f.toml:2: is not TOML: Invalid value (column 5)"),
        ('a = 1\nb = "x', "f.toml:2: is not TOML: Unterminated string (at the end of the file)"),
        ("a = 1\na = 2\n", "f.toml:2: is not TOML: Cannot overwrite a value"),
    ],
)
def test_a_syntax_error_has_its_line(text: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_document("f.toml", text)
    assert caught.value.problems[0].startswith(expected)


def test_a_syntax_error_keeps_nothing_of_the_text() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_document("f.toml", 'password = "geheim"\nb = \n')
    error: BaseException | None = caught.value
    assert error is not None
    assert "geheim" not in str(error)
    assert error.__context__ is None
    assert error.__cause__ is None


def test_deep_nesting_is_a_mistake_and_no_crash() -> None:
    with pytest.raises(SettingsError, match=r"f\.toml:1: is nested too deeply"):
        parse_document("f.toml", "a = " + "[" * 100_000)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        read_document(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="Is a directory"):
        read_document(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'a = 1\nb = "\xe9"\n')
    with pytest.raises(SettingsError, match=r"latin\.toml:2: is not UTF-8"):
        read_document(tmp_path / "latin.toml")


def test_a_byte_order_mark_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_document(tmp_path / "bom.toml").data == {"a": 1}


def test_key_paths_are_spelt_as_toml_does() -> None:
    assert spell(("a", "b c", 0, 'x"y')) == 'a."b c"[0]."x\\"y"'
    assert spell(()) == ""
