"""Plain layers, compressed in blocks and uploaded while they are read; a few at a time, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType

from registry_tool.base import gzip_blocks
from registry_tool.base.errors import EngineError
from registry_tool.oci.digest import Digest
from registry_tool.targets.layer_cache import CompressedLayer
from registry_tool.targets.registry import Repository
from registry_tool.targets.target import Readable

UPLOADS = 2
"""Uploads at a time: the end of one goes on while the next layer is read."""
CHUNK = 5 << 20
"""Bytes that are sent at once, the least that storages on S3 want. Each upload holds two of them for a moment."""

_BLOCKS = 8
"""Blocks in memory, before and after compression."""
_LEAVE_TIMEOUT = 5.0
"""Seconds for uploads to be cancelled after a failure. What takes longer expires in the registry."""

_Block = Future[bytes]


class LayerUploads:
    """Uploads of plain layers to one repository, as a context manager: left by an exception, it cancels those under way.

    ``before_end`` is called with diff id and layer before the upload of each ends.
    """

    def __init__(self, repository: Repository, before_end: Callable[[str, CompressedLayer], None], *, threads: int | None = None) -> None:
        self._repository = repository
        self._before_end = before_end
        self._pool = ThreadPoolExecutor(max_workers=threads or gzip_blocks.threads())
        self._free_blocks = threading.Semaphore(_BLOCKS)
        self._free_uploads = threading.Semaphore(UPLOADS)
        self._failures: SimpleQueue[BaseException] = SimpleQueue()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> LayerUploads:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        for thread in self._threads if error is not None else ():
            thread.join(_LEAVE_TIMEOUT)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def add(
        self, content: Readable, size: int, *, expected: str | None = None, progress: Callable[[int], None]
    ) -> tuple[str, Future[CompressedLayer]]:
        """Read a layer of ``size`` bytes to its end; its diff id, and what its upload will come to.

        Raises EngineError where it is not the ``expected`` diff id, and its upload never ends; what ``content`` raises, and what the
        upload of any layer raised until now.
        """
        self._acquire(self._free_uploads)
        blocks: SimpleQueue[_Block | None] = SimpleQueue()
        diff_id: Future[tuple[str, bytes]] = Future()
        result: Future[CompressedLayer] = Future()
        upload = threading.Thread(target=self._upload, args=(blocks, diff_id, result, size), daemon=True)
        self._threads.append(upload)
        upload.start()
        plain, checksum = hashlib.sha256(), gzip_blocks.Checksum()
        try:
            done = 0
            for block in gzip_blocks.read_blocks(content.read, size, before=lambda: self._acquire(self._free_blocks)):
                done += len(block)
                blocks.put(self._pool.submit(gzip_blocks.deflate, block, is_last=done == size))
                plain.update(block)
                checksum.update(block)
                progress(done)
            digest = f"sha256:{plain.hexdigest()}"
            if expected is not None and digest != expected:
                raise EngineError(f"the engine has other content than {expected}", hint="Is its store damaged?")
            diff_id.set_result((digest, checksum.trailer()))
        finally:
            blocks.put(None)
            diff_id.cancel()
        return digest, result

    def _acquire(self, semaphore: threading.Semaphore) -> None:
        semaphore.acquire()
        if not self._failures.empty():
            raise self._failures.get()

    # --- in a thread for each upload ---

    def _upload(
        self, blocks: SimpleQueue[_Block | None], diff_id: Future[tuple[str, bytes]], result: Future[CompressedLayer], plain_size: int
    ) -> None:
        try:
            layer = self._send(blocks, diff_id, plain_size)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is waited for
            result.set_exception(error)
            if not self._stopped.is_set():
                self._failures.put(error)
                self._free_blocks.release()
        else:
            result.set_result(layer)
        finally:
            self._free_uploads.release()

    def _send(self, blocks: SimpleQueue[_Block | None], diff_id: Future[tuple[str, bytes]], plain_size: int) -> CompressedLayer:
        digest = hashlib.sha256()
        size = 0
        with self._repository.upload(chunk=CHUNK) as upload:
            pieces, length = [gzip_blocks.HEADER], len(gzip_blocks.HEADER)
            while (block := blocks.get()) is not None:
                piece = block.result()
                del block
                self._free_blocks.release()
                pieces.append(piece)
                length += len(piece)
                if length >= upload.chunk:
                    chunk = b"".join(pieces)
                    pieces, length = [], 0
                    digest.update(chunk)
                    size += len(chunk)
                    upload.write(chunk)
            plain, trailer = diff_id.result()
            pieces.append(trailer)
            last_chunk = b"".join(pieces)
            digest.update(last_chunk)
            layer = CompressedLayer(digest=Digest("sha256", digest.hexdigest()), size=size + len(last_chunk), plain_size=plain_size)
            # Before the end: whoever is killed right after it knows the layer then.
            self._before_end(plain, layer)
            upload.finish(layer.digest, last_chunk)
        return layer
