"""What is asked of an image: what is refused, in words, and that what is spelled is what is read."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.verify.spec import Exec, Exit, Http, Limits, Log, Probe, Tcp, VerifySpec

IMAGE = Reference.parse("localhost:5000/john/get-started:part2", default_host="")
ONE, OTHER = Digest.of(b"one"), Digest.of(b"other")

ports = st.integers(1, 65535)
paths = st.text(alphabet=[chr(code) for code in range(0x21, 0x7F)], max_size=40).map(lambda text: f"/{text}")


@pytest.mark.parametrize(
    "text",
    ["", "80", "4000:", ":80", "0:80", "4000:0", "65536:80", "4000:80 /", "4000:80/a b", "4000:80/ä", "4000:80x", "04000:80", "4000:80/\n"],
)
def test_http_that_is_not_ports_and_a_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="it looks like 4000:80"):
        Http.parse(text)


@pytest.mark.parametrize("text", ["", "80", "80:80/", "a:b", "1:2:3", "70000:1", "١:80"])
def test_tcp_that_is_not_a_pair_of_ports_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="it looks like 4000:80"):
        Tcp.parse(text)


@pytest.mark.parametrize("text", ["", "  ", "echo 'open"])
def test_command_that_cannot_be_split_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the command is empty|cannot be split"):
        Exec.parse(text)


@pytest.mark.parametrize(
    ("kind", "members", "words"),
    [
        (Http, {"published": 0, "container": 80}, "0 is not a port"),
        (Http, {"published": 80, "container": 65536}, "65536 is not a port"),
        (Http, {"published": 80, "container": 80, "path": "page"}, "not a path"),
        (Http, {"published": 80, "container": 80, "path": "/a\r\nHost: x"}, "not a path"),
        (Http, {"published": 80, "container": 80, "status": 99}, "not an HTTP status"),
        (Http, {"published": 80, "container": 80, "text": ("",)}, "no text is in every page"),
        (Http, {"published": 80, "container": 80, "json": (("", "1"),)}, "found by a path"),
        (Http, {"published": 80, "container": 80, "within": 0.0}, "out of range"),
        (Tcp, {"published": -1, "container": 80}, "not a port"),
        (Exec, {"command": ()}, "empty"),
        (Exec, {"command": ("",)}, "empty"),
        (Log, {"text": ""}, "no text is in every log"),
        (Exit, {"code": 256}, "not an exit code"),
        (Limits, {"memory": 1 << 20}, "too few"),
        (Limits, {"processes": 0}, "too few"),
        (Limits, {"log": 0}, "too few"),
        (Limits, {"seconds": float("nan")}, "out of range"),
        (VerifySpec, {"image": Reference(host="", path="john/app", tag="1")}, "not a full name"),
        (VerifySpec, {"image": Reference(host="localhost:5000", path="john/app")}, "not a full name"),
        (VerifySpec, {"image": IMAGE.with_digest(ONE), "expect": OTHER}, "another digest"),
        (VerifySpec, {"image": IMAGE, "environment": {"A=B": "1"}}, "not a name of a variable"),
        (VerifySpec, {"image": IMAGE, "environment": {"": "1"}}, "not a name of a variable"),
        (VerifySpec, {"image": IMAGE, "timeout": 0.0}, "out of range"),
        (VerifySpec, {"image": IMAGE, "timeout": float("inf")}, "out of range"),
        (VerifySpec, {"image": IMAGE, "stop_within": -1.0}, "out of range"),
        (VerifySpec, {"image": IMAGE, "replicas": 0}, "not a number of replicas"),
        (VerifySpec, {"image": IMAGE, "registry_as": "http://registry:5000"}, "not a registry's address"),
        (VerifySpec, {"image": IMAGE, "probes": (Exit(code=0), Exit(code=1))}, "ends once"),
        (VerifySpec, {"image": IMAGE, "probes": (Http.parse("4000:80"), Tcp.parse("4000:81"))}, "cannot be published for both 80 and 81"),
    ],
)
def test_value_out_of_range_is_refused(kind: type, members: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        kind(**members)


def test_two_probes_may_share_a_port() -> None:
    received = VerifySpec(image=IMAGE, probes=(Http.parse("4000:80/a"), Http.parse("4000:80/b"), Tcp.parse("4000:80")))
    assert len(received.probes) == 3


@pytest.mark.parametrize(("name", "expect", "wanted"), [(IMAGE, None, None), (IMAGE, ONE, ONE), (IMAGE.with_digest(ONE), None, ONE)])
def test_expected_digest_is_the_option_or_the_names_own(name: Reference, expect: Digest | None, wanted: Digest | None) -> None:
    assert VerifySpec(image=name, expect=expect).expected == wanted


def test_expected_json_value_may_contain_an_equals_sign() -> None:
    page = Http.parse("4000:80").expecting(json="a.b=c=d").expecting(json="n=")
    assert page.json == (("a.b", "c=d"), ("n", ""))


@pytest.mark.parametrize("text", ["", "visits", "=7"])
def test_expected_json_value_without_a_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no value|found by a path"):
        Http.parse("4000:80").expecting(json=text)


@given(published=ports, container=ports, path=paths)
def test_http_is_parsed_and_printed_as_typed(published: int, container: int, path: str) -> None:
    page = Http(published=published, container=container, path=path)
    assert Http.parse(str(page)) == page


@given(published=ports, container=ports)
def test_tcp_is_parsed_and_printed_as_typed(published: int, container: int) -> None:
    wanted = Tcp(published=published, container=container)
    assert Tcp.parse(str(wanted)) == wanted
    assert Http.parse(str(wanted)).path == "/"


@given(words=st.lists(st.text(alphabet=string.printable, max_size=10), min_size=1, max_size=5).filter(lambda words: bool(words[0])))
def test_command_is_parsed_and_printed_as_typed(words: list[str]) -> None:
    command = Exec(command=tuple(words))
    assert Exec.parse(str(command)) == command


@given(text=st.text(max_size=30))
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    for parse in (Http.parse, Tcp.parse, Exec.parse):
        assert "\n" not in _refusal(parse, text)


def _refusal(parse: Callable[[str], Probe], text: str) -> str:
    try:
        probe = parse(text)
    except UsageError as error:
        return error.message
    assert parse(str(probe)) == probe
    return ""
