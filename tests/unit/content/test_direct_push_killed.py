"""A direct push that is killed (SIGKILL) at some request: nothing is visible that is not whole, and nothing completed is sent again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from registry_tool import server
from registry_tool.base.errors import NotFound
from registry_tool.content.direct import push_image
from registry_tool.targets.layer_cache import LayerCache
from registry_tool.targets.registry import Presence, open_registry
from tests.support.fake_server import ReceivedRequest, Reply
from tests.support.faulty_proxy import Forward, faulty_proxy
from tests.support.paths import ROOT
from tests.support.saved_images import SavedImage

SAVED = SavedImage([bytes([number]) * 100_000 for number in range(6)])
LAST = 14
"""The request for the manifest."""
PUSH = """
import sys
from pathlib import Path
from registry_tool.content.direct import push_image
from registry_tool.targets.layer_cache import LayerCache
from registry_tool.targets.registry import open_registry
from tests.support.saved_images import SavedImage

saved = SavedImage([bytes([number]) * 100_000 for number in range(6)])
with open_registry(sys.argv[1]) as registry, LayerCache(Path(sys.argv[2])) as cache:
    push_image(saved.image, saved.archive, registry.repository("john/app"), "1", cache=cache)
"""


def check_killed_push(registry: server.RunningRegistry, cache: Path, request_number: int, *, answered: bool, after: float = 0) -> None:
    """Kill a push ``after`` seconds at a request, before or after it is answered, and push again."""
    with faulty_proxy(registry.port) as proxy, open_registry(proxy.host) as opened:
        expected = push_image(SAVED.image, SAVED.archive, opened.repository("reference"), "1").descriptor
        layers = opened.repository("reference").manifest("1").layers
        repository = opened.repository("john/app")

        def kill(request: ReceivedRequest, forward: Forward) -> Reply:
            if answered:
                forward(request)
            started.wait(600)
            time.sleep(after)
            child.kill()
            return Reply(hang_up=True)

        started = threading.Event()
        # A layer takes two requests, the config two, and the manifest one.
        proxy.inject(kill, method="POST|PUT", after=request_number)
        child = subprocess.Popen([sys.executable, "-c", PUSH, proxy.host, str(cache)], cwd=ROOT)
        started.set()
        assert child.wait(timeout=600) == -signal.SIGKILL
        proxy.reset()
        if not (answered and request_number == LAST):
            with pytest.raises(NotFound):
                repository.resolve("1")
        completed = [layer for layer in layers if repository.last_byte(layer) is Presence.WHOLE]
        with LayerCache(cache) as known:
            pushed = push_image(SAVED.image, SAVED.archive, repository, "1", cache=known)
        assert pushed.descriptor.digest == expected.digest
        # Another upload may still have been on its way through the proxy.
        assert sum(status == "Pushed" for status in pushed.layers.values()) <= len(layers) - len(completed)
        assert all(repository.last_byte(layer) is Presence.WHOLE for layer in layers)


@pytest.mark.parametrize("answered", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("request_number", [0, 3, 7, 11, LAST])
def test_killed_at_any_request_no_tag_is_left_and_no_completed_layer_is_sent_again(
    registry: server.RunningRegistry, tmp_path: Path, request_number: int, answered: bool
) -> None:
    check_killed_push(registry, tmp_path / "layers.sqlite", request_number, answered=answered)


def moments() -> list[tuple[int, bool, float]]:
    """A hundred random ones: the request's number, whether it is answered, and seconds after it arrived."""
    generator = random.Random(1)
    return [(generator.randint(0, LAST), generator.random() < 0.5, generator.uniform(0, 0.02)) for _ in range(100)]


@pytest.mark.soak
@pytest.mark.parametrize(("request_number", "answered", "after"), moments())
def test_push_killed_at_many_moments(
    registry: server.RunningRegistry, tmp_path: Path, request_number: int, answered: bool, after: float
) -> None:
    check_killed_push(registry, tmp_path / "layers.sqlite", request_number, answered=answered, after=after)
