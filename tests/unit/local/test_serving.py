"""Certificates of a registry with TLS: issued, kept, renewed, given."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from registry_tool.base.crypto import certificates
from registry_tool.base.crypto.certificates import KeyPair
from registry_tool.base.errors import Conflict, UsageError
from registry_tool.engine import Endpoint, Engine
from registry_tool.local.registry import authority, machine, serving
from registry_tool.local.registry.passwords import Auth
from registry_tool.local.registry.serving import ServerTls, TlsFiles
from registry_tool.local.registry.spec import RegistrySettings
from registry_tool.local.registry.startup import _UpRequest, up
from registry_tool.local.registry.volume_state import VolumeState
from tests.support import canary
from tests.support.fake_engine import fake_engine

HERE = Endpoint(url="unix:///var/run/docker.sock", source="a test")
SETTINGS = RegistrySettings(port=5000, secret="s", user="john", listen="192.0.2.7", tls="ca")
LONG, SHORT = canary.password("long enough"), "7 chars"
NOW = datetime.now(timezone.utc)


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def issued(state: Path, *, days_ago: int = 0, days: int = 365, names: tuple[str, ...] = ()) -> TlsFiles:
    """What an `up` issued so many days ago, for the names that are needed now unless others are given."""
    pair = authority.load_or_create(state)
    hosts = names or machine.server_names(HERE, SETTINGS.listen)
    addresses = [host for host in hosts if is_address(host)]
    others = [host for host in hosts if host not in addresses]
    leaf = certificates.issue(pair, names=others, addresses=addresses, days=days, now=NOW - timedelta(days=days_ago))
    return TlsFiles(certificate=leaf.certificate, key=leaf.key, authority=pair.certificate)


def test_new_certificate_has_names_and_addresses_of_where_it_listens(tmp_path: Path) -> None:
    tls = serving.issue(HERE, replace(SETTINGS, names=("registry.example", "198.51.100.9")), state=tmp_path)
    for host in ("localhost", "127.0.0.1", "::1", "192.0.2.7", "registry.example", "198.51.100.9"):
        assert tls.info.covers(host), host
    assert not tls.info.covers("198.51.100.10")
    assert tls.authority == authority.certificate(tmp_path)
    assert serving.is_current(tls, HERE, SETTINGS)


@pytest.mark.parametrize(("days_ago", "expected"), [(0, True), (240, True), (250, False), (364, False), (500, False)])
def test_certificate_is_renewed_when_a_third_of_its_time_is_left(tmp_path: Path, days_ago: int, *, expected: bool) -> None:
    assert serving.is_current(issued(tmp_path, days_ago=days_ago), HERE, SETTINGS) is expected


def test_certificate_without_todays_name_or_address_is_renewed(tmp_path: Path) -> None:
    tls = issued(tmp_path)
    assert serving.is_current(tls, HERE, SETTINGS)
    assert not serving.is_current(tls, HERE, replace(SETTINGS, listen="192.0.2.8"))
    assert not serving.is_current(tls, HERE, replace(SETTINGS, names=("registry.example",)))


def test_files_that_do_not_belong_together_are_replaced(tmp_path: Path) -> None:
    tls, other = issued(tmp_path), certificates.generate_authority("other", days=3)
    for damaged in (
        replace(tls, key=other.key),
        replace(tls, key=b""),
        replace(tls, authority=None),
        replace(tls, authority=other.certificate),
    ):
        assert not serving.is_current(damaged, HERE, SETTINGS)


def given(folder: Path, pair: KeyPair) -> tuple[Path, Path]:
    certificate, key = folder / "given.crt", folder / "given.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key


def test_given_chain_with_its_root_names_the_authority(tmp_path: Path) -> None:
    root = certificates.generate_authority("theirs", days=30)
    leaf = certificates.issue(root, names=["box"], days=3)
    alone = serving.read_files(*given(tmp_path, leaf))
    assert alone.authority is None
    whole = serving.read_files(*given(tmp_path, KeyPair(certificate=leaf.certificate + root.certificate, key=leaf.key)))
    assert whole.authority == root.certificate


def test_given_certificate_of_yesterday_is_refused(tmp_path: Path) -> None:
    root = certificates.generate_authority("theirs", days=90, now=NOW - timedelta(days=30))
    ended = certificates.issue(root, names=["box"], days=29, now=NOW - timedelta(days=30))
    with pytest.raises(UsageError, match=f"ended on {NOW - timedelta(days=1):%Y-%m-%d}"):
        serving.read_files(*given(tmp_path, ended))
    valid = certificates.issue(root, names=["box"], days=60, now=NOW)
    ended_root = certificates.generate_authority("theirs", days=29, now=NOW - timedelta(days=30))
    with pytest.raises(UsageError, match="ended on"):
        serving.read_files(*given(tmp_path, KeyPair(certificate=valid.certificate + ended_root.certificate, key=valid.key)))


def test_given_certificate_of_tomorrow_or_without_names_is_refused(tmp_path: Path) -> None:
    root = certificates.generate_authority("theirs", days=90)
    with pytest.raises(UsageError, match="is valid from"):
        serving.read_files(*given(tmp_path, certificates.issue(root, names=["box"], days=3, now=NOW + timedelta(days=1))))
    with pytest.raises(UsageError, match="no subject alternative name"):
        serving.read_files(*given(tmp_path, root))


def test_given_files_that_cannot_be_used_are_an_error_without_their_content(tmp_path: Path) -> None:
    leaf = certificates.issue(certificates.generate_authority("theirs", days=90), names=["box"], days=3)
    certificate, key = given(tmp_path, leaf)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        serving.read_files(certificate, tmp_path / "absent")
    key.write_bytes(leaf.key[:60])
    with pytest.raises(UsageError, match="not a private key") as caught:
        serving.read_files(certificate, key)
    assert leaf.key[30:50].decode() not in str(caught.value)
    with pytest.raises(UsageError, match="not a certificate"):
        serving.read_files(key, key)


# --- what up does with them ---


@pytest.fixture
def engine() -> Iterator[Engine]:
    with fake_engine({}) as (connected, _):
        yield connected


def request(engine: Engine, state: Path, **options: object) -> _UpRequest:
    values: dict[str, object] = {
        "engine": engine,
        "image": lambda: "registry:2",
        "name": "team",
        "port": None,
        "auth": None,
        "restart": None,
        "proxy": None,
    }
    return _UpRequest(**{**values, "state": state, "on_move": None, **options})  # type: ignore[arg-type]


NEW = VolumeState(settings=RegistrySettings(port=None, secret="s"))


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"listen": "0.0.0.0"}, "without --auth USER and without --tls"),
        ({"listen": "192.0.2.7", "auth": Auth(user="john", password=LONG)}, "without --tls"),
        ({"listen": "::", "tls": ServerTls(kind="ca")}, "without --auth USER"),
        ({"listen": "0.0.0.0", "auth": Auth(user="john", password=LONG), "tls": ServerTls(kind=None)}, "without --tls"),
    ],
    ids=["neither", "no-tls", "no-auth", "tls-off"],
)
def test_listening_beyond_loopback_without_password_or_tls_is_refused(
    engine: Engine, tmp_path: Path, options: dict[str, object], missing: str
) -> None:
    with pytest.raises(UsageError, match=missing) as caught:
        request(engine, tmp_path, **options).applied_to(NEW)
    assert "--insecure" in (caught.value.hint or "")
    assert not (tmp_path / "ca").exists(), "nothing was made for it"
    assert request(engine, tmp_path, insecure=True, **options).applied_to(NEW).settings.listen == options["listen"]


def test_turning_tls_off_where_others_reach_it_is_refused(engine: Engine, tmp_path: Path) -> None:
    stored = VolumeState(settings=SETTINGS, tls=issued(tmp_path))
    with pytest.raises(UsageError, match="without --tls"):
        request(engine, tmp_path, tls=ServerTls(kind=None)).applied_to(stored)
    back = request(engine, tmp_path, tls=ServerTls(kind=None), listen="127.0.0.1").applied_to(stored)
    assert (back.settings.listen, back.settings.tls, back.tls) == ("127.0.0.1", None, None)


def test_what_was_insisted_on_once_needs_no_option_again(engine: Engine, tmp_path: Path) -> None:
    stored = VolumeState(settings=replace(SETTINGS, user=None, tls=None))
    assert request(engine, tmp_path, restart="no").applied_to(stored).settings.listen == "192.0.2.7"


def test_short_password_is_refused_where_others_can_try(engine: Engine, tmp_path: Path) -> None:
    auth = Auth(user="john", password=SHORT)
    with pytest.raises(UsageError, match="fewer than 8 characters"):
        request(engine, tmp_path, auth=auth, listen="0.0.0.0", tls=ServerTls(kind="ca")).applied_to(NEW)
    with pytest.raises(UsageError, match="fewer than 8 characters"):
        request(engine, tmp_path, auth=auth).applied_to(VolumeState(settings=SETTINGS))
    assert auth.is_in(request(engine, tmp_path, auth=auth).applied_to(NEW).users)


def test_certificate_stays_until_it_is_due_and_an_option_changes_it(engine: Engine, tmp_path: Path) -> None:
    settings = replace(SETTINGS, listen="127.0.0.1")
    stored = VolumeState(settings=settings, tls=serving.issue(engine.endpoint, settings, state=tmp_path))
    assert request(engine, tmp_path).applied_to(stored) == stored
    named = request(engine, tmp_path, names=("registry.example",)).applied_to(stored)
    assert named.tls is not None
    assert named.tls.info.covers("registry.example")
    assert request(engine, tmp_path).applied_to(named) == named
    old = replace(stored, tls=issued(tmp_path, days_ago=300))
    renewed = request(engine, tmp_path).applied_to(old)
    assert renewed.tls is not None
    assert renewed.tls != old.tls
    assert renewed.tls.authority == stored.tls.authority if stored.tls else None


def test_given_certificate_is_remembered_and_never_replaced_by_one_of_ours(engine: Engine, tmp_path: Path) -> None:
    root = certificates.generate_authority("theirs", days=90)
    files = serving.read_files(*given(tmp_path, certificates.issue(root, names=["box"], days=1)))
    first = request(engine, tmp_path, tls=ServerTls(kind="files", files=files)).applied_to(NEW)
    assert (first.settings.tls, first.tls) == ("files", files)
    assert request(engine, tmp_path).applied_to(first) == first
    with pytest.raises(Conflict, match="missing in its volume"):
        request(engine, tmp_path).applied_to(replace(first, tls=None))
    ours = request(engine, tmp_path, tls=ServerTls(kind="ca")).applied_to(first)
    assert ours.tls is not None
    assert ours.tls.authority == authority.certificate(tmp_path)


@pytest.mark.parametrize("listen", ["", "box", "1.2.3", "224.0.0.1", "255.255.255.255", "fe80::1%eth0", "1.2.3.4:5000", "0.0.0.0/0"])
def test_what_is_no_address_is_refused_before_anything_is_done(engine: Engine, tmp_path: Path, listen: str) -> None:
    with pytest.raises(UsageError):
        up(engine, image=lambda: "registry:2", name="team", listen=listen, state=tmp_path)


def test_address_of_another_machine_is_refused(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no address 192\.0\.2\.77"):
        up(engine, image=lambda: "registry:2", name="team", listen="192.0.2.77", insecure=True, state=tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "*.example", "a..b", "x" * 254, "ä.example", "http://a"])
def test_name_that_no_certificate_can_have_is_refused(engine: Engine, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no certificate can be made for it"):
        up(engine, image=lambda: "registry:2", name="team", names=(name,), tls=ServerTls(kind="ca"), state=tmp_path)


def test_authority_is_remembered_for_these_hosts_only(tmp_path: Path) -> None:
    serving.remember_authority(b"pem", ("box:5000", "[2001:db8::7]:5000"), state=tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["certs.d/[2001:db8::7]:5000/ca.crt", "certs.d/box:5000/ca.crt"]
    assert stat.S_IMODE((tmp_path / files[0]).stat().st_mode) == 0o644
