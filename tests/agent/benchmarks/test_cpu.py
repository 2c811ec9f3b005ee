"""The CPU benchmark's pure parts: which slices count, what a score is, which CPUs may be used, what is told."""

import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarks.cpu import counts, disturbed, judged
from agent.engines.cpu.crew import environment
from agent.engines.cpu.extras import available_bytes, machine, mean_mhz
from agent.engines.cpu.kernels import KERNELS
from agent.engines.cpu.slices import (
    CLEAN_SHARE,
    NEEDED,
    Slice,
    clean,
    least_disturbed,
    mean_share,
    points,
    rates,
)
from agent.engines.cpu.usable import Usable, chosen, parse_cpu_max, parse_list, tightest_quota, usable
from shared.codes import Code
from shared.marks import Mark

clean_slices = st.builds(Slice, st.floats(1, 1e4), st.floats(CLEAN_SHARE, 1))
dirty_slices = st.builds(Slice, st.floats(0, 1e5), st.floats(0, CLEAN_SHARE, exclude_max=True))
enough = st.lists(clean_slices, min_size=NEEDED, max_size=30)
REFERENCES = [kernel.reference for kernel in KERNELS]


@given(enough, st.lists(dirty_slices, max_size=30), st.randoms())
def test_disturbed_slices_do_not_move_the_rate(good, bad, dice):
    """However many slices a neighbour spoiled, the figure is that of the others."""
    mixed = good + bad
    dice.shuffle(mixed)
    found = rates([mixed])
    assert found == rates([good])
    assert min(clean(good)) <= found.total <= max(clean(good))


@given(st.lists(clean_slices, max_size=NEEDED - 1), st.lists(dirty_slices, max_size=30), enough)
def test_one_process_with_too_few_clean_slices_leaves_no_rate(few, bad, good):
    """A median of a handful is no figure, and a sum over some of the threads is a wrong one."""
    assert rates([good, few + bad]) is None
    assert rates([]) is None


@given(st.lists(enough, min_size=1, max_size=5), st.permutations(range(5)))
def test_the_order_of_the_processes_does_not_matter(processes, order):
    """They are added up."""
    shuffled = [processes[place] for place in order if place < len(processes)]
    assert rates(shuffled).total == pytest.approx(rates(processes).total)
    assert rates(shuffled).lowest == rates(processes).lowest <= rates(processes).highest


def test_eight_threads_at_the_references_are_a_thousand_points():
    """And one is 125, so that score / single is the number of threads where all are alike."""
    assert points([8 * one for one in REFERENCES], REFERENCES) == pytest.approx(1000)
    assert points(REFERENCES, REFERENCES) == pytest.approx(125)


@given(st.lists(st.floats(10, 1e5), min_size=4, max_size=4), st.integers(0, 3), st.floats(1.01, 10))
def test_each_kernel_moves_the_score_alike(totals, place, factor):
    """A kernel that is twice as fast makes the same of the score, whichever it is and however fast the others are."""
    faster = [one * factor if at == place else one for at, one in enumerate(totals)]
    assert points(faster, REFERENCES) / points(totals, REFERENCES) == pytest.approx(factor**0.25, rel=0.01)


def steady(rate: float) -> list[Slice]:
    return [Slice(rate, 1.0)] * (2 * NEEDED)


def slices_for(threads: int, factor: float = 1.0) -> dict[str, list[list[Slice]]]:
    return {kernel.name: [steady(kernel.reference * factor)] * threads for kernel in KERNELS}


def test_the_score_and_what_stands_behind_it():
    """Eight threads of twice the reference, one alone of three times."""
    found = judged(slices_for(8, 2.0), slices_for(1, 3.0), {"pinned": 8})
    assert found.figures == {"cpu_score": 2000.0}
    assert found.details["cpu_score_single"] == 375.0
    assert found.details["pinned"] == 8
    assert found.details["kernels"]["zstd"] == {
        "unit": "MB/s",
        "slices": 160,
        "clean_slices": 160,
        "mean_share": 1.0,
        "total": 1616.0,
        "least": 1616.0,
        "most": 1616.0,
        "lowest": 202.0,
        "highest": 202.0,
        "alone": {"total": 303.0, "least": 303.0, "most": 303.0},
    }


def test_the_spread_is_the_score_of_the_slowest_and_of_the_fastest_slices():
    """Of each process; the figure itself is that of the medians."""
    together = {
        kernel.name: [[Slice(kernel.reference * factor, 1.0) for factor in (0.5, 1, 1, 1, 1.5)] * 2] * 8
        for kernel in KERNELS
    }
    found = judged(together, slices_for(1), {})
    assert found.figures["cpu_score"] == 1000
    assert found.details["spread"]["cpu_score"] == [500, 1500]


def test_a_disturbed_look_at_one_thread_leaves_the_score():
    """There is no `cpu_score_single` then, rather than one of three kernels."""
    alone = slices_for(1) | {"gemm": [[Slice(10.0, 0.5)] * 20]}
    found = judged(slices_for(2), alone, {})
    assert found.figures == {"cpu_score": 250.0}
    assert "cpu_score_single" not in found.details
    assert "alone" not in found.details["kernels"]["gemm"]


def test_disturbed_says_how_much_and_names_a_quota():
    """What a provider can do about it differs."""
    where = Usable(cpus=(0, 1), affinity=2, online=4, quota=2.5)
    busy = [steady(1.0), [Slice(100.0, 0.5)] * 20]
    told = disturbed(KERNELS[0], busy, where)
    assert (told.code, told.marks) == (Code.DISTURBED, (Mark.DISTURBED,))
    assert "20 of 40 slices of zstd" in told.detail
    assert "quota is 2.5 CPUs" in told.detail
    assert (told.details["mean_share"], told.details["quota_cpus"]) == (0.75, 2.5)


def test_the_details_of_512_threads_are_small():
    """8 kB are the limit of a component's, with room for the conditions beside it."""
    uneven = {
        kernel.name: [[Slice(kernel.reference * (1 + number / 977), 0.98123)] * 20 for number in range(512)]
        for kernel in KERNELS
    }
    found = judged(uneven, uneven, {"machine": machine()})
    assert len(msgspec.json.encode(found.details)) < 4000


def test_the_thread_that_is_measured_alone_is_the_one_that_had_its_cpu_most():
    """Among the fastest kind of core; the first of equals."""
    shares = [[Slice(1.0, share)] for share in (0.5, 0.9, 0.9, 1.0)]
    assert least_disturbed(shares, (0, 1, 2, 3)) == 3
    assert least_disturbed(shares, (0, 1, 2)) == 1


def test_no_slices_are_no_share():
    """A time of nothing leaves nothing, and no division by it."""
    assert mean_share([[], []]) == 0.0
    assert counts([[], []]) == {"slices": 0, "clean_slices": 0, "mean_share": 0.0}


@pytest.mark.parametrize(
    ("text", "quota"),
    [("max 100000", None), ("150000 100000\n", 1.5), ("-1 100000", None), ("", None), ("x 1", None), ("1 0", None)],
)
def test_a_control_groups_quota_in_cpus(text, quota):
    """As the kernel writes it; nonsense is no limit."""
    assert parse_cpu_max(text) == quota


@pytest.mark.parametrize(
    ("cpus", "quota", "expected"),
    [((0, 1, 2, 3), None, 4), ((0, 1, 2, 3), 2.5, 2), ((5,), 8.0, 1), ((0, 1), 0.2, 1)],
)
def test_no_more_cpus_are_used_than_are_paid_for(cpus, quota, expected):
    """Whole ones."""
    assert chosen(cpus, quota) == cpus[:expected]


@given(st.sets(st.integers(0, 600), max_size=60))
def test_a_list_of_cpus_is_read_back(numbers):
    """Whatever the kernel joins to ranges."""
    parts = []
    for _, pairs in itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in pairs]
        parts.append(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]))
    assert parse_list(",".join(parts) + "\n") == tuple(sorted(numbers))


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "g/cpu.max": "800000 100000", "g/a/cpu.max": "200000 100000"}, 2.0),
        ({"proc/self/cgroup": "0::/a/b\n", "g/a/b/cpu.max": "50000 100000", "g/a/cpu.max": "max 100000"}, 0.5),
        ({"proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n0::/\n",
                "g/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "g/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/x\n1:name=systemd:/y:z\n",
                "g/cpu/x/cpu.cfs_quota_us": "-1\n",
                "g/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
    ids=[
        "none",
        "a parent's",
        "the tightest",
        "version 1, not mounted",
        "version 1, in a container",
        "version 1, none",
    ],
)
def test_the_tightest_quota_of_a_group_and_those_above_it(tmp_path, files, quota):
    """In both versions of control groups."""
    root = write(tmp_path, files)
    assert tightest_quota(root / "proc/self/cgroup", root / "g") == quota


def test_a_hybrid_machine_and_a_cpu_that_is_switched_off(tmp_path):
    """Only what is online is used; the thread alone is one of the fast cores."""
    last = max(usable().cpus)
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/devices/system/cpu/online": f"{last}-{last + 1}\n",
        "sys/devices/cpu_core/cpus": f"{last}\n",
        "sys/devices/cpu_atom/cpus": f"{last + 1}-{last + 4}\n",
    }
    found = usable(write(tmp_path, files))
    assert (found.cpus, found.online) == ((last,), 2)
    assert found.kinds == {"cpu_core": (last,), "cpu_atom": tuple(range(last + 1, last + 5))}
    mixed = Usable(cpus=(0, 1, 2, 3), affinity=4, online=4, kinds={"cpu_core": (2, 3), "cpu_atom": (0, 1)})
    assert mixed.fastest() == (2, 3)
    assert Usable(cpus=(0, 1), affinity=2, online=4, kinds={"cpu_core": (2, 3)}).fastest() == (0,)
    assert Usable(cpus=(4, 5), affinity=2, online=2).fastest() == (0, 1)


def test_the_machine_is_described_by_what_the_kernel_tells(tmp_path):
    """Two sockets of two cores with two threads each; a third-level cache for each socket."""
    files = {
        "proc/cpuinfo": "processor : 0\nmodel name : Tester: 9\nmicrocode : 0xa\ncpu MHz : 3000.4\n\n"
        "processor : 1\ncpu MHz : 1000.0\n",
        "proc/meminfo": "MemTotal: 2048 kB\nMemAvailable: 1024 kB\n",
        "sys/devices/system/cpu/smt/active": "1\n",
    }
    for cpu in range(8):
        socket, core = cpu % 2, cpu % 4
        folder = f"sys/devices/system/cpu/cpu{cpu}"
        files[f"{folder}/topology/physical_package_id"] = f"{socket}\n"
        files[f"{folder}/topology/thread_siblings_list"] = f"{core},{core + 4}\n"
        files[f"{folder}/cache/index3/level"] = "3\n"
        files[f"{folder}/cache/index3/size"] = "32768K\n"
        files[f"{folder}/cache/index3/shared_cpu_list"] = f"{socket},{socket + 2}\n"
    root = write(tmp_path, files)
    assert machine(root) == {
        "model": "Tester: 9",
        "microcode": "0xa",
        "sockets": 2,
        "cores": 4,
        "threads": 8,
        "smt": True,
        "l3_mib": 64,
    }
    assert (mean_mhz((0,), root), mean_mhz((0, 1), root), mean_mhz((7,), root)) == (3000, 2000, None)
    assert available_bytes(root) == 2**20
    write(root, {"sys/devices/system/cpu/cpu7/cpufreq/scaling_cur_freq": "2500000\n"})
    assert mean_mhz((7,), root) == 2500


def test_somebodys_environment_does_not_change_the_work():
    """One variable makes OpenBLAS take another kind of CPU's code, another turns the vector units off."""
    assert environment({"PATH": "/bin", "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4"}) == {
        "PATH": "/bin",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHON_ZSTANDARD_IMPORT_POLICY": "cext",
    }
