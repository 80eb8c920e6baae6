"""Variables of a compose file, in every form that compose has; what begins with a dollar and is none is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.interpolation import MAX_DEPTH, expand

SET = {"A": "a", "EMPTY": "", "B_2": "b"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("no variable", "no variable"),
        ("$A", "a"),
        ("${A}", "a"),
        ("x$A.${B_2}y", "xa.by"),
        ("${EMPTY}", ""),
        ("$$A $${A} $$$A", "$A ${A} $a"),
        # A default.
        ("${A:-d}", "a"),
        ("${A-d}", "a"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NONE:-d}", "d"),
        ("${NONE-d}", "d"),
        ("${NONE:-}", ""),
        ("${NONE:-a:b-c?d+e {f", "${NONE:-a:b-c?d+e {f"),
        ("${NONE:-/a b:c}", "/a b:c"),
        ('${NONE:-{"a":1}', '{"a":1'),
        # Another value.
        ("${A:+o}", "o"),
        ("${A+o}", "o"),
        ("${EMPTY:+o}", ""),
        ("${EMPTY+o}", "o"),
        ("${NONE:+o}", ""),
        ("${NONE+o}", ""),
        # A variable that must be there, and is.
        ("${A:?why}", "a"),
        ("${A?why}", "a"),
        ("${EMPTY?why}", ""),
        ("${A:?}", "a"),
        # One in the other.
        ("${NONE:-${A}}", "a"),
        ("${NONE:-x${OTHER-y${EMPTY:-z}}!}", "xyz!"),
        ("${NONE:-$A$$}", "a$"),
        ("${A:+${B_2}}", "b"),
        ("${NONE:+${OTHER:?never looked at}}", ""),
        ("${A:-${OTHER}}", "a"),
    ],
)
def test_variable_is_filled_in(text: str, expected: str) -> None:
    if expected == text and "${" in text:
        with pytest.raises(ValueError, match="no } that closes it"):
            expand(text, SET.get)
    else:
        assert expand(text, SET.get) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$NONE", "it needs the variable NONE, which is not set: set it, or write ${NONE:-DEFAULT}"),
        ("${NONE}", "it needs the variable NONE"),
        ("${NONE:?say it}", "it requires the variable NONE, which is not set: say it"),
        ("${EMPTY:?}", "it requires the variable EMPTY, which is not set"),
        ("${NONE?${A}!}", "it requires the variable NONE, which is not set: a!"),
        ("${NONE:-${OTHER}}", "it needs the variable OTHER"),
        ("${A:+${OTHER}}", "it needs the variable OTHER"),
        ("$", "a $ begins no variable"),
        ("a$", "a $ begins no variable"),
        ("$1", "a $ begins no variable"),
        ("$ A", "a $ begins no variable"),
        ("$(date)", "a $ begins no variable"),
        ("${}", "a $ begins no variable"),
        ("${1}", "a $ begins no variable"),
        ("${ A}", "a $ begins no variable"),
        ("${A", "${A is not followed by"),
        ("${A }", "${A is not followed by"),
        ("${A!}", "${A is not followed by"),
        ("${A:}", "${A is not followed by"),
        ("${A:=b}", "${A is not followed by"),
        ("${A=b}", "${A is not followed by"),
        ("${A%x}", "${A is not followed by"),
        ("${A/x/y}", "${A is not followed by"),
        ("${A:0:1}", "${A is not followed by"),
        ("${#A}", "a $ begins no variable"),
        ("${!A}", "a $ begins no variable"),
        ("${Ä}", "a $ begins no variable"),
        ("${A:-b", "a ${ has no } that closes it"),
        ("${A:-${B_2}", "a ${ has no } that closes it"),
        ("${N:-" * (MAX_DEPTH + 1) + "}" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
    ],
)
def test_what_cannot_be_filled_in_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=".") as caught:
        expand(text, SET.get)
    assert message in str(caught.value)


@given(text=st.text(alphabet="$ {}:-+?AN_1", max_size=30))
def test_any_text_is_filled_in_or_refused(text: str) -> None:
    try:
        expand(text, SET.get)
    except ValueError as error:
        assert "variable" in str(error) or "closes it" in str(error) or "a form that compose has" in str(error)  # noqa: PT017


@given(text=st.text())
def test_doubled_dollars_are_the_text_itself(text: str) -> None:
    assert expand(text.replace("$", "$$"), SET.get) == text
