"""Whatever is proven comes back from the certificate; whatever else comes is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from registry_tool.verify.report.compare import compare
from registry_tool.verify.report.parts import Change
from registry_tool.verify.report.report import VerifyReport
from tests.support.reports import GREEN, certificates
from tests.support.schema import faults
from tests.unit.verify.test_report import SCHEMA, read_or_refused


@given(certificates)
def test_every_certificate_comes_back(certificate: VerifyReport) -> None:
    written = certificate.as_bytes()
    read = VerifyReport.parse(written)
    assert read.as_bytes() == written
    assert read.digest == certificate.digest
    assert read.ok is certificate.ok


@given(certificates)
def test_every_certificate_fits_the_schema(certificate: VerifyReport) -> None:
    assert list(faults(json.loads(certificate.as_bytes()), SCHEMA, SCHEMA)) == []


@given(st.binary(max_size=200))
def test_anything_else_is_refused(raw: bytes) -> None:
    assert read_or_refused(raw)


@given(st.integers(0, len(GREEN.as_bytes()) - 1), st.integers(1, 255))
def test_no_byte_changes_what_is_said_without_being_noticed(where: int, by: int) -> None:
    raw = bytearray(GREEN.as_bytes())
    raw[where] ^= by
    if read_or_refused(bytes(raw)) is None:
        assert VerifyReport.parse(bytes(raw)) == GREEN, "only a blank may be another"


@given(certificates)
def test_nothing_changed_from_itself(certificate: VerifyReport) -> None:
    later = replace(certificate, created=datetime(2027, 1, 31, tzinfo=timezone.utc), comparison=None)
    assert compare(certificate, later).changes == ()
    assert compare(certificate, later).digest == certificate.digest


@given(certificates, certificates)
def test_the_way_back_is_the_same_changes(before: VerifyReport, now: VerifyReport) -> None:
    def turned(change: Change) -> Change:
        return replace(change, before=change.now, now=change.before)

    there, back = compare(before, now).changes, compare(now, before).changes
    assert {change for change in there if change.before == change.now} == set()
    assert set(there) == {turned(change) for change in back}
    assert len(set(there)) == len(there)


@given(certificates, certificates)
def test_a_point_that_turned_is_named(before: VerifyReport, now: VerifyReport) -> None:
    told = {(change.where, change.what) for change in compare(before, now).changes}
    then = {(each.where.name, point.name): point.ok for each in before.results for point in each.checks}
    today = {(each.where.name, point.name): point.ok for each in now.results for point in each.checks}
    both = {each.where.name for each in before.results} & {each.where.name for each in now.results}
    for where, name in then.keys() | today.keys():
        absent = object()
        if where in both:
            assert ((where, name) in told) is (then.get((where, name), absent) != today.get((where, name), absent))
