"""No ``portability.toml`` whatever is more than one line of complaint; the schema and the reader agree on which are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.verify import settings
from registry_tool.verify.settings import KNOWN, PROBES, VerifySettings
from tests.support.schema import faults

SCHEMA = json.loads(Path(settings.__file__).with_name("portability.schema.json").read_text(encoding="utf-8"))
DIGEST = f"sha256:{'a' * 64}"

_any = st.recursive(
    st.booleans()
    | st.integers(-5, 700)
    | st.floats(-1, 1000, allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["1:1", "2s", "512MiB"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
_seconds = st.sampled_from(["2s", "500 ms", "1.5m", "1h", 1, 2.5, "3", "2x", "s", 0, -1]) | _any
_sizes = st.sampled_from(["512MiB", "64 MB", "7000000B", 10_000_000, "12", "1TB", 0]) | _any
_places = st.lists(st.sampled_from(["docker", "podman", "here", "context:a", "context:", "Docker"]), max_size=3) | _any
_probes = st.one_of(
    st.fixed_dictionaries(
        {"http": st.sampled_from(["1:1", "65535:80/a?b=c", "4000:80/", "0:1", "1:65536", "1", "1:1/ü", "1:1/a b"]) | _any},
        optional={
            "status": st.sampled_from([200, 99, 600]) | _any,
            "text": st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=2) | _any,
            "json": st.dictionaries(st.text(min_size=1, max_size=2), _any, max_size=2),
            "within": _seconds,
            "tcp": st.just("1:1"),
        },
    ),
    st.fixed_dictionaries({"tcp": st.sampled_from(["1:1", "2:2/", "3"])}),
    st.fixed_dictionaries({"exec": st.sampled_from(["a b", " ", "", ["a"], [], ["a", ""]]) | st.lists(st.text(max_size=2), max_size=2)}),
    st.fixed_dictionaries({"log": st.text(max_size=2)}),
    st.fixed_dictionaries({"exit": st.integers(-1, 257)}, optional={"log": st.just("x")}),
    _any,
)
_members: dict[str, st.SearchStrategy[Any]] = {
    "image": st.just("a") | _any,
    "expect": st.sampled_from([DIGEST, DIGEST.upper(), "sha256:0", f"sha512:{'a' * 128}", f"sha512:{'a' * 64}", f"md5:{'a' * 32}"]),
    "engines": _places,
    "require": _places,
    "registry-as": st.sampled_from(["a:1", "a", "a b:1", "1.2.3.4:5000", "a:0"]) | _any,
    "services": st.lists(st.just("redis"), max_size=2) | _any,
    "replicas": st.integers(-1, 102) | _any,
    "stack": st.just("x") | _any,
    "environment": st.dictionaries(st.text(max_size=3), st.text(max_size=2), max_size=2) | _any,
    "probes": st.lists(_probes, max_size=2) | _any,
    "timeouts": st.fixed_dictionaries({}, optional={"probes": _seconds, "stop": _seconds, "other": _any}) | _any,
    "limits": st.fixed_dictionaries(
        {},
        optional={"memory": _sizes, "processes": st.integers(-1, 5) | _any, "log": _sizes, "disk": _sizes, "seconds": _seconds, "x": _any},
    ),
    "nope": _any,
}
_documents = st.sampled_from(sorted(_members)).flatmap(lambda name: st.fixed_dictionaries({name: _members[name]}))
"""One member at a time: a document with several is right if all of them are."""

BEYOND = (
    "cannot be published for",
    "a program ends once",
    "bytes of memory are too few",
    "cannot be split",
    "not a name of a variable",
    "found by a path",
)
"""What no schema can say, or not in a way that anybody could read."""


def read_or_refused(document: dict[str, Any]) -> str | None:
    try:
        settings.from_members(document)
    except UsageError as error:
        message = error.message
    else:
        return None
    assert message.startswith("portability.toml: ")
    assert message.isprintable()
    return message


@given(_documents)
def test_schema_and_reader_agree(document: dict[str, Any]) -> None:
    wrong, word = list(faults(document, SCHEMA, SCHEMA)), read_or_refused(document)
    assert bool(wrong) is (word is not None) or (not wrong and any(words in str(word) for words in BEYOND)), (wrong, word)


def test_schema_has_every_member() -> None:
    assert tuple(SCHEMA["properties"]) == KNOWN
    probes = [way["properties"] for way in SCHEMA["$defs"]["probe"]["oneOf"]]
    assert {next(iter(way)): tuple(way) for way in probes} == PROBES


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        assert isinstance(settings.parse(content), VerifySettings)
    except UsageError as error:
        message = error.message
    else:
        return
    assert message.startswith("portability.toml: ")
    assert message.isprintable()


@given(
    st.lists(
        st.sampled_from(
            ["image", "'a'", "=", "\n", "[", "]", "[[probes]]", "http", '"1:1"', "{", "}", ",", "1", "1e999", "nan", "inf", "-1", "true"]
        ),
        max_size=15,
    )
)
def test_any_words_of_toml_are_read_or_refused(words: list[str]) -> None:
    test_any_bytes_are_read_or_refused.hypothesis.inner_test(" ".join(words).encode())  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "99999999999999999999999", "-99999999999999999999999"])
@pytest.mark.parametrize("key", ["limits.memory", "limits.seconds", "timeouts.probes", "replicas"])
def test_number_out_of_range_is_refused_by_its_path(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"portability.toml: {key}: "):
        settings.parse(f"{key} = {value}".encode())
