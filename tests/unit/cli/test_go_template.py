"""docker's ``--format``: what is refused, and what docker prints of the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.cli.views.go_template import ListFormat

HEADS = {"ID": "CONTAINER ID", "Names": "NAMES", "Labels": "LABELS"}
ROWS = [{"ID": "1", "Names": "web", "Labels": "a=b,org.x=y=z"}, {"ID": "234", "Names": "dé\tb", "Labels": ""}]


def printed(text: str) -> list[str]:
    wanted = ListFormat.parse(text, HEADS)
    assert wanted is not None
    return wanted.lines(ROWS)


@pytest.mark.parametrize(
    "text",
    [
        *("{{.Nothing}}", "{{.id}}", "{{ID}}", "{{", "}}", "{{.ID", ".ID}}", "{{}}", "{{ }}", "{{.}}", "{{.ID .Names}}", "{{.ID | }}"),
        *("{{range .Names}}{{end}}", "{{if .ID}}x{{end}}", '{{printf "%s" .ID}}', "{{.ID | nothing}}", "{{.Label}}", "{{.Label x}}"),
        *("{{json}}", "{{upper}}", "{{(.ID)}}", '{{"', "{{json . .}}", "{{.ID.Names}}", "{{$x}}"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        ListFormat.parse(text, HEADS)
    assert "\n" not in raised.value.message
    assert raised.value.hint


@given(st.text('{}.IDNamesjson |"`\\tlabel', max_size=40))
def test_any_text_is_a_format_or_a_usage_error(text: str) -> None:
    try:
        wanted = ListFormat.parse(text, HEADS)
    except UsageError:
        return
    if wanted is not None:
        wanted.lines(ROWS)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("{{.ID}}: {{.Names}}", ["1: web", "234: dé\tb"]),
        ("{{ .ID }}\\t{{.Names}}", ["1\tweb", "234\tdé\tb"]),
        ("{{upper .Names}}", ["WEB", "DÉ\tB"]),
        ("{{.Names | upper | json}}", ['"WEB"', '"DÉ\\tB"']),
        ('{{.Label "org.x"}}|{{.Label "a"}}', ["y=z|b", "|"]),
        ("no fields", ["no fields", "no fields"]),
        ("{{- .ID -}} x", ["1x", "234x"]),
        ("{{json .ID}}", ['"1"', '"234"']),
    ],
)
def test_lines_as_docker_prints_them(text: str, lines: list[str]) -> None:
    assert printed(text) == lines


@pytest.mark.parametrize("text", ["json", "{{json .}}", " json "])
def test_json_is_all_fields_on_a_line(text: str) -> None:
    assert [json.loads(line) for line in printed(text)] == ROWS


def test_a_table_has_heads_and_columns() -> None:
    rows = [ROWS[0], ROWS[1] | {"Names": "b"}]
    wanted = ListFormat.parse(r'table {{.ID}}\t{{.Names}}\t{{.Label "org.x"}}', HEADS)
    assert wanted is not None
    assert wanted.lines(rows) == ["CONTAINER ID   NAMES   X", "1              web     y=z", "234            b"]
    assert ListFormat.parse("table", HEADS) is None
