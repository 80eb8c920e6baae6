from __future__ import annotations

from pathlib import Path

import pytest

from registry_tool.auth import host_settings
from registry_tool.auth.host_settings import HostSettings
from registry_tool.base.dirs import app_dirs
from registry_tool.base.errors import RegistryToolError

HOST = "registry.example.com:5000"
SECURE = HostSettings()
PLAIN = HostSettings(plain_http=True)


def file() -> Path:
    return app_dirs().state / "hosts.json"


def test_nothing_is_remembered_at_first() -> None:
    assert host_settings.load(HOST) == SECURE
    assert host_settings.forget(HOST) is False
    assert not file().exists()


def test_settings_are_remembered_for_one_host_and_forgotten() -> None:
    host_settings.remember(HOST, PLAIN)
    host_settings.remember("other.example.com", HostSettings(insecure=True))
    assert host_settings.load(HOST) == PLAIN
    assert host_settings.load("registry.example.com") == SECURE
    assert file().stat().st_mode & 0o777 == 0o600
    assert host_settings.forget(HOST) is True
    assert host_settings.load(HOST) == SECURE
    assert host_settings.load("other.example.com") == HostSettings(insecure=True)


@pytest.mark.parametrize("content", ["", "rubbish", "[]", "null", "[" * 99_999, f'{{"{HOST}": true}}', f'{{"{HOST}": {{"insecure": 1}}}}'])
def test_unreadable_settings_are_the_secure_ones(content: str) -> None:
    file().write_text(content)
    assert host_settings.load(HOST) == SECURE
    host_settings.remember(HOST, PLAIN)
    assert host_settings.load(HOST) == PLAIN


def test_settings_that_cannot_be_written_are_an_error() -> None:
    file().mkdir()
    with pytest.raises(RegistryToolError, match=f"the settings of {HOST} cannot be remembered"):
        host_settings.remember(HOST, PLAIN)
