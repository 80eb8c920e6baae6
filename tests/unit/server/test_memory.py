"""The storage in memory, as far as no request of the contract tests shows it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry_tool.oci.digest import Digest
from registry_tool.server import MemoryStorage, Storage, WrongDigest


@pytest.fixture
def storage() -> Storage:
    return MemoryStorage()


def test_content_is_stored_by_its_digest(storage: Storage) -> None:
    digest = storage.put(b"content")

    result = storage.open(digest)

    assert (digest, storage.size(digest)) == (Digest.of(b"content"), 7)
    assert result is not None
    assert result.read() == b"content"


def test_absent_content_is_none(storage: Storage) -> None:
    digest = Digest.of(b"content")

    assert (storage.size(digest), storage.open(digest), storage.linked("a", "layer", digest)) == (None, None, None)
    assert (storage.tags("a"), storage.resume("a", "no"), list(storage.repositories())) == (None, None, [])
    storage.unlink("a", "layer", digest)
    storage.untag("a", "tag")
    assert (storage.tags("a"), list(storage.repositories())) == (None, [])


def test_tags_return_a_copy(storage: Storage) -> None:
    storage.tag("a", "tag", Digest.of(b"1"))
    observed = storage.tags("a")

    storage.tag("a", "other", Digest.of(b"2"))
    storage.untag("a", "tag")

    assert observed == {"tag": Digest.of(b"1")}
    assert storage.tags("a") == {"other": Digest.of(b"2")}


def test_upload_goes_on_after_a_wrong_digest(storage: Storage) -> None:
    upload = storage.begin("a")
    upload.write(b"con")
    with pytest.raises(WrongDigest):
        upload.commit(Digest.of(b"content"))

    again = storage.resume("a", upload.id)
    assert again is not None
    again.write(b"tent")

    assert again.commit(Digest("sha512", hashlib.sha512(b"content").hexdigest())) == Digest.of(b"content")
    assert (storage.resume("a", upload.id), storage.size(Digest.of(b"content"))) == (None, 7)


def test_upload_belongs_to_its_repository(storage: Storage) -> None:
    assert storage.resume("b", storage.begin("a").id) is None


def test_threads_share_a_storage(storage: Storage) -> None:
    def push(number: int) -> None:
        digest = storage.put(str(number).encode())
        storage.link("a", "layer", digest, digest)
        storage.tag("a", str(number), digest)
        assert storage.tags("a") is not None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(push, range(400)))

    assert storage.tags("a") == {str(number): Digest.of(str(number).encode()) for number in range(400)}
