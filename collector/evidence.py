"""Certificates in object storage: written once under the digest of their evidence, never changed."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from collector.certificates import parse
from shared.codes import Code, Trouble
from shared.documents import sha256_of

ANSWER_S = 5.0
"""How long one request to a bucket may take; a link waits for it, and its machine is called stale after 60 s."""
RETRY_S = 10.0
"""How long a bucket is asked again at all: the machine comes again with the same evidence."""

log = structlog.get_logger()


class EvidenceStore:
    """
    Keeps certificates in local files or an S3-compatible bucket.

    Args:
        url: "file:///path" or "s3://bucket/prefix"; where the bucket is and its keys come from the variables AWS_….

    Raises:
        Trouble: `bad_configuration`.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None
        try:
            if self._folder is not None:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._store: ObjectStore = from_url(self.url, **self._patience())
        except (BaseError, OSError, ValueError) as error:
            raise Trouble(Code.BAD_CONFIGURATION, f"evidence = {url!r}: {error}") from error

    def _patience(self) -> dict[str, Any]:
        if self._folder is not None:
            return {}
        # Options given here replace those of the environment, so that this one has to be carried over.
        plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}
        answer = timedelta(seconds=ANSWER_S)
        limits = {"timeout": answer, "connect_timeout": answer, "allow_http": plain}
        retries = {"max_retries": 2, "retry_timeout": timedelta(seconds=RETRY_S)}
        return {"client_options": limits, "retry_config": retries}

    async def keep(self, hardware_id: str, digest: str, certificate: bytes) -> str:
        """
        Store a certificate, unless one with the same evidence is there already: the first one stays.

        Args:
            hardware_id: Its machine.
            digest: Of its evidence.
            certificate: Its bytes.

        Returns:
            Its URI.

        Raises:
            Trouble: `store_unavailable`; nothing was acknowledged to anybody.
        """
        path = _path(hardware_id, digest)
        try:
            try:
                await obstore.put_async(self._store, path, certificate, mode="create")
            except AlreadyExistsError:
                await self._mend(path, digest, certificate)
            if self._folder is not None:
                await asyncio.to_thread(_flush, self._folder / path)
        except (BaseError, OSError) as error:
            raise Trouble(Code.STORE_UNAVAILABLE, f"evidence cannot be stored: {_words(error)}") from error
        return f"{self.url}/{path}"

    async def _mend(self, path: str, digest: str, certificate: bytes) -> None:
        """Replace what stands there if it is not that evidence: a file torn by a power loss was never acknowledged."""
        if not _holds(await self._read(path), digest):
            log.error("evidence.replaced", path=path)
            await obstore.put_async(self._store, path, certificate, mode="overwrite")

    async def fetch(self, hardware_id: str, digest: str) -> bytes:
        """
        Return a certificate by its evidence's digest; an address given by anyone else is never followed.

        Raises:
            Trouble: `not_found` or `store_unavailable`; also when the evidence no longer matches the digest.
        """
        try:
            certificate = await self._read(_path(hardware_id, digest))
        except FileNotFoundError as error:
            raise Trouble(Code.NOT_FOUND, "the evidence document is not in the store") from error
        except (BaseError, OSError) as error:
            raise Trouble(Code.STORE_UNAVAILABLE, f"evidence cannot be read: {_words(error)}") from error
        if not _holds(certificate, digest):
            raise Trouble(Code.STORE_UNAVAILABLE, f"the stored evidence {digest} has been changed")
        return certificate

    async def _read(self, path: str) -> bytes:
        found = await obstore.get_async(self._store, path)
        return bytes(await found.bytes_async())


def _path(hardware_id: str, digest: str) -> str:
    return f"{hardware_id}/{digest}.json"


def _holds(certificate: bytes, digest: str) -> bool:
    """Return whether a certificate's evidence has this digest."""
    try:
        return sha256_of(parse(certificate).evidence) == digest
    except Trouble:
        return False


def _words(error: BaseException) -> str:
    """Return what a bucket's client says, on one line: it draws frames around its errors."""
    return " ".join(str(error).split())[:200]


def _flush(path: Path) -> None:
    """Put a new file, its name and its folder's name on the disk: a bucket does that by itself, a file system not."""
    for place in (path, path.parent, path.parent.parent):
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
