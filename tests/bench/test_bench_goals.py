"""What was to be reached beside nginx is judged right, told right and drawn right. No test is timed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from mailbench import goals, growth, picture, report, show
from mailbench.main import arguments, main
from mailbench.measures import Row
from mailbench.plan import MEASURES, ORDINARY, Plan

TARGETS = ("nginx", "nginx-64k", "portico", "portico-plugins")


def rows(metric: str, *rounds: tuple[float, ...], targets: tuple[str, ...] = TARGETS) -> list[Row]:
    """A figure for each target in each round."""
    return [
        Row(target, metric, number, value) for number, values in enumerate(rounds) for target, value in zip(targets, values, strict=True)
    ]


def test_what_moves_octets_is_held_against_nginx_with_large_buffers() -> None:
    (line,) = goals.judge(rows("fetch_s_gib", (2.0, 1.0, 0.9, 1.2), (2.0, 1.0, 0.8, 1.0), (2.0, 1.0, 1.3, 1.1)))
    assert line.reference == 1.0
    assert line.alone is not None
    assert line.plugins is not None
    assert (line.alone.ratio, line.alone.word) == (report.Spread(0.8, 0.9, 1.3), "met")
    assert (line.plugins.ratio, line.plugins.word) == (report.Spread(1.0, 1.1, 1.2), "MISSED"), "less than 1.1 was to be reached"


def test_what_may_be_as_much_is_met_by_as_much() -> None:
    (line,) = goals.judge(rows("login_ms", (1.0, 1.0, 1.0, 1.2)))
    assert line.alone is not None
    assert line.plugins is not None
    assert (line.alone.word, line.plugins.word) == ("met", "met")


def test_more_commands_per_second_are_better() -> None:
    more, less = (goals.judge(rows("commands64_per_s", (100.0, 100.0, value, 50.0)))[0] for value in (101.0, 99.0))
    assert more.alone is not None
    assert less.alone is not None
    assert (more.alone.word, less.alone.word) == ("met", "MISSED")
    assert more.plugins is not None
    assert more.plugins.word == "", "nothing was to be reached with plugins"


def test_with_plugins_a_listing_is_one_of_ordinary_mail() -> None:
    measured = rows("list_s_gib", (2.0, 1.0, 0.9, 9.0)) + rows("mail_list_s_gib", (2.0, 1.0, 1.5, 2.5))
    (line,) = goals.judge(measured)
    assert line.alone is not None
    assert line.plugins is not None
    assert (line.alone.ratio.median, line.plugins.ratio.median) == (0.9, 2.5)


def test_what_a_proxy_adds_to_a_round_trip_is_what_it_takes_longer_than_the_backend_in_the_same_round() -> None:
    measured = rows("command_p50_us", (20.0, 60.0, 62.0), (30.0, 70.0, 74.0), targets=("direct", "nginx", "portico"))
    added = report.added(measured)
    assert {(row.target, row.round, row.value) for row in added} == {
        ("nginx", 0, 40.0), ("portico", 0, 42.0), ("nginx", 1, 40.0), ("portico", 1, 44.0),
    }  # fmt: skip
    assert {row.metric for row in added} == {"command_p50_added_us"}
    assert report.added(rows("command_p50_us", (60.0, 62.0), targets=("nginx", "portico"))) == [], "nobody knows what direct is"


def test_the_page_s_table_says_the_figure_the_ratio_the_goal_and_whether_it_was_met() -> None:
    lines = goals.judge(rows("append_s_gib", (1.1, 1.0, 0.99, 1.32), (1.1, 1.0, 1.1, 1.43)))
    assert goals.markdown(lines).splitlines()[2] == (
        "| APPEND, CPU per GiB | 1.10 s | **0.95** (0.90-1.00) | < 1.0: met | **1.25** (1.20-1.30) | < 1.1: MISSED |"
    )


def test_the_verdicts_name_what_was_missed() -> None:
    assert goals.verdicts(goals.judge(rows("idle9000_kib", (20.0, 20.0, 17.0, 26.0)))) == [
        "met: memory per session, 9,000 idle: 0.85x, < 0.9 was to be reached",
        "MISSED: memory per session, 9,000 idle, three plugins on: 1.30x, < 1.0 was to be reached",
    ]


def test_a_goal_without_figures_is_not_judged() -> None:
    assert goals.judge(rows("login_ms", (1.0, 1.1), targets=("portico", "portico-plugins"))) == []
    assert goals.judge(rows("append_s_gib", (1.1, 1.0), targets=("nginx", "nginx-64k"))) == []


def test_every_goal_is_measured_by_default() -> None:
    """By the names of measures: those of a metric begin with that of the measure."""
    idle = {f"idle{count}_kib" for count in Plan().idle}
    for goal in goals.GOALS:
        for name in filter(None, (goal.metric, goal.with_plugins)):
            assert name in idle or report.metric(name).title
            assert any(name.startswith(measure) for measure in (*MEASURES, *ORDINARY))
        assert goal.unit.strip()


def drawn(measured: list[Row]) -> ET.Element:
    return ET.fromstring(picture.svg(goals.judge(measured), "2 cores, <made up> & small"))


def of_kind(root: ET.Element, tag: str, kind: str) -> list[ET.Element]:
    return [each for each in root.iter(f"{{http://www.w3.org/2000/svg}}{tag}") if each.get("class") == kind]


def test_the_picture_is_xml_with_two_bars_for_each_goal_and_a_mark_for_what_was_to_be_reached() -> None:
    root = drawn(rows("login_ms", (1.0, 1.0, 1.5, 2.0)) + rows("append_s_gib", (1.0, 1.0, 0.5, 1.0)))
    legend = 1
    assert len(of_kind(root, "rect", "alone")) == len(of_kind(root, "rect", "plugins")) == 2 + legend
    assert len(of_kind(root, "line", "goal")) == 4 + legend
    texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"1.50", "2.00", "0.50", "session set-up, full handshake, CPU", "2 cores, <made up> & small"} <= set(texts)


def test_a_bar_is_as_long_as_its_ratio_and_never_leaves_the_picture() -> None:
    root = drawn(rows("login_ms", (1.0, 1.0, 0.5, 1.0)) + rows("list_s_gib", (1.0, 1.0, 40.0, 1.0)))
    half, cut = (float(each.get("width", "")) for each in of_kind(root, "rect", "alone")[1:][::-1])
    whole = float(of_kind(root, "rect", "plugins")[1].get("width", ""))
    assert half == pytest.approx(whole / 2, abs=0.2)
    width = float(root.get("viewBox", "").split()[2])
    assert all(float(each.get("x", "")) + float(each.get("width", "")) < width for each in root.iter() if each.tag.endswith("rect"))
    assert cut > 3 * whole


def test_where_more_is_better_the_inverse_is_drawn() -> None:
    root = drawn(rows("commands64_per_s", (100.0, 100.0, 200.0, 50.0)))
    alone, plugins = (float(of_kind(root, "rect", kind)[1].get("width", "")) for kind in ("alone", "plugins"))
    assert plugins == pytest.approx(alone * 4, abs=0.3)
    assert {"0.50", "2.00"} <= {each.text for each in root.iter("{http://www.w3.org/2000/svg}text")}


def test_the_picture_has_colours_for_light_and_for_dark() -> None:
    assert "@media (prefers-color-scheme: dark)" in picture.svg([], "")


STEPS = [
    *(Row("portico", f"idle_kib@{step}", 0, value) for step, value in ((1000, 19.0), (2000, 18.0), (5000, 18.2), (9000, 18.0))),
    *(Row("portico", f"active_us@{step}", 0, value) for step, value in ((1, 60.0), (4, 30.0), (16, 25.0), (64, 25.5), (256, 25.0))),
]


def test_what_grows_is_said_to_be_constant_only_where_it_is_everywhere() -> None:
    assert growth.verdicts(STEPS) == [
        "constant: portico: sessions in IDLE: memory of each, KiB: 18.1 within 10%",
        "NOT CONSTANT: portico: sessions at work: round trip, CPU us: 25.5 in the middle, 60.0 at 1, 30.0 at 4",
    ]


def test_steps_are_told_in_a_table_for_each_kind() -> None:
    assert growth.markdown(STEPS).splitlines() == [
        "| sessions in IDLE | | 1,000 | 2,000 | 5,000 | 9,000 |",
        "|---|---|---|---|---|---|",
        "| memory of each, KiB | portico | 19.0 | 18.0 | 18.2 | 18.0 |",
        "",
        "| sessions at work | | 1 | 4 | 16 | 64 | 256 |",
        "|---|---|---|---|---|---|---|",
        "| round trip, CPU us | portico | 60.0 | 30.0 | 25.0 | 25.5 | 25.0 |",
    ]


ABOUT = {"machine": "2 cores", "python": "3.11", "began": "2026-11-24 12:00", "rounds": 2, "reference": "nginx", "foreign_cores": 0.1}


def test_what_was_measured_can_be_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = rows("append_s_gib", (1.1, 1.0, 0.99, 1.32)) + STEPS
    file = tmp_path / "run.json"
    file.write_text(json.dumps(show.as_json(measured, ["haproxy is left out: install haproxy"], ABOUT)))
    assert main(["--show", str(file), "--svg", str(tmp_path / "run.svg")]) == 0
    said = capsys.readouterr().out
    assert "| APPEND, CPU per GiB | 1.10 s | **0.90** (0.90-0.90) | < 1.0: met |" in said
    assert "| memory of each, KiB | portico | 19.0 |" in said
    assert "MISSED: APPEND, CPU per GiB, three plugins on: 1.20x, < 1.1 was to be reached" in said
    assert "haproxy is left out" in said
    assert ET.parse(tmp_path / "run.svg").getroot().tag.endswith("svg")


def test_the_file_has_goals_and_verdicts_beside_the_rows() -> None:
    said = json.loads(json.dumps(show.as_json(rows("append_s_gib", (1.1, 1.0, 0.99, 1.32)), [], ABOUT)))
    assert [line["goal"]["title"] for line in said["goals"]] == ["APPEND, CPU per GiB"]
    assert said["goals"][0]["alone"]["ratio"]["median"] == pytest.approx(0.9)
    assert len(said["verdicts"]) == 2
    assert len(said["rows"]) == 4


def test_growth_is_measured_of_nginx_and_portico_with_and_without_plugins() -> None:
    assert arguments(["--growth"]).peers == "nginx,portico,portico-plugins"
    assert arguments(["--growth"]).json.name == "growth.json"
