"""The demo: up, build, tag, push, remove, pull, run, look.

Each step verifies something, and the first that fails ends the demo: the image is gone before it is pulled, what is pulled has
the digest that was pushed, and the page says what the image was built to say, and the host name of the container that was started from
it. A name that something has already is moved only once the page of the image that was built was seen; the pulled one must be the same.
"""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from registry_tool.base import files, labels, runs, units
from registry_tool.base.dirs import AppDirs
from registry_tool.base.errors import Conflict, PortTaken, RegistryToolError, UsageError, VerificationFailed
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.base.progress import SILENT, Observer
from registry_tool.base.signals import defer_signals
from registry_tool.demo import layers
from registry_tool.demo.page_steps import PageSteps, Preview
from registry_tool.demo.result import FRIENDLY, DemoListener, DemoOptions, DemoResult, DemoStep
from registry_tool.engine import Engine
from registry_tool.local import orphans, tag_backup
from registry_tool.local.base_images import BaseImage, BaseImageResolver
from registry_tool.local.bring_up import registry_up
from registry_tool.local.images import build_inputs
from registry_tool.local.registry import LocalRegistry, PortMove, ports
from registry_tool.local.registry.spec import name_option
from registry_tool.local.sample_page import SamplePage
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference

REGISTRY_TIMEOUT = 10.0
"""Seconds for the registry to list a repository's tags."""

__all__ = ["DemoListener", "DemoOptions", "DemoResult", "DemoStep", "demo"]


def demo(
    engine: Engine, dirs: AppDirs, options: DemoOptions, *, observer: Observer = SILENT, listener: DemoListener | None = None
) -> DemoResult:
    """Run all steps and clean up. A failure is the result's ``error``; only an interruption is raised.

    Demos of one image name on one engine run one after the other; what dead ones left is removed first.
    """
    result = DemoResult(listener=listener, is_podman=engine.is_podman, redis=options.redis)
    try:
        wanted = Reference.parse(options.image, default_host="localhost").or_latest()
        with _demo_lock(engine, dirs.state, wanted, observer), runs.begin(dirs.state) as run:
            swept = orphans.sweep(engine, dirs.state, labels.ROLE_DEMO)
            orphans.sweep_tag(engine, dirs.state, FRIENDLY)
            if swept:
                observer.note(f"removed what {units.count(len(swept), 'earlier demo')} left behind")
            result.run = run.id
            _DemoRun(engine, dirs, options, observer, result, run).execute()
    except RegistryToolError as error:
        result.error = error
    return result


def _refuse_move(move: PortMove) -> None:
    """Raise Conflict where the registry's new port makes names of images lead nowhere."""
    if move.names:
        port = move.after.rpartition(":")[2]
        raise Conflict(
            f"the registry {move.name} is at {move.before}, and names of images begin with that: {move.names[0]}",
            hint=f"Omit --registry-port, or move it first: regctl up{name_option(move.name)} --port {port}",
        )


def _demo_lock(engine: Engine, state: Path, wanted: Reference, observer: Observer) -> AbstractContextManager[None]:
    name = f"{wanted.path}:{wanted.tag}"
    key = hashlib.sha256(f"{engine.id}\n{name}".encode()).hexdigest()[:16]
    waiting = f"another demo of {name} is running: waiting for it to end"
    return files.lock(state / "demos" / f"{key}.lock", waiting=lambda: observer.note(waiting))


@dataclass
class _DemoRun:
    engine: Engine
    dirs: AppDirs
    options: DemoOptions
    observer: Observer
    result: DemoResult
    run: runs.Run
    preview: Preview | None = None
    built: SamplePage | None = None
    """The page of the image that was built, where something would have been lost with a bad one."""
    target: str = ""
    friendly_borrowed: bool = False
    pulled: bool = False
    """Whether the image was pulled: from then on it stays under its registry name."""

    def __post_init__(self) -> None:
        self.bases = BaseImageResolver(self.engine, self.dirs.cache, self.observer)

    def execute(self) -> None:
        self._check_port()
        try:
            registry = self._up()
            reference = self._reference(registry)
            image_id = self._build()
            target = self._tag(image_id, reference)
            pushed = self._push(target)
            self._end_preview()
            self._remove(target, pushed, image_id)
            self._pull(target, pushed)
            PageSteps(
                engine=self.engine, bases=self.bases, options=self.options, result=self.result, run=self.run, image=target, built=self.built
            ).execute()
            if self.options.keep:
                self.run.keep()
        finally:
            # Also after a failure, or Ctrl-C in the middle of a step.
            with defer_signals():
                self._clean_up()

    def _check_port(self) -> None:
        """Raise PortTaken where the page's port is taken now, instead of after the build, the push and the pull."""
        port = self.options.port
        held_by = None
        if port is not None:
            held_by = ports.holder(port, self.engine.containers(), local=self.engine.endpoint.is_local)
        if held_by is not None:
            raise PortTaken(f"port {port} is in use by {held_by}", hint="Name another with -p, or leave -p out to get the next free one.")

    # Each method is one step, in their order.

    def _up(self) -> LocalRegistry:
        with self.result.step("up", "docker run -d -p 127.0.0.1:5000:5000 registry:2") as step:
            started = registry_up(
                self.engine,
                self.dirs,
                name=self.options.registry,
                port=self.options.registry_port,
                bases=self.bases,
                on_move=_refuse_move,
                observer=self.observer,
            )
            registry = started.up.registry
            step.command = f"docker run -d -p 127.0.0.1:{registry.port}:5000 -v {registry.volume}:/var/lib/registry {registry.image}"
            self.result.registry_address = registry.address
            self.result.registry_image = registry.image
            self.result.images.append(
                started.base_image or BaseImage(role="registry", name=registry.image, id=registry.image_id, source="engine", imported=False)
            )
            step.detail = f"{registry.address}, {'started' if started.up.created else 'already there'}"
            if started.up.port_note:
                step.detail += f" ({started.up.port_note})"
        return registry

    def _build(self) -> str:
        # A purge on the same engine waits until this image is built on the base image.
        with self.result.step("build", f"docker build -t {FRIENDLY} sample_app") as step, self._base_lock(shared=True):
            prepared = build_inputs.prepare(self.engine, self.bases, self.dirs.cache, self.options.context, observer=self.observer)
            self.result.images.extend(prepared.bases)
            image_id = self.engine.build(
                self.options.context,
                build_args=prepared.build_args,
                # The label differs in each run, so that no other image has this id.
                labels={labels.DEMO: self.run.id},
                extra=prepared.extra,
                observer=self.observer,
            )
            friendly = self.engine.image(FRIENDLY)
            if friendly is not None and labels.DEMO not in friendly.labels:
                self._look_first(image_id)
            with self._names_lock():
                self.friendly_borrowed = True
                tag_backup.borrow(self.engine, self.run.id, FRIENDLY, image_id)
                bases = [base.id for base in prepared.bases]
                self.result.build_cache = layers.BUILD_CACHE if layers.tag_cache(self.engine, self.run, image_id, bases) else None
            self.result.image_id = image_id
            step.detail = (
                f"{image_id.removeprefix('sha256:')[:12]} on {', '.join(f'{base.name} ({base.source})' for base in prepared.bases)}"
            )
        return image_id

    def _reference(self, registry: LocalRegistry) -> Reference:
        """The image's full name. Raises UsageError for one that is not in this registry."""
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
            if self._is_taken(reference):
                self._look_first(image_id)
            with self._names_lock():
                earlier = tag_backup.borrow(self.engine, self.run.id, target, image_id)
            step.detail = target
            earlier = self.engine.image(earlier.id) if earlier is not None else None
            if earlier is not None and not earlier.names:
                orphans.remove_image(self.engine, earlier.id)
        return target

    def _is_taken(self, reference: Reference) -> bool:
        """Whether the engine or the registry has something under this name, as far as is known."""
        if self.engine.image(str(reference)) is not None:
            return True
        try:
            page = get_page(f"http://{reference.host}/v2/{reference.path}/tags/list", timeout=REGISTRY_TIMEOUT)
            return page.status != 404 and reference.tag in (json.loads(page.body).get("tags") or ())
        except (NoResponse, ValueError, AttributeError, TypeError):
            return True

    def _look_first(self, image_id: str) -> None:
        """See the page of the image that was built, once. Raises VerificationFailed."""
        if self.built is None:
            self.preview = Preview.start(self.engine, self.run, image_id)
            self.built = self.preview.page()

    def _end_preview(self) -> None:
        if self.preview is not None:
            self.preview.remove()

    def _push(self, target: str) -> Digest:
        with self.result.step("push", f"docker push {target}") as step:
            # The registry's client, which takes longer to import than most steps, is imported while the engine pushes.
            threading.Thread(target=import_module, args=("registry_tool.targets.registry",), daemon=True).start()
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
            step.detail = f"{moved.digest}; {layers.describe_transfer(moved, 'Pushed', 'pushed')}"
        return moved.digest

    def _remove(self, target: str, digest: Digest, image_id: str) -> None:
        by_digest = str(Reference.parse(target, default_host="").with_digest(digest))
        with self.result.step("remove", f"docker rmi {FRIENDLY} {target}") as step, ExitStack() as locks:
            if self.options.purge:
                locks.enter_context(self._base_lock(shared=False))
            with self._names_lock():
                tag_backup.give_back(self.engine, self.run.id, FRIENDLY)
                self.friendly_borrowed = False
            self.engine.remove_image(target, force=True, missing_ok=True)
            # The engine removes digest and id with the last name, unless something else uses them.
            left = self._present(target, by_digest, image_id)
            for name in left:
                self.engine.remove_image(name, force=True, missing_ok=True)
            step.detail = "gone: its name, its digest and its id"
            if self.options.purge:
                step.detail += f"; {layers.remove_base(self.engine, self.bases, self.result)}"
            if remaining := self._present(*left):
                raise VerificationFailed(
                    f"{remaining[0]} is still in the engine after it was removed",
                    hint="Something else uses the image of this demo: see regctl ps -a and regctl images.",
                )

    def _pull(self, target: str, pushed: Digest) -> None:
        with self.result.step("pull", f"docker pull {target}") as step:
            moved = self.engine.pull(target, observer=self.observer)
            image = self.engine.image(target)
            if image is None or moved.digest != pushed:
                raise VerificationFailed(
                    f"{pushed} was pushed, and {moved.digest} was pulled from {target}",
                    hint="Something else pushes to this name; run the demo again.",
                )
            self.result.image_id = image.id
            self.pulled = True
            step.detail = f"the same digest; {layers.describe_transfer(moved, 'Pull complete', 'pulled')}"
            if self.options.purge:
                step.detail += layers.describe_shared_layers(self.engine, image, moved)

    def _clean_up(self) -> None:
        if not (self.options.keep and self.pulled and self.result.kept):
            orphans.clear(self.engine, self.run.labels(labels.ROLE_DEMO))
        with self._names_lock():
            if self.friendly_borrowed:
                tag_backup.give_back(self.engine, self.run.id, FRIENDLY)
            if self.target and self.pulled:
                tag_backup.drop(self.engine, self.run.id, self.target)
            elif self.target:
                tag_backup.give_back(self.engine, self.run.id, self.target)
        if not self.pulled:
            for image in self.engine.images(labels={labels.DEMO: self.run.id}):
                for name in (*image.names, image.id):
                    orphans.remove_image(self.engine, name)

    def _base_lock(self, *, shared: bool) -> AbstractContextManager[None]:
        key = hashlib.sha256(self.engine.id.encode()).hexdigest()[:16]
        return files.lock(self.dirs.state / "demos" / f"base-{key}.lock", shared=shared)

    def _names_lock(self) -> AbstractContextManager[None]:
        """Held while tags are read and moved: concurrent demos share the name ``friendlyhello``."""
        return files.lock(self.dirs.state / "demos" / "names.lock")

    def _present(self, *names: str) -> list[str]:
        return [name for name in names if self.engine.image(name) is not None]
