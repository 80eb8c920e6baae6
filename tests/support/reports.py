"""Certificates for tests: one that is green on two places, and any at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from hypothesis import strategies as st

from registry_tool.oci.digest import Digest
from registry_tool.verify.report.report import Change, Comparison, Failure, ImageRecord, LayerRecord, VerifyReport
from registry_tool.verify.result import CHECKS, Check, Durations, EnvironmentInfo, EnvironmentResult, PulledImage

NAME = "localhost:5000/john/get-started:part2"
EVIL = "a|b\x1b[31m\x00\n<b>`x` ![i](http://x) www.x.y \u202e\ufffe ]]>&\"'\ud800"
"""What no name may do to a terminal, a page or a document."""

DOCKER = EnvironmentInfo(
    kind="docker", name="docker", engine="Docker 28.2.2", kernel="6.1.0", platform="linux/amd64", clean=True, image="docker:28-dind"
)
PODMAN = EnvironmentInfo(
    kind="podman", name="podman", engine="Podman 4.3.1", kernel="6.1.0", platform="linux/amd64", clean=True, image="podman:4"
)


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def check(name: str, ok: bool | None = True, **members: object) -> Check:
    return replace(Check(name=name, ok=ok, detail=f"{name} was looked at", seconds=0.25), **members)  # type: ignore[arg-type]


def result(environment: EnvironmentInfo, *checks: Check) -> EnvironmentResult:
    pulled = (PulledImage(reference=NAME, digest=digest("manifest")),)
    return EnvironmentResult(environment=environment, checks=checks, pulled=pulled, seconds=Durations(setup=1.5, checks=2.0, teardown=0.5))


SUBJECT = ImageRecord(
    reference=NAME,
    digest=digest("manifest"),
    media_type="application/vnd.oci.image.manifest.v1+json",
    size=1000,
    platform="linux/amd64",
    config=digest("config"),
    layers=(LayerRecord(digest=digest("layer"), media_type="application/vnd.oci.image.layer.v1.tar+gzip", size=900),),
)

GREEN = VerifyReport(
    image=SUBJECT,
    created=datetime(2026, 1, 31, 12, tzinfo=timezone.utc),
    tool="registry-tool 0.1.0",
    command="regctl verify john/get-started:part2 --on docker --on podman",
    results=(
        result(
            DOCKER, check("resolves"), check("starts", evidence={"user": "app", "command": ["python", "app.py"]}), check("probes", None)
        ),
        result(
            PODMAN, check("resolves"), check("starts", evidence={"user": "app", "command": ["python", "app.py"]}), check("probes", None)
        ),
    ),
)


def failing(**members: object) -> VerifyReport:
    """One whose page does not answer on docker."""
    probes = check("probes", False, detail="no answer", hint="Look at its log.", excerpt=("starting", "broken"), **members)
    return replace(GREEN, results=(result(DOCKER, check("resolves"), probes), GREEN.results[1]))


# Any report.

_text = st.text(max_size=8)
_name = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
_digests = st.sampled_from("abcdef").map(digest)
_times = st.datetimes(timezones=st.just(timezone.utc)).map(lambda value: value.replace(microsecond=0))
_seconds = st.floats(0, 1000).map(lambda value: round(value, 3))
_evidence = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_text, inner, max_size=2),
    max_leaves=4,
)
_points = st.builds(
    Check,
    name=st.sampled_from(list(CHECKS)),
    ok=st.sampled_from([True, True, False, None]),
    detail=_text,
    unchecked=st.lists(_text, max_size=2).map(tuple),
    hint=st.none() | _text,
    evidence=st.dictionaries(st.sampled_from(["user", "command", "seen"]), _evidence, max_size=2),
    seconds=_seconds,
    excerpt=st.lists(_text, max_size=2).map(tuple),
)
_infos = st.builds(
    EnvironmentInfo,
    kind=st.sampled_from(["docker", "podman", "context", "here"]),
    name=st.sampled_from(["docker", "podman", "here", "context:far"]),
    engine=_name,
    kernel=_name,
    platform=_name,
    clean=st.booleans(),
    image=st.none() | _name,
)
_proven = st.builds(
    EnvironmentResult,
    environment=_infos,
    checks=st.lists(_points, max_size=3, unique_by=lambda point: point.name).map(tuple),
    pulled=st.lists(st.builds(PulledImage, reference=_name, digest=_digests), max_size=2, unique_by=lambda each: each.reference).map(tuple),
    seconds=st.builds(Durations, setup=_seconds, checks=_seconds, teardown=_seconds),
)
_layers = st.builds(LayerRecord, digest=_digests, media_type=_name, size=st.integers(0, 2**40))
_subjects = st.builds(
    ImageRecord,
    reference=_name,
    digest=st.none() | _digests,
    media_type=st.none() | _name,
    size=st.none() | st.integers(0, 2**40),
    platform=st.none() | _name,
    config=st.none() | _digests,
    layers=st.lists(_layers, max_size=3).map(tuple),
)
_failures = st.builds(
    Failure,
    code=st.sampled_from(["failed", "unreachable"]),
    message=_name,
    hint=st.none() | _text,
    excerpt=st.lists(_text, max_size=2).map(tuple),
)
_changes = st.builds(Change, where=_name, what=_name, before=st.none() | _text, now=st.none() | _text)
_against = st.builds(Comparison, digest=_digests, created=_times, changes=st.lists(_changes, max_size=2).map(tuple))

any_report = st.builds(
    VerifyReport,
    image=_subjects,
    created=_times,
    tool=_name,
    command=_name,
    results=st.lists(_proven, max_size=3, unique_by=lambda each: each.environment.name).map(tuple),
    notes=st.lists(_text, max_size=2).map(tuple),
    error=st.none() | _failures,
    comparison=st.none() | _against,
)
