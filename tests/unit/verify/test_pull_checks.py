"""The checks of a pull with made-up results, as no working engine has them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_tool.base.errors import InvalidManifest, PullFailed, RegistryToolError
from registry_tool.engine import Image, Platform, TransferResult
from registry_tool.oci import config as configs
from registry_tool.oci import manifest as manifests
from registry_tool.oci.descriptor import Descriptor
from registry_tool.oci.digest import Digest
from registry_tool.oci.reference import Reference
from registry_tool.verify.checks import pull_checks
from registry_tool.verify.checks.pull_checks import PullResult
from registry_tool.verify.environments.environment import Traffic
from registry_tool.verify.remote_image import RemoteImage
from registry_tool.verify.spec import VerifySpec
from tests.support import content

NAME = Reference.parse("localhost:5000/john/app:1", default_host="")
LAYERS = (content.layer(b"one"), content.layer(b"two"))
RAW_CONFIG = content.config(LAYERS)
CONFIG = configs.parse_config(RAW_CONFIG)
MANIFEST = manifests.image(
    Descriptor(media_type=manifests.OCI_CONFIG, digest=Digest.of(RAW_CONFIG), size=len(RAW_CONFIG)),
    [Descriptor(media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=Digest.of(one), size=len(one)) for one in LAYERS],
)
REMOTE = RemoteImage(name=NAME, root=MANIFEST, image=MANIFEST, config=CONFIG, platforms=("linux/amd64",))
CONFIG_ID, MANIFEST_ID = str(Digest.of(RAW_CONFIG)), str(MANIFEST.digest)
REPOSITORY = NAME.repository
IMAGE = Image(
    id=CONFIG_ID,
    digests=(f"{REPOSITORY}@{MANIFEST_ID}",),
    layers=tuple(map(str, CONFIG.diff_ids)),
    platform=Platform(os="linux", architecture="amd64"),
)
TRANSFER = TransferResult(reference=str(REMOTE.by_digest), descriptor=MANIFEST.descriptor)
PULLED = PullResult(transfer=TRANSFER, image=IMAGE, traffic=Traffic(down=REMOTE.size))
OTHER = str(Digest.of(b"other"))


@given(down=st.integers(0, 10**7))
def test_fetched_bytes_must_be_the_images_and_hardly_more(down: int) -> None:
    check = pull_checks.fetched(REMOTE, replace(PULLED, traffic=Traffic(down=down)))
    assert check.ok is (REMOTE.size <= down <= REMOTE.size * 1.01 + 256 * 1024)
    assert (check.hint is None) is check.ok
    assert check.evidence["bytes"] == down


def test_uncounted_pull_is_undecided() -> None:
    check = pull_checks.fetched(REMOTE, replace(PULLED, traffic=None))
    assert (check.ok, "not counted" in check.detail) == (None, True)


@pytest.mark.parametrize("damaged", [None, InvalidManifest("a layer is damaged")])
def test_failed_pull_has_its_reason_and_its_bytes(damaged: RegistryToolError | None) -> None:
    failed = PullResult(error=PullFailed("the pull failed"), traffic=Traffic(down=100, refused=2))
    check = pull_checks.fetched(REMOTE, failed, damaged)
    assert check.ok is False
    assert check.detail.startswith("the pull failed; downloaded 100B of ")
    assert check.evidence["refused"] == 2
    assert check.hint is not None
    assert ("Push it again" in check.hint) is (damaged is not None)


@pytest.mark.parametrize(
    ("reported", "kept", "ok"),
    [
        (MANIFEST.digest, IMAGE.digests, True),
        (Digest.of(b"other"), IMAGE.digests, False),
        (MANIFEST.digest, (), False),
        (MANIFEST.digest, (f"{REPOSITORY}@{OTHER}",), False),
        (MANIFEST.digest, (f"{REPOSITORY}@{OTHER}", f"elsewhere.example/app@{MANIFEST_ID}"), True),
    ],
)
def test_digest_must_be_reported_and_kept(reported: Digest, kept: tuple[str, ...], ok: bool) -> None:
    moved = replace(TRANSFER, descriptor=replace(MANIFEST.descriptor, digest=reported))
    assert pull_checks.digest(REMOTE, replace(PULLED, transfer=moved, image=replace(IMAGE, digests=kept))).ok is ok


@pytest.mark.parametrize(
    ("image", "ok", "words"),
    [
        (IMAGE, True, "config and 2 layers"),
        (replace(IMAGE, id=MANIFEST_ID), True, "the manifest that is the id there"),
        (replace(IMAGE, id=OTHER), False, "another config"),
        (replace(IMAGE, layers=(*IMAGE.layers[:1], OTHER)), False, "1 of 2 layers are the registry's"),
        (replace(IMAGE, layers=IMAGE.layers[:1]), False, "the engine has 1"),
        (replace(IMAGE, layers=IMAGE.layers[::-1]), False, "0 of 2 layers"),
        (None, False, "the engine has 0"),
    ],
)
def test_content_is_compared_by_config_or_manifest_id(image: Image | None, ok: bool, words: str) -> None:
    check = pull_checks.content(REMOTE, replace(PULLED, image=image))
    assert (check.ok, words in check.detail) == (ok, True), check.detail


def test_damaged_config_in_the_registry_fails_content() -> None:
    damaged = replace(REMOTE, config=None, config_error=InvalidManifest("the config is damaged"))
    check = pull_checks.content(damaged, PullResult())
    assert (check.ok, check.detail) == (False, "the config is damaged")


@pytest.mark.parametrize(
    ("image", "same"),
    [
        (IMAGE, True),
        (Image(id=CONFIG_ID), True),
        (Image(id=MANIFEST_ID), True),
        (Image(id=OTHER, digests=(f"elsewhere.example/app@{MANIFEST_ID}",)), True),
        (Image(id=OTHER, digests=(f"{REPOSITORY}@{OTHER}",)), False),
        (Image(id=OTHER, layers=IMAGE.layers), False),
    ],
)
def test_local_image_is_the_same_by_digest_or_id(image: Image, same: bool) -> None:
    assert pull_checks.is_same(image, REMOTE) is same
    check = pull_checks.resolves(VerifySpec(image=NAME), REMOTE, image)
    assert check.ok is same
    assert (check.hint is None) is same


def test_expected_digest_goes_before_the_local_image() -> None:
    stranger = Image(id=OTHER)
    assert pull_checks.resolves(VerifySpec(image=NAME, expect=MANIFEST.digest), REMOTE, stranger).ok is True
    assert pull_checks.resolves(VerifySpec(image=NAME, expect=Digest.of(b"other")), REMOTE, IMAGE).ok is False
    assert pull_checks.resolves(VerifySpec(image=NAME), REMOTE, None).ok is None


@pytest.mark.parametrize(
    ("image", "engine", "runs"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v6", "linux/arm", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm64", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_platform_runs_on_engines_of_its_kind(image: str, engine: str, runs: bool) -> None:
    assert pull_checks.runs_on(Platform.parse(image), Platform.parse(engine)) is runs
