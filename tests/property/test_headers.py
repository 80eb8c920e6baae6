"""What a server writes into ``Link`` and ``WWW-Authenticate`` may be anything."""

from __future__ import annotations

import string
from urllib.parse import urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.transport.responses import Response

PATH = "/v2/john/get-started/tags/list"
ORIGIN = "https://registry.example.com:5000"

# What http.client lets through: Latin-1, no line ends.
headers = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=200)
link_like = st.lists(
    st.sampled_from(["<", ">", ";", ",", '"', "=", " ", "rel", "next", "//", "[", "]", "@", "http:", "x:", "..", "?n=1", "\\", "/v2/"]),
    max_size=20,
).map("".join)
challenge_like = st.lists(
    st.sampled_from(["Bearer", "Basic", "realm", "=", '"', "\\", ",", " ", "scope", "https://a/b", "\xe9"]), max_size=20
).map("".join)


def answer(**headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(method="GET", path=PATH, url=ORIGIN + PATH, status=401, headers=named, body=b"")


def stays_at_home(link: str) -> None:
    following, _ = answer(link=link).next_page(ORIGIN)
    if following is not None:
        assert following.startswith("/")
        there = urlsplit(ORIGIN + following)
        assert f"{there.scheme}://{there.netloc}" == ORIGIN


@given(headers | link_like)
@example("<//>; rel=next")
@example("<" * 300_000)  # several headers are one when they are read
@example("////[")
@example("<a>" + "; a=" * 16_000)
@example("<a>;" + " " * 65_000)
@example('<a>; rel="' * 6_000)
def test_next_page_of_any_link_is_a_path_or_none(link: str) -> None:
    stays_at_home(link)


targets = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="<>"), max_size=40)


@given(targets, st.sampled_from(["rel=next", 'rel="next"', 'REL="prev next"', 'title="a, <b>"; rel=Next']))
@example("http://[", "rel=next")
@example("x:.elsewhere.example/", "rel=next")
@example("mailto:a", "rel=next")
@example("http://elsewhere.example", "rel=next")
@example("\\\\elsewhere.example\\a", "rel=next")
@example("//elsewhere.example//a", "rel=next")
@example("@elsewhere.example/", "rel=next")
@example(":80@elsewhere.example/", "rel=next")
def test_next_page_of_any_target_is_a_path_or_none(target: str, parameters: str) -> None:
    stays_at_home(f"<{target}>; {parameters}")


queries = st.text(string.ascii_letters + string.digits + "=&%._-", max_size=30)
segments = st.lists(st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=5), min_size=1, max_size=4).map("/".join)


@given(
    segments, queries, st.sampled_from(["", "http://elsewhere.example", "//elsewhere.example:1"]), st.sampled_from(["", "</a>; rel=prev, "])
)
def test_written_link_is_read_back(path: str, query: str, host: str, other: str) -> None:
    written = f"/v2/{path}?{query}" if query else f"/v2/{path}"
    assert answer(link=f'{other}<{host}{written}>; rel="next"').next_page(ORIGIN) == (written, False)


@given(headers, st.sampled_from(["prev", "nextish", '"nextish"', '"first last"', '""']))
def test_link_with_another_rel_is_none(title: str, relation: str) -> None:
    quoted = title.replace('"', "").replace("\\", "").replace("<", "")
    assert answer(link=f'</v2/x>; title="{quoted} ; rel=next"; rel={relation}').next_page(ORIGIN)[0] is None


@given(headers | challenge_like)
@example('Bearer a="' * 6_000)
@example('Bearer a="' + "\\" * 65_000)
@example("=" * 65_000)
@example("a" * 65_000)
@example('a="\\" ' * 10_000)
def test_any_challenge_is_parsed(header: str) -> None:
    for scheme, parameters in answer(www_authenticate=header).challenges.items():
        assert scheme == scheme.lower()
        assert all(name == name.lower() and isinstance(value, str) for name, value in parameters.items())


tokens = st.text(string.ascii_lowercase + string.digits + "-_", min_size=1, max_size=10)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@given(
    st.dictionaries(tokens, st.dictionaries(tokens, values, min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from([",", ", ", " , "]),
    st.sampled_from(["=", " = "]),
    st.booleans(),
)
def test_written_challenge_is_read_back(challenges: dict[str, dict[str, str]], comma: str, equals: str, upper: bool) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    written = comma.join(
        f"{scheme.upper() if upper else scheme} " + comma.join(f"{name}{equals}{quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges.items()
    )
    assert answer(www_authenticate=written).challenges == challenges
