"""What only BuildKit can build, and what a build begins from."""

from __future__ import annotations

import pytest

from registry_tool.engine.build.dockerfile import base_images, instructions, needs_buildkit


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("# syntax=docker/dockerfile:1\nFROM a", "# syntax=docker/dockerfile:1"),
        ("#syntax = docker/dockerfile:1.7\nFROM a", "# syntax=docker/dockerfile:1.7"),
        ("# escape=`\n# syntax=x\nFROM a", "# syntax=x"),
        ("FROM a\nRUN --mount=type=cache,target=/x pip install y", "RUN --mount"),
        ("FROM a\nrun --network=none --mount=type=secret,id=s x", "RUN --network"),
        ("FROM a\nRUN \\\n  # a comment\n  --mount=type=cache,target=/x y", "RUN --mount"),
        ("FROM a\nCOPY --link b c", "COPY --link"),
        ("FROM a\nCOPY --chmod=755 b c", "COPY --chmod"),
        ("FROM a\nCOPY --chown=1 --chmod=755 b c", "COPY --chmod"),
        ("FROM a\nADD --checksum=sha256:1 http://b c", "ADD --checksum"),
        ("FROM a\nRUN <<EOF\necho hi\nEOF", "RUN <<"),
        ("FROM a\nRUN <<-'EOF' sh\necho hi\nEOF", "RUN <<"),
        ("FROM a\nRUN cat <<EOF > /x\nhi\nEOF", "RUN <<"),
        ("FROM a\nCOPY <<EOF /x\nhi\nEOF", "COPY <<"),
        ("FROM a\nCOPY --chown=1 <<EOF /x\nhi\nEOF", "COPY <<"),
        ('FROM a\nRUN cat <<"EOF" <<B\nhi\nEOF\nB', "RUN <<"),
        ("FROM a\r\nRUN <<EOF\r\nhi\r\nEOF\r\n", "RUN <<"),
        ("FROM a\nRUN <<-EOF\n\thi\n\tEOF", "RUN <<"),
        ("FROM a\nONBUILD RUN --mount=type=cache,target=/x y", "RUN --mount"),
        ("FROM --platform=$BUILDPLATFORM a", "FROM with $BUILDPLATFORM"),
        ("FROM --platform=${TARGETPLATFORM} a", "FROM with $TARGETPLATFORM"),
        ("FROM a:$TARGETARCH", "FROM with $TARGETARCH"),
        ("FROM a\nARG TARGETARCH\nRUN echo $TARGETARCH", "ARG TARGETARCH"),
        ("ARG BUILDPLATFORM\nFROM --platform=$BUILDPLATFORM a", "ARG BUILDPLATFORM"),
        ("FROM a\nARG A=1 TARGETOS", "ARG TARGETOS"),
        ("FROM a\nADD https://github.com/a/b.git /src", "ADD of a git repository"),
        ("FROM a\nADD https://github.com/a/b.git#v1:docs /src", "ADD of a git repository"),
        ("FROM a\nADD git@github.com:a/b.git /src", "ADD of a git repository"),
        ("FROM a\nADD --chown=1 git://h/b /src", "ADD of a git repository"),
        ("FROM a\nADD ssh://git@h/b x /src", "ADD of a git repository"),
    ],
)
def test_dockerfile_with_buildkit_syntax_needs_buildkit(text: str, reason: str) -> None:
    assert needs_buildkit(text) == reason


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN echo --mount",
        "FROM a\nCOPY --chown=1:1 b c",
        "FROM a\nCOPY --from=build b c",
        "FROM --platform=linux/amd64 a",
        "FROM a\n# syntax=too late",
        "FROM a\nRUN cat <<< EOF",
        "FROM a\nRUN cat <<EOF > /x\nRUN true",  # it does not end
        "FROM a\nRUN <<EOF\n EOF",
        'FROM a\nRUN echo "<<EOF"\nRUN x\nEOF',
        "FROM a\nRUN echo '<<EOF'\nEOF",
        "FROM a\nRUN echo \\<<EOF\nEOF",
        "FROM a\nCMD cat <<EOF\nEOF",
        "ARG BUILDPLATFORM=linux/amd64\nFROM --platform=$BUILDPLATFORM a",
        "FROM a\nARG TARGETARCH=amd64",
        "FROM a\nENV TARGETARCH=amd64\nRUN echo $TARGETARCH",
        "FROM a\nADD https://h/b.tar.gz /x",
        "FROM a\nADD b.git /x",
        "FROM a\nADD x /b.git",
        "FROM a\nRUN echo $((1<<2)) $((1<<N))",
        'FROM a\nCMD ["--link"]',
        "FROM a\nENV RUN --mount=x",
        "",
        "FROM a\nRUN \\",
    ],
)
def test_dockerfile_without_buildkit_syntax_uses_the_classic_builder(text: str) -> None:
    assert needs_buildkit(text) is None


def test_automatic_variable_that_is_given_needs_no_buildkit() -> None:
    text = "FROM --platform=$BUILDPLATFORM a\nARG TARGETARCH\n"
    assert needs_buildkit(text, {"BUILDPLATFORM": "linux/amd64", "TARGETARCH": "amd64"}) is None
    assert needs_buildkit(text, {"BUILDPLATFORM": "linux/amd64"}) == "ARG TARGETARCH"


@pytest.mark.parametrize(
    ("text", "arguments", "names"),
    [
        ("FROM a", {}, ("a",)),
        ("from --platform=linux/amd64 h:5000/a:b AS c\nFROM c\nFROM scratch", {}, ("h:5000/a:b",)),
        ("ARG BASE=python:3\nFROM ${BASE}", {}, ("python:3",)),
        ('ARG BASE="python:3"\nFROM $BASE', {"BASE": "h/own"}, ("h/own",)),
        ('ARG BASE="python:3"\nFROM $BASE', {}, ("python:3",)),
        ("ARG TAG\nFROM a:${TAG:-3}", {}, ("a:3",)),
        ("ARG A=1 TAG='2'\nFROM a:$TAG", {}, ("a:2",)),
        ("FROM a\nRUN <<EOF\nFROM no\nEOF\nFROM b", {}, ("a", "b")),
        ("FROM\ta", {}, ("a",)),
        ("FROM a\nARG TAG=x\nFROM b:$TAG\nFROM a", {}, ("a", "b:")),
        ("FROM", {}, ()),
        ("RUN x", {}, ()),
    ],
)
def test_base_images_with_variables_and_without_stages(text: str, arguments: dict[str, str], names: tuple[str, ...]) -> None:
    assert base_images(text, arguments) == names


def test_continuations_comments_and_another_escape() -> None:
    assert list(instructions("FROM a\n\n# c\nRUN one \\\n# c\n  two\n")) == [("FROM", "a"), ("RUN", "one    two")]
    assert list(instructions("# escape=`\nRUN one `\n two\\")) == [("RUN", "one   two\\")]
