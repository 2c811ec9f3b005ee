"""Ordering benchmarks: never at a tenant's cost, each with a challenge and a ticket of its own; and when unasked."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from collector.benchmarks.challenges import Mode
from collector.benchmarks.ordering import measuring
from collector.benchmarks.scheduling import MOST_A_ROUND, RETRY, WAIT, Candidate, next_due, plan
from collector.benchmarks.scheduling import Site as Premises
from collector.chores import Chores
from collector.closing import Closing
from collector.history.tiers import tiers
from collector.links.dispatch import FROM, State
from collector.links.presence import Presence
from collector.store import commands, presence, records
from collector.store.presence import Transition
from shared.codes import Code, Trouble
from shared.documents import BandwidthTicket, BenchmarkName, GrantWork, open_signed
from shared.records import Booking, BookingStatus, Listing
from tests.collector.known import NOW
from tests.collector.measuring import FACTS, LINK_KEY, SERVER, Site, cpu

EVERY = timedelta(days=30)


@pytest.fixture
async def site(database, tmp_path):
    made = Site(database, tmp_path, Mode.SHADOW, SERVER)
    await made.add("hw_1")
    return made


async def book(site, status: BookingStatus, starts: timedelta, hardware_id: str = "hw_1") -> None:
    listing = Listing(
        listing_id=f"lst_{hardware_id}",
        hardware_id=hardware_id,
        price_hour=1.0,
        price_day=1.0,
        price_week=1.0,
        currency="EUR",
        created_at=NOW,
        updated_at=NOW,
    )
    booking = Booking(
        booking_id=f"bkg_{hardware_id}",
        listing_id=listing.listing_id,
        hardware_id=hardware_id,
        buyer_id="usr_1",
        start_timestamp=site.now + starts,
        end_timestamp=site.now + starts + timedelta(days=1),
        created_at=NOW,
        booking_status=status,
    )
    async with site.database.write() as conn:
        await records.upsert(conn, listing)
        await records.upsert(conn, booking)


# Orders.


async def test_an_order_carries_a_fresh_challenge_and_a_ticket(site):
    """The ticket is for this machine and this server, as long as the order; the nonce is nobody else's."""
    first, _ = await site.order(lifetime=timedelta(hours=2))
    second, _ = await site.order()
    ticket = open_signed(first.work.server.ticket, BandwidthTicket, LINK_KEY.public_key().public_bytes_raw())
    assert (ticket.hardware_id, ticket.server, ticket.not_after) == ("hw_1", SERVER.url, NOW + timedelta(hours=2))
    assert ticket.not_after == first.expires_at
    assert first.work.challenge.nonce != second.work.challenge.nonce


async def test_a_short_look_has_no_challenge_and_another_benchmark_no_ticket(site):
    """Only bandwidth is measured against a server."""
    order, _ = await site.order(names="cpu", quick=True)
    assert (order.work.challenge, order.work.server, order.work.quick) == (None, None, True)


@pytest.mark.parametrize(
    ("status", "starts", "refused"),
    [
        (BookingStatus.ACTIVE, timedelta(hours=-1), True),
        (BookingStatus.ACTIVE, timedelta(days=-9), True),
        (BookingStatus.PENDING, timedelta(minutes=14), True),
        (BookingStatus.PENDING, timedelta(minutes=16), False),
        (BookingStatus.PENDING, timedelta(days=-9), False),
        (BookingStatus.COMPLETED, timedelta(hours=-1), False),
        (BookingStatus.CANCELED, timedelta(hours=-1), False),
    ],
)
async def test_nothing_is_measured_at_a_tenant_s_cost(site, status, starts, refused):
    """Not while a booking is active, overdue or not, nor shortly before one starts."""
    await book(site, status, starts)
    if not refused:
        await site.order()
        return
    with pytest.raises(Trouble) as caught:
        await site.order()
    assert caught.value.code is Code.BOOKED
    assert "bkg_hw_1" in caught.value.detail


async def test_a_tenant_who_is_let_in_takes_waiting_benchmarks_back(site):
    """Only those that have not been sent, and only of his machine."""
    await site.add("hw_2")
    async with site.database.write() as conn:
        made = [
            await site.benchmark_orders.issue(conn, one, (BenchmarkName.CPU,), requested_by="tests")
            for one in ("hw_1", "hw_1", "hw_2")
        ]
        await commands.advance(conn, made[0].command_id, State.SENT, now=NOW, allowed_from=FROM[State.SENT])
        granted = await site.orders.issue(conn, "hw_1", GrantWork(username="alice"), requested_by="tests")
        rows = [await commands.get(conn, one.command_id) for one in (*made, granted)]
    assert [one.state for one in rows] == ["sent", "canceled", "queued", "queued"]
    assert (rows[1].code, rows[1].finished_at) == ("booked", NOW)
    assert granted.command_id in rows[1].detail


@pytest.mark.parametrize(
    ("url", "key", "code"),
    [
        ("https://m.test", "", Code.BAD_CONFIGURATION),
        ("", "AAAA", Code.BAD_CONFIGURATION),
        ("m.test:1", SERVER.public_key.hex(), Code.BAD_CONFIGURATION),
        ("https://m.test", "not hex!", Code.BAD_CONFIGURATION),
        ("https://m.test", "AAAA", Code.WEAK_KEY),
        ("https://m.test", bytes(32).hex(), Code.WEAK_KEY),
    ],
)
def test_half_a_measuring_server_is_no_configuration(url, key, code):
    """Nor is one whose key anybody could sign with."""
    with pytest.raises(Trouble) as caught:
        measuring(url, key)
    assert caught.value.code is code


def test_a_measuring_server_is_its_address_and_its_key():
    """None where none is named."""
    assert measuring("", "") is None
    assert measuring(SERVER.url + "/", SERVER.public_key.hex()) == SERVER


# When nobody asks.


def candidates(count: int, customer: str = "usr_1", **changes) -> list[Candidate]:
    usual = Candidate(hardware_id="-", customer_id=customer, has_gpu=False, measured_at=None)
    return [structs.replace(usual, hardware_id=f"{customer}_{number}", **changes) for number in range(count)]


@pytest.mark.parametrize(
    ("machines", "running", "measured"), [(1, 0, 1), (9, 0, 1), (9, 1, 0), (30, 0, 3), (30, 2, 1), (30, 5, 0)]
)
def test_a_tenth_of_a_site_is_measured_at_once_and_one_at_least(machines, running, measured):
    """Its machines share power, cooling and a way out."""
    sites = {"usr_1": Premises(machines=machines, running=running)}
    found = plan(candidates(machines), sites, NOW, EVERY)
    assert len(found.measured) == measured
    assert set(found.put_off.values()) <= {NOW + WAIT}
    assert len(found.put_off) == machines - measured


def test_a_round_is_bounded_and_sites_do_not_wait_for_each_other():
    """A full site takes nobody else's turn."""
    sites = {"usr_1": Premises(machines=9, running=1), "usr_2": Premises(machines=5000, running=0)}
    found = plan([*candidates(9), *candidates(500, "usr_2")], sites, NOW, EVERY).measured
    assert len(found) == MOST_A_ROUND
    assert {one.customer_id for one in found} == {"usr_2"}


def test_a_machine_measured_lately_is_put_off():
    """To a month after, whoever asked for that one."""
    (one,) = candidates(1, measured_at=NOW - timedelta(days=29))
    found = plan([one], {"usr_1": Premises(machines=1, running=0)}, NOW, EVERY)
    assert (found.measured, found.put_off) == ((), {one.hardware_id: next_due(one.hardware_id, one.measured_at, EVERY)})
    (old,) = candidates(1, measured_at=NOW - timedelta(days=34))
    assert plan([old], {"usr_1": Premises(machines=1, running=0)}, NOW, EVERY).measured == (old,)


@given(st.text(min_size=1, max_size=20), st.integers(1, 365))
def test_the_next_time_is_a_period_later_and_up_to_a_tenth_more(hardware_id, days):
    """The same for the same machine, so that rounds do not move it about."""
    every = timedelta(days=days)
    due = next_due(hardware_id, NOW, every)
    assert NOW + every <= due <= NOW + every * 1.1
    assert due == next_due(hardware_id, NOW, every)


class Bell:
    def __init__(self) -> None:
        self.rung: list[str] = []

    async def ring(self, hardware_id: str) -> None:
        self.rung.append(hardware_id)


async def come_online(site, *hardware_ids: str) -> None:
    async with site.database.write() as conn:
        moves = [
            Transition(
                hardware_id=one,
                at=site.now,
                told_at=site.now,
                from_state=Presence.NEVER,
                to_state=Presence.ONLINE,
                status="online",
                cause="first_report",
            )
            for one in hardware_ids
        ]
        await presence.record(conn, moves)


@pytest.fixture
def chores(site):
    kept = tiers(timedelta(hours=1))
    closing = Closing(site.database, lambda: site.now, kept)
    made = Chores(site.database, lambda: site.now, closing, kept, site.benchmark_orders, Bell(), EVERY)
    made.rung = made._bell.rung
    return made


async def open_benchmarks(site) -> list[commands.CommandRow]:
    async with site.database.read() as conn:
        return await commands.page(conn, None, "queued", None, 100)


async def test_a_new_machine_is_measured_when_it_is_online_and_then_monthly(site, chores):
    """All that it can; once, with the bell rung; again when a month and its own share of three days are over."""
    await chores.measure()
    assert chores.rung == []
    await come_online(site, "hw_1")
    await chores.measure()
    await chores.measure()
    assert chores.rung == ["hw_1"]
    (row,) = await open_benchmarks(site)
    assert (row.requested_by, row.expires_at - row.created_at) == ("schedule", timedelta(hours=1))
    async with site.database.write() as conn:
        await commands.advance(conn, row.command_id, State.CANCELED, now=site.now, allowed_from=FROM[State.CANCELED])
    await site.run(cpu())
    for days, rung in ((2, 1), (27, 1), (10, 2)):
        site.now += timedelta(days=days)
        await chores.measure()
        assert len(chores.rung) == rung, days


async def test_a_benchmark_that_came_to_nothing_is_tried_again_the_next_day(site, chores):
    """It expired, was refused or failed: no result came in."""
    await come_online(site, "hw_1")
    await chores.measure()
    site.now += timedelta(hours=2)
    await chores.expire()
    await chores.measure()
    assert len(chores.rung) == 1
    site.now += RETRY
    await chores.measure()
    assert len(chores.rung) == 2


async def test_a_machine_that_is_taken_or_at_work_is_left_alone(site, chores):
    """Booked, or with any command open; its neighbour's turn comes all the same."""
    await site.add("hw_2", "hw_3", facts=structs.replace(FACTS, gpu_model=None))
    await come_online(site, "hw_1", "hw_2", "hw_3")
    await book(site, BookingStatus.ACTIVE, timedelta(hours=-1))
    async with site.database.write() as conn:
        await site.orders.issue(conn, "hw_2", GrantWork(username="alice"), requested_by="tests")
    await chores.measure()
    assert chores.rung == ["hw_3"]


async def test_a_site_is_measured_one_after_another(site, chores):
    """Twelve machines of one customer, all new and online: one at a time."""
    names = [f"hw_s{number}" for number in range(11)]
    await site.add(*names)
    await come_online(site, "hw_1", *names)
    await chores.measure()
    site.now += WAIT
    await chores.measure()
    assert len(chores.rung) == 1


def test_what_is_measured_unasked_is_what_is_there(site_without_database):
    """No GPU where the machine names none, no bandwidth where there is no server."""
    with_server, without = site_without_database
    assert BenchmarkName.NETWORK in with_server.usual(has_gpu=False)
    assert without.usual(has_gpu=False) == (BenchmarkName.CPU, BenchmarkName.DISK)
    assert BenchmarkName.GPU in without.usual(has_gpu=True)


@pytest.fixture
def site_without_database(tmp_path):
    return tuple(Site(None, tmp_path, Mode.OFF, server).benchmark_orders for server in (SERVER, None))
