"""One repository of a registry over HTTP (distribution-spec 1.1, "Pull", "Push", "Content Discovery", "Content Management")."""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from urllib.parse import quote

from registry_tool.base import units
from registry_tool.base.concurrency import RateLimiter
from registry_tool.base.errors import (
    AuthenticationFailed,
    InvalidManifest,
    InvalidReference,
    Mismatch,
    NotARegistry,
    NotFound,
    RegistryError,
    RegistryToolError,
    TooManyRequests,
)
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.manifest import ACCEPT, IMAGES, INDEXES, SCHEMA_1, Manifest
from registry_tool.oci.reference import check_repository, is_tag
from registry_tool.targets.registry import referrers, uploads
from registry_tool.targets.registry.blobs import Presence, ResumingReader, check_last_byte, parse_number
from registry_tool.targets.registry.upload_records import UploadRecords
from registry_tool.targets.target import Readable, Target, verified
from registry_tool.transport import Transport
from registry_tool.transport.responses import Response

_ACCEPT: Mapping[str, str] = {"Accept": ACCEPT}
_LIKE_DIGEST = re.compile(r"[A-Za-z0-9+._-]*:\S*")
_UNKNOWN = ("NAME_UNKNOWN", "MANIFEST_UNKNOWN")
"""Codes of a 404 that is about one repository or manifest, and not about the interface."""
_MANIFESTS = frozenset((*IMAGES, *INDEXES, *SCHEMA_1))


class Capabilities:
    """Capabilities of one registry. Threads may share it. ``repository`` is one that we may change; few registries differ between them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._probed: dict[str, bool] = {}
        self.referrers: bool | None = None
        """Whether it lists referrers itself; None until one list was requested."""
        self.notes: dict[str, None] = {}
        """What a person should know of its responses, in order."""

    def set_referrers(self, is_listed: bool) -> None:
        """Remember whether referrers are listed. A registry that listed some lists them, whatever it answers for another digest."""
        with self._lock:
            self.referrers = is_listed or bool(self.referrers)

    def add_note(self, note: str) -> None:
        """Add to the notes, each once."""
        self.notes[note] = None

    def names(self, what: str, response: Response, member: str, is_name: Callable[[str], bool]) -> tuple[str, ...]:
        """The names in the list ``member`` of a response. Entries that are none are skipped, and noted: null, numbers, digests among tags.

        Raises RegistryError where there is no such list.
        """
        document = response.json()
        entries = (document.get(member) or []) if isinstance(document, dict) else None
        if not isinstance(entries, list):
            host = self._transport.host
            raise RegistryError(
                f"{host} responds to {response.path} with something that is not a list of {member}", hint="Look at its log."
            )
        names = tuple(entry for entry in entries if isinstance(entry, str) and is_name(entry))
        if len(names) < len(entries):
            skipped = [entry for entry in entries if not (isinstance(entry, str) and is_name(entry))]
            shown = ", ".join(ascii(entry)[:80] if isinstance(entry, str) else json.dumps(entry)[:80] for entry in skipped[:3])
            more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
            count = units.count(len(skipped), "entry")
            self.notes[f"{what}: skipped {count} of the list of {member}, not a valid name: {shown}{more}"] = None
        return names

    def can_delete(self, repository: str) -> bool:
        """Whether manifests may be deleted: then a digest that cannot be there is refused as unknown."""
        return self._probe("digest", repository, str(Digest.of(secrets.token_bytes(32))))

    def can_untag(self, repository: str) -> bool:
        """Whether a tag may be deleted alone, probed in the same way. registry:2 takes digests only."""
        return self._probe("tag", repository, f"no-such-tag-{secrets.token_hex(8)}")

    def _probe(self, kind: str, repository: str, reference: str) -> bool:
        with self._lock:
            if kind not in self._probed:
                try:
                    with suppress(NotFound):
                        self._transport.send("DELETE", manifest_path(repository, reference))
                    self._probed[kind] = True
                except RegistryError as error:
                    # 400 DIGEST_INVALID, 405 UNSUPPORTED; any other status does not tell.
                    if error.response is None or error.response.status not in (400, 405, 501):
                        raise
                    self._probed[kind] = False
            return self._probed[kind]


class Repository:
    """The repository ``path`` (``john/get-started``). Threads may share it. Requests raise what ``Transport`` does.

    Raises InvalidReference for a path, and in its methods for references, that can be none.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        capabilities: Capabilities | None = None,
        limiter: RateLimiter | None = None,
        records: UploadRecords | None = None,
    ) -> None:
        check_repository(path)
        self.host = transport.host
        self.path = path
        self._transport = transport
        self._capabilities = capabilities or Capabilities(transport)
        self._has_other_names = False
        self._sessions = uploads.UploadSessions(records)
        self._list_lock = threading.Lock()
        """Of the lists of referrers under tags, which are read and written anew."""
        self.limiter = limiter or RateLimiter(lambda: transport.rate_limit_remaining, lambda: transport.latency)

    @property
    def name(self) -> str:
        """``HOST/PATH``."""
        return f"{self.host}/{self.path}"

    @property
    def _tags_path(self) -> str:
        return f"/v2/{self.path}/tags/list"

    # --- tags and manifests ---

    def tags(self) -> tuple[str, ...]:
        """The tags in the registry's order; none where the last one was deleted. What is no tag is skipped, and noted.

        Raises NotFound where it knows no such repository.
        """
        tags: dict[str, None] = {}
        for response in self._transport.pages(self._tags_path, on_incomplete=self._capabilities.add_note):
            tags.update(dict.fromkeys(self._capabilities.names(self.name, response, "tags", self._is_tag)))
        return tuple(tags)

    def untagged(self) -> dict[Digest, datetime] | None:
        """Manifests without a tag, and when they were pushed, where the registry lists them beside the tags, as Google's do.

        None of any other registry. One without a time is left out.
        """
        digests: dict[Digest, datetime] = {}
        is_listed = False
        for response in self._transport.pages(self._tags_path, on_incomplete=self._capabilities.add_note):
            document = response.json()
            listed = document.get("manifest") if isinstance(document, dict) else None
            if not isinstance(listed, dict):
                continue
            is_listed = True
            for text, entry in listed.items():
                with suppress(ValueError, TypeError, OverflowError, OSError):
                    if isinstance(entry, dict) and entry.get("tag") == [] and "timeUploadedMs" in entry:
                        digests[Digest.parse(text)] = datetime.fromtimestamp(int(entry["timeUploadedMs"]) / 1000, timezone.utc)
        return digests if is_listed else None

    def _is_tag(self, name: str) -> bool:
        valid = is_tag(name)
        # A registry of another grammar (v1+build) may have an image that this name alone keeps; a digest keeps none.
        self._has_other_names |= not valid and bool(name) and _LIKE_DIGEST.fullmatch(name) is None
        return valid

    @property
    def has_unlisted_tags(self) -> bool:
        """Whether there may be more tags than :meth:`tags` returned: names of another grammar, or a next page that cannot be requested."""
        return self._has_other_names or self._tags_path in self._transport.incomplete_lists

    def resolve(self, reference: str) -> Descriptor:
        """Return what a tag or digest stands for now, whatever it is, by a HEAD; by its content where the headers do not say.

        Raises NotFound, Mismatch.
        """
        return self._resolve(reference, may_be_missing=False)

    def find(self, reference: str) -> Descriptor | None:
        """The same; None of what is not there, for which the registry's words are not requested. Raises Mismatch."""
        try:
            return self._resolve(reference, may_be_missing=True)
        except NotFound:
            return None

    def _resolve(self, reference: str, *, may_be_missing: bool) -> Descriptor:
        expected = _digest(reference)
        response = self._transport.head(manifest_path(self.path, reference), headers=_ACCEPT, may_be_missing=may_be_missing)
        named, size = header_digest(response), parse_number(response.headers.get("content-length", ""))
        media_type = manifests.media_type_of(b"", response.headers.get("content-type", ""))
        if named is not None and expected is not None and expected.algorithm == named.algorithm and expected != named:
            raise self._mismatch(response, f"{named} instead of {expected}")
        if named is None or not size or media_type in manifests.UNSPECIFIC_TYPES or response.body:
            try:
                # Where the registry supports no HEAD, a GET was sent.
                response, named = self._read_manifest(reference, response if response.body else None)
                media_type, size = manifests.media_type_of(response.body, response.headers.get("content-type", "")), len(response.body)
            except (RegistryError, Mismatch):
                # A digest is enough to remove a tag.
                if named is None:
                    raise
        return Descriptor(media_type=media_type, digest=expected or named, size=size or 0)

    def manifest(self, reference: str | Digest) -> Manifest:
        """Return a manifest, whose bytes have the digest requested and the header's. Raises NotFound, Mismatch, InvalidManifest."""
        response, digest = self._read_manifest(str(reference))
        try:
            return manifests.parse(response.body, response.headers.get("content-type"), algorithm=digest.algorithm)
        except InvalidManifest as error:
            error.content = response.body
            raise

    def raw_manifest(self, reference: str | Digest) -> bytes:
        """Return the bytes of a manifest of any type, which have the digest requested and the header's. Raises NotFound, Mismatch."""
        return self._read_manifest(str(reference))[0].body

    def push_manifest(self, manifest: Manifest, tag: str | None, *, add_referrer: bool = True) -> Descriptor:
        """Push ``manifest``, byte for byte, as ``tag``; if the registry keeps no referrers, add it to its subject's list (tag scheme).

        Without ``add_referrer`` that list stays as it is.
        """
        if tag is not None:
            _check_tag(tag)
        response = self._transport.send(
            "PUT",
            manifest_path(self.path, tag or str(manifest.digest)),
            headers={"Content-Type": manifest.descriptor.media_type},
            body=manifest.raw,
        )
        uploads.check_digest(self.host, response, manifest.digest)
        if add_referrer and manifest.subject is not None and "oci-subject" not in response.headers:
            with self._list_lock:
                referrers.add_by_tag(self, manifest.subject.digest, manifest.referrer)
        return manifest.descriptor

    def delete(self, descriptor: Descriptor, *, subject: Descriptor | None = None) -> None:
        """Delete a manifest by its digest, and with it every tag that stands for it. Raises NotFound.

        Before that it is removed from ``subject``'s list of referrers, if the registry keeps none itself: interrupted
        between the two, the list names nothing that is gone, and this can be repeated.
        """
        if subject is not None and self._capabilities.referrers is None:
            self._own_list(subject.digest)
        if subject is not None and not self._capabilities.referrers:
            referrers.remove_by_tag(self, subject.digest, descriptor.digest)
        self._transport.send("DELETE", manifest_path(self.path, str(descriptor.digest)))

    def untag(self, tag: str) -> None:
        """Delete a tag alone. Raises NotFound; RegistryError where the registry cannot (:meth:`can_untag`)."""
        _check_tag(tag)
        if not self.can_untag():
            raise RegistryError(f"{self.host} cannot delete a tag alone", hint="Deletion may be off, or by digest only.")
        self._transport.send("DELETE", manifest_path(self.path, tag))

    def can_delete(self) -> bool:
        """Whether manifests may be deleted: not where deletion is off, or the registry read-only. Probed once."""
        return self._capabilities.can_delete(self.path)

    def can_untag(self) -> bool:
        """Whether a tag may be deleted alone; registry:2 cannot. Probed once."""
        return self._capabilities.can_untag(self.path)

    def referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        """The manifests whose subject it is, with artifact types and annotations, from the registry's list or the tag scheme's.

        Whatever the former is refused with, except a missing login, the latter is asked for; raises what that raises. Where
        there is none either, and the refusal may be of this one request, that is raised: the referrers are not known.
        """
        listed, refusal = self._own_list(descriptor.digest)
        if listed is None:
            listed = referrers.by_tag(self, descriptor.digest)
            if refusal is not None and not listed:
                raise refusal
        return listed

    def listed_referrers(self, descriptor: Descriptor) -> tuple[Descriptor, ...] | None:
        """The same from the registry's own list only; None where it keeps none. Raises RegistryError where it refuses to say."""
        return self._referrers(descriptor.digest)

    # --- blobs ---

    @contextmanager
    def fetch(self, descriptor: Descriptor) -> Iterator[Readable]:
        """Open content, verified as it is read, resumed after a lost connection. Raises NotFound, Mismatch, ConnectionLost."""
        path, headers = self._content(descriptor)
        source = ResumingReader(self._transport, path, size=descriptor.size, headers=headers)
        with verified(source, descriptor) as content:
            yield content

    def exists(self, descriptor: Descriptor) -> bool:
        """Whether the registry reports it. It may report what is gone: see :meth:`last_byte`."""
        return self._head(descriptor) is not None

    def reported_size(self, descriptor: Descriptor) -> int | None:
        """Bytes that the registry reports, None where it reports none. As reliable as :meth:`exists`."""
        response = self._head(descriptor)
        return parse_number(response.headers.get("content-length", "")) if response is not None else None

    def last_byte(self, descriptor: Descriptor) -> Presence:
        """Whether a blob's last byte is there, and none after it; no other byte is read."""
        path, _ = self._content(descriptor)
        return check_last_byte(self._transport, path, descriptor.size)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there to its last byte; a mount or a HEAD may tell of what was collected."""
        return self.last_byte(descriptor) is Presence.WHOLE

    def push(self, descriptor: Descriptor, stream: Readable) -> None:
        """Push a blob. Raises Mismatch where ``stream`` is not what ``descriptor`` says; nothing is stored then."""
        uploads.push(self._transport, self.path, descriptor, stream, self._sessions)

    def can_mount_from(self, source: Target) -> bool:
        """Whether ``source`` is another repository of this registry."""
        return isinstance(source, Repository) and source.host == self.host and source.path != self.path

    def mount(self, descriptor: Descriptor, source: Target) -> bool:
        """Mount a blob from another repository of this registry; returns whether that was done. It can be pushed where not."""
        if not isinstance(source, Repository) or not self.can_mount_from(source):
            return False
        return uploads.mount(self._transport, self.path, descriptor.digest, source.path)

    def cancel_uploads(self) -> None:
        """Cancel the uploads under way that a later run cannot go on with, as far as the registry can."""
        self._sessions.cancel()

    def cancel_leftovers(self) -> None:
        """Cancel the uploads that programs left which live no more, as far as their records are here."""
        if self._sessions.records is not None:
            uploads.cancel_leftovers(self._transport, self.path, self._sessions.records)

    def upload(self, *, chunk: int) -> uploads.Upload:
        """Begin an upload of content whose digest is not known yet, in chunks of that size, or more where the registry wants that.

        A context manager, which cancels the upload unless it is finished.
        """
        return uploads.Upload(self._transport, self.path, self._sessions, chunk=chunk)

    def sibling(self, path: str) -> Repository:
        """Another repository of the same registry. Raises InvalidReference."""
        return Repository(self._transport, path, self._capabilities, self.limiter, self._sessions.records)

    # --- inside ---

    def _read_manifest(self, reference: str, response: Response | None = None) -> tuple[Response, Digest]:
        """GET a manifest; the response, and its digest by request, header or content, of which the first two are checked."""
        requested = _digest(reference)
        if response is None:
            response = self._transport.get(manifest_path(self.path, reference), headers=_ACCEPT, limit=manifests.MAX_SIZE)
        named = header_digest(response)
        is_signed = manifests.media_type_of(response.body, response.headers.get("content-type", "")) in SCHEMA_1
        content = manifests.signed_payload(response.body) if is_signed else response.body
        for digest in (requested, named):
            if digest is not None and Digest.of(content, digest.algorithm) != digest:
                raise self._mismatch(response, f"other bytes than those of {digest}")
        return response, requested or named or Digest.of(content)

    def _head(self, descriptor: Descriptor) -> Response | None:
        path, headers = self._content(descriptor)
        try:
            return self._transport.head(path, headers=headers, may_be_missing=True)
        except NotFound:
            return None

    def _content(self, descriptor: Descriptor) -> tuple[str, Mapping[str, str]]:
        if descriptor.media_type in _MANIFESTS:
            return manifest_path(self.path, str(descriptor.digest)), _ACCEPT
        return f"/v2/{self.path}/blobs/{quote(str(descriptor.digest), safe=':')}", {}

    def _referrers(self, subject: Digest) -> tuple[Descriptor, ...] | None:
        """The registry's own list; not requested again once it has turned out that it keeps none for any digest."""
        if self._capabilities.referrers is False:
            return None
        try:
            listed = referrers.from_registry(self._transport, self.path, subject)
        except NotFound as error:
            if error.response is not None and error.response.code in _UNKNOWN:
                return None
            listed = None
        self._capabilities.set_referrers(listed is not None)
        return listed

    def _own_list(self, subject: Digest) -> tuple[tuple[Descriptor, ...] | None, RegistryToolError | None]:
        """The registry's own list; None where it keeps none, or refuses it, and then why if it may keep one all the same."""
        try:
            return self._referrers(subject), None
        except (RegistryError, NotARegistry) as error:
            status = error.response.status if error.response is not None else 401
            if isinstance(error, TooManyRequests) or (isinstance(error, AuthenticationFailed) and status == 401):
                raise
            if status in (400, 405, 406, 410, 501):
                self._capabilities.set_referrers(False)
            may_have_one = status == 403 or (status >= 500 and status != 501)
            return None, error if may_have_one else None

    def _mismatch(self, response: Response, what: str) -> Mismatch:
        return Mismatch(
            f"{self.host} responds to {response.method} {response.path} with {what}",
            hint=f"What is stored there may be damaged: regctl check {self.name}",
        )


def manifest_path(repository: str, reference: str) -> str:
    """The path of a manifest. ``reference`` may be any text that is not checked: it leads nowhere else."""
    quoted = quote(reference, safe=":", errors="replace")
    # A dot alone, or two, would be taken for a step in the path.
    return f"/v2/{repository}/manifests/{quoted if reference.strip('.') else quoted.replace('.', '%2E')}"


def _digest(reference: str) -> Digest | None:
    """The digest that a reference is; None for a tag, which has no colon. Raises InvalidReference."""
    if not reference:
        raise InvalidReference("an image has a tag or a digest, and neither is given", hint="A tag looks like latest.")
    if not _LIKE_DIGEST.fullmatch(reference):
        return None
    try:
        return Digest.parse(reference)
    except ValueError as error:
        raise InvalidReference(f"neither a tag nor a digest: {error}") from None


def _check_tag(tag: str) -> None:
    if not is_tag(tag):
        raise InvalidReference(f"{tag[:140]!r} is not a tag", hint="A tag has letters, digits, '_', '.' and '-', at most 128.")


def header_digest(response: Response) -> Digest | None:
    """``Docker-Content-Digest``, which the specification lets a registry leave out."""
    try:
        return Digest.parse(response.headers.get("docker-content-digest", "").strip())
    except ValueError:
        return None
