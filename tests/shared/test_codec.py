"""The link's codec: every message survives the trip, and no bytes get past it."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.codec import decode, encode
from shared.codes import Code, Trouble
from shared.envelope import Envelope, Signed
from shared.messages import (
    MAX_MESSAGE_BYTES,
    Absent,
    Accepted,
    Ack,
    Challenge,
    Command,
    Facts,
    FactsChanged,
    Failed,
    Goodbye,
    Health,
    Hello,
    Intervals,
    Measured,
    Message,
    Progress,
    Receipt,
    Refused,
    Result,
    Welcome,
)

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
names = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40)
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,30}", fullmatch=True)
sequences = st.integers(0, 2**63 - 1)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
seconds = st.floats(0, 3600, allow_nan=False)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.dictionaries(names, scalars | st.dictionaries(texts, scalars, max_size=3), max_size=4)
outcomes = st.one_of(
    st.builds(Measured, values=values, took_ms=seconds),
    st.builds(Absent, reason=texts, took_ms=seconds),
    st.builds(Failed, error=texts, took_ms=seconds),
)
counts = st.none() | st.integers(0, 2**31 - 1)
facts = st.builds(Facts, gpu_model=st.none() | texts, ram_gb=counts, disk_size_gb=counts, os=st.none() | texts)
nonces = st.binary(min_size=32, max_size=32)
signatures = st.binary(min_size=64, max_size=64)
envelopes = st.builds(
    Envelope,
    payload=st.binary(max_size=200),
    payloadType=names,
    signatures=st.lists(st.builds(Signed, keyid=texts, sig=signatures), min_size=1, max_size=4).map(tuple),
)
MESSAGES: dict[type[Any], st.SearchStrategy[Any]] = {
    Challenge: st.builds(Challenge, nonce=nonces, time=moments),
    Hello: st.builds(
        Hello,
        hardware_id=ids,
        key_id=ids,
        nonce=nonces,
        origin=texts,
        join_counter=sequences,
        boot_id=names,
        outbox_id=names,
        agent_version=names,
        policy_hash=texts,
        time=moments,
        facts=facts,
        signature=signatures,
    ),
    Welcome: st.builds(
        Welcome,
        nonce=nonces,
        join_counter=sequences,
        time=moments,
        intervals=st.builds(Intervals, heartbeat_s=st.floats(0.5, 300)),
        signature=signatures,
    ),
    Health: st.builds(
        Health,
        seq=sequences,
        boot_id=names,
        collected_at=moments,
        indicators=st.dictionaries(names, outcomes, max_size=4),
    ),
    FactsChanged: st.builds(FactsChanged, facts=facts),
    Ack: st.builds(Ack, up_to_seq=sequences),
    Command: st.builds(Command, command_id=ids, envelope=envelopes),
    Accepted: st.builds(Accepted, command_id=ids),
    Refused: st.builds(Refused, command_id=ids, code=names, detail=texts),
    Progress: st.builds(Progress, command_id=ids, step=names, done=sequences, of=sequences),
    Result: st.builds(Result, command_id=ids, envelope=envelopes),
    Receipt: st.builds(Receipt, command_id=ids),
    Goodbye: st.builds(Goodbye, reason=texts, retry_after_s=seconds),
}


def test_every_message_of_the_union_is_tried_here():
    """A message type added to the union without a strategy would not be tested."""
    assert set(MESSAGES) == set(Message.__args__)


@settings(max_examples=400)
@given(st.one_of(*MESSAGES.values()))
def test_decoding_undoes_encoding(message):
    """decode(encode(m)) == m for every message."""
    assert decode(encode(message)) == message


@settings(max_examples=600)
@given(st.binary(max_size=400) | st.text(max_size=200))
def test_any_bytes_give_a_message_or_trouble(frame):
    """No bytes raise anything but the one error type."""
    try:
        decode(frame)
    except Trouble as trouble:
        assert trouble.code in {Code.MALFORMED, Code.UNKNOWN_MESSAGE, Code.TOO_LARGE}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=400)
@given(st.one_of(*MESSAGES.values()), st.data())
def test_a_message_with_any_field_replaced_gives_a_message_or_trouble(message, data):
    """Well-formed JSON of the right shape but with wrong values is a message or trouble, never another error."""
    plain = msgspec.json.decode(encode(message))
    field = data.draw(st.sampled_from(sorted(plain)))
    plain[field] = data.draw(json_values)
    try:
        decode(msgspec.json.encode(plain))
    except Trouble as trouble:
        assert trouble.code in {Code.MALFORMED, Code.UNKNOWN_MESSAGE}


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", Code.MALFORMED),
        (b"{}", Code.MALFORMED),
        (b"[]", Code.MALFORMED),
        (b"\xff\xfe", Code.MALFORMED),
        ("\ud800", Code.MALFORMED),
        (b'{"type":"ack","up_to_seq":-1}', Code.MALFORMED),
        (b'{"type":"ack","up_to_seq":9223372036854775808}', Code.MALFORMED),
        (b'{"type":"ack","up_to_seq":1.5}', Code.MALFORMED),
        (b'{"type":"ack","up_to_seq":NaN}', Code.MALFORMED),
        (b'{"type":"accepted","command_id":"../etc"}', Code.MALFORMED),
        (b'{"type":"accepted","command_id":"a\\n"}', Code.MALFORMED),
        (b'{"type":"run_script","script":"id"}', Code.UNKNOWN_MESSAGE),
        (b'{"type":"ack","up_to_seq":1' + b" " * MAX_MESSAGE_BYTES + b"}", Code.TOO_LARGE),
        (b'{"type":"health","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", Code.MALFORMED),
    ],
)
def test_bad_frames_get_their_code(frame, code):
    """Each kind of bad frame has its stable code."""
    with pytest.raises(Trouble) as caught:
        decode(frame)
    assert caught.value.code is code


def test_a_clock_years_off_is_accepted_but_not_one_that_cannot_be_stored():
    """A machine in 1970 or 2200 still reports; year 9999 cannot be moved to UTC everywhere and is refused."""
    frame = '{"type":"health","seq":1,"boot_id":"b","collected_at":"%s","indicators":{}}'
    assert decode(frame % "1970-01-01T00:00:00Z")
    assert decode(frame % "2200-01-01T00:00:00+02:00")
    with pytest.raises(Trouble):
        decode(frame % "9999-12-31T23:59:59-05:00")
    with pytest.raises(Trouble):
        decode(frame % "2026-01-01T00:00:00")


def test_unknown_fields_are_ignored_so_that_either_end_can_be_upgraded_first():
    """A newer peer's extra field does not break the link."""
    assert decode(b'{"type":"ack","up_to_seq":3,"new_in_2":true}') == Ack(up_to_seq=3)


def test_a_message_that_the_other_end_would_refuse_is_not_encoded():
    """Encoding checks the size too."""
    big = Refused(command_id="c", code="x", detail="y")
    message = FactsChanged(facts=Facts(os="x" * 300))
    assert encode(message)
    assert encode(big)
    huge = Command(
        command_id="c",
        envelope=Envelope(payload=b"x" * 60_000, payloadType="t", signatures=(Signed(keyid="k", sig=b"s" * 64),)),
    )
    with pytest.raises(Trouble) as caught:
        encode(huge)
    assert caught.value.code is Code.TOO_LARGE
