"""What a wipe makes of GPUs that it has seen: pure decisions."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.wiper.gpu.gpus import MARGIN_MIB, TOLD, WORDS, GpuRecord, GpuUser, Seen, changed, judge, left_over, restores
from agent.wiper.gpu.scrub import hindrance
from agent.wiper.tenant.accounts import Tenant

values = st.none() | st.integers(0, 3)
records = st.builds(
    GpuRecord, uuid=st.just("GPU-1"), memory_mib=st.just(500), processes_mib=st.just(0), **dict.fromkeys(WORDS, values)
)
numbers = st.integers(0, 100_000)
BEFORE = GpuRecord(uuid="GPU-1", persistence=1, power_limit_mw=700_000, ecc_pending=1, memory_mib=500, processes_mib=0)


def seen(now: GpuRecord = BEFORE, *users: GpuUser) -> Seen:
    return Seen(now=now, users=users)


def put_back(before: GpuRecord, now: GpuRecord) -> GpuRecord:
    """What a driver that obeys makes of the restores."""
    for one in restores(before, now):
        if one.setting == "clocks":
            if len(one.values) == 2:
                now = replace(now, memory_clock_mhz=one.values[0], graphics_clock_mhz=one.values[1])
        else:
            now = replace(now, **{one.setting: one.values[0]})
    return now


@given(records, records)
def test_what_is_put_back_no_longer_differs(before, now):
    """All but what takes a restart; and clocks of which only one was recorded, which are reset and looked at again."""
    after = set(changed(before, put_back(before, now)))
    clocks = {"graphics_clock_mhz", "memory_clock_mhz"}
    whole = None not in (before.graphics_clock_mhz, before.memory_clock_mhz)
    assert after <= TOLD | (set() if whole else clocks)
    assert after & TOLD == set(changed(before, now)) & TOLD


@given(records)
def test_an_unchanged_gpu_is_clean(record):
    """Whatever of it can be read."""
    assert judge((record,), (seen(record),), ()) == (0, (), ())
    assert restores(record, record) == ()


@given(records, records)
def test_a_gpu_is_clean_only_where_everything_is_as_recorded(before, now):
    """A setting that can no longer be read is a doubt, one with another value is a residue."""
    verdict = judge((before,), (seen(now),), ())
    assert (verdict == (0, (), ())) == (before == now)


@given(records, records)
def test_persistence_goes_on_before_the_rest_and_off_after_it(before, now):
    """Without it the driver may forget what it was told."""
    names = [one.setting for one in restores(before, now)]
    if "persistence" in names:
        assert names.index("persistence") == (0 if before.persistence else len(names) - 1)


@given(numbers, numbers, numbers, numbers)
def test_memory_is_nobodys_beyond_the_baseline_and_what_living_processes_say(used, baseline, lives, ended):
    """What NVML lists for a process that has ended counts for nothing."""
    before = replace(BEFORE, memory_mib=baseline)
    found = left_over(before, seen(replace(BEFORE, memory_mib=used), GpuUser(7, lives), GpuUser(8, ended)), {7})
    more = max(0, used - lives) - baseline
    assert found == (more if more > MARGIN_MIB else 0)


def test_memory_of_processes_at_the_grant_is_no_baseline():
    """They may have ended; what the tenant leaves must not hide in what they had."""
    before = replace(BEFORE, memory_mib=10_500, processes_mib=10_000)
    assert left_over(before, seen(replace(BEFORE, memory_mib=9_000)), ()) == 8_500


def test_memory_that_a_process_does_not_tell_of_leaves_a_doubt():
    """Nobody can say then what is left."""
    verdict = judge((BEFORE,), (seen(BEFORE, GpuUser(7)),), {7})
    assert verdict == (0, (), ("whose the memory in use is cannot be told",))


def test_memory_in_use_by_nobody_is_told_in_mib():
    """And counts as one thing left."""
    verdict = judge((BEFORE,), (seen(replace(BEFORE, memory_mib=2_000)),), ())
    assert verdict == (1, ("1500 MiB of GPU memory in use by nobody",), ())


def test_pending_modes_are_told_and_not_put_back():
    """A restart is the provider's to decide."""
    now = replace(BEFORE, ecc_pending=0)
    assert restores(BEFORE, now) == ()
    assert judge((BEFORE,), (seen(now),), ()).residues == ("another pending ECC mode than at the grant",)


def test_gpus_that_come_and_go_are_doubts():
    """By UUID: another card in the same slot is another card."""
    verdict = judge((BEFORE,), (seen(replace(BEFORE, uuid="GPU-2")),), ())
    assert verdict.doubts == ("1 GPU of the grant is missing", "1 GPU was not there at the grant")


def test_a_gpu_that_is_lost_is_a_doubt():
    """It stands in the list, and says nothing."""
    verdict = judge((BEFORE,), (Seen(now=GpuRecord(), error="GPU is lost"),), ())
    assert verdict.doubts == ("1 GPU of the grant is missing", "1 GPU cannot be read")


def test_a_gpu_that_could_not_be_read_at_the_grant_is_a_doubt():
    """Whether it answers now or not."""
    assert judge((GpuRecord(),), (seen(),), ()).doubts == (
        "1 GPU was not there at the grant",
        "1 GPU could not be read then",
    )
    assert judge((GpuRecord(uuid="GPU-1"),), (seen(),), ()).doubts


def test_without_a_record_nothing_is_clean():
    """What was there before cannot be told from what the tenant left."""
    assert judge(None, (seen(),), ()).doubts == ("no record of the GPUs from the grant",)


def test_records_of_tenants_from_before_still_are_read():
    """A journal is never rewritten."""
    text = b'{"name":"a","uid":1000,"home":"/home/a","generation":"0","booking_id":null,"command_id":"c",'
    tenant = msgspec.json.decode(text + b'"granted_at":"2026-01-01T00:00:00Z"}', type=Tenant)
    assert tenant.gpus is None
    kept = replace(tenant, gpus=(BEFORE,))
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Tenant) == kept


def test_memory_is_filled_only_where_nobody_is_hurt():
    """Somebody who computes there would find none left; of a divided GPU only a part would be reached."""
    assert hindrance(seen()) is None
    assert hindrance(seen(BEFORE, GpuUser(7, 1))) == "other processes use it"
    assert hindrance(Seen(now=BEFORE)) == "who uses it is not known"
    assert hindrance(Seen(now=GpuRecord(), error="GPU is lost")) == "it cannot be read"
    assert hindrance(seen(replace(BEFORE, mig=1))) == "it is divided (MIG)"
