"""Quantities for people."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes as docker prints them: decimal units, three digits (``0B``, ``12.3kB``, ``195MB``)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    text = f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    return f"{text}{unit}"


def count(number: int, noun: str) -> str:
    """``1 layer``, ``2 layers``, ``2 repositories``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"
