"""What benchmarks tell is understood by both who read it: a person at the command line, and the collector."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.benchmarks import Request, cpu, disk, gpu, network
from agent.cli.bench import bench, request_of
from agent.cli.benchwords import in_words
from agent.config import read_settings
from agent.engines.cpu.usable import Usable
from agent.engines.disk.device import Device
from collector.benchmarks import readings
from shared.codes import Trouble
from shared.documents import BenchmarkName, Component
from shared.envelope import Envelope
from shared.marks import Mark
from tests.agent.benchmarks.test_cpu import slices_for
from tests.agent.benchmarks.test_disk import STEADY, phase
from tests.agent.benchmarks.test_disk import measured as disk_measured
from tests.agent.benchmarks.test_gpu_judge import went
from tests.agent.benchmarks.test_network import GBIT
from tests.agent.benchmarks.test_network import measured as network_measured

WHERE = Usable(cpus=(0, 1), affinity=2, online=4, quota=2.5)
NVME = Device(layers=("nvme0n1p1", "nvme0n1"), model="PM9A3", rotational=False, link="16.0 GT/s PCIe x4")


def told(name: str, found) -> Component:
    """A component as it crosses the wire."""
    made = Component(
        name=BenchmarkName(name),
        method_version=f"{name}/1",
        figures=dict(found.figures),
        marks=found.marks,
        took_s=9.4,
        details=dict(found.details),
    )
    return msgspec.json.decode(msgspec.json.encode(made), type=Component)


CPU = told("cpu", cpu.judged(slices_for(8, 2.0), slices_for(1, 3.0), {**cpu.cpus(WHERE), "triad_gb_s": 44.1}))
DISK = told(
    "disk",
    disk.judged(
        disk_measured(1.0, phase(*STEADY)),
        NVME,
        {
            "engine": "fio",
            "engine_version": "3.33",
            "directory": "/var/tmp",
            "file_system": "ext4",
            "in_flight": 32,
            "device": msgspec.to_builtins(NVME),
            "random": {"read": {"iops": 82930, "latency_us": {"p99": 812.0}}, "write": {"reason": "broken"}},
        },
    ),
)
GPU = told("gpu", gpu.judged(went(700e12, 690e12)))
NETWORK = told("network", network.judged(network_measured(2 * GBIT, 900_000_000)))


def test_the_collector_reads_what_the_cpu_benchmark_tells():
    """Every name that a rule asks for."""
    found = readings.cpu(CPU.details)
    assert (found.single, found.threads, found.triad_gb_s) == (375.0, 2, 44.1)
    assert readings.spread(CPU, "cpu_score") == (2000.0, 2000.0)


def test_the_collector_reads_what_the_disk_benchmark_tells():
    """The proof, the device, the link in numbers, what could be packed."""
    found = readings.disk(DISK.details)
    assert (found.model, found.rotational, round(found.link_mb_s)) == ("PM9A3", False, 7877)
    assert (found.write_share, found.read_share, found.packed) == (1.0, 1.0, 1.0)
    assert readings.spread(DISK, "disk_read_mb_s") == (100.0, 100.0)


def test_the_collector_reads_what_the_gpu_benchmark_tells():
    """Name and units by the model's place; rates and clocks of each product."""
    first, second = readings.gpus(GPU.details)
    assert first.name == second.name
    assert first.uuid != second.uuid
    assert (first.sms, first.fp16, second.fp32) == (132, 700.0, 690.0)
    assert first.fp16_mhz
    assert first.fp32_mhz


def test_the_collector_reads_what_the_network_benchmark_tells():
    """The witness above all."""
    found = readings.network(NETWORK.details)
    assert isinstance(found.witness, Envelope)
    assert not found.garbled


def test_a_person_sees_the_figures_and_what_stands_behind_them():
    """A line each, with its unit; marks are explained."""
    words = in_words((CPU, DISK, GPU, NETWORK))
    for part in (
        "✓ cpu_score                    2,000.00 points",
        "2 of 4 that are online, by a quota of 2.5",
        "100% of 1.0 GB",
        "82,930 a second, 99 % within 812 µs",
        "fp16 700 TFLOP/s",
        "0.9 Gbit/s; limited by the path",
        "power_capped: a power limit held the clock down",
    ):
        assert part in words, words


@given(st.sampled_from(list(BenchmarkName)))
def test_a_person_sees_why_there_is_no_figure(name):
    """With the code, for whoever looks it up."""
    words = in_words(
        (
            Component(
                name=name,
                method_version="x/1",
                code="disturbed",
                reason="other work took the CPU",
                marks=(Mark.DISTURBED,),
                details={"conditions": {}},
            ),
        )
    )
    assert "✕ no figure: disturbed: other work took the CPU" in words


@pytest.mark.parametrize("name", list(BenchmarkName))
def test_missing_details_are_no_trouble(name):
    """Those of a benchmark that ended early."""
    assert in_words((Component(name=name, method_version="x/1", details={"conditions": {}}),))


@pytest.fixture
def no_gpu():
    if Path("/proc/driver/nvidia/gpus").is_dir():
        pytest.skip("this machine has an NVIDIA GPU")


@pytest.mark.parametrize(("names", "code"), [((), 0), (("gpu",), 1), (("network",), 1)])
async def test_what_a_machine_does_not_have_is_a_problem_only_where_it_is_asked_for(names, code, tmp_path, no_gpu):
    """A server without a GPU is no broken one; whoever names the benchmark wants its figure."""
    settings = read_settings(None, {}, {"state_dir": str(tmp_path)})
    request = Request(quick=True, directory="/dev/shm")
    everything = ("gpu", "network")
    assert await bench(settings, names, request, as_json=True, everything=everything) == code


async def test_a_budget_that_cannot_be_kept_costs_no_figure(tmp_path, capsys):
    """Before enrollment there is no state directory: the result and its exit code stand, and a line says so."""
    settings = read_settings(
        None, {}, {"state_dir": str(tmp_path / "none"), "network_tool": "iperf3", "iperf3_server": "127.0.0.1:1"}
    )
    request = request_of(settings, quick=True, server=None, ticket_file=None)
    assert await bench(settings, ["network"], request, as_json=False) == 1
    assert "✕ no figure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("server", "raw"), [("https://m.example", "hi"), ("m.example", "{}"), ("https://m.example", "{}")]
)
def test_what_is_no_ticket_is_told_by_its_name(tmp_path, server, raw):
    """With the file and the address, not only with what a reader stumbled on."""
    file = tmp_path / "ticket"
    file.write_text(raw)
    with pytest.raises(Trouble, match=f"ticket is no ticket, or {server}"):
        request_of(read_settings(None, {}, {}), quick=True, server=server, ticket_file=file)
