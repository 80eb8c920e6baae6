"""The account of a registry as tables and as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.cli.output import Output
from registry_tool.cli.views import formatting
from registry_tool.content.usage.account import PARTS, UsageRow

if TYPE_CHECKING:
    from registry_tool.content.usage.report import UsageReport
    from registry_tool.content.usage.tree import UsageNode

_COUNTS = {"repository": "TAGS", "tag": None, "image": "TAGS", "layer": "IMAGES", "platform": "IMAGES"}
_MOST = 10
"""Uploads, damaged manifests and other files that are listed."""


def render(out: Output, report: UsageReport, *, parts: bool) -> None:
    """Print the parts, if wanted, and the rows."""
    out.spans((title(report), "bold"))
    if parts:
        rows = [(PARTS[part.name], units.size(part.bytes), str(part.files)) for part in report.parts if part.files or part.bytes]
        out.line()
        out.table(("PART", "SIZE", "FILES"), [*rows, ("total", units.size(report.total), str(report.files))])
    if report.rows:
        out.line()
        count = _COUNTS[report.by]
        heads = (report.by.upper(), *([count] if count else []), "SIZE", "UNIQUE", "SHARED")
        out.table(heads, [_cells(row, with_count=bool(count), short=out.on_terminal) for row in report.rows])
    if parts:
        _render_uploads(out, report)


def render_notes(out: Output, report: UsageReport) -> None:
    """Print on standard error what is not as it should be, and what cannot be seen."""
    for damaged in report.damaged[:_MOST]:
        out.note(formatting.one_line(f"{damaged.repository}@{damaged.digest}: the manifest cannot be read: {damaged.reason}"))
    if len(report.damaged) > _MOST:
        out.note(f"{len(report.damaged) - _MOST} more manifests cannot be read")
    for file in report.other[:_MOST]:
        out.note(formatting.one_line(f"not the registry's: {file.path} ({units.size(file.bytes)})"))
    for note in report.notes:
        out.note(formatting.one_line(note))


def title(report: UsageReport) -> str:
    """One line about all of it."""
    on_disk = f" ({units.size(report.allocated)} on disk)" if report.source == "storage" else ""
    what = "files" if report.source == "storage" else "blobs"
    return f"{report.registry}: {units.size(report.total)} in {report.files} {what}{on_disk}"


def tree_lines(nodes: Sequence[UsageNode], *, short: bool) -> Iterator[str]:
    """The lines of a tree; ``short``: digests are shortened."""
    for node in nodes:
        yield _node(node, short=short)
        yield from _below(node.nodes, "", short=short)


def _below(nodes: Sequence[UsageNode], indent: str, *, short: bool) -> Iterator[str]:
    for number, node in enumerate(nodes, 1):
        is_last = number == len(nodes)
        yield f"{indent}{'└─ ' if is_last else '├─ '}{_node(node, short=short)}"
        yield from _below(node.nodes, indent + ("   " if is_last else "│  "), short=short)


def _node(node: UsageNode, *, short: bool) -> str:
    unique = "" if node.unique is None else f" ({units.size(node.unique)} unique)"
    return f"{_name(node.name, short=short)}  {units.size(node.size)}{unique}"


def _cells(row: UsageRow, *, with_count: bool, short: bool) -> tuple[str, ...]:
    count = (str(row.count),) if with_count else ()
    return (_name(row.name, short=short), *count, units.size(row.size), units.size(row.unique), units.size(row.shared))


def _name(name: str, *, short: bool) -> str:
    return formatting.short_id(name) if short and name.startswith("sha256:") else formatting.one_line(name)


def _render_uploads(out: Output, report: UsageReport) -> None:
    if report.uploads:
        out.line()
        rows = [(each.repository, each.id, units.size(each.bytes), formatting.age(each.modified)) for each in report.uploads[:_MOST]]
        out.table(("INCOMPLETE UPLOAD IN", "ID", "SIZE", "LAST WRITTEN"), rows)
        if len(report.uploads) > _MOST:
            out.line(f"and {len(report.uploads) - _MOST} more")
