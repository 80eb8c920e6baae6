"""Base images and wheels: from the engine, caches, docker.io and an index, or distribution packages."""

from registry_tool.local.base_images.recipes import DOCKER_ENGINE, PODMAN_ENGINE, PROXY, PYTHON, REDIS, REGISTRY, Base
from registry_tool.local.base_images.resolver import BaseImage, BaseImageResolver
from registry_tool.local.base_images.wheelhouse import wheels

__all__ = ["DOCKER_ENGINE", "PODMAN_ENGINE", "PROXY", "PYTHON", "REDIS", "REGISTRY", "Base", "BaseImage", "BaseImageResolver", "wheels"]
