"""The table of goals as a picture: a bar for each ratio to nginx, shorter is better.

Rule of this file: plain SVG text, made from figures alone; readable in light and in dark, and without colours (the two kinds of bars stand in
the same order everywhere). Of what is better when there is more of it (commands per second) the inverse is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mailbench.goals import Bound, Judged, Line
from mailbench.report import Spread

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 900, 370, 70, 74, 42, 13
_MOST = 3.5
"""Ratios above are cut; the number stands beside the bar all the same."""
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 11px; }
.heading { font-size: 16px; font-weight: 600; }
.grid { stroke: #d0d7de; stroke-width: 1; }
.one { stroke: #1f2328; stroke-width: 1.5; }
.alone { fill: #2f6db3; }
.plugins { fill: #d9822b; }
.spread { stroke: #1f2328; stroke-width: 1; }
.goal { stroke: #1a7f37; stroke-width: 2.5; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.grid { stroke: #3d444d; }
.one, .spread { stroke: #e6edf3; }
.alone { fill: #6ea8e6; }
.plugins { fill: #f0a35c; }
.goal { stroke: #3fb950; }
}
"""


def svg(lines: Sequence[Line], about: str) -> str:
    """`about`: where and when it was measured, in a line."""
    height = _TOP + _ROW * len(lines) + 44
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-labelledby="title">',
        '<title id="title">CPU, time and memory of Portico as ratios to nginx; each also stands in the table of the page</title>',
        f"<style>{_STYLE}</style>",
        _text(12, 24, "Portico beside nginx&#8217;s mail proxy: ratio to nginx, shorter is better", "heading"),
        '<rect class="alone" x="12" y="38" width="13" height="13"/>', _text(31, 49, "no plugin interested"),
        '<rect class="plugins" x="190" y="38" width="13" height="13"/>', _text(209, 49, "three plugins on"),
        '<line class="goal" x1="346" y1="36" x2="346" y2="53"/>', _text(354, 49, "to reach"),
        '<line class="spread" x1="438" y1="44.5" x2="470" y2="44.5"/>', _text(478, 49, "least to greatest of the rounds"),
    ]  # fmt: skip
    bottom = _TOP + _ROW * len(lines)
    for tick in (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5):
        x = _x(tick)
        drawn.append(f'<line class="{"one" if tick == 1 else "grid"}" x1="{x}" y1="{_TOP - 6}" x2="{x}" y2="{bottom}"/>')
        drawn.append(_text(x, bottom + 16, "nginx" if tick == 1 else f"{tick:g}", "small", "middle"))
    for number, line in enumerate(lines):
        y = _TOP + _ROW * number
        turned = line.goal.metric.endswith("_per_s")
        title = line.goal.title + (" (nginx&#8217;s by ours)" if turned else "")
        drawn.append(_text(_LEFT - 12, y + 22, title if turned else escape(title), "", "end"))
        for judged, kind, at in ((line.alone, "alone", y + 3), (line.plugins, "plugins", y + 4 + _BAR)):
            if judged is not None:
                drawn += _bar(judged, kind, at, turned=turned)
    drawn += [_text(12, height - 6, escape(about), "small"), "</svg>"]
    return "\n".join(drawn) + "\n"


def _bar(judged: Judged, kind: str, y: float, *, turned: bool) -> list[str]:
    spread, bound = (_turned(judged.ratio), judged.bound) if turned else (judged.ratio, judged.bound)
    end, middle = _x(spread.median), y + _BAR / 2
    drawn = [
        f'<rect class="{kind}" x="{_x(0)}" y="{y}" width="{round(end - _x(0), 1)}" height="{_BAR}"/>',
        f'<line class="spread" x1="{_x(spread.least)}" y1="{middle}" x2="{_x(spread.greatest)}" y2="{middle}"/>',
        _text(max(end, _x(spread.greatest)) + 5, y + 11, f"{spread.median:.2f}", "small"),
    ]
    if bound is not None:
        x = _x(_reached(bound))
        drawn.append(f'<line class="goal" x1="{x}" y1="{y - 2}" x2="{x}" y2="{y + _BAR + 2}"/>')
    return drawn


def _reached(bound: Bound) -> float:
    return 1 / bound.ratio if bound.word == ">" else bound.ratio


def _turned(spread: Spread) -> Spread:
    return Spread(1 / spread.greatest, 1 / spread.median, 1 / spread.least)


def _x(ratio: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(ratio, 0), _MOST) / _MOST, 1)


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    """`text` is XML."""
    words = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
    return f'<text x="{x}" y="{y}"{words}>{text}</text>'
