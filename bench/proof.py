"""``regctl verify`` from a ready clean engine to its certificate, against pull, start and one request typed on such an engine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.measure import REGCTL, Result, in_turn, progress, run, said
from registry_tool.base.dirs import app_dirs
from registry_tool.base.page_client import NoResponse, PageClient
from registry_tool.engine import connect
from registry_tool.oci.reference import Reference
from registry_tool.verify.environments.inner_engine import INNER, SOCKET, SOCKETS
from registry_tool.verify.environments.selection import open_environment

PORT = 4000
CLIENT = {"docker": "docker -H unix://{socket}", "podman": "podman --remote --url unix://{socket}"}
TYPED = """
set -eu
{client} pull -q {image} >/dev/null
{client} run -d -p {port}:80 {image} >/dev/null
"""


def proofs(runs: int) -> Iterator[Result]:
    """One row for each kind of clean engine: each run has an engine of its own, whose making and end do not count."""
    image = json.loads(said(*REGCTL, "demo", "--json"))["image"]["reference"]
    for kind in INNER:
        progress(f"verify on a clean {kind}: {2 * runs} engines")
        # Each engine is a new one; nothing gets warm.
        seconds = in_turn(runs, {"ours": partial(_proven, kind, image), "theirs": partial(_typed, kind, image)}, warm_up=False)
        yield Result(
            name=f"regctl verify on a clean {kind} / the same typed there",
            ours=seconds["ours"],
            theirs=seconds["theirs"],
            most=2.5,
            note="from an engine that is ready, to the certificate; typed: pull, run -d, one request",
        )


def _proven(kind: str, image: str) -> float:
    certificate = json.loads(said(*REGCTL, "verify", image, "--on", kind, "--http", f"{PORT}:80/", "--json"))
    return float(certificate["proven"][0]["seconds"]["proof"])


def _typed(kind: str, image: str) -> float:
    """By the engine's own client. Its socket is in a volume, where root reaches it."""
    with connect() as engine, open_environment(engine, kind, image=Reference.parse(image, default_host=""), dirs=app_dirs()) as environment:
        forwarder = next(one for one in engine.containers(labels=environment.labels()) if one.name.endswith("-forwarder"))
        volume = json.loads(said("docker", "volume", "inspect", forwarder.mounts[SOCKETS]))[0]["Mountpoint"]
        client = CLIENT[kind].format(socket=f"{volume}/{Path(SOCKET).name}")
        begun = time.monotonic()
        run(["sh", "-c", TYPED.format(client=client, image=image, port=PORT)])
        with closing(PageClient(lambda timeout: environment.connect(PORT, timeout=timeout))) as page:
            while not _answers(page):
                time.sleep(0.02)
        return time.monotonic() - begun


def _answers(page: PageClient) -> bool:
    try:
        return page.get("/", timeout=5).status == 200
    except NoResponse:
        return False
