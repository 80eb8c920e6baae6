from __future__ import annotations

import json

import pytest

from registry_tool.base.errors import ConfirmationRequired, Conflict, EngineError, NotFound, Unreachable
from registry_tool.cli.commands import container, image
from registry_tool.cli.output import Output
from registry_tool.cli.session import Session
from registry_tool.engine import Container, Image, PortBinding, TransferResult
from registry_tool.local import registry as local_registry
from registry_tool.local.registry import LocalRegistry
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from tests.support.cli_runner import Terminal, matches_golden


def registry(name: str, port: int) -> LocalRegistry:
    return LocalRegistry(name=name, port=port, container_id="1", container_name=name, image="registry:2", volume=name, state="running")


@pytest.fixture
def session() -> Session:
    """A session whose engine is never asked: which registries are there is the test's to say."""
    made = Session(Output())
    made.__dict__["engine"] = None
    return made


def here(monkeypatch: pytest.MonkeyPatch, *registries: LocalRegistry) -> None:
    monkeypatch.setattr(local_registry, "find_all", lambda engine: registries)


def test_several_registries_and_none_named_default_is_a_conflict(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, registry("a", 5001), registry("b", 5002))
    with pytest.raises(Conflict) as raised:
        session.registry_host()
    assert "--registry localhost:5001" in (raised.value.hint or "")


def test_registry_host_of_names_with_hosts_needs_no_local_registry(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch, registry("a", 5001), registry("b", 5002))
    assert session.registry_host("localhost:5000/a", "registry.example.com/b:1") is None
    with pytest.raises(Conflict):
        session.registry_host("localhost:5000/a", "b:1")


def test_registry_is_the_named_then_the_default_then_the_only_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    here(monkeypatch)
    assert session.registry_host() is None
    here(monkeypatch, registry("a", 5001))
    assert session.registry_host() == "localhost:5001"
    here(monkeypatch, registry("a", 5001), registry("default", 5002))
    assert session.registry_host() == "localhost:5002"
    session.registry = "registry.example.com"
    assert session.registry_host() == "registry.example.com"


def test_confirm_without_terminal_and_yes_is_refused(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfirmationRequired):
        session.confirm(["this goes"], yes=False)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "this goes\n")
    assert session.confirm(["this goes"], yes=True)


def test_for_each_continues_after_a_failure_and_ends_when_unreachable(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    observed: list[str] = []

    def act(name: str) -> list[str]:
        observed.append(name)
        raise {"missing": NotFound("missing"), "broken": EngineError("broken"), "gone": Unreachable("gone")}[name]

    assert [error.message for error in session.for_each(["missing", "broken"], act, missing_ok=True)] == ["broken"]
    assert [error.message for error in session.for_each(["missing", "broken"], act)] == ["missing", "broken"]
    assert "regctl: missing" in capsys.readouterr().err
    observed.clear()
    with pytest.raises(Unreachable):
        session.for_each(["gone", "broken"], act)
    assert observed == ["gone"]


def test_documents_have_the_golden_members() -> None:
    digest = Digest.of(b"")
    documents = {
        "container": container._document(
            Container(
                id="c" * 64,
                name="web",
                image="friendlyhello",
                image_id="sha256:1",
                state="running",
                status="Up 3 minutes",
                created="2026-03-01T12:00:00.5Z",
                command=("python app.py",),
                labels={"io.registry-tool.role": "run"},
                ports=(PortBinding(container_port="80/tcp", host_port=4000, host_ip="127.0.0.1"),),
            )
        ),
        "image": image._document(
            Image(id=str(digest), digests=(f"localhost:5000/a@{digest}",), created="2026-03-01T12:00:00Z", size=195_000_000),
            "localhost:5000/a",
            "<none>",
            "localhost:5000",
        ),
        "pull": image.transfer_document(
            Reference.parse("a:1", default_host="localhost:5000"),
            TransferResult(
                reference="localhost:5000/a:1",
                descriptor=Descriptor(media_type="", digest=digest, size=0),
                status="Image is up to date for localhost:5000/a:1",
                layers={"0123456789ab": "Already exists"},
                bytes_moved=12,
            ),
        ),
    }
    matches_golden("json/documents.json", json.dumps(documents, indent=2) + "\n")


@pytest.mark.engine
def test_no_on_a_terminal_is_exit_1_and_ctrl_c_is_130() -> None:
    for typed, code in (("n\n", 1), ("\n", 1), ("\x03", 130)):
        with Terminal(["down", "--name", "nobodys-registry", "--volumes"]) as terminal:
            terminal.wait_for("Go ahead?")
            assert terminal.insist(typed) == code, terminal.text
