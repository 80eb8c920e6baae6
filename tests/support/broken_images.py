"""Images that run where they were made and nowhere else, and others that do harm: each a few files on the Python base image.

They are pushed byte by byte, nothing is built: the base image's layers once for each registry, each image's own in no time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import re
import struct
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from registry_tool.engine import ContainerSpec, Engine
from registry_tool.engine.values import Container
from registry_tool.oci.digest import Digest
from tests.support.content import CREATED, DOCKER_IMAGE, make_blob, put_manifest, sha256

REPOSITORY = "broken/app"
OURS = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
OTHERS = {"amd64": "arm64", "arm64": "amd64"}[OURS]
_MACHINE = {"amd64": 62, "arm64": 183}
"""e_machine of the ELF specification."""
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_NOT_NEEDED = re.compile(
    r"(?:^|/)(?:dist-packages|site-packages|share|var|gconv|perl-base|ensurepip|pydoc_data|lib2to3|idlelib|tkinter|test)/"
    r"|/(?:perl[^/]*|openssl|ldconfig|tar|lib(?:crypto|ssl|db-|sqlite3|krb5|gssapi|mvec|sepol|zstd|perl)[^/]*)$"
)

SERVER = """\
import http.server, os, signal, sys

def end(*_):
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
asked = 0

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global asked
        asked += 1
        text = page(asked, self.path).encode()
        self.send_response(200 if self.path != "/gone" else 410)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        return

def page(asked, path):
    return '{"greeting": "Hello World!", "visits": [' + str(asked) + ']}' if path == "/json" else "Hello World!"

def serve(port=80, host="0.0.0.0"):
    print("serving", flush=True)
    http.server.HTTPServer((host, port), Page).serve_forever()

"""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """``plain`` is the tar's digest before compression."""

    content: bytes = field(repr=False)
    plain: str


@dataclass(frozen=True, kw_only=True)
class Base:
    """What programs run on: the Python image's layers and variables, and one library that Python cannot do without."""

    layers: tuple[Layer, ...]
    environment: tuple[str, ...]
    python: str
    library: str


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """An image in a registry. ``size`` is of its manifest, in bytes."""

    name: str
    digest: Digest
    size: int
    own: bytes = field(repr=False)
    """Its own layer."""


def python_base(engine: Engine, name: str) -> Base:
    """Take the image ``name`` out of the engine, and look at what it needs."""
    with tempfile.TemporaryFile() as saved:
        engine.save_image([name], saved)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as archive:
            [image] = json.loads(_member(archive, "manifest.json"))
            layers = tuple(_packed(_slim(_member(archive, layer))) for layer in image["Layers"])
            config = json.loads(_member(archive, image["Config"]))["config"]
    script = "import re, sys; print(sys.executable); print(*{l.split()[-1] for l in open('/proc/self/maps') if '.so' in l})"
    python, libraries = _output(engine, ContainerSpec(image=name, entrypoint=("python3",), command=("-c", script))).splitlines()
    # Of what Python itself is linked with, something that nothing else here needs.
    linked = [path for path in libraries.split() if any(part in path for part in ("libpython", "libexpat", "libz."))]
    return Base(layers=layers, environment=tuple(config["Env"]), python=python, library=linked[0])


def push(
    port: int,
    tag: str,
    base: Base | None,
    files: Mapping[str, bytes | str | None],
    *,
    repository: str = REPOSITORY,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    expose: Sequence[int] = (),
    user: str = "",
    architecture: str = OURS,
    stop_signal: str = "",
    healthcheck: Sequence[str] = (),
) -> Pushed:
    """An image of ``files`` (path -> content, executable; None takes one away) on ``base``."""
    own = _packed(_tar(files))
    layers = (*(base.layers if base else ()), own)
    config = json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "created": CREATED,  # podman gives another date to an image without, each time
            "config": {
                "Env": list(base.environment) if base else ["PATH=/"],
                "Entrypoint": list(entrypoint) or None,
                "Cmd": list(command) or None,
                "ExposedPorts": {f"{exposed}/tcp": {} for exposed in expose},
                "User": user,
                "StopSignal": stop_signal,
                **({"Healthcheck": {"Test": list(healthcheck)}} if healthcheck else {}),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.plain for layer in layers]},
        }
    ).encode()
    for blob in (config, *(layer.content for layer in layers)):
        make_blob(port, repository, blob)
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_IMAGE,
            "config": {"mediaType": _CONFIG_TYPE, "digest": sha256(config), "size": len(config)},
            "layers": [{"mediaType": _LAYER_TYPE, "digest": sha256(one.content), "size": len(one.content)} for one in layers],
        }
    ).encode()
    put_manifest(port, repository, tag, raw, DOCKER_IMAGE)
    return Pushed(name=f"localhost:{port}/{repository}:{tag}", digest=Digest.of(raw), size=len(raw), own=own.content)


def push_program(port: int, tag: str, base: Base, program: str, *, expose: Sequence[int] = (80,), **more: Any) -> Pushed:
    """An image whose program is ``program``, after :data:`SERVER`."""
    files = {"app.py": SERVER + program}
    return push(port, tag, base, files, command=("python3", "/app.py"), expose=expose, **more)


def other_machine() -> bytes:
    """The beginning of a program for another processor: all that is looked at."""
    kind = struct.pack("<HHIQQQIHHHHHH", 2, _MACHINE[OTHERS], 1, 0x400078, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    part = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 120, 120, 4096)
    return b"\x7fELF\x02\x01\x01" + bytes(9) + kind + part


def _output(engine: Engine, spec: ContainerSpec) -> str:
    container: Container = engine.run(spec)
    try:
        assert engine.wait(container.id, timeout=600) == 0
        return b"".join(chunk for _, chunk in engine.logs(container.id)).decode()
    finally:
        engine.remove(container.id, force=True)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    assert stream is not None
    return stream.read()


def _slim(plain: bytes) -> bytes:
    """A layer without what no program here needs: it is pulled dozens of times."""
    slim = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(plain)) as source, tarfile.open(fileobj=slim, mode="w") as target:
        for member in source:
            if not _NOT_NEEDED.search(member.name) and not (member.islnk() and _NOT_NEEDED.search(member.linkname)):
                target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return slim.getvalue()


def _packed(plain: bytes) -> Layer:
    return Layer(content=gzip.compress(plain, compresslevel=1, mtime=0), plain=f"sha256:{hashlib.sha256(plain).hexdigest()}")


def _tar(files: Mapping[str, bytes | str | None]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path, content in files.items():
            folder, slash, name = path.lstrip("/").rpartition("/")
            whole = content.encode() if isinstance(content, str) else content or b""
            entry = tarfile.TarInfo(f"{folder}{slash}{'.wh.' if content is None else ''}{name}")
            entry.size, entry.mode = len(whole), 0o755
            archive.addfile(entry, io.BytesIO(whole))
    return plain.getvalue()
