"""docs/reference/hooks.md and portico.plugin say the same."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import portico.plugin
import pytest
from portico.plugin import Command, FetchItem, Interests, LoginAttempt, Option, Peer, ProxyInfo, Response, TlsInfo
from portico.plugin.hooks import ORDER, Hooks, Summary


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).parents[2] / "docs" / "reference" / "hooks.md").read_text("utf-8")


def signature(name: str) -> str:
    text = str(inspect.signature(getattr(Hooks, name)))
    return name + text.replace("'", "").replace("SessionView", "Session")


def test_every_hook_stands_there_in_order_with_its_exact_signature(page: str) -> None:
    shown = re.findall(r"^### (\w+)\n\n```python\n(.*?)\n```", page, re.DOTALL | re.MULTILINE)
    assert shown == [(name, signature(name)) for name in ORDER]


def test_every_hook_that_may_be_a_coroutine_says_so_and_no_other(page: str) -> None:
    for name in ORDER:
        (text,) = re.findall(rf"^### {name}\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE)
        assert ("may be a\ncoroutine" in text or "may be a coroutine" in text) == ("Awaitable" in signature(name))


def test_a_hook_that_the_code_says_fails_closed_does_so_on_the_page(page: str) -> None:
    for name in ORDER:
        (text,) = re.findall(rf"^### {name}\n(.*?)(?=^##)", page, re.DOTALL | re.MULTILINE)
        docstring = inspect.getdoc(getattr(Hooks, name)) or ""
        for way in ("closed", "open"):
            assert (f"fails {way}" in text) == (f"fails {way}" in docstring), name


def test_every_name_of_the_door_is_explained(page: str) -> None:
    for name in portico.plugin.__all__:
        assert re.search(rf"\b{name}\b", page), name


@pytest.mark.parametrize("shown", [Command, FetchItem, Interests, LoginAttempt, Option, Peer, ProxyInfo, Response, TlsInfo])
def test_every_field_is_named(page: str, shown: type) -> None:
    for field in fields(shown):
        assert re.search(rf"\b{field.name}\b", page), f"{shown.__name__}.{field.name}"


def test_every_part_of_a_summary_is_named(page: str) -> None:
    for name in Summary.__annotations__:
        assert re.search(rf"\b{name}\b", page), name
