"""Private keys on disk: made once, readable by their owner only, never overwritten."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.files import write_durably
from shared.codes import Code, Trouble


def load(path: Path) -> Ed25519PrivateKey:
    """
    Read a private key.

    Args:
        path: A file of 32 bytes in hex.

    Raises:
        Trouble: `not_enrolled` when there is none, `state_corrupt` when it is not a key, `state_unwritable` when it
            cannot be read.
    """
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text("ascii").strip()))
    except FileNotFoundError as error:
        raise Trouble(Code.NOT_ENROLLED, f"{path} does not exist", "run: rackproof-agent enroll") from error
    except ValueError as error:
        raise Trouble(Code.STATE_CORRUPT, f"{path} does not hold a key") from error
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{path}: {error.strerror}") from error


def load_or_create(path: Path) -> Ed25519PrivateKey:
    """
    Read a private key, or make one where there is none; the file is on the disk when this returns.

    Raises:
        Trouble: `state_corrupt` or `state_unwritable`.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_durably(path, key.private_bytes_raw().hex().encode() + b"\n", mode=0o600)
    return load(path)


def owner_only(path: Path) -> bool:
    """Return whether nobody but the file's owner can read it."""
    return path.stat().st_mode & 0o077 == 0
