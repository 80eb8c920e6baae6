"""``docs/json.md`` is what ``--json`` prints: the same members, of the types it says, with the codes that ``errors.py`` has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.errors import RegistryToolError
from registry_tool.cli.command_table import COMMANDS, load
from tests.support.documents import Reader, checkout
from tests.support.paths import ROOT
from tests.support.private_engine import PrivateEngine

PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")

STORY = """
demo --redis --keep
demo -p 5000; 1
rm --all --yes
status
doctor engine clock localhost registry
trust registry.lan:5000 --ca ca.crt --for regctl --apply
down
up
user list
build -t friendlyhello sample_app
tag friendlyhello john/get-started:part2
push john/get-started:part2
push friendlyhello
list-tags john/get-started
catalog
inspect john/get-started:part2
check --deep
du
copy john/get-started:part2 mirror/
sync mirror.toml
export john/get-started:part2 -o images.tar
import images.tar copies/
rmi friendlyhello localhost:5000/friendlyhello john/get-started:part2 mary/absent; 1
verify --on here --http 4002:81/ --timeout 8s john/get-started:part2; 1
pull john/get-started:part2
run -d --name web -p 127.0.0.1:4001:80 john/get-started:part2
run -d --name quick john/get-started:part2
ps -a
images -a
restart web mary; 1
start web mary; 1
stop web mary; 1
kill quick mary; 1
rm web mary; 1
rm quick
login -u john --password-stdin < password
logout
protect john/get-started:part2
unprotect john/get-started:part2
prune --keep-tags none --apply --yes --allow-empty mirrored/get-started
delete --yes john/get-started:part2
undo
gc --apply --yes --grace 0
down --volumes --yes
status; 1
"""
"""What is typed, in this order; after the semicolon the exit code where it is not 0."""

FAILURES = """\
pull UPPER; 2
list-tags john/get-started; 3
rm --all --yes --nonsense; 2
build sample_app/wheels; 1
run web; 125
connect kind none; 1
"""

SHOWN_ELSEWHERE = (
    "up: clients[].",
    "trust: files[].error",
    "connect: ",
    "inspect: children[].",
    "inspect: referrers[].",
    "list-tags: tags[].note",
    "check: findings[].",
    "check: error",
    "du: uploads[].",
    "du: damaged[].",
    "du: other[].",
    "du: errors[].",
    "delete: protected[].",
    "undo: entries[].problem",
    "undo: dry_run",
    "undo: entry",
    "undo: tags",
    "undo: manifests",
    "undo: missing",
    "undo: notes",
    "undo: restored",
    "protect: protections[].problem",
    "copy: images[].error",
    "export: images[].error",
    "import: images[].error",
    "prune: repositories[].tags[].pulled",
    "prune: errors[].",
    "prune: error",
    "gc: plan.damaged_links[].",
    "sync: repositories[].error",
    "sync: repositories[].images[].error",
    "push: partial_of",
    "push: missing",
    "verify: error",
    "gc: plan.uploads[].",
    "gc: plan.young[].",
    "gc: plan.manifests[].",
    "verify: against",
    "verify: proven[].points[].unchecked",
)
"""What this story's images do not have; the tests of the commands in ``tests/unit/cli/`` see to it."""

Shape = Mapping[str, str]
"""Member -> its type in words."""


@pytest.fixture
def reader(own_engine: PrivateEngine, kept_cache: Path, tmp_path: Path) -> Reader:
    return Reader(engine=own_engine, folder=checkout(tmp_path, kept_cache))


def sections() -> dict[str, tuple[Any, Shape]]:
    """Command -> (the example, what its table says); failures are the section without a command."""
    result: dict[str, tuple[Any, Shape]] = {}
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        name = part.splitlines()[0].removeprefix("regctl ")
        example = re.search(r"```json\n(.*?)```", part, re.DOTALL)
        assert example, f"{name} has no example"
        result[name] = (json.loads(example[1]), dict(re.findall(r"^\| `([a-z_.\[\]]+)` \| ([a-z ,]+) \|", part, re.MULTILINE)))
    return result


SECTIONS = sections()
FAILED = SECTIONS["Failures"][1]


def members(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(member, value) for everything in a document, ``steps[].name`` for each element of ``steps``."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}", inner
            yield from members(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from members(inner, f"{path.removesuffix('.')}[].")


def is_of(value: Any, words: str) -> bool:
    """Whether ``value`` is what the table's words say."""
    kinds: dict[str, Any] = {"string": str, "boolean": bool, "object": dict, "integer": int, "number": (int, float), "anything": object}
    words = words.removesuffix(", optional")
    if words.endswith(" or null"):
        return value is None or is_of(value, words.removesuffix(" or null"))
    if words.startswith("object of "):
        return isinstance(value, dict) and all(is_of(element, words.removeprefix("object of ")) for element in value.values())
    if words.startswith("array of "):
        return isinstance(value, list) and all(is_of(element, words.removeprefix("array of ")) for element in value)
    return isinstance(value, kinds[words]) and (words in ("boolean", "anything") or not isinstance(value, bool))


_NESTED = re.compile(r"\b(\w+\[\])(?:\.\1)+")


def as_told(document: Any, shape: Shape) -> list[str]:
    """What in ``document`` is not as ``shape`` says."""
    wrong = []
    maps = tuple(f"{member}." for member, words in shape.items() if words.startswith("object of "))
    # What is nested in its own kind is told once; the names in a map are anything.
    present = [(_NESTED.sub(r"\1", member), value) for member, value in members(document)]
    present = [(member, value) for member, value in present if not member.startswith(maps)]
    for member, value in present:
        words = shape.get(member) or FAILED.get(member)
        if words is None:
            wrong.append(f"{member} is not told")
        elif not is_of(value, words):
            wrong.append(f"{member} is {value!r}, not {words}")
    observed = {member for member, _ in present}
    for member, words in shape.items():
        above = member.rpartition(".")[0].removesuffix("[]")
        # Nothing can be said of the elements of an empty array, nor of the members of what is null.
        reached = not above or any(name == above and value for name, value in present)
        if reached and member not in observed and not words.endswith(", optional"):
            wrong.append(f"{member} is told, and not there")
    return wrong


def test_every_command_with_json_has_its_section() -> None:
    with_json = {name for name in COMMANDS if any("--json" in option.opts for option in load(name).params)}
    assert set(SECTIONS) - {"Failures"} == with_json


@pytest.mark.parametrize("name", SECTIONS)
def test_the_examples_are_as_they_are_told(name: str) -> None:
    assert as_told(*SECTIONS[name]) == []


def test_a_difference_is_noticed() -> None:
    shape = {"a": "string", "b": "array of object", "b[].c": "integer", "d": "string, optional"}
    assert as_told({"a": "x", "b": [{"c": 1}]}, shape) == []
    assert as_told({"a": "x", "b": []}, shape) == []
    assert as_told({"a": None, "b": [{}], "e": 1}, shape) == ["a is None, not string", "e is not told", "b[].c is told, and not there"]
    assert as_told({"m": {"x.y": "z"}}, {"m": "object of string"}) == []
    assert as_told({"m": {"x": 1}}, {"m": "object of string"}) == ["m is {'x': 1}, not object of string"]
    tree = {"t": "array of object", "t[].n": "integer", "t[].t": "array of object"}
    assert as_told({"t": [{"n": 1, "t": [{"n": "x", "t": []}]}]}, tree) == ["t[].n is 'x', not integer"]
    assert as_told({"b": [{"c": True}]}, shape) == ["b[].c is True, not integer", "a is told, and not there"]


def test_the_codes_are_those_of_the_errors() -> None:
    def tree(kind: type[RegistryToolError]) -> Iterator[tuple[str, int]]:
        yield kind.code, kind.exit_code
        for below in kind.__subclasses__():
            if below.__module__ == RegistryToolError.__module__:
                yield from tree(below)

    stated = re.findall(r"^\| `([a-z-]+)` \| (\d) \|", PAGE, re.MULTILINE)
    assert len(stated) == len(dict(stated))
    assert {(code, int(number)) for code, number in stated} == set(tree(RegistryToolError))


@pytest.mark.engine
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.documents
def test_what_is_printed_is_as_it_is_told(reader: Reader) -> None:
    (reader.folder / "password").write_text("secret")
    (reader.folder / "ca.crt").write_bytes(certificates.generate_authority("test", days=3).certificate)
    (reader.folder / "mirror.toml").write_text('destination = "mirrored/"\n[[image]]\nsource = "john/get-started"\n')
    wrong: list[str] = []
    printed: set[str] = set()
    observed: dict[str, set[str]] = {}
    for line in (STORY + FAILURES).strip().splitlines():
        words, _, code = line.partition("; ")
        name = words.split()[0]
        document = json.loads(reader.asks(f"regctl {name} --json {words.removeprefix(name)}", code=int(code or 0)))
        printed.add(name)
        failed = set(document) == {"error"}
        wrong += [f"{line}: {each}" for each in as_told(document, FAILED if failed else SECTIONS[name][1])]
        observed.setdefault(name, set()).update(member for member, _ in members(document))
    assert wrong == []
    assert printed == set(SECTIONS) - {"Failures"}
    unseen = {f"{name}: {member}" for name, stated in observed.items() for member in SECTIONS[name][1] if member not in stated}
    unseen = {member for member in unseen if not member.startswith(SHOWN_ELSEWHERE)}
    if "io.containerd.snapshotter" in reader.engine.run(["docker", "info", "--format", "{{.DriverStatus}}"]).stdout:
        unseen -= {"pull: layers[].id", "pull: layers[].status"}  # that store reports no layers that it has
    assert not unseen, "a member that this story never shows could be wrong"
