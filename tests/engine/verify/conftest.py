"""What all tests of a verification on real engines have in common."""

from __future__ import annotations

import pytest

from registry_tool.verify.checks import container_run
from registry_tool.verify.environments import clean
from registry_tool.verify.probing import probes
from registry_tool.verify.stack import service_checks


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a change less often than for a person who waits: many of these wait for what does not come.

    Each look is some requests to an engine inside an engine, and fifty a second keep a processor busy.
    """
    for module in (probes, container_run, service_checks):
        monkeypatch.setattr(module, "PAUSE", 0.25)
    monkeypatch.setattr(container_run, "_LISTEN_PAUSE", 0.25)
    monkeypatch.setattr(clean, "_PAUSE", 0.1)
