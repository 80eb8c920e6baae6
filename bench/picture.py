"""A picture of the ratios in a file of results: ``python -m bench.picture`` writes ``bench/results/moving.svg``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.measure import ROOT

GROUPS = ("pushes", "copies", "archives")
"""Groups of rows that move images."""

_RESULTS = ROOT / "bench" / "results"
_NAMES, _UNIT, _ROW, _TOP = 470, 260, 24, 30
"""Pixels of the names' column, of the ratio 1, of a row and above the first."""
_FONT = 'font-family="sans-serif" font-size="12" role="img" aria-label="time of regctl by that of others"'
_MOST = 1.6
"""The largest ratio that is drawn to its end."""


def main() -> None:
    """Draw the rows of what was measured last."""
    files = [path for name in ("latest", "containerd") if (path := _RESULTS / f"{name}.json").is_file()]
    rows = [row for path in files for row in json.loads(path.read_text(encoding="utf-8"))["results"]]
    chosen = [row for row in rows if row.get("group") in GROUPS and row["ratio"] is not None]
    (_RESULTS / "moving.svg").write_text(draw(chosen), encoding="utf-8")


def draw(rows: Sequence[Mapping[str, Any]]) -> str:
    """A bar for each row, as long as ours takes where theirs takes 1; a mark where the limit is, and a line at 1."""
    height = _TOP + _ROW * len(rows) + 12
    width = _NAMES + int(_UNIT * _MOST) + 60
    one = _NAMES + _UNIT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" {_FONT}>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{one}" y="18" text-anchor="middle" fill="#555555">1: as long as the other</text>',
    ]
    for number, row in enumerate(rows):
        top = _TOP + number * _ROW
        length = int(_UNIT * min(row["ratio"], _MOST))
        limit = _NAMES + int(_UNIT * min(row["most"], _MOST))
        colour = "#2b7a4b" if row["holds"] else "#b3532b"
        lines += [
            f'<text x="{_NAMES - 8}" y="{top + 15}" text-anchor="end" fill="#222222">{escape(row["name"])}</text>',
            f'<rect x="{_NAMES}" y="{top + 3}" width="{length}" height="{_ROW - 8}" fill="{colour}"/>',
            f'<line x1="{limit}" y1="{top}" x2="{limit}" y2="{top + _ROW - 2}" stroke="#222222" stroke-width="2"/>',
            f'<text x="{max(_NAMES + length, limit) + 6}" y="{top + 15}" fill="#222222">{row["ratio"]:.2f}</text>',
        ]
    lines.append(f'<line x1="{one}" y1="{_TOP - 6}" x2="{one}" y2="{height - 8}" stroke="#999999" stroke-dasharray="4 3"/>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    main()
