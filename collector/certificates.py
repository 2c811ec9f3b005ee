"""
Certificates: reading one, and seeing whose signatures it bears. Pure; needs no database.

A certificate is a wipe's evidence, signed by the machine's wiper, and the collector's receipt for it. Its digest, by
which rows, files, receipts and the next certificate name it, is that of the evidence's payload.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from collector.chain import Link
from shared.codes import Code, Trouble
from shared.documents import Certificate, EvidenceReceipt, WipeEvidence, open_signed, read, sha256_of, sign, write
from shared.envelope import Envelope, key_id, verify

MAX_BYTES = 131_072
"""Of a certificate's file; evidence that fits its envelope makes one of at most 60 kB."""


class Trust(StrEnum):
    """Why the machine's signature counts: who vouches for its key."""

    MACHINE = "machine_key"
    """The reader named this machine's key."""
    COLLECTOR = "collector_key"
    """The reader named the collector's key, and the collector says that it is this machine's."""
    NOBODY = "none"
    """Nobody: the key comes from the file itself, which anyone could have made."""


class Examined(Struct, frozen=True, kw_only=True):
    """
    A certificate whose signatures were checked.

    `machine_key`: the key that signed the evidence. `countersigned`: the receipt was checked with a key that the reader
    trusts.
    """

    digest: str
    evidence: WipeEvidence
    receipt: EvidenceReceipt
    machine_key: bytes
    collector_key_id: str
    trust: Trust
    countersigned: bool

    @property
    def link(self) -> Link:
        """Its place in the machine's chain."""
        return Link(
            digest=self.digest,
            hardware_id=self.evidence.hardware_id,
            signed_by=key_id(self.machine_key),
            previous=self.evidence.previous_sha256,
        )


def countersign(
    evidence: Envelope, outcome: WipeEvidence, machine_key: bytes, key: Ed25519PrivateKey, now: datetime
) -> bytes:
    """
    Return the certificate's bytes: verified evidence with the collector's receipt for it.

    Args:
        evidence: As the wiper signed it.
        outcome: Its content.
        machine_key: With which it was verified.
        key: The collector's.
        now: When it was received.
    """
    receipt = EvidenceReceipt(
        evidence_sha256=sha256_of(evidence),
        hardware_id=outcome.hardware_id,
        command_id=outcome.command_id,
        machine_public_key=machine_key,
        received_at=now,
    )
    return write(Certificate(evidence=evidence, receipt=sign(receipt, key)))


def parse(raw: bytes) -> Certificate:
    """
    Read a certificate, strictly; nothing of it is believed yet.

    Raises:
        Trouble: `too_large`, `malformed`, or `wrong_document` where another kind of signed document stands in it.
    """
    if len(raw) > MAX_BYTES:
        raise Trouble(Code.TOO_LARGE, f"a certificate has at most {MAX_BYTES} bytes")
    certificate = read(raw, Certificate)
    for envelope, kind in ((certificate.evidence, WipeEvidence), (certificate.receipt, EvidenceReceipt)):
        if envelope.payloadType != kind.PAYLOAD_TYPE:
            raise Trouble(Code.WRONG_DOCUMENT, f"expected {kind.PAYLOAD_TYPE}, got {envelope.payloadType[:60]!r}")
    return certificate


def examine(
    certificate: Certificate, machine_keys: Iterable[bytes] = (), collector_keys: Iterable[bytes] = ()
) -> Examined:
    """
    Check every signature of a certificate, and that its receipt is for its evidence.

    Args:
        certificate: Parsed.
        machine_keys: Wipers' public keys that the reader trusts. With any, no other key counts.
        collector_keys: Collectors' public keys that the reader trusts. With any, no other key counts.

    Raises:
        Trouble: `bad_signature`, `weak_key`, `malformed`, or `wrong_document` where the receipt is for other evidence.
    """
    collector_key = _signer(certificate.receipt, collector_keys, "the receipt")
    # Without a collector's key the receipt is only a claim; its word on the machine's key is checked like any other.
    receipt = (
        open_signed(certificate.receipt, EvidenceReceipt, collector_key)
        if collector_key is not None
        else read(certificate.receipt.payload, EvidenceReceipt)
    )
    named = _signer(certificate.evidence, machine_keys, "the evidence")
    machine_key = named if named is not None else receipt.machine_public_key
    evidence = read(verify(certificate.evidence, WipeEvidence.PAYLOAD_TYPE, machine_key), WipeEvidence)
    digest = sha256_of(certificate.evidence)
    if (receipt.evidence_sha256, receipt.hardware_id, receipt.command_id) != (
        digest,
        evidence.hardware_id,
        evidence.command_id,
    ):
        raise Trouble(Code.WRONG_DOCUMENT, "the receipt is for other evidence")
    if receipt.machine_public_key != machine_key:
        raise Trouble(Code.WRONG_DOCUMENT, "the receipt names another key of the machine")
    trust = Trust.MACHINE if named is not None else Trust.COLLECTOR if collector_key is not None else Trust.NOBODY
    return Examined(
        digest=digest,
        evidence=evidence,
        receipt=receipt,
        machine_key=machine_key,
        collector_key_id=certificate.receipt.signatures[0].keyid,
        trust=trust,
        countersigned=collector_key is not None,
    )


def _signer(envelope: Envelope, trusted: Iterable[bytes], what: str) -> bytes | None:
    """
    Return which of the trusted keys an envelope claims to be signed with; None where none is trusted.

    Raises:
        Trouble: `bad_signature`: it claims another key.
    """
    keys = {key_id(raw): raw for raw in trusted}
    if not keys:
        return None
    claimed = [one.keyid for one in envelope.signatures]
    for name in claimed:
        if name in keys:
            return keys[name]
    raise Trouble(Code.BAD_SIGNATURE, f"{what} is signed by {claimed[0][:40]!r}, which is not a key that was given")
