"""A registry with TLS that listens beyond loopback, on a real engine: everything that is done with a local registry works with it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.engine import Engine
from registry_tool.local import registry as local_registry
from registry_tool.local.collection import CollectionOptions, collect, find_subject, plan_collection
from registry_tool.local.registry import Auth, LocalRegistry, ServerTls, authority, serving, spec, volume_state
from tests.support import canary
from tests.support.requirements import free_port

pytestmark = pytest.mark.engine

PASSWORD = canary.password("of TLS")
JOHN = Auth(user="john", password=PASSWORD)
CA = ServerTls(kind="ca")


@pytest.fixture
def registry(engine: Engine, registry_image: str, unique: str, tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry with TLS and the user john, at every IPv4 address of this machine."""
    yield local_registry.up(
        engine,
        image=lambda: registry_image,
        name=unique,
        port=free_port(),
        auth=JOHN,
        listen="0.0.0.0",
        tls=CA,
        names=("registry.example",),
        state=tmp_path,
    ).registry
    local_registry.down(engine, unique, volumes=True)


def ask(
    registry: LocalRegistry,
    trusted: bytes | None,
    method: str = "GET",
    path: str = "/v2/",
    *,
    body: bytes = b"",
    user: bool = True,
    name: str = "127.0.0.1",
) -> tuple[int, str]:
    """Status and location of a response to a client that trusts ``trusted`` and expects ``name``. Raises SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted is not None:
        context.load_verify_locations(cadata=trusted.decode())
    login = base64.b64encode(f"john:{PASSWORD}".encode()).decode()
    connection = http.client.HTTPSConnection("127.0.0.1", registry.port, context=context, timeout=60)
    if name != "127.0.0.1":
        connection.connect = lambda: setattr(connection, "sock", _connected(connection, context, name))  # type: ignore[method-assign]
    try:
        connection.request(method, path, body, {"Authorization": f"Basic {login}"} if user else {})
        response = connection.getresponse()
        return response.status, response.headers.get("location", "")
    finally:
        connection.close()


def _connected(connection: http.client.HTTPSConnection, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    http.client.HTTPConnection.connect(connection)
    return context.wrap_socket(connection.sock, server_hostname=name)


def test_registry_is_trusted_by_its_authority_alone_and_keeps_its_secrets(
    engine: Engine, registry: LocalRegistry, unique: str, tmp_path: Path
) -> None:
    trusted = serving.authority_certificate(engine, registry)
    assert trusted == authority.certificate(tmp_path)
    assert [ask(registry, trusted, user=user)[0] for user in (True, False)] == [200, 401]
    assert ask(registry, trusted, name="registry.example")[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        ask(registry, trusted, name="other.example")
    for stranger in (None, certificates.generate_authority("other", days=1).certificate):
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(registry, stranger)
    assert (registry.tls, registry.listen, registry.address) == (True, "0.0.0.0", f"localhost:{registry.port}")
    assert local_registry.is_ready(registry)
    key = engine.get_file(registry.container_id, spec.KEY)
    assert key is not None
    secrets = [PASSWORD, key.splitlines()[1].decode(), "PRIVATE KEY"]
    seen = repr(engine.container(registry.container_id)) + b"".join(chunk for _, chunk in engine.logs(registry.container_id)).decode()
    assert [secret for secret in secrets if secret in seen] == []
    _, modes = engine.execute(registry.container_id, ("sh", "-c", f"ls -ln {spec.STORAGE}/{spec.SETTINGS_FOLDER}"))
    listed = {line.split()[-1]: line.split()[0] for line in modes.decode().splitlines() if line.startswith("-")}
    assert {name: listed[name] for name in ("server.key", "htpasswd", "settings.json")} == dict.fromkeys(
        ("server.key", "htpasswd", "settings.json"), "-rw-------"
    )


def test_certificate_is_renewed_before_it_ends_and_settings_outlive_the_container(
    engine: Engine, registry: LocalRegistry, registry_image: str, unique: str, tmp_path: Path
) -> None:
    def up(**options: object) -> LocalRegistry:
        return local_registry.up(engine, image=lambda: registry_image, name=unique, state=tmp_path, **options).registry  # type: ignore[arg-type]

    trusted = authority.certificate(tmp_path)
    assert up() == registry, "a certificate of today stays"
    local_registry.down(engine, unique)
    again = up()
    assert (again.port, again.listen, again.tls, again.user) == (registry.port, "0.0.0.0", True, "john")
    before = serving.server_certificate(engine, again)
    assert before is not None

    container = engine.container(again.container_id)
    assert container is not None
    stored = volume_state.read(engine, container)
    ended = certificates.issue(
        authority.load_or_create(tmp_path),
        names=before.names,
        addresses=before.addresses,
        days=365,
        now=datetime.now(timezone.utc) - timedelta(days=366),
    )
    assert stored.tls is not None
    old = replace(stored.tls, certificate=ended.certificate, key=ended.key)
    volume_state.write(engine, again.container_id, replace(stored, tls=old))
    engine.restart(again.container_id)
    local_registry.wait_until_ready(engine, again, timeout=600)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        ask(again, trusted)
    renewed = up()
    assert ask(renewed, trusted)[0] == 200, "the authority is the same, so clients notice nothing"

    back = up(listen="127.0.0.1", tls=ServerTls(kind=None))
    assert (back.port, back.listen, back.tls, back.user) == (registry.port, "127.0.0.1", False, "john")
    assert local_registry.probe_port(back.port).state is local_registry.PortState.REGISTRY
    assert not local_registry.up(engine, image=lambda: registry_image, name=unique, state=tmp_path).created


def test_garbage_is_collected_while_a_stand_in_serves_with_the_same_certificate_and_users(
    engine: Engine, registry: LocalRegistry, unique: str, tmp_path: Path
) -> None:
    trusted = authority.certificate(tmp_path)
    content = b"unneeded"
    _, location = ask(registry, trusted, "POST", "/v2/app/blobs/uploads/")
    path = location.partition(f":{registry.port}")[2]
    assert ask(registry, trusted, "PUT", f"{path}&digest=sha256:{hashlib.sha256(content).hexdigest()}", body=content)[0] == 201
    options = CollectionOptions(grace=0)
    planned = plan_collection(engine, find_subject(engine, unique), options, state=tmp_path)
    statuses: list[tuple[int, int]] = []

    def look(step: str) -> None:
        statuses.append((ask(registry, trusted)[0], ask(registry, trusted, user=False)[0]))

    result = collect(engine, find_subject(engine, unique), planned, options, state=tmp_path, on_step=look)
    assert result.blobs == 1
    assert set(statuses) == {(200, 401)}
    assert ask(registry, trusted, "POST", "/v2/app/blobs/uploads/")[0] == 202, "it is writable again"
