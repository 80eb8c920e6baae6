"""The fault matrix: which tests show what a command does under a fault. ``make faults`` runs them and writes ``docs/faults.md``."""

from __future__ import annotations

from collections.abc import Mapping

COMMANDS = ("up", "push", "pull", "copy", "sync", "import", "apply", "prune", "gc")
FAULTS = ("engine killed", "registry killed", "process killed", "disk full", "permission lost", "network cut", "clock jumped")

HERE = "tests/faults/test_registry_faults.py"
MOVING = "tests/unit/cli/test_moving_weather.py"
ARRIVES = f"{HERE}::test_what_arrived_is_whole_and_the_next_run_brings_the_rest"
PRUNES = f"{HERE}::test_prune_keeps_what_a_rule_keeps_and_the_next_run_finishes"
DIES = f"{HERE}::test_killed_process_leaves_what_the_next_run_finishes"
SILENT = f"{HERE}::test_registry_that_is_out_of_reach_is_given_up"
CLOCK = f"{HERE}::test_clock_that_jumps_changes_nothing"
DEMO = "tests/e2e/test_demo_faults.py"
ENGINES = "tests/faults/test_engine_faults.py"
FULL = f"{ENGINES}::test_disk_of_the_engine_that_is_full_is_named_and_the_next_run_succeeds"
CLIENT = "tests/engine/engine/test_client.py"
WEATHER = "tests/e2e/test_bad_weather.py"
BUNDLES = "tests/unit/bundle/test_bundle_killed.py"
KILLED = "tests/engine/local/test_collection_killed.py"

NOT_INVOLVED = "not involved"
"""What cannot happen to a command: ``copy`` between registries has no engine."""

CELLS: Mapping[tuple[str, str], str | tuple[str, ...]] = {
    ("up", "engine killed"): (f"{DEMO}::test_after_the_engine_was_killed_everything_is_found_again",),
    ("up", "registry killed"): ("tests/unit/doctor/test_broken_setups.py::test_registry_that_is_stopped",),
    ("up", "process killed"): ("tests/engine/local/test_registry_up.py::test_container_left_by_a_killed_up_is_started",),
    ("up", "disk full"): (FULL,),
    ("up", "permission lost"): ("tests/unit/engine/test_connect.py::test_socket_without_permission_is_engine_not_permitted",),
    ("push", "engine killed"): (
        f"{CLIENT}::test_the_engine_dies_during_a_push",
        "tests/unit/content/test_direct_push.py::test_engine_that_dies_leaves_no_tag_and_no_upload_and_completed_layers_are_not_sent_again",
    ),
    ("push", "registry killed"): (
        f"{WEATHER}::test_a_registry_that_goes_during_a_push_and_one_whose_disk_is_full",
        f"{MOVING}::test_registry_that_restarts_under_way_gets_the_image",
    ),
    ("push", "process killed"): (
        "tests/unit/content/test_direct_push_killed.py::test_killed_at_any_request_no_tag_is_left_and_no_completed_layer_is_sent_again",
    ),
    ("push", "disk full"): (f"{MOVING}::test_full_disk_of_the_registry_is_a_failure_without_a_tag",),
    ("push", "permission lost"): (f"{MOVING}::test_registry_that_goes_on_failing_is_a_clear_failure_without_a_tag",),
    ("push", "network cut"): (f"{MOVING}::test_registry_that_stalls_is_a_clear_failure_without_a_tag",),
    ("pull", "engine killed"): (f"{CLIENT}::test_the_engine_dies_during_a_pull",),
    ("pull", "registry killed"): ("tests/engine/verify/test_checks.py::test_registry_that_dies_during_the_pull_fails_fetched",),
    ("pull", "disk full"): (FULL,),
    ("pull", "permission lost"): (f"{WEATHER}::test_a_wrong_password_is_exit_1_everywhere",),
    ("pull", "process killed"): (f"{DEMO}::test_killed_at_random_moments_the_next_run_succeeds_and_cleans_up",),
    ("copy", "engine killed"): NOT_INVOLVED,
    ("copy", "registry killed"): (ARRIVES, f"{MOVING}::test_registry_that_restarts_under_way_gets_the_image"),
    ("copy", "process killed"): (
        "tests/unit/cli/test_copy_killed.py::test_killed_copy_leaves_nothing_incomplete_and_resends_no_blob",
        DIES,
    ),
    ("copy", "disk full"): (ARRIVES, f"{MOVING}::test_full_disk_of_the_registry_is_a_failure_without_a_tag"),
    ("copy", "permission lost"): (ARRIVES,),
    ("copy", "network cut"): (f"{MOVING}::test_registry_that_stalls_is_a_clear_failure_without_a_tag",),
    ("copy", "clock jumped"): (CLOCK,),
    ("sync", "engine killed"): NOT_INVOLVED,
    ("sync", "registry killed"): (ARRIVES,),
    ("sync", "process killed"): (DIES,),
    ("sync", "disk full"): (ARRIVES,),
    ("sync", "permission lost"): (ARRIVES,),
    ("sync", "network cut"): (SILENT,),
    ("sync", "clock jumped"): (CLOCK,),
    ("import", "engine killed"): NOT_INVOLVED,
    ("import", "registry killed"): (ARRIVES, f"{MOVING}::test_registry_that_restarts_under_way_gets_the_image"),
    ("import", "process killed"): ("tests/unit/cli/test_export_killed.py::test_import_that_was_killed_goes_on", DIES),
    ("import", "disk full"): (ARRIVES, f"{MOVING}::test_full_disk_of_the_registry_is_a_failure_without_a_tag"),
    ("import", "permission lost"): (ARRIVES,),
    ("import", "network cut"): (f"{MOVING}::test_registry_that_stalls_is_a_clear_failure_without_a_tag",),
    ("import", "clock jumped"): (CLOCK,),
    ("apply", "registry killed"): (ARRIVES,),
    ("apply", "process killed"): (f"{BUNDLES}::test_apply_that_was_killed_goes_on", DIES),
    ("apply", "disk full"): (ARRIVES,),
    ("apply", "permission lost"): (ARRIVES,),
    ("apply", "network cut"): (SILENT,),
    ("apply", "clock jumped"): (CLOCK,),
    ("prune", "engine killed"): NOT_INVOLVED,
    ("prune", "registry killed"): (PRUNES,),
    ("prune", "process killed"): (
        "tests/property/test_retention.py::test_killed_at_any_write_kept_tags_are_whole_and_the_next_run_finishes",
        DIES,
    ),
    ("prune", "disk full"): (PRUNES,),
    ("prune", "permission lost"): (PRUNES,),
    ("prune", "network cut"): (SILENT,),
    ("prune", "clock jumped"): (CLOCK,),
    ("gc", "engine killed"): (f"{ENGINES}::test_engine_killed_during_a_collection_the_next_command_brings_the_registry_back",),
    ("gc", "process killed"): (
        f"{KILLED}::test_killed_at_random_points_the_next_command_brings_it_back",
        f"{KILLED}::test_interrupted_it_brings_the_registry_back_itself",
    ),
}
"""(command, fault) -> tests, or :data:`NOT_INVOLVED`. What is missing here is not shown by any test."""


def every_test() -> list[str]:
    """Every test of the matrix, once."""
    return list(dict.fromkeys(test for cell in CELLS.values() if cell != NOT_INVOLVED for test in cell))
