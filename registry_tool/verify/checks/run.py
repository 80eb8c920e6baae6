"""All checks on one engine, in their order. A failed one does not stop what can still be checked."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine, Image
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Registry, open_registry
from registry_tool.verify.checks import container_checks, pull_checks
from registry_tool.verify.checks.container_run import ContainerRun
from registry_tool.verify.checks.pull_checks import PullResult, skipped
from registry_tool.verify.environments.current import CurrentEngine
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.remote_image import RemoteImage, resolve
from registry_tool.verify.result import CHECKS, Check, Durations, EnvironmentResult, PulledImage
from registry_tool.verify.spec import VerifySpec
from registry_tool.verify.stack.stack_check import check_stack

_STATES = {True: "yes", False: "no", None: "undecided"}


def run_checks(
    environment: Environment,
    spec: VerifySpec,
    *,
    current: Engine,
    dirs: AppDirs,
    registry: Registry | None = None,
    observer: Observer = SILENT,
    on_check: Callable[[Check], None] = lambda check: None,
) -> EnvironmentResult:
    """Run every check of ``spec`` in ``environment``; what was made there is removed again, however it ends.

    Without an expected digest the image is compared with what the ``current`` engine has under its name; a stack's helper images
    come from there, too. ``registry`` is the image's, opened where none is given. ``on_check`` is called with each result.
    Raises Unreachable where registry or engine do not answer; EnvironmentUnavailable where a part of the engine itself fails;
    AuthenticationFailed and the like.
    """
    with ExitStack() as opened:
        run = _CheckRun(environment, spec, registry or opened.enter_context(open_registry(spec.image.host)), observer, on_check)
        started = time.monotonic()
        run.image_checks(None if spec.expected else _local_image(environment, spec, current))
        run.stack_check(current, dirs)
    pulled = tuple(PulledImage(reference=reference, digest=Digest.parse(digest)) for reference, digest in run.pulled.items())
    durations = Durations(checks=time.monotonic() - started)
    return EnvironmentResult(environment=environment.info, checks=tuple(run.checks), pulled=pulled, seconds=durations)


def _local_image(environment: Environment, spec: VerifySpec, current: Engine) -> Image | None:
    removed = environment.removed if isinstance(environment, CurrentEngine) else None
    return removed or current.image(str(spec.image))


class _CheckRun:
    def __init__(
        self, environment: Environment, spec: VerifySpec, registry: Registry, observer: Observer, on_check: Callable[[Check], None]
    ) -> None:
        self._environment, self._spec, self._registry, self._observer, self._on_check = environment, spec, registry, observer, on_check
        self._started = 0.0
        self.checks: list[Check] = []
        self.pulled: dict[str, str] = {}
        self._name: str | None = None
        """The image's name in the environment, once it was pulled."""

    def image_checks(self, local: Image | None) -> None:
        """All checks but the stack's; the remote image is compared with ``local`` where no digest is expected."""
        remote = self._resolve(local)
        if remote is None:
            self._skip_rest("the name resolves to nothing that can be read")
            return
        self._begin("clean")
        self._end(pull_checks.clean(self._environment, remote))
        pull = self._pull(remote)
        self._compare(remote, pull)
        if self._name is None or remote.config is None:
            self._skip_rest("there is no image to start")
            return
        self._container_checks(ContainerRun(environment=self._environment, spec=self._spec, config=remote.config, image=self._name))

    def stack_check(self, current: Engine, dirs: AppDirs) -> None:
        """Last, as it brings other images into the environment."""
        check, pulled = check_stack(self._environment, self._spec, image=self._name, current=current, dirs=dirs, observer=self._observer)
        self.pulled |= pulled
        if check is not None:
            self._add(check)

    def _resolve(self, local: Image | None) -> RemoteImage | None:
        self._begin("resolves")
        try:
            remote = resolve(self._registry, self._spec.image, self._environment.engine.info.platform)
        except (NotFound, Mismatch, InvalidManifest) as error:
            self._end(pull_checks.unresolved(self._spec, error))
            return None
        self._end(pull_checks.resolves(self._spec, remote, local))
        return remote

    def _pull(self, remote: RemoteImage) -> PullResult:
        self._begin("fetched")
        if remote.image is None:
            self._end(skipped("fetched", "there is none for this platform"))
            return PullResult()
        pull = pull_checks.pull(self._environment, remote, self._observer)
        kept = self._environment.kept is not None
        damaged = pull_checks.damage(self._registry, remote, pull)
        if kept and pull.error is None:
            damaged = pull_checks.read_instead(self._registry, remote)
        self._end(pull_checks.fetched(remote, pull, damaged, kept=kept))
        if pull.transfer is not None:
            self._name = self._environment.local_name(remote.by_digest)
            self.pulled[self._name] = str(remote.digest)
        return pull

    def _compare(self, remote: RemoteImage, pull: PullResult) -> None:
        self._begin("digest")
        self._end(pull_checks.digest(remote, pull))
        self._begin("content")
        self._end(pull_checks.content(remote, pull))
        self._begin("platform")
        self._end(pull_checks.platform(self._environment.engine, remote, pull))

    def _container_checks(self, run: ContainerRun) -> None:
        fits = self.checks[-1].ok is not False
        self._observer.start("starts", CHECKS["starts"])
        run.run()
        starts = container_checks.starts(run, fits=fits)
        self._add(starts)
        if run.start_error is not None:
            self._skip_rest("it did not start")
            return
        listens = container_checks.listens(run)
        self._add(listens)
        self._add(container_checks.probes(run, listens, starts))
        self._add(container_checks.ends(run))
        self._add(container_checks.alone(run))

    def _begin(self, name: str) -> None:
        self._started = time.monotonic()
        self._observer.start(name, CHECKS[name])

    def _end(self, check: Check) -> None:
        self._add(replace(check, seconds=time.monotonic() - self._started))

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        self._observer.finish(check.name, f"{_STATES[check.ok]}: {check.detail}")
        self._on_check(check)

    def _skip_rest(self, why: str) -> None:
        done = {check.name for check in self.checks}
        for name in CHECKS:
            if name not in done and name != "stack":
                self._add(skipped(name, why))
