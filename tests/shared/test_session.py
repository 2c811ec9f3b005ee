"""The link's conversation, both ends against each other, without a socket."""

from datetime import UTC, datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.codec import decode, encode
from shared.codes import Code
from shared.codes import Trouble as TroubleError
from shared.messages import Ack, Challenge, Facts, Goodbye, Health, Hello, Intervals, Receipt, Welcome
from shared.session import (
    AgentSession,
    Close,
    CloseCode,
    CollectorSession,
    Deliver,
    Identify,
    Joined,
    Machine,
    Send,
    Stage,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ORIGIN = "https://collector.example"
AGENT = Ed25519PrivateKey.from_private_bytes(b"a" * 32)
COLLECTOR = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
AGENT_PUBLIC = AGENT.public_key().public_bytes_raw()
HEALTH = Health(seq=1, boot_id="b", collected_at=NOW, indicators={})


def machine(**changes) -> Machine:
    usual = {
        "hardware_id": "hw_1",
        "agent_public_key": AGENT_PUBLIC,
        "origin": ORIGIN,
        "collector_public_key": COLLECTOR.public_key().public_bytes_raw(),
        "join_counter": 7,
        "boot_id": "boot",
        "outbox_id": "ob_1",
        "agent_version": "1",
        "policy_hash": "",
        "facts": Facts(),
    }
    return Machine(**usual | changes)


def ends(**changes) -> tuple[AgentSession, CollectorSession]:
    agent = AgentSession(machine(**changes), AGENT.sign, b"1" * 32)
    return agent, CollectorSession(COLLECTOR.sign, frozenset({ORIGIN}), b"2" * 32)


def carried(event):
    """The message of a Send, as it looks after the wire."""
    assert isinstance(event, Send)
    return decode(encode(event.message))


def greeted(agent, collector) -> Hello:
    (challenge,) = collector.start(NOW)
    (hello,) = agent.receive(carried(challenge), NOW)
    return carried(hello)


def joined() -> tuple[AgentSession, CollectorSession]:
    agent, collector = ends()
    (identify,) = collector.receive(greeted(agent, collector))
    assert isinstance(identify, Identify)
    collector.prove(AGENT_PUBLIC)
    opened, welcome = collector.admit(8, Intervals(), NOW)
    assert isinstance(opened, Joined)
    assert agent.receive(carried(welcome), NOW) == (Joined(8, Intervals()),)
    return agent, collector


def closed_with(events) -> tuple[CloseCode, Code]:
    (close,) = events
    assert isinstance(close, Close)
    return close.code, close.trouble.code


def test_both_ends_join_and_talk():
    """Challenge, hello, welcome; then health one way and its acknowledgement the other."""
    agent, collector = joined()
    assert collector.receive(HEALTH) == (Deliver(HEALTH),)
    assert agent.receive(Ack(up_to_seq=1), NOW) == (Deliver(Ack(up_to_seq=1)),)


def test_the_collector_is_proven_to_the_agent():
    """A welcome by another key, with another counter, or for another hello, closes the link."""
    for change in (
        lambda w: msgspec.structs.replace(w, join_counter=9),
        lambda w: msgspec.structs.replace(w, nonce=b"3" * 32),
        lambda w: msgspec.structs.replace(w, signature=b"0" * 64),
    ):
        agent, collector = ends()
        collector.receive(greeted(agent, collector))
        _, welcome = collector.admit(8, Intervals(), NOW)
        assert closed_with(agent.receive(change(carried(welcome)), NOW)) == (CloseCode.AUTH, Code.COLLECTOR_UNTRUSTED)
        assert agent.stage is Stage.CLOSED


@pytest.mark.parametrize("field", ["hardware_id", "join_counter", "boot_id", "outbox_id", "nonce"])
def test_no_field_of_a_hello_can_be_changed(field):
    """What decides anything is under the signature."""
    agent, collector = ends()
    hello = greeted(agent, collector)
    other = {"hardware_id": "hw_2", "join_counter": 9, "boot_id": "x", "outbox_id": "y", "nonce": b"9" * 32}[field]
    collector.receive(msgspec.structs.replace(hello, **{field: other}))
    with pytest.raises(TroubleError) as caught:
        collector.prove(AGENT_PUBLIC)
    assert caught.value.code is Code.BAD_SIGNATURE


def test_a_recorded_hello_is_useless():
    """Another connection has another nonce, so a replayed hello does not verify."""
    agent, collector = ends()
    hello = greeted(agent, collector)
    later = CollectorSession(COLLECTOR.sign, frozenset({ORIGIN}), b"5" * 32)
    later.receive(hello)
    with pytest.raises(TroubleError):
        later.prove(AGENT_PUBLIC)


def test_an_agent_that_means_another_collector_is_turned_away():
    """A hello relayed from elsewhere names the origin its agent meant."""
    agent, collector = ends(origin="https://evil.example")
    assert closed_with(collector.receive(greeted(agent, collector))) == (CloseCode.AUTH, Code.WRONG_ORIGIN)


@given(st.sampled_from([HEALTH, Ack(up_to_seq=1), Receipt(command_id="c"), Goodbye(reason="x")]))
def test_nothing_but_hello_is_taken_before_the_welcome(message):
    """Out of turn is a protocol error, and nothing is delivered."""
    _, collector = ends()
    collector.start(NOW)
    assert closed_with(collector.receive(message)) == (CloseCode.PROTOCOL, Code.OUT_OF_TURN)


def test_a_second_hello_or_challenge_is_out_of_turn():
    """The greeting happens once."""
    agent, collector = joined()
    again = Challenge(nonce=b"4" * 32, time=NOW)
    assert closed_with(agent.receive(again, NOW)) == (CloseCode.PROTOCOL, Code.OUT_OF_TURN)
    hello = greeted(*ends())
    assert closed_with(collector.receive(hello)) == (CloseCode.PROTOCOL, Code.OUT_OF_TURN)


def test_each_end_refuses_the_messages_that_only_the_other_may_send():
    """An agent does not get health reports, a collector no acknowledgements."""
    agent, collector = joined()
    assert closed_with(agent.receive(HEALTH, NOW))[1] is Code.OUT_OF_TURN
    assert closed_with(collector.receive(Ack(up_to_seq=1)))[1] is Code.OUT_OF_TURN


def test_after_a_close_nothing_is_delivered():
    """A closed session stays closed."""
    agent, collector = joined()
    agent.receive(HEALTH, NOW)
    assert closed_with(agent.receive(Ack(up_to_seq=2), NOW))[0] is CloseCode.PROTOCOL
    collector.turn_away(CloseCode.DUPLICATE, TroubleError(Code.DUPLICATE))
    assert closed_with(collector.receive(HEALTH))[0] is CloseCode.PROTOCOL


def test_a_welcome_without_a_hello_cannot_be_made():
    """The edge cannot admit whom it has not heard."""
    _, collector = ends()
    collector.start(NOW)
    with pytest.raises(TroubleError):
        collector.admit(1, Intervals(), NOW)


def test_a_collector_may_say_goodbye_before_the_welcome():
    """A collector that is stopping says so; the agent hears it."""
    agent, collector = ends()
    (challenge,) = collector.start(NOW)
    agent.receive(carried(challenge), NOW)
    goodbye = Goodbye(reason="stopping", retry_after_s=3.0)
    assert agent.receive(goodbye, NOW) == (Deliver(goodbye),)


def test_a_welcome_cannot_come_first():
    """A collector that skips the challenge has proven nothing."""
    agent, _ = ends()
    welcome = Welcome(nonce=b"1" * 32, join_counter=1, time=NOW, intervals=Intervals(), signature=b"0" * 64)
    assert closed_with(agent.receive(welcome, NOW)) == (CloseCode.PROTOCOL, Code.OUT_OF_TURN)
