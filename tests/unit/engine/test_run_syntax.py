"""What ``run`` takes as text: what is refused, and what docker makes of the rest."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.engine import ContainerSpec, Mount
from registry_tool.engine.containers import configuration
from registry_tool.engine.run_syntax import env_file, memory, mount, restart_policy, volume


@pytest.mark.parametrize(
    "text", ["", ":", ":/data", "data:", "data:data", "data", "./x", "a:/b:ro:rw", "a:/b:", "data:/", "/", "//", "srv/data:/data", "a::ro"]
)
def test_what_is_no_volume_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        volume(text)
    assert raised.value.hint


@pytest.mark.parametrize(
    "text",
    [
        *("", "type=bind", "target=/x,typo=1", "type=nfs,target=/x", "type=bind,target=/x", "type=bind,source=srv,target=/x", "source=x"),
        *("target=x", "target=/", "type=tmpfs,source=a,target=/x", "type=tmpfs,target=/x,tmpfs-mode=9", "target=/x,readonly=maybe", "ro"),
        *("type=bind,source=/a,target=/b,tmpfs-size=1m", "target=/x,source", 'target="/x', "type=tmpfs,target=/x,tmpfs-size=x"),
    ],
)
def test_what_is_no_mount_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        mount(text)


@pytest.mark.parametrize("text", ["", "0", "-1", "m", "1x", "1 0m", "1mm", "1,5g", "0.0001k", "9999999999999p", "1e3", "nan", "１m"])
def test_what_is_no_memory_size_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        memory(text)


@pytest.mark.parametrize("text", ["", "sometimes", "on-failure:", "on-failure:x", "always:3", "No"])
def test_what_is_no_restart_policy_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        restart_policy(text)


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"A=1\nB C=2\n", 2), (b"=x\n", 1), (b"A=1\n\n\xff\n", 3), (b"A=\0\n", 1), (b"A =1", 1), (b"# c\r\nexport A=1\r\n", 2)],
)
def test_a_bad_line_in_an_env_file_is_named(content: bytes, line: int) -> None:
    with pytest.raises(UsageError, match=rf"^vars\.env:{line}: "):
        env_file(content, "vars.env", {})


@given(st.text(max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    for parse in (volume, mount, memory, restart_policy):
        with suppress(UsageError):
            parse(text)


def test_env_file_is_read_as_docker_reads_it() -> None:
    content = b"\xef\xbb\xbf# a comment\r\nA=1=2\r\n  B='quoted'\n\nEMPTY=\nHERE\nNOT_HERE\nC= # no comment\n"
    expected = {"A": "1=2", "B": "'quoted'", "EMPTY": "", "HERE": "ours", "C": " # no comment"}
    assert env_file(content, "x", {"HERE": "ours"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data:/data", "data:/data"),
        ("/srv/data:/data:ro", "/srv/data:/data:ro"),
        ("./data:/data", f"{Path.cwd()}/data:/data"),
        (".:/data:ro,z", f"{Path.cwd()}:/data:ro,z"),
        ("../x:/data", f"{Path.cwd().parent / 'x'}:/data"),
        ("/data", "/data"),
    ],
)
def test_volumes(text: str, expected: str) -> None:
    assert volume(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/data", Mount(type="volume", target="/data")),
        ("type=volume,src=v,dst=/data,ro", Mount(type="volume", source="v", target="/data", read_only=True)),
        ("type=bind,source=/a,destination=/b,readonly=false", Mount(type="bind", source="/a", target="/b")),
        ("type=bind,source=.,target=/b", Mount(type="bind", source=str(Path.cwd()), target="/b")),
        ('type=bind,"source=/a,b",target=/b', Mount(type="bind", source="/a,b", target="/b")),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777",
            Mount(type="tmpfs", target="/t", options={"SizeBytes": 1 << 20, "Mode": 0o1777}),
        ),
        (
            "type=bind,source=/a,target=/b,bind-propagation=rslave",
            Mount(type="bind", source="/a", target="/b", options={"Propagation": "rslave"}),
        ),
        ("source=v,target=/b,volume-nocopy", Mount(type="volume", source="v", target="/b", options={"NoCopy": True})),
    ],
)
def test_mounts(text: str, expected: Mount) -> None:
    assert mount(text) == expected


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("1k", 1024), ("512m", 512 << 20), ("1.5G", 3 << 29), ("64MiB", 64 << 20), ("2 gb", 2 << 30), ("100b", 100)],
)
def test_memory_sizes(text: str, size: int) -> None:
    assert memory(text) == size


def test_the_engine_gets_what_was_typed() -> None:
    spec = ContainerSpec(
        image="x",
        binds=("v:/a:ro", "/anonymous"),
        mounts=(mount("type=tmpfs,target=/t,tmpfs-size=1m"),),
        working_dir="/w",
        memory=1 << 29,
        swap=True,
        network="host",
        remove=True,
        terminal_size=(24, 80),
        restart="on-failure:3",
    )
    body = configuration(spec)
    assert (body["WorkingDir"], body["Volumes"]) == ("/w", {"/anonymous": {}})
    assert "NetworkingConfig" not in body
    host: dict[str, Any] = body["HostConfig"]
    assert host["Binds"] == ["v:/a:ro"]
    assert host["Mounts"] == [{"Type": "tmpfs", "Source": "", "Target": "/t", "ReadOnly": False, "TmpfsOptions": {"SizeBytes": 1 << 20}}]
    assert (host["Memory"], host["NetworkMode"], host["AutoRemove"], host["ConsoleSize"]) == (1 << 29, "host", True, [24, 80])
    assert "MemorySwap" not in host
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
