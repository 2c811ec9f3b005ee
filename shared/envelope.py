"""
Signed documents: DSSE envelopes with Ed25519 and nothing else.

There is no algorithm field to confuse: a key is an Ed25519 key. The payload's bytes are kept verbatim, so that what was
signed is what is read, and each kind of document has a payload type of its own, so that none can stand for another.

Source: DSSE 1.0.2 (github.com/secure-systems-lab/dsse, protocol.md); RFC 8032 for Ed25519.
"""

import hashlib
from typing import Annotated

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta, Struct

from shared.codes import Code, Trouble

FIELD_PRIME = 2**255 - 19
"""The prime of the curve's field. Source: RFC 7748 section 4.1."""

SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        FIELD_PRIME - 1,
    }
)
"""The y coordinates of the eight points of small order; a test derives them from the curve."""


class Signed(Struct, frozen=True, kw_only=True):
    """One signature of an envelope. `keyid` names the key, it does not make it trusted."""

    keyid: Annotated[str, Meta(max_length=80)]
    sig: Annotated[bytes, Meta(min_length=64, max_length=64)]


class Envelope(Struct, frozen=True, kw_only=True):
    """A payload, its type and its signatures; bytes are base64 in JSON."""

    payload: Annotated[bytes, Meta(max_length=40_960)]
    payloadType: Annotated[str, Meta(min_length=1, max_length=100)]  # noqa: N815 - the standard's own spelling
    signatures: Annotated[tuple[Signed, ...], Meta(min_length=1, max_length=4)]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """
    Return the bytes that are signed: type and payload with their lengths, so that neither can grow into the other.

    Source: DSSE protocol.md, "PAE".
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def public_key(raw: bytes) -> Ed25519PublicKey:
    """
    Read a public key, refusing those with which anyone could sign.

    Args:
        raw: 32 bytes, the compressed point.

    Raises:
        Trouble: `weak_key`: wrong length, not canonical, of small order, or not a point of the curve.

    Source: RFC 8032 section 5.1.3 (decoding); Chalkias et al., "Taming the many EdDSAs", 2020 (small-order keys).
    """
    if len(raw) != 32:
        raise Trouble(Code.WEAK_KEY, f"a public key has 32 bytes, not {len(raw)}")
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= FIELD_PRIME:
        raise Trouble(Code.WEAK_KEY, "the public key is not in canonical form")
    if y in SMALL_ORDER_Y:
        raise Trouble(Code.WEAK_KEY, "the public key is of small order")
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError as error:
        raise Trouble(Code.WEAK_KEY, "the public key is not a point of the curve") from error


def key_id(raw_public_key: bytes) -> str:
    """Return the name of a public key: "k_" and the first 32 hex digits of its SHA-256."""
    return f"k_{hashlib.sha256(raw_public_key).hexdigest()[:32]}"


def seal(payload_type: str, payload: bytes, *keys: Ed25519PrivateKey) -> Envelope:
    """Sign a payload with each of the keys, in their order."""
    signed = pre_authentication_encoding(payload_type, payload)
    return Envelope(
        payload=payload,
        payloadType=payload_type,
        signatures=tuple(
            Signed(keyid=key_id(key.public_key().public_bytes_raw()), sig=key.sign(signed)) for key in keys
        ),
    )


def verify(envelope: Envelope, payload_type: str, *raw_public_keys: bytes) -> bytes:
    """
    Return the payload if it is of this type and every one of the keys has signed it.

    Raises:
        Trouble: `wrong_document`, `weak_key` or `bad_signature`; nothing of the payload has been read.
    """
    if envelope.payloadType != payload_type:
        raise Trouble(Code.WRONG_DOCUMENT, f"expected {payload_type}, got {envelope.payloadType}")
    if not raw_public_keys:
        raise Trouble(Code.BAD_SIGNATURE, "no key to check the signature with")
    signed = pre_authentication_encoding(payload_type, envelope.payload)
    for raw in raw_public_keys:
        check_signature(raw, signed, *(one.sig for one in envelope.signatures))
    return envelope.payload


def check_signature(raw_public_key: bytes, signed: bytes, *signatures: bytes) -> None:
    """
    Pass if one of the signatures is this key's over these bytes.

    Raises:
        Trouble: `bad_signature` or `weak_key`.
    """
    key = public_key(raw_public_key)
    for signature in signatures:
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return
    raise Trouble(Code.BAD_SIGNATURE, f"no valid signature by {key_id(raw_public_key)}")
