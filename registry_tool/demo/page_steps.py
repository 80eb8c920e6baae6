"""The demo's page: of the image that was built, then of the one that was pulled, and of that beside Redis."""

from __future__ import annotations

import ast
import re
import string
import time
from dataclasses import dataclass
from pathlib import Path

from registry_tool.base import labels
from registry_tool.base.deadline import Deadline, poll
from registry_tool.base.errors import PortTaken, VerificationFailed
from registry_tool.base.page_client import NoResponse, Page, get_page
from registry_tool.base.runs import Run
from registry_tool.base.signals import defer_signals
from registry_tool.demo.result import DEFAULT_PORT, DemoOptions, DemoResult
from registry_tool.engine import Container, ContainerSpec, Engine, PortBinding
from registry_tool.local.base_images import REDIS, BaseImageResolver
from registry_tool.local.sample_page import NO_REDIS, SamplePage

PORTS_TRIED = 100
APP_PORT = "80/tcp"

FIRST_RESPONSE = 30.0
"""Seconds until a container that was just started must respond, and then until its page counts beside Redis."""
REQUEST_TIMEOUT = 10.0
"""Seconds that one request may take. The page itself promises three, also without Redis."""
_PAUSE, _CONTAINER_PAUSE = 0.01, 0.1
"""Seconds between two requests, and between two checks that the container still runs, or counts."""
_LOG_LINES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A container of the image that was built."""

    engine: Engine
    container: Container

    @classmethod
    def start(cls, engine: Engine, run: Run, image_id: str) -> Preview:
        """Start the container, on a port that the engine chooses."""
        spec = ContainerSpec(
            image=image_id,
            name=f"registry-tool-demo-{run.id}-preview",
            labels=run.labels(labels.ROLE_DEMO),
            # Where nothing listens: the look-up of a name that is not there takes its time.
            environment={"REDIS_HOST": "127.0.0.1"},
            ports=(PortBinding(container_port=APP_PORT, host_port=0, host_ip="127.0.0.1"),),
        )
        with defer_signals():
            return cls(engine=engine, container=engine.run(spec))

    def page(self) -> SamplePage:
        """Its page. Raises VerificationFailed where there is none, or that of another app."""
        port = next((binding.host_port for binding in self.container.ports), 0)
        page = wait_for_page(self.engine, self.container, port)
        check_page(self.engine, self.container, page, visits=None)
        return SamplePage.parse(page.body)

    def remove(self) -> None:
        """Remove the container."""
        with defer_signals():
            self.engine.remove(self.container.id, force=True, missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSteps:
    """``image`` is the name that was pulled; ``built`` the page of the image that was built, where that was seen."""

    engine: Engine
    bases: BaseImageResolver
    options: DemoOptions
    result: DemoResult
    run: Run
    image: str
    built: SamplePage | None

    def execute(self) -> None:
        """Run the image without Redis, and with ``options.redis`` beside it, too."""
        with self.result.step("run", "docker run -d") as step:
            container, port = self._start()
            step.command = f"docker run -d -p {port}:80 {self.image}"
            step.detail = f"{container.name} on port {port}"
        with self.result.step("look", f"curl http://localhost:{port}/") as step:
            page = self.result.page = wait_for_page(self.engine, container, port)
            self._check(container, page, visits=None)
            step.detail = f"{page.status}, from {container.hostname}: {NO_REDIS}"
        if self.options.redis:
            # The page beside Redis takes its port.
            self.engine.remove(container.id, force=True)
            self._run_with_redis()
        elif self.options.keep:
            self.result.kept.append(container.name)

    def _check(self, container: Container, page: Page, *, visits: int | None) -> None:
        check_page(self.engine, container, page, visits=visits, built=self.built, pattern=page_pattern(self.options.context, container))

    def _run_with_redis(self) -> None:
        network = f"registry-tool-demo-{self.run.id}"
        marks = self.run.labels(labels.ROLE_DEMO)
        with self.result.step("run with redis", f"docker run -d --network {network} {self.image}") as step:
            base = self.bases.ensure(REDIS)
            self.result.images.append(base)
            with defer_signals():
                self.engine.create_network(network, labels=marks)
            with defer_signals():
                redis = self.engine.run(
                    ContainerSpec(image=base.name, name=f"{network}-redis", network=network, aliases=("redis",), labels=marks)
                )
            container, port = self._start(network)
            step.command = f"docker run -d --network {network} -p {port}:80 {self.image}"
            step.detail = f"{container.name} on port {port}, beside {redis.name} ({base.name}, {base.source})"
        with self.result.step("count", f"curl http://localhost:{port}/  (three times)") as step:
            for visits in (1, 2, 3):
                get = wait_for_counted_page if visits == 1 else wait_for_page
                page = self.result.page_with_redis = get(self.engine, container, port)
                self._check(container, page, visits=visits)
                self.result.visits.append(visits)
            step.detail = f"visits {', '.join(map(str, self.result.visits))}"
        if self.options.keep:
            self.result.kept.extend((container.name, redis.name))
            self.result.kept_network = network

    def _start(self, network: str | None = None) -> tuple[Container, int]:
        """Start the image on the requested port, or on the first free one. Raises PortTaken."""
        requested = self.options.port
        for port in [requested] if requested is not None else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED):
            spec = ContainerSpec(
                image=self.image,
                name=f"registry-tool-demo-{self.run.id}{'-counting' if network else ''}",
                labels=self.run.labels(labels.ROLE_DEMO),
                ports=(PortBinding(container_port=APP_PORT, host_port=port, host_ip="127.0.0.1"),),
                network=network,
            )
            try:
                with defer_signals():
                    return self.engine.run(spec), port
            except PortTaken:
                if requested is not None:
                    raise
        raise PortTaken(f"no free port from {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1} for the page", hint="Name one with: -p PORT")


def wait_for_page(engine: Engine, container: Container, port: int) -> Page:
    """GET the page until it responds. Raises VerificationFailed, with the container's last lines, where it does not."""
    url = f"http://localhost:{port}/"
    error, next_check = NoResponse(), Deadline(0)

    def page() -> Page | None:
        nonlocal error, next_check
        try:
            return get_page(url, timeout=REQUEST_TIMEOUT)
        except NoResponse as no_response:
            error = no_response
        if next_check.passed:
            next_check = Deadline(_CONTAINER_PAUSE)
            current = engine.container(container.id)
            if current is None or not current.running:
                state = "is gone" if current is None else f"ended with code {current.exit_code}"
                raise _failure(engine, container, f"no page: the container {state}") from error
        return None

    response = poll(page, Deadline(FIRST_RESPONSE), pause=_PAUSE)
    if response is None:
        raise _failure(engine, container, f"no page at {url} within {FIRST_RESPONSE:.0f} s: {error}") from error
    return response


def wait_for_counted_page(engine: Engine, container: Container, port: int) -> Page:
    """GET the page until it counts; after ``FIRST_RESPONSE`` as it is. While Redis does not listen yet it says so at once, for a second.

    Raises VerificationFailed as :func:`wait_for_page`.
    """
    deadline = Deadline(FIRST_RESPONSE)
    while NO_REDIS in (page := wait_for_page(engine, container, port)).body and not deadline.passed:
        time.sleep(_CONTAINER_PAUSE)
    return page


def page_pattern(context: Path, container: Container) -> re.Pattern[str] | None:
    """What the page of the app in ``context`` should look like, by ``HTML`` in its source and by ``container``'s variables.

    None where that is not to be seen there: somebody has made another app of it.
    """
    try:
        module = ast.parse((context / "app.py").read_bytes())
        [text] = [
            constant.value
            for node in module.body
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["HTML"]
            for constant in ast.walk(node.value)
            if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
        ]
        fields = list(string.Formatter().parse(text))
    except (OSError, SyntaxError, ValueError):
        return None
    name = dict(variable.partition("=")[::2] for variable in container.environment).get("NAME", "")
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ('"', "&#34;")):
        name = name.replace(character, entity)
    values = {None: "", "name": f"(?i:{re.escape(name)})"}
    return re.compile("".join(re.escape(literal) + values.get(field, ".*?") for literal, field, _, _ in fields), re.DOTALL)


def check_page(
    engine: Engine,
    container: Container,
    page: Page,
    *,
    visits: int | None,
    built: SamplePage | None = None,
    pattern: re.Pattern[str] | None = None,
) -> None:
    """Raise VerificationFailed unless it is the sample app's page from this container, and says what ``built`` and ``pattern`` do.

    ``visits`` None: without Redis.
    """
    if page.status != 200:
        raise _failure(engine, container, f"the page at {page.url} answered {page.status}, not 200")
    shown = SamplePage.parse(page.body)
    counter = NO_REDIS if shown.has_counter and shown.visits is None else shown.visits
    for what, expected, actual in (
        ("greeting", built.greeting if built else shown.greeting, shown.greeting),
        ("host name", container.hostname, shown.hostname),
        ("counter", NO_REDIS if visits is None else visits, counter),
        ("text", built.text if built else shown.text, shown.text),
    ):
        if actual != expected:
            content = actual if actual is not None else (page.body.strip()[:200] or "an empty page")
            raise _failure(engine, container, f"the page's {what} should be {expected!r}, and it is {content!r}")
    if pattern is not None and not pattern.search(page.body):
        content = page.body.strip()[:200] or "an empty page"
        raise _failure(engine, container, f"the page should say {_readable(pattern)!r}, as app.py has it, and it is {content!r}")


def _readable(pattern: re.Pattern[str]) -> str:
    return re.sub(r"\\(.)", r"\1", re.sub(r"\(\?i:(.*?)\)", r"\1", pattern.pattern.replace(".*?", "…")))


def _failure(engine: Engine, container: Container, message: str) -> VerificationFailed:
    excerpt = engine.log_tail(container.id, _LOG_LINES)
    return VerificationFailed(message, hint="The lines above are the end of the container's log.", excerpt=excerpt)
