"""What a registry can do beyond the minimum, probed once by requests that change nothing."""

from __future__ import annotations

import secrets
import threading
from urllib.parse import quote

from registry_tool.base.errors import AuthenticationFailed, NotFound, RegistryError
from registry_tool.oci.digest import Digest
from registry_tool.transport import Transport


class Capabilities:
    """Capabilities of one registry. Threads may share it. ``repository`` is one that we may change; few registries differ between them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._probed: dict[str, bool] = {}
        self.referrers: bool | None = None
        """Whether it lists referrers itself; None until one list was requested (:mod:`registry_tool.targets.registry.referrers`)."""

    def can_delete(self, repository: str) -> bool:
        """Whether manifests may be deleted: then a digest that cannot be there is refused as unknown."""
        return self._probe("digest", repository, str(Digest.of(secrets.token_bytes(32))))

    def can_untag(self, repository: str) -> bool:
        """Whether a tag may be deleted alone, probed in the same way. registry:2 takes digests only."""
        return self._probe("tag", repository, f"no-such-tag-{secrets.token_hex(8)}")

    def _probe(self, kind: str, repository: str, reference: str) -> bool:
        with self._lock:
            if kind not in self._probed:
                self._probed[kind] = self._is_deletable(repository, reference)
            return self._probed[kind]

    def _is_deletable(self, repository: str, reference: str) -> bool:
        try:
            self._transport.send("DELETE", manifest_path(repository, reference))
        except NotFound:
            return True
        except AuthenticationFailed:
            raise
        except RegistryError as error:
            # 400 DIGEST_INVALID, 405 UNSUPPORTED; any other status does not tell.
            if error.response is None or error.response.status not in (400, 405, 501):
                raise
            return False
        return True


def manifest_path(repository: str, reference: str) -> str:
    """The path of a manifest. ``reference`` may be any text that a registry listed as a tag: it leads nowhere else."""
    quoted = quote(reference, safe=":", errors="replace")
    # A dot alone, or two, would be taken for a step in the path.
    return f"/v2/{repository}/manifests/{quoted if reference.strip('.') else quoted.replace('.', '%2E')}"
