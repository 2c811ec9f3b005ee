"""Keys we make: a prefix that says what it names, then time and chance, so that they sort by age."""

import secrets
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32: no i, l, o, u, so that a key can be read out."""


def new_id(prefix: str, now: datetime) -> str:
    """Return a new key, "bmk_01k…": 48 bits of milliseconds and 80 random bits in 26 characters."""
    value = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def derived_id(prefix: str, command_id: str, part: str = "") -> str:
    """Return the key of a row that a command makes: the same for a repeated result, so that no row comes twice."""
    return f"{prefix}_{command_id.partition('_')[2]}{f'-{part}' if part else ''}"
