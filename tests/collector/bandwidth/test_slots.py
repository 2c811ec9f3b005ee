"""Who is admitted, and whose ticket is good: decisions without a server."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from collector.bandwidth import tickets
from collector.bandwidth.register import HeldSlot, Register
from collector.bandwidth.slots import ROOM, Full, Held, claim_bit_s, wait_s
from collector.bandwidth.witnessing import witnessed
from collector.bandwidth.worker import MOST_OF_ONE_ADDRESS, Doors, neighbours
from shared.bandwidth import Sample, SeenRequest, SlotRequest
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket, BandwidthWitness, sign

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
HERE = "https://measure.example:8480"
GBIT = 10**9


def ticket(**changed) -> BandwidthTicket:
    told = {
        "ticket_id": "tkt_0001",
        "hardware_id": "hw_00000001",
        "server": HERE,
        "not_after": NOW + timedelta(minutes=5),
    }
    return BandwidthTicket(**told | changed)


@given(st.lists(st.one_of(st.none(), st.integers(0, 400 * GBIT)), max_size=30), st.integers(10**6, 400 * GBIT))
def test_what_is_admitted_never_claims_more_than_the_room(links, capacity):
    """Whatever the machines' links are, and one that asks alone always gets in."""
    held = []
    for link in links:
        claim = claim_bit_s(link, capacity)
        if wait_s(held, claim, capacity, now_s=0.0) == 0:
            held.append(Held(claim_bit_s=claim, ends_s=60.0))
        assert sum(one.claim_bit_s for one in held) <= round(capacity * ROOM)
    assert wait_s([], claim_bit_s(None, capacity), capacity, 0.0) == 0
    assert not links or held


def test_a_refused_machine_is_told_when_there_is_room():
    """Two of 3 Gbit/s hold all of a 10 Gbit/s server's room; one of 4 has to wait for both."""
    held = [Held(claim_bit_s=3 * GBIT, ends_s=130.0), Held(claim_bit_s=3 * GBIT, ends_s=110.4)]
    assert wait_s(held, 3 * GBIT, 10 * GBIT, now_s=100.0) == 11
    assert wait_s(held, 4 * GBIT, 10 * GBIT, now_s=100.0) == 30


def test_a_fast_machine_claims_all_the_room_and_an_unknown_one_a_quarter_of_the_link():
    """So one as fast as the server measures alone, and cannot be locked out for ever."""
    assert claim_bit_s(100 * GBIT, 10 * GBIT) == 6 * GBIT
    assert claim_bit_s(GBIT, 10 * GBIT) == GBIT
    assert claim_bit_s(None, 10 * GBIT) == 2.5 * GBIT
    assert claim_bit_s(0, 10 * GBIT) == 2.5 * GBIT


def test_a_good_ticket_is_read():
    """With or without a slash, in any case of letters."""
    sealed = sign(ticket(server="https://Measure.example:8480/"), KEY)
    assert tickets.judge(sealed, KEY.public_key().public_bytes_raw(), [HERE], NOW).ticket_id == "tkt_0001"


@pytest.mark.parametrize(
    ("sealed", "words"),
    [
        (sign(ticket(), OTHER), "bad_signature"),
        (sign(ticket(server="https://other.example:8480"), KEY), "is for https://other"),
        (sign(ticket(server=f"{HERE}0"), KEY), "is for"),
        (sign(ticket(not_after=NOW), KEY), "time is over"),
        (sign(ticket(not_after=NOW + timedelta(days=91)), KEY), "more than 90 days"),
        (
            sign(
                BandwidthWitness(
                    ticket_id="tkt_0001",
                    hardware_id="hw_00000001",
                    up_bit_s=1,
                    down_bit_s=1,
                    up_bytes=1,
                    down_bytes=1,
                    streams=4,
                    limited_by="path",
                    capacity_bit_s=1,
                    ended_at=NOW,
                ),
                KEY,
            ),
            "wrong_document",
        ),
    ],
    ids=["forged", "foreign", "longer-name", "expired", "for-ever", "no-ticket"],
)
def test_a_ticket_that_is_not_good_is_refused(sealed, words):
    """By one code, with words about why."""
    with pytest.raises(Trouble, match=words) as told:
        tickets.judge(sealed, KEY.public_key().public_bytes_raw(), [HERE], NOW)
    assert told.value.code is Code.TICKET_REFUSED


def test_a_ticket_works_once_across_processes_and_restarts(tmp_path):
    """The register is a file: a second worker, and the next server, know it too."""
    path, request = tmp_path / "own.db", SlotRequest(ticket=sign(ticket(), KEY), seconds=10)
    one, other = Register(path), Register(path)
    one.admit("a" * 43, ticket(), request, 10 * GBIT, now_s=100.0)
    with pytest.raises(Trouble, match="has been used"):
        other.admit("b" * 43, ticket(), request, 10 * GBIT, now_s=100.0)
    one.clear()
    other.close()
    again = Register(path)
    with pytest.raises(Trouble, match="has been used"):
        again.admit("b" * 43, ticket(), request, 10 * GBIT, now_s=0.0)
    one.add({}, 0.0, NOW.timestamp() + 301)
    again.admit("b" * 43, ticket(), request, 10 * GBIT, now_s=0.0)
    one.close()
    again.close()


def test_a_full_server_does_not_use_the_ticket_up(tmp_path):
    """It is good for the second try; and a slot that nobody gave back ends by itself."""
    register = Register(tmp_path / "own.db")
    request = SlotRequest(ticket=sign(ticket(), KEY), seconds=10)
    for number in range(2):
        register.admit(f"{number}" * 43, ticket(ticket_id=f"tkt_100{number}"), request, GBIT, now_s=100.0)
    with pytest.raises(Full) as told:
        register.admit("c" * 43, ticket(), request, GBIT, now_s=101.0)
    assert told.value.wait_s == 44
    register.admit("c" * 43, ticket(), request, GBIT, now_s=101.0 + told.value.wait_s)
    with pytest.raises(Trouble, match="no slot has this token"):
        register.slot("0" * 43, 146.0)
    register.close()


def test_a_slot_has_so_many_streams(tmp_path):
    """In each direction."""
    register = Register(tmp_path / "own.db")
    register.admit("a" * 43, ticket(), SlotRequest(ticket=sign(ticket(), KEY), seconds=3), GBIT, now_s=0.0)
    slot = register.slot("a" * 43, 1.0)
    for _ in range(16):
        register.open_stream(slot, "up")
    with pytest.raises(Trouble, match="16 streams up"):
        register.open_stream(slot, "up")
    register.open_stream(slot, "down")
    assert register.running(slot) == 17
    register.close()


def test_who_claims_little_moves_little(tmp_path):
    """A slow link's slot beside others' measurements would else fill the server's."""
    register = Register(tmp_path / "own.db")
    for number, (link, most) in enumerate([(1_000_000, 375_000), (None, 375_000_000), (10 * GBIT, 375_000_000)]):
        request = SlotRequest(ticket=sign(ticket(), KEY), seconds=3, link_bit_s=link)
        now_s = 100.0 * number
        register.admit(f"{number}" * 43, ticket(ticket_id=f"tkt_{number}"), request, GBIT, now_s=now_s)
        assert register.slot(f"{number}" * 43, now_s).most_bytes == most
    register.close()


def test_a_stranger_s_ipv6_network_is_one_address():
    """He has 2^64 of them; an IPv4 address stays itself, however it is written."""
    doors = Doors()
    assert all(doors.enter(f"2001:db8::{number:x}") for number in range(MOST_OF_ONE_ADDRESS))
    assert not doors.enter("2001:db8::ffff:1")
    assert doors.enter("2001:db8:0:1::1")
    doors.leave("2001:db8::1")
    assert doors.enter("2001:db8::ffff:1")
    assert [neighbours(one) for one in ("192.0.2.1", "::ffff:192.0.2.1")] == ["192.0.2.1"] * 2


def test_who_only_asks_waits_for_nobody_who_writes(tmp_path):
    """Strangers' questions take no lock, and a worker that writes does not hold up the answers."""
    one, other = Register(tmp_path / "own.db"), sqlite3.connect(tmp_path / "own.db", isolation_level=None)
    one.admit("a" * 43, ticket(), SlotRequest(ticket=sign(ticket(), KEY), seconds=3), GBIT, now_s=0.0)
    other.execute("BEGIN IMMEDIATE")
    slot = one.slot("a" * 43, 1.0)
    assert (one.running(slot), one.figures()[1]) == (0, 1)
    other.close()
    one.close()


@pytest.mark.parametrize(("ends_s", "good"), [(2.6, False), (3.6, False), (4.1, True), (10.0, True)])
def test_a_burst_is_no_measurement(ends_s, good):
    """A stream that ends after a slice or two has seen what had gathered on the way, not what the way carries."""
    series = [Sample(at_s=number / 10, moved=number * 10**6, cpu_s=0.0) for number in range(round(ends_s * 10) + 1)]
    slot = HeldSlot(
        slot_id="s",
        ticket_id="tkt_1",
        hardware_id="hw_1",
        claim_bit_s=GBIT,
        seconds=10,
        most_bytes=GBIT,
        ends_s=1e9,
    )
    streams = {"up": [series], "down": [series]}
    if good:
        assert witnessed(slot, streams, SeenRequest(), GBIT, KEY, NOW).up.bit_s == 80_000_000
    else:
        with pytest.raises(Trouble, match="too few"):
            witnessed(slot, streams, SeenRequest(), GBIT, KEY, NOW)


def test_a_commit_that_fails_leaves_the_register_usable(tmp_path):
    """As on a full disk; here by a stream without a slot, which SQLite is asked to look for at the end only."""
    register = Register(tmp_path / "own.db")
    with pytest.raises(sqlite3.IntegrityError), register._transaction() as sql:
        sql.execute("PRAGMA defer_foreign_keys = ON")
        sql.execute("INSERT INTO stream (slot_id, direction) VALUES ('none', 'up')")
    assert register.figures() == ({}, 0, 0)
    register.close()
