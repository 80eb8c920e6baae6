"""The proof as an assertion: a red point is a failed test, and says what was seen; the certificate is kept with the test."""

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
"""Of the test, in a report as JUnit XML: the certificate's JSON."""


class NotPortable(AssertionError):
    """A point is red, or the proof could not be made; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Portable:
    """Asserts that an image runs elsewhere; see ``docs/pytest.md``.

    ``verify`` makes the proof of what is asked, at places (none: the usual one); ``keep`` is given each certificate.
    ``missing`` skips or fails the test where a place cannot be had, and nothing else is wrong.
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
        """Prove ``image`` on every place in ``on``: ``docker``, ``podman``, ``context:NAME``, ``here``.

        Arguments are those of ``regctl verify``: ``http`` is ``"4000:80/PATH"``, and ``status``, ``text``, ``json`` and
        ``within`` (seconds) are what its answer must be; ``probes`` are any others, as :mod:`registry_tool.verify.spec` has
        them. An image that ``image_factory`` made is expected to have its digest. Times are in seconds.

        Raises NotPortable, and UsageError where an argument is wrong: then nothing was tried.
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
        asked = VerifySpec(
            image=Reference.parse(str(image), default_host="").or_latest(),
            expect=_digest(wanted) if wanted else None,
            probes=(*page, *others, *probes),
            environment=dict(env or {}),
            timeout=timeout,
            stop_within=stop_within,
            redis=redis,
        )
        certificate = self.verify(asked, (on,) if isinstance(on, str) else tuple(on))
        self.keep(certificate)
        error = certificate.error
        if error is not None and error.code == EnvironmentUnavailable.code and all(proven.ok for proven in certificate.results):
            self.missing("\n".join(filter(None, (error.message, error.hint, *certificate.notes))))
        if not certificate.ok:
            raise NotPortable("\n".join(failure_lines(certificate)))
        return certificate


def portable_for(
    node: pytest.Item, verify: Callable[[VerifySpec, Sequence[str]], VerifyReport], missing: Callable[[str], NoReturn]
) -> Portable:
    """For one test: its certificates are shown where it fails, and are in its report."""

    def keep(certificate: VerifyReport) -> None:
        node.user_properties.append((PROPERTY, documents.dumps(certificate.as_json())))
        node.add_report_section("call", "certificate", "\n".join(check_lines(certificate)))

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


def failure_lines(certificate: VerifyReport) -> Iterator[str]:
    """What to read where a proof is red: each red point with its place, the end of the log, and what to do."""
    yield f"{certificate.image.reference} is not verified"
    for proven in certificate.results:
        for point in proven.checks:
            if point.ok is False:
                yield f"{proven.where.name}: {point.name}: {point.detail}"
                yield from (f"  | {line}" for line in point.excerpt)
                if point.hint:
                    yield f"  hint: {point.hint}"
    if certificate.error is not None:
        yield certificate.error.message
        yield from (f"  | {line}" for line in certificate.error.excerpt)
        if certificate.error.hint:
            yield f"  hint: {certificate.error.hint}"
    yield from certificate.notes


def check_lines(certificate: VerifyReport) -> Iterator[str]:
    """What a certificate says, a line for each point."""
    for proven in certificate.results:
        for point in proven.checks:
            word = {True: "ok", False: "FAIL", None: "-"}[point.ok]
            yield f"{proven.where.name}: {point.name} {word}: {point.detail}"
