"""The engine's images: inspect, list, tag, remove, import, save, load."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from registry_tool.base.errors import Conflict, EngineError, NotFound
from registry_tool.engine import image_names
from registry_tool.engine.streams import event_error
from registry_tool.engine.values import Image, RemovedImage
from registry_tool.oci.descriptor import Platform

if TYPE_CHECKING:
    from registry_tool.engine.client import EngineClient

_NO_NAME = "<none>"
_TRIES = 5


class Images:
    """The engine's images. A part of :class:`~registry_tool.engine.engine.Engine`."""

    _client: EngineClient

    def image(self, name: str) -> Image | None:
        """The image of that name, digest or id; None where there is none."""
        for candidate in image_names.candidates(name) if self._client.api.is_podman else (name,):
            try:
                with self._client.call(f"looking for the image {name}") as api:
                    image = _of_inspection(api.inspect_image(candidate))  # type: ignore[no-untyped-call]
            except NotFound:
                continue
            if not self._client.api.is_podman or image_names.is_meant(candidate, image.id):
                return image
        return None

    def images(
        self, *, all: bool = False, labels: Mapping[str, str] | Iterable[str] = (), filters: Mapping[str, Sequence[str]] = {}
    ) -> tuple[Image, ...]:
        """Images with these labels (empty: any value), newest first, without layers and platform; ``all`` with intermediate ones."""
        wanted = merged_filters(labels, filters)
        for _ in range(_TRIES - 1):
            with suppress(NotFound):  # containerd's store: an image is removed meanwhile
                return self._listed(all, wanted)
        return self._listed(all, wanted)

    def _listed(self, all: bool, filters: Mapping[str, Any]) -> tuple[Image, ...]:
        with self._client.call("listing the images") as api:
            return tuple(_of_listing(entry) for entry in api.images(all=all, filters=filters))

    def missing_platforms(self, name: str) -> tuple[Platform, ...]:
        """Platforms of the image ``name`` that the engine knows from its index and does not have. Raises NotFound."""
        with self._client.call(f"looking for the platforms of {name}") as api:
            manifests = api.image_manifests(name)
        platforms = (
            (item.get("Descriptor") or {}).get("platform")
            for item in manifests
            if item.get("Kind") == "image" and not item.get("Available")
        )
        return tuple(
            Platform(os=str(item.get("os", "")), architecture=str(item.get("architecture", "")), variant=str(item.get("variant") or ""))
            for item in platforms
            if isinstance(item, Mapping)
        )

    def history_sizes(self, name: str) -> tuple[int, ...]:
        """Bytes that each step of the build of ``name`` added, the last step first. Raises NotFound."""
        stored = image_names.stored_name(self._client, name)
        with self._client.call(f"looking for the history of {name}") as api:
            return tuple(int(step.get("Size") or 0) for step in api.history(stored))  # type: ignore[no-untyped-call]

    def tag(self, image: str, name: str) -> None:
        """Tag ``image`` as ``name``. Raises NotFound."""
        repository, tag = self._new_name(name)
        stored = image_names.stored_name(self._client, image)
        with self._client.call(f"tagging {image}") as api:
            api.tag(stored, repository, tag)

    def remove_image(self, name: str, *, force: bool = False, missing_ok: bool = False) -> RemovedImage:
        """Untag ``name``; the image goes with its last name. Raises NotFound unless ``missing_ok``; Conflict (a container uses it)."""
        parents = self._parents(name)
        stored = image_names.stored_name(self._client, name)
        events: Any = ()
        with self._client.call(f"removing {name}", missing_ok=missing_ok) as api:
            events = api.remove_image(stored, force=force) or ()
        if parents:
            self._remove_parents(parents)
        return RemovedImage(
            untagged=tuple(image_names.familiar(event["Untagged"]) for event in events if event.get("Untagged")),
            deleted=tuple(_with_algorithm(event["Deleted"]) for event in events if event.get("Deleted")),
        )

    def _new_name(self, name: str) -> tuple[str, str]:
        """Repository and tag of a name to give."""
        return split_tag(image_names.new_name(name, podman=self._client.api.is_podman))

    def _parents(self, name: str) -> list[str]:
        """Ids of an image in containerd's store, and of those without a name that the classic builder made before it, newest first."""
        ids: list[str] = []
        image = self.image(name)
        if image is None or not image.in_containerd_store:
            return []
        while image is not None and image.id not in ids and (not ids or image.is_nameless):
            ids.append(image.id)
            image = self.image(image.parent) if image.parent else None
        return ids if len(ids) > 1 else []

    def _remove_parents(self, ids: Sequence[str]) -> None:
        """Remove what only the first of ``ids`` needed: containerd's store forgets such images where two shared some of them."""
        removed, *parents = ids
        if self.image(removed) is not None:
            return
        listed = (self.image(image.id) for image in self.images(all=True))
        needed = {image.parent for image in listed if image is not None and image.id not in parents}
        for parent in parents:
            image = self.image(parent)
            if parent in needed or (image is not None and not image.is_nameless):
                return
            with suppress(Conflict), self._client.call(f"removing {parent}", missing_ok=True) as api:
                api.remove_image(parent)

    def import_image(self, tar: Path, *, name: str, changes: Sequence[str] = ()) -> str:
        """Import the root file system ``tar``, with Dockerfile instructions; returns its id. Raises NotFound (no file), EngineError."""
        if not tar.is_file():
            raise NotFound(f"no such file: {tar}")
        repository, tag = self._new_name(name)
        before = self.image(name)
        try:
            with self._client.call(f"the import of {name}") as api:
                output: str = api.import_image_from_file(str(tar), repository, tag, list(changes) or None)
            events = [json.loads(line) for line in output.splitlines() if line.strip()]
            _raise_errors(events)
        except EngineError:
            # containerd's store has the image before it unpacks its layer.
            unusable = self.image(name)
            if unusable is not None and (before is None or before.id != unusable.id):
                self.remove_image(name, force=True, missing_ok=True)
            raise
        imported = self.image(name)
        if imported is None and events and (image_id := str(events[-1].get("id") or events[-1].get("status") or "")):
            # podman 4 tags it "latest", whatever the tag.
            self.tag(image_id, name)
            imported, latest = self.image(name), self.image(f"{repository}:latest")
            if imported is not None and latest is not None and latest.id == imported.id:
                self.remove_image(f"{repository}:latest", missing_ok=True)
        if imported is None:
            raise EngineError(f"the engine imported {name} and does not have it")
        return imported.id

    def save_image(self, names: Sequence[str], target: BinaryIO) -> None:
        """Write the images ``names`` as one tar to ``target``. Raises NotFound; OSError where ``target`` cannot be written to."""
        target.writelines(self.image_archive(names))

    def image_archive(self, names: Sequence[str]) -> Generator[bytes, None, None]:
        """The same tar in chunks. Closing it makes the engine stop."""
        stored = [image_names.stored_name(self._client, name) for name in names]
        return self._client.stream(f"the saving of {', '.join(names)}", lambda api: api.save(stored))

    def load_image(self, source: BinaryIO) -> tuple[str, ...]:
        """Load a tar of ``docker save``; returns the images' names, or their ids where they have none. Raises EngineError."""
        events: list[Any] = list(self._client.stream("the loading of images", lambda api: api.load(source)))
        _raise_errors(events)
        text = "".join(str(event.get("stream", "")) for event in events)
        # Podman names all of them in one line, and "localhost/NAME" where the tar has no host.
        lines = re.findall(r"^Loaded image(?: ID)?: (\S+)", text, re.MULTILINE)
        return tuple(image_names.familiar(name) for line in lines for name in line.split(","))


def split_tag(name: str) -> tuple[str, str]:
    """``REPOSITORY`` and ``TAG`` of a name, ``latest`` where it has none."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def label_filter(labels: Mapping[str, str] | Iterable[str]) -> dict[str, Any]:
    """``labels`` as the engine's filter."""
    if isinstance(labels, Mapping):
        labels = [f"{key}={value}" if value else key for key, value in labels.items()]
    wanted = list(labels)
    return {"label": wanted} if wanted else {}


def merged_filters(labels: Mapping[str, str] | Iterable[str], filters: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """``labels`` and further filters (Engine API, ``filters``) together."""
    merged = {key: list(values) for key, values in filters.items()}
    wanted = label_filter(labels).get("label", [])
    return merged | ({"label": [*merged.get("label", []), *wanted]} if wanted else {})


def rfc3339(seconds: object) -> str:
    """The Unix time of a listing as RFC 3339 in UTC, as inspections have it; empty where it is none, or out of range."""
    if not isinstance(seconds, int | float):
        return ""
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    # A listing spells what is not there "<none>:<none>"; an inspection leaves it out. containerd's store has digests among the tags.
    names = (name for name in entry.get("RepoTags") or () if not name.startswith(_NO_NAME) and "@" not in name)
    return tuple(map(image_names.familiar, names))


def _digests(entry: Mapping[str, Any]) -> tuple[str, ...]:
    among_tags = (name for name in entry.get("RepoTags") or () if "@" in name)
    digests = (name for name in (*(entry.get("RepoDigests") or ()), *among_tags) if not name.startswith(_NO_NAME))
    return tuple(dict.fromkeys(map(image_names.familiar, digests)))


def _with_algorithm(id: str) -> str:
    # podman's interface leaves it out here
    return id if ":" in id else f"sha256:{id}"


def _raise_errors(events: Iterable[Mapping[str, Any]]) -> None:
    for event in events:
        if error := event_error(event):
            raise EngineError(error)


def _of_inspection(entry: Mapping[str, Any]) -> Image:
    config = entry.get("Config") or {}
    driver = entry.get("GraphDriver") or {}
    return Image(
        id=entry["Id"],
        names=_names(entry),
        digests=_digests(entry),
        parent=entry.get("Parent") or "",
        created=entry.get("Created") or "",
        size=entry.get("Size") or 0,
        labels=config.get("Labels") or {},
        layers=tuple((entry.get("RootFS") or {}).get("Layers") or ()),
        platform=Platform(os=entry.get("Os") or "", architecture=entry.get("Architecture") or "", variant=entry.get("Variant") or ""),
        exposed=tuple(sorted(config.get("ExposedPorts") or ())),
        in_containerd_store="Descriptor" in entry or any(digest.endswith(f"@{entry['Id']}") for digest in _digests(entry)),
        layer_folder=str((driver.get("Data") or {}).get("UpperDir") or "") if driver.get("Name") == "overlay2" else "",
    )


def _of_listing(entry: Mapping[str, Any]) -> Image:
    return Image(
        id=entry["Id"],
        names=_names(entry),
        digests=_digests(entry),
        parent=entry.get("ParentId") or "",
        created=rfc3339(entry.get("Created")),
        size=entry.get("Size") or 0,
        labels=entry.get("Labels") or {},
    )
