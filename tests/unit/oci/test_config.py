from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from registry_tool.base.errors import InvalidManifest
from registry_tool.oci.config import Config, HistoryEntry, parse_config
from registry_tool.oci.descriptor import Platform
from registry_tool.oci.digest import Digest


def read(**members: Any) -> Config:
    return parse_config(json.dumps(members).encode())


def test_parse_config_reads_all_members() -> None:
    layer = Digest.of(b"layer")
    config = read(
        created="2024-05-06T07:08:09.123456789+02:00",
        os="linux",
        architecture="arm64",
        variant="v8",
        rootfs={"type": "layers", "diff_ids": [str(layer)]},
        history=[{"created": "2024-01-01T00:00:00Z", "created_by": "RUN x", "comment": "c", "empty_layer": True}, {}],
        config={
            "Labels": {"k": "v"},
            "Env": ["PATH=/bin"],
            "Cmd": ["python", "app.py"],
            "Entrypoint": ["/init"],
            "ExposedPorts": {"80/tcp": {}, "443/tcp": {}},
            "User": "nobody",
        },
        extra=[1],
    )
    assert config.created == datetime(2024, 5, 6, 5, 8, 9, 123456, tzinfo=timezone.utc)
    assert config.platform == Platform(os="linux", architecture="arm64", variant="v8")
    assert config.diff_ids == (layer,)
    assert config.history == (
        HistoryEntry(created=datetime(2024, 1, 1, tzinfo=timezone.utc), created_by="RUN x", comment="c", empty_layer=True),
        HistoryEntry(),
    )
    assert (config.labels, config.env, config.cmd, config.entrypoint) == ({"k": "v"}, ("PATH=/bin",), ("python", "app.py"), ("/init",))
    assert (config.exposed, config.user) == (("443/tcp", "80/tcp"), "nobody")


def test_lenient_config_keeps_what_can_be_read() -> None:
    members = {
        "created": "2024-05-06T07:08:09Z",
        "os": 7,
        "architecture": "amd64",
        "config": {"Cmd": "a string", "Env": ["A=1"], "Labels": {"k": 1}, "ExposedPorts": []},
        "history": [{"created_by": 5}],
        "rootfs": {"diff_ids": [str(Digest.of(b"x"))]},
    }
    config = parse_config(json.dumps(members).encode(), lenient=True)
    assert (config.env, config.cmd, config.architecture, config.diff_ids) == (("A=1",), (), "amd64", (Digest.of(b"x"),))
    assert config.created is not None
    assert [problem.partition(":")[0] for problem in config.problems] == [
        *("os", "history[0].created_by", "config.Labels.k", "config.Cmd", "config.ExposedPorts")
    ]
    assert parse_config(json.dumps({"config": "x", "os": "linux"}).encode(), lenient=True).os == "linux"
    assert read(os="linux").problems == ()
    with pytest.raises(InvalidManifest):
        parse_config(b"[]", lenient=True)


def test_parse_config_absent_members_are_empty() -> None:
    config = parse_config(b"{}")
    assert config == Config(raw=b"{}")
    assert config.platform is None and config.created is None
    empty = {"Labels": None, "Env": None, "Cmd": None, "Entrypoint": None, "ExposedPorts": None, "User": None}
    assert read(config=empty, history=None, rootfs=None, os=None).env == ()
    assert read(config=None).cmd == ()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-06T07:08:09Z", datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone.utc)),
        ("2024-05-06t07:08:09.5z", datetime(2024, 5, 6, 7, 8, 9, 500000, tzinfo=timezone.utc)),
        ("2024-05-06T07:08:09-01:30", datetime(2024, 5, 6, 8, 38, 9, tzinfo=timezone.utc)),
        ("1980-01-01T00:00:01Z", datetime(1980, 1, 1, 0, 0, 1, tzinfo=timezone.utc)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
    ],
)
def test_parse_time_is_in_utc(text: str, moment: datetime) -> None:
    created = read(created=text).created
    assert created == moment
    assert created.tzinfo is timezone.utc


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            0,
            1714979289,
            [],
            {},
            "yesterday",
            "2024-05-06",
            "2024-05-06T07:08:09",
            "2024-05-06 07:08:09Z",
            "0001-01-01T00:00:00Z",
        ),
        *(
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:01Z",
            "1969-12-31T23:59:59.999Z",
            "1970-01-01T00:00:00+00:01",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-01-01T24:01:00Z",
        ),
        *(
            "9999-12-31T23:59:59-23:00",
            "0001-01-01T00:00:00+23:00",
            "2024-01-01T00:00:00+99:00",
            "2024-01-01T00:00:60Z",
            "2024-01-01T00:00:00Z\n",
        ),
        *("٢٠٢٤-05-06T07:08:09Z", "2024-05-06T07:08:09.Z", "-2024-05-06T07:08:09Z"),
    ],
)
def test_parse_time_of_placeholders_is_none(value: object) -> None:
    assert read(created=value).created is None
    assert read(history=[{"created": value}]).history == (HistoryEntry(),)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"os": 1}, "os: a string is required, not a number"),
        ({"config": []}, "config: an object is required, not an array"),
        ({"config": {"Env": ["A=b", 7]}}, "config.Env[1]: a string is required, not a number"),
        ({"config": {"Cmd": "python"}}, "config.Cmd: an array is required, not a string"),
        ({"config": {"Labels": {"k": 1}}}, "config.Labels.k: a string is required, not a number"),
        ({"config": {"ExposedPorts": []}}, "config.ExposedPorts: an object is required, not an array"),
        ({"rootfs": {"diff_ids": ["x"]}}, "rootfs.diff_ids[0]: not a digest: 'x'"),
        ({"rootfs": {"diff_ids": [None]}}, "rootfs.diff_ids[0]: not a digest: ''"),
        ({"history": [{}, {"empty_layer": "no"}]}, "history[1].empty_layer: true or false is required, not a string"),
        ({"history": ["x"]}, "history[0]: an object is required, not a string"),
    ],
)
def test_parse_config_wrong_member_is_named_with_its_path(members: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        read(**members)
    assert caught.value.message == message


@pytest.mark.parametrize("raw", [b"", b"not json", b"[]", b"\x1f\x8b\x08", b"{" * 100_000, b"\xff"])
def test_parse_config_of_no_object_is_an_error(raw: bytes) -> None:
    with pytest.raises(InvalidManifest, match="^image config: "):
        parse_config(raw)
