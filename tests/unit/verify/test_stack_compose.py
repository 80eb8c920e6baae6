"""What is read of a compose file, and how the rest is refused: with its line, and what is supported."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from registry_tool.base import yaml_reader
from registry_tool.base.errors import NotFound, UsageError
from registry_tool.verify.stack import compose
from registry_tool.verify.stack.compose import Composition, Healthcheck, Service
from tests.support.paths import ROOT
from tests.support.requirements import missing

EXAMPLE = ROOT / "examples/stack/stack.yml"


def _parse(text: str, **variables: str) -> Composition:
    return compose.parse(text.encode(), file="stack.yml", variables=variables)


def _service(keys: str, *, top: str = "") -> Service:
    """The service ``web`` whose further lines are ``keys``."""
    body = "".join(f"    {line}\n" for line in keys.splitlines())
    [service] = _parse(f"services:\n  web:\n    image: a\n{body}{top}").services
    return service


def _refused(text: str, **variables: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        _parse(text, **variables)
    return caught.value


# --- what is refused ---


@pytest.mark.parametrize(
    ("keys", "line", "word"),
    [
        ("build: .", 4, "services.web.build: not supported: an image is verified as it was pushed"),
        ("ports: ['80']\nvolumes:\n  - /var/run/docker.sock:/var/run/docker.sock", 5, "services.web.volumes: not supported"),
        ("env_file: none.env", 4, "services.web.env_file: 'none.env' cannot be read: No such file"),
        ("env_file:\n  - path: none.env\n    required: true", 5, "services.web.env_file[0]: 'none.env' cannot be read"),
        ("env_file:\n  - {path: a, format: toml}", 5, "services.web.env_file[0].format: 'toml' is not supported"),
        ("env_file:\n  - {file: a}", 5, "services.web.env_file[0].file: not supported"),
        ("env_file:\n  - {required: false}", 5, "services.web.env_file[0]: it has no path"),
        ("env_file: {path: a}", 4, "services.web.env_file: a list is required"),
        ("env_file: ['']", 4, "services.web.env_file[0]: it is empty"),
        ("env_file: /", 4, "services.web.env_file: '/' cannot be read"),
        ("container_name: a b", 4, "services.web.container_name: a name is of letters"),
        ("scale: 2\ncontainer_name: one", 5, "services.web.container_name: 2 containers cannot have one name"),
        ("mem_limit: much", 4, "services.web.mem_limit: 'much' is not a size"),
        ("deploy:\n  resources:\n    limits:\n      memory: 5 apples", 7, "memory: '5 apples' is not a size"),
        ("pids_limit: -1", 4, "'-1' is not a number"),
        ("tty: perhaps", 4, "'perhaps' is neither true nor false"),
        ("user: ''", 4, "services.web.user: it is empty"),
        ("hostname: a", 4, "services.web.hostname: not supported"),
        ("read_only: true", 4, "services.web.read_only: not supported"),
        ("cap_drop: [ALL]", 4, "services.web.cap_drop: not supported"),
        ("working_dir: /app", 4, "services.web.working_dir: not supported"),
        ("network_mode: host", 4, "services.web.network_mode: not supported"),
        ("privileged: true", 4, "services.web.privileged: not supported"),
        ("enviroment:\n  A: b", 4, "services.web.enviroment: not supported"),
        ("deploy:\n  replica: 3", 5, "services.web.deploy.replica: not supported"),
        ("deploy:\n  mode: global", 5, "services.web.deploy.mode: 'global' is not supported"),
        ("deploy:\n  replicas: many", 5, "is not a number from 1 to"),
        ("deploy:\n  replicas: 0", 5, "is not a number from 1 to"),
        ("deploy:\n  replicas: ²", 5, "is not a number from 1 to"),
        ("scale: 2\ndeploy:\n  replicas: 3", 4, "services.web.scale: it is 2, and deploy.replicas 3"),
        ("ports:\n  - 4000:80\n  - 4000-4010:80", 6, "'4000-4010:80'"),
        ("ports:\n  - 4000:80/udp", 5, "'4000:80/udp'"),
        ("ports:\n  - '0:80'", 5, "'0:80'"),
        ("ports:\n  - '80:65536'", 5, "'80:65536'"),
        ("ports:\n  - published: 4000", 5, "it has no target"),
        ("ports:\n  - 80\n  - 127.0.0:4000:80", 6, "'127.0.0' is not an IP address"),
        ("ports:\n  - 256.0.0.1:4000:80", 5, "'256.0.0.1' is not an IP address"),
        ("ports:\n  - '[::x]:4000:80'", 5, "'::x' is not an IP address"),
        ("ports:\n  - localhost:4000:80", 5, "'localhost:4000:80' is not supported"),
        ("ports:\n  - {target: 80, host_ip: 127.0.0}", 5, "'127.0.0' is not an IP address"),
        ("ports:\n  - {target: 80, host_ip: localhost}", 5, "'localhost' is not an IP address"),
        ("ports:\n  - {target: 80, protocol: udp}", 5, "'udp'"),
        ("ports: 80", 4, "services.web.ports: a list is required, not text"),
        ("environment:\n  - HOME", 5, "'HOME' has no value: a stack takes nothing from this machine"),
        ("environment:\n  HOME:", 5, "'HOME' has no value"),
        ("environment:\n  - A=1\n  - A=2", 6, "'A' appears twice"),
        ("environment: {'A B': c}", 4, "'A B' is not a variable"),
        ("environment: {A: [b]}", 4, "text is required, not a list"),
        ("command: 'sh -c \"'", 4, "not a command"),
        ("depends_on: [redis]", 4, "there is no service 'redis'"),
        ("depends_on: {web: {condition: service_well}}", 4, "'service_well'"),
        ("depends_on: {web: {required: false}}", 4, "'false' is not supported"),
        ("healthcheck: {interval: 5s}", 4, "services.web.healthcheck: it has no test"),
        ("healthcheck: {tests: a}", 4, "services.web.healthcheck.tests: not supported"),
        ("healthcheck:\n  test: [curl, localhost]", 5, "'curl' is not how a test begins"),
        ("healthcheck:\n  test: []", 5, "'' is not how a test begins"),
        ("healthcheck:\n  test: [CMD]", 5, "'CMD' is not how a test begins"),
        ("healthcheck:\n  test: ''", 5, "services.web.healthcheck.test: it is empty"),
        ("healthcheck:\n  test: a\n  interval: often", 6, "'often' is not a time"),
        ("healthcheck:\n  test: a\n  retries: -1", 6, "'-1' is not a number"),
        ("healthcheck:\n  disable: perhaps", 5, "'perhaps' is neither true nor false"),
        ("depends_on: [web]", 4, "services.web.depends_on: a circle: web -> web"),
        ("networks: [webnet]", 4, "'webnet' is not declared in networks"),
        ("networks: {default: {aliases: [www]}}", 4, "settings are not supported"),
        ("image: b", 4, "services.web.image: appears twice"),
        ("command: *default", 4, "undefined alias"),
        ("<<: text", 4, "services.web.<<: a mapping is required, or a list of them"),
        ("<<: [{a: b}, c]", 4, "services.web.<<: a mapping is required"),
        ("<<: {tty: true}\n<<: {tty: false}", 5, "services.web.<<: appears twice"),
        ("<<: {tyt: true}", 4, "services.web.tyt: not supported"),
        ("command: &a [*a]", 4, "nested more than 16 deep"),
        ("deploy: &a\n  <<: *a", 4, "nested more than 16 deep"),
        ("command: ${A:?say it}", 4, "it requires the variable A, which is not set: say it"),
        ("ports:\n  - 80\n  - ${A:=4000}:80", 6, "services.web.ports[1]: ${A is not followed by a form that compose has"),
        ("command: echo $", 4, "services.web.command: a $ begins no variable"),
        ("environment:\n  - A=$(date)", 5, "services.web.environment[0]: a $ begins no variable"),
        ("command: !!python/object/apply:os.system [id]", 4, "tags"),
        ("command: !local id", 4, "tags"),
        ("? [a]\n: b", 4, "a key in services.web is not text"),
        ("image2: [", 5, "not YAML"),
        ("command: ${NOTHING}", 4, "it needs the variable NOTHING, which is not set"),
    ],
)
def test_unsupported_key_is_refused_with_its_line(keys: str, line: int, word: str) -> None:
    body = "".join(f"    {text}\n" for text in keys.splitlines())
    error = _refused(f"services:\n  web:\n    image: a\n{body}")
    assert error.message.startswith(f"stack.yml:{line}: "), error.message
    assert word in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "stack.yml is empty"),
        ("version: '3'\n", "stack.yml:1: there are no services in it"),
        ("- a\n", "stack.yml:1: a mapping is required"),
        ("services: {}\n", "stack.yml:1: services: there are 0"),
        ("services: []\n", "stack.yml:1: services: a mapping is required, not a list"),
        ("services:\n  web: nginx\n", "stack.yml:2: services.web: a mapping is required, not text"),
        ("services:\n  web: {}\n", "stack.yml:2: services.web: it has no image"),
        ("services:\n  a b: {image: a}\n", "stack.yml:2: services.a b: a name is of letters"),
        ("services:\n  web: {image: a}\nvolumes:\n  data:\n", "stack.yml:3: volumes: not supported"),
        ("services:\n  web: {image: a}\nnetworks:\n  n: {driver: macvlan}\n", "stack.yml:4: networks.n.driver: 'macvlan' is not supported"),
        ("services:\n  web: {image: a}\nnetworks:\n  n: {external: true}\n", "stack.yml:4: networks.n.external: not supported"),
        ("services:\n  web: {image: a}\n---\nservices: {}\n", "stack.yml:3: not YAML"),
        ("services:\n  a: {image: a, depends_on: [b]}\n  b: {image: b, depends_on: [a]}\n", "depends_on: a circle"),
        ("services: {a: {image: '\a'}}", "stack.yml: not YAML"),
        ("a: " + "[" * 40 + "]" * 40, "nested more than 16 deep"),
        ("a: " + "[" * 5000, "nested more than 16 deep"),
        ("#" * (yaml_reader.MAX_BYTES + 1), "bytes"),
        ("services: {" + ", ".join(f"s{n}: {{image: a}}" for n in range(40)) + "}", "services: there are 40"),
    ],
)
def test_file_that_is_not_a_stack_is_refused(text: str, word: str) -> None:
    assert word in _refused(text).message


def test_file_that_is_not_utf8_is_refused_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"^stack\.yml:2: not UTF-8"):
        compose.parse(b"services:\n  w\xffb: {image: a}\n", file="stack.yml")


@pytest.mark.parametrize("form", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_stand_for_a_bounded_number_of_values(form: str) -> None:
    first = form.format(", ".join(["{x: y}"] * 9))
    bomb = f"a: &a {first}\n" + "".join(
        f"{here}: &{here} {form.format(', '.join([f'*{there}'] * 9))}\n" for there, here in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "its aliases stand for more than 20000 values" in _refused(bomb).message


def test_hint_is_the_nearest_key_or_all_supported_ones() -> None:
    assert _refused("services:\n  web:\n    imaeg: a\n").hint == "Did you mean: image?"
    hint = _refused("services:\n  web:\n    build: .\n").hint
    assert hint is not None
    assert "image" in hint
    assert "depends_on" in hint
    assert "build" not in hint


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot be read"):
        compose.load(tmp_path / "none.yml", {})
    with pytest.raises(NotFound, match="cannot be read"):
        compose.load(tmp_path, {})


# --- what is read ---


@pytest.mark.parametrize(
    ("keys", "ports"),
    [
        ("ports: [80]", ((None, 80),)),
        ("ports: ['80/tcp']", ((None, 80),)),
        ("ports: ['4000:80']", ((4000, 80),)),
        # To YAML 1.1 this is the number 1342.
        ("ports: [22:22]", ((22, 22),)),
        ("ports: ['127.0.0.1:4000:80', '[::1]:4001:81']", ((4000, 80), (4001, 81))),
        ("ports: ['::1:4000:80', '127.0.0.1::81', ':82/TCP']", ((4000, 80), (None, 81), (None, 82))),
        ("ports: [{target: 80, host_ip: '::1'}]", ((None, 80),)),
        ("ports: [{target: 80, published: '4000', protocol: tcp, mode: host}]", ((4000, 80),)),
        ("ports: []", ()),
    ],
)
def test_ports(keys: str, ports: object) -> None:
    assert _service(keys).ports == ports


@pytest.mark.parametrize(
    ("keys", "environment"),
    [
        ("environment: {NAME: World, ON: yes, N: 010, EMPTY: ''}", {"NAME": "World", "ON": "yes", "N": "010", "EMPTY": ""}),
        ("environment: [NAME=World, A=b=c, EMPTY=]", {"NAME": "World", "A": "b=c", "EMPTY": ""}),
        ("environment:", {}),
    ],
)
def test_environment_values_stay_as_written(keys: str, environment: object) -> None:
    assert _service(keys).environment == environment


@pytest.mark.parametrize(
    ("keys", "command", "entrypoint"),
    [
        ("command: redis-server --appendonly yes", ("redis-server", "--appendonly", "yes"), None),
        ("command: [sh, -c, 'echo $$HOME']\nentrypoint: ''", ("sh", "-c", "echo $HOME"), ()),
        ("command:", (), None),
    ],
)
def test_commands(keys: str, command: object, entrypoint: object) -> None:
    service = _service(keys)
    assert (service.command, service.entrypoint) == (command, entrypoint)


def test_replicas() -> None:
    assert _service("").replicas == 1
    assert _service("scale: 4").replicas == 4
    assert _service("deploy: {replicas: 5}\nscale: 5").replicas == 5
    assert _service("deploy:").replicas == 1


@pytest.mark.parametrize(
    ("image", "variables", "filled"),
    [
        ("${APP:-a:1}", {}, "a:1"),
        ("${APP:-a:1}", {"APP": ""}, "a:1"),
        ("${APP-a:1}", {"APP": ""}, ""),
        ("x/$APP:${TAG}", {"APP": "a", "TAG": "2"}, "x/a:2"),
        ("$${APP}", {}, "${APP}"),
        ("${APP:-${OTHER:-a}:$TAG}", {"TAG": "2"}, "a:2"),
        ("x${APP:+/$APP}", {"APP": "a"}, "x/a"),
        ("${APP:?}", {"APP": "a"}, "a"),
    ],
)
def test_variables(image: str, variables: dict[str, str], filled: str) -> None:
    [service] = _parse(f"services: {{web: {{image: '{image}'}}}}", **variables).services
    assert service.image == filled


def test_services_are_ordered_by_dependency() -> None:
    result = _parse(
        "services:\n  a: {image: a, depends_on: [b, c]}\n  b: {image: b, depends_on: {c: {condition: service_started}}}\n  c: {image: c}\n"
    )
    assert [service.name for service in result.services] == ["c", "b", "a"]


def test_networks() -> None:
    text = (
        "services:\n  a: {image: a}\n  b: {image: b, networks: [n, default]}\n  c: {image: c, networks: {n: }}\n"
        "networks: {n: {driver: bridge}, unused: , default: {}}\n"
    )
    result = _parse(text)
    assert {service.name: service.networks for service in result.services} == {"a": ("default",), "b": ("n", "default"), "c": ("n",)}
    assert result.networks == ("default", "n")


@pytest.mark.parametrize(
    ("keys", "healthcheck"),
    [
        ("", None),
        ("healthcheck:", None),
        ("healthcheck: {test: redis-cli ping}", Healthcheck(command=("/bin/sh", "-c", "redis-cli ping"))),
        ("healthcheck: {test: [CMD, redis-cli, ping], retries: 3}", Healthcheck(command=("redis-cli", "ping"))),
        ("healthcheck: {test: [CMD-SHELL, redis-cli ping]}", Healthcheck(command=("/bin/sh", "-c", "redis-cli ping"))),
        ("healthcheck: {test: [NONE]}", Healthcheck()),
        ("healthcheck: {disable: true, test: a}", Healthcheck()),
        (
            "healthcheck: {test: [CMD, a], interval: 1m30s, timeout: 500ms, start_period: 1.5m, start_interval: 1s}",
            Healthcheck(command=("a",), start_period=90.0),
        ),
    ],
)
def test_healthcheck(keys: str, healthcheck: Healthcheck | None) -> None:
    assert _service(keys).healthcheck == healthcheck


def test_exposed_ports_and_conditions() -> None:
    result = _parse(
        "services:\n  a: {image: a, expose: [80, '81/tcp', 82/udp, 90-91]}\n  b: {image: b}\n"
        "  c:\n    image: c\n    depends_on:\n      a: {condition: service_healthy, restart: true, required: true}\n"
        "      b: {condition: service_completed_successfully}\n"
    )
    a, b, c = result.services
    assert (a.expose, b.expose) == ((80, 81), ())
    assert (c.after, c.conditions) == (("a", "b"), {"a": "service_healthy", "b": "service_completed_successfully"})


def test_anchors_and_merge_keys_are_read() -> None:
    result = _parse(
        """\
x-common: &common
  image: a
  environment: &values {A: "1", B: "2"}
  ports: ["80"]
x-more: &more
  <<: *common
  command: run
services:
  one: *common
  two:
    <<: [*more, {user: "5", command: other}]
    environment:
      <<: *values
      B: "3"
    ports: []
  three: {"image": b, "command": &command [a, b]}
  four: {image: b, command: *command}
"""
    )
    one, two, three, four = sorted(result.services, key=lambda service: ["one", "two", "three", "four"].index(service.name))
    assert (one.image, one.environment, one.ports) == ("a", {"A": "1", "B": "2"}, ((None, 80),))
    assert (two.image, two.environment, two.ports, two.command, two.user) == ("a", {"A": "1", "B": "3"}, (), ("run",), "5")
    assert three.command == four.command == ("a", "b")


def test_line_of_what_an_alias_stands_for_is_where_it_is_written() -> None:
    text = "x-a: &a\n  image: a\n  ports: [x]\nservices:\n  web: *a\n"
    assert _refused(text).message.startswith("stack.yml:3: services.web.ports[0]: 'x' is not supported")


def test_files_of_variables_are_read(tmp_path: Path) -> None:
    (tmp_path / "one.env").write_text("A=1\nB=${TAG}\nC=file\n", encoding="utf-8")
    (tmp_path / "two.env").write_text("B=$X # y\n", encoding="utf-8")
    (tmp_path / ".env").write_text("TAG=2\nNAME=one\nHOST=file\n", encoding="utf-8")
    path = tmp_path / "stack.yml"
    path.write_text(
        "services:\n  web:\n    image: ${HOST}/a:$TAG\n    env_file: ${NAME}.env\n    environment: {C: own}\n"
        "  other:\n    image: a\n    env_file: [one.env, {path: two.env, format: raw}, {path: none.env, required: false}]\n",
        encoding="utf-8",
    )
    services = {service.name: service for service in compose.load(path, {"HOST": "set"}).services}
    assert services["web"].image == "set/a:2"
    assert services["web"].environment == {"A": "1", "B": "2", "C": "own"}
    assert services["other"].environment == {"A": "1", "B": "$X # y", "C": "file"}
    (tmp_path / "one.env").write_text("A=1\nnonsense\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"one\.env:2: not a variable"):
        compose.load(path, {})


@pytest.mark.parametrize(
    ("keys", "memory", "processes"),
    [
        ("", None, None),
        ("mem_limit: 50M\npids_limit: 20", 50 << 20, 20),
        ("mem_limit: 1.5gb", 3 << 29, None),
        ("mem_limit: 1048576", 1 << 20, None),
        ("deploy: {resources: {limits: {memory: 64m, pids: 9, cpus: '0.5'}}}", 64 << 20, 9),
        ("mem_limit: 32m\ndeploy: {resources: {limits: {memory: 64m}}}", 32 << 20, None),
    ],
)
def test_limits(keys: str, memory: int | None, processes: int | None) -> None:
    service = _service(keys)
    assert (service.memory, service.processes) == (memory, processes)


def test_other_keys_of_a_container() -> None:
    service = _service("container_name: my-web\nuser: '1000:1000'\ntty: true\nstdin_open: yes")
    assert (service.alias, service.user, service.tty, service.interactive) == ("my-web", "1000:1000", True, True)


def test_extensions_and_keys_without_effect_are_ignored() -> None:
    service = _service(
        "x-note: {a: [b]}\nlabels: {a: b}\nrestart: always\nlogging: {driver: none}\ncpus: 2\ninit: true",
        top="x-more: 1\nversion: '3'\nname: n\n",
    )
    assert service == Service(name="web", image="a", line=3)


def test_example_is_the_tutorials_stack() -> None:
    result = compose.load(EXAMPLE, {"REGISTRY_TOOL_APP_IMAGE": "localhost:5001/me/app:2"})
    redis, web = result.services
    assert (redis.name, redis.image, redis.command) == ("redis", "redis:7-alpine", ("redis-server", "--appendonly", "yes"))
    assert web == Service(
        memory=128 << 20,
        name="web",
        image="localhost:5001/me/app:2",
        line=7,
        environment={"NAME": "World"},
        ports=((4000, 80),),
        replicas=3,
        networks=("webnet",),
        after=("redis",),
    )
    assert result.networks == ("webnet",)


@pytest.mark.compose
def test_example_is_accepted_by_compose() -> None:
    program = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    done = subprocess.run([*program, "-f", str(EXAMPLE), "config"], capture_output=True, text=True, timeout=600)
    if "is not a docker command" in done.stderr:
        missing("compose", "there is neither docker-compose nor docker compose")
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services["web"]["image"] == "localhost:5000/john/get-started:part2"
    assert services["web"]["deploy"]["replicas"] == 3
