"""The project's own CI on GitHub and pre-commit's hooks: they call what a person calls, with the versions that are pinned here."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


WORKFLOW = read(".github/workflows/ci.yml")
JOBS: dict[str, Any] = WORKFLOW["jobs"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


# GitHub.


@pytest.mark.parametrize("job", JOBS)
def test_job_runs_nothing_but_make_targets_that_exist(job: str) -> None:
    targets = set(MAKEFILE.partition(".PHONY:")[2].partition("\n")[0].split())
    assert commands(job), "a job that runs nothing"
    for command in commands(job):
        match = re.fullmatch(r"make ([a-z-]+)", command)
        assert match, command
        assert match[1] in targets, command


def test_jobs_together_run_all_that_has_to_pass() -> None:
    called = {command for job in JOBS for command in commands(job)}
    local = set(re.findall(r"^make \S+$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE))
    assert called == local | {"make demo", "make test-fast", "make dist"}


def test_workflow_may_read_the_repository_and_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in JOBS.items() if "permissions" in job] == []
    assert "secrets." not in str(WORKFLOW)
    assert set(WORKFLOW[True]) == {"push", "pull_request"}, "YAML 1.1 reads the key on as true"


@pytest.mark.parametrize("job", JOBS)
def test_job_ends_in_time_on_a_runner_that_is_named_by_version(job: str) -> None:
    assert JOBS[job]["timeout-minutes"] <= 60
    matrix = JOBS[job].get("strategy", {}).get("matrix", {})
    runners = matrix.get("runner", [JOBS[job]["runs-on"]])
    assert all(re.fullmatch(r"ubuntu-\d\d\.04", name) for name in runners), runners


@pytest.mark.parametrize("job", JOBS)
def test_actions_are_githubs_own_at_a_major_version_and_keep_no_credentials(job: str) -> None:
    steps = [step for step in JOBS[job]["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]) for step in steps)
    [checkout] = [step for step in steps if step["uses"].startswith("actions/checkout@")]
    assert checkout["with"] == {"persist-credentials": False}


def test_fast_tests_run_on_every_python_that_is_declared() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    declared = [text.rpartition(" ")[2] for text in classifiers if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", text)]
    assert JOBS["test-fast"]["strategy"]["matrix"]["python"] == declared
    assert WORKFLOW["env"] == {"PYTHON": "python"}, "else make takes the newest Python of the runner"


# pre-commit.


def test_hooks_are_the_programs_of_make_lint_and_fetch_nothing() -> None:
    [repository] = read(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    lint = MAKEFILE.partition("\nlint:")[2].partition("\n\n")[0].replace("$(python)", ".venv/bin/python")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        command = hook["entry"].removesuffix(" --force-exclude")
        assert f"@{command}" in lint, f"make lint does not run {command}"
