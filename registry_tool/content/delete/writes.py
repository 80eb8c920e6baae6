"""The writes of a deletion. A registry's 202, or its 404, is believed once the thing is gone: after each write it is looked for."""

from __future__ import annotations

import io
import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from registry_tool.base.concurrency import map_unordered
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import NotFound, RegistryError, RegistryToolError
from registry_tool.content.delete import advice
from registry_tool.content.delete.plan import Removal
from registry_tool.content.delete.snapshot import Deletable
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import EMPTY, EMPTY_CONTENT, Manifest

PATIENCE = 3.0
"""Seconds for a registry to do what it has accepted: some answer before they have done it."""


class Writer:
    """Deletes in ``repository``, whose full name is ``name``, and looks (HEAD) whether that had an effect.

    ``manifests`` are those that were read, to put one back under its tag where only its replacement was accepted.
    """

    def __init__(self, repository: Deletable, name: str, manifests: Mapping[Digest, Manifest]) -> None:
        self._repository = repository
        self._name = name
        self._manifests = manifests

    def delete(self, descriptor: Descriptor, *, tags: Iterable[str] = (), subject: Descriptor | None = None) -> None:
        """Delete a manifest with its ``tags``. Raises RegistryError where it, or a tag on it, is still there."""
        answer = "accepted it"
        try:
            self._repository.delete(descriptor, subject=subject)
        except NotFound as error:
            answer = f"answered: {error.message}"
        self._require_gone(dict.fromkeys([str(descriptor.digest), *tags], (descriptor.digest,)), answer)

    def untag(self, tag: str, removal: Removal | None = None) -> None:
        """Remove ``tag`` alone, by a tombstone if need be: if an interruption leaves that, the next deletion finishes it.

        ``removal`` None: it is not known what it stands for. Raises RegistryError where the tag is still there, or a
        sibling is gone with it.
        """
        if self._repository.can_untag():
            answer = "accepted it"
            try:
                self._repository.untag(tag)
            except NotFound as error:
                answer = f"answered: {error.message}"
            self._require_gone({tag: {removal.digest} if removal is not None else None}, answer)
        else:
            self._replace(tag, removal)
        if removal is not None:
            self._require_siblings(tag, removal)

    def _replace(self, tag: str, removal: Removal | None) -> None:
        original = self._manifests.get(removal.digest) if removal is not None else None
        tombstone = self._push_tombstone(tag, original)
        try:
            with suppress(NotFound):
                self._repository.delete(tombstone.descriptor)
            self._require_gone({tag: {removal.digest, tombstone.digest} if removal is not None else None}, "accepted it")
        except RegistryError as error:
            if original is not None and self._put_back(tag, original, tombstone):
                error.message += "; the tag is at its image again"
            raise

    def _push_tombstone(self, tag: str, original: Manifest | None) -> Manifest:
        if original is not None:
            tombstone = manifests.tombstone(tag, unique=uuid.uuid4().hex, replaced=original)
            try:
                self._repository.push_manifest(tombstone, tag)
            except (NotFound, RegistryError) as error:
                # Its config may be gone, or its type one that can only be read.
                if error.response is None or error.response.status not in (400, 404, 415, 422):
                    raise
            else:
                return tombstone
        if not self._repository.exists(EMPTY):
            self._repository.push(EMPTY, io.BytesIO(EMPTY_CONTENT))
        tombstone = manifests.tombstone(tag, unique=uuid.uuid4().hex)
        self._repository.push_manifest(tombstone, tag)
        return tombstone

    def _put_back(self, tag: str, original: Manifest, tombstone: Manifest) -> bool:
        """Point ``tag`` at ``original`` again if it is at ``tombstone``; whether that was done."""
        try:
            if self._repository.resolve(tag).digest != tombstone.digest:
                return False
            self._repository.push_manifest(original, tag)
        except RegistryToolError:
            # The failure that led here is raised.
            return False
        return True

    # --- looking ---

    def _require_gone(self, references: Mapping[str, Collection[Digest] | None], answer: str) -> None:
        """Each reference must not lead to one of its digests any more, or (None) to anything."""
        left = list(references)

        def remaining() -> bool:
            looked = map_unordered(lambda reference: self._leads_to(reference, references[reference]), left)
            left[:] = sorted(reference for reference, is_there in looked if is_there)
            return not left

        if not poll(remaining, Deadline(PATIENCE), pause=0.5):
            names = ", ".join(f"{self._name}{'@' if ':' in reference else ':'}{reference}" for reference in left)
            verb = "is" if len(left) == 1 else "are"
            raise RegistryError(
                f"not deleted: {names} {verb} still there, though the registry {answer}", hint=advice.ineffective(self._name)
            )

    def _leads_to(self, reference: str, digests: Collection[Digest] | None) -> bool:
        try:
            with self._repository.limiter:
                digest = self._repository.resolve(reference).digest
                return digests is None or digest in digests
        except NotFound:
            return False
        except RegistryError as error:
            what = f"{self._name}{'@' if ':' in reference else ':'}{reference}"
            failure = RegistryError(f"whether {what} was deleted is not known: {error.message}", hint=error.hint)
            failure.response = error.response
            raise failure from error

    def _require_siblings(self, tag: str, removal: Removal) -> None:
        """What should lose one tag must not have lost all of them, nor be gone where something that stays needs it."""
        digests = (removal.digest,)
        if removal.siblings:
            if self._leads_to(removal.siblings[0], digests):
                return
            what = f", and with it {', '.join(removal.siblings)}"
            hint = "This registry cannot remove one of several tags. Push the image again, under the tags that should stay."
        elif removal.indexes or removal.referrers:
            what = ", which others need: " + ", ".join(str(each.digest) for each in (*removal.indexes, *removal.referrers))
            hint = "This registry deletes an image with its last tag. Push the image again, under another tag."
        else:
            return
        if not self._leads_to(str(removal.digest), digests):
            raise RegistryError(f"with the tag {tag} the registry has deleted {self._name}@{removal.digest}{what}", hint=hint)
