"""The collector's private keys: one proves who it is on a link, one signs orders."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from shared.codes import Code, Trouble
from shared.documents import Trust


class Keyring(Struct, frozen=True, kw_only=True):
    """Both keys; they are apart so that the order key can move to another machine without touching any link."""

    link: Ed25519PrivateKey
    order: Ed25519PrivateKey

    @property
    def trust(self) -> Trust:
        """What machines pin when they enroll. "local": whoever breaks into this collector can sign orders."""
        return Trust(
            collector_public_key=self.link.public_key().public_bytes_raw(),
            order_public_key=self.order.public_key().public_bytes_raw(),
            signing="local",
        )


def load_or_create(data_dir: Path) -> Keyring:
    """
    Read both keys, making those that do not exist.

    Raises:
        Trouble: `state_unwritable` or `state_corrupt`.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Keyring(link=key_at(data_dir / "link.key"), order=key_at(data_dir / "order.key"))
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{data_dir}: {error.strerror or error}") from error


def key_at(path: Path) -> Ed25519PrivateKey:
    """
    Read a key, making one where there is none.

    Raises:
        OSError: it cannot be read or made.
        Trouble: `state_corrupt`.
    """
    if not path.exists():
        _write_new(path, Ed25519PrivateKey.generate().private_bytes_raw().hex().encode() + b"\n")
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text("ascii").strip()))
    except ValueError as error:
        raise Trouble(Code.STATE_CORRUPT, f"{path} does not hold a key") from error


def _write_new(path: Path, content: bytes) -> None:
    """Two processes that start at once agree on one key: it appears whole under its name, or was there already."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(beside, path)
    except FileExistsError:
        return
    finally:
        beside.unlink()
