"""Disk benchmark, its pure parts: how large a file may be, what a figure is, what proves that a device did the work."""

import errno
import io
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarks import Unmeasured
from agent.benchmarks.disk import (
    BLOCK,
    BURST_SLICES,
    CLIFF,
    FULL,
    LEAST_BYTES,
    QUICK,
    RESERVE_BYTES,
    Measured,
    burst_and_sustained_mb_s,
    described,
    job,
    judged,
    marks,
    rate_mb_s,
    reason,
    size_for,
)
from agent.engines.disk import Job, Moved, fio
from agent.engines.disk.device import Device, below, is_virtual
from agent.engines.disk.pace import offsets, percentiles
from agent.engines.disk.phases import Phase
from agent.engines.disk.place import carriers, mounted
from agent.engines.disk.proof import Count, share
from shared.codes import Code, Trouble
from shared.marks import Mark

DISK = Device(layers=("nvme0n1",))
rates = st.floats(0.1, 1e5)


def moved(*series: float, total: int = 10**9, passed_s: float = 10.0) -> Moved:
    return Moved(total_bytes=total, passed_s=passed_s, series_mb_s=series)


def phase(*series: float, proven: float | None = 1.0) -> Phase:
    return Phase(moved=moved(*series), device_share=proven)


@given(st.integers(0, 2**45), st.integers(0, 2**46), st.sampled_from([QUICK, FULL]))
def test_a_benchmark_never_fills_a_disk(free, total, look):
    """A twentieth of what is free, never into the reserve, in whole blocks; or a refusal with the numbers."""
    try:
        size = size_for(free, total, look.most_file_bytes)
    except Trouble as trouble:
        assert trouble.code is Code.NO_SPACE
        assert f"{free / 2**30:.1f} GiB are free" in trouble.detail
        return
    assert LEAST_BYTES <= size <= min(free * 0.05, look.most_file_bytes)
    assert free - size >= max(RESERVE_BYTES, int(total * 0.10))
    assert size % BLOCK == 0


@given(rates, st.lists(rates, min_size=3, max_size=40))
def test_the_figure_is_the_median_after_the_ramp(first, series):
    """However fast or slow the first half second was."""
    figure = rate_mb_s(moved(first, *series))
    assert figure == rate_mb_s(moved(1.0, *series))
    assert round(min(series), 1) <= figure <= round(max(series), 1)


@pytest.mark.parametrize("series", [(), (9.0,), (9.0, 9.0, 9.0), (9.0, 0.0, 0.0, 0.0)])
def test_a_short_or_stalled_phase_uses_all_of_its_time(series):
    """Bytes over seconds; a disk that stalls is slow, it is not at 0."""
    assert rate_mb_s(moved(*series, total=50_000_000, passed_s=0.5)) == 100.0


def test_a_start_and_an_end_are_told_apart():
    """The mean of the first 2 s, the median of the last half; nothing where the two would overlap."""
    assert burst_and_sustained_mb_s([400.0, 600.0, 500.0, 500.0, 300.0, 100.0, 100.0, 90.0]) == (500.0, 100.0)
    assert burst_and_sustained_mb_s([1.0] * (2 * BURST_SLICES - 1)) is None


STEADY = (100.0,) * 8


@pytest.mark.parametrize(
    ("phases", "device", "expected"),
    [
        ((phase(*STEADY), phase(*STEADY)), DISK, ()),
        ((phase(*STEADY), phase(*STEADY, proven=0.94)), DISK, (Mark.CACHED,)),
        ((phase(*STEADY, proven=0.0), phase(*STEADY)), DISK, (Mark.CACHED,)),
        ((phase(*STEADY, proven=None), phase(*STEADY, proven=None)), None, (Mark.UNPROVEN,)),
        ((phase(*STEADY), phase(*STEADY)), Device(layers=("loop0",), software=True), (Mark.UNPROVEN,)),
        ((phase(*STEADY), phase(*STEADY)), Device(layers=("vda",), virtual=True), (Mark.VIRTUALIZED,)),
        ((phase(*STEADY[:4], *[99.0 * CLIFF] * 4), phase(*STEADY)), DISK, (Mark.CLIFF,)),
        ((phase(*STEADY[:4], *[101.0 * CLIFF] * 4), phase(*STEADY)), DISK, ()),
    ],
)
def test_a_figure_is_kept_and_marked(phases, device, expected):
    """Each mark for its own reason."""
    assert marks(phases, device) == expected


def measured(packed: float, one: Phase) -> Measured:
    return Measured(write=one, read=one, written_bytes=BLOCK, flush_s=0.0, packed=packed)


def test_a_file_that_can_be_compressed_gives_no_figure():
    """Somebody else's data was written: a reason, and what was seen all the same."""
    with pytest.raises(Unmeasured, match="shrink to 1%") as told:
        judged(measured(0.01, phase(*STEADY)), DISK, {})
    assert told.value.code is Code.BENCHMARK_FAILED
    assert told.value.details["write"]["series_mb_s"]


def test_details_stay_small():
    """At most 8 kB, with the longest phases on a disk of many layers and long names."""
    longest = int(FULL.sequential_s / 0.5)
    one = phase(*[123456.789] * longest)
    device = Device(layers=("dm-100 " + "x" * 73,) * 16, model="m" * 80, link="l" * 40, scheduler="mq-deadline")
    fixed = {"directory": "d" * 200, "mount_options": "o" * 200, "device": msgspec.to_builtins(device)}
    small = {"iops": 10**7, "latency_us": {"p50": 1e6, "p99": 1e6, "p99_9": 1e6}, "device_share": 1.0}
    found = judged(measured(1.0, one), device, {**fixed, "random": {"read": small, "write": small}})
    assert len(msgspec.json.encode(found.details)) < 8000 - 1000  # the conditions come beside it


def test_a_phase_tells_its_spread():
    """(most - least) / median of the slices that count."""
    told = described(phase(1.0, 80.0, 100.0, 120.0))
    assert (told["least_mb_s"], told["most_mb_s"], told["spread"]) == (80.0, 120.0, 0.4)
    assert told["series_mb_s"] == [1, 80, 100, 120]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EINVAL, Code.NO_DIRECT_IO),
        (errno.ENOSPC, Code.NO_SPACE),
        (errno.EDQUOT, Code.NO_SPACE),
        (errno.EIO, Code.BENCHMARK_FAILED),
    ],
)
def test_a_failed_transfer_is_a_reason(number, code):
    """By what the kernel said."""
    assert reason(OSError(number, "words"), Path("/srv")).code is code


counts = st.builds(Count, process_bytes=st.integers(0, 2**40), device_bytes=st.none() | st.integers(0, 2**40))


@given(st.integers(1, 2**40), st.integers(0, 2**40), st.none() | st.integers(0, 2**40))
def test_the_lower_of_two_counters_is_believed(asked, process, device):
    """A page cache fools the process's counter, a neighbour the device's."""
    before = Count(process_bytes=0, device_bytes=None if device is None else 0)
    found = share(asked, "ext4", before, Count(process_bytes=process, device_bytes=device))
    assert found == min(process, process if device is None else device) / asked


def test_where_another_process_does_the_work_only_the_device_is_asked():
    """FUSE: the kernel counts the server's transfers and not ours."""
    before, after = Count(process_bytes=0, device_bytes=0), Count(process_bytes=0, device_bytes=100)
    assert share(100, "fuseblk", before, after) == 1.0
    nothing = Count(process_bytes=0, device_bytes=None)
    assert share(100, "fuse.sshfs", nothing, nothing) is None


@given(st.booleans(), st.integers(1, 50), st.integers(0, 200))
def test_blocks_stay_within_the_file(scattered, blocks, count):
    """Aligned, inside, as many as asked; one after another unless scattered."""
    one = msgspec.structs.replace(job(blocks * BLOCK, 1.0, write=True), random=scattered, most_bytes=count * BLOCK)
    found = list(offsets(one))
    assert len(found) == count
    assert all(0 <= at < blocks * BLOCK and at % BLOCK == 0 for at in found)
    if not scattered:
        assert found == [number % blocks * BLOCK for number in range(count)]


def test_percentiles_by_nearest_rank():
    """In microseconds; none of nothing."""
    assert percentiles([one / 1e6 for one in range(1000, 0, -1)]) == {"p50": 500.0, "p99": 990.0, "p99_9": 999.0}
    assert percentiles([]) == {}


@pytest.mark.parametrize(
    ("text", "version"),
    [("fio-3.33\n", "3.33"), ("fio-3.36-dirty", "3.36-dirty"), ("fio-2.21", None), ("fio 3.1", None), ("", None)],
)
def test_fio_before_3_is_not_used(text, version):
    """Its reports have other names."""
    assert fio.parse_version(text) == version


SEQUENTIAL: Job = job(2**30, 20.0, write=True)


def report(runtime_ms: int, much: int, error: int = 0) -> dict[str, object]:
    side = {"io_bytes": much, "runtime": runtime_ms, "clat_ns": {"percentile": {"50.000000": 1500, "99.900000": 9000}}}
    return {"error": error, "write": side, "read": side}


def test_fio_s_reports_are_a_series():
    """Bytes between two reports over the time between them; the short rest at the end is no slice."""
    seen = [report(500, 50_000_000), report(1000, 150_000_000), report(1010, 160_000_000)]
    found = fio.moved(seen, SEQUENTIAL)
    assert found.series_mb_s == (100.0, 200.0)
    assert (found.total_bytes, found.passed_s, found.latency_us) == (160_000_000, 1.01, {})
    scattered = fio.moved(seen, msgspec.structs.replace(SEQUENTIAL, random=True))
    assert scattered.latency_us == {"p50": 1.5, "p99_9": 9.0}


def test_fio_s_reports_are_read_as_they_come():
    """Words before and between them are none."""
    text = json.dumps({"jobs": [report(1, 2)]}, indent=1)
    lines = io.StringIO(f"note: something\n{text}\nfio: words\n{text}\n")
    assert list(fio.reports(lines)) == [report(1, 2)] * 2


@pytest.mark.parametrize("text", ["{\nnonsense\n}\n", '{\n"jobs": []\n}\n', '{\n"other": 1\n}\n'])
def test_what_is_no_report_is_a_reason(text):
    """And no crash."""
    with pytest.raises(Trouble, match="cannot be read"):
        list(fio.reports(io.StringIO(text)))


MOUNTINFO = """22 1 0:21 / /proc rw - proc proc rw
30 1 8:1 / / rw,noatime shared:1 master:2 - ext4 /dev/sda1 rw,discard
41 30 0:40 /@home /home rw - btrfs /dev/sdb rw,space_cache=v2
"""


def test_a_mount_is_found_by_its_id():
    """Optional fields before the dash vary in number."""
    place, device = mounted(MOUNTINFO, "30")
    assert (place.kind, place.options, place.source, device) == ("ext4", "rw,noatime,rw,discard", "/dev/sda1", "8:1")
    assert mounted(MOUNTINFO, "9")[0].kind == "unknown"


class Sys:
    """A sysfs in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")

    def link(self, path: str, to: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / to).mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(self.root / to)

    def block(self, name: str, at: str, **queue: str) -> str:
        """A block device; returns its directory."""
        self.link(f"class/block/{name}", at)
        for what, text in {"rotational": "0", "logical_block_size": "512", "scheduler": "[none]", **queue}.items():
            self.write(f"{at}/queue/{what}", text)
        self.write(f"{at}/size", "2048")
        return at


@pytest.fixture
def sysfs(tmp_path):
    return Sys(tmp_path)


PCI = "devices/pci0000:00/0000:00:1d.0/0000:03:00.0"


def test_a_file_system_s_devices(sysfs):
    """By its number; all of a btrfs's, which has none; none where the kernel does not tell."""
    sysfs.link("dev/block/8:1", "devices/sda1")
    sysfs.link("fs/btrfs/uuid/devices/sdb", "devices/sdb")
    sysfs.link("fs/btrfs/uuid/devices/sdc", "devices/sdc")
    assert carriers("8:1", "/dev/sda1", sysfs.root) == ("sda1",)
    assert carriers("0:40", "/dev/sdb", sysfs.root) == ("sdb", "sdc")
    assert carriers("0:41", "server:/export", sysfs.root) == ()
    assert below((), sysfs.root) is None


def test_a_disk_behind_a_thin_volume(sysfs):
    """Every layer down to the disk, and what the disk and its link are."""
    disk = sysfs.block("nvme0n1", f"{PCI}/nvme/nvme0/nvme0n1", scheduler="[none] kyber", discard_max_bytes="4096")
    sysfs.write(f"{PCI}/current_link_speed", "16.0 GT/s PCIe")
    sysfs.write(f"{PCI}/current_link_width", "4")
    sysfs.write(f"{PCI}/nvme/nvme0/model", "SAMSUNG MZ  ")
    sysfs.link(f"{disk}/device", f"{PCI}/nvme/nvme0")
    part = sysfs.block("nvme0n1p1", f"{disk}/nvme0n1p1")
    sysfs.write(f"{part}/partition", "1")
    for number, uuid in ((0, "LVM-x-tpool"), (1, "LVM-y")):
        volume = sysfs.block(f"dm-{number}", f"devices/virtual/block/dm-{number}")
        sysfs.write(f"{volume}/dm/uuid", uuid)
        sysfs.write(f"{volume}/dm/name", f"vg-{number}")
    sysfs.link("devices/virtual/block/dm-1/slaves/dm-0", "devices/virtual/block/dm-0")
    sysfs.link("devices/virtual/block/dm-0/slaves/nvme0n1p1", part)
    assert below(("dm-1",), sysfs.root) == Device(
        layers=("dm-1 vg-1", "dm-0 vg-0", "nvme0n1p1", "nvme0n1"),
        model="SAMSUNG MZ",
        size_bytes=2**20,
        rotational=False,
        logical_block_bytes=512,
        scheduler="none",
        discards=True,
        transport="nvme",
        link="16.0 GT/s PCIe x4",
        thin=True,
    )


def test_the_link_of_a_disk_with_several_paths(sysfs):
    """A multipath NVMe disk lies below a subsystem, which links to its controllers."""
    sysfs.block("nvme0n1", "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
    sysfs.link("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0", f"{PCI}/nvme/nvme0")
    sysfs.write(f"{PCI}/current_link_speed", "8.0 GT/s PCIe")
    sysfs.write(f"{PCI}/current_link_width", "2")
    found = below(("nvme0n1",), sysfs.root)
    assert found is not None
    assert (found.transport, found.link) == ("nvme", "8.0 GT/s PCIe x2")


def test_the_link_of_a_sata_disk_is_its_own(sysfs):
    """Not that of the controller's slot."""
    sysfs.block("sda", "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda")
    sysfs.write("devices/pci0000:00/0000:00:17.0/current_link_speed", "2.5 GT/s PCIe")
    sysfs.write("devices/pci0000:00/0000:00:17.0/current_link_width", "1")
    sysfs.write("class/ata_link/link3/sata_spd", "6.0 Gbps")
    found = below(("sda",), sysfs.root)
    assert found is not None
    assert (found.transport, found.link) == ("sata", "6.0 Gbps")


@pytest.mark.parametrize(
    ("driver", "model", "expected"),
    [
        ("virtio_blk", "", True),
        ("sd", "QEMU HARDDISK", True),
        ("sd", "VMware Virtual disk", True),
        ("sd", "Msft Virtual Disk", True),
        ("nvme", "Amazon Elastic Block Store", True),
        ("nvme", "Amazon EC2 NVMe Instance Storage", False),
        ("nvme", "SAMSUNG MZQL21T9HCJR-00A07", False),
        ("sd", "ATA ST8000NM0055", False),
    ],
)
def test_a_hypervisor_s_disk_is_known(driver, model, expected):
    """By its driver or by what it calls itself."""
    assert is_virtual(driver, model) is expected
