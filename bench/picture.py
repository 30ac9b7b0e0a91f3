"""A picture of the ratios as SVG: one pair of bars a row on a logarithmic axis, readable on light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.compare import Line, Ratio, lines, times

_WIDTH, _LABEL, _RIGHT, _ROW, _TOP, _BOTTOM, _BAR = 920, 340, 70, 30, 86, 46, 9
_STYLE = """
  .paper { fill: #ffffff } .text { fill: #1f2328 } .faint { fill: #59636e } .grid { stroke: #d1d9e0 }
  .one { stroke: #59636e } .reference { fill: #0969da } .best { fill: #bf8700 } .lost { fill-opacity: .45 }
  .wanted { stroke: #1f2328; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .text { fill: #f0f6fc } .faint { fill: #9198a1 } .grid { stroke: #2f353d }
    .one { stroke: #9198a1 } .reference { fill: #4493f8 } .best { fill: #d29922 } .wanted { stroke: #f0f6fc }
  }
  text { font: 12px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 10.5px }
"""


def picture(kept: Mapping[str, Any]) -> str:
    """The rows that have a target, those of processor time last; all rows where none has one."""
    every = [*((line, "") for line in lines(kept, cpu=False)), *((line, ", CPU") for line in lines(kept, cpu=True))]
    shown = [(line, mark) for line, mark in every if line.wanted is not None or line.wanted_best is not None]
    shown = [(line, mark) for line, mark in shown or every if line.reference or line.best]
    axis = _Axis([line for line, _ in shown])
    height = _TOP + _ROW * len(shown) + _BOTTOM
    facts = kept["machine"]
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" role="img" aria-labelledby="title">'
        ),
        f"<style>{_STYLE}</style>",
        f'<rect class="paper" width="{_WIDTH}" height="{height}" rx="6"/>',
        _text(16, 28, f"How many times better {kept['registries'][0]['name']} is", "text title", 'id="title"'),
        *_legend(),
        *axis.grid(height),
        *(part for place, (line, mark) in enumerate(shown) for part in _row(line, mark, _TOP + place * _ROW, axis)),
        _text(16, height - 12, f"{facts['date']}, commit {facts['commit']}, {facts['processor']}", "faint small"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Axis:
    """Ratios to places, by their logarithm; whole powers of ten at both ends."""

    def __init__(self, shown: Sequence[Line]) -> None:
        values = [1.0]
        for line in shown:
            for ratio in (line.reference, line.best):
                if ratio:
                    values += [ratio.times.middle, ratio.wanted or 1.0]
        # A bar that ends at the edge would look cut off.
        self.low = min(-1, math.floor(math.log10(min(values)) - 0.02))
        self.high = max(1, math.ceil(math.log10(max(values)) + 0.02))

    def at(self, ratio: float) -> float:
        share = (math.log10(ratio) - self.low) / (self.high - self.low)
        return round(_LABEL + share * (_WIDTH - _LABEL - _RIGHT), 1)

    def grid(self, height: int) -> list[str]:
        parts = []
        for power in range(self.low, self.high + 1):
            x = self.at(10**power)
            kind = "one" if power == 0 else "grid"
            parts.append(f'<line class="{kind}" x1="{x}" y1="{_TOP - 8}" x2="{x}" y2="{height - _BOTTOM + 4}"/>')
            parts.append(_text(x, _TOP - 14, f"{10**power:g}x", "faint small", 'text-anchor="middle"'))
        return parts


def _legend() -> list[str]:
    return [
        f'<rect class="reference" x="16" y="42" width="12" height="{_BAR}"/>',
        _text(33, 51, "than distribution 3", "text small"),
        f'<rect class="best" x="150" y="42" width="12" height="{_BAR}"/>',
        _text(167, 51, "than the best of all peers in that row", "text small"),
        '<line class="wanted" x1="372" y1="40" x2="372" y2="53"/>',
        _text(379, 51, "asked for; left of 1x the other wins", "text small"),
    ]


def _row(line: Line, mark: str, top: int, axis: _Axis) -> list[str]:
    parts = [_text(_LABEL - 10, top + 15, f"{line.name}{mark}", "text", 'text-anchor="end"')]
    for ratio, kind, y in ((line.reference, "reference", top + 2), (line.best, "best", top + 3 + _BAR)):
        if ratio:
            parts += _bar(ratio, kind, y, axis)
    return parts


def _bar(ratio: Ratio, kind: str, y: int, axis: _Axis) -> list[str]:
    one, end = axis.at(1), axis.at(ratio.times.middle)
    left, width = min(one, end), max(1.0, abs(end - one))
    said = times(ratio.times.middle)
    about = escape(f"{said} against {ratio.peer}")
    lost = " lost" if ratio.times.middle < 1 else ""
    parts = [
        (
            f'<rect class="{kind}{lost}" x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}">'
            f"<title>{about}</title></rect>"
        )
    ]
    if ratio.wanted is not None:
        x = axis.at(ratio.wanted)
        parts.append(f'<line class="wanted" x1="{x}" y1="{y - 1}" x2="{x}" y2="{y + _BAR + 1}"/>')
    clear = max(one, end, axis.at(ratio.wanted) if ratio.wanted else 0) + 5
    parts.append(_text(clear, y + _BAR, said, "text small"))
    return parts


def _text(x: float, y: float, text: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" {more}>{escape(text)}</text>'
