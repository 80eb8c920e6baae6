"""What podman's docker-compatible interface answers otherwise than docker, with answers as podman 4.3 gives them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from itertools import count

import pytest

from registry_tool.auth import host_settings
from registry_tool.auth.host_settings import HostSettings
from registry_tool.base import labels
from registry_tool.base.errors import (
    BuildFailed,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    EngineError,
    NotFound,
    PortTaken,
    RegistryToolError,
)
from registry_tool.base.progress import SILENT
from registry_tool.demo.result import DemoResult
from registry_tool.engine import ContainerSpec
from registry_tool.engine.build.source import DockerfileSource
from registry_tool.engine.containers import configuration
from registry_tool.engine.image_names import familiar
from registry_tool.engine.streams import BuildLog
from registry_tool.local import orphans
from registry_tool.local.images import resolve, transfer
from registry_tool.oci.digest import Digest
from registry_tool.server import RunningRegistry
from tests.support.content import make_image
from tests.support.fake_engine import Answers, call, events, fake_engine, query
from tests.support.fake_server import ReceivedRequest, Reply, reply

OTHER, WANTED, THIRD = (Digest.parse(f"sha256:{digit * 64}") for digit in "123")
NAME = "10.0.0.1:5000/a"
ID = "c" * 64
NETAVARK = "netavark: aardvark-dns failed to start: open resolv.conf: No such file or directory"
BUILT = "0123456789ab" + "c" * 52

# What may go wrong


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (events({"stream": "Trying to pull docker.io…"}, {"stream": "Getting image source signatures\n"}), True),
        (events({"stream": "Trying to pull docker.io…"}, {"error": "dial tcp: lookup registry-1.docker.io: no such host"}), False),
        (events({"stream": "Trying to pull docker.io…"}), False),
        (events(), False),
        (reply({"cause": "x", "message": "denied", "response": 500}, 500), False),
    ],
    ids=["its layers begin", "no such host", "only a try", "nothing", "an error"],
)
def test_whether_podman_reaches_a_registry_is_known_by_the_begin_of_a_pull(answer: Reply, expected: bool) -> None:
    with fake_engine({"POST /libpod/images/pull": answer}, podman="4.3.1") as (engine, server):
        assert engine.can_pull("docker.io/library/registry:2", timeout=60) is expected
    assert not any("distribution" in request.path for request in server.requests), "podman does not have it"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            'exec: "nosuch": executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found',
            CommandNotFound,
        ),
        ('exec: "/nope": stat /nope: no such file or directory: OCI not found', CommandNotFound),
        ('exec: "/etc/passwd": permission denied: OCI permission denied', CommandNotExecutable),
        ("cannot listen on the TCP port: listen tcp4 :4000: bind: address already in use", PortTaken),
    ],
)
def test_what_podman_cannot_start_fails_at_the_attachment_as_docker_does_at_the_start(words: str, kind: type[RegistryToolError]) -> None:
    answers = {f"POST /containers/{ID}/attach": reply({"message": f"preparing container {ID} for attach: runc: {words}"}, 409)}
    with fake_engine(answers, podman="4.3.1") as (engine, _), pytest.raises(kind) as raised:
        engine.attach(ID, stdin=False)
    assert words in raised.value.message


def test_the_taken_port_is_named_where_podman_names_no_address() -> None:
    words = "cannot listen on the TCP port: listen tcp4 :4000: bind: address already in use"
    answers = {"POST /containers/c/start": reply({"message": words}, 500)}
    with fake_engine(answers, podman="4.3.1") as (engine, _), pytest.raises(PortTaken, match="port 4000 is taken"):
        engine.start("c")


def test_a_container_that_goes_while_podman_looks_at_it_is_not_there() -> None:
    gone = reply({"cause": "no such container", "message": f"container {ID} does not exist in database: no such container"}, 500)
    with fake_engine({f"GET /containers/{ID}/json": gone, f"DELETE /containers/{ID}": gone}, podman="4.3.1") as (engine, _):
        assert engine.container(ID) is None
        engine.remove(ID, missing_ok=True)
        with pytest.raises(NotFound):
            engine.remove(ID)


def test_an_image_without_a_program_and_a_network_that_fails_are_no_missing_command() -> None:
    for words, told in (('runc: exec: "": executable file not found in $PATH', "no command specified"), (NETAVARK, NETAVARK)):
        refusal = reply({"message": words}, 500)
        with fake_engine({f"POST /containers/{ID}/start": refusal}, podman="5.8.6") as (engine, _), pytest.raises(EngineError) as raised:
            engine.start(ID)
        assert (type(raised.value), raised.value.message) == (EngineError, told)


def test_podman_without_nft_says_which_package_has_it() -> None:
    words = "netavark: nftables error: unable to execute nft: No such file or directory (os error 2)"
    with (
        fake_engine({f"POST /containers/{ID}/start": reply({"message": words}, 500)}, podman="5.4.2") as (engine, _),
        pytest.raises(EngineError) as raised,
    ):
        engine.start(ID)
    assert raised.value.message == words
    assert raised.value.hint is not None
    assert "nftables" in raised.value.hint


def test_fractions_of_seconds_are_not_asked_for_in_logs() -> None:
    answers = {f"GET /containers/{ID}/json": reply({"Id": ID, "Config": {"Tty": True}}), f"GET /containers/{ID}/logs": Reply(body=b"x")}
    with fake_engine(answers, podman="5.8.6") as (engine, server):
        assert list(engine.logs(ID, since="1796057010.66")) == [("stdout", b"x")]
    assert query(server.requests[-1])["since"] == "1796057010"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("cannot remove container c as it is running - paused ones cannot be removed: container state improper", Conflict),
        ("can only create exec sessions on running containers: container state improper", Conflict),
        ("docker.io/library/a: image not known", NotFound),
        ("no volume with name a found: no such volume", NotFound),
        ("a thing of which there was no such container: broken", EngineError),
        ("something else", EngineError),
    ],
)
def test_a_refusal_with_status_500_is_what_its_words_say(words: str, kind: type[RegistryToolError]) -> None:
    refusal = reply({"message": words}, 500)
    with fake_engine({"POST /containers/c/kill": refusal}, podman="5.8.6") as (engine, _), pytest.raises(RegistryToolError) as raised:
        engine.kill("c")
    assert words in raised.value.message
    assert type(raised.value) is kind


def test_a_container_that_podman_does_not_name_is_named() -> None:
    refusal = reply({"message": "no such container"}, 404)
    with fake_engine({"POST /containers/web/wait": refusal}, podman="5.8.6") as (engine, _), pytest.raises(NotFound) as raised:
        engine.wait("web")
    assert raised.value.message == "waiting for the container web: no such container"


def test_links_without_end_lead_to_no_file() -> None:
    words = 'copier: stat: error resolving "/a": open /a: too many levels of symbolic links'
    with fake_engine({f"GET /containers/{ID}/archive": reply({"message": words}, 500)}, podman="5.8.6") as (engine, _):
        assert engine.get_file(ID, "/a") is None


@pytest.mark.parametrize("kept", [700, 512, 100, 0])
def test_file_that_becomes_shorter_while_it_is_read_is_an_error(kept: int) -> None:
    """The engine's archive ends where it noticed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("state")
        member.size = 1000
        archive.addfile(member, io.BytesIO(bytes(1000)))
    answer = Reply(body=packed.getvalue()[:kept], headers={"X-Docker-Container-Path-Stat": "e30="})
    with fake_engine({f"GET /containers/{ID}/archive": answer}) as (engine, _), pytest.raises(EngineError, match="/state in the container"):
        engine.get_file(ID, "/state")


PORTS = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5000"}]}
CREATED = {"Id": ID, "State": {"Status": "created"}, "HostConfig": {"PortBindings": PORTS}}


@pytest.mark.parametrize("begin", ["start", "attach"])
@pytest.mark.parametrize("address", ["127.0.0.1", "", "0.0.0.0"])
def test_a_port_of_another_container_is_not_asked_for(begin: str, address: str) -> None:
    """netavark 1.4 would take back rules that both have, and the other one lose its port."""
    other = {"Id": "other", "Names": ["/registry"], "Ports": [{"IP": address, "PrivatePort": 5000, "PublicPort": 5000, "Type": "tcp"}]}
    answers = {f"GET /containers/{ID}/json": reply(CREATED), "GET /containers/json": reply([other])}
    taken = pytest.raises(PortTaken, match="port 5000 is taken by the container registry")
    with fake_engine(answers, podman="4.3.1") as (engine, server), taken:
        engine.start(ID) if begin == "start" else engine.attach(ID, stdin=False)
    assert not [request for request in server.requests if request.method == "POST"]


@pytest.mark.parametrize(
    "held",
    [
        {"IP": "127.0.0.2", "PrivatePort": 80, "PublicPort": 5000, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 5000, "Type": "udp"},
        {"IP": "127.0.0.1", "PrivatePort": 80, "PublicPort": 5001, "Type": "tcp"},
    ],
    ids=["another address", "another protocol", "another port"],
)
def test_what_is_no_conflict_of_ports_starts(held: dict[str, object]) -> None:
    others = [{"Id": "other", "Ports": [held]}, {"Id": ID, "Ports": [{**held, "IP": "127.0.0.1", "PublicPort": 5000, "Type": "tcp"}]}]
    answers = {
        f"GET /containers/{ID}/json": reply(CREATED),
        "GET /containers/json": reply(others),
        f"POST /containers/{ID}/start": Reply(status=204),
    }
    with fake_engine(answers, podman="4.3.1") as (engine, _):
        engine.start(ID)


def test_docker_is_not_asked_for_the_ports_of_others() -> None:
    with fake_engine({f"POST /containers/{ID}/start": Reply(status=204)}) as (engine, server):
        engine.start(ID)
    assert [call(request) for request in server.requests][1:] == [f"POST /containers/{ID}/start"]


@pytest.mark.parametrize(
    ("podmans", "dockers", "exit_code"),
    [
        ("stopped", "exited", 3),
        ("stopping", "running", None),
        ("configured", "created", None),
        ("initialized", "created", None),
        ("exited", "exited", 3),
        ("running", "running", None),
        ("paused", "paused", None),
    ],
)
def test_podmans_state_of_a_container_is_read_as_dockers(podmans: str, dockers: str, exit_code: int | None) -> None:
    inspected = {"Id": ID, "State": {"Status": podmans, "ExitCode": 3}}
    answers = {f"GET /containers/{ID}/json": reply(inspected), "GET /containers/json": reply([{"Id": ID, "State": podmans}])}
    with fake_engine(answers, podman="5.4.2") as (engine, _):
        container = engine.container(ID)
        assert container is not None
        assert (container.state, container.exit_code) == (dockers, exit_code)
        assert [each.state for each in engine.containers(all=True)] == [dockers]


def die(code: str) -> dict[str, object]:
    return {"Action": "die", "Actor": {"ID": ID, "Attributes": {"containerExitCode": code}}}


@pytest.mark.parametrize(
    ("waited", "in_events", "code"),
    [
        ({"StatusCode": 3, "Error": None}, (), 3),
        ({"StatusCode": 0, "Error": {"Message": "container does not exist in database: no such container"}}, (die("3"),), 3),
        ({"StatusCode": 0, "Error": {"Message": "no such container"}}, ({"Action": "start"}, die("1"), die("0"), {"Action": "remove"}), 0),
    ],
    ids=["waited for", "only in the events", "restarted"],
)
def test_exit_code_of_a_container_that_podman_removes(waited: object, in_events: tuple[dict[str, object], ...], code: int) -> None:
    answers = {f"POST /containers/{ID}/wait": reply(waited), "GET /events": events(*in_events)}
    with fake_engine(answers, podman="4.3.1") as (engine, server):
        assert engine.begin_wait(ID, removed=True).exit_code() == code
    [request] = [each for each in server.requests if call(each) == f"POST /containers/{ID}/wait"]
    assert query(request) == {"condition": "next-exit"}, "podman reports 0 to who waits for the removal"


def test_exit_code_that_is_known_nowhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry_tool.engine.exit_wait.REMOVAL_TIMEOUT", 0)
    answers = {f"POST /containers/{ID}/wait": reply({"StatusCode": 0, "Error": {"Message": "so it is"}}), "GET /events": events()}
    with fake_engine(answers, podman="4.3.1") as (engine, _), pytest.raises(EngineError, match="so it is"):
        engine.begin_wait(ID, removed=True).exit_code()


def test_docker_is_waited_for_until_it_has_removed_the_container() -> None:
    with fake_engine({f"POST /containers/{ID}/wait": reply({"StatusCode": 3})}) as (engine, server):
        assert engine.begin_wait(ID, removed=True).exit_code() == 3
    assert query(server.requests[-1]) == {"condition": "removed"}


def test_a_container_whose_network_another_one_shares_is_removed_after_that() -> None:
    listing: list[dict[str, object]] = [{"Id": id, "Names": [f"/{id}"], "Labels": {}} for id in ("forwarder", "engine")]
    left = {"forwarder", "engine"}

    def remove(request: ReceivedRequest) -> Reply:
        id = call(request).rpartition("/")[2]
        if id == "forwarder" and "engine" in left:
            return reply({"message": "container forwarder has dependent containers which must be removed before it: engine"}, 500)
        left.discard(id)
        return Reply(status=204)

    answers: Answers = {
        "GET /containers/json": reply(listing),
        "GET /networks": reply([]),
        "GET /volumes": reply({"Volumes": []}),
        "DELETE /containers/forwarder": remove,
        "DELETE /containers/engine": remove,
    }
    with fake_engine(answers, podman="4.3.1") as (engine, _):
        with pytest.raises(Conflict, match="has dependent containers"):
            engine.remove("forwarder", force=True)
        orphans.clear(engine, {labels.VERIFY: "1"})
    assert left == set()


HEREDOC = b"FROM a\nRUN <<EOF\necho a\nEOF\n"


def test_a_here_document_that_podmans_builder_cannot_read_is_refused() -> None:
    with fake_engine({}, podman="4.7.2") as (engine, _), pytest.raises(BuildFailed, match=r"here-document.* podman 4\.7\.2") as raised:
        engine.build(None, dockerfile=DockerfileSource(content=HEREDOC))
    assert raised.value.hint is not None


def test_an_unknown_instruction_is_named_without_the_builders_insides() -> None:
    words = 'building at STEP "BAD ": Build error: Unknown instruction: "BAD" &imagebuilder.Step{Env:[]string{"PATH=/bin"}, Command:"bad"}'
    with fake_engine({"POST /build": events({"error": words})}, podman="4.3.1") as (engine, _), pytest.raises(BuildFailed) as raised:
        engine.build(None, dockerfile=DockerfileSource(content=b"FROM a\nBAD x\n"))
    assert raised.value.message.endswith('Unknown instruction: "BAD"')


# Names

SHORT, WHOLE, MADE_BY_PODMAN = "john/app:1", "docker.io/john/app:1", "localhost/john/app:1"


def images_of(**ids: str) -> Answers:
    """Images by their names, and what podman makes of a short one: any image whose name ends so."""
    return {f"GET /images/{name}/json": reply({"Id": f"sha256:{id}", "RepoTags": [name]}) for name, id in ids.items()}


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ((WHOLE, MADE_BY_PODMAN), WHOLE),
        ((MADE_BY_PODMAN,), MADE_BY_PODMAN),
        (("localhost:5000/john/app:1",), None),
    ],
    ids=["as docker's", "made by podman", "another one whose name ends so"],
)
def test_a_short_name_is_no_other_image_whose_name_ends_so(there: tuple[str, ...], found: str | None) -> None:
    answers = {**images_of(**{SHORT: "9" * 64}), **images_of(**{name: str(index) * 64 for index, name in enumerate(there)})}
    with fake_engine(
        {**answers, "POST /containers/create": reply({"Id": ID}), f"GET /containers/{ID}/json": reply(CREATED)}, podman="5.8.6"
    ) as (
        engine,
        server,
    ):
        image = engine.image(SHORT)
        assert (image.names if image else None) == (None if found is None else (found.removeprefix("docker.io/"),))
        engine.create(ContainerSpec(image=SHORT))
        [created] = [request for request in server.requests if call(request) == "POST /containers/create"]
        assert json.loads(created.body)["Image"] == (found or WHOLE)


def test_an_id_is_found_and_no_name_that_ends_so() -> None:
    with fake_engine(images_of(abcd="abcd" + "0" * 60, dcba="1" * 64), podman="5.8.6") as (engine, _):
        assert engine.image("abcd")
        assert engine.image("dcba") is None


def test_a_name_is_given_whole_so_that_no_other_images_name_moves() -> None:
    answers = {**images_of(**{WHOLE: "1" * 64}), f"POST /images/{WHOLE}/tag": Reply(status=201)}
    with fake_engine(answers, podman="5.8.6") as (engine, server):
        engine.tag(SHORT, "john/other:2")
    assert query(server.requests[-1])["repo"] == "docker.io/john/other"
    with fake_engine({f"POST /images/{SHORT}/tag": Reply(status=201)}) as (engine, server):
        engine.tag(SHORT, "john/other:2")
    assert query(server.requests[-1])["repo"] == "john/other", "docker takes it as it is"


def test_all_names_that_podman_loaded_are_read_from_its_one_line() -> None:
    answers = {"POST /images/load": events({"stream": "Loaded image: docker.io/library/a:1,localhost/b:2"})}
    with fake_engine(answers, podman="5.8.6") as (engine, _):
        assert engine.load_image(io.BytesIO()) == ("a:1", "localhost/b:2")


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("docker.io/library/app:1", "app:1"),
        ("docker.io/john/app:1", "john/app:1"),
        ("docker.io/library/john/app:1", "library/john/app:1"),
        ("docker.io/localhost/app:1", "docker.io/localhost/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("localhost:5000/library/app:1", "localhost:5000/library/app:1"),
        ("library/app:1", "library/app:1"),
        ("sha256:abc", "sha256:abc"),
    ],
)
def test_names_are_listed_as_docker_lists_them(listed: str, name: str) -> None:
    assert familiar(listed) == name


def test_an_image_that_podman_named_is_found_by_the_name_that_was_typed() -> None:
    with fake_engine(images_of(**{MADE_BY_PODMAN: "1" * 64}), podman="5.8.6") as (engine, _):
        assert resolve.find_by_name(engine, SHORT)


# What goes well


@pytest.mark.parametrize(
    ("before", "status"), [("1", "Image is up to date"), ("2", "Downloaded newer image"), (None, "Downloaded newer image")]
)
def test_status_of_a_pull_is_as_docker_reports_it(before: str | None, status: str) -> None:
    answers = pulling(WANTED)
    looks = iter([reply({"Id": f"sha256:{before}"}) if before else reply({"message": "no such image"}, 404)])
    after = answers[f"GET /images/{NAME}:1/json"]
    assert isinstance(after, Reply)
    with fake_engine({**answers, f"GET /images/{NAME}:1/json": lambda request: next(looks, after)}, podman="5.8.6") as (engine, _):
        assert engine.pull(f"{NAME}:1").status == f"{status} for {NAME}:1"


def test_a_container_in_another_ones_network_has_none_of_its_own() -> None:
    inspected = {"Id": ID, "HostConfig": {"NetworkMode": "container:a"}, "NetworkSettings": {"Networks": {"none": {}}}}
    with fake_engine({f"GET /containers/{ID}/json": reply(inspected)}, podman="5.8.6") as (engine, _):
        container = engine.container(ID)
    assert container is not None
    assert container.networks == {}


def test_nothing_follows_the_end_of_an_archive_of_files() -> None:
    """Podman 5 answers "broken pipe" now and then where something does."""
    with fake_engine({f"PUT /containers/{ID}/archive": Reply()}, podman="5.8.6") as (engine, server):
        engine.put_files(ID, "/", {"a": (b"one", 0o644), "b": (b"two", 0o644)})
    body = server.requests[-1].body
    assert len(body) == 6 * tarfile.BLOCKSIZE, "a header and a block for each file, and the end"
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert archive.getnames() == ["a", "b"]


def test_masks_are_left_out_in_podmans_own_words() -> None:
    spec = ContainerSpec(image="a", unmasked=True, security_opt=("seccomp=unconfined",))
    assert configuration(spec, podman=True)["HostConfig"]["SecurityOpt"] == ["seccomp=unconfined", "unmask=ALL"]
    assert configuration(spec)["HostConfig"]["SecurityOpt"] == ["seccomp=unconfined"]


def test_a_line_of_podmans_own_log_is_not_in_a_builds_output() -> None:
    log = BuildLog(SILENT)
    log.add({"stream": 'time="2026-11-30T16:25:48Z" level=error msg="+(UNHANDLED LOGLEVEL) &imagebuilder.Step{}"\nSTEP 1\n'})
    assert log.lines == ["STEP 1"]


@pytest.mark.parametrize(("podman", "product"), [("4.3.1", "Podman"), ("", "Docker")])
def test_the_first_response_tells_what_the_engine_is(podman: str, product: str) -> None:
    answers = {"GET /version": reply({"Version": "4.3.1"}), "GET /info": reply({"Name": "host"})}
    with fake_engine(answers, podman=podman) as (engine, server):
        assert engine.is_podman is bool(podman)
        assert [request.path for request in server.requests] == ["/_ping"]
        assert (engine.info.product, engine.info.product) == (product, product)
    assert sorted(call(request) for request in server.requests[1:]) == ["GET /info", "GET /version"]


def test_the_id_of_a_podman_is_the_same_each_time_and_another_ones_is_another() -> None:
    numbers = count()

    def ids(root: str) -> Iterator[str]:
        def info(request: ReceivedRequest) -> Reply:
            return reply({"ID": f"made up {next(numbers)}", "Name": "host", "DockerRootDir": root})

        for _ in range(2):
            with fake_engine({"GET /info": info}, podman="4.3.1") as (engine, _):
                yield engine.id

    first, second = ids("/var/lib/containers/storage")
    [other] = set(ids("/home/john/.local/share/containers/storage"))
    assert first == second != other
    with fake_engine({"GET /info": reply({"ID": "ABCD"})}) as (engine, _):
        assert engine.id == "ABCD"


def pulling(*digests: Digest) -> Answers:
    image = {"Id": "sha256:1", "RepoDigests": [f"other.example.com/a@{THIRD}", *(f"{NAME}@{digest}" for digest in digests)]}
    return {
        "POST /images/create": events({"status": "Download complete", "id": "1"}),
        f"GET /images/{NAME}:1/json": reply(image),
        f"GET /images/{NAME}@{WANTED}/json": reply(image),
    }


@pytest.mark.parametrize(
    ("kept", "expected", "reported"),
    [((OTHER, WANTED), WANTED, WANTED), ((OTHER, WANTED), None, OTHER), ((WANTED,), OTHER, WANTED), ((OTHER, WANTED), THIRD, OTHER)],
    ids=["the registry's", "not known", "another one is there", "that of another repository"],
)
def test_of_the_digests_that_podman_keeps_the_registrys_is_reported(
    kept: tuple[Digest, ...], expected: Digest | None, reported: Digest
) -> None:
    with fake_engine(pulling(*kept), podman="4.3.1") as (engine, _):
        assert engine.pull(f"{NAME}:1", expected=expected).digest == reported


def test_what_is_pulled_by_its_digest_has_that() -> None:
    with fake_engine(pulling(OTHER, WANTED), podman="4.3.1") as (engine, _):
        assert engine.pull(f"{NAME}@{WANTED}").digest == WANTED


def test_pull_asks_the_registry_which_digest_it_is(registry: RunningRegistry) -> None:
    pushed = make_image(registry.port, "a", "1")
    name, digest = f"{registry.host}/a", Digest.parse(pushed.digest)
    image = {"Id": "sha256:1", "RepoDigests": [f"{name}@{OTHER}", f"{name}@{digest}"]}
    answers = {"POST /images/create": events({"status": "Download complete", "id": "1"}), f"GET /images/{name}:1/json": reply(image)}
    with fake_engine(answers, podman="4.3.1") as (engine, _):
        assert transfer.pull(engine, registry.host, "a:1")[1].digest == digest


@pytest.mark.parametrize("settings", [HostSettings(plain_http=True), HostSettings(insecure=True)])
def test_where_a_login_remembered_so_podman_may_use_plain_http(settings: HostSettings) -> None:
    host_settings.remember("10.0.0.1:5000", settings)
    answers = {f"POST /images/{NAME}/push": events({"status": f"1: digest: {WANTED} size: 123"}), **pulling(WANTED)}
    with fake_engine(answers, podman="4.3.1") as (engine, server):
        engine.push(f"{NAME}:1")
        engine.pull(f"{NAME}:1")
    sent = [query(request).get("tlsVerify") for request in server.requests if request.method == "POST"]
    assert sent == ["false", "false"]


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("docker build -t x docker", "podman build -t x docker"),
        ("docker push localhost:5000/a", "podman push --tls-verify=false localhost:5000/a"),
        ("docker pull localhost:5000/a", "podman pull --tls-verify=false localhost:5000/a"),
        ("curl http://localhost:4000/", "curl http://localhost:4000/"),
    ],
)
def test_the_demo_shows_commands_of_podmans_client(command: str, typed: str) -> None:
    result = DemoResult(is_podman=True)
    with result.step("step", command):
        pass
    with pytest.raises(EngineError), result.step("step", command):
        raise EngineError("no")
    assert [step.command for step in result.steps] == [typed, typed]


@pytest.mark.parametrize(
    ("version", "content"),
    [("4.3.1", b"FROM a\nRUN --mount=type=cache,target=/x true\n"), ("4.8.0", HEREDOC), ("5.8.6", HEREDOC), ("unknown", b"FROM a\n")],
)
def test_builds_that_need_buildkit_go_to_podmans_own_builder(version: str, content: bytes) -> None:
    answers = {
        "POST /build": events({"stream": f"Successfully built {BUILT[:12]}\n"}),
        f"GET /images/{BUILT[:12]}/json": reply({"Id": f"sha256:{BUILT}"}),
    }
    with fake_engine(answers, podman=version) as (engine, _):
        assert engine.build(None, dockerfile=DockerfileSource(content=content)) == f"sha256:{BUILT}"
