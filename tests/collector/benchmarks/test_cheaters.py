"""Machines that cheat, each sending a signed outcome as a real agent does: every one is flagged, none is turned away."""

import json
from datetime import timedelta

import pytest
from msgspec import structs

from collector.benchmarks.challenges import Mode
from collector.store import links, records
from shared.codes import Code, Trouble
from shared.documents import BenchmarkOutcome, write
from shared.envelope import seal
from shared.flags import FlagCode
from shared.messages import Result
from shared.records import Assurance, Benchmark
from tests.collector.measuring import (
    FACTS,
    ORDER_KEY,
    RUN,
    SERVER,
    Site,
    a_gpu,
    agent_key,
    codes,
    component,
    cpu,
    disk,
    gpu,
    gpu_details,
    witness,
)


@pytest.fixture
async def site(database, tmp_path):
    """A collector that challenges in earnest and has a measuring server; hw_1 and hw_2 are its machines."""
    made = Site(database, tmp_path, Mode.ON, SERVER)
    await made.add("hw_1", "hw_2")
    return made


async def honest_network(site, order, gbps: float = 9.3, **changes):
    return component(
        "network", {"network_bandwidth_gbps": gbps}, link_bit_s=25_000_000_000, witness=witness(order, **changes)
    )


async def test_an_honest_machine_bears_no_flag(site):
    """All four components, the challenge answered: unflagged and challenged."""
    order, envelope = await site.order()
    parts = (cpu(), disk(), gpu(), await honest_network(site, order))
    row = await site.take(site.outcome(order, envelope, *parts))
    assert row.flags == ()
    assert (row.flagged, row.assurance) == (False, Assurance.CHALLENGED)
    assert (row.cpu_score, row.network_bandwidth_gbps) == (8123.45, 9.3)


@pytest.mark.parametrize(
    ("parts", "code", "figure", "words"),
    [
        ([disk(read={"device_share": 0.02})], FlagCode.CACHED, "disk_read_mb_s", "0.02"),
        (
            [disk(write={"device_share": 0.0}, read={"device_share": 0.0})],
            FlagCode.NOT_WRITTEN,
            "disk_write_mb_s",
            "0.00",
        ),
        ([disk(packed=0.01)], FlagCode.COMPRESSIBLE, "disk_read_mb_s", "shrink to 0.01"),
        ([disk(read={}, write={})], FlagCode.NO_PROOF, "disk_read_mb_s", "not tell"),
        ([disk(read_mb_s=7600.5)], FlagCode.OVER_LINK, "disk_read_mb_s", "7,600.5 MB/s over a link of 7,876.92"),
        (
            [disk(device={"model": "ST16000", "rotational": True, "layers": ["sda1", "sda"]})],
            FlagCode.TOO_FAST_FOR_PLATTERS,
            "disk_read_mb_s",
            "rotating",
        ),
        ([cpu(), disk(read_mb_s=31_000.0, device={})], FlagCode.OVER_MEMORY, "disk_read_mb_s", "120 GB/s"),
        ([gpu(a_gpu(name="NVIDIA GeForce RTX 4090", fp16=150.0, fp32=60.0))], FlagCode.FALSE_NAME, None, "132 multi"),
        ([gpu(a_gpu(clock_mhz=2600.0))], FlagCode.FALSE_NAME, None, "2600 MHz"),
        ([gpu(a_gpu(fp16=9191.5, fp32=575.0))], FlagCode.OVER_BOUND, "gpu_throughput_fp16", "is 10.00 of 919"),
        ([gpu(a_gpu(fp16=65.0, fp32=25.0))], FlagCode.UNDER_BOUND, "gpu_throughput_fp16", "is 0.07 of"),
        ([gpu(a_gpu(fp16=920.0, fp32=26.5))], FlagCode.ODD_RATIO, None, "34.7 x"),
        ([gpu(a_gpu(name="NVIDIA L40S", sms=142, fp16=240.0, fp32=60.0))], FlagCode.OTHER_GPU, None, "L40S"),
        ([gpu(a_gpu(), a_gpu(uuid="GPU-2"))], FlagCode.OTHER_GPU, None, "2 x NVIDIA"),
        ([component("gpu", {"gpu_throughput_fp16": 700.0})], FlagCode.NO_BOUND, "gpu_throughput_fp16", "which GPUs"),
        ([cpu(score=20_000.0)], FlagCode.OVER_THREADS, "cpu_score", "19.7 x with 16"),
    ],
)
async def test_a_figure_that_cannot_be_is_flagged(site, parts, code, figure, words):
    """Cached, unwritten, packed, faster than the link or the model: told with the numbers, stored all the same."""
    row = await site.run(*parts)
    found = [one for one in row.flags if (one.code, one.figure) == (code, figure)]
    assert found, row.flags
    assert words in found[0].words
    assert (found[0].shadow, row.flagged) == (False, True)
    assert all(getattr(row, name) == value for part in parts for name, value in part.figures.items())


async def test_a_figure_that_its_component_did_not_measure_is_flagged(site):
    """The record's figure is not the component's, nor the GPUs' sum."""
    row = await site.run(cpu(), gpu(), cpu_score=9999.5)
    assert [(one.code, one.figure) for one in row.flags] == [(FlagCode.UNEXPLAINED, "cpu_score")]
    part = gpu()
    doubled = structs.replace(part, figures={name: 2 * value for name, value in part.figures.items()})
    row = await site.run(doubled, hardware_id="hw_1")
    assert FlagCode.UNEXPLAINED in codes(row)


async def test_a_gpu_is_in_one_machine(site):
    """The second machine that measures it is flagged, with the name of the first."""
    assert (await site.run(gpu())).flags == ()
    row = await site.run(gpu(a_gpu(fp16=699.5, fp32=47.9)), hardware_id="hw_2")
    (found,) = row.flags
    assert (found.code, found.words) == (FlagCode.GPU_ELSEWHERE, "GPU-1111 was measured in hw_1")


# The challenge.


async def test_a_replayed_answer_is_flagged(site):
    """The same machine's answer to an earlier order."""
    first, envelope = await site.order(names="cpu")
    old = site.outcome(first, envelope, cpu())
    await site.take(old)
    row = await site.run(cpu(score=8000.11, single=1000.1), challenge=old.challenge)
    assert codes(row) == {FlagCode.CHALLENGE_REPLAYED}
    assert row.assurance is Assurance.SELF_REPORTED


async def test_another_machine_s_nonce_is_flagged(site):
    """An answer that was right for its neighbour, with the nonce as it was or with this order's."""
    other, envelope = await site.order("hw_2", names="cpu")
    answer = site.outcome(other, envelope, cpu()).challenge
    assert codes(await site.run(cpu(), challenge=answer)) == {FlagCode.CHALLENGE_REPLAYED}
    mine, envelope = await site.order(names="cpu")
    outcome = site.outcome(mine, envelope, cpu(score=8100.22, single=1010.3))
    told = structs.replace(outcome.challenge, product_sha256=answer.product_sha256)
    row = await site.take(structs.replace(outcome, challenge=told))
    assert codes(row) == {FlagCode.CHALLENGE_WRONG}
    assert row.assurance is Assurance.SELF_REPORTED


async def test_no_answer_and_a_late_one_are_flagged(site):
    """Later than an hour after it was sent, or with more work in it than there was time."""
    assert codes(await site.run(cpu(), challenge=None)) == {FlagCode.CHALLENGE_MISSING}
    order, envelope = await site.order(names="cpu")
    outcome = site.outcome(order, envelope, cpu(score=8100.22, single=1010.3))
    site.now += timedelta(hours=1)
    assert codes(await site.take(outcome)) == {FlagCode.CHALLENGE_LATE}
    order, envelope = await site.order(names="cpu")
    outcome = site.outcome(order, envelope, cpu(score=8200.33, single=1020.4))
    slow = structs.replace(outcome.challenge, took_s=500.0)
    assert codes(await site.take(structs.replace(outcome, challenge=slow))) == {FlagCode.CHALLENGE_LATE}


async def test_an_answer_of_a_gpu_that_was_not_measured_is_flagged(site):
    """It says on which it was computed."""
    order, envelope = await site.order(names="gpu")
    outcome = site.outcome(order, envelope, gpu())
    there = structs.replace(outcome.challenge, computed_on="GPU-1111")
    assert (await site.take(structs.replace(outcome, challenge=there))).flags == ()
    order, envelope = await site.order(names="gpu")
    outcome = site.outcome(order, envelope, gpu(a_gpu(fp16=699.5, fp32=47.9)))
    away = structs.replace(outcome.challenge, computed_on="GPU-9")
    assert codes(await site.take(structs.replace(outcome, challenge=away))) == {FlagCode.CHALLENGE_ELSEWHERE}


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
async def test_a_challenge_on_trial_counts_for_nothing(database, tmp_path, mode):
    """In shadow it is told and raises nothing; when it is off nobody is asked."""
    site = Site(database, tmp_path, mode)
    await site.add("hw_1")
    row = await site.run(cpu())
    assert (row.flags, row.assurance) == ((), Assurance.SELF_REPORTED)
    row = await site.run(cpu(score=8100.22, single=1010.3), challenge=None)
    assert codes(row, shadow=True) == ({FlagCode.CHALLENGE_MISSING} if mode is Mode.SHADOW else set())
    assert (codes(row), row.flagged) == (set(), False)


# Time.


async def test_what_ended_before_it_started_is_flagged(site):
    """By the machine's own clock."""
    started = site.now + timedelta(seconds=50)
    row = await site.run(cpu(), started_at=started, collected_at=started - timedelta(seconds=8))
    (found,) = row.flags
    assert (found.code, found.words) == (FlagCode.ENDED_BEFORE_START, "it ended 8.0 s before it started")


async def test_what_started_before_it_was_ordered_is_flagged(site):
    """Beyond what the machine's clock may be off."""
    row = await site.run(cpu(), started_at=site.now - timedelta(minutes=6))
    assert codes(row) == {FlagCode.STARTED_BEFORE_ORDER}
    row = await site.run(cpu(score=8100.22, single=1010.3), started_at=site.now - timedelta(minutes=4))
    assert codes(row) == set()


async def test_what_ended_after_its_result_was_here_is_flagged(site):
    """A result from the future would always be the newest."""
    row = await site.run(cpu(), collected_at=site.now + timedelta(days=400))
    assert codes(row) == {FlagCode.ENDED_AFTER_RECEIPT}


async def test_a_clock_that_is_known_to_be_wrong_is_reckoned_with(site):
    """The machine joined with its clock a day ahead; what it tells is a day ahead as well."""
    async with site.database.write() as conn:
        await links.offer_join(
            conn,
            "hw_1",
            confirmed=0,
            offered=1,
            boot_id="b",
            outbox_id="o",
            agent_version="0.1.0",
            policy_hash="p",
            clock_skew_ms=86_400_000,
            facts=FACTS,
        )
    day = timedelta(days=1)
    row = await site.run(cpu(), started_at=site.now + day, collected_at=site.now + day + RUN)
    assert codes(row) == set()
    row = await site.run(cpu(score=8100.22, single=1010.3))
    assert codes(row) == {FlagCode.STARTED_BEFORE_ORDER}


async def test_more_work_than_there_was_time_is_flagged(site):
    """What its components say they took is more than passed between the order and the answer."""
    row = await site.run(structs.replace(cpu(), took_s=RUN.total_seconds() + 5))
    (found,) = row.flags
    assert found.code is FlagCode.NO_TIME_FOR_IT
    assert "205.0 s" in found.words


# The measuring server.


@pytest.mark.parametrize(
    ("gbps", "changes", "code"),
    [
        (9.6, {}, FlagCode.OVER_WITNESS),
        (9.3, {"key": ORDER_KEY}, FlagCode.WITNESS_FORGED),
        (9.3, {"ticket_id": "tkt_0"}, FlagCode.WITNESS_FOREIGN),
        (9.3, {"hardware_id": "hw_2"}, FlagCode.WITNESS_FOREIGN),
        (30.0, {"up_bit_s": 30_000_000_000, "down_bit_s": 30_000_000_000}, FlagCode.OVER_LINK),
    ],
)
async def test_bandwidth_is_what_the_server_saw(site, gbps, changes, code):
    """No more than it, signed by it, about this very ticket, and no more than the link."""
    order, envelope = await site.order(names="network")
    part = await honest_network(site, order, gbps, **changes)
    assert codes(await site.take(site.outcome(order, envelope, part))) == {code}


@pytest.mark.parametrize(
    ("told", "code"),
    [(None, FlagCode.WITNESS_MISSING), ("the server said so", FlagCode.WITNESS_FORGED), ({}, FlagCode.WITNESS_FORGED)],
)
async def test_bandwidth_without_the_server_s_word_is_flagged(site, told, code):
    """Only this machine says so, or what it shows for it is nothing."""
    part = component("network", {"network_bandwidth_gbps": 9.3}, witness=told)
    assert codes(await site.run(part)) == {code}


# The fleet and the machine's own past.


async def test_a_figure_far_from_its_model_s_is_flagged(site):
    """Eight machines of the model agree within 2 %; the ninth is half again as fast."""
    await site.fleet(8, lambda n: cpu(8000.111 + 20 * n, 1000.222 + 3 * n))
    row = await site.run(cpu(12_000.5, 1010.5))
    (found,) = row.flags
    assert (found.code, found.figure) == (FlagCode.OUTLIER, "cpu_score")
    assert "the median of 8 machines" in found.words
    row = await site.run(cpu(8123.4, 1300.5), hardware_id="hw_2")
    assert codes(row) == {FlagCode.OFF_MODEL}


async def test_seven_machines_are_too_few_to_tell_who_is_odd(site):
    """And those that are marked or flagged themselves do not count among them."""
    await site.fleet(7, lambda n: cpu(8000.111 + 20 * n, 1000.222 + 3 * n))
    await site.run(structs.replace(cpu(8111.1, 1001.1), marks=("throttled",)), hardware_id="hw_2")
    assert (await site.run(cpu(12_000.5, 1010.5))).flags == ()


async def test_neither_another_version_nor_another_model_is_compared_with(site):
    """Eight machines agree; one measured by another method, and one with another CPU, are not held against them."""
    await site.fleet(8, lambda n: cpu(8000.111 + 20 * n, 1000.222 + 3 * n))
    newer = structs.replace(cpu(12_000.5, 1300.5), method_version="cpu/2")
    assert (await site.run(newer)).flags == ()
    await site.add("hw_3", facts=structs.replace(FACTS, cpu_model="AMD EPYC 9654"))
    assert (await site.run(cpu(12_000.6, 1300.6), hardware_id="hw_3")).flags == ()


async def test_an_earlier_result_sent_again_is_flagged(site):
    """Two figures, digit for digit, of the machine's own or of another's; one alone can be chance."""
    await site.run(disk())
    assert codes(await site.run(disk())) == {FlagCode.REPLAYED}
    row = await site.run(disk(), hardware_id="hw_2")
    assert codes(row) == {FlagCode.REPLAYED}
    assert "disk_read_mb_s and disk_write_mb_s are those of bmk_" in row.flags[0].words
    assert (await site.run(disk(write_mb_s=2790.551), hardware_id="hw_2")).flags == ()


async def test_a_jump_with_the_same_hardware_is_flagged(site):
    """A third faster than last time; on another disk it is no jump, nor in another method version."""
    await site.run(disk())
    assert codes(await site.run(disk(4700.5, 2900.5))) == {FlagCode.JUMP}
    other = {"model": "P5510", "rotational": False, "link_mb_s": 7876.0}
    assert (await site.run(disk(4700.6, 3900.6, device=other))).flags == ()
    assert (await site.run(structs.replace(disk(4700.7, 3900.7), method_version="disk/2"))).flags == ()


# What is never stored.


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1.0", "1e999"])
async def test_what_is_no_figure_is_not_stored(site, text):
    """Not finite, or negative: the document itself is refused, whoever signed it."""
    order, envelope = await site.order(names="cpu")
    plain = json.loads(write(site.outcome(order, envelope, cpu())))
    raw = json.dumps(plain | {"cpu_score": "@"}).replace('"@"', text).encode()
    signed = seal(BenchmarkOutcome.PAYLOAD_TYPE, raw, agent_key("hw_1"))
    with pytest.raises(Trouble) as caught:
        await site.results.take("hw_1", Result(command_id=order.command_id, envelope=signed))
    assert caught.value.code is Code.MALFORMED
    async with site.database.read() as conn:
        assert await records.page(conn, Benchmark, {}, None, 10) == []


async def test_half_a_character_in_the_details_is_not_stored(site):
    """It could not be written into any answer again: one machine would spoil the list for everybody."""
    order, envelope = await site.order(names="cpu")
    raw = write(site.outcome(order, envelope, cpu(note="@"))).replace(b'"@"', b'"\\ud800"')
    signed = seal(BenchmarkOutcome.PAYLOAD_TYPE, raw, agent_key("hw_1"))
    with pytest.raises(Trouble) as caught:
        await site.results.take("hw_1", Result(command_id=order.command_id, envelope=signed))
    assert caught.value.code is Code.MALFORMED


async def test_a_figure_beyond_any_hardware_becomes_null_with_its_number_told(site):
    """The others stand; the component says why there is none."""
    row = await site.run(cpu(), disk(read_mb_s=2e6))
    assert (row.disk_read_mb_s, row.disk_write_mb_s, row.cpu_score) == (None, 2801.119, 8123.45)
    (found,) = row.flags
    assert (found.code, found.figure) == (FlagCode.ABSURD, "disk_read_mb_s")
    assert "2e+06" in found.words
    told = row.details["disk"]
    assert (told["code"], told["figures"]) == ("absurd", {"disk_write_mb_s": 2801.119})
    assert "disk_read_mb_s = 2e+06" in told["reason"]


# What is put where no rule looks.


async def test_a_figure_in_another_component_s_place_is_flagged(site):
    """A disk's among the CPU's would meet none of the disk's rules and none of its peers."""
    part = structs.replace(cpu(), figures={"cpu_score": 8123.45, "disk_read_mb_s": 9000.25})
    row = await site.run(part)
    assert [(one.code, one.figure) for one in row.flags] == [(FlagCode.UNEXPLAINED, "disk_read_mb_s")]


async def test_one_figure_in_two_components_is_stored_once(site):
    """Two points of one name would keep the result from being stored, for ever."""
    row = await site.run(cpu(), component("disk", {"cpu_score": 8123.45}))
    assert row.cpu_score == 8123.45


@pytest.mark.parametrize(
    ("found", "figures", "code"),
    [
        ([a_gpu(fp16=None)], (5000.5, 48.2231), FlagCode.UNEXPLAINED),
        ([a_gpu(clock_mhz=None, fp16=5000.5)], (5000.5, 48.2231), FlagCode.NO_BOUND),
        ([a_gpu(uuid=None)], (702.117, 48.2231), FlagCode.NO_PROOF),
        ([a_gpu(), a_gpu()], (1404.234, 96.4462), FlagCode.GPU_ELSEWHERE),
        ([a_gpu(name="Tesla T4", sms=40, clock_mhz=5e-324)], (702.117, 48.2231), FlagCode.OVER_BOUND),
    ],
    ids=["no rate", "no clock", "no uuid", "twice", "next to no clock"],
)
async def test_a_gpu_that_leaves_out_what_would_bound_it_is_flagged(site, found, figures, code):
    """Silence is no way around a rule, nor a clock by which nobody can divide."""
    told = dict(zip(("gpu_throughput_fp16", "gpu_throughput_fp32"), figures, strict=True))
    assert code in codes(await site.run(component("gpu", told, **gpu_details(*found))))


async def test_a_gpu_that_failed_beside_others_is_no_lie(site):
    """The record's figure is then the others' sum."""
    details = gpu_details(a_gpu(), a_gpu(uuid="GPU-2", fp16=None, fp32=None, clock_mhz=None))
    figures = {"gpu_throughput_fp16": 702.117, "gpu_throughput_fp32": 48.2231}
    row = await site.run(component("gpu", figures, **details))
    assert codes(row) == {FlagCode.OTHER_GPU}


async def test_naming_another_machine_s_gpu_harms_only_who_does(site):
    """The machine in which it was measured first is not flagged for what another says later."""
    await site.run(gpu())
    assert FlagCode.GPU_ELSEWHERE in codes(await site.run(gpu(a_gpu(fp16=699.5, fp32=47.9)), hardware_id="hw_2"))
    assert (await site.run(gpu(a_gpu(fp16=701.5, fp32=48.1)))).flags == ()


async def test_many_small_oddities_hide_no_great_one(site):
    """64 GPUs of no known model each raise a flag in shadow; those of the other rules are there all the same."""
    many = [{"uuid": f"GPU-{number}", "name": "NVIDIA X1"} for number in range(64)]
    gpus = component("gpu", {}, **gpu_details(*many))
    row = await site.run(gpus, disk(read={"device_share": 0.0}), challenge=None)
    assert {FlagCode.OTHER_GPU, FlagCode.CACHED, FlagCode.CHALLENGE_MISSING} <= codes(row)
    assert len(row.flags) < 20


@pytest.mark.parametrize("years", [-50, 7950])
async def test_a_clock_thousands_of_years_off_keeps_no_result_from_being_stored(site, years):
    """A machine may join with any time, and no sum of it with another need be a date."""
    async with site.database.write() as conn:
        await links.offer_join(
            conn,
            "hw_1",
            confirmed=0,
            offered=1,
            boot_id="b",
            outbox_id="o",
            agent_version="0.1.0",
            policy_hash="p",
            clock_skew_ms=years * 31_556_952_000,
            facts=FACTS,
        )
    row = await site.run(cpu(), started_at=site.now.replace(year=1970), collected_at=site.now.replace(year=1970))
    assert row.flagged
