"""A challenge's operands: the same everywhere, from the nonce alone; its product without a library."""

import hashlib

from shared.challenge import operands, product_sha256


def test_operands_are_pinned():
    """Another byte anywhere would be another challenge to one of the two ends."""
    a, b = operands(bytes(range(32)), 64)
    assert (len(a), len(b)) == (4096, 4096)
    assert set(a) | set(b) == {0x00, 0x01, 0xFF}
    assert hashlib.sha256(a + b).hexdigest() == "7edb5116b7ce1439eff82cb5404ab630e5edfcd9e6cc5bea9d739e7c1cf30e9b"


def test_each_nonce_has_operands_of_its_own():
    """And so has each size."""
    first, _ = operands(b"a" * 32, 64)
    assert first != operands(b"b" * 32, 64)[0]
    assert operands(b"a" * 32, 128)[1] != operands(b"a" * 32, 64)[1]


def test_a_product_by_hand_has_the_pinned_digest():
    """Row by row in plain Python, int32 little-endian: what every processor must give."""
    size = 64
    a, b = ([value - 256 if value > 127 else value for value in one] for one in operands(bytes(range(32)), size))
    product = b"".join(
        sum(a[row * size + k] * b[k * size + column] for k in range(size)).to_bytes(4, "little", signed=True)
        for row in range(size)
        for column in range(size)
    )
    assert product_sha256(product) == "0f463339400717aacc0e588166477720bfe38544bf58b8e19bcb9a60c000c644"
