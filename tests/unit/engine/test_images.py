"""Times of listings, of engines whose clocks may be anything; what makes two images the same."""

from __future__ import annotations

import pytest

from registry_tool.engine import Image
from registry_tool.engine.images import rfc3339


@pytest.mark.parametrize("value", [None, "yesterday", 10**18, -(10**18), float("inf"), float("nan"), [], {}])
def test_value_that_is_no_time_is_empty(value: object) -> None:
    assert rfc3339(value) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (-62135596800, "0001-01-01T00:00:00Z"),
        (1795500279, "2026-11-24T06:04:39Z"),
        (4102444800, "2100-01-01T00:00:00Z"),
    ],
)
def test_seconds_become_text(seconds: int, text: str) -> None:
    assert rfc3339(seconds) == text


def test_image_is_the_same_after_another_pull_though_its_layers_are_in_other_folders() -> None:
    assert Image(id="1", names=("a:1",), layer_folder="/one") == Image(id="1", names=("a:1",), layer_folder="/other")
