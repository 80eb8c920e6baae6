"""Images as docker's classic store keeps them in files (overlay2, tar-split)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from registry_tool.engine import Image
from tests.support.content import sha256
from tests.support.saved_images import SavedImage

SEGMENT, FILE = 700, 1500
"""Bytes of the stream between files, and of each file."""


def store(root: Path, saved: SavedImage) -> Image:
    """Write the files of an image below ``root``, and return it as the engine lists it."""
    (configs := root / "image" / "overlay2" / "imagedb" / "content" / "sha256").mkdir(parents=True, exist_ok=True)
    (configs / saved.image.id.removeprefix("sha256:")).write_bytes(saved.config)
    folder, chain = root / "overlay2" / "none" / "diff", ""
    for layer in saved.layers:
        chain = sha256(f"{chain} {sha256(layer)}".encode()) if chain else sha256(layer)
        folder = store_layer(root, chain, layer)
    return replace(saved.image, layer_folder=str(folder))


def store_layer(root: Path, chain_id: str, content: bytes) -> Path:
    """Write the files of a layer, of which every second part is one; returns their folder."""
    metadata = root / "image" / "overlay2" / "layerdb" / "sha256" / chain_id.removeprefix("sha256:")
    metadata.mkdir(parents=True, exist_ok=True)
    cache_id = hashlib.sha256(chain_id.encode()).hexdigest()
    (metadata / "cache-id").write_text(cache_id)
    folder = root / "overlay2" / cache_id / "diff"
    folder.mkdir(parents=True, exist_ok=True)
    # A folder has an entry without a size.
    entries: list[dict[str, Any]] = [{"type": 1, "name": "a/", "payload": None}]
    for number, at in enumerate(range(0, len(content), SEGMENT + FILE)):
        entries.append({"type": 2, "payload": base64.b64encode(content[at : at + SEGMENT]).decode()})
        if part := content[at + SEGMENT : at + SEGMENT + FILE]:
            name = f"./a/{number % 3}/{number}" if number else "first"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(part)
            entries.append({"type": 1, "name": name, "size": len(part), "payload": "AAAAAAAAAAA="})
    write_entries(metadata / "tar-split.json.gz", entries)
    return folder


def write_entries(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write the entries of tar-split."""
    lines = (json.dumps({**entry, "position": number}) for number, entry in enumerate(entries))
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
