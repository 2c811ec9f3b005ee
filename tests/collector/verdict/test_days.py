"""A day of an ordinary machine, and a restart of the collector in the middle of one."""

import random

import msgspec

from collector.verdict import HealthState
from collector.verdict.conclusion import restored, verdict
from collector.verdict.judging import rebase
from tests.collector.verdict.watched import BUS, GPUS, WELL, Watched, as_indicators, with_changes


def noisy(chance: random.Random, hours: float) -> dict:
    """An hour's usual readings: loads come and go, links lose a packet, ECC corrects a bit, a tenant runs out of memory."""
    busy = {gpu: chance.choice([0, 35, 99, 100]) for gpu in GPUS}
    return with_changes(
        {
            "gpu.utilization_percent": busy,
            "gpu.pcie_width": {gpu: 16 if busy[gpu] >= 20 else chance.choice([1, 4, 16]) for gpu in GPUS},
            "gpu.pcie_generation": {gpu: 5 if busy[gpu] >= 50 else chance.choice([1, 2, 5]) for gpu in GPUS},
            "gpu.slowdown_margin_celsius": {gpu: chance.gauss(25, 5) - busy[gpu] / 10 for gpu in GPUS},
            "gpu.throttled_hardware_percent": {gpu: max(0.0, chance.gauss(-5, 8)) for gpu in GPUS},
            "gpu.pcie_replays": {gpu: int(hours * 3) for gpu in GPUS},
            "gpu.ecc_corrected_errors": {GPUS[2]: int(hours * 2)},
            "memory.corrected_errors": {"mc0": 12 + int(hours / 4)},
            "memory.oom_kills": 2 + int(hours / 3),
            "memory.pressure_full_percent": chance.expovariate(0.5),
            "disks.used_percent": {"/": 30 + hours, "/home": min(94.9, max(5.0, chance.gauss(80, 6)))},
            "disks.temperature_celsius": {"nvme0n1": chance.gauss(55, 5)},
            "network.errors": {"eno1": 4 + int(hours * 20)},
            "network.drops": {"eno1": 6 + int(hours * 5000)},
            "network.collector_rtt_ms": chance.expovariate(1 / 40),
            "system.clock_offset_ms": chance.gauss(0, 3),
            "agent.loop_lag_ms": chance.expovariate(1 / 20),
            "processes.stuck": chance.choice([0, 0, 1]),
            "cpu.temperature_celsius": {"package 0": chance.gauss(70, 6)},
        }
    )


def test_a_day_of_noise_makes_no_reason_that_counts() -> None:
    """Two machines over a day each, a report every minute: healthy from the first report to the last."""
    for seed in range(2):
        chance, machine = random.Random(seed), Watched()
        for number in range(1440):
            machine.report(noisy(chance, number / 60), after_s=60)
            assert machine.memory.state is HealthState.HEALTHY, machine.told()
        assert [event.code for event in machine.events if not event.shadow] == ["health"]


def restarted(machine: Watched, last: dict) -> Watched:
    """The same machine after a restart: what is kept is the verdict as stored, and the last report."""
    kept = msgspec.json.decode(msgspec.json.encode(verdict(machine.memory)), type=type(verdict(machine.memory)))
    again = Watched(restored(kept), machine.now)
    rebase(again.memory, as_indicators(last), machine.boot_id)
    return again


def test_a_restart_tells_nothing_again_and_forgets_nothing() -> None:
    """Reasons that stand go on with the time they began; those that end meanwhile are taken back in their time."""
    ill = with_changes(
        {
            "gpu.row_remap_failed": {GPUS[1]: True},
            "kernel_log.xid_reset": {BUS: 1},
            "disks.read_only": {"/home": True},
            "system.failed_units": 2,
        }
    )
    machine = Watched()
    machine.during(1800, ill)
    before = machine.told()
    assert len(before) == 4
    again = restarted(machine, ill)
    assert again.told() == before
    assert again.report(ill, after_s=300) == []
    assert again.during(3600, with_changes({"gpu.row_remap_failed": {GPUS[1]: True}, "kernel_log.xid_reset": {BUS: 1}}))
    assert {code for code, _ in again.told()} >= {"gpu_row_remap_failed"}
    assert ("disk_read_only", "/home") not in again.told()


def test_what_grew_while_the_collector_was_away_is_seen() -> None:
    """The counts of the last stored report are where growth begins."""
    machine = Watched()
    machine.during(1800, WELL)
    again = restarted(machine, WELL)
    again.report(with_changes({"kernel_log.xid_reset": {BUS: 1}, "memory.corrected_errors": {"mc0": 30}}), after_s=7200)
    assert set(again.told()) == {("gpu_xid_reset", BUS), ("memory_corrected", "mc0")}


def test_a_new_machine_and_a_healthy_one_are_restored_as_they_were() -> None:
    """Only a machine that was never judged takes old counts for news."""
    machine = Watched()
    assert restored(verdict(machine.memory)).fresh
    machine.report(WELL)
    again = restored(verdict(machine.memory))
    assert (again.fresh, again.state) == (False, HealthState.HEALTHY)
    assert Watched(again, machine.now).report(with_changes({"kernel_log.xid_reset": {BUS: 5}})) == []
