"""What was deleted, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry_tool.content.delete import Deleted


def deleted_lines(done: Deleted, repository: str, *, quiet: bool) -> list[str]:
    """What was deleted, in the words of docker's ``rmi``."""
    word = "Finished an earlier deletion" if done.what == "finished" else "Untagged"
    words = {f"{repository}:{tag}": word for tag in done.tags}
    if done.digest is not None:
        words[f"{repository}@{done.digest}"] = "Deleted"
    return [name if quiet else f"{word}: {name}" for name, word in words.items()]
