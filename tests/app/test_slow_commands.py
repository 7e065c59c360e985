"""Commands that take longer than log.slow_command are in the log, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.load import load
from portico.config.sections.log import Log
from portico.errors import SettingsError

from tests.app.test_generation import House
from tests.least import LEAST


@pytest.mark.parametrize(("slow", "written"), [(5.0, ["SEARCH"]), (60.0, []), (None, [])])
def test_a_command_is_logged_when_it_took_longer(slow: float | None, written: list[str], tmp_path: Path) -> None:
    house = House(tmp_path / "house")
    house.generation.settings = house.generation.settings.model_copy(update={"log": Log(slow_command=slow)})
    session = house.session()
    assert session.context.timed == (slow is not None)
    session.view.server = "main"
    house.generation.commanded(session, "SEARCH", "ok", 12.3456)
    house.generation.commanded(session, "FETCH", "no", 5.0)
    told = [line for line in house.lines if line["event"] == "command.slow"]
    assert [line["command"] for line in told] == written
    assert [(line["seconds"], line["result"], line["server"]) for line in told] == [(12.346, "ok", "main")] * len(written)


def test_the_journal_gets_standard_error_not_a_file(tmp_path: Path) -> None:
    path = tmp_path / "portico.toml"
    path.write_text(LEAST + f'[log]\nformat = "journal"\nfile = "{tmp_path}/portico.log"\n')
    with pytest.raises(SettingsError) as caught:
        load(path)
    assert caught.value.problems == [f"{path}:11: log.format: journal is for standard error; leave out log.file"]
    path.write_text(LEAST + '[log]\nformat = "journal"\nnames = "ecs"\nslow_command = "5s"\n')
    assert load(path).log == Log(format="journal", names="ecs", slow_command=5.0)
