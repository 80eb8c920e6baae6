from __future__ import annotations

import copy
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from docs.generate_schemas import REPORT, as_text, report_schema
from registry_tool.base.errors import EngineNotFound, InvalidReport, NotFound, RegistryToolError, UsageError, VerificationFailed
from registry_tool.oci.digest import Digest
from registry_tool.verify.report.report import FORMAT, MAX_SIZE, Change, Comparison, Failure, VerifyReport, canonical, write
from tests.support.reports import DOCKER, EVIL, GREEN, check, failing, result
from tests.support.schema import faults

SCHEMA = report_schema()


def sealed(document: dict[str, Any]) -> bytes:
    """``document`` with the digest that fits it, as somebody who means it would write it."""
    content = {key: value for key, value in document.items() if key != "digest"}
    return json.dumps({**content, "digest": str(Digest.of(canonical(content)))}).encode()


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidReport) as failed:
        VerifyReport.parse(raw)
    assert "\n" not in failed.value.message
    assert failed.value.message.isprintable()
    assert failed.value.hint
    return failed.value.message


def test_edited_report_is_refused() -> None:
    text = GREEN.as_bytes().decode()
    for old, new in (
        ("Docker 28.2.2", "Docker 28.2.3"),
        ('"ok": true', '"ok": false'),
        ('"size": 900', '"size": 901'),
        ("2026-01", "2026-02"),
    ):
        assert old in text
        assert re.match("report: changed after it was made: it names sha256:", refused(text.replace(old, new, 1).encode()))


def test_edited_or_missing_digest_is_refused() -> None:
    document = GREEN.as_json()
    assert "changed after it was made" in refused(json.dumps({**document, "digest": f"sha256:{'0' * 64}"}).encode())
    assert refused(json.dumps({**document, "digest": "sha256:0"}).encode()).startswith("report: digest: ")
    del document["digest"]
    assert refused(json.dumps(document).encode()) == "report: digest: missing"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b"\xff", b'{"format": "other/1"}', b"[" * 10_000, b'{"a": NaN}']
)
def test_document_that_is_not_a_report_is_refused(raw: bytes) -> None:
    assert refused(raw).startswith("report: ")


def test_unknown_version_is_refused_by_its_name() -> None:
    message = refused(sealed({**GREEN.as_json(), "format": "registry-tool.portability/2"}))
    assert message == f"report: a report of an unknown version: 'registry-tool.portability/2', not {FORMAT}"


def test_report_that_is_too_large_is_refused() -> None:
    assert "too many" in refused(b" " * (MAX_SIZE + 1))


def test_infinite_number_is_refused() -> None:
    assert "is too large" in refused(GREEN.as_bytes().replace(b'"setup": 1.5', b'"setup": 1e999', 1))


def test_missing_and_unreadable_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        VerifyReport.read(tmp_path / "none.json")
    assert "none.json is not there" in missing.value.message
    with pytest.raises(RegistryToolError, match="cannot be read"):
        VerifyReport.read(tmp_path)


def test_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryToolError, match="cannot be written"):
        write(tmp_path / "file" / "certificate.json", GREEN.as_bytes())


def test_ok_that_contradicts_the_checks_is_refused() -> None:
    document = failing().as_json()
    assert "ok: it contradicts" in refused(sealed({**document, "ok": True}))
    inner = copy.deepcopy(document)
    inner["proven"][0]["ok"] = True  # type: ignore[index]
    assert "proven[0].ok: it contradicts" in refused(sealed(inner))


def every_change(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every member and element of a document."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            if path[-1:] != ("evidence",):
                yield from every_change(inner, (*path, key))


def changed(document: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    change(inner, path[-1])
    return document


WHOLE = replace(
    failing(evidence={"status": 500}, unchecked=("a port",)),
    notes=("a note",),
    error=Failure(code="unreachable", message="gone", hint="Start it.", excerpt=("line",)),
    comparison=Comparison(digest=GREEN.digest, created=GREEN.created, changes=(Change(where="a", what="b", before=None, now="c"),)),
).as_json()


def read_or_refused(raw: bytes) -> str | None:
    try:
        VerifyReport.parse(raw)
    except InvalidReport as error:
        message = error.message
    else:
        return None
    assert message.isprintable()
    return message


PATHS = [path for path in every_change(WHOLE) if path[0] != "digest"]


@pytest.mark.parametrize("other", ["", "text", 1, -1, 1.5, True, False, [], {}, ["text"], [1], [{}]], ids=str)
def test_schema_and_reader_refuse_the_same_values(other: Any) -> None:
    """Every member of every other type."""
    for path in PATHS:
        raw = sealed(changed(WHOLE, path, lambda inner, key: inner.__setitem__(key, other)))
        errors, message = list(faults(json.loads(raw), SCHEMA, SCHEMA)), read_or_refused(raw)
        # Which truths and points go together is beyond a schema.
        assert bool(errors) is (message is not None) or "it contradicts" in str(message), (path, errors, message)


def test_reader_accepts_missing_members_only_where_empty_is_a_value() -> None:
    """Every member taken away; the reader takes what is not there for empty, where it may be empty."""
    accepted = set()
    for path in PATHS:
        raw = sealed(changed(WHOLE, path, lambda inner, key: inner.__delitem__(key)))
        errors, message = list(faults(json.loads(raw), SCHEMA, SCHEMA)), read_or_refused(raw)
        assert errors or message is None or "it contradicts" in message, (path, message)
        if errors and message is None:
            accepted.add(path[-1])
    nullable = {"digest", "media_type", "size", "platform", "config", "image", "hint", "before", "now"}
    assert accepted <= nullable | {"detail", "clean", "ok", "layers", "proven", "points", "pulled", "notes", "changes"}


def test_schema_file_is_what_the_generator_makes_of_the_types() -> None:
    assert REPORT.read_text(encoding="utf-8") == as_text(report_schema()), "make reference"


def test_schema_has_every_written_member() -> None:
    """All that is written is known, at every depth, so that an editor can complete it."""
    known: set[str] = set()

    def walk(schema: dict[str, Any], path: str) -> None:
        if "$ref" in schema:
            walk(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], path)
        for name, inner in schema.get("properties", {}).items():
            known.add(f"{path}.{name}")
            walk(inner, f"{path}.{name}")
        if "items" in schema:
            walk(schema["items"], path)

    walk(SCHEMA, "")
    written = {
        "." + ".".join(str(key) for key in path if not isinstance(key, int)) for path in every_change(WHOLE) if path[-2:-1] != ("evidence",)
    }
    written = {name for name in written if name.rpartition(".")[2]}
    assert known == written


def test_report_is_read_back_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "certificate.json"
    for report in (GREEN, failing(), replace(GREEN, error=Failure.of(EngineNotFound("none", hint="x", excerpt=("a",))))):
        write(file, report.as_bytes())
        assert VerifyReport.read(file) == report
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_report_rewritten_by_another_program_is_the_same() -> None:
    document = GREEN.as_json()
    assert VerifyReport.parse(json.dumps(document, sort_keys=True, ensure_ascii=False, indent=7).encode()) == GREEN
    # As jq does: a whole number without its point, and the other path round.
    assert VerifyReport.parse(GREEN.as_bytes().replace(b'"proof": 2,', b'"proof": 2.0,')) == GREEN


def test_unknown_members_are_ignored() -> None:
    assert VerifyReport.parse(sealed({**GREEN.as_json(), "weather": "fine"})) == GREEN


def test_file_is_printable_ascii() -> None:
    evil = replace(
        GREEN, command=EVIL, results=(result(DOCKER, check("starts", False, detail=EVIL, excerpt=(EVIL,), evidence={EVIL: EVIL})),)
    )
    written = evil.as_bytes()
    assert re.fullmatch(rb"[\n\x20-\x7e]+", written)
    read = VerifyReport.parse(written)
    assert read.command == EVIL.replace("\ud800", "?")
    assert read.as_bytes() == written


def test_report_is_ok_with_a_result_and_without_failures() -> None:
    assert GREEN.ok
    assert not failing().ok
    assert not replace(GREEN, results=()).ok, "nothing was proven"
    assert not replace(GREEN, error=Failure.of(EngineNotFound("none"))).ok


@pytest.mark.parametrize(
    ("error", "code"), [(EngineNotFound("x"), 3), (VerificationFailed("x"), 1), (UsageError("x"), 2), (RegistryToolError("x"), 1)]
)
def test_failure_has_the_exit_code_of_its_class(error: RegistryToolError, code: int) -> None:
    assert Failure.of(error).exit_code == code
    assert Failure(code="of-a-newer-tool", message="x").exit_code == 1
