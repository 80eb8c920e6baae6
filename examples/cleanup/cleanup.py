"""Delete the tags of a repository that are older than a number of days, but never the newest ones.

python cleanup.py john/get-started --older-than 90 --keep 3 [--apply]
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import datetime, timedelta, timezone

from registry_tool import Registry
from registry_tool.base.errors import RegistryToolError
from registry_tool.content import delete
from registry_tool.content.listing import Options, list_tags
from registry_tool.oci.reference import Reference


def main() -> int:
    """Show the plans, and apply them if told to."""
    parser = argparse.ArgumentParser(description="Delete old tags of a repository.")
    parser.add_argument("repository", help="[HOST/]PATH")
    parser.add_argument("--older-than", type=int, required=True, metavar="DAYS")
    parser.add_argument("--keep", type=int, default=1, metavar="N", help="never delete the newest N tags")
    parser.add_argument("--apply", action="store_true", help="delete; without it the plan is shown")
    options = parser.parse_args()
    reference = Reference.parse(options.repository, default_host=os.environ.get("REGISTRY_TOOL_REGISTRY", "localhost:5000"))
    oldest = datetime.now(timezone.utc) - timedelta(days=options.older_than)

    with Registry.open(reference.host) as registry:
        repository = registry.repository(reference.path)
        rows = list_tags(repository, Options(sort="created")).rows
        old = [row for row in rows[options.keep :] if row.created is not None and row.created < oldest]
        for row in old:
            # A plan is made and applied before the next one: what it frees depends on what is there.
            plan = delete.plan(repository, delete.Selection(repository=reference.repository, tag=row.name))
            for removal in plan.removals:
                also = f", which stays as {', '.join(removal.siblings)}" if removal.siblings else ""
                print(f"{row.name}  {row.created:%Y-%m-%d}  {removal.digest}{also}")
            if options.apply:
                for deleted in delete.apply(plan, repository):
                    print(f"{deleted.what} {', '.join(deleted.tags)}")
    print(f"{len(old)} of {len(rows)} tags {'deleted' if options.apply else 'would be deleted'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RegistryToolError as error:
        sys.exit(f"{error.message}\n{error.hint or ''}".rstrip())
