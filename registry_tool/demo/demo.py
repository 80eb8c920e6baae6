"""The main job: up, build, tag, push, remove, pull, run, look.

Each step proves something, and one that cannot ends the walk: the image is gone before it is pulled, what comes back
has the digest that was pushed, and the page that is looked at names the container that was started from it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from registry_tool.base import files, labels, runs, units
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import PortTaken, RegistryToolError, UsageError, VerificationFailed
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.demo import build_cache, purge, sample_page
from registry_tool.demo.result import FRIENDLY, DemoListener, DemoOptions, DemoResult, DemoStep
from registry_tool.engine import Container, ContainerSpec, Engine, PortBinding
from registry_tool.local import orphans, tag_backup
from registry_tool.local.base_images import REDIS, BaseImage, BaseImageResolver
from registry_tool.local.bring_up import registry_up
from registry_tool.local.images import build_inputs
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference

__all__ = ["DemoListener", "DemoOptions", "DemoResult", "DemoStep", "demo"]

FIRST_PORT = 4000
PORTS_TRIED = 100
APP_PORT = "80/tcp"


def demo(
    engine: Engine, dirs: AppDirs, options: DemoOptions, *, observer: Observer = SILENT, listener: DemoListener | None = None
) -> DemoResult:
    """Do the whole walk and clean up after it. A failure is in the result's ``error``; only an interruption is raised.

    Two demos of one name on one engine take turns; what dead ones left is removed first.
    """
    result = DemoResult(listener=listener, redis=options.redis)
    try:
        wanted = Reference.parse(options.image, default_host="localhost").or_latest()
        with _demo_lock(engine, dirs.state, wanted, observer), runs.begin(dirs.state) as run:
            result.run = run.id
            _sweep(engine, dirs.state, observer)
            _DemoRun(engine, dirs, options, observer, result, run).walk()
    except RegistryToolError as error:
        result.error = error
    return result


@contextmanager
def _demo_lock(engine: Engine, state: Path, wanted: Reference, observer: Observer) -> Iterator[None]:
    name = f"{wanted.path}:{wanted.tag}"
    key = hashlib.sha256(f"{engine.id}\n{name}".encode()).hexdigest()[:16]
    with files.lock(
        state / "demos" / f"{key}.lock", waiting=lambda: observer.note(f"another demo of {name} is running: waiting for it to end")
    ):
        yield


def _sweep(engine: Engine, state: Path, observer: Observer) -> None:
    swept = orphans.sweep(engine, state, labels.ROLE_DEMO)
    orphans.sweep_tag(engine, state, FRIENDLY)
    if swept:
        observer.note(f"removed what {units.count(len(swept), 'earlier demo')} left behind")


@dataclass
class _DemoRun:
    engine: Engine
    dirs: AppDirs
    options: DemoOptions
    observer: Observer
    result: DemoResult
    run: runs.Run
    target: str = ""
    friendly_borrowed: bool = False
    arrived: bool = False
    """Whether the image has come back: from then on it stays under its registry name."""

    def __post_init__(self) -> None:
        self.ladder = BaseImageResolver(self.engine, self.dirs.cache, self.observer)
        self.labels = self.run.labels(labels.ROLE_DEMO)

    def walk(self) -> None:
        try:
            registry = self._up()
            reference = self._reference(registry)
            image_id = self._build()
            target = self._tag(image_id, reference)
            pushed = self._push(target)
            self._remove(target, pushed, image_id)
            self._pull(target, pushed)
            self._check_page(target)
            if self.options.redis:
                self._run_with_redis(target)
            if self.options.keep:
                self.run.keep()
        finally:
            self._clean_up()

    # Each method is one step, in the order of the walk.

    def _up(self) -> LocalRegistry:
        with self.result.step("up", "docker run -d -p 127.0.0.1:5000:5000 registry:2") as step:
            brought = registry_up(
                self.engine,
                self.dirs,
                name=self.options.registry,
                port=self.options.registry_port,
                provisioner=self.ladder,
                observer=self.observer,
            )
            registry = brought.up.registry
            step.command = f"docker run -d -p 127.0.0.1:{registry.port}:5000 -v {registry.volume}:/var/lib/registry {registry.image}"
            self.result.registry_address = registry.address
            self.result.registry_image = registry.image
            self.result.images.append(brought.provisioned or _registry_image(registry))
            step.detail = f"{registry.address}, {'started' if brought.up.created else 'already there'}"
            if brought.up.port_note:
                step.detail += f" ({brought.up.port_note})"
        return registry

    def _build(self) -> str:
        # A purge on the same engine waits until the base image has been built upon.
        with self.result.step("build", f"docker build -t {FRIENDLY} sample_app") as step, self._base_lock(shared=True):
            prepared = build_inputs.prepare(self.engine, self.ladder, self.dirs.cache, self.options.context, observer=self.observer)
            self.result.images.extend(prepared.bases)
            image_id = self.engine.build(
                self.options.context,
                build_args=prepared.build_args,
                # Of its own for each run, so that no other image has this id.
                labels={labels.DEMO: self.run.id},
                extra=prepared.extra,
                observer=self.observer,
            )
            with self._names_lock():
                self.friendly_borrowed = True
                tag_backup.borrow(self.engine, self.run.id, FRIENDLY, image_id)
                self.result.build_cache = build_cache.NAME if build_cache.tag_cache(self.engine, self.run, image_id) else None
            self.result.image_id = image_id
            step.detail = f"{_short(image_id)} on {', '.join(f'{base.name} ({base.source})' for base in prepared.bases)}"
        return image_id

    def _reference(self, registry: LocalRegistry) -> Reference:
        """The full name, once it is known where the registry is. Raises UsageError for one that cannot be pushed there."""
        reference = Reference.parse(self.options.image, default_host=registry.address).or_latest()
        if reference.host != registry.address or reference.digest is not None:
            raise UsageError(
                f"the demo pushes USER/REPOSITORY:TAG to its own registry at {registry.address}, not {self.options.image}",
                hint=f"Try: --image {reference.path}:{reference.tag or 'latest'}",
            )
        return reference

    def _tag(self, image_id: str, reference: Reference) -> str:
        self.target = target = str(reference)
        self.result.reference = target
        with self.result.step("tag", f"docker tag {FRIENDLY} {target}") as step:
            with self._names_lock():
                earlier = tag_backup.borrow(self.engine, self.run.id, target, image_id)
            step.detail = target
            earlier = self.engine.image(earlier.id) if earlier is not None else None
            if earlier is not None and not earlier.names:
                orphans.remove_image(self.engine, earlier.id)
        return target

    def _push(self, target: str) -> Digest:
        with self.result.step("push", f"docker push {target}") as step:
            _preload_client()
            moved = self.engine.push(target, observer=self.observer)
            from registry_tool.targets.registry import open_registry  # noqa: PLC0415 - loaded by now

            reference = Reference.parse(target, default_host="")
            stored = open_registry(reference.host).digest(reference.path, reference.tag or "latest")
            if moved.digest is None or stored != moved.digest:
                raise VerificationFailed(
                    f"the engine pushed {moved.digest}, and the registry has {stored} under {target}",
                    hint="Something else pushes to this name; run the demo again.",
                )
            self.result.digest = str(moved.digest)
            step.detail = f"{moved.digest}; {purge.describe_transfer(moved, 'Pushed', 'pushed')}"
        return moved.digest

    def _remove(self, target: str, digest: Digest, image_id: str) -> None:
        by_digest = str(Reference.parse(target, default_host="").with_digest(digest))
        with self.result.step("remove", f"docker rmi {FRIENDLY} {target}") as step, ExitStack() as held:
            if self.options.purge:
                held.enter_context(self._base_lock(shared=False))
            with self._names_lock():
                tag_backup.give_back(self.engine, self.run.id, FRIENDLY)
                self.friendly_borrowed = False
            self.engine.remove_image(target, force=True, missing_ok=True)
            # The digest and the id go with the last name, unless something else holds them.
            left = self._present(target, by_digest, image_id)
            for name in left:
                self.engine.remove_image(name, force=True, missing_ok=True)
            step.detail = "gone: its name, its digest and its id"
            if self.options.purge:
                step.detail += f"; {purge.remove_base(self.engine, self.ladder, self.result)}"
            if still := self._present(*left):
                raise VerificationFailed(
                    f"{still[0]} is still in the engine after it was removed",
                    hint="Something else uses the image of this demo: look with regctl ps -a and regctl images.",
                )

    def _pull(self, target: str, pushed: Digest) -> None:
        with self.result.step("pull", f"docker pull {target}") as step:
            moved = self.engine.pull(target, observer=self.observer)
            image = self.engine.image(target)
            if image is None or moved.digest != pushed:
                raise VerificationFailed(
                    f"{pushed} was pushed, and {moved.digest} came back from {target}",
                    hint="Something else pushes to this name; run the demo again.",
                )
            self.result.image_id = image.id
            self.arrived = True
            step.detail = f"the same digest; {purge.describe_transfer(moved, 'Pull complete', 'pulled')}"
            if self.options.purge:
                step.detail += purge.describe_shared_layers(self.engine, image, moved)

    def _check_page(self, target: str) -> None:
        with self.result.step("run", "docker run -d") as step:
            container, port = self._start(target)
            step.command = f"docker run -d -p {port}:80 {target}"
            step.detail = f"{container.name} on port {port}"
        with self.result.step("look", f"curl http://localhost:{port}/") as step:
            answer = sample_page.get(self.engine, container, port)
            self.result.page = answer
            sample_page.check(self.engine, container, answer, sample_page.NO_REDIS)
            step.detail = f"{answer.status}, from {container.hostname}: {sample_page.NO_REDIS}"
        if self.options.redis:
            # The page beside Redis takes its place, and its port.
            self.engine.remove(container.id, force=True)
        elif self.options.keep:
            self.result.kept.append(container.name)

    def _run_with_redis(self, target: str) -> None:
        network = f"registry-tool-demo-{self.run.id}"
        with self.result.step("run with redis", f"docker run -d --network {network} {target}") as step:
            base = self.ladder.ensure(REDIS)
            self.result.images.append(base)
            with defer_signals():
                self.engine.create_network(network, labels=self.labels)
            with defer_signals():
                redis = self.engine.run(
                    ContainerSpec(image=base.name, name=f"{network}-redis", network=network, aliases=("redis",), labels=self.labels)
                )
            container, port = self._start(target, network=network)
            step.command = f"docker run -d --network {network} -p {port}:80 {target}"
            step.detail = f"{container.name} on port {port}, beside {redis.name} ({base.name}, {base.source})"
        with self.result.step("count", f"curl http://localhost:{port}/  (three times)") as step:
            self._count(container, port)
            step.detail = f"visits {', '.join(map(str, self.result.visits))}"
        if self.options.keep:
            self.result.kept.extend((container.name, redis.name))

    def _count(self, container: Container, port: int) -> None:
        # Redis may take a moment longer to listen than the page; what is not counted yet says so, and counts nothing.
        for expected in (1, 2, 3):
            answer = sample_page.get(self.engine, container, port)
            for _ in range(20):
                if expected > 1 or sample_page.NO_REDIS not in answer.body:
                    break
                answer = sample_page.get(self.engine, container, port)
            self.result.page_with_redis = answer
            sample_page.check(self.engine, container, answer, expected)
            self.result.visits.append(expected)

    def _clean_up(self) -> None:
        """Leave what stays, and nothing else: also when a step failed or somebody pressed Ctrl-C in the middle of one."""
        with defer_signals():
            self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        if not (self.options.keep and self.arrived and self.result.kept):
            orphans.clear(self.engine, self.labels)
        with self._names_lock():
            if self.friendly_borrowed:
                tag_backup.give_back(self.engine, self.run.id, FRIENDLY)
            if self.target and self.arrived:
                tag_backup.drop(self.engine, self.run.id, self.target)
            elif self.target:
                tag_backup.give_back(self.engine, self.run.id, self.target)
        if not self.arrived:
            for image in self.engine.images(labels={labels.DEMO: self.run.id}):
                for name in (*image.names, image.id):
                    orphans.remove_image(self.engine, name)

    # What the steps are made of.

    def _start(self, target: str, network: str | None = None) -> tuple[Container, int]:
        suffix = "-counting" if network else ""
        asked = self.options.port
        ports = [asked] if asked is not None else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)
        for port in ports:
            spec = ContainerSpec(
                image=target,
                name=f"registry-tool-demo-{self.run.id}{suffix}",
                labels=self.labels,
                ports=(PortBinding(container_port=APP_PORT, host_port=port, host_ip="127.0.0.1"),),
                network=network,
            )
            try:
                with defer_signals():
                    return self.engine.run(spec), port
            except PortTaken:
                if asked is not None:
                    raise
        raise PortTaken(f"no free port from {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1} for the page", hint="Name one with: -p PORT")

    @contextmanager
    def _base_lock(self, *, shared: bool) -> Iterator[None]:
        key = hashlib.sha256(self.engine.id.encode()).hexdigest()[:16]
        with files.lock(self.dirs.state / "demos" / f"base-{key}.lock", shared=shared):
            yield

    @contextmanager
    def _names_lock(self) -> Iterator[None]:
        """Demos side by side borrow one friendly name; looking and pointing must not interleave."""
        with files.lock(self.dirs.state / "demos" / "names.lock"):
            yield

    def _present(self, *names: str) -> list[str]:
        return [name for name in names if self.engine.image(name) is not None]


def _registry_image(registry: LocalRegistry) -> BaseImage:
    return BaseImage(role="registry", name=registry.image, id=registry.image_id, source="engine", ours=False)


def _preload_client() -> None:
    """Load the registry's client while the engine is waited for: that takes longer than most steps of a demo."""
    threading.Thread(target=import_module, args=("registry_tool.targets.registry",), daemon=True).start()


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
