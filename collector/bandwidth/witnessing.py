"""What a measuring server says of a slot, and signs: a decision over counts, without I/O."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.bandwidth.register import HeldSlot
from shared.bandwidth import Seen, SeenRequest, Series, limited_by, way
from shared.codes import Code, Trouble
from shared.documents import BandwidthWitness, sign

LEAST_SLICES = 4
"""A second or two: of fewer a machine could choose the moment, and what had gathered on the way would count as fast."""


def witnessed(
    slot: HeldSlot,
    streams: Mapping[str, Sequence[Series]],
    told: SeenRequest,
    capacity_bit_s: int,
    key: Ed25519PrivateKey,
    now: datetime,
) -> Seen:
    """
    Return what was seen of a slot, with a signature.

    Args:
        slot: Which is over.
        streams: Of each direction, what they carried.
        told: What the machine says that its kernel alone knows; it decides no figure.
        capacity_bit_s: The server's link.
        key: Signs.
        now: The time.

    Raises:
        Trouble: `conflict` when too little was moved to say anything.
    """
    up, down = way(streams["up"], slot.seconds), way(streams["down"], slot.seconds)
    if up is None or down is None:
        raise Trouble(Code.CONFLICT, f"nothing was measured {'up' if up is None else 'down'} in this slot")
    if min(up.slices, down.slices) < LEAST_SLICES:
        raise Trouble(Code.CONFLICT, f"{up.slices} slices up and {down.slices} down are too few in this slot")
    lower = "up" if up.bit_s < down.bit_s else "down"
    sending, unread = (told.up, up.unread) if lower == "up" else (down.sending, told.down_unread)
    witness = BandwidthWitness(
        ticket_id=slot.ticket_id,
        hardware_id=slot.hardware_id,
        up_bit_s=up.bit_s,
        down_bit_s=down.bit_s,
        up_bytes=up.moved_bytes,
        down_bytes=down.moved_bytes,
        streams=max(up.streams, down.streams),
        limited_by=limited_by(lower, sending, unread) if sending is not None else "path",
        capacity_bit_s=capacity_bit_s,
        ended_at=now,
    )
    return Seen(up=up, down=down, witness=sign(witness, key))
