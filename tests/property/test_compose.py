"""Whatever stands in a compose file is read, or refused in one line; what was written is what is read."""

from __future__ import annotations

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from registry_tool.base.errors import UsageError
from registry_tool.verify.stack import compose
from registry_tool.verify.stack.compose import Composition


def _parse(text: str) -> Composition:
    return compose.parse(text.encode(), file="stack.yml")


def _said(text: str) -> str:
    """The refusal, or nothing where it is read; whatever else is raised is a defect."""
    try:
        _parse(text)
    except UsageError as error:
        return error.message
    return ""


@given(st.text())
@example('services: "\\U99999999"')
@example("%YAML 99999999999999999999.1\n---\n")
@example("? a\n: - &x\n")
@example("\ufeffservices: {}")
@example("{services: {web: {image: a}, web: {image: b}}}")
def test_any_text_is_read_or_refused(text: str) -> None:
    assert "\n" not in _said(text)


_SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["a", "80", "4000:80", "web", "${X}"]))
_KEYS = st.sampled_from(
    ["services", "web", "redis", "image", "ports", "environment", "deploy", "replicas", "networks", "depends_on", "command"]
)
_TREES = st.recursive(_SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=4)))


@given(st.fixed_dictionaries({"services": st.dictionaries(st.sampled_from(["web", "redis"]), st.dictionaries(_KEYS, _TREES))}))
def test_any_document_of_known_keys_is_read_or_refused(document: object) -> None:
    assert "\n" not in _said(yaml.safe_dump(document, allow_unicode=True))


_NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
_GOOD = st.fixed_dictionaries(
    {"image": st.from_regex(r"[a-z]{1,5}(:[0-9]{1,3})?", fullmatch=True)},
    optional={
        "command": st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), max_size=3),
        "environment": st.dictionaries(
            st.from_regex(r"[A-Z]{1,4}", fullmatch=True), st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5)
        ),
        "ports": st.lists(st.tuples(st.integers(1, 65535), st.integers(1, 65535)), max_size=3),
        "scale": st.integers(1, 16),
    },
)


@given(st.dictionaries(_NAMES, _GOOD, min_size=1, max_size=4))
def test_written_services_are_read_back(services: dict[str, dict[str, object]]) -> None:
    def written(keys: dict[str, object]) -> dict[str, object]:
        ports = keys.get("ports")
        return keys | ({"ports": [f"{host}:{inside}" for host, inside in ports]} if isinstance(ports, list) else {})

    text = yaml.safe_dump({"services": {name: written(keys) for name, keys in services.items()}}, allow_unicode=True)
    result = {service.name: service for service in _parse(text).services}
    assert result.keys() == services.keys()
    for name, keys in services.items():
        service = result[name]
        assert service.image == keys["image"]
        assert list(service.command) == keys.get("command", [])
        assert service.environment == keys.get("environment", {})
        assert list(service.ports) == keys.get("ports", [])
        assert service.replicas == keys.get("scale", 1)
