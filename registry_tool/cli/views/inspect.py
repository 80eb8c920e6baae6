"""The output of ``inspect``: as text, and as a JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from registry_tool.base import units
from registry_tool.base.codec import select, to_json
from registry_tool.cli.views import formatting
from registry_tool.oci.manifest import is_attestation

if TYPE_CHECKING:
    from registry_tool.cli.output import Output
    from registry_tool.content.inspect import Inspection, Layer, Referrer
    from registry_tool.oci.config import Config, HistoryEntry
    from registry_tool.oci.descriptor import Descriptor
    from registry_tool.oci.reference import Reference

_LEAST = 20
"""Characters of the last column of a table, however narrow the terminal is."""


def document(reference: Reference, inspection: Inspection) -> dict[str, object]:
    """The document of docs/json.md."""
    manifest, details = inspection.manifest, inspection.details
    return {
        "reference": str(reference if reference.digest else reference.or_latest()),
        **select(inspection.descriptor, "digest media_type"),
        "type": details.type,
        "artifact_type": manifest.artifact_kind,
        **select(details, "created size platforms"),
        **select(inspection, "siblings unread_tags=unread"),
        "annotations": dict(manifest.annotations),
        "subject": str(manifest.subject.digest) if manifest.subject else None,
        "image": str(inspection.image.digest) if inspection.image else None,
        "config": _config(inspection),
        "history": to_json(inspection.config.history) if inspection.config else [],
        "layers": [
            {**select(layer.descriptor, "digest media_type size"), "created_by": layer.step or None, **select(layer, "shared_with=shared")}
            for layer in inspection.layers
        ],
        "children": [
            {
                **select(child, "digest media_type size"),
                "platform": str(child.platform) if child.platform and not is_attestation(child) else None,
                "attestation": is_attestation(child),
            }
            for child in manifest.children
        ],
        "referrers": [_referrer(referrer) for referrer in inspection.referrers],
        "referrers_known": inspection.referrers_error is None,
        "errors": to_json(inspection.errors),
    }


def _config(inspection: Inspection) -> dict[str, object] | None:
    config = inspection.config
    if config is None or inspection.image is None or inspection.image.config is None:
        return None
    runtime = select(config, "created platform user env entrypoint cmd exposed labels")
    return {**select(inspection.image.config, "digest size"), **runtime}


def _referrer(referrer: Referrer) -> dict[str, object]:
    descriptor = select(referrer.descriptor, "digest media_type artifact_type size annotations")
    return {**descriptor, "referrers": [_referrer(each) for each in referrer.referrers]}


def render(out: Output, reference: Reference, inspection: Inspection) -> None:
    """Print the parts of the image as text; empty parts are left out."""
    config, manifest = inspection.config, inspection.manifest
    out.spans((str(reference if reference.digest else reference.or_latest()), "bold"))
    _facts(out, _without_empty(_manifest_facts(inspection)))
    if config is not None:
        _section(out, "CONFIG", _without_empty(_config_facts(config)))
    for title, pairs in (("LABELS", config.labels if config else {}), ("ANNOTATIONS", manifest.annotations)):
        if pairs:
            _section(out, title, pairs)
    if manifest.children:
        out.line()
        out.table(("IMAGE", "PLATFORM", "MEDIA TYPE"), [_child_cells(child) for child in manifest.children])
    if inspection.layers:
        out.line()
        short = out.on_terminal
        _table(out, ("LAYER", "SIZE", "SHARED WITH", "MADE BY"), [_layer_cells(layer, short=short) for layer in inspection.layers])
    if config is not None and config.history:
        out.line()
        _table(out, ("HISTORY", "LAYER", "STEP"), [_history_cells(step) for step in config.history])
    if inspection.referrers:
        _section(out, "REFERRERS", {})
        out.lines([line for referrer in inspection.referrers for line in _tree(referrer, "  ")])


def _manifest_facts(inspection: Inspection) -> dict[str, str]:
    details = inspection.details
    return {
        "digest": str(inspection.descriptor.digest),
        "type": f"{details.type} ({inspection.descriptor.media_type})",
        "image": str(inspection.image.digest) if inspection.image and inspection.image.digest != inspection.descriptor.digest else "",
        "artifact type": inspection.manifest.artifact_kind or "",
        "created": formatting.age(details.created),
        "size": formatting.size(details.size),
        "shared": _shared_size(inspection.layers),
        "platforms": ", ".join(map(str, details.platforms)),
        "same digest as": _siblings(inspection),
        "unread tags": ", ".join(inspection.unread),
        "subject": str(inspection.manifest.subject.digest) if inspection.manifest.subject else "",
        "referrers": f"not known: {inspection.referrers_error.message}" if inspection.referrers_error is not None else "",
    }


def _siblings(inspection: Inspection) -> str:
    if inspection.siblings is not None:
        return ", ".join(inspection.siblings)
    if inspection.siblings_error is not None:
        return f"not known: {inspection.siblings_error.message}"
    return f"not read ({units.count(inspection.others, 'other tag')}: --siblings)" if inspection.others else "not read"


def _shared_size(layers: tuple[Layer, ...]) -> str:
    known = {layer.descriptor.digest: layer for layer in layers if layer.shared is not None}
    if not known:
        return ""
    shared = sum(layer.descriptor.size for layer in known.values() if layer.shared)
    total = sum(layer.descriptor.size for layer in known.values())
    return f"{units.size(shared)} of {units.size(total)} in layers shared with other tags"


def _config_facts(config: Config) -> dict[str, str]:
    return {
        "platform": str(config.platform or ""),
        "entrypoint": " ".join(config.entrypoint),
        "command": " ".join(config.cmd),
        "user": config.user,
        "ports": ", ".join(config.exposed),
        "environment": ", ".join(config.env),
    }


def _child_cells(child: Descriptor) -> tuple[str, ...]:
    platform = "attestation" if is_attestation(child) else str(child.platform or formatting.UNKNOWN)
    return child.digest.short, platform, child.media_type


def _table(out: Output, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print a table; on a terminal the last column is as wide as there is room."""
    if out.columns is not None:
        used = len(formatting.columns(heads, [(*row[:-1], "") for row in rows])[0]) - len(heads[-1])
        limit = max(out.columns - used, _LEAST)
        rows = [(*row[:-1], formatting.shortened(formatting.one_line(row[-1]), limit)) for row in rows]
    out.table(heads, rows)


def _layer_cells(layer: Layer, *, short: bool) -> tuple[str, ...]:
    shared = ",".join(layer.shared or ()) or formatting.UNKNOWN
    if short and layer.shared and len(layer.shared) > 2:
        shared = units.count(len(layer.shared), "tag")
    return layer.descriptor.digest.short, units.size(layer.descriptor.size), shared, layer.step


def _history_cells(step: HistoryEntry) -> tuple[str, ...]:
    return formatting.age(step.created), "no" if step.empty_layer else "yes", step.created_by


def _without_empty(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in facts.items() if value}


def _section(out: Output, title: str, facts: Mapping[str, str]) -> None:
    out.line()
    out.spans((title, "head"))
    _facts(out, facts)


def _facts(out: Output, facts: Mapping[str, str]) -> None:
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        out.lines(formatting.wrapped(f"  {formatting.one_line(name).ljust(width)}   ", formatting.one_line(value), out.columns))


def _tree(referrer: Referrer, indent: str) -> Iterator[str]:
    kind = referrer.descriptor.artifact_type or referrer.descriptor.media_type
    word = f", its referrers cannot be read: {referrer.error.message}" if referrer.error else ""
    yield indent + formatting.one_line(f"{referrer.descriptor.digest.short} {kind}{word}")
    for each in referrer.referrers:
        yield from _tree(each, f"{indent}  ")
