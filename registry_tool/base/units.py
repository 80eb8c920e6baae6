"""Quantities for people."""

from __future__ import annotations

import re


def size(count: int) -> str:
    """Bytes as docker prints them: decimal units, three digits (``0B``, ``12.3kB``, ``195MB``)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    text = f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    return f"{text}{unit}"


def parse_size(text: str) -> int:
    """Bytes of ``4GB``, ``650M``, ``1.5GiB`` or ``1000``: units are decimal, as docker prints them, or binary. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([kmgt]?)(i?)b?", text.strip(), re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{text[:40]!r} is not a size")
    return int(float(match[1]) * (1024 if match[3] else 1000) ** ("kmgt".index(match[2].lower()) + 1 if match[2] else 0))


def count(number: int, noun: str) -> str:
    """``1 layer``, ``2 layers``, ``2 repositories``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"
