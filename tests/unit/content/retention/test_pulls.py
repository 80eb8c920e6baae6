"""Pulls in the access log of a registry."""

from __future__ import annotations

from datetime import datetime, timezone

from registry_tool.base import USER_AGENT
from registry_tool.content.retention.pulls import PullLog, read_log

THEN = datetime(2026, 1, 1, 10, 0, 0, tzinfo=timezone.utc)
DOCKER = "docker/28.0.0 go/go1.23 UpstreamClient(Docker-Client/28.0.0 \\\\(linux\\\\))"


def line(method: str, name: str, reference: str, *, status: int = 200, agent: str = DOCKER) -> str:
    request = f'"{method} /v2/{name}/manifests/{reference} HTTP/1.1" {status} 1024'
    return f'172.17.0.1 - - [01/Jan/2026:10:00:00 +0000] {request} "" "{agent}"'


def test_gets_and_heads_of_manifests_are_pulls() -> None:
    later = THEN.replace(hour=11)
    log = read_log(
        [
            (THEN, 'time="2026-01-01T10:00:00Z" level=info msg="listening on [::]:5000"'),
            (THEN, line("GET", "john/app", "v1")),
            (later, line("HEAD", "john/app", "v1")),
            (later, line("GET", "john/app", "sha256:" + "a" * 64)),
        ]
    )
    assert isinstance(log, PullLog)
    assert log.since == THEN
    assert log.last("john/app", ["v1"]) == later
    assert log.last("john/app", ["v2", "sha256:" + "a" * 64]) == later
    assert log.last("other/app", ["v1"]) is None


def test_pushes_failures_and_what_this_program_reads_are_no_pulls() -> None:
    log = read_log(
        [
            (THEN, line("PUT", "a", "v1", status=201)),
            (THEN, line("GET", "a", "v1", status=404)),
            (THEN, line("GET", "a", "v1", agent=USER_AGENT)),
            (THEN, '1.1.1.1 - - [01/Jan/2026:10:00:00 +0000] "GET /v2/a/blobs/sha256:aa HTTP/1.1" 200 10 "" "docker/1"'),
        ]
    )
    assert isinstance(log, PullLog)
    assert log.pulls == {}


def test_log_without_requests_does_not_tell() -> None:
    assert read_log([]) == "the registry's log is empty"
    assert "access log may be off" in str(read_log([(THEN, 'level=info msg="listening"')]))
