"""``verify`` as an assertion: a failed check fails the test, and the report is kept with the test."""

from __future__ import annotations

import json as documents
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import pytest

from registry_tool.base.errors import EnvironmentUnavailable, UsageError
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.pytest_plugin.images import PushedImage
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.spec import Exec, Exit, Http, Log, Probe, Tcp, VerifySpec

PROPERTY = "registry-tool.certificate"
"""The property of a test in pytest's JUnit XML that has the report as JSON."""


class NotPortable(AssertionError):
    """A check failed, or verification was not possible; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Portable:
    """Asserts that an image runs on a clean engine (docs/pytest.md).

    ``verify`` runs a spec on engines (none: the default one); ``keep`` receives each report. ``missing`` skips or fails the test if
    an engine is unavailable and nothing else is wrong.
    """

    verify: Callable[[VerifySpec, Sequence[str]], VerifyReport]
    keep: Callable[[VerifyReport], None]
    missing: Callable[[str], NoReturn]

    def __call__(
        self,
        image: PushedImage | str,
        *,
        on: str | Sequence[str] = (),
        http: str | None = None,
        status: int | None = None,
        text: str | Sequence[str] = (),
        json: Mapping[str, object] | None = None,
        within: float | None = None,
        tcp: str | None = None,
        exec: str | None = None,
        log: str | None = None,
        exit_code: int | None = None,
        probes: Sequence[Probe] = (),
        expect: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        stop_within: float = 10.0,
        redis: bool = False,
    ) -> VerifyReport:
        """Verify ``image`` on every engine in ``on``: ``docker``, ``podman``, ``context:NAME``, ``here``.

        Arguments are those of ``regctl verify``: ``http`` is ``"4000:80/PATH"``, and ``status``, ``text``, ``json`` and
        ``within`` (seconds) are what its answer must be; ``probes`` are any others, as :mod:`registry_tool.verify.spec` has
        them. An image of ``image_factory`` must have its digest. Times are in seconds.

        Raises NotPortable; UsageError where an argument is wrong, before anything is started.
        """
        __tracebackhide__ = True
        page = _http_probe(http, status, (text,) if isinstance(text, str) else tuple(text), json, within)
        others: list[Probe] = []
        if tcp is not None:
            others.append(Tcp.parse(tcp))
        if exec is not None:
            others.append(Exec.parse(exec))
        if log is not None:
            others.append(Log(text=log))
        if exit_code is not None:
            others.append(Exit(code=exit_code))
        wanted = expect or (image.digest if isinstance(image, PushedImage) else None)
        spec = VerifySpec(
            image=Reference.parse(str(image), default_host="").or_latest(),
            expect=_digest(wanted) if wanted else None,
            probes=(*page, *others, *probes),
            environment=dict(env or {}),
            timeout=timeout,
            stop_within=stop_within,
            redis=redis,
        )
        report = self.verify(spec, (on,) if isinstance(on, str) else tuple(on))
        self.keep(report)
        error = report.error
        if error is not None and error.code == EnvironmentUnavailable.code and all(result.ok for result in report.results):
            self.missing("\n".join(filter(None, (error.message, error.hint, *report.notes))))
        if not report.ok:
            raise NotPortable("\n".join(failure_lines(report)))
        return report


def portable_for(
    node: pytest.Item, verify: Callable[[VerifySpec, Sequence[str]], VerifyReport], missing: Callable[[str], NoReturn]
) -> Portable:
    """The fixture of one test: its reports are shown if it fails, and are in pytest's report."""

    def keep(report: VerifyReport) -> None:
        node.user_properties.append((PROPERTY, documents.dumps(report.as_json())))
        node.add_report_section("call", "certificate", "\n".join(check_lines(report)))

    return Portable(verify=verify, keep=keep, missing=missing)


def _http_probe(
    http: str | None, status: int | None, text: tuple[str, ...], json: Mapping[str, object] | None, within: float | None
) -> tuple[Http, ...]:
    if http is None:
        if status is not None or text or json or within is not None:
            raise UsageError("status, text, json and within need http", hint="For example: http='4000:80/'")
        return ()
    values = tuple((path, value if isinstance(value, str) else documents.dumps(value)) for path, value in (json or {}).items())
    return (replace(Http.parse(http), status=status, text=text, json=values, within=within),)


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except ValueError as error:
        raise UsageError(f"expect: {error}") from None


def failure_lines(report: VerifyReport) -> Iterator[str]:
    """The message of a failure: each failed check with its environment, excerpt and hint, then the error and the notes."""
    yield f"{report.image.reference} is not verified"
    for result in report.results:
        for check in result.checks:
            if check.ok is False:
                yield from _lines(f"{result.environment.name}: {check.name}: {check.detail}", check.excerpt, check.hint)
    if report.error is not None:
        yield from _lines(report.error.message, report.error.excerpt, report.error.hint)
    yield from report.notes


def _lines(message: str, excerpt: Sequence[str], hint: str | None) -> Iterator[str]:
    yield message
    yield from (f"  | {line}" for line in excerpt)
    if hint:
        yield f"  hint: {hint}"


def check_lines(report: VerifyReport) -> Iterator[str]:
    """One line for each check."""
    for result in report.results:
        for check in result.checks:
            mark = {True: "ok", False: "FAIL", None: "-"}[check.ok]
            yield f"{result.environment.name}: {check.name} {mark}: {check.detail}"
            yield from (f"  not looked at: {text}" for text in check.unchecked)
