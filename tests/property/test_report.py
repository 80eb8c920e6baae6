"""Any report is read back from its file; anything else is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.verify.report.compare import compare
from registry_tool.verify.report.report import Change, VerifyReport
from tests.support.reports import GREEN, any_report
from tests.support.schema import faults
from tests.unit.verify.test_report import SCHEMA, read_or_refused


@given(any_report)
def test_report_is_read_back_fits_the_schema_and_has_no_changes_from_itself(report: VerifyReport) -> None:
    written = report.as_bytes()
    read = VerifyReport.parse(written)
    assert read.as_bytes() == written
    assert read.digest == report.digest
    assert read.ok is report.ok
    assert list(faults(json.loads(written), SCHEMA, SCHEMA)) == [], "it does not fit the schema"
    later = replace(report, created=datetime(2027, 1, 31, tzinfo=timezone.utc), comparison=None)
    assert compare(report, later).changes == (), "it has changes from itself"
    assert compare(report, later).digest == report.digest


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(raw: bytes) -> None:
    assert read_or_refused(raw)


@given(st.integers(0, len(GREEN.as_bytes()) - 1), st.integers(1, 255))
def test_changed_byte_is_refused_or_means_nothing(where: int, by: int) -> None:
    raw = bytearray(GREEN.as_bytes())
    raw[where] ^= by
    if read_or_refused(bytes(raw)) is None:
        assert VerifyReport.parse(bytes(raw)) == GREEN, "only a blank may be another"


@given(any_report, any_report)
def test_changes_name_each_check_whose_result_changed_and_are_the_same_in_reverse(before: VerifyReport, now: VerifyReport) -> None:
    def turned(change: Change) -> Change:
        return replace(change, before=change.now, now=change.before)

    there, back = compare(before, now).changes, compare(now, before).changes
    assert {change for change in there if change.before == change.now} == set()
    assert set(there) == {turned(change) for change in back}, "in reverse they are others"
    assert len(set(there)) == len(there)

    changed = {(change.where, change.what) for change in there}
    old = {(each.environment.name, check.name): check.ok for each in before.results for check in each.checks}
    new = {(each.environment.name, check.name): check.ok for each in now.results for check in each.checks}
    both = {each.environment.name for each in before.results} & {each.environment.name for each in now.results}
    for where, name in old.keys() | new.keys():
        absent = object()
        if where in both:
            assert ((where, name) in changed) is (old.get((where, name), absent) != new.get((where, name), absent)), (where, name)
