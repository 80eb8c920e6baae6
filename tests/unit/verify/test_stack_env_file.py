"""Files of variables, as compose reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.verify.stack.env_file import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# a comment\n\n   \n\t# another\n", {}),
        ("A=b", {"A": "b"}),
        ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        ("\ufeffA=b", {"A": "b"}),
        ("  export A = b c  \n", {"A": "b c"}),
        ("A=\nB=''\nC=\"\"", {"A": "", "B": "", "C": ""}),
        ("A=b=c # why\nB=c#d\nC=#e", {"A": "b=c", "B": "c#d", "C": "#e"}),
        ("A='b # $X \\n' # why\nB=c", {"A": "b # $X \\n", "B": "c"}),
        ('A="b \\"c\\" # \\n\\t\\\\ \\$X"\nB=c', {"A": 'b "c" # \n\t\\ $X', "B": "c"}),
        ("A='b\nc'\nD=\"e\nf\"", {"A": "b\nc", "D": "e\nf"}),
        ("A=1\nA=2", {"A": "2"}),
        ("A=b\nB=${A}c $A\nC=\"${A}\"\nD='${A}'\nE=$$A", {"A": "b", "B": "bc b", "C": "b", "D": "${A}", "E": "$A"}),
        ("A=${OUTER}\nOUTER=x\nB=$OUTER", {"A": "shell", "OUTER": "x", "B": "shell"}),
        ("a.b-c=d", {"a.b-c": "d"}),
    ],
)
def test_variables_are_read(text: str, expected: dict[str, str]) -> None:
    assert parse(text.encode(), file=".env", variables={"OUTER": "shell"}) == expected


def test_raw_values_are_as_they_are_written() -> None:
    text = "A='b' # $X\nB= c \n# no\n"
    assert parse(text.encode(), file=".env", variables={}, raw=True) == {"A": "'b' # $X", "B": " c "}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=b\nsecret words", ".env:2: not a variable"),
        ("A=b\n=secret", ".env:2: not a variable"),
        ("1A=secret", ".env:1: not a variable"),
        ("A=b\nHOME\n", ".env:2: not a variable with a value"),
        ("A='secret", ".env:1: A: a quote is not closed"),
        ("\nA='x' secret", ".env:2: A: something follows the closing quote"),
        ("A='x\ny'\nB=$NONE", ".env:3: B: it needs the variable NONE"),
        ("A=${B", ".env:1: A: ${B is not followed by"),
        ("A=b\0", ".env:1: A: there is a zero byte in it"),
        ("A=" + "x" * (1 << 18), ".env has more than"),
    ],
)
def test_line_that_is_no_variable_is_refused_without_its_value(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text.encode(), file=".env", variables={})
    assert caught.value.message.startswith(message)
    assert "secret" not in caught.value.message


def test_file_that_is_not_utf8_is_refused_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"^\.env:2: not UTF-8"):
        parse(b"A=b\nB=\xff", file=".env", variables={})


@given(text=st.text(alphabet="AB=#'\"\\\n $x", max_size=40))
def test_any_file_is_read_or_refused(text: str) -> None:
    try:
        parse(text.encode(), file=".env", variables={})
    except UsageError as error:
        assert error.message.startswith(".env:")  # noqa: PT017
