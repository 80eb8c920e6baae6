"""Files of rules: skopeo's YAML as its manual has it, our TOML, and what is wrong with either."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from registry_tool.base.errors import NotFound, UsageError
from registry_tool.base.regexes import search_all
from registry_tool.content.copy import CopyOptions
from registry_tool.content.sync import SyncRules, load
from registry_tool.content.sync.files import sources
from registry_tool.oci.descriptor import Platform

HOST = "localhost:5000"
DIGEST = f"sha256:{'0' * 64}"

SKOPEO = f"""\
registry.example.com:
    images:
        busybox: []
        redis:
            - "1.0"
            - 2.0
            - "{DIGEST}"
    images-by-tag-regex:
        nginx: ^1\\.13\\.[12]-alpine-perl$
    images-by-semver:
        alpine: ">= 3.12.0"
    credentials:
        username: john
        password: this is a secret
    tls-verify: true
    cert-dir: /home/john/certs
quay.io:
    tls-verify: false
    images:
        coreos/etcd:
            - latest
"""

OURS = """\
destination = "localhost:5000/mirror/"
platforms = ["linux/amd64", "linux/arm64"]
referrers = true

[[image]]
source = "docker.io/library/alpine"

[[image]]
source = "docker.io/library/redis"
tags = ["7.*", "latest"]
referrers = false

[[image]]
source = "ghcr.io/john/get-started"
semver = ">=1.2 <2"
regex = "^v"
destination = "localhost:5000/get-started"
platforms = ["linux/amd64"]

[[image]]
source = "john/app:1"
"""


def read(tmp_path: Path, name: str, text: str, destination: str | None = None, *, scoped: bool = False) -> SyncRules:
    path = tmp_path / name
    path.write_text(text)
    return load(path, destination, default_host=HOST, scoped=scoped, options=CopyOptions(skip_unchanged=True))


def test_skopeos_own_example_is_read(tmp_path: Path) -> None:
    rules = read(tmp_path, "sync.yml", SKOPEO, "my-registry.local.lan/repo")
    assert [(rule.name, rule.destination.store, rule.images) for rule in rules.rules] == [
        ("registry.example.com/busybox", "my-registry.local.lan/repo/busybox", ()),
        ("registry.example.com/redis", "my-registry.local.lan/repo/redis", ("1.0", "2.0", DIGEST)),
        ("registry.example.com/nginx", "my-registry.local.lan/repo/nginx", ()),
        ("registry.example.com/alpine", "my-registry.local.lan/repo/alpine", ()),
        ("quay.io/coreos/etcd", "my-registry.local.lan/repo/etcd", ("latest",)),
    ]
    busybox, redis, nginx, alpine, _ = rules.rules
    assert [str(place) for place in sources(redis)] == [f"{redis.name}:1.0", f"{redis.name}:2.0", f"{redis.name}@{DIGEST}"]
    assert busybox.tags.all
    assert nginx.tags.matching(["1.13.1-alpine-perl", "1.13.3-alpine-perl"]) == {"1.13.1-alpine-perl"}
    assert alpine.tags.matching(["3.12", "3.20.1", "3.2", "edge"]) == {"3.12", "3.20.1"}
    first, second = rules.access["registry.example.com"], rules.access["quay.io"]
    assert first.credential is not None
    assert (first.credential.username, first.credential.password, first.insecure) == ("john", "this is a secret", False)
    assert (second.credential, second.insecure) == (None, True)
    assert "this is a secret" not in repr(rules)
    assert "cert-dir" in rules.notes[0]


def test_scoped_destination_has_host_and_whole_name(tmp_path: Path) -> None:
    rules = read(tmp_path, "sync.yml", "quay.io:8443:\n  images: {a/b: []}\n", "local.lan/repo/", scoped=True)
    assert rules.rules[0].destination.store == "local.lan/repo/quay.io-8443/a/b"


def test_our_own_file_is_read(tmp_path: Path) -> None:
    alpine, redis, started, app = read(tmp_path, "mirror.toml", OURS).rules
    assert [rule.destination.store for rule in (alpine, redis, started, app)] == [
        f"{HOST}/mirror/alpine",
        f"{HOST}/mirror/redis",
        f"{HOST}/get-started",
        f"{HOST}/mirror/app",
    ]
    both = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
    assert alpine.options == CopyOptions(platforms=both, referrers=True, skip_unchanged=True)
    assert (redis.options.referrers, started.options.platforms) == (False, both[:1])
    assert redis.tags.matching(["7.1", "latest", "6"]) == {"7.1", "latest"}
    assert started.tags.matching(["v1.2", "1.2", "v2.0"]) == {"v1.2"}
    assert (app.images, [str(place) for place in sources(app)]) == (("1",), [f"{HOST}/john/app:1"])


def test_destination_of_the_command_is_that_of_a_file_without_one(tmp_path: Path) -> None:
    rules = read(tmp_path, "a.toml", '[[image]]\nsource = "ghcr.io/a/b"\n', "oci:images")
    assert rules.rules[0].destination.store == "oci:images"


@pytest.mark.parametrize(
    ("name", "text", "destination", "what"),
    [
        ("a.yml", SKOPEO, None, "names no destination"),
        ("a.yml", SKOPEO, "a/b:1", "one image"),
        ("a.yml", "ghcr.io:\n  images:\n    a: [b\n", "x", "not YAML"),
        ("a.yml", "ghcr.io:\n  pictures: {}\n", "x", "a.yml:2: ghcr.io.pictures: not supported"),
        ("a.yml", "ghcr.io:\n  images: {UPPER: []}\n", "x", "upper-case"),
        ("a.yml", "ghcr.io:\n  images-by-tag-regex: {a: '['}\n", "x", "not a regular expression"),
        ("a.yml", "ghcr.io:\n  images-by-semver: {a: newest}\n", "x", "not a range"),
        ("a.yml", "ghcr.io:\n  tls-verify: perhaps\n", "x", "neither true nor false"),
        ("a.yml", "ghcr.io:\n  credentials: {password: x}\n", "x", "username"),
        ("a.yml", "ghcr.io: {}\n", "x", "no images"),
        ("a.yml", "http//x:\n  images: {a: []}\n", "x", "not a registry"),
        ("a.yml", "ghcr.io:\n  images: {x/a: [], y/a: []}\n", "z", "both be mirrored"),
        ("a.toml", "destination = 1\n", None, "text is required"),
        ("a.toml", "[[image]]\n", None, "source: missing"),
        ("a.toml", '[[image]]\nsource = "a"\n', None, "destination: missing"),
        ("a.toml", 'destination = "x/"\n', None, "no images"),
        ("a.toml", '[[image]]\nsource = "a:1"\ntags = ["*"]\n', "x/", "one image"),
        ("a.toml", '[[image]]\nsource = "a"\nplatforms = ["nonsense"]\n', "x/", "not a platform"),
        ("a.toml", '[[image]]\nsource = "a"\nsemver = "newest"\n', "x/", "not a range"),
        ("a.toml", '[[images]]\nsource = "a"\n', "x/", "not supported"),
    ],
)
def test_wrong_file_is_refused_with_the_place(tmp_path: Path, name: str, text: str, destination: str | None, what: str) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        read(tmp_path, name, text, destination)
    assert "a." in caught.value.message or destination == "a/b:1"


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load(tmp_path / "none.toml", None, default_host=HOST, scoped=False, options=CopyOptions())


def test_regular_expression_that_does_not_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.content.copy.jobs.search_all", partial(search_all, seconds=0.2))
    (rule,) = read(tmp_path, "mirror.toml", '[[image]]\nsource = "john/app"\ndestination = "copy/"\nregex = "(a+)+$"\n').rules
    with pytest.raises(UsageError, match="takes too long"):
        rule.tags.matching(["a" * 60 + "_"])
