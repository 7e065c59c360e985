"""Metrics, dashboard and alert rules: each holds the others, and the source holds all of them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import portico
import pytest
from portico.observe.events import EVENTS
from portico.observe.metrics import METRICS, Counts
from portico.observe.metrics_reference import page

SOURCE = Path(portico.__file__).parent
DOCS = SOURCE.parent.parent / "docs"
MONITORING = DOCS / "deploy" / "monitoring"
ALERTS = (MONITORING / "portico-alerts.yml").read_text("utf-8")
DASHBOARD = json.loads((MONITORING / "portico-dashboard.json").read_text("utf-8"))
HOW_TO = (DOCS / "how-to" / "monitor-it.md").read_text("utf-8")
_ENDS = re.compile(r"_(bucket|count|sum)\Z")
_ADDED = {"instance", "job", "le"}
"""Labels that Prometheus adds."""


def expressions() -> Iterator[str]:
    """Those of the dashboard and of the alert rules."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (variable["definition"] for variable in DASHBOARD["templating"]["list"] if "definition" in variable)
    yield from re.findall(r"expr: (?:\|\n)?((?:.|\n(?=          ))+)", ALERTS)


def named(expression: str) -> set[str]:
    """The metrics of an expression, without what a histogram's samples have at their end."""
    names = set(re.findall(r"\bportico_[a-z_]+", expression))
    return {_ENDS.sub("", name) if name not in METRICS else name for name in names}


def test_the_page_in_docs_is_the_one_made_from_the_declarations() -> None:
    assert (DOCS / "reference" / "metrics.md").read_text("utf-8") == page()


def test_a_metric_has_a_name_prometheus_expects_and_a_meaning() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"portico(_[a-z]+)+", name)
        assert (metric.kind == "counter") == name.endswith("_total")
        assert metric.meaning.endswith(".")
        assert bool(metric.buckets) == (metric.kind == "histogram")
        assert list(metric.buckets) == sorted(metric.buckets)
        assert not {"user", "rip", "address", "client", "session"} & set(metric.labels)
    families = {name.removesuffix("_total") for name in METRICS}
    assert len(families) == len(METRICS)  # OpenMetrics tells a counter from a gauge by nothing else


def test_every_metric_is_counted_somewhere_and_nothing_else_is() -> None:
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        if path.name not in ("metrics.py", "metrics_reference.py") or path.parent.name != "observe":
            tree = ast.parse(path.read_text("utf-8"))
            texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
            found |= {text for text in texts if re.fullmatch(r"portico(_[a-z]+)+", text) and text not in ("portico_interests",)}
    foreign = {text for text in found - METRICS.keys() if text.endswith(("_total", "_seconds", "_bytes", "_fds", "_info"))}
    assert foreign == set()
    assert METRICS.keys() - found == set()


def test_the_dashboard_and_the_alerts_ask_only_for_metrics_that_there_are() -> None:
    asked = set().union(*map(named, expressions()))
    assert asked - METRICS.keys() == set()
    assert len(list(expressions())) > 50


def test_they_ask_only_for_labels_that_these_metrics_have() -> None:
    for expression in expressions():
        labels = _ADDED.union(*(METRICS[name].labels for name in named(expression)))
        for inside in re.findall(r"\{([^{}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*[=!]", inside)) <= labels, expression
        for inside in re.findall(r"\bby \(([^()]*)\)", expression):
            assert set(re.findall(r"\w+", inside)) <= labels, expression
    for rule in ALERTS.split("- alert: ")[1:]:
        expression, _, said = rule.partition("annotations:")
        labels = _ADDED.union(*(METRICS[name].labels for name in named(expression)))
        assert set(re.findall(r"\$labels\.(\w+)", said)) <= labels, rule


def test_the_dashboard_shows_every_metric_but_one_that_it_divides_by() -> None:
    shown = set().union(*(named(target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", ())))
    assert METRICS.keys() - shown == set()


def test_events_that_alerts_wait_for_are_events_of_the_log() -> None:
    events = [event for pattern in re.findall(r'event=~?"([^"]+)"', ALERTS) for event in pattern.split("|")]
    assert events
    assert set(events) <= EVENTS.keys()


def test_panels_have_different_numbers_and_do_not_overlap() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (column, line)
        for panel in panels
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for line in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(column for column, _ in places) < 24


def test_every_alert_is_explained() -> None:
    alerts = re.findall(r"- alert: (\w+)", ALERTS)
    assert [name for name in alerts if f"`{name}`" not in HOW_TO] == []
    assert set(re.findall(r"`(Portico\w+)`", HOW_TO)) == set(alerts)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.kind == "histogram"])
def test_what_is_observed_is_in_the_first_bucket_that_is_large_enough(name: str) -> None:
    buckets = METRICS[name].buckets
    counts = Counts()
    labels = ["x"] * len(METRICS[name].labels)
    for value in (0.0, buckets[0], buckets[1], buckets[-1] * 2):
        counts.observe(name, value, *labels)
    (row,) = counts.samples()[name]
    assert row[:-1] == labels
    assert row[-1] == [2, 1, *[0] * (len(buckets) - 2), 1, buckets[0] + buckets[1] + buckets[-1] * 2]
