"""[shared]: a Redis URL is checked, and its password is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.app.commons import commons_of
from portico.app.proxy import build
from portico.config.load import load, read
from portico.errors import SettingsError
from portico.gate.commons import LocalCommons
from portico.gate.shared import SharedCommons
from portico.observe.log import Log

from tests.least import LEAST


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "portico.toml"
    path.touch(0o600)
    path.write_text(LEAST + text)
    return path


def test_another_kind_of_url_is_a_mistake_and_its_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(written(tmp_path, '[shared]\nredis = "http://:geheim@host/"\n'))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path}/portico.toml:11: shared.redis: ")
    assert "redis://" in problem
    assert "geheim" not in problem


def test_redis_is_used_where_it_is_named_only(tmp_path: Path) -> None:
    assert type(commons_of(load(written(tmp_path, "")), Log())) is LocalCommons
    settings = load(written(tmp_path, '[shared]\nredis = "rediss://:geheim@host:6379/1"\nprefix = "mail"\n'))
    commons = commons_of(settings, Log())
    assert isinstance(commons, SharedCommons)
    assert "geheim" not in repr(commons) + repr(settings)


@pytest.mark.parametrize("more", ["", "annotations = true\n"])
def test_what_was_told_of_messages_is_remembered_in_redis_where_that_is_asked_for(more: str, tmp_path: Path) -> None:
    path = written(tmp_path, f'[annotations]\nfile = "{tmp_path}/ledger"\n[shared]\nredis = "redis://127.0.0.1:1/0"\n{more}')
    ledger = build(load(path), path, log=Log()).generation.ledger
    assert ledger is not None
    assert ("RedisLedger" in repr(vars(ledger)["_ledger"])) == bool(more)
    ledger.close()


def test_a_redis_elsewhere_without_tls_and_a_password_that_everybody_may_read_are_warned_of(tmp_path: Path) -> None:
    def said(url: str, mode: int = 0o600) -> list[str]:
        path = written(tmp_path, f'[shared]\nredis = "{url}"\n')
        path.chmod(mode)
        return read(path).warnings

    (warning,) = said("redis://:geheim@cache.example.org:6379/0")
    assert "goes to cache.example.org without TLS" in warning and "geheim" not in warning
    assert said("rediss://:geheim@cache.example.org/0") == said("redis://127.0.0.1/0") == said("unix:///run/redis.sock") == []
    (warning,) = said("redis://:geheim@localhost/0", 0o644)
    assert "everybody on this machine may read this file" in warning
