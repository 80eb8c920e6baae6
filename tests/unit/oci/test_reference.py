from __future__ import annotations

import pytest

from registry_tool.base.errors import InvalidReference, UsageError
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference, has_host, registry_host

LOCAL = "localhost:5000"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


def parse(text: str) -> Reference:
    return Reference.parse(text, default_host=LOCAL)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "the name is empty"),
        (" ", "not a repository name"),
        (" app", "not a repository name"),
        ("app\n", "not a repository name"),
        # upper case
        ("John/get-started", "'John' has upper-case letters"),
        ("john/Get-Started:part2", "'Get-Started' has upper-case letters"),
        ("localhost:5000/John/app", "'John' has upper-case letters"),
        # tags
        (f"app:{'a' * 129}", "the tag has 129 characters, 128 are allowed"),
        ("app:", "the tag is empty"),
        ("app:.x", "'.x' is not a tag"),
        ("app:-x", "'-x' is not a tag"),
        ("app:a b", "'a b' is not a tag"),
        ("app:a+b", "not a tag"),
        ("app:täg", "'täg' is not a tag"),
        ("app:tag\n", "not a tag"),
        ("app:v1:v2", "'app:v1' is not a repository name"),
        (":tag", "a part between two slashes is empty"),
        # empty parts
        ("/", "a part between two slashes is empty"),
        ("/app", "a part between two slashes is empty"),
        ("app/", "a part between two slashes is empty"),
        ("john//app", "a part between two slashes is empty"),
        ("localhost/", "a part between two slashes is empty"),
        ("localhost:5000/", "a part between two slashes is empty"),
        ("localhost:5000//app", "a part between two slashes is empty"),
        # dots, dashes, underscores
        ("..", "'..' is not a repository name"),
        ("../app", "'..' is not a host"),
        ("john/../app", "'..' is not a repository name"),
        ("./app", "'.' is not a host"),
        (".app", "'.app' is not a repository name"),
        ("app.", "'app.' is not a repository name"),
        ("a..b", "'a..b' is not a repository name"),
        ("a___b", "'a___b' is not a repository name"),
        ("_a", "'_a' is not a repository name"),
        ("a._b", "'a._b' is not a repository name"),
        ("-app", "'-app' is not a repository name"),
        ("--help", "'--help' is not a repository name"),
        ("john/-app", "'-app' is not a repository name"),
        ("app-", "'app-' is not a repository name"),
        # unicode
        ("jörg/app", "'jörg' is not a repository name"),
        ("аpp", "is not a repository name"),  # a Cyrillic letter that looks like an a
        ("app１", "is not a repository name"),
        ("镜像", "is not a repository name"),
        ("app\x00", "is not a repository name"),
        ("app\u202e", "is not a repository name"),
        # hosts
        ("localhost:0/app", "'0' is not a port"),
        ("localhost:65536/app", "'65536' is not a port"),
        ("localhost:99999999999999999999/app", "is not a port"),
        ("localhost:/app", "'localhost:' is not a host"),
        ("localhost:x/app", "'localhost:x' is not a host"),
        ("-x.example.com/app", "is not a host"),
        ("x-.example.com/app", "is not a host"),
        ("a..b/app", "'a..b' is not a host"),
        ("bücher.example/app", "is not a host"),
        ("[::1/app", "'[::1' is not a host"),
        ("[::1]x/app", "is not a host"),
        ("https://localhost:5000/app", "is a URL, not a name"),
        ("ftp://localhost:5000/app", "'ftp:' is not a host"),
        ("user@localhost:5000/app", "not a digest"),
        # length
        (f"{LOCAL}/{'a' * 256}", "the repository has 256 characters, 255 are allowed"),
        ("/".join(["a"] * 129), "the repository has 257 characters"),
        # digests
        ("app@", "not a digest"),
        ("app@sha256", "not a digest"),
        ("app@sha256:abc", "not 64 lower-case hexadecimal digits"),
        (f"app@{DIGEST.upper()}", "not a digest"),
        (f"app@md5:{'a' * 32}", "not a digest algorithm this tool knows"),
        (f"app@{DIGEST}:tag", "not a digest"),
        (f"app@{DIGEST}@{DIGEST}", "not a digest"),
        (f"@{DIGEST}", "a part between two slashes is empty"),
    ],
)
def test_parse_invalid_name_names_the_part(text: str, why: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    error = caught.value
    assert why in error.message
    assert error.message.isprintable(), "one line, and nothing in it that drives a terminal"
    assert error.hint
    assert error.exit_code == 2


def test_parse_long_invalid_name_is_shortened() -> None:
    with pytest.raises(InvalidReference) as caught:
        parse("a" * 100_000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("letter", ["!", "9", "a"])
@pytest.mark.parametrize("shape", ["app:{}", "{}", "localhost:{}/app", "[{}/app", "app@{}", "app@{}:x", "app@sha256:{}"])
def test_parse_long_invalid_part_is_shortened(shape: str, letter: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(shape.format(letter * 100_000))
    assert len(caught.value.message) < 400


def test_parse_upper_case_suggests_lower_case() -> None:
    with pytest.raises(InvalidReference) as caught:
        parse("John/App:V1")
    assert caught.value.hint
    suggestion = caught.value.hint.split("'")[1]
    assert parse(suggestion) == parse("john/app:V1"), "the tag may have upper-case letters and stays as it is"


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        ("friendlyhello", LOCAL, "friendlyhello", None),
        ("john/get-started:part2", LOCAL, "john/get-started", "part2"),
        ("localhost/app", "localhost", "app", None),
        ("localhost:5001/a/b/c:v1", "localhost:5001", "a/b/c", "v1"),
        ("registry.example.com/app", "registry.example.com", "app", None),
        ("Registry.Example.com/app", "Registry.Example.com", "app", None),
        ("127.0.0.1:5000/app", "127.0.0.1:5000", "app", None),
        ("[::1]:5000/app:x", "[::1]:5000", "app", "x"),
        ("host:65535/app", "host:65535", "app", None),
        ("docker.io/alpine", "docker.io", "library/alpine", None),
        ("index.docker.io/alpine:3", "docker.io", "library/alpine", "3"),
        ("docker.io/john/app", "docker.io", "john/app", None),
        ("a.b/c", "a.b", "c", None),
        ("localhost", LOCAL, "localhost", None),
        ("localhost:5000", LOCAL, "localhost", "5000"),
        ("a__b/c-d--e.f_g", LOCAL, "a__b/c-d--e.f_g", None),
        (f"app:{'T' * 128}", LOCAL, "app", "T" * 128),
        ("app:_x.Y-z", LOCAL, "app", "_x.Y-z"),
        (f"x/{'a' * 253}", LOCAL, f"x/{'a' * 253}", None),
    ],
)
def test_parse(text: str, host: str, path: str, tag: str | None) -> None:
    reference = parse(text)
    assert (reference.host, reference.path, reference.tag, reference.digest) == (host, path, tag, None)
    assert reference.repository == f"{host}/{path}"


def test_parse_with_a_digest() -> None:
    reference = parse(f"john/app:v1@{DIGEST}")
    assert (reference.tag, str(reference.digest)) == ("v1", DIGEST)
    assert str(reference) == f"{LOCAL}/john/app:v1@{DIGEST}"
    assert reference.or_latest() == reference


def test_or_latest_adds_a_tag_only_without_tag_and_digest() -> None:
    assert parse("app").tag is None
    assert parse("app").or_latest().tag == "latest"
    assert parse("app:v1").or_latest().tag == "v1"
    assert parse(f"app@{DIGEST}").or_latest().tag is None


def test_with_digest_drops_the_tag() -> None:
    digest = Digest.of(b"x")
    assert str(parse("app:v1").with_digest(digest)) == f"{LOCAL}/app@{digest}"


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/alpine:3", "alpine:3"),
        ("docker.io/john/app", "john/app"),
        ("app:v1", f"{LOCAL}/app:v1"),
        ("docker.io/library/a/b", "a/b"),
    ],
)
def test_familiar(text: str, familiar: str) -> None:
    assert parse(text).familiar == familiar


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("", False),
        ("app", False),
        ("john/app", False),
        ("localhost", False),
        ("localhost:5000", False),
        ("localhost/a", True),
        ("a.b/c", True),
        ("a:1/c", True),
        ("[::1]/a", True),
        ("John/app", False),
    ],
)
def test_has_host(text: str, has: bool) -> None:
    assert has_host(text) is has


# --- a registry's address, as people type it ---


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "x:99999",
        "x:0",
        "x:",
        "-u",
        "user@host",
        "../..",
        "http://",
        "ftp://x",
        "ü.example.com",
        "a..b",
        "UPPER_:1",
        "localhost:5000/john",
        "https://registry.example.com/v2/john/tags/list",
        "localhost:5000//",
        "http://http://x",
        "[::1]x",
    ],
)
def test_registry_host_of_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="is not a registry's address") as caught:
        registry_host(text)
    assert caught.value.hint


def test_registry_host_of_something_else_than_text_is_a_usage_error() -> None:
    for value in (None, 5000, b"localhost", ["localhost"]):
        with pytest.raises(UsageError, match="is not a registry's address"):
            registry_host(value)  # type: ignore[arg-type] # which is the question


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("localhost", "localhost"),
        ("localhost:5000", "localhost:5000"),
        ("HTTP://localhost:5000", "localhost:5000"),
        (" registry.example.com/ ", "registry.example.com"),
        ("HTTPS://registry.example.com/v2/", "registry.example.com"),
        ("registry", "registry"),
        ("[::1]:5000", "[::1]:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_registry_host_is_host_and_port(text: str, host: str) -> None:
    assert registry_host(text) == host
