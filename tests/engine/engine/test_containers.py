"""Containers of a real engine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from registry_tool.base.errors import Conflict, EngineError, EngineTimeout, NotFound, PortTaken
from registry_tool.engine import Container, ContainerSpec, Engine, PortBinding, Privileges, containers
from registry_tool.engine.containers import _of_listing, configuration, of_inspection
from registry_tool.engine.streams import demultiplex
from tests.support.requirements import free_port, wait_for_words

engine_needed = pytest.mark.engine

Run = Callable[..., Container]


@pytest.fixture
def shell(engine: Engine, registry_image: str) -> Iterator[Run]:
    """Runs a shell script in a container; whatever was created is removed in the end."""
    made: list[str] = []

    def run(script: str = "sleep 600", *, start: bool = True, **options: Any) -> Container:
        spec = ContainerSpec(image=registry_image, entrypoint=("sh", "-c"), command=(script,), **options)
        container = engine.run(spec) if start else engine.create(spec)
        made.append(container.id)
        return container

    yield run
    for container_id in reversed(made):  # what shares another one's network before that
        try:
            engine.remove(container_id, force=True)
        except NotFound:
            continue


@pytest.fixture
def volume(engine: Engine, unique: str) -> Iterator[str]:
    """Asked for before ``shell``, it is removed after it."""
    engine.create_volume(unique, labels={})
    yield unique
    engine.remove_volume(unique)


@pytest.fixture
def network(engine: Engine, unique: str) -> Iterator[str]:
    """Asked for before ``shell``, it is removed after it."""
    engine.create_network(unique, labels={})
    yield unique
    engine.remove_network(unique)


# What may go wrong


@engine_needed
def test_missing_container_is_not_found(engine: Engine, unique: str) -> None:
    assert engine.container(unique) is None
    calls: list[Callable[[], object]] = [
        lambda: engine.start(unique),
        lambda: engine.stop(unique),
        lambda: engine.kill(unique),
        lambda: engine.remove(unique),
        lambda: engine.wait(unique, timeout=5),
        lambda: engine.logs(unique),
        lambda: engine.attach(unique, stdin=False),
        lambda: engine.exec_stream(unique, ("cat",)),
        lambda: engine.resize(unique, rows=1, columns=1),
        lambda: engine.execute(unique, ["true"]),
        lambda: engine.put_files(unique, "/", {}),
        lambda: engine.get_file(unique, "/etc/passwd"),
    ]
    for call in calls:
        with pytest.raises(NotFound, match=unique):
            call()


@engine_needed
def test_create_without_image_is_not_found(engine: Engine, unique: str) -> None:
    with pytest.raises(NotFound, match=f"the engine has no image {unique}"):
        engine.create(ContainerSpec(image=unique))


@engine_needed
def test_a_taken_name_is_not_touched(engine: Engine, shell: Run, unique: str) -> None:
    first = shell(name=unique)
    with pytest.raises(Conflict, match=f"name {unique} is taken by container {first.short_id}"):
        shell(name=unique)
    result = engine.container(unique)
    assert result is not None
    assert (result.id, result.running) == (first.id, True)


@engine_needed
@pytest.mark.parametrize("holder", ["process", "container"])
def test_a_taken_port_leaves_no_container(engine: Engine, shell: Run, unique: str, holder: str) -> None:
    port = free_port()
    binding = PortBinding(container_port="80/tcp", host_port=port, host_ip="127.0.0.1")
    with socket.create_server(("127.0.0.1", port)) if holder == "process" else nullcontext():
        if holder == "container":
            shell(ports=(binding,))
        with pytest.raises(PortTaken, match=f"port {port} is taken"):
            shell(ports=(binding,), name=unique)
    assert engine.container(unique) is None


@engine_needed
def test_a_command_that_is_not_in_the_image(engine: Engine, registry_image: str, unique: str) -> None:
    with pytest.raises(EngineError, match="no-such-program"):
        engine.run(ContainerSpec(image=registry_image, entrypoint=("no-such-program",), name=unique))
    assert engine.container(unique) is None


@engine_needed
def test_a_running_container_stays_without_force(engine: Engine, shell: Run) -> None:
    running = shell()
    with pytest.raises(Conflict):
        engine.remove(running.id)
    engine.remove(running.id, force=True)
    assert engine.container(running.id) is None


@engine_needed
def test_wait_times_out(engine: Engine, shell: Run) -> None:
    with pytest.raises(EngineTimeout):
        engine.wait(shell().id, timeout=0.3)


@engine_needed
def test_killing_and_executing_in_what_does_not_run(engine: Engine, shell: Run) -> None:
    created = shell(start=False)
    with pytest.raises(Conflict):
        engine.kill(created.id)
    with pytest.raises(Conflict):
        engine.execute(created.id, ["true"])


@engine_needed
def test_two_removals_at_once(engine: Engine, shell: Run) -> None:
    running = shell()
    outcomes: list[str] = []

    def remove() -> None:
        try:
            engine.remove(running.id, force=True)
            outcomes.append("removed")
        except NotFound:
            outcomes.append("not found")

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert len(outcomes) == 4
    assert engine.container(running.id) is None


@engine_needed
def test_a_file_that_is_not_there(engine: Engine, shell: Run) -> None:
    container = shell("ln -s /nowhere /dangling; ln -s /round /round; sleep 600")
    engine.execute(container.id, ["sh", "-c", "until [ -L /round ]; do sleep 0.05; done"])
    for path in ("/nope", "/nope/nope", "/dangling", "/round", "/etc"):
        assert engine.get_file(container.id, path) is None


# What comes out


@engine_needed
def test_spec_is_applied_completely(engine: Engine, volume: str, network: str, shell: Run, unique: str) -> None:
    made = shell(
        "echo $GREETING; id -u; sleep 600",
        name=unique,
        environment={"GREETING": "hello = you"},
        labels={"run": unique},
        ports=(PortBinding(container_port="80/tcp", host_port=0, host_ip="127.0.0.1"),),
        volumes={volume: "/data"},
        network=network,
        aliases=("web",),
        user="1",
        restart="on-failure:3",
    )
    assert (made.name, made.labels["run"], made.hostname, made.running) == (unique, unique, made.id[:12], True)
    assert made.mounts["/data"] == volume
    assert made.networks[network]
    assert "GREETING=hello = you" in made.environment
    assert [(port.container_port, port.host_ip) for port in made.ports] == [("80/tcp", "127.0.0.1")]
    assert made.ports[0].host_port > 0
    assert first_lines(engine, made.id, 2) == [b"hello = you", b"1"]

    (listed,) = engine.containers(labels={"run": unique})
    assert (listed.id, listed.name, listed.ports, listed.state) == (made.id, unique, made.ports, "running")
    assert (listed.image_id, listed.mounts, listed.networks) == (made.image_id, made.mounts, made.networks)
    assert listed.status.startswith("Up")


def first_lines(engine: Engine, container_id: str, count: int) -> list[bytes]:
    read = b""
    for _, chunk in engine.logs(container_id, follow=True):
        read += chunk
        if read.count(b"\n") >= count:
            break
    return read.splitlines()


@engine_needed
def test_an_exit_code_and_both_streams(engine: Engine, shell: Run) -> None:
    made = shell("echo out; echo err >&2; exit 3")
    assert engine.wait(made.id, timeout=600) == 3
    assert sorted(engine.logs(made.id)) == [("stderr", b"err\n"), ("stdout", b"out\n")]
    assert list(engine.logs(made.id, tail=0)) == []
    ended = engine.container(made.id)
    assert ended is not None
    assert (ended.state, ended.exit_code) == ("exited", 3)
    assert made.id in {container.id for container in engine.containers(all=True)}
    assert made.id not in {container.id for container in engine.containers()}


@engine_needed
def test_the_last_lines_of_a_log(engine: Engine, shell: Run) -> None:
    made = shell("for i in 1 2 3 4; do echo $i; done")
    engine.wait(made.id, timeout=600)
    assert b"".join(chunk for _, chunk in engine.logs(made.id, tail=2)) == b"3\n4\n"


@engine_needed
def test_log_tail_waits_until_the_log_has_settled(engine: Engine, shell: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_LOG_SETTLES", 600.0)
    made = shell("sleep 0.1; printf 'one\\n\\ntwo\\nthree\\n'; exit 1")
    assert engine.log_tail(made.id, 3) == ("two", "three"), "an empty line is none"
    assert engine.log_tail(made.id, 10, settle=False) == ("one", "two", "three")


@engine_needed
def test_log_tail_of_a_running_container_is_not_waited_for_without_settle(engine: Engine, shell: Run) -> None:
    assert engine.log_tail(shell("sleep 600").id, 3, settle=False) == ()


@engine_needed
def test_log_tail_of_a_container_that_is_gone_is_empty(engine: Engine, unique: str) -> None:
    assert engine.log_tail(unique, 3) == ()


@engine_needed
def test_a_log_of_a_terminal_is_raw(engine: Engine, shell: Run) -> None:
    made = shell("echo hi", tty=True)
    engine.wait(made.id, timeout=600)
    assert list(engine.logs(made.id)) == [("stdout", b"hi\r\n")]


@engine_needed
def test_stopping_asks_first_and_signals_arrive(engine: Engine, shell: Run) -> None:
    made = shell("trap 'exit 7' TERM; trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done")
    wait_for_words(engine, made.id, b"ready")
    engine.stop(made.id)
    assert engine.wait(made.id, timeout=600) == 7
    engine.stop(made.id)
    engine.start(made.id)
    wait_for_words(engine, made.id, b"ready\nready")
    engine.kill(made.id, signal="USR1")
    assert engine.wait(made.id, timeout=600) == 8


@engine_needed
def test_executing_inside(engine: Engine, shell: Run) -> None:
    made = shell()
    assert engine.execute(made.id, ["sh", "-c", "echo out; exit 3"]) == (3, b"out\n")
    code, output = engine.execute(made.id, ["no-such-program"])
    assert code in (126, 127)
    assert b"no-such-program" in output


@engine_needed
def test_files_go_in_before_the_start_and_onto_volumes(engine: Engine, volume: str, shell: Run) -> None:
    made = shell("cat /data/deep/a; stat -c %a /data/deep/a", start=False, volumes={volume: "/data"})
    engine.put_files(made.id, "/data", {"deep/a": (b"secret\n", 0o600), "b": (b"", 0o644)})
    assert engine.get_file(made.id, "/data/deep/a") == b"secret\n"
    assert engine.get_file(made.id, "/data/b") == b""
    engine.start(made.id)
    assert engine.wait(made.id, timeout=600) == 0
    assert b"".join(chunk for _, chunk in engine.logs(made.id)) == b"secret\n600\n"
    if not engine.is_podman:  # it makes the folder
        with pytest.raises(NotFound):
            engine.put_files(made.id, "/nowhere", {"a": (b"", 0o600)})


@engine_needed
def test_a_link_to_a_file_is_followed(engine: Engine, shell: Run) -> None:
    made = shell("echo content > /file; ln -s /file /tmp/one; ln -s one /tmp/two; touch /ready; sleep 600")
    engine.execute(made.id, ["sh", "-c", "until [ -e /ready ]; do sleep 0.05; done"])
    assert engine.get_file(made.id, "/tmp/two") == b"content\n"


@engine_needed
def test_anonymous_volumes_go_with_their_container(engine: Engine, shell: Run, registry_image: str) -> None:
    made = engine.create(ContainerSpec(image=registry_image))
    anonymous = set(made.mounts.values())
    engine.remove(made.id)
    for name in anonymous:
        assert engine.volume(name) is None
    # The registry's image declares a volume; one that does not proves nothing.
    assert anonymous


@engine_needed
def test_a_container_that_removes_itself(engine: Engine, registry_image: str) -> None:
    made = engine.run(ContainerSpec(image=registry_image, entrypoint=("true",), remove=True))
    deadline = time.monotonic() + 600
    while engine.container(made.id) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@engine_needed
def test_an_attached_terminal(engine: Engine, shell: Run) -> None:
    made = shell("read line; echo got $line; stty size 2>/dev/null", start=False, tty=True, interactive=True)
    with engine.attach(made.id, stdin=True) as attached:
        engine.start(made.id)
        engine.resize(made.id, rows=24, columns=80)
        attached.write(b"hello\n")
        read = b""
        while chunk := attached.read():
            read += chunk
    assert attached.tty
    assert b"got hello\r\n" in read


@engine_needed
def test_attached_without_a_terminal(engine: Engine, shell: Run) -> None:
    made = shell("cat; echo err >&2", start=False, interactive=True)
    with engine.attach(made.id, stdin=True) as attached:
        engine.start(made.id)
        attached.write(b"through\n")
        attached.close_input()
        # the engine copies the two streams side by side: their order is not known
        assert sorted(demultiplex(iter(attached.read, b""))) == [("stderr", b"err\n"), ("stdout", b"through\n")]


# What engines say, in forms that are not always there


def test_sparse_and_unexpected_inspections_are_read() -> None:
    bare = of_inspection({"Id": "a"})
    assert (bare.state, bare.ports, bare.networks, bare.exit_code) == ("", (), {}, None)
    assert _of_listing({"Id": "a"}).name == ""
    odd = of_inspection(
        {
            "Id": "a",
            "Created": "yesterday",
            "State": {"Status": "exited", "ExitCode": 5},
            "NetworkSettings": {
                "Ports": {"80/tcp": None, "81/tcp": [{"HostIp": "", "HostPort": ""}, {"HostPort": "4000"}]},
                "Networks": {"n": None},
            },
            "Mounts": [None, {}, {"Destination": "/d", "Source": "/s"}],
        }
    )
    assert (odd.created, odd.exit_code) == ("yesterday", 5)
    assert odd.ports == (PortBinding(container_port="81/tcp", host_port=4000),)
    assert (odd.networks, odd.mounts) == ({"n": ""}, {"/d": "/s"})


def test_listing_has_the_proper_name_of_a_linked_container() -> None:
    listed = _of_listing({"Id": "a", "Names": ["/other/alias", "/web"], "Created": 10**20, "Ports": [{"PrivatePort": 80, "Type": "tcp"}]})
    assert (listed.name, listed.created, listed.ports) == ("web", "", ())


def test_minimal_spec_leaves_all_to_the_image() -> None:
    config = configuration(ContainerSpec(image="a"))
    assert not {"Cmd", "Entrypoint", "User", "NetworkingConfig"} & set(config)
    assert config["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}


def test_two_bindings_of_one_port_and_an_empty_entrypoint() -> None:
    spec = ContainerSpec(
        image="a",
        entrypoint=(),
        ports=(PortBinding(container_port="80/tcp", host_port=1, host_ip="127.0.0.1"), PortBinding(container_port="80/tcp", host_port=0)),
        volumes={"v": "/v"},
        read_only_volumes=True,
    )
    config = configuration(spec)
    assert config["Entrypoint"] == []
    assert config["HostConfig"]["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}, {"HostIp": "", "HostPort": ""}]}
    assert config["HostConfig"]["Binds"] == ["v:/v:ro"]
    assert configuration(replace(spec, restart="on-failure:3"))["HostConfig"]["RestartPolicy"]["MaximumRetryCount"] == 3


@engine_needed
def test_exec_stream_passes_input_and_ends_with_it(engine: Engine, shell: Run) -> None:
    made = shell()
    with engine.exec_stream(made.id, ("cat",)) as stream:
        assert not stream.tty
        stream.write(b"through\n" * 20_000)
        stream.close_input()
        assert b"".join(content for _, content in demultiplex(iter(stream.read, b""))) == b"through\n" * 20_000


@engine_needed
def test_a_container_may_be_in_another_ones_network(engine: Engine, shell: Run) -> None:
    first = shell(network="none")
    second = shell(network=f"container:{first.id}")
    links = [engine.execute(made.id, ("readlink", "/proc/self/ns/net"))[1] for made in (first, second)]
    assert links[0] == links[1]
    assert second.networks == {}


@engine_needed
def test_capabilities_and_masks_are_what_was_asked_for(engine: Engine, shell: Run) -> None:
    usual, other = shell(), shell(cap_add=("SYS_ADMIN",), unmasked=True)
    bits = [int(engine.execute(made.id, ("sed", "-n", "s/CapEff://p", "/proc/self/status"))[1], 16) for made in (usual, other)]
    assert bits[0] ^ bits[1] == 1 << 21
    masked = [engine.execute(made.id, ("sh", "-c", "grep -c ' /proc/' /proc/self/mounts"))[1].strip() for made in (usual, other)]
    assert masked[0] != b"0" and masked[1] == b"0"


@engine_needed
def test_control_groups_are_its_own_where_that_was_asked_for(engine: Engine, shell: Run) -> None:
    groups = [engine.execute(shell(cgroupns="private").id, ("readlink", "/proc/self/ns/cgroup"))[1] for _ in range(2)]
    if groups[0] == groups[1] and engine.is_podman and engine.setup().cgroup_version == "1":
        pytest.skip("podman 5.4's interface leaves a container in the host's control groups where these are of version 1")
    assert groups[0] != groups[1]


def test_spec_sets_privileges() -> None:
    host = configuration(ContainerSpec(image="a", privileged=True, security_opt=("seccomp=unconfined",)))["HostConfig"]
    assert host["Privileged"] is True
    assert host["SecurityOpt"] == ["seccomp=unconfined"]
    usual = configuration(ContainerSpec(image="a"))["HostConfig"]
    assert not {"Privileged", "CapAdd", "SecurityOpt", "MaskedPaths", "ReadonlyPaths", "CgroupnsMode"} & set(usual)
    assert "NetworkingConfig" not in configuration(ContainerSpec(image="a", network="container:b"))


def test_limits_are_as_the_engine_spells_them() -> None:
    host = configuration(ContainerSpec(image="a", memory=64 << 20, processes=32, log_size=1 << 20, file_size=1 << 30))["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["PidsLimit"]) == (64 << 20, 64 << 20, 32)
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": str(1 << 19), "max-file": "2"}}
    assert host["Ulimits"] == [{"Name": "fsize", "Soft": 1 << 30, "Hard": 1 << 30}]
    bare = configuration(ContainerSpec(image="a"))["HostConfig"]
    assert not {"Memory", "MemorySwap", "PidsLimit", "LogConfig", "Ulimits"} & set(bare)


def test_privileges_are_read_from_the_inspection() -> None:
    host = {
        "NetworkMode": "host",
        "Privileged": True,
        "CapAdd": ["SYS_ADMIN"],
        "Devices": [{"PathInContainer": "/dev/fuse"}],
        "PidMode": "host",
        "UTSMode": "host",
        "IpcMode": "private",
    }
    mounts = [{"Type": "bind", "Source": "/s", "Destination": "/d"}, {"Type": "volume", "Name": "v", "Destination": "/v"}]
    rights = of_inspection({"Id": "a", "HostConfig": host, "Mounts": mounts}).privileges
    assert rights == Privileges(
        network="host", privileged=True, capabilities=("SYS_ADMIN",), binds=("/d",), devices=("/dev/fuse",), namespaces=("pid", "uts")
    )
    assert of_inspection({"Id": "a"}).privileges == Privileges()
    assert _of_listing({"Id": "a"}).privileges is None


@engine_needed
def test_bytes_written_counts_the_container_layer(engine: Engine, shell: Run) -> None:
    made = shell()
    before = engine.bytes_written(made.id)
    engine.execute(made.id, ("sh", "-c", "head -c 1000000 /dev/zero >/file"))
    assert engine.bytes_written(made.id) - before >= 1_000_000
