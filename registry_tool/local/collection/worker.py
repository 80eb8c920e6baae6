"""The worker of a collection: a container of the registry's own image with its volume, in which everything is read and removed."""

from __future__ import annotations

import io
import posixpath
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from registry_tool.base.errors import EngineError, RegistryToolError
from registry_tool.base.runs import Run
from registry_tool.base.signals import defer_signals
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import OWN_FOLDER, RegistryStorage
from registry_tool.engine import ContainerSpec, Engine
from registry_tool.local.collection.subject import CollectedRegistry
from registry_tool.local.registry import recovery
from registry_tool.local.registry.spec import STORAGE
from registry_tool.local.storage_reader import ContainerReader

LINKS_AT_ONCE = 5_000
"""Hard links of one request: each takes up to two KiB of it."""
LEASE = ("cat",)
"""What the worker runs: it ends with its input, which the engine ends when nobody is attached to it."""
_LONGEST_OUTPUT = 300


class Worker:
    """A running container ``id`` with the registry's volume at :data:`STORAGE`."""

    def __init__(self, engine: Engine, id: str) -> None:
        self.engine = engine
        self.id = id
        self.reader = ContainerReader(engine, id, STORAGE)
        self._made: set[str] = set()

    def run(self, script: str, *arguments: str) -> str:
        """Run a shell script in the volume's root; its output. Raises EngineError where it fails."""
        code, output = self.engine.execute(self.id, ["sh", "-c", f"cd {STORAGE} || exit\n{script}", "sh", *arguments])
        text = output.decode(errors="replace")
        if code != 0:
            last = " ".join(text.split())[-_LONGEST_OUTPUT:]
            raise EngineError(f"a step of the collection failed in its container (exit code {code}): {last}")
        return text

    def run_on(self, paths: Iterable[str], command: str, *, tolerant: bool = False) -> None:
        """Run ``command`` on ``paths``, many at a time. Raises EngineError where it fails, unless ``tolerant``."""
        content = b"".join(path.encode() + b"\0" for path in paths)
        if not content:
            return
        # In the container's own file system, not in the volume, which may be full.
        name = f"registry-tool-{uuid.uuid4().hex}"
        self.engine.put_files(self.id, "/", {name: (content, 0o644)})
        discard, code = ("2>/dev/null", "0") if tolerant else ("", "$code")
        self.run(f"xargs -0 {command} < /{name} {discard}; code=$?; rm -f /{name}; exit {code}")

    def read(self) -> tuple[RegistryStorage, StoredManifests]:
        """List all files of the volume, and read tags and manifests. Raises EngineError where that is not complete."""
        return self.reader.read()

    def time(self) -> int:
        """The time on the engine's machine, in Unix seconds."""
        return int(self.run("date +%s").split()[-1])

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files into the volume."""
        self._make_folders(files)
        self.engine.put_files(self.id, STORAGE, {path: (content, 0o644) for path, content in files.items()})

    def link(self, links: Mapping[str, str]) -> None:
        """Make hard links in the volume: new path -> existing file. Raises EngineError."""
        pairs = list(links.items())
        for first in range(0, len(pairs), LINKS_AT_ONCE):
            chosen = pairs[first : first + LINKS_AT_ONCE]
            self._make_folders(path for path, _ in chosen)
            self.engine.put_archive(self.id, STORAGE, _links(chosen))

    def _make_folders(self, paths: Iterable[str]) -> None:
        """Make the folders of ``paths`` as the registry's user: the engine's would be root's, and the registry could not write there."""
        folders = {posixpath.dirname(path) for path in paths} - self._made
        self.run_on(sorted(folders), "mkdir -p")
        self._made |= folders & {OWN_FOLDER}  # no other one stays for certain


def _links(links: Iterable[tuple[str, str]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, existing in links:
            member = tarfile.TarInfo(path)
            member.type, member.linkname, member.mode = tarfile.LNKTYPE, existing, 0o644
            tar.addfile(member)
    return buffer.getvalue()


@contextmanager
def running_worker(engine: Engine, registry: CollectedRegistry, run: Run, *, read_only: bool = False) -> Iterator[Worker]:
    """A worker for the block, which ends with this process, however that ends; to be removed by :func:`recovery.bring_back`.

    Raises EngineError where the image has no shell.
    """
    spec = ContainerSpec(
        image=registry.container.image_id,
        name=f"registry-tool-collection-{run.id}",
        entrypoint=LEASE,
        labels=recovery.collection_labels(run, recovery.WORKER, registry.container, restart=registry.running and not read_only),
        binds=(f"{registry.volume}:{STORAGE}:{'ro' if read_only else 'rw'}",),
        user=registry.container.user or None,
        network="none",
        interactive=True,
    )
    with defer_signals():
        id = engine.create(spec).id
    # The engine ends its input, and so `cat` and all that runs in it, as soon as nobody is attached any more.
    with engine.attach(id, stdin=True):
        try:
            engine.start(id)
            worker = Worker(engine, id)
            worker.run("command -v xargs && command -v find && command -v registry")
        except RegistryToolError as error:
            raise EngineError(
                f"the image {registry.container.image} cannot be used for a collection: {error.message}",
                hint="It needs a shell, find, xargs and the program registry, as the official image has them.",
            ) from error
        yield worker
