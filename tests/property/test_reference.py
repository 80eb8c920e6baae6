from __future__ import annotations

import string

from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.base.errors import InvalidReference
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import MAX_PATH_LENGTH, MAX_TAG_LENGTH, Reference, has_host

LOCAL = "localhost:5000"

labels = st.from_regex(r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,8}[a-zA-Z0-9])?", fullmatch=True).filter(str.isascii)
names = st.lists(labels, min_size=2, max_size=4).map(".".join) | st.just("localhost")
hosts = st.builds(lambda name, port: f"{name}{port}", names, st.just("") | st.integers(1, 65535).map(lambda port: f":{port}"))
components = st.from_regex(r"[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,5}){0,3}", fullmatch=True).filter(str.isascii)
paths = st.lists(components, min_size=1, max_size=5).map("/".join).filter(lambda path: len(path) <= MAX_PATH_LENGTH)
tags = st.none() | st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=MAX_TAG_LENGTH).filter(
    lambda t: t[0] not in ".-"
)
digests = st.none() | st.binary(max_size=4).map(Digest.of)
references = st.builds(Reference, host=hosts, path=paths, tag=tags, digest=digests).filter(lambda it: it.host != "index.docker.io")


@given(references)
def test_printed_reference_is_read_back(reference: Reference) -> None:
    if reference.host == "docker.io" and "/" not in reference.path:
        return
    assert Reference.parse(str(reference), default_host="elsewhere.example") == reference
    assert Reference.parse(str(reference.or_latest()), default_host=LOCAL).or_latest() == reference.or_latest()


@given(st.text(max_size=300) | st.text(string.ascii_lowercase + string.digits + "/:@._-[]", max_size=60))
@example("a:1/b")
@example("localhost:" + "9" * 5000 + "/a")
@example("a" * 100_000)
@example("a-" * 50_000)
@example("\ud800")
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        reference = Reference.parse(text, default_host=LOCAL)
    except InvalidReference as error:
        refused = error
    else:
        again = Reference.parse(str(reference), default_host=LOCAL)
        assert again == reference
        assert str(again) == str(reference)
        return
    assert "\n" not in refused.message
    assert refused.hint


@given(paths.filter(lambda path: not has_host(path)), tags)
def test_name_without_host_belongs_to_the_default_host(path: str, tag: str | None) -> None:
    text = f"{path}:{tag}" if tag else path
    if has_host(text):
        return
    assert str(Reference.parse(text, default_host=LOCAL)) == f"{LOCAL}/{text}"
