"""What the kernel's lines are taken for, line by line as machines have printed them, and what no tenant can forge."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.indicators.kernel_log import MATCHERS, event_of
from agent.matchers import xid

LINES = {
    "NVRM: Xid (PCI:0000:05:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.": (
        "xid_reboot",
        "0000:05:00.0",
    ),
    "NVRM: Xid (PCI:0000:3B:00): 13, pid=1, name=a, Graphics SM Warp Exception": ("xid_application", "0000:3b:00.0"),
    "NVRM: Xid (0000:03:00): 14, Channel 00000001": ("xid_unknown", "0000:03:00.0"),
    "NVRM: Xid (PCI:0000:4e:00): 48, pid=7, name=python, DBE (double bit error) ECC Error": (
        "xid_reset",
        "0000:4e:00.0",
    ),
    "NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping": (
        "xid_application",
        "0000:10:1c.0",
    ),
    "NVRM: Xid (PCI:0000:01:00): 54, Auxiliary power is not connected to the GPU board": (
        "xid_replace",
        "0000:01:00.0",
    ),
    "NVRM: Xid (PCI:0009:01:00): 149, NETIR_LINK_EVT  Fatal   XC0 i0 Link 01 (0x021425c6 0x00000000)": (
        "xid_reset",
        "0009:01:00.0",
    ),
    "NVRM: Xid (PCI:0009:01:00): 145, RLW_REMAP  Nonfatal   XC1 i0 Link 00 (0x00000004)": (
        "xid_application",
        "0009:01:00.0",
    ),
    "NVRM: Xid (PCI:0009:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)": (
        "xid_reset",
        "0009:01:00.0",
    ),
    "NVRM: Xid (PCI:0009:01:00): 154, GPU recovery action changed from 0x4 (Drain and Reset) to 0x2 (Node Reboot Required)": (
        "xid_reboot",
        "0009:01:00.0",
    ),
    "NVRM: Xid (PCI:0009:01:00): 154, GPU recovery action changed from 0x4 (Drain and Reset) to 0x0 (None)": None,
    "NVRM: Xid (PCI:0000:05:00): 4711, something new": ("xid_unknown", "0000:05:00.0"),
    "NVRM: Xid error: xyz, invalid data": None,
    "nvidia-nvswitch2: SXid (PCI:0000:07:00.0): 22013, Non-fatal, Link 47 Minion Link DLREQ interrupt": (
        "sxid_nonfatal",
        "0000:07:00.0",
    ),
    "nvidia-nvswitch0: SXid (PCI:0000:AB:00.0): 11001, Fatal, Link 12 ingress invalid command": (
        "sxid_fatal",
        "0000:ab:00.0",
    ),
    "nvidia-nvswitch2: SXid (PCI:0000:07:00.0): 22013, Severity 0 Engine instance 47 Sub-engine instance 00": None,
    "blk_update_request: I/O error, dev sda, sector 1234 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 0": (
        "io_errors",
        "sda",
    ),
    "print_req_error: critical medium error, dev sdb, sector 6160": ("io_errors", "sdb"),
    "critical target error, dev nvme0n1, sector 0 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2": (
        "io_errors",
        "nvme0n1",
    ),
    "operation not supported error, dev loop3, sector 8 op 0x9:(WRITE_ZEROES) flags 0x800 phys_seg 0 prio class 2": None,
    "blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 0": None,
    "Buffer I/O error on dev sda1, logical block 0, async page read": None,
    r"md/raid1:md0: Disk failure on sdb1, disabling device.\x0amd/raid1:md0: Operation continuing on 1 devices.": (
        "io_errors",
        "sdb1",
    ),
    "nvme nvme0: I/O 24 QID 3 timeout, aborting": ("disk_timeouts", "nvme0"),
    "nvme nvme1: I/O tag 320 (8140) opcode 0x2 (I/O Cmd) QID 4 timeout, aborting req_op:READ(0) size:4096": (
        "disk_timeouts",
        "nvme1",
    ),
    "nvme nvme1: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0xffff": ("disk_timeouts", "nvme1"),
    "ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen": ("disk_timeouts", "ata1.00"),
    "ata1.00: failed command: READ FPDMA QUEUED": None,
    "sd 0:0:0:0: [sda] tag#19 timing out command, waited 180s": ("disk_timeouts", "sda"),
    "timeout error, dev vda, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2": ("disk_timeouts", "vda"),
    "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory lblock 0": (
        "filesystem_errors",
        "sda1",
    ),
    "EXT4-fs error (device dm-0) in ext4_reserve_inode_write:5901: Journal has aborted": ("filesystem_errors", "dm-0"),
    "EXT4-fs (sda1): Remounting filesystem read-only": ("filesystem_errors", "sda1"),
    "EXT4-fs (sda1): warning: mounting fs with errors, running e2fsck is recommended": ("filesystem_errors", "sda1"),
    "EXT4-fs (vda): mounted filesystem 00000000-0000-0000-0000-000000000000 r/w without journal. Quota mode: none.": None,
    'EXT4-fs (sda1): Unrecognized mount option "NVRM: Xid (PCI:0000:05:00): 79" or missing value': None,
    "XFS (dm-1): Corruption of in-memory data (0x8) detected at xfs_trans_cancel+0x100. Shutting down filesystem.": (
        "filesystem_errors",
        "dm-1",
    ),
    'XFS (sdb1): metadata I/O error in "xfs_trans_read_buf_map+0x1" at daddr 0x1 len 8 error 5': (
        "filesystem_errors",
        "sdb1",
    ),
    "XFS (sdb1): Mounting V5 Filesystem": None,
    "BTRFS error (device sda2: state EA): parent transid verify failed on logical 1 mirror 1 wanted 2 found 3": (
        "filesystem_errors",
        "sda2",
    ),
    "BTRFS: error (device dm-3) in btrfs_run_delayed_refs:2150: errno=-5 IO failure": ("filesystem_errors", "dm-3"),
    "BTRFS warning (device sdc): csum failed root 5 ino 257 off 0 csum 0x1 expected csum 0x2 mirror 1": (
        "filesystem_errors",
        "sdc",
    ),
    "BTRFS info (device sda2: state E): forced readonly": ("filesystem_errors", "sda2"),
    "BTRFS info (device sda2): using crc32c (crc32c-intel) checksum algorithm": None,
    "WARNING: Pool 'tank' has encountered an uncorrectable I/O failure and has been suspended.": (
        "filesystem_errors",
        "tank",
    ),
    "mce: [Hardware Error]: Machine check events logged": ("machine_checks", None),
    "mce: [Hardware Error]: CPU 6: Machine Check Exception: 5 Bank 4: b200000000070f0f": ("machine_checks", None),
    "mce: [Hardware Error]: TSC 0 ADDR 3f": None,
    "[Hardware Error]: CPU:2 (17:31:0) MC17_STATUS[Over|CE|MiscV|AddrV|-|-|SyndV|CECC|-|-|-]: 0xdc2040000000011b": (
        "machine_checks",
        None,
    ),
    "{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0": ("machine_checks", None),
    "EDAC MC0: 3 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0 page:0x1 offset:0x0)": (
        "memory_corrected",
        None,
    ),
    "EDAC MC1: 1 UE memory scrubbing error on any memory (channel:0 page:0x88ab2c)": ("memory_uncorrected", None),
    "EDAC MC0: Giving out device to module skx_edac controller Skylake Socket#0 IMC#0": None,
    "Memory failure: 0x88ab2c: recovery action for dirty LRU page: Recovered": ("memory_uncorrected", None),
    "pcieport 0000:60:01.0: PCIe Bus Error: severity=Corrected, type=Data Link Layer, (Transmitter ID)": (
        "pcie_errors",
        "0000:60:01.0",
    ),
    "nvidia 0000:3b:00.0: AER: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Transaction Layer, (Requester ID)": (
        "pcie_errors",
        "0000:3b:00.0",
    ),
    "pcieport 0000:00:01.0: DPC: containment event, status:0x1f01 source:0x0000": ("pcie_errors", "0000:00:01.0"),
    "pcieport 0000:00:1c.0: AER: Corrected error received: 0000:00:1c.0": None,
    "mce: CPU0: Core temperature above threshold, cpu clock throttled (total events = 1)": ("cpu_throttles", None),
    "CPU3: Package temperature is above threshold, cpu clock is throttled (total events = 12)": ("cpu_throttles", None),
    "CPU3: Package temperature/speed normal": None,
    "Out of memory: Killed process 1234 (python) total-vm:1kB, anon-rss:1kB": ("oom_kills", None),
    "Memory cgroup out of memory: Killed process 4321 (NVRM: Xid (PCI:) total-vm:1kB": ("oom_kills", None),
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,task=x,pid=1,uid=0": None,
    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kworker/1:1:123]": ("lockups", None),
    "NMI watchdog: Watchdog detected hard LOCKUP on cpu 3": ("lockups", None),
    "INFO: task jbd2/sda1-8:412 blocked for more than 120 seconds.": ("lockups", None),
    "INFO: task nvidia-smi:9 <reader> blocked in I/O wait for more than 122 seconds.": ("lockups", None),
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:": ("lockups", None),
    "rcu: INFO: rcu_sched self-detected stall on CPU": ("lockups", None),
    "BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 33s!": ("lockups", None),
    "Oops: 0002 [#1] PREEMPT SMP NOPTI": ("kernel_bugs", None),
    "Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP": (
        "kernel_bugs",
        None,
    ),
    "invalid opcode: 0000 [#3] SMP PTI": ("kernel_bugs", None),
    "Internal error: Oops: 0000000096000004 [#1] SMP": ("kernel_bugs", None),
    "Kernel panic - not syncing: Fatal exception": ("kernel_bugs", None),
    "BUG: Bad page state in process python  pfn:12345": ("kernel_bugs", None),
    "BUG: kernel NULL pointer dereference, address: 0000000000000008": None,
    "python[9190]: segfault at 8 ip 00007f1e5deb0384 sp 00007ffdc5b85330 error 6 in libnvidia-ml.so.1[1384]": None,
    "": None,
}
"""By line: the reading and the item it is counted under, None for what says nothing, or was said by another line."""

COMM = 15
"""Characters of a process's name. Source: Linux, include/linux/sched.h, TASK_COMM_LEN."""

BEGUN_BY_A_NAME = (
    "{}[4711]: segfault at 0 ip 0000 sp 0000 error 4 in libc.so.6[7f0a11e00000+195000]",
    "{}[4711] general protection fault ip:0 sp:0 error:0 in x[0+1]",
    "{}[4711]: vsyscall attempted with vsyscall=none ip:0",
    "{} (4711): drop_caches: 3",
    "{}: page allocation failure: order:4, mode:0xcc0(GFP_KERNEL), nodemask=(null)",
    "{} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
)
"""Lines of the kernel that begin with a process's name. Source: Linux, arch/x86/mm/fault.c, fs/drop_caches.c, mm/."""

ANY_TEXT = st.text() | st.sampled_from(sorted(LINES)).flatmap(
    lambda line: st.tuples(st.integers(0, len(line)), st.text()).map(lambda cut: line[: cut[0]] + cut[1])
)


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_counted_as_what_it_is(line: str) -> None:
    """Each as some machine has printed it; and what comes beside it is not counted again."""
    event = event_of(line)
    assert (None if event is None else (event.reading, event.item)) == LINES[line]


@pytest.mark.parametrize("line", LINES)
def test_at_most_one_kind_claims_a_line(line: str) -> None:
    """So that the order of the files decides nothing."""
    assert sum(matcher.match(line) is not None for matcher in MATCHERS) <= 1


def test_every_reading_is_described_and_every_kind_has_been_seen() -> None:
    """No line goes into a reading without words, and no description stands for nothing."""
    seen = {expected[0] for expected in LINES.values() if expected} | {"xid_last"}
    assert seen == {name for matcher in MATCHERS for name in matcher.describes}
    assert {name for matcher in MATCHERS for name in matcher.scalars} == {
        expected[0] for expected in LINES.values() if expected and expected[1] is None
    }


@pytest.mark.parametrize("shape", BEGUN_BY_A_NAME)
@pytest.mark.parametrize("line", [line for line, expected in LINES.items() if expected])
def test_no_process_name_forges_a_line(line: str, shape: str) -> None:
    """A tenant names his process like the start of any line that counts; the kernel writes the rest of it."""
    for length in range(1, COMM + 1):
        assert event_of(shape.format(line[:length])) is None


@given(st.text(max_size=COMM), st.sampled_from(BEGUN_BY_A_NAME))
def test_no_name_at_all_forges_a_line(name: str, shape: str) -> None:
    """Not even with characters that nobody thought of."""
    assert event_of(shape.format(name)) is None


@pytest.mark.parametrize("inner", [line for line, expected in LINES.items() if expected])
def test_a_line_inside_a_line_is_not_found(inner: str) -> None:
    """Whatever a tenant calls his process, file or mount option: what counts is how the line begins."""
    for line in (
        f"Memory cgroup out of memory: Killed process 1 ({inner}) total-vm:1kB",
        f"EXT4-fs error (device sda1): ext4_lookup:1855: inode #12: comm {inner}: deleted inode referenced",
        f"NVRM: Xid (PCI:0000:01:00): 31, pid=1, name={inner}, Ch 0000000b",
    ):
        event = event_of(line)
        assert event is not None
        assert (event.reading, event.item) in {
            ("oom_kills", None),
            ("filesystem_errors", "sda1"),
            ("xid_application", "0000:01:00.0"),
        }
    for line in (
        f"\n{inner}",
        f"x\n{inner}",
        rf"x\x0a{inner}",
        f" {inner}",
        f'audit: type=1326 comm="{inner}"\n{inner}',
    ):
        assert event_of(line) is None


def test_nothing_of_a_tenant_s_choice_is_passed_on() -> None:
    """Names of processes and files stay on the machine."""
    for line in (
        "NVRM: Xid (PCI:0000:01:00): 31, pid=1, name=secret, Ch 0000000b",
        "Out of memory: Killed process 1234 (secret) total-vm:1kB",
        "EXT4-fs error (device sda1): ext4_lookup:1855: inode #12: comm secret: deleted inode referenced",
        "INFO: task secret:412 blocked for more than 120 seconds.",
        "BUG: Bad page state in process secret  pfn:12345",
    ):
        event = event_of(line)
        assert event is not None
        assert "secret" not in repr(event)


@given(ANY_TEXT)
def test_any_text_is_taken_without_an_error(text: str) -> None:
    """And what it gives can be sent: short words, short items, a count that is one."""
    event = event_of(text)
    if event is not None:
        assert event.count >= 1 or re.match(r"EDAC MC\d+: 0+ ", text)
        assert len(event.words) < 120
        assert event.item is None or 0 < len(event.item) <= 40


def test_no_xid_is_of_two_classes() -> None:
    """And 154 and NVLink's, which the line decides, are of none."""
    classes = (xid.APPLICATION, xid.RESET, xid.REBOOT, xid.REPLACE)
    assert sum(map(len, classes)) == len(frozenset().union(*classes))
    assert not frozenset().union(*classes) & ({154} | set(range(144, 151)))


def test_a_count_in_the_line_counts() -> None:
    """EDAC says how many errors one line stands for."""
    event = event_of("EDAC MC0: 1841 CE memory read error on DIMM_A1 (channel:0 slot:0 page:0x1)")
    assert event is not None
    assert event.count == 1841
