"""What GPU models can do at the most: facts by which a benchmark's figures are bounded."""

import re

from msgspec import Struct

from collector.benchmarks.readings import Gpu


class GpuModel(Struct, frozen=True, kw_only=True):
    """
    One model.

    Attributes:
        name: What people call it.
        known_as: Matches the whole name that NVML gives.
        sms: Streaming multiprocessors.
        k16: Floating-point operations of one of them in a clock, dense FP16 on tensor cores, FP32 accumulation.
        k32: The same for FP32 outside of tensor cores.
        peak16: TFLOP/s at the boost clock, FP16.
        peak32: TFLOP/s at the boost clock, FP32.
    """

    name: str
    known_as: str
    sms: int
    k16: int
    k32: int
    peak16: float
    peak32: float

    @property
    def boost_mhz(self) -> float:
        """The clock behind the peak."""
        return self.peak16 * 1e6 / (self.sms * self.k16)


MODELS = (
    GpuModel(
        name="H100 SXM",
        known_as=r"(NVIDIA )?H100( SXM5?)?( 80GB( HBM3)?)?",
        sms=132,
        k16=4096,
        k32=256,
        peak16=989,
        peak32=67,
    ),
    GpuModel(name="H200", known_as=r"(NVIDIA )?H200( SXM)?", sms=132, k16=4096, k32=256, peak16=989, peak32=67),
    GpuModel(
        name="A100",
        known_as=r"(NVIDIA )?A100(-SXM4-[48]0GB|-PCIE-[48]0GB| 80GB PCIe)?",
        sms=108,
        k16=2048,
        k32=128,
        peak16=312,
        peak32=19.5,
    ),
    GpuModel(
        name="RTX 4090",
        known_as=r"(NVIDIA )?(GeForce )?RTX 4090",
        sms=128,
        k16=512,
        k32=256,
        peak16=165,
        peak32=82.6,
    ),
    GpuModel(
        name="RTX 3090", known_as=r"(NVIDIA )?(GeForce )?RTX 3090", sms=82, k16=512, k32=256, peak16=71, peak32=35.6
    ),
    GpuModel(name="L40S", known_as=r"(NVIDIA )?L40S", sms=142, k16=1024, k32=256, peak16=362, peak32=91.6),
    GpuModel(name="T4", known_as=r"(NVIDIA |Tesla )?T4", sms=40, k16=1024, k32=128, peak16=65, peak32=8.1),
)
"""
Variants with fewer units under a similar name (H100 PCIe, RTX 4090 D, laptops, MIG slices) match nothing on purpose.

Source: NVIDIA's architecture white papers and data sheets of Hopper, Ada, Ampere and Turing.
"""


def model_of(name: str | None) -> GpuModel | None:
    """Return the model that a name means; None when it is not in the table."""
    return next((one for one in MODELS if name and re.fullmatch(one.known_as, name)), None)


def bounds(gpu: Gpu) -> tuple[float, float] | None:
    """Return the most that a GPU can do at its observed clocks, FP16 and FP32 in TFLOP/s; None when it is not known."""
    model = model_of(gpu.name)
    if model is None or not gpu.fp16_mhz or not gpu.fp32_mhz:
        return None
    return model.sms * gpu.fp16_mhz * model.k16 / 1e6, model.sms * gpu.fp32_mhz * model.k32 / 1e6
