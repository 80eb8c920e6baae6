"""What ``gc`` prints of a plan and of a result; what it does, ``tests/engine/local/test_collection.py`` sees to."""

from __future__ import annotations

import pytest

from registry_tool.base.codec import to_json
from registry_tool.base.errors import UsageError
from registry_tool.cli import options
from registry_tool.cli.commands.gc import plan_lines, result_lines
from registry_tool.content.usage.storage import DamagedLink
from registry_tool.local.collection import CollectionPlan, CollectionResult, CollectionUndo, UnfinishedUpload, UnneededManifest
from registry_tool.oci.digest import Digest
from tests.support.cli_runner import Typed

DIGEST = Digest.of(b"x")
UPLOAD = UnfinishedUpload(repository="app", id="1", size=2048, age=7200)
PLAN = CollectionPlan(
    manifests=tuple(UnneededManifest(repository="app", digest=Digest.of(bytes([number])), size=100) for number in range(7)),
    blobs={DIGEST: 5_000_000},
    layer_links=(("app", DIGEST),),
    history_links=(("app", "1", DIGEST),),
    uploads=(UPLOAD,),
    young=(UnfinishedUpload(repository="other", id="2", size=1, age=5),),
    empty=("old",),
    link_bytes=639,
    kept=42,
)


def test_plan_names_everything_that_goes_and_what_waits() -> None:
    assert list(plan_lines("team", "data", PLAN, keeps=True)) == [
        "The registry team (volume data):",
        "  7 manifests without a tag that nothing needs",
        *(f"    app@{Digest.of(bytes([number])).hex[:12]}" for number in range(5)),
        "    and 2 more",
        "  1 blob that no manifest needs then: 5MB",
        "  1 unfinished upload: 2.05kB",
        "  9 links to them: 639B",
        "  1 empty repository: old",
        "  An upload to other may be under way (last write 5 s ago): gc --apply refuses.",
        "This frees 5MB; 42B are needed.",
        "The disk keeps it until it can no longer be restored (--undo-for);",
        "--no-undo frees it at once.",
    ]


def test_what_waits_for_a_manifest_is_shown_and_not_counted_as_needed() -> None:
    plan = CollectionPlan(kept=142, waiting={DIGEST: 100}, waiting_links=(("app", DIGEST),), waiting_manifests=2)
    assert plan.is_empty
    assert list(plan_lines("team", "data", plan, keeps=True)) == [
        "The registry team (volume data):",
        "  nothing to remove; 42B are needed",
        "  Kept for --grace: 1 young blob without a manifest yet (100B)",
        "  Kept for --grace: 2 young manifests that had no tag yet",
    ]


def test_damaged_links_are_shown() -> None:
    link = DamagedLink(repository="app", link="layer", digest=DIGEST, path="docker/registry/v2/repositories/app", size=0)
    plan = CollectionPlan(kept=42, damaged_links=(link,))
    assert list(plan_lines("team", "data", plan, keeps=True)) == [
        "The registry team (volume data):",
        "  1 link left empty or cut short by a stop: mended",
        f"    app: layer {DIGEST.hex[:12]}",
        "This frees 0B; 42B are needed.",
    ]
    assert to_json(plan)["damaged_links"] == [{"repository": "app", "link": "layer", "digest": str(DIGEST)}]


def test_plan_without_undo_says_nothing_of_it() -> None:
    assert not any("undo" in line for line in plan_lines("team", "data", PLAN, keeps=False))


def test_empty_plan() -> None:
    assert list(plan_lines("team", "data", CollectionPlan(kept=42), keeps=True)) == [
        "The registry team (volume data):",
        "  nothing to remove; 42B are needed",
    ]


def test_lines_fit_a_terminal() -> None:
    assert all(len(line) <= 80 for line in plan_lines("team", "data", PLAN, keeps=True))


def test_result_names_undo_and_pauses() -> None:
    undo = CollectionUndo(id="ab12", created=0, until=7 * 86400, blobs={DIGEST: 5_000_000}, revisions=(("app", DIGEST),), layers=())
    result = CollectionResult(plan=PLAN, bytes_removed=5_002_687, pauses=(0.41, 0.3), undo=undo)
    lines = list(result_lines(result))
    assert lines[0] == "Removed 7 manifests and 1 blob: 5MB"
    assert lines[1].startswith("The disk keeps 5MB of it until 1970-01-08 00:00 UTC.")
    assert lines[-1] == "The registry did not respond for 0.4 s and 0.3 s."
    assert lines[2].endswith(" undo ab12")
    assert list(result_lines(result, " --container other"))[2].endswith(" undo ab12 --container other")
    assert to_json(undo) == {
        "id": "ab12",
        "created": "1970-01-01T00:00:00Z",
        "until": "1970-01-08T00:00:00Z",
        "bytes": 5_000_000,
        "manifests": [f"app@{DIGEST}"],
    }


def test_uploads_in_json() -> None:
    document = to_json(PLAN)
    assert document["uploads"] == [{"repository": "app", "id": "1", "size": 2048, "age": 7200}]
    assert document["young"] == [{"repository": "other", "id": "2", "size": 1, "age": 5}]
    assert document["manifests"][0] == {"repository": "app", "digest": str(Digest.of(b"\0")), "size": 100}


@pytest.mark.parametrize(("text", "seconds"), [("7d", 604800), ("1h", 3600), ("1h30m", 5400), ("0", 0), ("0s", 0)])
def test_duration(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1h", "7", "1w", "99999d", "1e9h", "7d1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        options.duration(text)


def test_name_and_container_exclude_each_other(typed: Typed) -> None:
    answer = typed("gc", "--name", "team", "--container", "x")
    assert answer.code == 2
    assert "--name and --container exclude each other" in answer.err
