"""Evidence in object storage: written once under its own digest, never changed."""

import asyncio
import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from shared.codes import Code, Trouble


class EvidenceStore:
    """
    Keeps signed documents in local files or an S3-compatible bucket.

    Args:
        url: "file:///path" or "s3://bucket/prefix".

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
            self._store: ObjectStore = from_url(self.url)
        except (BaseError, OSError, ValueError) as error:
            raise Trouble(Code.BAD_CONFIGURATION, f"evidence = {url!r}: {error}") from error

    async def keep(self, hardware_id: str, document: bytes) -> tuple[str, str]:
        """
        Store a document; storing the same one again changes nothing.

        Returns:
            Its URI and its SHA-256 in hex.

        Raises:
            Trouble: `store_unavailable`; nothing was acknowledged to anybody.
        """
        digest = hashlib.sha256(document).hexdigest()
        path = f"{hardware_id}/{digest}.json"
        try:
            await obstore.put_async(self._store, path, document)
            if self._folder is not None:
                await asyncio.to_thread(_flush, self._folder / path)
        except (BaseError, OSError) as error:
            raise Trouble(Code.STORE_UNAVAILABLE, f"evidence cannot be stored: {str(error)[:200]}") from error
        return f"{self.url}/{path}", digest

    async def fetch(self, hardware_id: str, digest: str) -> bytes:
        """
        Return a document by its digest; an address given by anyone else is never followed.

        Raises:
            Trouble: `not_found` or `store_unavailable`; also when the bytes no longer match the digest.
        """
        try:
            found = await obstore.get_async(self._store, f"{hardware_id}/{digest}.json")
            document = bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise Trouble(Code.NOT_FOUND, "the evidence document is not in the store") from error
        except BaseError as error:
            raise Trouble(Code.STORE_UNAVAILABLE, f"evidence cannot be read: {str(error)[:200]}") from error
        if hashlib.sha256(document).hexdigest() != digest:
            raise Trouble(Code.STORE_UNAVAILABLE, f"the stored evidence {digest} has been changed")
        return document


def _flush(path: Path) -> None:
    """Put a new file, its name and its folder's name on the disk: a bucket does that by itself, a file system not."""
    for place in (path, path.parent, path.parent.parent):
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
