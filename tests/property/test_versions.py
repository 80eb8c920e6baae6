from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.oci.versions import Range, Version, order

tags = st.text(string.ascii_letters + string.digits + "_.-", max_size=128)
numbers = st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=4)
versions = st.builds(
    lambda v, parts, prerelease, variant: v + ".".join(map(str, parts)) + prerelease + variant,
    st.sampled_from(["", "v"]),
    numbers,
    st.sampled_from(["", "-rc1", "-rc.2", "b1", "-alpha", "-beta.10"]),
    st.sampled_from(["", "-alpine", "-slim-bookworm", "_1"]),
)


@given(st.lists(versions | tags, max_size=8))
def test_any_tags_have_a_total_order(result: list[str]) -> None:
    once = sorted(result, key=order)
    assert len({order(tag) for tag in result}) == len(set(result))
    named = [Version.parse(tag) is not None for tag in once]
    assert named == sorted(named, reverse=True)


@given(versions)
@example("1-rc" + "1" * 100 + "x")
@example("1" + "-rc1.1" * 20 + "!")
def test_version_is_in_ranges_made_of_it(tag: str) -> None:
    version = Version.parse(tag)
    if version is None:
        return
    named = ".".join(map(str, version.numbers)) + (f"-{version.prerelease}" if version.prerelease else "")
    for operator in ("", "=", "^", "~", ">=", "<="):
        assert tag in Range.parse(operator + named)
    for operator in ("<", ">"):
        assert tag not in Range.parse(operator + named)


def check_words(error: UsageError) -> None:
    assert error.message.isprintable()
    assert error.hint


@given(st.text(max_size=40) | st.text(string.digits + ".x*^~<>=-| ,vrc", max_size=40), tags | versions)
@example("1 - " * 5000, "1")
@example("^" * 5000, "1")
@example(" " * 50_000 + "-", "1")
@example("1" + " " * 50_000 + "x", "1")
def test_any_text_is_a_range_or_refused(text: str, tag: str) -> None:
    try:
        among = Range.parse(text)
    except UsageError as error:
        check_words(error)
    else:
        assert isinstance(tag in among, bool)
