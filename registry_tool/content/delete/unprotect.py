"""Removing a protection, which is a manifest with a tag of its own."""

from __future__ import annotations

from registry_tool.base.errors import NotFound, RegistryError
from registry_tool.content.delete.apply import require_deletion
from registry_tool.content.delete.snapshot import Deletable
from registry_tool.content.delete.writes import Writer
from registry_tool.content.protection import Protection


def unprotect(repository: Deletable, name: str, protection: Protection) -> None:
    """Remove ``protection`` from ``repository``, whose full name is ``name``; one that somebody else removed is no failure.

    Raises RegistryError where deletion is off or it is still there, AuthenticationFailed.
    """
    require_deletion(repository, name)
    writer = Writer(repository, name, {})
    if protection.pattern is None:
        # What is under the tag is not known: another tag may be on the same digest.
        writer.untag(protection.tag)
        return
    try:
        descriptor = repository.resolve(protection.tag)
    except NotFound:
        return
    if descriptor.digest != protection.digest:
        writer.untag(protection.tag)
        return
    try:
        writer.delete(descriptor, tags=(protection.tag,))
    except RegistryError as error:
        # Google's registries refuse a digest that has tags.
        is_refused = error.response is not None and error.response.status in (400, 405, 409, 412)
        if not (is_refused and repository.can_untag()):
            raise
        writer.untag(protection.tag)
        writer.delete(descriptor)
