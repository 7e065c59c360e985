"""A TOML file with the places of its keys.

Rule of this file: what the file says and on which line; what it means is config.load's. Values come from tomllib,
lines from tree-sitter's TOML grammar (tomllib knows no positions). Where the two disagree, a line
may be that of the table around; a value never is wrong.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

from portico.errors import SettingsError

KeyPath = tuple[str | int, ...]
"""``("listeners", "imaps", "routes", 0, "server")``: names of keys, and positions in arrays from 0."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake: where, and what is to be said about it."""

    key_path: KeyPath
    text: str
    depends: tuple[KeyPath, ...] = ()
    """Not worth saying where something at or below one of these is wrong already."""


@dataclass(frozen=True, slots=True)
class Document:
    """One file as read. `data` is tomllib's; `lines` has the line of each key, table and array element."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def locate(self, key_path: Sequence[str | int]) -> int:
        """The line, from 1, of the key; where the file does not have it, of the nearest table around it."""
        path = tuple(key_path)
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, key_path: Sequence[str | int], text: str) -> str:
        """One finished line: ``portico.toml:7: servers.mail.imap: text``."""
        where = f"{self.name}:{self.locate(key_path)}: "
        return f"{where}{spell(key_path)}: {text}" if key_path else f"{where}{text}"

    def problems(self, found: Sequence[Problem]) -> list[str]:
        """Finished lines, in the order of the file."""
        rows = sorted(((self.locate(p.key_path), self.problem(p.key_path, p.text)) for p in found), key=lambda row: row[0])
        return list(dict.fromkeys(text for _, text in rows))


def spell(key_path: Sequence[str | int]) -> str:
    """A key path as TOML would write it, with positions in brackets from 0."""
    text = ""
    for part in key_path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else '"' + part.encode("unicode_escape").decode().replace('"', '\\"') + '"')
    return text


def read_document(path: Path | str) -> Document:
    """Read and cut a TOML file. SettingsError with one line where it cannot be read or is not TOML."""
    return parse_document(str(path), read_text(path))


def read_text(path: Path | str) -> str:
    """The file's text. SettingsError with one line where it cannot be read."""
    name = str(path)
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise SettingsError([f"{name}: {error.strerror or 'cannot be read'}"]) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError([f"{name}:{line}: is not UTF-8, as TOML must be"]) from None


def parse_document(name: str, text: str) -> Document:
    """As `read_document`, from text."""
    problem = ""
    data: dict[str, Any] = {}
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem = _syntax_problem(name, str(error), text)
    except RecursionError:
        problem = f"{name}:1: is nested too deeply"
    if problem:  # outside of the except block: the exception holds the whole text, secrets included
        raise SettingsError([problem])
    return Document(name, data, _lines(text))


def _syntax_problem(name: str, message: str, text: str) -> str:
    match = re.fullmatch(r"(.*?) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if match is None:
        return f"{name}:1: is not TOML: {message}"
    if match[2] is None:
        return f"{name}:{text.count(chr(10)) + 1}: is not TOML: {match[1]} (at the end of the file)"
    return f"{name}:{match[2]}: is not TOML: {match[1]} (column {match[3]})"


def _lines(text: str) -> dict[KeyPath, int]:
    root = Parser(Language(tree_sitter_toml.language())).parse(text.encode()).root_node
    lines: dict[KeyPath, int] = {(): 1}
    arrays: dict[KeyPath, int] = {}
    for node in root.named_children:
        if node.type == "pair":
            _pair(node, (), lines)
        elif node.type in ("table", "table_array_element"):
            path = _header(node, lines, arrays)
            for child in node.named_children:
                if child.type == "pair":
                    _pair(child, path, lines)
    return lines


def _header(node: Node, lines: dict[KeyPath, int], arrays: dict[KeyPath, int]) -> KeyPath:
    """The path of ``[a.b]`` or ``[[a.b]]``, and its line; a name on the way that is an array means its last element."""
    line = node.start_point[0] + 1
    names = _key(node.named_children[0]) if node.named_children else ()
    path: KeyPath = ()
    for position, name in enumerate(names):
        path += (name,)
        lines.setdefault(path, line)
        if node.type == "table_array_element" and position == len(names) - 1:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path += (arrays[path],)
    lines[path] = line
    return path


def _pair(node: Node, above: KeyPath, lines: dict[KeyPath, int]) -> None:
    line = node.start_point[0] + 1
    path = above
    if len(node.named_children) < 2:
        return
    for name in _key(node.named_children[0]):
        path += (name,)
        lines.setdefault(path, line)
    _value(node.named_children[-1], path, lines)


def _value(node: Node, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    if node.type == "inline_table":
        for child in node.named_children:
            if child.type == "pair":
                _pair(child, path, lines)
    elif node.type == "array":
        elements = [child for child in node.named_children if child.type != "comment"]
        for number, child in enumerate(elements):
            lines[(*path, number)] = child.start_point[0] + 1
            _value(child, (*path, number), lines)


def _key(node: Node) -> tuple[str, ...]:
    """The names of a bare, quoted or dotted key."""
    if node.type == "dotted_key":
        return tuple(name for child in node.named_children for name in _key(child))
    text = (node.text or b"").decode()
    if node.type == "quoted_key":
        try:
            return tuple(tomllib.loads(f"{text} = 0"))  # the escapes are TOML's business
        except tomllib.TOMLDecodeError:
            return (text,)
    return (text,)
