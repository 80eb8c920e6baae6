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
        "FROM a\nRUN echo $((1<<2)) $((1<<N))",
        'FROM a\nCMD ["--link"]',
        "FROM a\nENV RUN --mount=x",
        "",
        "FROM a\nRUN \\",
    ],
)
def test_dockerfile_without_buildkit_syntax_uses_the_classic_builder(text: str) -> None:
    assert needs_buildkit(text) is None


@pytest.mark.parametrize(
    ("text", "arguments", "names"),
    [
        ("FROM a", {}, ("a",)),
        ("from --platform=linux/amd64 h:5000/a:b AS c\nFROM c\nFROM scratch", {}, ("h:5000/a:b",)),
        ("ARG BASE=python:3\nFROM ${BASE}", {}, ("python:3",)),
        ('ARG BASE="python:3"\nFROM $BASE', {"BASE": "h/own"}, ("h/own",)),
        ('ARG BASE="python:3"\nFROM $BASE', {}, ("python:3",)),
        ("ARG TAG\nFROM a:${TAG:-3}", {}, ("a:3",)),
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
