"""The rules as such: silent about what is not told, never in the way of storing a result, a bound for each model."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.benchmarks import readings
from collector.benchmarks.comparison import Point
from collector.benchmarks.gpu_models import MODELS, bounds, model_of
from collector.benchmarks.judging import benchmark_of, points_of
from collector.benchmarks.plausibility import CEILINGS, Context, judge, without_absurd
from collector.benchmarks.readings import Gpu
from collector.store.types import Json
from shared.documents import BenchmarkName, BenchmarkOutcome, BenchmarkWork, Component
from shared.flags import MEANING, FlagCode
from shared.records import FIGURES, Assurance, Machine
from tests.collector.known import NOW
from tests.collector.measuring import gpu_details

MACHINE = Machine(hardware_id="hw_1", customer_id="usr_1", cpu_model="x", disk_type="NVMe")
CONTEXT = Context(
    work=BenchmarkWork(components=tuple(BenchmarkName)),
    issued_at=NOW,
    sent_at=NOW,
    received_at=NOW + timedelta(minutes=10),
)


def outcome(*components: Component, **figures: float) -> BenchmarkOutcome:
    return BenchmarkOutcome(
        hardware_id="hw_1",
        command_id="cmd_1",
        order_sha256="d" * 64,
        started_at=NOW,
        collected_at=NOW + timedelta(minutes=9),
        components=components,
        agent_version="0.1.0",
        boot_id="b",
        **figures,
    )


def test_every_flag_has_a_meaning():
    """One sentence each, in one place."""
    assert set(MEANING) == set(FlagCode)
    assert all(words.endswith(".") for words in MEANING.values())


def test_every_figure_has_a_ceiling():
    """None of the record's is without."""
    assert set(CEILINGS) == set(FIGURES)


# The models.


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.name)
def test_a_model_s_peaks_are_its_units_at_its_boost_clock(model):
    """The table's own numbers fit each other: both peaks follow from units and one clock, within 3 %."""
    mhz = model.boost_mhz
    gpu = Gpu(uuid=None, name=model.name, sms=model.sms, fp16=None, fp16_mhz=mhz, fp32=None, fp32_mhz=mhz)
    fp16, fp32 = bounds(gpu)
    assert fp16 == pytest.approx(model.peak16)
    assert fp32 == pytest.approx(model.peak32, rel=0.09 if "H" in model.name else 0.03)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA B200", None),
        (None, None),
    ],
)
def test_a_name_means_a_model_only_when_it_is_exactly_its(name, model):
    """A variant with fewer units under a similar name has no bound rather than a wrong one."""
    found = model_of(name)
    assert (found.name if found else None) == model


def test_a_model_that_is_not_known_has_no_bound_and_that_is_told_in_shadow():
    """It counts for nothing: every new model would else be flagged."""
    gpus = [{"uuid": "GPU-1", "name": "NVIDIA B200", "sms": 148, "clock_mhz": 1800, "fp16": 1700.0, "fp32": 70.0}]
    figures = {"gpu_throughput_fp16": 1700.0, "gpu_throughput_fp32": 70.0}
    part = Component(name=BenchmarkName.GPU, method_version="gpu/1", figures=figures, details=gpu_details(*gpus))
    told = outcome(part, **figures)
    flags = judge(
        told, (), Context(**{**{n: getattr(CONTEXT, n) for n in CONTEXT.__struct_fields__}, "gpu_model": "B200"})
    )
    assert [(one.code, one.shadow) for one in flags] == [(FlagCode.NO_BOUND, True)]
    assert not benchmark_of(told, flags, Assurance.SELF_REPORTED).flagged


# Whatever a machine says.

KEYS = st.sampled_from(
    [
        "cpu_score_single",
        "threads",
        "triad_gb_s",
        "write",
        "read",
        "device",
        "device_share",
        "packed",
        "model",
        "rotational",
        "link",
        "layers",
        "models",
        "gpus",
        "uuid",
        "name",
        "multiprocessors",
        "tflop_s",
        "mhz",
        "fp16",
        "fp32",
        "witness",
        "payload",
        "payloadType",
        "signatures",
        "link_bit_s",
        "spread",
        "least_mb_s",
        "cpu_score",
    ]
)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**400), st.floats(allow_nan=False), st.text(max_size=5), KEYS
)
DETAILS = st.dictionaries(
    KEYS,
    st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)),
    max_size=8,
)
VALUES = st.floats(0, 1e12)


@settings(max_examples=300)
@given(st.sampled_from(list(BenchmarkName)), DETAILS, st.dictionaries(st.sampled_from(FIGURES), VALUES))
def test_no_details_keep_a_result_from_being_judged(name, details, figures):
    """Whatever stands in them, there is a record that both databases can hold, with flags in words."""
    part = Component(name=name, method_version="x/1", figures=figures, details=details)
    told, absurd = without_absurd(outcome(part, **figures))
    points = points_of(told, MACHINE, NOW)
    flags = (*absurd, *judge(told, points, CONTEXT))
    record = benchmark_of(told, flags, Assurance.SELF_REPORTED)
    assert all(len(one.words) <= 300 and "\x00" not in one.words for one in record.flags)
    assert all("\x00" not in one.model for one in points)
    assert all((getattr(record, one) or 0) <= CEILINGS[one] for one in FIGURES)
    kept = Json().bind_processor(None)(record.flags)
    assert len(json.loads(kept)) == len(flags)


def test_what_is_not_told_raises_nothing():
    """Details without any of the names: only what a figure cannot stand without is missed."""
    parts = [
        Component(name=BenchmarkName.CPU, method_version="cpu/1", figures={"cpu_score": 900.0}),
        Component(name=BenchmarkName.DISK, method_version="disk/1", code="no_space", reason="too little"),
        Component(name=BenchmarkName.GPU, method_version="gpu/1", code="no_gpu", reason="none"),
        Component(name=BenchmarkName.NETWORK, method_version="network/1", code="no_server", reason="none"),
    ]
    assert judge(outcome(*parts, cpu_score=900.0), (), CONTEXT) == ()


@pytest.mark.parametrize(
    ("details", "found"),
    [
        ({"spread": {"disk_read_mb_s": [1.0, 2.0]}}, (1.0, 2.0)),
        ({"read": {"least_mb_s": 3.0, "most_mb_s": 4.0}}, (3.0, 4.0)),
        ({"spread": {"disk_read_mb_s": [1.0]}}, (None, None)),
        ({"spread": [1.0, 2.0]}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_a_spread_is_read_where_it_is_told(details, found):
    """As a pair under its figure's name, or as a disk's phase tells it."""
    part = Component(name=BenchmarkName.DISK, method_version="disk/1", details=details)
    assert readings.spread(part, "disk_read_mb_s") == found


@pytest.mark.parametrize(
    ("link", "mb_s"),
    [
        ("16.0 GT/s PCIe x4", 7876.9),
        ("5.0 GT/s PCIe x2", 1000.0),
        ("6.0 Gbps", 600.0),
        ("<unknown>", None),
        ("", None),
        ("Unknown x4", None),
    ],
)
def test_what_a_link_carries_is_read_from_the_kernel_s_words(link, mb_s):
    """After its line code; words that are not understood are no limit."""
    found = readings.link_mb_s(link)
    assert found == mb_s or round(found, 1) == mb_s


def test_an_array_is_not_held_to_one_disk_s_link_or_platters():
    """Nor is a hypervisor's disk, which says what it likes."""
    disk = {"rotational": True, "link": "6.0 Gbps"}
    alone = readings.disk({"device": {**disk, "layers": ["sda1", "sda"]}})
    assert (alone.rotational, alone.link_mb_s) == (True, 600.0)
    for more in ({"layers": ["md0", "sda", "sdb"]}, {"layers": ["vda"], "virtual": True}, {}):
        found = readings.disk({"device": {**disk, **more}})
        assert (found.rotational, found.link_mb_s) == (None, None)


def test_a_point_is_of_what_was_measured():
    """A disk's own model before the machine's word for its kind; GPUs with their number."""
    device = {"device": {"model": "PM9A3"}}
    gpus = gpu_details(*[{"name": "NVIDIA L40S"}] * 2)
    figures = {"disk_read_mb_s": 1.0, "gpu_throughput_fp16": 1.0, "cpu_score": 1.0}
    parts = [
        Component(name=BenchmarkName.DISK, method_version="disk/1", figures={"disk_read_mb_s": 1.0}, details=device),
        Component(name=BenchmarkName.GPU, method_version="gpu/1", figures={"gpu_throughput_fp16": 1.0}, details=gpus),
        Component(name=BenchmarkName.CPU, method_version="cpu/1", figures={"cpu_score": 1.0}, marks=("throttled",)),
    ]
    found: dict[str, Point] = {one.figure: one for one in points_of(outcome(*parts, **figures), MACHINE, NOW)}
    assert found["disk_read_mb_s"].model == "PM9A3"
    assert found["gpu_throughput_fp16"].model == "2 x NVIDIA L40S"
    assert (found["cpu_score"].model, found["cpu_score"].unmarked, found["cpu_score"].counts) == ("x", False, False)
