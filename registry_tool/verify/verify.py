"""A whole verification: one environment after the other is opened and all checks are run in it; the result is a report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Protocol

from registry_tool import __version__
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import EnvironmentUnavailable, RegistryToolError, UsageError, VerificationFailed
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine
from registry_tool.oci.descriptor import Platform
from registry_tool.targets.registry import Registry, open_registry
from registry_tool.verify import parsing
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.environments.selection import open_environment
from registry_tool.verify.remote_image import resolve
from registry_tool.verify.report.report import Failure, ImageRecord, LayerRecord, VerifyReport
from registry_tool.verify.result import Check, Durations, EnvironmentInfo, EnvironmentResult
from registry_tool.verify.spec import VerifySpec
from registry_tool.verify.stack.stack_check import validate_stack

DEFAULT, FALLBACK = "docker", "here"  # the environment where none is given, and what takes its place where it is not available


class VerifyListener(Protocol):
    """Is called as the verification goes on."""

    def environment_opening(self, name: str) -> None:
        """An environment is being made ready."""
        return

    def environment_ready(self, info: EnvironmentInfo, setup: float) -> None:
        """It is, after ``setup`` seconds."""
        return

    def check_finished(self, check: Check) -> None:
        """A check has its result."""
        return

    def environment_finished(self, result: EnvironmentResult) -> None:
        """All checks have, and the environment was removed."""
        return


class NullListener(VerifyListener):
    """Ignores all events."""


def verify(
    engine: Engine,
    spec: VerifySpec,
    environments: Sequence[str] = (),
    *,
    dirs: AppDirs,
    require: Sequence[str] = (),
    command: str = "registry_tool.verify.verify",
    observer: Observer = SILENT,
    listener: VerifyListener = NullListener(),  # noqa: B008 - it has no state,
) -> VerifyReport:
    """Run the checks of ``spec`` in each of ``environments``; without any in a clean docker, or else on the current ``engine``.

    ``command`` is the report's. A failure is in the report: one environment that is not available keeps no other from its turn; of
    those in ``require`` all must have been verified in. Raises UsageError before anything is tried, NotFound (no such compose file).
    """
    _check_names(environments, require)
    validate_stack(spec)
    with open_registry(spec.image.host) as registry:
        run = _Run(engine=engine, spec=spec, registry=registry, dirs=dirs, observer=observer, listener=listener)
        try:
            run.resolve(engine.info.platform)
            run.run(environments)
        except UsageError:
            raise
        except RegistryToolError as error:
            run.failures.append(error)
    run.check_required(require)
    return VerifyReport(
        image=run.image,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        tool=f"registry-tool {__version__}",
        command=command,
        results=tuple(run.results),
        notes=tuple(run.notes),
        error=Failure.of(run.failures[0]) if run.failures else None,
    )


def _check_names(environments: Sequence[str], require: Sequence[str]) -> None:
    for name in (*environments, *require):
        try:
            parsing.environment(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
    for name in environments:
        if environments.count(name) > 1:
            raise UsageError(f"{name} is named twice", hint="Once on each is enough.")
    for name in require:
        if name not in (environments or (DEFAULT,)):
            raise UsageError(f"{name} is required, and is not among: {', '.join(environments or (DEFAULT,))}", hint=f"Add: --on {name}")


@dataclass(kw_only=True)
class _Run:
    engine: Engine
    spec: VerifySpec
    registry: Registry
    dirs: AppDirs
    observer: Observer
    listener: VerifyListener
    results: list[EnvironmentResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[RegistryToolError] = field(default_factory=list)
    hints: dict[str, str | None] = field(default_factory=dict)
    """Environment that was not available -> what would help."""

    def __post_init__(self) -> None:
        self.image = ImageRecord(reference=str(self.spec.image))

    def resolve(self, platform: Platform) -> None:
        """Record what the registry has, before an engine is started for it."""
        remote = resolve(self.registry, self.spec.image, platform)
        config = remote.image.config if remote.image else None
        layers = remote.image.layers if remote.image else ()
        self.image = ImageRecord(
            reference=str(self.spec.image),
            digest=remote.digest,
            media_type=remote.root.descriptor.media_type,
            size=remote.size if config else None,
            platform=str(remote.config.platform) if remote.config and remote.config.platform else None,
            config=config.digest if config else None,
            layers=tuple(LayerRecord(digest=layer.digest, media_type=layer.media_type, size=layer.size) for layer in layers),
        )

    def run(self, environments: Sequence[str]) -> None:
        """All of them, whatever becomes of those before."""
        for name in environments:
            try:
                self._run_in(name)
            except UsageError:
                raise
            except RegistryToolError as error:
                self.failures.append(error)
        if not environments:
            try:
                self._run_in(DEFAULT)
            except EnvironmentUnavailable as error:
                self.hints[DEFAULT] = error.hint
                self.notes.append(f"not on a clean {DEFAULT}: {error.message}; on the current engine instead, which verifies the least")
                self._run_in(FALLBACK)

    def check_required(self, required: Sequence[str]) -> None:
        """Each that has no result is a failure."""
        for name in required:
            if name not in [result.environment.name for result in self.results]:
                self.failures.append(VerificationFailed(f"{name} is required, and nothing was verified there", hint=self.hints.get(name)))

    def _run_in(self, name: str) -> None:
        """Raises EnvironmentUnavailable. A result is kept, whatever becomes of the environment then."""
        result: EnvironmentResult | None = None
        self.listener.environment_opening(name)
        started = time.monotonic()
        try:
            with ExitStack() as opened:
                environment = opened.enter_context(self._open(name))
                setup = time.monotonic() - started
                self.listener.environment_ready(environment.info, setup)
                if not self.results and environment.info.platform != str(self.engine.info.platform):
                    self.resolve(Platform.parse(environment.info.platform))
                started = time.monotonic()
                result = run_checks(
                    environment,
                    self.spec,
                    current=self.engine,
                    dirs=self.dirs,
                    registry=self.registry,
                    observer=self.observer,
                    on_check=self.listener.check_finished,
                )
                result = replace(result, seconds=Durations(setup=setup, checks=time.monotonic() - started))
                started = time.monotonic()
        finally:
            if result is not None:
                result = replace(result, seconds=replace(result.seconds, teardown=time.monotonic() - started))
                self.results.append(result)
                self.listener.environment_finished(result)

    @contextmanager
    def _open(self, name: str) -> Iterator[Environment]:
        """Open an environment. Raises UsageError; EnvironmentUnavailable for all else that keeps it from being ready."""
        ready = False
        image, registry_as = self.spec.image, self.spec.registry_as
        try:
            with open_environment(
                self.engine, name, image=image, dirs=self.dirs, registry_as=registry_as, observer=self.observer
            ) as environment:
                ready = True
                yield environment
        except RegistryToolError as error:
            if ready or isinstance(error, (UsageError, EnvironmentUnavailable)):
                raise
            raise EnvironmentUnavailable(f"{name} is not available: {error.message}", hint=error.hint, excerpt=error.excerpt) from error
