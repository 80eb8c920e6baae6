"""One repository of a registry: a place of content (:class:`registry_tool.targets.target.Target`) over HTTP.

OCI distribution specification 1.1, "Pull", "Push", "Content Discovery", "Content Management".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from registry_tool.base.errors import Mismatch, NotFound, RegistryError
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import ACCEPT, IMAGES, INDEXES, SCHEMA_1, Manifest
from registry_tool.targets.registry import referrers, uploads
from registry_tool.targets.registry.blobs import Presence, Resumed, look_at_end
from registry_tool.targets.registry.capabilities import Capabilities, manifest_path
from registry_tool.targets.registry.uploads import Upload
from registry_tool.targets.target import Readable, verified
from registry_tool.transport import Transport
from registry_tool.transport.responses import Response

_ACCEPT: Mapping[str, str] = {"Accept": ACCEPT}
_MANIFESTS = frozenset((*IMAGES, *INDEXES, *SCHEMA_1))


class Repository:
    """``path`` is its name in the registry, ``john/get-started``. Threads may share it.

    Whatever asks raises what :class:`registry_tool.transport.Transport` does.
    """

    def __init__(self, transport: Transport, path: str, capabilities: Capabilities | None = None) -> None:
        self.host = transport.host
        self.path = path
        self._transport = transport
        self._capabilities = capabilities or Capabilities(transport)

    @property
    def name(self) -> str:
        """``HOST/PATH``."""
        return f"{self.host}/{self.path}"

    @property
    def rate_limit_remaining(self) -> int | None:
        """How many requests the registry will still answer, as it said last; None where it does not count them."""
        return self._transport.rate_limit_remaining

    # --- tags and manifests ---

    def tags(self) -> tuple[str, ...]:
        """The tags as the registry orders them. NotFound where the registry knows no such repository.

        A repository whose last tag was deleted is there, and has none.
        """
        tags: dict[str, None] = {}
        for answer in self._transport.pages(f"/v2/{self.path}/tags/list"):
            tags.update(dict.fromkeys(names_in(self.host, answer, "tags")))
        return tuple(tags)

    def head(self, reference: str) -> Descriptor:
        """What a tag or digest stands for now, from one small request; its content is asked for where that does not say."""
        answer = self._transport.head(manifest_path(self.path, reference), headers=_ACCEPT)
        digest, length = _said_digest(answer), answer.headers.get("content-length", "")
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if digest is None or media_type not in (*IMAGES, *INDEXES) or not (length.isascii() and length.isdigit()):
            return self.manifest(reference).descriptor
        asked = _digest(reference)
        if asked is not None and asked.algorithm == digest.algorithm and asked != digest:
            raise self._mismatch(answer, f"{digest} instead of {asked}")
        return Descriptor(media_type=media_type, digest=asked or digest, size=int(length[:18]))

    def resolve(self, reference: str) -> Descriptor:
        """As :meth:`head`."""
        return self.head(reference)

    def manifest(self, reference: str | Digest) -> Manifest:
        """The exact bytes, whose digest is what was asked for and what the registry says it is. NotFound, Mismatch, InvalidManifest."""
        reference = str(reference)
        answer = self._transport.get(manifest_path(self.path, reference), headers=_ACCEPT, limit=manifests.MAX_SIZE)
        asked, said = _digest(reference), _said_digest(answer)
        for wanted in (asked, said):
            if wanted is not None and Digest.of(answer.body, wanted.algorithm) != wanted:
                raise self._mismatch(answer, f"other bytes than those of {wanted}")
        algorithm = (asked or said or Digest.of(b"")).algorithm
        return manifests.parse(answer.body, answer.headers.get("content-type"), algorithm=algorithm)

    def push_manifest(self, manifest: Manifest, tag: str | None) -> Descriptor:
        """Put ``manifest`` there, byte for byte; ``tag`` then stands for it.

        Where it has a subject, and the registry keeps no list of referrers, it is put into the tag scheme's.
        """
        answer = self._transport.send(
            "PUT",
            manifest_path(self.path, tag or str(manifest.digest)),
            headers={"Content-Type": manifest.descriptor.media_type},
            body=manifest.raw,
        )
        uploads.check_digest(self.host, answer, manifest.digest)
        if manifest.subject is not None and "oci-subject" not in answer.headers:
            referrers.add_by_tag(self, manifest.subject.digest, manifest.referrer)
        return manifest.descriptor

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        """Delete a manifest by its digest, and with it every tag that stands for it. NotFound where it is not there.

        ``subject`` is what it refers to: it is taken out of that one's list, where the registry keeps none itself. That
        comes first: ended between the two, the list names nothing that is not there, and this can be done again.
        """
        if subject is not None and not self._lists_referrers(subject.digest):
            referrers.remove_by_tag(self, subject.digest, descriptor.digest)
        self._transport.send("DELETE", manifest_path(self.path, str(descriptor.digest)))

    def untag(self, tag: str) -> None:
        """Delete a tag alone; a RegistryError where the registry has nothing for that (:meth:`can_untag`). NotFound."""
        if _digest(tag) is not None:
            raise ValueError(f"not a tag: {tag}")
        if not self.can_untag():
            raise RegistryError(f"{self.host} cannot delete a tag alone", hint="Deletion may be off, or by digest only.")
        self._transport.send("DELETE", manifest_path(self.path, tag))

    def can_delete(self) -> bool:
        """Whether manifests may be deleted here: not where deletion is off, or the registry read-only. Found out once."""
        return self._capabilities.can_delete(self.path)

    def can_untag(self) -> bool:
        """Whether a tag may be deleted alone. Found out once; registry:2 cannot."""
        return self._capabilities.can_untag(self.path)

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """What has it as its subject, with artifact types and annotations, from the registry's list or the tag scheme's."""
        listed = self._referrers(descriptor.digest)
        return referrers.by_tag(self, descriptor.digest) if listed is None else listed

    # --- blobs ---

    @contextmanager
    def fetch(self, descriptor: Descriptor, *, offset: int = 0) -> Iterator[Readable]:
        """Content from ``offset`` on, checked as it is read, and taken up again where it breaks off. NotFound, Mismatch.

        BrokenOff where it breaks off at one point again and again: :meth:`last_byte` tells whether there is more of it.
        """
        path, headers = self._content(descriptor)
        source = Resumed(self._transport, path, size=descriptor.size, offset=offset, headers=headers)
        with verified(source, descriptor, offset=offset) as content:
            yield content

    def exists(self, descriptor: Descriptor) -> bool:
        """Whether the registry says that it is there. It may say so of what is gone: see :meth:`last_byte`."""
        path, headers = self._content(descriptor)
        try:
            self._transport.head(path, headers=headers)
        except NotFound:
            return False
        return True

    def said_size(self, descriptor: Descriptor) -> int | None:
        """Bytes that the registry says it has, None where it does not say or has none. As much to be believed as :meth:`exists`."""
        path, headers = self._content(descriptor)
        try:
            length = self._transport.head(path, headers=headers).headers.get("content-length", "")
        except NotFound:
            return None
        return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None

    def last_byte(self, descriptor: Descriptor) -> Presence:
        """Whether a blob's last byte is there, and none after it; its other bytes are not looked at."""
        path, _ = self._content(descriptor)
        return look_at_end(self._transport, path, descriptor.size)

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        """Put a blob there. Mismatch where ``stream`` is not what ``descriptor`` says; nothing is there then."""
        uploads.push(self._transport, self.path, descriptor, stream)

    def mount(self, descriptor: Descriptor, source: str) -> bool:
        """Have a blob of ``source``, a repository's path in the same registry, here, too, without sending it; False where that fails."""
        return uploads.mount(self._transport, self.path, descriptor.digest, source)

    def upload(self) -> Upload:
        """Begin an upload of what is known only when it is through."""
        return Upload(self._transport, self.path)

    # --- inside ---

    def _content(self, descriptor: Descriptor) -> tuple[str, Mapping[str, str]]:
        if descriptor.media_type in _MANIFESTS:
            return manifest_path(self.path, str(descriptor.digest)), _ACCEPT
        return f"/v2/{self.path}/blobs/{descriptor.digest}", {}

    def _referrers(self, subject: Digest) -> tuple[Descriptor, ...] | None:
        """The registry's own list; it is not asked again once it has shown that it keeps none."""
        if self._capabilities.referrers is False:
            return None
        listed = referrers.of(self._transport, self.path, subject)
        self._capabilities.referrers = listed is not None
        return listed

    def _lists_referrers(self, subject: Digest) -> bool:
        if self._capabilities.referrers is None:
            self._referrers(subject)
        return bool(self._capabilities.referrers)

    def _mismatch(self, answer: Response, what: str) -> Mismatch:
        return Mismatch(
            f"{self.host} answers {answer.method} {answer.path} with {what}",
            hint=f"What is stored there may be damaged: regctl check {self.name}",
        )


def names_in(host: str, answer: Response, member: str) -> tuple[str, ...]:
    """The names that an answer lists; distribution writes null for none. RegistryError where it is no such list."""
    document = answer.json()
    names = (document.get(member) or []) if isinstance(document, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RegistryError(f"{host} answers {answer.path} with something that is no list of {member}", hint="Look at its log.")
    return tuple(names)


def _digest(reference: str) -> Digest | None:
    """The digest that a reference is; None for a tag, which has no colon."""
    return Digest.parse(reference) if ":" in reference else None


def _said_digest(answer: Response) -> Digest | None:
    """The specification lets a registry leave the header away: the digest is that of the bytes."""
    try:
        return Digest.parse(answer.headers.get("docker-content-digest", "").strip())
    except ValueError:
        return None
