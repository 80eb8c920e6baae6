"""What changed from one certificate to another. Pure; times and seconds are no changes, nor is what was compared before."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from registry_tool.verify.report.parts import Change, Comparison, ImageRecord
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import Check, EnvironmentResult

STATES: Mapping[bool | None, str] = {True: "ok", False: "red", None: "not told"}
"""What a point's ``ok`` is called."""
EVIDENCE = ("user", "command", "exposed", "signal", "code")
"""What of a point's evidence belongs to the image, and is compared. The rest differs from run to run: ids, addresses, counts."""

Told = Mapping[str, str | None]


def compare(before: VerifyReport, now: VerifyReport) -> Comparison:
    """``before`` by its digest, and what is different in ``now``: of the image, of the run, and place by place."""
    changes = [
        *_changes("image", _subject(before.image), _subject(now.image)),
        *_layers(before.image, now.image),
        *_changes("certificate", _run(before), _run(now)),
    ]
    then, today = ({proven.where.name: proven for proven in certificate.results} for certificate in (before, now))
    for name in dict.fromkeys((*then, *today)):
        if name in then and name in today:
            changes += _changes(name, _place(then[name]), _place(today[name]))
        else:
            changes += _changes(name, {"place": _engine(then.get(name))}, {"place": _engine(today.get(name))})
    return Comparison(digest=before.digest, created=before.created, changes=tuple(changes))


def _changes(where: str, before: Told, now: Told) -> Iterator[Change]:
    for what in dict.fromkeys((*before, *now)):
        if before.get(what) != now.get(what):
            yield Change(where=where, what=what, before=before.get(what), now=now.get(what))


def _subject(subject: ImageRecord) -> Told:
    return {
        "reference": subject.reference,
        "digest": _text(subject.digest),
        "media type": subject.media_type,
        "size": None if subject.size is None else f"{subject.size} bytes",
        "platform": subject.platform,
        "config": _text(subject.config),
    }


def _layers(before: ImageRecord, now: ImageRecord) -> Iterator[Change]:
    then, today = ([str(layer.digest) for layer in subject.layers] for subject in (before, now))
    for digest in dict.fromkeys(then):
        if digest not in today:
            yield Change(where="image", what="layer", before=digest, now=None)
    for digest in dict.fromkeys(today):
        if digest not in then:
            yield Change(where="image", what="layer", before=None, now=digest)


def _run(certificate: VerifyReport) -> Told:
    return {
        "ok": STATES[certificate.ok],
        "tool": certificate.tool,
        "command": certificate.command,
        "error": certificate.error.code if certificate.error else None,
    }


def _place(proven: EnvironmentResult) -> Told:
    where = proven.where
    told: dict[str, str | None] = {
        "kind": where.kind,
        "engine": where.engine,
        "kernel": where.kernel,
        "platform": where.platform,
        "clean": "yes" if where.clean else "no",
        "engine image": where.image,
    }
    told |= {f"pulled {each.reference}": str(each.digest) for each in proven.pulled}
    for point in proven.checks:
        told |= _point(point)
    return told


def _point(point: Check) -> Told:
    evidence = {f"{point.name}: {name}": _shown(point.evidence[name]) for name in EVIDENCE if point.evidence.get(name) is not None}
    return {point.name: STATES[point.ok], **evidence}


def _engine(proven: EnvironmentResult | None) -> str | None:
    return None if proven is None else proven.where.engine


def _shown(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return shlex.join(map(str, value))
    return str(value)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
