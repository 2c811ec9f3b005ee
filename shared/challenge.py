"""
A challenge: work that only who does it now can answer, because its operands grow from a number nobody had before.

What a right answer proves: that after the order was sent, somebody with this machine's key had a processor multiply
two matrices of this size. What it does not prove: which processor, or where. A machine that passes the work on to a
real one elsewhere answers rightly too; time does not tell the two apart, since a link to another room is faster than
the product. So it catches a replay and a figure made up without hardware, and no relay.
"""

import hashlib

_ENTRY = bytes((value % 3 - 1) & 0xFF for value in range(256))
"""Of a random byte: the entry -1, 0 or 1 as two's complement. With such entries every sum is exact in FP32, TF32 and
FP16 with FP32 accumulation, up to order 2^24, so that every processor has the same product."""


def operands(nonce: bytes, size: int) -> tuple[bytes, bytes]:
    """
    Return the two matrices of a challenge: `size` x `size` of int8, row by row.

    Args:
        nonce: The challenge's 32 bytes.
        size: Rows of each square matrix.
    """
    count = size * size
    entries = hashlib.shake_256(b"rackproof challenge/1\x00" + nonce).digest(2 * count).translate(_ENTRY)
    return entries[:count], entries[count:]


def product_sha256(product: bytes) -> str:
    """Return the digest that answers a challenge. `product`: the first matrix times the second, int32 little-endian."""
    return hashlib.sha256(product).hexdigest()
