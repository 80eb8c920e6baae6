"""The worker of a collection: a container of the registry's own image with its volume, in which everything is read and removed."""

from __future__ import annotations

import io
import tarfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from registry_tool.base.errors import EngineError, RegistryToolError
from registry_tool.base.runs import Run
from registry_tool.base.signals import defer_signals
from registry_tool.content.usage.manifests import StoredManifests
from registry_tool.content.usage.storage import RegistryStorage
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
_XARGS_INPUT = 16_000
"""Bytes of paths for one ``xargs``: busybox's may cut a path in two where its buffer of 30,700 bytes ends."""


class Worker:
    """A running container ``id`` with the registry's volume at :data:`STORAGE`."""

    def __init__(self, engine: Engine, id: str) -> None:
        self.engine = engine
        self.id = id
        self.reader = ContainerReader(engine, id, STORAGE)
        self._clock: tuple[int, float] | None = None
        """The engine's time when it was read, and this process's monotonic one then."""

    def run(self, script: str, *arguments: str) -> str:
        """Run a shell script in the volume's root; its output. Raises EngineError where it fails."""
        code, output = self.engine.execute(self.id, ["sh", "-c", f"cd {STORAGE} || exit\n{script}", "sh", *arguments])
        text = output.decode(errors="replace")
        if code != 0:
            last = " ".join(text.split())[-_LONGEST_OUTPUT:]
            raise EngineError(f"a step of the collection failed in its container (exit code {code}): {last}")
        return text

    def run_on(self, paths: Iterable[str], command: str, *, tolerant: bool = False) -> None:
        """Run ``command`` on ``paths``, many at a time. Raises EngineError where it fails.

        ``tolerant``: a failure is expected and means nothing, as that of ``rmdir`` for folders in which something is left.
        """
        # In the container's own file system, not in the volume, which may be full.
        name = f"registry-tool-{uuid.uuid4().hex}"
        # The shell takes them in the order of their names: what is inside of a folder may have to go before it.
        lists = {f"{name}-{number:09}": (content, 0o644) for number, content in enumerate(_xargs_inputs(paths))}
        if not lists:
            return
        self.engine.put_files(self.id, "/", lists)
        ending = "2>/dev/null || true" if tolerant else "|| { code=$?; break; }"
        # All of them by one command: each has a cost of its own.
        self.run(f"code=0; for each in /{name}-*; do xargs {command} < $each {ending}; done; rm -f /{name}-*; exit $code")

    def read(self) -> tuple[RegistryStorage, StoredManifests]:
        """List all files of the volume, and read tags and manifests. Raises EngineError where that is not complete."""
        return self.reader.read()

    def time(self) -> int:
        """The time on the engine's machine, in Unix seconds: that of the registry's files, which this machine's may not be."""
        if self._clock is None:
            self._clock = int(self.run("date +%s").split()[-1]), time.monotonic()
        seconds, read_at = self._clock
        return seconds + int(time.monotonic() - read_at)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files into the volume. Raises EngineError."""
        self._unpack(_files(files, self.time()))

    def overwrite(self, files: Mapping[str, bytes]) -> None:
        """Write into existing files of the volume, none of which is missing at any moment. Raises EngineError."""
        self._unpack(_files(files, self.time()), "--overwrite")

    def replace(self, path: str, content: bytes) -> None:
        """Write a file of the volume; killed meanwhile, the earlier one is there. Raises EngineError."""
        self.write({f"{path}.new": content})
        self.run('mv -f "$1.new" "$1"', path)

    def link(self, links: Mapping[str, str]) -> None:
        """Make hard links in the volume: new path -> existing file. Raises EngineError."""
        pairs = list(links.items())
        for first in range(0, len(pairs), LINKS_AT_ONCE):
            self._unpack(_archive((_hard_link(path, existing), b"") for path, existing in pairs[first : first + LINKS_AT_ONCE]))

    def _unpack(self, archive: bytes, *options: str) -> None:
        """Unpack a tar in the volume as the registry's user, who could not write again what is root's, as the engine's files are."""
        # In the container's own file system, not in the volume, which may be full.
        name = f"registry-tool-{uuid.uuid4().hex}"
        self.engine.put_files(self.id, "/", {name: (archive, 0o644)})
        self.run(f"tar -x -o {' '.join(options)} -f /{name}; code=$?; rm -f /{name} 2>/dev/null; exit $code")


def _xargs_inputs(paths: Iterable[str]) -> Iterator[bytes]:
    """The paths as lines, as many at a time as one ``xargs`` may get."""
    batch = bytearray()
    for path in paths:
        line = path.encode() + b"\n"
        if batch and len(batch) + len(line) > _XARGS_INPUT:
            yield bytes(batch)
            batch.clear()
        batch += line
    if batch:
        yield bytes(batch)


def _files(files: Mapping[str, bytes], modified: int) -> bytes:
    return _archive((_file(path, content, modified), content) for path, content in files.items())


def _file(path: str, content: bytes, modified: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size, member.mode, member.mtime = len(content), 0o644, modified
    return member


def _hard_link(path: str, existing: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.type, member.linkname, member.mode = tarfile.LNKTYPE, existing, 0o644
    return member


def _archive(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
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
            worker.run("command -v xargs && command -v find && command -v tar && command -v registry")
        except RegistryToolError as error:
            raise EngineError(
                f"the image {registry.container.image} cannot be used for a collection: {error.message}",
                hint="It needs a shell, find, tar, xargs and the program registry, as the official image has them.",
            ) from error
        yield worker
