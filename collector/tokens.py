"""Making tokens: what is shown once, and what is stored of it."""

import hashlib
import secrets
from typing import NamedTuple


class NewToken(NamedTuple):
    """`shown` is for the user and is not stored; the digest of its secret part is."""

    token_id: str
    shown: str
    secret_sha256: str


def new_token(prefix: str) -> NewToken:
    """Return a new token "<prefix>_<id>_<secret>" with 64 bits of id and 256 bits of secret, in hex."""
    token_id = f"{prefix}_{secrets.token_hex(8)}"
    secret = secrets.token_hex(32)
    return NewToken(token_id, f"{token_id}_{secret}", digest_of(secret))


def split(token: str) -> tuple[str, str]:
    """Return a token's id and the digest of its secret; nonsense gives an id that nothing has."""
    token_id, _, secret = token.strip().rpartition("_")
    return token_id, digest_of(secret)


def digest_of(secret: str) -> str:
    """Return what is stored of a secret. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()
