"""Check the releases of a repository.

    python policy.py localhost:5000 john/get-started

Prints a line for each violation, and ends with 1 where there is one.
"""

from __future__ import annotations

import sys

from registry_tool import Registry
from registry_tool.content.listing import Options, list_tags

PLATFORMS = {"linux/amd64", "linux/arm64"}


def violations(registry: Registry, path: str) -> list[str]:
    """What is wrong with the releases in the repository ``path``."""
    # Newest version first; tags that are no versions come last.
    rows = list_tags(registry.repository(path), Options(sort="semver")).rows
    releases = [row for row in rows if row.name[0].isdigit()]
    found = []
    for row in releases:
        missing = PLATFORMS - {str(platform) for platform in row.platforms or ()}
        found += [f"{row.name} has no image for {platform}" for platform in sorted(missing)]
    latest = next((row for row in rows if row.name == "latest"), None)
    if releases and (latest is None or latest.digest != releases[0].digest):
        found.append(f"latest is not {releases[0].name}")
    return found


if __name__ == "__main__":
    host, path = sys.argv[1:]
    with Registry.open(host) as registry:
        found = violations(registry, path)
    print(*found, sep="\n")
    sys.exit(1 if found else 0)
