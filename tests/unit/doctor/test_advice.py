"""Errors that a check looks into name it in their hints."""

from __future__ import annotations

import pytest

from registry_tool.base import doctor_checks, errors
from registry_tool.base.codec import to_json
from registry_tool.base.errors import RegistryToolError
from registry_tool.doctor import CHECKS
from registry_tool.engine import engine_errors
from registry_tool.transport.responses import Response, error_from
from tests.support.cli_runner import Typed
from tests.support.requirements import free_port

NAMES = {check.name for check in CHECKS}


def test_every_check_that_is_named_exists() -> None:
    assert {rule.check for rule in doctor_checks._RULES} <= NAMES


def test_every_code_that_a_rule_names_exists() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RegistryToolError)}
    assert {code for rule in doctor_checks._RULES for code in rule.codes.split()} <= codes


def response(method: str, status: int) -> RegistryToolError:
    path = "/v2/john/app/manifests/sha256:0"
    body = b'{"errors":[{"code":"UNSUPPORTED","message":"no"}]}'
    headers = {"content-type": "application/json"}
    url = f"http://localhost:5000{path}"
    found = error_from(
        "localhost:5000", Response(method=method, path=path, url=url, status=status, headers=headers, body=body), is_registry=True
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (errors.EngineNotFound("no container engine found"), "engine"),
        (errors.EngineNotPermitted("this user may not use the engine's socket"), "engine"),
        (errors.EngineTimeout("the engine did not respond in time"), "engine"),
        (errors.Unreachable("the engine stopped answering"), "engine"),
        (errors.NothingListens("localhost:5000 does not answer: connection refused"), "registry"),
        (errors.RegistryUnreachable("no local registry is running"), "registry"),
        (errors.NotARegistry("the server at localhost:5000 is not a registry"), "registry"),
        (errors.RegistryUnreachable("a proxy on the way to quay.io requires a user name and a password"), "proxy"),
        (errors.RegistryUnreachable("quay.io does not answer: timed out"), "proxy"),
        (errors.RegistryUnreachable("quay.io cannot be trusted: ca.crt: no certificate"), "certificates"),
        (errors.PortTaken("port 5000 is in use by AirPlay"), "port"),
        (errors.CredentialsError("the credential helper docker-credential-x is not installed"), "credentials"),
        (errors.ProvisionFailed("the base image registry:2 is not available"), "base-images"),
        (errors.BuildFailed("this Dockerfile needs BuildKit (RUN --mount), and `docker buildx` is not there"), "builder"),
        (errors.EngineError("write /var/lib/docker/x: no space left on device"), "disk"),
        (RegistryToolError("Permission denied: /home/john/.local/state"), "folders"),
        (response("DELETE", 405), "delete"),
        (response("PUT", 405), "write"),
        (response("POST", 503), "registry"),
        (response("GET", 401), "credentials"),
        (engine_errors.push_error("10.0.0.1:5000/app", "http: server gave HTTP response to HTTPS client"), "https"),
        (engine_errors.pull_error("10.0.0.1:5000/app", "x509: certificate signed by unknown authority"), "certificates"),
        (engine_errors.push_error("localhost:5000/app", "write /x: no space left on device"), "disk"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_error_names_its_check(error: RegistryToolError, check: str) -> None:
    assert error.advice is not None
    assert error.advice.endswith(f"regctl doctor {check}")
    assert to_json(error)["hint"] == error.advice
    assert (error.hint or "") in error.advice


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("there is no image x"),
        errors.UsageError("no such option"),
        errors.BuildFailed("RUN false"),
        errors.Conflict("in use"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_that_no_check_looks_into_keeps_its_hint(error: RegistryToolError) -> None:
    assert error.advice is None
    error.hint = "Try again."
    assert error.advice == "Try again."


def test_hint_is_a_sentence_before_its_check() -> None:
    assert doctor_checks.advice("port-taken", "x", "Name another.") == "Name another. See also: regctl doctor port"
    assert doctor_checks.advice("port-taken", "x", "regctl up") == "regctl up; see also: regctl doctor port"
    assert doctor_checks.advice("port-taken", "x", None) == "See: regctl doctor port"


def test_command_that_fails_prints_the_check(typed: Typed) -> None:
    answer = typed("--registry", f"localhost:{free_port()}", "catalog")
    assert answer.code == 3
    assert "regctl doctor registry" in answer.err
