"""How images are deleted in registries that do it otherwise than the specification says."""

from __future__ import annotations

import re

_WAYS = (
    (r"ghcr\.io", "On the package's page, or with: gh api -X DELETE /user/packages/container/NAME/versions/ID"),
    (r"docker\.io|registry-1\.docker\.io", "Docker Hub deletes tags on the repository's page: https://hub.docker.com/r/{path}/tags"),
    (
        r".*\.azurecr\.io",
        "Use: az acr repository delete --name REGISTRY --image {path}:TAG (after az acr repository update, if it is locked)",
    ),
    (
        r".*\.dkr\.ecr\..*\.amazonaws\.com(\.cn)?|public\.ecr\.aws",
        "Use: aws ecr batch-delete-image --repository-name {path} --image-ids imageTag=TAG",
    ),
    (r"(.*\.)?gcr\.io", "Use: gcloud container images delete --force-delete-tags {name}@DIGEST"),
    (r".*-docker\.pkg\.dev", "Use: gcloud artifacts docker images delete --delete-tags {name}@DIGEST"),
    (r"registry\.gitlab\.com", "GitLab deletes tags on the project's page (Deploy, Container registry), or by its API."),
    (r"quay\.io", "Quay deletes tags on the repository's page: https://quay.io/repository/{path}?tab=tags"),
)


def other_way(name: str) -> str | None:
    """How the repository ``name`` (``HOST/PATH``) is cleaned, where that is known of its registry."""
    host, _, path = name.partition("/")
    return next((way.format(name=name, path=path) for pattern, way in _WAYS if re.fullmatch(pattern, host)), None)


def ineffective(name: str) -> str:
    """What to do where a deletion was accepted and had no effect."""
    return other_way(name) or "Use the registry's own page or interface: it may have rules against this, or do it later."


def turned_off(name: str) -> str:
    """What to do where the registry says that it does not delete."""
    return other_way(name) or (
        "If it is registry:2, start it with REGISTRY_STORAGE_DELETE_ENABLED=true in its environment, as regctl up does. "
        "Others have a page or an interface of their own."
    )
