from __future__ import annotations

import random

import pytest

from registry_tool.base.errors import UsageError
from registry_tool.oci.versions import Range, Version, order


@pytest.mark.parametrize(
    ("tag", "version"),
    [
        ("1.2.3", Version(numbers=(1, 2, 3))),
        ("v1.2.3-alpine", Version(numbers=(1, 2, 3), variant="alpine")),
        ("1.2", Version(numbers=(1, 2))),
        ("7", Version(numbers=(7,))),
        ("4.2.1.9", Version(numbers=(4, 2, 1, 9))),
        ("1.2.3-rc.1", Version(numbers=(1, 2, 3), prerelease="rc.1")),
        ("3.14.0rc1-slim-bookworm", Version(numbers=(3, 14, 0), prerelease="rc1", variant="slim-bookworm")),
        ("3.15-rc-alpine3.20", Version(numbers=(3, 15), prerelease="rc", variant="alpine3.20")),
        ("5.0.0-M3", Version(numbers=(5, 0, 0), prerelease="m3")),
        ("3.14.0a2", Version(numbers=(3, 14, 0), prerelease="a2")),
        ("1.2.3-b", Version(numbers=(1, 2, 3), variant="b")),
        ("1.2.3-rcfile", Version(numbers=(1, 2, 3), variant="rcfile")),
        ("1.2.3-5-g0f3a", Version(numbers=(1, 2, 3), variant="5-g0f3a")),
        ("2024-01-31", Version(numbers=(2024,), variant="01-31")),
    ],
)
def test_version_parse(tag: str, version: Version) -> None:
    assert Version.parse(tag) == version


@pytest.mark.parametrize(
    "tag",
    [
        "latest",
        "",
        "v",
        "stable-1.2",
        "7f3a",
        "1.2.3alpine",
        "1..2",
        "1.2.3.4.5",
        "1" * 19,
        "١.٢",
        "sha256-" + "a" * 64,
        "1234567",
        "7435213",
        "0012345",
        "12345678",
        "1" * 40 + "-x",
        "1234567-dirty",
        "12b3456",
        "1a23456-amd64",
    ],
)
def test_version_parse_of_other_tags_is_none(tag: str) -> None:
    assert Version.parse(tag) is None
    assert tag not in Range.parse("*")


def test_order() -> None:
    wanted = [
        *("0.9", "1.2.0-alpha", "1.2.0-alpha.1", "1.2.0-beta2", "1.2.0-beta10", "1.2.0-rc1-alpine", "1.2", "1.2.0", "1.2.0-alpine"),
        *("1.2.9", "v1.2.10", "1.2.10-slim", "1.2.10.1", "1.9.0", "1.9.0-9", "1.9.0-10", "1.9.0-alpine3.9", "1.9.0-alpine3.10"),
        *("1.9.0-debian-11-r9", "1.9.0-debian-11-r10", "1.9.1", "1.10", "2", "10.0.0", "20240131"),
        *("release-1.9", "release-1.10", "release-1.10-slim", "v.2", "1234567", "7435213-slim", "a", "latest"),
    ]
    shuffled = random.Random(5).sample(wanted, len(wanted))
    assert sorted(shuffled, key=order) == wanted


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1.2.3", "1.2.3 v1.2.3 1.2.3-alpine", "1.2.4 1.2.2 1.2.3-rc1 1.2"),
        ("=1.2", "1.2 1.2.0 1.2.99", "1.3 1.1.9 1"),
        ("^1.2", "1.2 1.2.0 1.9.9 1.2.3-alpine", "1.1.9 2.0 2.0.0-rc1 1.3.0-rc1"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 0.2.2 1.0"),
        ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
        ("^0", "0.0.1 0.9", "1"),
        ("^0.0", "0.0.9", "0.1"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3 1.2.2"),
        ("~1", "1 1.9", "2 0.9"),
        ("1.x", "1.0 1.9.9", "2 0.9"),
        ("1.2.*", "1.2.9", "1.3"),
        ("*", "0 1.2.3", "latest 1.0-rc1"),
        (">=1.2 <2", "1.2 1.99", "2 1.1"),
        (">= 1.2, < 2", "1.2 1.99", "2 1.1"),
        (">1.2", "1.3 2", "1.2 1.2.9"),
        ("<=1.2", "1.2.9 0.1", "1.3"),
        ("1.2 - 1.4", "1.2 1.4.9", "1.1 1.5"),
        ("1 || 3", "1.5 3.0", "2 4"),
        (">1.2.3-rc1", "1.2.3-rc2 1.2.3 1.3", "1.2.3-rc1 1.2.3-beta1 1.3-rc1"),
        ("^1.2.3-rc1", "1.2.3-rc1 1.2.3-rc2 1.9", "1.2.3-beta1 2.0.0-rc1 2"),
        ("1.2.3-rc1", "1.2.3-rc1 1.2.3-rc1-slim", "1.2.3 1.2.3-rc2"),
        ("<1.2.3-rc1", "1.2.2 1.2.3-beta1", "1.2.3-rc1 1.2.3"),
        (">=1.0.0-0", "1.0.0-alpha 1.0.0-rc1 1.0.0 1.0.0-alpine 2.0", "0.9 1.0.1-rc1 2.0.0-rc1"),
        (">=1.0.0-0 <2.0.0-0", "1.0.0-rc1 1.9", "2.0.0-rc1 2.0 0.9"),
        ("^1.2.0-0", "1.2.0-dev 1.2.0 1.9", "1.1 2.0 2.0.0-rc1"),
        ("~>1.2.3", "1.2.3 1.2.9", "1.3"),
        ("1.2.3+build.5", "1.2.3", "1.2.4"),
        ("1.2.3-10", "1.2.3-10", "1.2.3-9 1.2.3 1.2.4-10"),
        ("1.2.3-alpine", "1.2.3-alpine v1.2.3-Alpine", "1.2.3 1.2.3-slim"),
        (">=*", "1 2.0", "latest"),
        ("<*", "", "0 1 2"),
        (">x", "", "0 1 2"),
        ("1.x.x", "1.9", "2"),
    ],
)
def test_range_contains(text: str, inside: str, outside: str) -> None:
    among = Range.parse(text)
    assert [tag for tag in inside.split() if tag not in among] == []
    assert [tag for tag in outside.split() if tag in among] == []


@pytest.mark.parametrize("text", ["", " ", "latest", "1 ||", "^", "^^1", ">1.2.3.4.5", "!=1", "1.2 -", "\x1b[31m1", "1" * 5000, "1.y"])
def test_range_parse_of_no_range_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="not a range of versions") as caught:
        Range.parse(text)
    assert caught.value.message.isprintable()
    assert caught.value.hint


def test_parse_has_no_slow_input() -> None:
    assert Version.parse("1rc" + "1." * 60 + "x") is None
    assert Version.parse("1" + "-rc1" * 30) is not None
