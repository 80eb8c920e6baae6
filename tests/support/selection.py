"""Which modules ``pytest -m`` leaves nothing of, seen without importing them."""

from __future__ import annotations

import re

_TERM = re.compile(r"not (\w+)")
_MARKS = re.compile(r"^pytestmark = (.*)$", re.MULTILINE)
_MARK = re.compile(r"\bpytest\.mark\.(\w+)")


def is_deselected(source: str, expression: str) -> bool:
    """Whether a module's ``pytestmark`` has a mark that ``expression``, ``not A and not B and …``, excludes.

    False where it cannot be said: other operators, parentheses, or a ``pytestmark`` of more than one line.
    """
    terms = [_TERM.fullmatch(term) for term in expression.split(" and ")]
    excluded = {term[1] for term in terms if term}
    marks = _MARKS.search(source)
    return all(terms) and marks is not None and not excluded.isdisjoint(_MARK.findall(marks[1]))
