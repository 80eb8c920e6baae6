"""``images NAME``: which rows a name means, on an engine's images that are made up."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from registry_tool.base.errors import InvalidReference
from registry_tool.cli.commands import image as images
from registry_tool.cli.session import Session
from registry_tool.engine import Image
from tests.support.cli_runner import Typed

HOST = "localhost:5000"
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")

LISTED = [
    Image(id=A, names=("app:latest", "app:v1", "john/app:v1")),
    Image(id=B, names=(f"{HOST}/app:v1", f"{HOST}/only:v2")),
    Image(id=C, digests=(f"{HOST}/pulled@sha256:{'d' * 64}",)),
]
ROWS = [(image, *pair) for image in LISTED for pair in images._repository_tags(image)]


def names(typed: str, host: str | None = HOST) -> list[str]:
    return [f"{repository}:{tag}" for _, repository, tag in images._matching(ROWS, typed, host)[0]]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("app", ["app:latest", "app:v1"]),
        ("app:v1", ["app:v1"]),
        ("docker.io/library/app:v1", ["app:v1"]),
        ("app:v3", []),
        (f"{HOST}/app", [f"{HOST}/app:v1"]),
        ("only", [f"{HOST}/only:v2"]),
        ("only:v2", [f"{HOST}/only:v2"]),
        ("only:v3", []),
        ("pulled", [f"{HOST}/pulled:<none>"]),
        (f"pulled@sha256:{'d' * 64}", [f"{HOST}/pulled:<none>"]),
        ("aaaaaaaaaaaa", ["app:latest", "app:v1", "john/app:v1"]),
        (B, [f"{HOST}/app:v1", f"{HOST}/only:v2"]),
        ("sha256:dddd", []),
        ("a*", ["app:latest", "app:v1"]),
        ("*/app:v?", ["john/app:v1", f"{HOST}/app:v1"]),
        ("john/*", ["john/app:v1"]),
        ("*", ["app:latest", "app:v1"]),
        ("on*", [f"{HOST}/only:v2"]),
        ("on*:v?", [f"{HOST}/only:v2"]),
        ("on*:w?", []),
        ("[no]nl?", [f"{HOST}/only:v2"]),
        ("pull*", [f"{HOST}/pulled:<none>"]),
        ("*/only", [f"{HOST}/only:v2"]),
        ("*/only2", []),
        ("example.com/on*", []),
        (f"{HOST}/*", [f"{HOST}/app:v1", f"{HOST}/only:v2", f"{HOST}/pulled:<none>"]),
    ],
)
def test_name_means_what_it_means_to_docker_and_else_to_the_local_registry(typed: str, found: list[str]) -> None:
    assert names(typed) == found


def test_name_without_a_local_registry_is_the_engines() -> None:
    assert (names("app", None), names("only", None)) == (["app:latest", "app:v1"], [])


def test_name_that_is_another_image_in_the_local_registry_has_a_note() -> None:
    assert images._matching(ROWS, "app:v1", HOST)[1] == f"using app:v1; {HOST}/app:v1 is another image"
    same = [(LISTED[0], "app", "v1"), (LISTED[0], f"{HOST}/app", "v1")]
    assert images._matching(same, "app:v1", HOST)[1] is None


def test_pattern_of_other_images_in_the_local_registry_has_a_note() -> None:
    assert images._matching(ROWS, "a*", HOST)[1] == f"using a*; {HOST}/a* is of other images"
    for pattern, host in (("on*", HOST), ("a*", None), ("john/*", HOST), (f"{HOST}/a*", HOST)):
        assert images._matching(ROWS, pattern, host)[1] is None


def test_pattern_is_one_behind_a_host_that_is_an_address() -> None:
    host = "[::1]:5000"
    rows = [(LISTED[1], f"{host}/app", "v1"), (LISTED[1], f":{HOST}/app", "v1")]
    assert [row[1] for row in images._matching(rows, "a*", host)[0]] == [f"{host}/app"]


def test_pattern_that_nothing_matches_is_no_invalid_name(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(is_podman=False, images=lambda **options: LISTED, close=lambda: None)
    monkeypatch.setattr(Session, "engine", engine)
    monkeypatch.setattr(Session, "registry_host", lambda self: HOST)
    assert typed("images", "on*").out.splitlines()[1].split()[:2] == [f"{HOST}/only", "v2"]
    answer = typed("images", "zz*")
    assert (answer.code, answer.err) == (1, "regctl: no such images: zz*\nhint: See: regctl images\n")
    assert typed("images", "--missing-ok", "-q", "zz*").out == ""


def test_invalid_name_is_refused() -> None:
    with pytest.raises(InvalidReference):
        names("UPPER")
