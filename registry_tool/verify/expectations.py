"""What an HTTP probe expects of a page."""

from __future__ import annotations

import json
from typing import Any

from registry_tool.base.page_client import Page
from registry_tool.verify.spec import Http

_EXCERPT = 120


def status_fits(probe: Http, page: Page) -> bool:
    """Whether ``page`` has the expected status, or one below 400."""
    return page.status == probe.status if probe.status is not None else page.status < 400


def page_error(probe: Http, page: Page) -> str | None:
    """Return what ``page`` does not have that ``probe`` expects; None where it has all of it."""
    if not status_fits(probe, page):
        return f"the status is {page.status}, and {probe.status or 'one below 400'} was expected: {excerpt(page.body)}"
    missing = next((text for text in probe.text if text not in page.body), None)
    return _json_error(probe, page) if missing is None else f"{missing!r} is not in the response: {excerpt(page.body)}"


def _json_error(probe: Http, page: Page) -> str | None:
    if not probe.json:
        return None
    try:
        document = json.loads(page.body)
    except (ValueError, RecursionError):
        return f"the response is not JSON: {excerpt(page.body)}"
    for path, expected in probe.json:
        try:
            value = value_at(document, path)
        except LookupError as error:
            return f"{path}: {error.args[0]}: {excerpt(page.body)}"
        if not equals(value, expected):
            return f"{path} is {excerpt(json.dumps(value, ensure_ascii=False))}, and {expected} was expected"
    return None


def value_at(document: Any, path: str) -> Any:
    """The value at ``path`` (``user.names.0``) in a JSON document. Raises LookupError, whose message names the missing part."""
    for part in path.split("."):
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isascii() and part.isdigit() and int(part[:9]) < len(document):
            document = document[int(part)]
        else:
            raise LookupError(f"there is no {part!r}")
    return document


def equals(value: Any, expected: str) -> bool:
    """Whether a JSON value is ``expected`` as it is typed: a string as it is, anything else as JSON."""
    if isinstance(value, str):
        return value == expected
    try:
        # Dumped again, as to Python 1 is true, and to JSON it is not.
        return json.dumps(json.loads(expected), sort_keys=True) == json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):
        return False


def excerpt(text: str) -> str:
    """Return ``text`` quoted, on one line, at most so many characters."""
    line = " ".join(text.split())
    line = "".join(letter if letter.isprintable() else "�" for letter in line)
    return repr(line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…") if line else "nothing"
