"""The store's contract, the same on both databases."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from msgspec import structs
from sqlalchemy import text

from collector.links.dispatch import FROM, OPEN, State
from collector.store import accounts, audit, commands, enrollment, health, idempotency, links, presence, records, tokens
from collector.store.commands import CommandRow
from collector.store.enrollment import EnrollmentToken
from collector.store.health import Report
from collector.store.presence import Transition
from collector.store.tokens import ApiToken
from shared.codes import Code, Trouble
from shared.envelope import key_id
from shared.messages import Facts
from shared.records import (
    Benchmark,
    Booking,
    DataWipe,
    Listing,
    Machine,
    Payment,
    User,
    WipeMethod,
    WipeStatus,
)
from tests.collector.known import NOW, add_machine

AGENT_KEY = b"agent hw_1".ljust(32, b".")


async def code_of(database, work) -> Code:
    """The code with which a write is refused; nothing of it is kept."""
    with pytest.raises(Trouble) as caught:
        async with database.write() as conn:
            await work(conn)
    return caught.value.code


def a_command(number: int = 1, **changes) -> CommandRow:
    usual = CommandRow(
        command_id=f"cmd_{number}",
        hardware_id="hw_1",
        kind="benchmark",
        state="queued",
        seq=number,
        requested_by="tests",
        envelope="{}",
        order_sha256="0" * 64,
        created_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    return structs.replace(usual, **changes)


LISTING = Listing(
    listing_id="lst_1",
    hardware_id="hw_1",
    price_hour=1.5,
    price_day=30.0,
    price_week=180.25,
    currency="EUR",
    created_at=NOW,
    updated_at=NOW,
)
BOOKING = Booking(
    booking_id="bkg_1",
    listing_id="lst_1",
    hardware_id="hw_1",
    buyer_id="usr_1",
    start_timestamp=NOW,
    end_timestamp=NOW + timedelta(days=1),
    created_at=NOW,
    tenant_ssh_keys=("ssh-ed25519 AAAA x",),
)
PAYMENT = Payment(
    payment_id="pay_1",
    booking_id="bkg_1",
    hardware_id="hw_1",
    payer_id="usr_1",
    amount_total=Decimal("123456789012.10"),
    currency="EUR",
    timestamp=NOW,
)
BENCHMARK = Benchmark(
    benchmark_id="bmk_1",
    hardware_id="hw_1",
    cpu_score=812.25,
    collected_at=NOW,
    details={"cpu": {"marks": ["quick"]}, "text": "\u2028 ünï"},
)
WIPE = DataWipe(
    wipe_id="wip_1",
    hardware_id="hw_1",
    timestamp=NOW,
    wipe_method_executed=WipeMethod.HOME_DIRECTORY_PURGE,
    status=WipeStatus.SUCCESS,
    evidence_sha256="a" * 64,
)


async def test_every_record_comes_back_as_it_was_written(with_machine):
    """Floats, exact decimals, JSON, times with microseconds, and null."""
    for record in (LISTING, BOOKING, PAYMENT, BENCHMARK, WIPE):
        async with with_machine.write() as conn:
            await records.insert(conn, record)
        async with with_machine.read() as conn:
            key = getattr(record, records.key_of(type(record)))
            assert await records.get(conn, type(record), key) == record


@pytest.mark.parametrize("amount", ["0", "0.01", "-5.50", "999999999999.999999", "0.1"])
async def test_money_is_exact(with_machine, amount):
    """No amount passes through a float."""
    async with with_machine.write() as conn:
        for record in (LISTING, BOOKING, structs.replace(PAYMENT, amount_total=Decimal(amount))):
            await records.insert(conn, record)
        found = await records.get(conn, Payment, "pay_1")
    assert found is not None
    assert found.amount_total == Decimal(amount)


@pytest.mark.parametrize("amount", ["1e12", "0.0000001", "NaN", "Infinity"])
async def test_an_amount_that_would_be_rounded_is_refused(with_machine, amount):
    """Too large, too fine or not a number: refused on both databases alike."""
    async with with_machine.write() as conn:
        await records.insert(conn, LISTING)
        await records.insert(conn, BOOKING)
    payment = structs.replace(PAYMENT, amount_total=Decimal(amount))
    assert await code_of(with_machine, lambda conn: records.insert(conn, payment)) is Code.INVALID


async def test_an_upsert_says_whether_the_record_is_new(with_machine):
    """The second time it replaces."""
    async with with_machine.write() as conn:
        assert await records.upsert(conn, LISTING)
        assert not await records.upsert(conn, structs.replace(LISTING, price_hour=2.0))
        found = await records.get(conn, Listing, "lst_1")
    assert found is not None
    assert found.price_hour == 2.0


async def test_pages_follow_the_keys_without_gap_or_repeat(database):
    """A page ends where the next begins, and filters hold."""
    async with database.write() as conn:
        for number in range(7):
            record = User(customer_id=f"usr_{number}", email=f"{number}@example.com", signup_date=NOW)
            await records.insert(conn, record)
    async with database.read() as conn:
        first = await records.page(conn, User, {}, None, 3)
        second = await records.page(conn, User, {}, first[-1].customer_id, 10)
        only = await records.page(conn, User, {"email": "5@example.com"}, None, 10)
    assert [one.customer_id for one in first + second] == [f"usr_{number}" for number in range(7)]
    assert [one.customer_id for one in only] == ["usr_5"]


async def test_foreign_keys_are_enforced(with_machine):
    """A booking of a listing that does not exist is refused by the database."""
    assert await code_of(with_machine, lambda conn: records.insert(conn, BOOKING)) is Code.REFERENCE_MISSING


async def test_emails_are_unique(with_machine):
    """Two users with one address are refused."""
    twin = User(customer_id="usr_2", email="one@example.com", signup_date=NOW)
    assert await code_of(with_machine, lambda conn: records.insert(conn, twin)) is Code.CONFLICT


async def test_the_database_refuses_words_outside_a_value_set(with_machine):
    """Even SQL that goes round the records cannot write another state."""
    statement = text("UPDATE machine SET provider_agent_status = 'maybe'")
    assert await code_of(with_machine, lambda conn: conn.execute(statement)) is Code.INVALID


async def test_evidence_outlives_everything(with_machine):
    """A machine with a wipe cannot be deleted."""
    async with with_machine.write() as conn:
        await records.insert(conn, WIPE)
    statement = text("DELETE FROM machine WHERE hardware_id = 'hw_1'")
    with pytest.raises(Trouble) as caught:
        async with with_machine.write() as conn:
            await conn.execute(statement)
    assert caught.value.code in {Code.CONFLICT, Code.REFERENCE_MISSING}


async def test_the_audit_trail_is_append_only(database):
    """Neither changing nor dropping an entry is possible, by trigger."""
    async with database.write() as conn:
        await audit.append(conn, at=NOW, actor="a", role="admin", address="", action="x", object="y", after={"b": 1})
    for statement in ("UPDATE audit_entry SET actor = 'b'", "DELETE FROM audit_entry"):
        with pytest.raises(Trouble):
            async with database.write() as conn:
                await conn.execute(text(statement))
    async with database.read() as conn:
        (entry,) = await audit.page(conn, 0, 10)
    assert (entry["actor"], entry["after"]) == ("a", {"b": 1})


def a_token(**changes) -> EnrollmentToken:
    usual = EnrollmentToken(
        token_id="rpe_1",
        secret_sha256="5" * 64,
        customer_id="usr_1",
        created_at=NOW,
        created_by="tests",
        expires_at=NOW + timedelta(hours=1),
    )
    return structs.replace(usual, **changes)


async def enrolled(conn, hardware_id="hw_2", keys="new", **changes):
    return await enrollment.enroll(
        conn,
        **{
            "token_id": "rpe_1",
            "secret_sha256": "5" * 64,
            "machine": Machine(hardware_id=hardware_id, customer_id="-", cpu_model="cpu"),
            "agent_public_key": f"agent {keys}".encode().ljust(32, b"."),
            "wiper_public_key": f"wiper {keys}".encode().ljust(32, b"."),
            "now": NOW,
        }
        | changes,
    )


async def with_token(database, **changes):
    async with database.write() as conn:
        await enrollment.create_token(conn, a_token(**changes))


async def test_a_token_makes_one_machine_known(with_machine):
    """The machine belongs to the token's customer, whatever it says itself."""
    await with_token(with_machine)
    async with with_machine.write() as conn:
        assert await enrolled(conn) == "usr_1"
        machine = await records.get(conn, Machine, "hw_2")
        live = await presence.find(conn, "hw_2")
    assert machine is not None
    assert live is not None
    assert (machine.customer_id, machine.cpu_model, live.presence) == ("usr_1", "cpu", "never")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token_id": "rpe_0"}, Code.TOKEN_UNKNOWN),
        ({"secret_sha256": "6" * 64}, Code.TOKEN_UNKNOWN),
        ({"now": NOW + timedelta(hours=1)}, Code.TOKEN_EXPIRED),
        ({"hardware_id": "hw_1"}, Code.IDENTITY_CONFLICT),
    ],
)
async def test_a_refused_enrollment_leaves_the_token_usable(with_machine, changes, code):
    """Unknown, wrong secret, too late, or an identity that another machine holds: nothing changes."""
    await with_token(with_machine)
    assert await code_of(with_machine, lambda conn: enrolled(conn, **changes)) is code
    async with with_machine.write() as conn:
        assert await enrolled(conn) == "usr_1"


async def test_a_used_token_works_only_for_the_answer_that_was_lost(with_machine):
    """Same machine and keys within 15 minutes: the same answer; anything else: used."""
    await with_token(with_machine)
    async with with_machine.write() as conn:
        await enrolled(conn)
    async with with_machine.write() as conn:
        assert await enrolled(conn, now=NOW + timedelta(minutes=14)) == "usr_1"
    late = NOW + timedelta(minutes=15)
    assert await code_of(with_machine, lambda conn: enrolled(conn, now=late)) is Code.TOKEN_USED
    assert await code_of(with_machine, lambda conn: enrolled(conn, keys="other")) is Code.TOKEN_USED
    assert await code_of(with_machine, lambda conn: enrolled(conn, hardware_id="hw_3")) is Code.TOKEN_USED


async def test_a_known_machine_comes_back_only_with_a_token_that_names_it(with_machine):
    """Its old keys stop counting, its join counter starts anew."""
    await with_token(with_machine, hardware_id="hw_1")
    assert await code_of(with_machine, lambda conn: enrolled(conn, hardware_id="hw_2")) is Code.TOKEN_FOREIGN
    async with with_machine.write() as conn:
        await enrolled(conn, hardware_id="hw_1")
        old = await links.identity(conn, "hw_1", key_id(AGENT_KEY))
        new_key = b"agent new".ljust(32, b".")
        new = await links.identity(conn, "hw_1", key_id(new_key))
    assert old is not None
    assert new is not None
    assert (old.revoked, new.revoked, new.join_offered) == (True, False, 0)


async def test_another_customers_machine_cannot_be_taken_over(with_machine):
    """A token of customer 2 that names customer 1's machine is foreign."""
    async with with_machine.write() as conn:
        await records.insert(conn, User(customer_id="usr_2", email="two@example.com", signup_date=NOW))
    await with_token(with_machine, hardware_id="hw_1", customer_id="usr_2")
    assert await code_of(with_machine, lambda conn: enrolled(conn, hardware_id="hw_1")) is Code.TOKEN_FOREIGN


async def test_of_two_machines_that_race_for_a_token_one_gets_it(with_machine):
    """The token is consumed by one guarded statement."""
    await with_token(with_machine)

    async def one(number: int) -> str:
        try:
            async with with_machine.write() as conn:
                return await enrolled(conn, hardware_id=f"hw_r{number}", keys=f"k{number}")
        except Trouble as trouble:
            return trouble.code

    answers = await asyncio.gather(*(one(number) for number in range(5)))
    assert sorted(answers) == sorted([Code.TOKEN_USED] * 4 + ["usr_1"])
    async with with_machine.read() as conn:
        assert len(await records.page(conn, Machine, {}, None, 10)) == 2


async def offered(conn, outbox_id="ob_1", counter=1):
    await links.offer_join(
        conn,
        "hw_1",
        confirmed=0,
        offered=counter,
        boot_id="b",
        outbox_id=outbox_id,
        agent_version="1",
        policy_hash="",
        clock_skew_ms=-86_400_000,
        facts=Facts(os="Debian 12", ram_gb=64),
    )


async def test_a_join_is_confirmed_only_with_the_counter_that_was_offered(with_machine):
    """A confirmation that comes after the next offer changes nothing."""
    async with with_machine.write() as conn:
        await offered(conn, counter=1)
        await links.confirm_join(conn, "hw_1", 7)
        before = await links.identity(conn, "hw_1", key_id(AGENT_KEY))
        await links.confirm_join(conn, "hw_1", 1)
        after = await links.identity(conn, "hw_1", key_id(AGENT_KEY))
        machine = await records.get(conn, Machine, "hw_1")
    assert before is not None
    assert after is not None
    assert machine is not None
    assert (before.join_confirmed, after.join_confirmed) == (0, 1)
    assert (machine.os, machine.ram_gb) == ("Debian 12", 64)


def a_report(seq: int, outbox_id="ob_1", hardware_id="hw_1", **changes) -> Report:
    usual = Report(
        hardware_id=hardware_id,
        outbox_id=outbox_id,
        seq=seq,
        boot_id="b",
        collected_at=NOW,
        received_at=NOW + timedelta(seconds=seq),
        at=NOW + timedelta(seconds=seq),
        indicators=b'{"n":%d}' % seq,
    )
    return structs.replace(usual, **changes)


async def latest(database) -> object:
    async with database.read() as conn:
        machine = await records.get(conn, Machine, "hw_1")
    assert machine is not None
    return (machine.health_indicators or {}).get("n")


async def commit(database, *reports) -> None:
    async with database.write() as conn:
        await health.commit(conn, reports)


async def test_the_newest_report_stands_on_the_machine(with_machine):
    """Within a batch and over batches, however they arrive; repeats change nothing."""
    async with with_machine.write() as conn:
        await offered(conn)
    await commit(with_machine, a_report(2), a_report(1), a_report(2))
    assert await latest(with_machine) == 2
    await commit(with_machine, a_report(1), a_report(0))
    assert await latest(with_machine) == 2
    await commit(with_machine, a_report(3))
    assert await latest(with_machine) == 3
    async with with_machine.read() as conn:
        rows = await health.history(conn, "hw_1", NOW, NOW + timedelta(hours=1), 10)
    assert [row["seq"] for row in rows] == [3, 2, 1, 0]
    assert rows[0]["indicators"] == {"n": 3}


async def test_numbers_of_a_new_outbox_are_no_repeats(with_machine):
    """A machine that lost its outbox starts at 1 again, and nothing of it is dropped."""
    async with with_machine.write() as conn:
        await offered(conn)
    await commit(with_machine, a_report(50))
    async with with_machine.write() as conn:
        await offered(conn, outbox_id="ob_2", counter=2)
    await commit(with_machine, a_report(1, outbox_id="ob_2"), a_report(51, outbox_id="ob_1"))
    assert await latest(with_machine) == 1


async def test_old_reports_are_dropped_by_the_time_they_were_received(with_machine):
    """Retention does not trust the machine's clock."""
    await commit(with_machine, a_report(1), a_report(2), a_report(3))
    async with with_machine.write() as conn:
        assert await health.drop_before(conn, NOW + timedelta(seconds=3)) == 2


async def test_order_numbers_grow_by_one_even_under_a_race(with_machine):
    """Five orders at once get five numbers."""

    async def one() -> int:
        async with with_machine.write() as conn:
            return await commands.next_seq(conn, "hw_1")

    assert sorted(await asyncio.gather(*(one() for _ in range(5)))) == [1, 2, 3, 4, 5]
    assert await code_of(with_machine, lambda conn: commands.next_seq(conn, "hw_0")) is Code.NOT_FOUND


async def test_a_command_moves_only_from_the_states_named(with_machine):
    """A guarded statement: a result after the end changes nothing."""
    async with with_machine.write() as conn:
        await commands.insert(conn, a_command())
        assert not await commands.advance(conn, "cmd_1", State.RUNNING, now=NOW, allowed_from=FROM[State.RUNNING])
        assert await commands.advance(conn, "cmd_1", State.SENT, now=NOW, allowed_from=FROM[State.SENT])
        done = FROM[State.SUCCEEDED]
        assert await commands.advance(conn, "cmd_1", State.SUCCEEDED, now=NOW, allowed_from=done, result="{}")
        assert not await commands.advance(conn, "cmd_1", State.FAILED, now=NOW, allowed_from=FROM[State.FAILED])
        row = await commands.get(conn, "cmd_1")
    assert row is not None
    assert (row.state, row.sent_at, row.finished_at, row.result) == ("succeeded", NOW, NOW, "{}")


async def test_of_two_results_at_once_one_is_stored(with_machine):
    """The same result over two links makes one change."""
    async with with_machine.write() as conn:
        await commands.insert(conn, a_command(state="running"))

    async def end(state: State) -> bool:
        async with with_machine.write() as conn:
            return await commands.advance(conn, "cmd_1", state, now=NOW, allowed_from=FROM[state])

    assert sorted(await asyncio.gather(*(end(State.SUCCEEDED) for _ in range(4)))) == [False, False, False, True]


async def test_commands_wait_in_the_order_of_their_numbers(with_machine):
    """What is open is sent again, oldest first; what has ended is not."""
    async with with_machine.write() as conn:
        for number, state in ((3, "queued"), (1, "sent"), (2, "succeeded"), (4, "unknown")):
            await commands.insert(conn, a_command(number, state=state))
        assert [row.seq for row in await commands.open_for(conn, "hw_1", OPEN)] == [1, 3, 4]
        assert [row.seq for row in await commands.page(conn, "hw_1", "sent", None, 10)] == [1]


async def test_expiry_and_silence_touch_only_their_states(with_machine):
    """What was accepted does not expire; what waits does not become unknown."""
    async with with_machine.write() as conn:
        for number, state in ((1, "queued"), (2, "accepted")):
            await commands.insert(conn, a_command(number, state=state))
        late = NOW + timedelta(hours=1)
        assert [row.seq for row in await commands.expire(conn, late, FROM[State.EXPIRED])] == [1]
        assert await commands.silence(conn, "hw_1", FROM[State.UNKNOWN]) == 1
        states = [row.state for row in await commands.page(conn, None, None, None, 10)]
    assert states == ["expired", "unknown"]


async def test_an_account_is_current_until_it_is_wiped(with_machine):
    """A later grant of the same name is another account, and a repeated grant is one."""
    row = {"hardware_id": "hw_1", "username": "tenant", "uid": 2000, "booking_id": None, "command_id": "cmd_1"}
    async with with_machine.write() as conn:
        await commands.insert(conn, a_command(kind="access_grant"))
        for _ in range(2):
            await accounts.record_grant(conn, **row, generation="g1", granted_at=NOW)
        first = await accounts.current(conn, "hw_1", "tenant")
        await accounts.mark_wiped(conn, "hw_1", "g1", NOW)
        gone = await accounts.current(conn, "hw_1", "tenant")
        await accounts.record_grant(conn, **row, generation="g2", granted_at=NOW + timedelta(days=1))
        second = await accounts.current(conn, "hw_1", "tenant")
    assert first is not None
    assert second is not None
    assert (first.generation, gone, second.generation) == ("g1", None, "g2")


async def test_a_change_of_presence_is_told_everywhere_at_once(with_machine):
    """Ledger, live row and machine record agree."""
    change = Transition(
        hardware_id="hw_1",
        at=NOW,
        told_at=NOW + timedelta(seconds=2),
        from_state="never",
        to_state="online",
        status="online",
        cause="first_report",
    )
    async with with_machine.write() as conn:
        await presence.record(conn, [change])
        live = await presence.find(conn, "hw_1")
        machine = await records.get(conn, Machine, "hw_1")
        (event,) = await presence.events(conn, "hw_1", 10)
    assert live is not None
    assert machine is not None
    assert (live.presence, live.presence_since, machine.provider_agent_status) == ("online", NOW, "online")
    assert (event.from_state, event.to_state, event.cause) == ("never", "online", "first_report")
    assert (event.at, event.told_at) == (NOW, NOW + timedelta(seconds=2))


async def test_a_revoked_token_is_revoked_once(database):
    """The second time there is nothing left to revoke."""
    token = ApiToken(token_id="rps_1", secret_sha256="x", name="n", role="admin", created_at=NOW)
    async with database.write() as conn:
        await tokens.create(conn, token)
        assert await tokens.revoke(conn, "rps_1", NOW)
        assert not await tokens.revoke(conn, "rps_1", NOW)
        assert not await tokens.revoke(conn, "rps_0", NOW)


async def test_the_first_answer_under_an_idempotency_key_stays(database):
    """Who comes first has no answer yet; who comes second gets the first one's, also for another request."""
    async with database.write() as conn:
        first = await idempotency.claim(conn, actor="a", key="k", request_sha256="x", now=NOW)
        await idempotency.answer(conn, actor="a", key="k", status=202, body="one")
    async with database.write() as conn:
        second = await idempotency.claim(conn, actor="a", key="k", request_sha256="y", now=NOW)
        other = await idempotency.claim(conn, actor="b", key="k", request_sha256="y", now=NOW)
        assert await idempotency.forget(conn, NOW + timedelta(seconds=1)) == 2
    assert first == idempotency.First(request_sha256="x")
    assert second == idempotency.First(request_sha256="x", status=202, body="one")
    assert other == idempotency.First(request_sha256="y")


async def test_writes_together_are_kept_or_lost_together(with_machine):
    """A nested write joins; an error after it takes it back too."""
    with pytest.raises(ZeroDivisionError):
        async with with_machine.together():
            async with with_machine.write() as conn:
                await idempotency.claim(conn, actor="a", key="k", request_sha256="x", now=NOW)
            raise ZeroDivisionError
    async with with_machine.write() as conn:
        again = await idempotency.claim(conn, actor="a", key="k", request_sha256="y", now=NOW)
    assert again.request_sha256 == "y"


async def test_a_failed_transaction_leaves_nothing(with_machine):
    """An error after a write takes the write back."""
    with pytest.raises(ZeroDivisionError):
        async with with_machine.write() as conn:
            await add_machine(conn, "hw_9")
            raise ZeroDivisionError
    async with with_machine.read() as conn:
        assert await records.get(conn, Machine, "hw_9") is None
