"""A treemap as SVG: rectangles whose areas are in proportion to sizes, grouped. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from registry_tool.base import units
from registry_tool.cli.views.formatting import printable
from registry_tool.content.usage.account import Area

WIDTH, HEIGHT = 1200, 700
_HEAD, _MARGIN, _LINE = 30, 1, 14  # heights of the title and of a line of text, and the space around a rectangle
_LETTER = 6.6  # the width of a letter
_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#e15759", "#bab0ac")
_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_MOST = 500  # rectangles of one group; the rest is one
_STYLE = "text{font:11px sans-serif;fill:#fff;pointer-events:none}.head{font-size:15px;fill:#333}rect{stroke:#fff}"


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def treemap(title: str, areas: Sequence[Area]) -> str:
    """The picture of ``areas``; each rectangle has its name and size as a tooltip."""
    groups: dict[str, dict[str, int]] = {}
    for area in areas:
        groups.setdefault(area.group, {})[area.name] = area.bytes
    totals = {name: sum(members.values()) for name, members in groups.items()}
    ordered = sorted(totals, key=lambda name: (-totals[name], name))
    parts = [_text(Box(0, 0, WIDTH, _HEAD), title, "head")]
    canvas = Box(0, _HEAD, WIDTH, HEIGHT - _HEAD)
    for number, (name, box) in enumerate(zip(ordered, squarify([totals[name] for name in ordered], canvas), strict=True)):
        parts += _group(name, groups[name], box, _COLOURS[number % len(_COLOURS)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{_safe(title)}</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def squarify(sizes: Sequence[int], box: Box) -> list[Box]:
    """Divide ``box`` into rectangles with areas in proportion to ``sizes`` (descending, above 0), as square as can be.

    The squarified treemap of Bruls, Huizing and van Wijk (2000): rows along the shorter side, each as long as that makes it squarer.
    """
    boxes: list[Box] = []
    left = list(sizes)
    remaining = sum(left)
    while left:
        side = min(box.width, box.height)
        scale = box.width * box.height / remaining
        count, total = 1, left[0]
        while count < len(left) and _worst(left[0], left[count], total + left[count], side, scale) <= _worst(
            left[0], left[count - 1], total, side, scale
        ):
            total += left[count]
            count += 1
        thickness = max(box.width, box.height) * (total / remaining)
        at = 0.0
        for size in left[:count]:
            length = side * size / total
            is_column = box.width >= box.height
            boxes.append(Box(box.x, box.y + at, thickness, length) if is_column else Box(box.x + at, box.y, length, thickness))
            at += length
        if box.width >= box.height:
            box = Box(box.x + thickness, box.y, max(box.width - thickness, 0.0), box.height)
        else:
            box = Box(box.x, box.y + thickness, box.width, max(box.height - thickness, 0.0))
        remaining -= total
        del left[:count]
    return boxes


def _worst(largest: int, smallest: int, total: int, side: float, scale: float) -> float:
    """The worst ratio of the sides in a row of that ``total``, along ``side``."""
    square, area = side * side, total * scale
    return max(square * largest * scale / area**2, area**2 / (square * smallest * scale)) if square and area else 0.0


def _group(name: str, members: Mapping[str, int], box: Box, colour: str) -> list[str]:
    ordered = sorted(members.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) > _MOST:
        ordered = [*ordered[:_MOST], (f"{len(ordered) - _MOST} more", sum(size for _, size in ordered[_MOST:]))]
        ordered.sort(key=lambda item: -item[1])
    parts = []
    for (member, size), each in zip(ordered, squarify([size for _, size in ordered], box), strict=True):
        label = f"{name}:{member}" if member else name
        x, y, width, height = each.x + _MARGIN / 2, each.y + _MARGIN / 2, each.width - _MARGIN, each.height - _MARGIN
        rectangle = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.1):.1f}" height="{max(height, 0.1):.1f}" fill="{colour}"'
        parts.append(f"<rect {rectangle}><title>{_safe(label)}: {units.size(size)} ({size} bytes)</title></rect>")
        if height >= _LINE:
            parts.append(_text(each, label))
        if height >= 2 * _LINE:
            parts.append(_text(each._replace(y=each.y + _LINE), units.size(size)))
    return [part for part in parts if part]


def _text(box: Box, text: str, kind: str = "") -> str:
    """``text`` at the top of ``box``, cut to its width; empty where there is no place."""
    letters = int((box.width - 8) / _LETTER)
    text = printable(text)
    shown = text if len(text) <= letters else f"{text[: letters - 1]}…" if letters > 3 else ""
    mark = f' class="{kind}"' if kind else ""
    return f'<text{mark} x="{box.x + 4:.1f}" y="{box.y + (20 if kind else _LINE):.1f}">{_safe(shown)}</text>' if shown else ""


def _safe(text: str) -> str:
    """``text`` for XML, which has no way to write some characters (XML 1.0, 2.2)."""
    return escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", printable(text)))
