"""Public SSH keys as an order brings them: one line, a known type, a sound body, no options. Pure."""

import base64
import binascii
from collections.abc import Iterable

from shared.codes import Code, Trouble

KINDS = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
"""Source: sshd_config(5), PubkeyAcceptedAlgorithms; ssh-keygen(1), -t. Certificates and DSA are left out on purpose."""


def bodies(lines: Iterable[str]) -> tuple[str, ...]:
    """
    Return "type body" of each key, without its comment, each once.

    Raises:
        Trouble: `invalid`: not a one-line OpenSSH public key, or one with options.

    Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4253 section 6.6 for the body.
    """
    return tuple(dict.fromkeys(_body(line) for line in lines))


def _body(line: str) -> str:
    if not line.isprintable():
        raise Trouble(Code.INVALID, "an SSH key is one line without control characters")
    fields = line.split(" ", 2)
    if len(fields) < 2 or fields[0] not in KINDS:
        raise Trouble(Code.INVALID, "an SSH key starts with its type; options are not allowed")
    kind, text = fields[0], fields[1]
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Trouble(Code.INVALID, "an SSH key's body is not base64") from error
    name = kind.encode()
    if base64.b64encode(raw).decode() != text or not raw.startswith(len(name).to_bytes(4, "big") + name):
        raise Trouble(Code.INVALID, "an SSH key's body is of another type than it says")
    if not _whole(raw):
        raise Trouble(Code.INVALID, "an SSH key's body is cut off")
    return f"{kind} {text}"


def _whole(raw: bytes) -> bool:
    """Return whether a key's body is a row of length-prefixed fields to its last byte, at least two."""
    at, count = 0, 0
    while at < len(raw):
        at += 4 + int.from_bytes(raw[at : at + 4], "big")
        count += 1
    return at == len(raw) and count >= 2
