"""A proxy's upstream that is a local registry, too: both containers are in a network of the proxy's, as loopback is each one's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from registry_tool.base import labels
from registry_tool.base.errors import Conflict, NotARegistry, NotFound, RegistryUnreachable, UsageError
from registry_tool.base.page_client import NoResponse, get_page
from registry_tool.engine import Engine
from registry_tool.local.registry import lookup, spec
from registry_tool.local.registry.lookup import LocalRegistry
from registry_tool.local.registry.proxy import STATE, Proxy, ProxySettings
from registry_tool.local.registry.volume_state import VolumeState

_PROBE_TIMEOUT = 5.0  # seconds that an upstream may take to answer


def check(proxy: Proxy, *, timeout: float = _PROBE_TIMEOUT) -> None:
    """Look at the upstream once, as far as this machine can. Raises NotARegistry; UsageError where it wants what no proxy can give it."""
    try:
        page = get_page(f"{proxy.url}/v2/", timeout=timeout)
    except NoResponse:
        return  # the registry's container has a network, and authorities, of its own: what it says counts
    is_registry = "docker-distribution-api-version" in page.headers or "json" in page.headers.get("content-type", "")
    if not is_registry or page.status not in (200, 401):
        raise NotARegistry(
            f"{proxy.url} is not a registry (HTTP {page.status} on /v2/)",
            hint="Give the address of a registry: --proxy https://HOST[:PORT]",
        )
    if page.status == 401 and page.headers.get("www-authenticate", "").lower().startswith("basic"):
        raise UsageError(
            f"{proxy.url} asks for a password without tokens (Basic), which distribution's proxy cannot give",
            hint="Mirror it with regctl sync FILE instead, which can log in there.",
        )


def settings_of(engine: Engine, name: str, proxy: Proxy) -> ProxySettings:
    """What is remembered of ``proxy``. Raises UsageError for a loopback upstream that is not a local registry, or ``name`` itself."""
    settings = ProxySettings(url=proxy.url, user=proxy.user)
    if not proxy.host.is_loopback:
        return settings
    upstream = next((each for each in lookup.find_all(engine) if each.port == proxy.host.port), None)
    if upstream is None or upstream.name == name:
        what = "this registry itself" if upstream else "not a registry that regctl up started"
        raise UsageError(
            f"{proxy.url} is {what}", hint="In the proxy's container localhost is the container: name an address that others reach, too."
        )
    return replace(settings, upstream=upstream.name)


def apply(engine: Engine, name: str, proxy: Proxy, state: VolumeState) -> VolumeState:
    """``state`` of the registry ``name`` as a proxy; without a user what is known of it stays. Raises as :func:`settings_of`."""
    before = state.settings.proxy
    if before is not None and before.url == proxy.url and proxy.user is None and state.proxy_configuration is not None:
        return state
    settings = settings_of(engine, name, proxy)
    scheme = proxy.url.partition("://")[0]
    inside = proxy.url if settings.upstream is None else f"{scheme}://{spec.resource_name(settings.upstream)}:5000"
    return replace(state, settings=replace(state.settings, proxy=settings), proxy_configuration=proxy.configuration(inside, spec.STORAGE))


def check_same(name: str, proxy: Proxy, before: ProxySettings | None) -> None:
    """Raises Conflict where the registry ``name``, which has content, is not a proxy of that upstream."""
    if before is not None and before.url == proxy.url:
        return
    is_now = f"is a proxy of {before.url}" if before else "is not a proxy"
    raise Conflict(
        f"the registry {name!r} {is_now}: its content would get mixed with that of {proxy.url}",
        hint=f"Take another name: --name mirror, or remove it and its content first: regctl down{spec.name_option(name)} --volumes",
    )


def join(engine: Engine, name: str, proxy: ProxySettings | None) -> None:
    """Have the network of the proxy ``name``, and its upstream in it, where that is a local registry. Raises Conflict."""
    if proxy is None or proxy.upstream is None:
        return
    wanted = spec.resource_labels(name) | {labels.UPSTREAM: proxy.upstream}
    network = engine.network(spec.resource_name(name))
    if network is None:
        engine.create_network(spec.resource_name(name), labels=wanted)
    elif not spec.resource_labels(name).items() <= network.labels.items():
        raise Conflict(
            f"a network of somebody else has the name {network.name}", hint="Take another name for the registry: regctl up --name NAME"
        )
    _attach(engine, spec.resource_name(name), lookup.find(engine, proxy.upstream))


def rejoin(engine: Engine, name: str) -> None:
    """Attach the container of the registry ``name``, which is a new one, to the networks of its proxies."""
    for network in engine.networks(labels={labels.UPSTREAM: name}):
        _attach(engine, network.name, lookup.find(engine, name))


def leave(engine: Engine, name: str) -> None:
    """Remove the network of the proxy ``name``, if there is one of ours."""
    network = engine.network(spec.resource_name(name))
    if network is None or labels.UPSTREAM not in network.labels or network.labels.get(labels.REGISTRY) != name:
        return
    upstream = lookup.find(engine, network.labels[labels.UPSTREAM])
    # One that is stopped is in no list, and could not start again without the network.
    for container in {*network.containers, *((upstream.container_id,) if upstream else ())}:
        with suppress(NotFound):
            engine.disconnect_network(network.name, container)
    engine.remove_network(network.name, missing_ok=True)


def problem(engine: Engine, registry: LocalRegistry) -> str | None:
    """Why the proxy ``registry`` serves only what it has stored; None where it is a proxy, or none at all."""
    if registry.proxy is None:
        return None
    content = engine.get_file(registry.container_id, STATE)
    text = (content or b"").decode(errors="replace").strip().removeprefix("panic: ")
    return " ".join(text.split())[:300] or None


def unusable(registry: LocalRegistry, why: str) -> RegistryUnreachable:
    """The error for a new proxy whose upstream cannot be used."""
    return RegistryUnreachable(
        f"the upstream {registry.proxy} cannot be used from the registry's container: {why}", hint="Nothing was kept."
    )


def _attach(engine: Engine, network: str, registry: LocalRegistry | None) -> None:
    container = engine.container(registry.container_id) if registry is not None else None
    if container is not None and registry is not None and network not in container.networks:
        engine.connect_network(network, container.id, aliases=(spec.resource_name(registry.name),))
