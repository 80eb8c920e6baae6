"""The proof itself: all points at one place, in their order. A red one does not stop what can still be looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import InvalidManifest, Mismatch, NotFound
from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine import Engine, Image
from registry_tool.oci.config import Config
from registry_tool.oci.digest import Digest
from registry_tool.targets.registry import Registry, open_registry
from registry_tool.verify import remote_image as origins
from registry_tool.verify.checks import container_checks, pull_checks
from registry_tool.verify.checks.container_run import ContainerRun
from registry_tool.verify.checks.pull_checks import PullResult, skipped
from registry_tool.verify.environments.current import CurrentEngine
from registry_tool.verify.environments.environment import Environment
from registry_tool.verify.remote_image import RemoteImage
from registry_tool.verify.result import CHECKS, Check, Durations, EnvironmentResult, PulledImage
from registry_tool.verify.spec import VerifySpec
from registry_tool.verify.stack.check import prove_stack

_SIGNS = {True: "yes", False: "no", None: "not told"}


def run_checks(
    place: Environment,
    asked: VerifySpec,
    *,
    present: Engine,
    dirs: AppDirs,
    registry: Registry | None = None,
    observer: Observer = SILENT,
    told: Callable[[Check], None] = lambda point: None,
) -> EnvironmentResult:
    """Look at every point of ``asked.image`` at ``place``; what is made there is removed again, however it ends.

    ``present`` is the engine that somebody works with: what it has under this name is compared where nothing is expected, and
    what helps a stack is brought from there. ``registry`` is the image's, opened where none is given. ``told`` hears of each
    point as it is known. Raises Unreachable where the registry does not answer to begin with, or the engine stops answering;
    AuthenticationFailed and the like where the registry does not let us in.
    """
    with ExitStack() as opened:
        walk = _CheckSequence(place, asked, registry or opened.enter_context(open_registry(asked.image.host)), observer, told)
        began = time.monotonic()
        walk.all(None if asked.expected else _had(place, asked, present))
        walk.stack(present, dirs)
    pulled = tuple(PulledImage(reference=reference, digest=Digest.parse(digest)) for reference, digest in walk.pulled.items())
    durations = Durations(proof=time.monotonic() - began)
    return EnvironmentResult(where=place.where, checks=tuple(walk.checks), pulled=pulled, seconds=durations)


def _had(place: Environment, asked: VerifySpec, present: Engine) -> Image | None:
    had = place.had if isinstance(place, CurrentEngine) else None
    return had or present.image(str(asked.image))


class _CheckSequence:
    def __init__(
        self, place: Environment, asked: VerifySpec, registry: Registry, observer: Observer, told: Callable[[Check], None]
    ) -> None:
        self._place, self._asked, self._registry, self._observer, self._told = place, asked, registry, observer, told
        self.checks: list[Check] = []
        self.pulled: dict[str, str] = {}
        self._image: str | None = None
        """What the place calls it, once it has it."""

    def all(self, compared: Image | None) -> None:
        origin = self._resolve(compared)
        if origin is None:
            self._skip_rest("the name leads to nothing that can be read")
            return
        had = self._place.engine.images(all=True)
        self._look("clean", lambda: pull_checks.clean(self._place, had, origin))
        arrival = self._pull(origin)
        self._compare(origin, arrival)
        if self._image is None or origin.config is None:
            self._skip_rest("there is no image to start")
            return
        self._try(self._image, origin.config)

    def stack(self, present: Engine, dirs: AppDirs) -> None:
        """Last, as it brings other images there."""
        point, pulled_beside = prove_stack(self._place, self._asked, image=self._image, present=present, dirs=dirs, observer=self._observer)
        self.pulled |= pulled_beside
        if point is not None:
            self._take(point)

    def _resolve(self, compared: Image | None) -> RemoteImage | None:
        origin: RemoteImage | None = None

        def look() -> Check:
            nonlocal origin
            try:
                origin = origins.look(self._registry, self._asked.image, self._place.engine.info.platform)
            except (NotFound, Mismatch, InvalidManifest) as error:
                return pull_checks.unresolved(self._asked, error)
            return pull_checks.resolves(self._asked, origin, compared)

        self._look("resolves", look)
        return origin

    def _pull(self, origin: RemoteImage) -> PullResult:
        arrival = PullResult()

        def look() -> Check:
            nonlocal arrival
            if origin.image is None:
                return skipped("fetched", "there is none for this platform")
            arrival = pull_checks.pull(self._place, origin, self._observer)
            return pull_checks.fetched(origin, arrival, pull_checks.damage(self._registry, origin, arrival))

        self._look("fetched", look)
        if arrival.moved is not None:
            self._image = self._place.named(origin.by_digest)
            self.pulled[self._image] = str(origin.digest)
        return arrival

    def _compare(self, origin: RemoteImage, arrival: PullResult) -> None:
        if arrival.moved is None:
            self._take(skipped("digest", "nothing was pulled"))
            # What the registry itself does not have whole is wrong here; otherwise there is nothing to compare it with.
            self._look(
                "content", lambda: pull_checks.content(origin, arrival) if origin.trouble else skipped("content", "nothing was pulled")
            )
        else:
            self._look("digest", lambda: pull_checks.digest(origin, arrival))
            self._look("content", lambda: pull_checks.content(origin, arrival))
        self._look("platform", lambda: pull_checks.platform(self._place.engine, origin, arrival))

    def _try(self, image: str, config: Config) -> None:
        fits = self.checks[-1].ok is not False
        trial = ContainerRun(place=self._place, asked=self._asked, config=config, image=image)
        self._observer.start("starts", CHECKS["starts"])
        trial.run()
        starting = container_checks.starts(trial, fits=fits)
        self._take(starting)
        if trial.refusal is not None:
            self._skip_rest("it did not start")
            return
        listening = container_checks.listens(trial)
        self._take(listening)
        self._take(container_checks.probes(trial, listening, starting))
        self._take(container_checks.ends(trial))
        self._take(container_checks.alone(trial))

    def _look(self, name: str, look: Callable[[], Check]) -> None:
        began = time.monotonic()
        self._observer.start(name, CHECKS[name])
        point = look()
        self._take(replace(point, seconds=time.monotonic() - began))

    def _take(self, point: Check) -> None:
        self.checks.append(point)
        self._observer.finish(point.name, f"{_SIGNS[point.ok]}: {point.detail}")
        self._told(point)

    def _skip_rest(self, why: str) -> None:
        looked = {point.name for point in self.checks}
        # The stack is looked at by whoever makes one.
        for name in CHECKS:
            if name not in looked and name != "stack":
                self._take(skipped(name, why))
