"""docs/how-to/meeting-links.md and the plugin say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from portico_meeting_links import MeetingLinks, links, words

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "meeting-links.md").read_text("utf-8")


@pytest.mark.parametrize(("webmail", "path"), links.PRESETS.items())
def test_each_webmail_has_its_path_what_is_known_of_it_and_whether_it_works_over_pop3(webmail: str, path: str) -> None:
    pop3 = "no" if links.IMAP_ONLY & set(links.names_in(path)) else "yes"
    assert f"| `{webmail}` | `{path}` | {pop3} |" in PAGE
    assert f"* **{webmail}**: " in PAGE


def test_every_variable_is_named_and_those_that_pop3_lacks() -> None:
    variables = PAGE.partition("\nVariables are percent-encoded")[2].partition("\n\n")[0]
    assert set(re.findall(r"`\{(\w+)\}`", variables)) == set(links.VARIABLES)
    (row,) = re.findall(r"^\| `custom` .*$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`\{(\w+)\}`", row)) == links.IMAP_ONLY


def test_every_option_and_language_is_named() -> None:
    for option in MeetingLinks().settings_declared():
        assert re.search(rf"\b{option.name}\b", PAGE), option.name
    assert f"({', '.join(f'`{name}`' for name in words.languages())})" in PAGE


def test_every_picture_is_shown_somewhere() -> None:
    for picture in (Path(__file__).resolve().parents[2] / "docs" / "images").glob("meeting-link-*"):
        assert f"(../images/{picture.name})" in PAGE
