"""What changed from one report to another. Pure; times and durations are no changes, nor is what was compared before."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from registry_tool.verify.report.report import Change, Comparison, ImageRecord, VerifyReport
from registry_tool.verify.result import EnvironmentResult

STATES: Mapping[bool | None, str] = {True: "ok", False: "red", None: "not told"}  # what a check's `ok` is called
EVIDENCE = ("user", "command", "exposed", "signal", "code")
"""The evidence that is the image's, and is compared. The rest differs from run to run: ids, addresses, counts."""

Values = Mapping[str, str | None]


def compare(before: VerifyReport, now: VerifyReport) -> Comparison:
    """Compare image, command and environments of two reports."""
    changes = [
        *_changes("image", _image(before.image), _image(now.image)),
        *_layers(before.image, now.image),
        *_changes("certificate", _run(before), _run(now)),
    ]
    old, new = ({result.environment.name: result for result in report.results} for report in (before, now))
    for name in dict.fromkeys((*old, *new)):
        if name in old and name in new:
            changes += _changes(name, _environment(old[name]), _environment(new[name]))
        else:
            engines = ({"place": results[name].environment.engine if name in results else None} for results in (old, new))
            changes += _changes(name, *engines)
    return Comparison(digest=before.digest, created=before.created, changes=tuple(changes))


def _changes(where: str, before: Values, now: Values) -> Iterator[Change]:
    for what in dict.fromkeys((*before, *now)):
        if before.get(what) != now.get(what):
            yield Change(where=where, what=what, before=before.get(what), now=now.get(what))


def _image(image: ImageRecord) -> Values:
    return {
        "reference": image.reference,
        "digest": _text(image.digest),
        "media type": image.media_type,
        "size": None if image.size is None else f"{image.size} bytes",
        "platform": image.platform,
        "config": _text(image.config),
    }


def _layers(before: ImageRecord, now: ImageRecord) -> Iterator[Change]:
    old, new = (dict.fromkeys(str(layer.digest) for layer in image.layers) for image in (before, now))
    yield from (Change(where="image", what="layer", before=digest, now=None) for digest in old if digest not in new)
    yield from (Change(where="image", what="layer", before=None, now=digest) for digest in new if digest not in old)


def _run(report: VerifyReport) -> Values:
    return {"ok": STATES[report.ok], "tool": report.tool, "command": report.command, "error": report.error.code if report.error else None}


def _environment(result: EnvironmentResult) -> Values:
    info = result.environment
    values: dict[str, str | None] = {
        "kind": info.kind,
        "engine": info.engine,
        "kernel": info.kernel,
        "platform": info.platform,
        "clean": "yes" if info.clean else "no",
        "engine image": info.image,
    }
    values |= {f"pulled {pulled.reference}": str(pulled.digest) for pulled in result.pulled}
    for check in result.checks:
        values[check.name] = STATES[check.ok]
        values |= {f"{check.name}: {name}": _text(check.evidence[name]) for name in EVIDENCE if check.evidence.get(name) is not None}
    return values


def _text(value: object) -> str | None:
    if isinstance(value, (list, tuple)):
        return shlex.join(map(str, value))
    return None if value is None else str(value)
