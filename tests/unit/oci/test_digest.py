from __future__ import annotations

import hashlib

import pytest

from registry_tool.oci.digest import Digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256",
        "sha256:",
        f":{HEX}",
        HEX,
        f"sha256:{HEX[:-1]}",
        f"sha256:{HEX}0",
        f"sha512:{HEX}",
        f"sha256:{HEX.upper()}",
        f"SHA256:{HEX}",
        f"md5:{HEX[:32]}",
        f"sha256:{HEX[:-1]}g",
        f"sha256:{HEX[:-1]}٣",
        f" sha256:{HEX}",
        f"sha256:{HEX}\n",
        f"sha256:sha256:{HEX}",
        f"sha256@{HEX}",
        "sha256:" + "../" * 21 + "x",
    ],
)
def test_parse_of_no_digest_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        Digest.parse(text)


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha512:{HEX}{HEX}"])
def test_parse_digest(text: str) -> None:
    digest = Digest.parse(text)
    assert str(digest) == text
    assert (digest.algorithm, digest.hex) == tuple(text.split(":"))
    assert digest.short == "0123456789ab"


def test_digest_of_content() -> None:
    assert str(Digest.of(b"x")) == f"sha256:{hashlib.sha256(b'x').hexdigest()}"
    assert Digest.of(b"x") == Digest.parse(str(Digest.of(b"x")))
    assert len({Digest.of(b"x"), Digest.of(b"x"), Digest.of(b"y")}) == 2
