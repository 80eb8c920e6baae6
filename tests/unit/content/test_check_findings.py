from __future__ import annotations

import re

from registry_tool.base.codec import to_json
from registry_tool.base.errors import NotFound
from registry_tool.content.check import RULES, CheckReport, Finding, RepositoryReport
from registry_tool.oci.digest import Digest
from tests.support.paths import ROOT

DIGEST = Digest.of(b"x")
FINDING = Finding(kind="missing-layer", reference=f"localhost:5000/a@{DIGEST}", digest=DIGEST, tags=("1",), detail="is missing")


def test_every_rule_is_documented() -> None:
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8").partition("## regctl check")[2].partition("\n## ")[0]
    documented = dict(re.findall(r"^- `([a-z-]+)`: (.*?)(?=\n- |\n\n|\Z)", page, re.MULTILINE | re.DOTALL))
    assert {name: " ".join(meaning.split()) for name, meaning in documented.items()} == {name: rule.meaning for name, rule in RULES.items()}


def test_every_hint_is_a_sentence() -> None:
    assert all(rule.hint.endswith(".") and rule.hint[0].isupper() for rule in RULES.values())


def test_report_without_findings_and_error_is_ok() -> None:
    whole = RepositoryReport(name="localhost:5000/a", tags=("1",), images=1, findings=(), notes=())
    hurt = RepositoryReport(name="localhost:5000/b", tags=("1", "2"), images=2, findings=(FINDING,), notes=())
    assert CheckReport(repositories=(whole,), blobs=2, bytes_read=3).ok
    assert not CheckReport(repositories=(whole, hurt), blobs=2, bytes_read=3).ok
    assert not CheckReport(repositories=(whole,), blobs=2, bytes_read=3, error=NotFound("x")).ok
    report = CheckReport(repositories=(whole, hurt), blobs=2, bytes_read=3, notes=("n",))
    assert (report.images, report.findings) == (3, (FINDING,))
    assert to_json(report) == {
        "ok": False,
        "images": 3,
        "blobs": 2,
        "bytes_read": 3,
        "findings": [
            {
                "kind": "missing-layer",
                "reference": FINDING.reference,
                "digest": str(DIGEST),
                "tags": ["1"],
                "detail": "is missing",
                "hint": RULES["missing-layer"].hint,
            }
        ],
        "notes": ["n"],
    }
