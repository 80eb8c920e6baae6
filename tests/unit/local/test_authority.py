"""The certificate authority of this machine: its files."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.errors import Conflict
from registry_tool.local.registry import authority


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_first_use_creates_an_authority_and_later_ones_take_it(tmp_path: Path) -> None:
    assert authority.certificate(tmp_path) is None
    first = authority.load_or_create(tmp_path)
    assert authority.load_or_create(tmp_path) == first
    assert authority.certificate(tmp_path) == first.certificate
    assert (tmp_path / "ca" / "ca.crt").read_bytes() == first.certificate


def test_nobody_else_can_read_the_key(tmp_path: Path) -> None:
    authority.load_or_create(tmp_path)
    assert mode(tmp_path / "ca") == 0o700
    holders = [path for path in (tmp_path / "ca").iterdir() if b"PRIVATE" in path.read_bytes()]
    assert [(path.name, mode(path)) for path in holders] == [("ca.pem", 0o600)]


def test_key_that_others_could_read_is_theirs_no_longer(tmp_path: Path) -> None:
    authority.load_or_create(tmp_path)
    (tmp_path / "ca").chmod(0o755)
    (tmp_path / "ca" / "ca.pem").chmod(0o644)
    authority.load_or_create(tmp_path)
    assert (mode(tmp_path / "ca"), mode(tmp_path / "ca" / "ca.pem")) == (0o700, 0o600)


def test_authority_that_ends_soon_gets_a_new_certificate_for_its_key(tmp_path: Path) -> None:
    old = certificates.generate_authority("ours", days=3650, now=datetime.now(timezone.utc) - timedelta(days=3400))
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca" / "ca.pem").write_bytes(old.certificate + old.key)
    new = authority.load_or_create(tmp_path)
    assert new.certificate != old.certificate
    assert certificates.is_issued_by(certificates.issue(new, names=["box"], days=1).certificate, old.certificate)
    assert authority.load_or_create(tmp_path) == new
    assert authority.certificate(tmp_path) == new.certificate


@pytest.mark.parametrize("kept", [0, 100, 700], ids=["empty", "cut-certificate", "cut-key"])
def test_damaged_authority_is_reported_and_left(tmp_path: Path, kept: int) -> None:
    authority.load_or_create(tmp_path)
    file = tmp_path / "ca" / "ca.pem"
    content = file.read_bytes()[:kept]
    file.write_bytes(content)
    for use in (authority.load_or_create, authority.certificate):
        with pytest.raises(Conflict, match="is damaged") as caught:
            use(tmp_path)
        assert "remove it" in (caught.value.hint or "")
    assert file.read_bytes() == content


def test_lost_copy_of_the_certificate_is_written_again(tmp_path: Path) -> None:
    first = authority.load_or_create(tmp_path)
    (tmp_path / "ca" / "ca.crt").unlink()
    authority.load_or_create(tmp_path)
    assert (tmp_path / "ca" / "ca.crt").read_bytes() == first.certificate
