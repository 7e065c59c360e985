"""Figures of a run as a file, and that file as tables and a picture.

Rule of this file: all that is shown comes from the file, so what was measured once can be shown again, in the form in which
docs/explanation/performance.md has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mailbench import goals, growth, picture, report
from mailbench.measures import Row

_LINKS = "portico-links"
_PURE = ("portico-pure", "portico-plugins-pure")


def as_json(rows: Sequence[Row], notes: Sequence[str], about: Mapping[str, Any]) -> dict[str, Any]:
    """Rows are what was measured; the table, the goals and the verdicts are made from them for who reads the file."""
    plain, steps = _parted(rows)
    table = report.compare(plain, str(about["reference"]))
    return {
        "about": dict(about),
        "table": {name: {target: asdict(cell) for target, cell in cells.items()} for name, cells in table.items()},
        "goals": [asdict(line) for line in goals.judge(plain)] if about["reference"] == "nginx" else [],
        "verdicts": _verdicts(plain, steps, table),
        "notes": list(notes),
        "rows": [asdict(row) for row in rows],
    }


def _parted(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """What is compared, and what was measured in steps."""
    plain = [row for row in rows if "@" not in row.metric]
    return plain + report.added(plain), [row for row in rows if "@" in row.metric]


def _verdicts(plain: Sequence[Row], steps: Sequence[Row], table: dict[str, dict[str, report.Cell]]) -> list[str]:
    if any(row.target == _LINKS for row in plain):
        return report.verdicts(table, _LINKS, report.LINKS_EXPECTED)
    return goals.verdicts(goals.judge(plain)) + growth.verdicts(steps)


def tell(figures: Mapping[str, Any], svg: Path) -> None:
    """Print the tables, and draw the picture where there is something to draw."""
    about = figures["about"]
    rows = [Row(**row) for row in figures["rows"]]
    plain, steps = _parted(rows)
    compiled = ", compiled" if about.get("compiled") else ""
    where = f"{about['machine']}; Python {about['python']}{compiled}; {about['began']}; {about['rounds']} rounds"
    print(where)
    print(f"Cores used by other work meanwhile (median): {about.get('foreign_cores', '-')}\n")
    reference = str(about["reference"])
    if plain:
        lines = goals.judge(plain) if reference == "nginx" else []
        if lines:
            print("Medians; ratios to nginx in the same round (least-greatest); CPU and memory are the proxy's own, all processes.\n")
            print(goals.markdown(lines), end="\n\n")
            svg.parent.mkdir(parents=True, exist_ok=True)
            svg.write_text(picture.svg(lines, where), encoding="utf-8")
        if any(row.target in _PURE for row in plain):
            print("The same from the source, nothing compiled:\n")
            print(goals.markdown(goals.judge(plain, *_PURE)), end="\n\n")
        targets = list(dict.fromkeys(row.target for row in plain if row.target != "direct"))
        print(f"All that was measured, and ratios to {reference}:\n")
        print(report.markdown(report.compare(plain, reference), targets, reference), end="\n\n")
        if lines:
            print(f"Picture: {svg}")
    if steps:
        print(growth.markdown(steps), end="\n\n")
    for line in [*_verdicts(plain, steps, report.compare(plain, reference)), *figures["notes"]]:
        print(line)
