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
from registry_tool.verify.report.parts import Change, Comparison, Failure
from registry_tool.verify.report.report import FORMAT, MAX_SIZE, VerifyReport, canonical, write
from tests.support.reports import DOCKER, EVIL, GREEN, check, red, result
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


def test_what_was_changed_by_hand_is_refused() -> None:
    text = GREEN.as_bytes().decode()
    for old, new in (
        ("Docker 28.2.2", "Docker 28.2.3"),
        ('"ok": true', '"ok": false'),
        ('"size": 900', '"size": 901'),
        ("2026-01", "2026-02"),
    ):
        assert old in text
        assert re.match("report: changed after it was made: it says sha256:", refused(text.replace(old, new, 1).encode()))


def test_a_digest_that_was_changed_is_refused() -> None:
    document = GREEN.as_json()
    assert "changed after it was made" in refused(json.dumps({**document, "digest": f"sha256:{'0' * 64}"}).encode())
    assert refused(json.dumps({**document, "digest": "sha256:0"}).encode()).startswith("report: digest: ")
    del document["digest"]
    assert refused(json.dumps(document).encode()) == "report: digest: missing"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b"\xff", b'{"format": "other/1"}', b"[" * 10_000, b'{"a": NaN}']
)
def test_what_is_no_certificate(raw: bytes) -> None:
    assert refused(raw).startswith("report: ")


def test_another_version_is_named() -> None:
    message = refused(sealed({**GREEN.as_json(), "format": "registry-tool.portability/2"}))
    assert message == f"report: a report of an unknown version: 'registry-tool.portability/2', not {FORMAT}"


def test_one_that_is_too_large() -> None:
    assert "too many" in refused(b" " * (MAX_SIZE + 1))


def test_a_number_beyond_all_bounds() -> None:
    assert "beyond all bounds" in refused(GREEN.as_bytes().replace(b'"setup": 1.5', b'"setup": 1e999', 1))


def test_one_that_is_not_there_and_one_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        VerifyReport.read(tmp_path / "none.json")
    assert "none.json is not there" in missing.value.message
    with pytest.raises(RegistryToolError, match="cannot be read"):
        VerifyReport.read(tmp_path)


def test_one_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryToolError, match="cannot be written"):
        write(tmp_path / "file" / "certificate.json", GREEN.as_bytes())


def test_what_says_something_else_than_its_points() -> None:
    document = red().as_json()
    assert "ok: it contradicts" in refused(sealed({**document, "ok": True}))
    inner = copy.deepcopy(document)
    inner["proven"][0]["ok"] = True  # type: ignore[index]
    assert "proven[0].ok: it contradicts" in refused(sealed(inner))


def every_change(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every member and element of a document."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*way, key)
            if way[-1:] != ("evidence",):
                yield from every_change(inner, (*way, key))


def changed(document: Any, way: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for key in way[:-1]:
        inner = inner[key]
    change(inner, way[-1])
    return document


WHOLE = replace(
    red(evidence={"status": 500}),
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


WAYS = [way for way in every_change(WHOLE) if way[0] != "digest"]


@pytest.mark.parametrize("other", ["", "text", 1, -1, 1.5, True, False, [], {}, ["text"], [1], [{}]], ids=str)
def test_the_schema_and_the_reader_refuse_the_same(other: Any) -> None:
    """Every member of every other type."""
    for way in WAYS:
        raw = sealed(changed(WHOLE, way, lambda inner, key: inner.__setitem__(key, other)))
        wrong, word = list(faults(json.loads(raw), SCHEMA, SCHEMA)), read_or_refused(raw)
        # Which truths and points go together is beyond a schema.
        assert bool(wrong) is (word is not None) or "it contradicts" in str(word), (way, wrong, word)


def test_the_schema_wants_what_the_reader_wants() -> None:
    """Every member taken away; the reader takes what is not there for empty, where it may be empty."""
    borne = set()
    for way in WAYS:
        raw = sealed(changed(WHOLE, way, lambda inner, key: inner.__delitem__(key)))
        wrong, word = list(faults(json.loads(raw), SCHEMA, SCHEMA)), read_or_refused(raw)
        assert wrong or word is None or "it contradicts" in word, (way, word)
        if wrong and word is None:
            borne.add(way[-1])
    nullable = {"digest", "media_type", "size", "platform", "config", "image", "hint", "before", "now"}
    assert borne <= nullable | {"detail", "clean", "ok", "layers", "proven", "points", "pulled", "notes", "changes"}


def test_schema_file_is_what_the_generator_makes_of_the_types() -> None:
    assert REPORT.read_text(encoding="utf-8") == as_text(report_schema()), "make reference"


def test_the_schema_tells_every_member() -> None:
    """All that is written is told, at every depth, so that an editor can complete it."""
    told: set[str] = set()

    def walk(schema: dict[str, Any], path: str) -> None:
        if "$ref" in schema:
            walk(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], path)
        for name, inner in schema.get("properties", {}).items():
            told.add(f"{path}.{name}")
            walk(inner, f"{path}.{name}")
        if "items" in schema:
            walk(schema["items"], path)

    walk(SCHEMA, "")
    written = {
        "." + ".".join(str(key) for key in way if not isinstance(key, int)) for way in every_change(WHOLE) if way[-2:-1] != ("evidence",)
    }
    written = {name for name in written if name.rpartition(".")[2]}
    assert told == written


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "certificate.json"
    for certificate in (GREEN, red(), replace(GREEN, error=Failure.of(EngineNotFound("none", hint="x", excerpt=("a",))))):
        write(file, certificate.as_bytes())
        assert VerifyReport.read(file) == certificate
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(file.parent.iterdir()) == [file]


def test_another_program_may_have_written_it_its_own_way() -> None:
    document = GREEN.as_json()
    assert VerifyReport.parse(json.dumps(document, sort_keys=True, ensure_ascii=False, indent=7).encode()) == GREEN
    # As jq does: a whole number without its point, and the other way round.
    assert VerifyReport.parse(GREEN.as_bytes().replace(b'"proof": 2,', b'"proof": 2.0,')) == GREEN


def test_members_of_a_newer_tool_are_borne() -> None:
    assert VerifyReport.parse(sealed({**GREEN.as_json(), "weather": "fine"})) == GREEN


def test_a_file_steers_no_terminal() -> None:
    evil = replace(
        GREEN, command=EVIL, results=(result(DOCKER, check("starts", False, detail=EVIL, excerpt=(EVIL,), evidence={EVIL: EVIL})),)
    )
    written = evil.as_bytes()
    assert re.fullmatch(rb"[\n\x20-\x7e]+", written)
    read = VerifyReport.parse(written)
    assert read.command == EVIL.replace("\ud800", "?")
    assert read.as_bytes() == written


def test_what_is_green() -> None:
    assert GREEN.ok
    assert not red().ok
    assert not replace(GREEN, results=()).ok, "nothing was proven"
    assert not replace(GREEN, error=Failure.of(EngineNotFound("none"))).ok


@pytest.mark.parametrize(
    ("error", "code"), [(EngineNotFound("x"), 3), (VerificationFailed("x"), 1), (UsageError("x"), 2), (RegistryToolError("x"), 1)]
)
def test_a_failure_has_its_exit_code(error: RegistryToolError, code: int) -> None:
    assert Failure.of(error).exit_code == code
    assert Failure(code="of-a-newer-tool", message="x").exit_code == 1
