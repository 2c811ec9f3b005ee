"""Signed documents: what is signed is what is read, and no key signs for everyone."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.codes import Code, Trouble
from shared.documents import (
    BenchmarkName,
    BenchmarkOutcome,
    BenchmarkWork,
    Component,
    Order,
    WorkFailure,
    in_force,
    open_signed,
    read,
    sha256_of,
    sign,
    write,
)
from shared.envelope import FIELD_PRIME, SMALL_ORDER_Y, Envelope, key_id, public_key, seal, verify

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
ORDER = Order(
    aud="hw_1",
    command_id="cmd_1",
    seq=1,
    work=BenchmarkWork(components=(BenchmarkName.CPU,)),
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    requested_by="tests",
)


def refused(call, *arguments) -> Code:
    with pytest.raises(Trouble) as caught:
        call(*arguments)
    return caught.value.code


# The curve, written out once more from RFC 8032 so that the constants are checked by something else than themselves.
D = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME


def add(one, two):
    (x1, y1), (x2, y2) = one, two
    product = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, FIELD_PRIME)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, FIELD_PRIME)
    return x % FIELD_PRIME, y % FIELD_PRIME


def point(y):
    square = (y * y - 1) * pow(D * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME
    x = pow(square, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
    if (x * x - square) % FIELD_PRIME:
        x = x * pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME) % FIELD_PRIME
    return None if (x * x - square) % FIELD_PRIME else (x, y)


def times(factor, base):
    total = (0, 1)
    while factor:
        if factor & 1:
            total = add(total, base)
        base, factor = add(base, base), factor >> 1
    return total


def test_the_small_order_list_is_complete():
    """Every point of order dividing 8, found by multiplying points by the group order, is on the list, and no other."""
    prime_order = 2**252 + 27742317777372353535851937790883648493
    found = set()
    for y in range(2, 40):
        if (start := point(y)) is not None:
            torsion = times(prime_order, start)
            found |= {times(count, torsion)[1] for count in range(8)}
    assert found == SMALL_ORDER_Y


@pytest.mark.parametrize("y", sorted(SMALL_ORDER_Y))
@pytest.mark.parametrize("sign_bit", [0, 1])
def test_keys_of_small_order_are_refused(y, sign_bit):
    """With such a key anyone can make a signature that verifies."""
    raw = (y | sign_bit << 255).to_bytes(32, "little")
    assert refused(public_key, raw) is Code.WEAK_KEY


@pytest.mark.parametrize("y", [FIELD_PRIME, FIELD_PRIME + 1, FIELD_PRIME + 18, 2**255 - 1])
def test_keys_not_in_canonical_form_are_refused(y):
    """A y of p or more names a point that has another name already."""
    assert refused(public_key, y.to_bytes(32, "little")) is Code.WEAK_KEY


@pytest.mark.parametrize("raw", [b"", b"x" * 31, b"x" * 33])
def test_keys_of_another_length_are_refused(raw):
    """A key has 32 bytes."""
    assert refused(public_key, raw) is Code.WEAK_KEY


@given(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_what_was_sealed_is_what_is_read(payload, kind):
    """The payload comes back to the byte."""
    assert verify(seal(kind, payload, KEY), kind, PUBLIC) == payload


@given(st.binary(max_size=80), st.data())
def test_any_changed_byte_is_noticed(payload, data):
    """Payload and signature cannot be changed by a bit."""
    envelope = seal("t", payload + b"!", KEY)
    at = data.draw(st.integers(0, len(envelope.payload) - 1))
    changed = bytearray(envelope.payload)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    assert refused(verify, msgspec.structs.replace(envelope, payload=bytes(changed)), "t", PUBLIC) is Code.BAD_SIGNATURE


def test_another_key_does_not_count():
    """A good signature by someone else is no signature."""
    assert refused(verify, seal("t", b"x", OTHER), "t", PUBLIC) is Code.BAD_SIGNATURE


def test_every_asked_key_must_have_signed():
    """Two keys asked, one given: refused; both: accepted."""
    both = OTHER.public_key().public_bytes_raw()
    assert refused(verify, seal("t", b"x", KEY), "t", PUBLIC, both) is Code.BAD_SIGNATURE
    assert verify(seal("t", b"x", KEY, OTHER), "t", PUBLIC, both) == b"x"


def test_without_a_key_nothing_verifies():
    """An empty list of keys is not a pass."""
    assert refused(verify, seal("t", b"x", KEY), "t") is Code.BAD_SIGNATURE


def test_a_document_of_one_kind_never_stands_for_another():
    """A failure report replayed as an order is refused by its type, before its content is looked at."""
    failure = WorkFailure(
        hardware_id="hw_1", command_id="cmd_1", order_sha256="0" * 64, code="busy", detail="", failed_at=NOW
    )
    assert refused(open_signed, sign(failure, KEY), Order, PUBLIC) is Code.WRONG_DOCUMENT
    relabeled = msgspec.structs.replace(sign(failure, KEY), payloadType=Order.PAYLOAD_TYPE)
    assert refused(open_signed, relabeled, Order, PUBLIC) is Code.BAD_SIGNATURE


def test_an_order_survives_its_envelope_and_json():
    """Signed, sent as JSON, opened: the same order, with the same digest."""
    envelope = sign(ORDER, KEY)
    sent = msgspec.json.decode(msgspec.json.encode(envelope), type=Envelope)
    assert open_signed(sent, Order, PUBLIC) == ORDER
    assert sha256_of(sent) == sha256_of(envelope)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + b',"extra":1}',
        lambda text: text[:-1] + b',"seq":2}',
        lambda text: text.replace(b'"seq":1', b'"seq":1.0'),
        lambda text: text.replace(b'"seq":1', b'"seq":NaN'),
        lambda text: text.replace(b'"seq":1', b'"seq":"1"'),
        lambda text: text.replace(b'"seq":1', b'"seq":true'),
        lambda text: text.replace(b'"seq":1,', b""),
        lambda text: text + b" x",
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"[" * 100_000 + b"]" * 100_000,
        lambda text: b"",
    ],
)
def test_signed_documents_are_read_strictly(change):
    """Extra, repeated, missing or loosely typed keys: two readers must not understand one signature differently."""
    assert refused(read, change(write(ORDER)), Order) is Code.MALFORMED


def test_figures_may_be_fractions_but_never_nan():
    """Benchmark figures are the one place for floats; NaN and infinity are nowhere."""
    outcome = BenchmarkOutcome(
        hardware_id="hw_1",
        command_id="cmd_1",
        order_sha256="0" * 64,
        started_at=NOW,
        collected_at=NOW,
        cpu_score=812.5,
        components=(Component(name=BenchmarkName.CPU, method_version="cpu/0", figures={"cpu_score": 812.5}),),
        agent_version="0",
        boot_id="b",
    )
    assert read(write(outcome), BenchmarkOutcome) == outcome
    for word in (b"NaN", b"Infinity", b"-1.5", b"1e999"):
        assert refused(read, write(outcome).replace(b'"cpu_score":812.5', b'"cpu_score":' + word), BenchmarkOutcome)


def test_an_order_is_in_force_until_the_moment_it_expires():
    """At `expires_at` itself it is over."""
    assert in_force(ORDER, ORDER.expires_at - timedelta(microseconds=1))
    assert not in_force(ORDER, ORDER.expires_at)


def test_a_key_id_is_made_of_the_key():
    """Different keys have different names."""
    assert key_id(PUBLIC) != key_id(OTHER.public_key().public_bytes_raw())
