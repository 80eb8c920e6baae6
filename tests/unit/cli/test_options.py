from __future__ import annotations

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.cli import options


@pytest.mark.parametrize("entry", ["", "=x", "A B=x"])
def test_variable_without_name_is_a_usage_error(entry: str) -> None:
    with pytest.raises(UsageError):
        options.key_value_pairs((entry,), "-e", {})


def test_variable_without_value_is_taken_from_the_environment() -> None:
    assert options.key_value_pairs(("A=1=2", "B", "C", "D="), "-e", {"B": "ours"}) == {"A": "1=2", "B": "ours", "D": ""}


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", ""])
def test_invalid_timeout_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        options.seconds(text)


@pytest.mark.parametrize("text", ["myhost", "", "a/b", "localhost:99999", "UPPER_:1"])
def test_invalid_registry_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        options.registry_host(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("localhost:5001", "localhost:5001"), ("HTTP://localhost:5001", "localhost:5001"), ("https://r.example.com/v2/", "r.example.com")],
)
def test_registry_host_in_all_forms(text: str, expected: str) -> None:
    assert options.registry_host(text) == expected
