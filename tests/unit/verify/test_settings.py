from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.base.errors import RegistryToolError, UsageError
from registry_tool.oci.digest import Digest
from registry_tool.verify import settings
from registry_tool.verify.settings import FILE, MAX_SIZE, VerifySettings, parse
from registry_tool.verify.spec import Exec, Exit, Http, Limits, Log, Tcp
from tests.support.documents import blocks
from tests.support.paths import ROOT

DIGEST = f"sha256:{'a' * 64}"

WHOLE = f"""
image = "john/get-started:part2"
expect = "{DIGEST}"
engines = ["docker", "podman", "context:far-away", "here"]
require = ["docker"]
registry-as = "192.168.1.5:5000"
services = ["redis"]
replicas = 3
stack = "stack/compose.yml"

[environment]
NAME = "World"
EMPTY = ""

[timeouts]
probes = "1m"
stop = 2.5

[limits]
memory = "256 MiB"
processes = 64
log = 1000000
disk = "2 GB"
seconds = "90s"

[[probes]]
http = "4000:80/hello?x=%20"
status = 201
text = ["Hello", "World"]
json = {{ "visits" = 7, "user.name" = "john", "ok" = true }}
within = "500ms"

[[probes]]
http = "4000:80"
text = "Hello"

[[probes]]
tcp = "6379:6379"

[[probes]]
exec = "redis-cli -n 0 'a b'"

[[probes]]
exec = ["sh", "-c", "true"]

[[probes]]
log = "ready"

[[probes]]
exit = 0
"""


def refused(text: str) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as failed:
        parse(text.encode())
    assert failed.value.message.isprintable()
    return failed.value.message, failed.value.hint


def test_every_member_of_the_file_is_read() -> None:
    assert parse(WHOLE.encode()) == VerifySettings(
        image="john/get-started:part2",
        expect=Digest.parse(DIGEST),
        engines=("docker", "podman", "context:far-away", "here"),
        require=("docker",),
        registry_as="192.168.1.5:5000",
        services=("redis",),
        replicas=3,
        stack=Path("stack/compose.yml"),
        environment={"NAME": "World", "EMPTY": ""},
        probes=(
            Http(
                published=4000,
                container=80,
                path="/hello?x=%20",
                status=201,
                text=("Hello", "World"),
                json=(("visits", "7"), ("user.name", "john"), ("ok", "true")),
                within=0.5,
            ),
            Http(published=4000, container=80, text=("Hello",)),
            Tcp(published=6379, container=6379),
            Exec(command=("redis-cli", "-n", "0", "a b")),
            Exec(command=("sh", "-c", "true")),
            Log(text="ready"),
            Exit(code=0),
        ),
        timeout=60.0,
        stop_within=2.5,
        limits=Limits(memory=256 << 20, processes=64, log=1_000_000, disk=2_000_000_000, seconds=90.0),
    )


def test_empty_file_gives_the_defaults() -> None:
    assert parse(b"") == VerifySettings()
    assert VerifySettings().limits == Limits()


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('imge = "a"', "imge: not supported", "Did you mean: image?"),
        ("[[probes]]\nhttp = '1:1'\nwithn = '2s'", "probes[0].withn: not supported", "Did you mean: within?"),
        ("[[probes]]\ntcp = '1:1'\nstatus = 200", "probes[0].status: not supported", "Supported: tcp."),
        ("[limits]\ncpu = 1", "limits.cpu: not supported", "Supported: memory, processes, log, disk, seconds."),
        ("image = 1", "image: text is required, not a whole number", 'Text is written in quotes: image = "…"'),
        ("image = ''", "image: it is empty", None),
        ("replicas = true", "replicas: a whole number is required, not true or false", None),
        ("replicas = 1979-05-27", "replicas: a whole number is required, not a date or a time", None),
        ("replicas = 101", "replicas: 101 is not between 1 and 100", None),
        ("engines = 'docker'", "engines: a list is required, not text", "A list is written in brackets: engines = […]"),
        ("engines = ['docker', 1]", "engines[1]: text is required, not a whole number", None),
        ("engines = ['docker', 'docker']", "engines: 'docker' appears twice", None),
        (
            "engines = ['dockr']",
            "engines: 'dockr' is not an environment; there are docker, podman, context:NAME and here",
            None,
        ),
        ("services = ['mysql']", "services: 'mysql' is not a service; there is redis, others come by a stack", None),
        ("expect = 'sha256:0'", "expect: not 64 lower-case hexadecimal digits: '0'", None),
        ("[environment]\nA = 1", "environment.A: text is required, not a whole number", 'Text is written in quotes: A = "…"'),
        ("[environment]\n'A=' = ''", "environment.A=: not a name of a variable", None),
        ("probes = [1]", "probes[0]: a table is required, not a whole number", "A table of a list begins with [[probes]]."),
        ("[[probes]]", "probes[0]: it has no kind", "A probe has one of http, tcp, exec, log, exit."),
        ("[[probes]]\ntcp='1:1'\nlog='x'", "probes[0]: it is tcp and log at once", "A probe has one of http, tcp, exec, log, exit."),
        (
            "[[probes]]\nhttp = '4000'",
            "probes[0].http: '4000' is not a page; it looks like 4000:80/PATH, blanks and the like as %20",
            None,
        ),
        ("[[probes]]\nhttp = '1:1'\njson = { a = [] }", "probes[0].json.a: text, a number, true or false is required", None),
        ("[[probes]]\nhttp = '1:1'\nwithin = 0", "probes[0].within: not a time: more than 0 seconds, and a day at most", None),
        ("[[probes]]\nhttp = '1:1'\nwithin = []", 'probes[0].within: a time is wanted (as "2s"), not a list', None),
        ("[[probes]]\nexit = 256", "probes[0].exit: 256 is not between 0 and 255", None),
        ('[[probes]]\nexec = "\'"', 'probes[0].exec: "\'" cannot be split: no closing quotation', None),
        ("[[probes]]\ntcp='1:1'\n[[probes]]\nhttp='1:2'", "port 1 cannot be published for both 1 and 2", None),
        ("[timeouts]\nprobes = '2 days'", "timeouts.probes: '2 days' is not a time; it looks like 2s or 500ms, and is a day at most", None),
        ("[limits]\nmemory = '1MiB'", "limits: 1048576 bytes of memory are too few", "An engine gives no less than 6 MiB."),
        ("[limits]\nmemory = 1.5", 'limits.memory: a size is wanted (as "512MiB"), not a number', None),
        ('"a\\u001b[31m" = 1', "'a\\x1b[31m': not supported", None),
    ],
)
def test_wrong_member_is_refused_by_its_path(text: str, message: str, hint: str | None) -> None:
    message_, hint_ = refused(text)
    assert message_ == f"{FILE}: {message}"
    assert hint is None or hint_ == hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image = 'a'\nimage = 'b'", "line 2, 'image': a name appears twice"),
        ("[limits]\nlog = 1\n[timeouts]\n[limits]\n\n", "line 4, '[limits]': a name appears twice"),
        ("environment = { A = 'x', A = 'secret' }", "line 1, 'environment': a name appears twice"),
        ("image = 'a'\n[environment]\nA = secret\n", "line 3, 'A': invalid value"),
        ("image", "line 1, 'image': expected '=' after a key in a key/value pair"),
    ],
)
def test_syntax_error_has_its_line_and_shows_no_value(text: str, message: str) -> None:
    message_, _ = refused(text)
    assert message_ == f"{FILE}: {message}"


def test_file_that_is_not_utf8_or_too_large_or_too_deep_is_refused() -> None:
    for content, message in (
        (b"\xff", "not UTF-8"),
        (b" " * (MAX_SIZE + 1), "1048577 bytes are too many"),
        (b"a=" + b"[" * 100_000, "nested too deeply"),
    ):
        with pytest.raises(UsageError, match=f"{FILE}: {message}"):
            parse(content)


def test_file_is_loaded_from_its_folder(tmp_path: Path) -> None:
    assert settings.load(tmp_path) == VerifySettings()
    (tmp_path / FILE).write_text('stack = "stack/compose.yml"')
    assert settings.load(tmp_path).stack == tmp_path / "stack" / "compose.yml"
    (tmp_path / "folder" / FILE).mkdir(parents=True)
    with pytest.raises(RegistryToolError, match="cannot be read"):
        settings.load(tmp_path / "folder")


def test_examples_in_the_documents_are_valid() -> None:
    examples = blocks(ROOT / "docs" / "verify.md", "toml")
    assert examples
    for example in examples:
        parse(example.encode())
