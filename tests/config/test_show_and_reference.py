"""What is shown can be read again, and the page in docs is the declarations."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.config import reference
from portico.config.document import parse_document
from portico.config.load import understand
from portico.config.schema import sections
from portico.config.sections.workers import Workers
from portico.config.settings import Listener, Portico, Server
from portico.config.show import as_toml, duration_text, size_text, value_text
from portico.config.units import parse_duration, parse_size
from portico.errors import Secret
from portico.tls.issue import issue_into
from pydantic import BaseModel


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the files of the example are."""
    directory = tmp_path_factory.mktemp("example")
    issue_into(directory, ["mail.example.org"])
    for old, new in (("server.pem", "mail.pem"), ("server.key", "mail.key"), ("ca.pem", "internal-ca.pem")):
        (directory / old).rename(directory / new)
    return directory


@pytest.fixture
def example(place: Path, monkeypatch: pytest.MonkeyPatch) -> Portico:
    monkeypatch.setenv("ARCHIVE_PASSWORD", "geheim")
    return understand(parse_document("portico.toml", reference.EXAMPLE), place).settings


def test_the_page_in_docs_is_the_one_made_from_the_declarations(project: Path) -> None:
    assert (project / "docs" / "reference" / "settings.md").read_text("utf-8") == reference.page()


def test_the_page_has_every_key_with_its_meaning() -> None:
    page = reference.page()
    models: list[type[BaseModel]] = [model for _, model in sections()]
    assert {Portico, Server, Listener, Workers} <= set(models)
    assert len(models) == len(set(models))
    for model in models:
        assert model.__doc__
        for key, field in model.model_fields.items():
            assert f"| `{key}` |" in page
            assert field.description
            assert field.description.endswith(".")


def test_the_example_on_the_page_is_good(example: Portico) -> None:
    assert list(example.listeners) == ["imaps", "pop3"]
    assert example.servers["archive"].master_password == Secret("geheim")


def test_settings_that_are_shown_can_be_read_again_save_the_secrets(example: Portico, place: Path) -> None:
    text = as_toml(example)
    assert "geheim" not in text
    again = understand(parse_document("shown.toml", text), place).settings
    archive = again.servers["archive"].model_copy(update={"master_password": Secret("geheim")})
    assert again.model_copy(update={"servers": {**again.servers, "archive": archive}}) == example


def test_shown_settings_have_every_key_also_those_at_their_default(example: Portico) -> None:
    text = as_toml(example)
    assert '\nmaster_password = "<secret>"\n' in text
    assert '\nconnect = "5s"\n' in text
    assert '\nliteral = "1GiB"\n' in text
    assert "\n# client_ca_file is not set\n" in text
    assert '\nuser = "{local}"\n' in text


def test_options_of_plugins_that_sound_like_secrets_are_blotted_out() -> None:
    options = {
        "api_token": "geheim",
        "nested": {"Password": "geheim", "n": 1},
        "url": "u",
        "when": datetime.date(2026, 1, 2),
        "list": [1.5, True],
    }
    server = Server(imap="localhost:143")
    listener = Listener(protocol="imap", addresses=["localhost:1143"], server="s", plugins={"my plugin": options})
    text = as_toml(Portico(servers={"s": server}, listeners={"l": listener}))
    assert "geheim" not in text
    assert '[listeners.l.plugins."my plugin"]\napi_token = "<secret>"\nnested = {Password = "<secret>", n = 1}\nurl = "u"\n' in text
    assert "when = 2026-01-02\nlist = [1.5, true]\n" in text


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_times_and_sizes_are_shown_as_they_can_be_read(number: int) -> None:
    assert parse_duration(duration_text(number / 1000)) == pytest.approx(number / 1000)
    assert parse_size(size_text(number)) == number


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_is_shown_as_toml_reads_it(text: str) -> None:
    assert parse_document("f", f"a = {value_text(text)}").data == {"a": text}


def test_a_server_never_shows_its_password_in_a_repr() -> None:
    server = Server(imap="localhost:143", master_user="m", master_password=Secret("geheim"))
    assert "geheim" not in repr(server)
    assert "geheim" not in str(server.model_dump())
