"""Fixtures of the tests of the transport."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_server import self_signed


@pytest.fixture
def certificate(has_openssl: None, tmp_path: Path) -> Path:
    return self_signed(tmp_path)
