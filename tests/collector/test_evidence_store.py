"""Where certificates are kept: the same rules in files and in a bucket."""

import time
import uuid

import obstore
import pytest

from collector.certificates import parse
from collector.evidence import EvidenceStore
from shared.codes import Code, Trouble
from shared.documents import sha256_of
from tests.collector.wiping import COLLECTOR, STRANGER, certificate, digest, wiped

EVIDENCE = wiped(1)
DIGEST = digest(EVIDENCE)
KEPT = certificate(EVIDENCE)


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return EvidenceStore((tmp_path / "evidence").as_uri())
    # A prefix of its own: the server is shared, and nothing is ever removed from it.
    return EvidenceStore(f"{request.getfixturevalue('bucket').url}/{uuid.uuid4().hex}")


async def test_what_is_kept_is_fetched_byte_for_byte(store):
    """Under the digest of its evidence."""
    uri = await store.keep("hw_1", DIGEST, KEPT)
    assert uri == f"{store.url}/hw_1/{DIGEST}.json"
    assert await store.fetch("hw_1", DIGEST) == KEPT


async def test_the_first_certificate_stays(store):
    """A repeat has another time of receipt; what was written is never written again."""
    assert await store.keep("hw_1", DIGEST, KEPT) == await store.keep(
        "hw_1", DIGEST, certificate(EVIDENCE, collector=STRANGER)
    )
    assert await store.fetch("hw_1", DIGEST) == KEPT


async def test_a_torn_file_is_replaced(store):
    """It was never acknowledged: the machine comes again, and its evidence must not be lost."""
    await obstore.put_async(store._store, f"hw_1/{DIGEST}.json", KEPT[:100])
    await store.keep("hw_1", DIGEST, KEPT)
    assert await store.fetch("hw_1", DIGEST) == KEPT


@pytest.mark.parametrize("content", [b"", b"{}", certificate(wiped(2))])
async def test_a_document_that_was_changed_is_not_given_out(store, content):
    """Neither nothing, nor another machine's or order's."""
    await store.keep("hw_1", DIGEST, KEPT)
    await obstore.put_async(store._store, f"hw_1/{DIGEST}.json", content)
    with pytest.raises(Trouble) as caught:
        await store.fetch("hw_1", DIGEST)
    assert caught.value.code is Code.STORE_UNAVAILABLE


async def test_what_was_never_kept_is_not_found(store):
    """That is another answer than a store that is away."""
    with pytest.raises(Trouble) as caught:
        await store.fetch("hw_1", "0" * 64)
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.slow
async def test_a_bucket_that_is_away_is_told_soon_and_what_it_holds_survives(bucket):
    """No acknowledgement without it; after a crash it has what it acknowledged."""
    store = EvidenceStore(f"{bucket.url}/{uuid.uuid4().hex}")
    await store.keep("hw_1", DIGEST, KEPT)
    bucket.kill()
    try:
        for refused in (store.keep("hw_1", digest(wiped(2)), certificate(wiped(2))), store.fetch("hw_1", DIGEST)):
            began = time.monotonic()
            with pytest.raises(Trouble) as caught:
                await refused
            assert caught.value.code is Code.STORE_UNAVAILABLE
            assert "\n" not in caught.value.detail
            assert time.monotonic() - began < 15
    finally:
        bucket.start()
    assert await store.fetch("hw_1", DIGEST) == KEPT
    await store.keep("hw_1", digest(wiped(2)), certificate(wiped(2)))


async def test_a_disk_that_refuses_is_trouble(tmp_path):
    """A file where the machine's directory should be."""
    store = EvidenceStore((tmp_path / "evidence").as_uri())
    (tmp_path / "evidence" / "hw_1").write_bytes(b"")
    with pytest.raises(Trouble) as caught:
        await store.keep("hw_1", DIGEST, KEPT)
    assert caught.value.code is Code.STORE_UNAVAILABLE


def test_the_digest_is_that_of_the_evidence_alone():
    """Two receipts for the same evidence have the same name."""
    other = certificate(EVIDENCE, collector=STRANGER)
    assert other != certificate(EVIDENCE, collector=COLLECTOR)
    assert sha256_of(parse(other).evidence) == DIGEST
