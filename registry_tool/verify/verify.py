"""The whole proof: one place after the other is opened, the image is proven there, and a certificate says what was seen."""

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
from registry_tool.verify import parsing, remote_image
from registry_tool.verify.checks.run import run_checks
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.environments.selection import open_environment
from registry_tool.verify.report.parts import Failure, ImageRecord, LayerRecord
from registry_tool.verify.report.report import VerifyReport
from registry_tool.verify.result import Check, Durations, EnvironmentInfo, EnvironmentResult
from registry_tool.verify.spec import VerifySpec
from registry_tool.verify.stack import check as stacks

USUAL, WEAKEST = "docker", "here"
"""What is taken where no place is asked for, and what is taken where that cannot be had."""


class VerifyListener(Protocol):
    """Is told of the proof as it goes on: a place that is being opened, that is ready (after ``setup`` seconds), its points and its end."""

    def environment_opening(self, name: str) -> None: ...

    def environment_ready(self, where: EnvironmentInfo, setup: float) -> None: ...

    def check_finished(self, point: Check) -> None: ...

    def environment_finished(self, proven: EnvironmentResult) -> None: ...


class NullListener:
    """Tells nobody."""

    def environment_opening(self, name: str) -> None:
        return None

    def environment_ready(self, where: EnvironmentInfo, setup: float) -> None:
        return None

    def check_finished(self, point: Check) -> None:
        return None

    def environment_finished(self, proven: EnvironmentResult) -> None:
        return None


UNWATCHED: VerifyListener = NullListener()


def verify(
    engine: Engine,
    asked: VerifySpec,
    wheres: Sequence[str] = (),
    *,
    dirs: AppDirs,
    require: Sequence[str] = (),
    command: str = "registry_tool.verify.verify",
    observer: Observer = SILENT,
    watcher: VerifyListener = UNWATCHED,
) -> VerifyReport:
    """Prove what is ``asked`` at each of ``wheres``; with none, on a clean docker, or on the present engine where there can be none.

    ``engine`` is the present one. ``command`` is what the certificate says was typed. Whatever fails is in the certificate: a
    place that cannot be had is its ``error`` and keeps no other from its turn; what is in ``require`` and was not proven on makes it
    red. Raises UsageError, of what is wrong before anything is tried, NotFound (no such compose file); an interruption.
    """
    _check(wheres, require)
    stacks.check(asked)
    with open_registry(asked.image.host) as registry:
        run = _Run(engine=engine, asked=asked, registry=registry, dirs=dirs, observer=observer, watcher=watcher)
        try:
            run.look(engine.info.platform)
            run.go(wheres)
        except UsageError:
            raise
        except RegistryToolError as error:
            run.failures.append(error)
    run.miss(require)
    return VerifyReport(
        image=run.image,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        tool=f"registry-tool {__version__}",
        command=command,
        results=tuple(run.results),
        notes=tuple(run.notes),
        error=Failure.of(run.failures[0]) if run.failures else None,
    )


def _check(wheres: Sequence[str], require: Sequence[str]) -> None:
    for name in (*wheres, *require):
        try:
            parsing.environment(name)
        except ValueError as error:
            raise UsageError(str(error)) from None
    for name in wheres:
        if wheres.count(name) > 1:
            raise UsageError(f"{name} is named twice", hint="Once on each place is enough.")
    for name in require:
        if name not in (wheres or (USUAL,)):
            raise UsageError(f"{name} is required, and is none of the places: {', '.join(wheres or (USUAL,))}", hint=f"Add: --on {name}")


@dataclass(kw_only=True)
class _Run:
    engine: Engine
    asked: VerifySpec
    registry: Registry
    dirs: AppDirs
    observer: Observer
    watcher: VerifyListener
    results: list[EnvironmentResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[RegistryToolError] = field(default_factory=list)
    why: dict[str, str | None] = field(default_factory=dict)
    """Place that could not be had -> what would help."""

    def __post_init__(self) -> None:
        self.image = ImageRecord(reference=str(self.asked.image))

    def look(self, platform: Platform) -> None:
        """See what the registry has, before an engine is started for it."""
        image = self.asked.image
        found = remote_image.look(self.registry, image, platform)
        config = found.image.config if found.image else None
        self.image = ImageRecord(
            reference=str(image),
            digest=found.digest,
            media_type=found.root.descriptor.media_type,
            size=found.size if config else None,
            platform=str(found.config.platform) if found.config and found.config.platform else None,
            config=config.digest if config else None,
            layers=tuple(
                LayerRecord(digest=layer.digest, media_type=layer.media_type, size=layer.size)
                for layer in (found.image.layers if found.image else ())
            ),
        )

    def go(self, wheres: Sequence[str]) -> None:
        for name in wheres:
            try:
                self._at(name)
            except UsageError:
                raise
            except RegistryToolError as error:
                self.failures.append(error)
        if not wheres:
            self._usual()

    def miss(self, required: Sequence[str]) -> None:
        """What was required and is not among what was proven on."""
        for name in required:
            if name not in [proven.where.name for proven in self.results]:
                self.failures.append(VerificationFailed(f"{name} is required, and nothing was proven there", hint=self.why.get(name)))

    def _usual(self) -> None:
        try:
            self._at(USUAL)
        except EnvironmentUnavailable as error:
            self.why[USUAL] = error.hint
            self.notes.append(f"not on a clean {USUAL}: {error.message}; on the present engine instead, which is the weakest proof")
            self._at(WEAKEST)

    def _at(self, name: str) -> None:
        """Raises NoPlace where it cannot be had. What was proven is kept, whatever becomes of the place then."""
        proven: EnvironmentResult | None = None
        self.watcher.environment_opening(name)
        begun = time.monotonic()
        try:
            with ExitStack() as opened:
                place = opened.enter_context(self._place(name))
                setup = time.monotonic() - begun
                self.watcher.environment_ready(place.where, setup)
                if not self.results and place.where.platform != str(self.engine.info.platform):
                    self.look(Platform.parse(place.where.platform))
                begun = time.monotonic()
                proven = run_checks(
                    place,
                    self.asked,
                    present=self.engine,
                    dirs=self.dirs,
                    registry=self.registry,
                    observer=self.observer,
                    told=self.watcher.check_finished,
                )
                proven = replace(proven, seconds=Durations(setup=setup, proof=time.monotonic() - begun))
                begun = time.monotonic()
        finally:
            if proven is not None:
                proven = replace(proven, seconds=replace(proven.seconds, end=time.monotonic() - begun))
                self.results.append(proven)
                self.watcher.environment_finished(proven)

    @contextmanager
    def _place(self, name: str) -> Iterator[Environment]:
        """Whatever keeps us from it, it cannot be had; a wrong command stays one."""
        asked = self.asked
        ready = False
        try:
            with open_environment(
                self.engine, name, image=asked.image, dirs=self.dirs, registry_as=asked.registry_as, observer=self.observer
            ) as place:
                ready = True
                yield place
        except RegistryToolError as error:
            if ready or isinstance(error, (UsageError, EnvironmentUnavailable)):
                raise
            raise EnvironmentUnavailable(f"{name} cannot be had: {error.message}", hint=error.hint, excerpt=error.excerpt) from error
