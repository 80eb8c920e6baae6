"""What a registry can do beyond the least, found out once and remembered for the run.

No registry says so of itself: each is tried with something that changes nothing.
"""

from __future__ import annotations

import secrets
import threading
from urllib.parse import quote

from registry_tool.base.errors import AuthenticationFailed, NotFound, RegistryError
from registry_tool.oci.digest import Digest
from registry_tool.transport import Transport


class Capabilities:
    """Threads may share it. ``repository`` is one that we may change: what is allowed may differ between them, but seldom does."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._deletion: bool | None = None
        self._tag_deletion: bool | None = None
        self.referrers: bool | None = None
        """Whether it lists referrers itself; None until one list was asked for (:mod:`registry_tool.targets.registry.referrers`)."""

    def can_delete(self, repository: str) -> bool:
        """Whether manifests may be deleted: one that cannot be there is refused as unknown where they may."""
        with self._lock:
            if self._deletion is None:
                self._deletion = self._is_deletable(repository, str(Digest.of(secrets.token_bytes(32))))
            return self._deletion

    def can_untag(self, repository: str) -> bool:
        """Whether a tag may be deleted alone; found out as :meth:`can_delete` does. registry:2 takes digests only."""
        with self._lock:
            if self._tag_deletion is None:
                self._tag_deletion = self._is_deletable(repository, f"no-such-tag-{secrets.token_hex(8)}")
            return self._tag_deletion

    def _is_deletable(self, repository: str, reference: str) -> bool:
        try:
            self._transport.send("DELETE", manifest_path(repository, reference))
        except NotFound:
            return True
        except AuthenticationFailed:
            raise
        except RegistryError as error:
            # 400 DIGEST_INVALID, 405 UNSUPPORTED; what is no answer to the question is a failure.
            if error.refusal is None or error.refusal.status not in (400, 405, 501):
                raise
            return False
        return True


def manifest_path(repository: str, reference: str) -> str:
    """Where a manifest is. ``reference`` may be a tag that a registry listed: whatever it is, it leads nowhere else."""
    quoted = quote(reference, safe=":", errors="replace")
    # A dot alone, or two, would be taken for a step in the path.
    return f"/v2/{repository}/manifests/{quoted if reference.strip('.') else quoted.replace('.', '%2E')}"
