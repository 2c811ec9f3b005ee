"""What the processes of a GPU benchmark tell each other: plain values, as JSON a line each."""

from msgspec import Struct

PHASES = ("fp16", "fp32", "memory", "to_gpu", "to_host")
"""What is measured, in this order, by all GPUs at once."""


class Course(Struct, frozen=True):
    """How long one thing is done: before it counts, while it counts, and how long one batch is, in seconds."""

    warm_s: float
    timed_s: float
    batch_s: float


class Plan(Struct, frozen=True, kw_only=True):
    """
    How to measure.

    Attributes:
        size: Rows and columns of the matrices.
        small_size: The same for a GPU with less than `SMALL_BYTES` of free memory.
        product, copy: For matrix products, and for copies.
        copy_bytes, pinned_bytes: What is copied within the GPU (far more than its caches hold), and to and from it.
        idle_s: How long all GPUs must be left alone by others before; they are waited for twice that.
        patience_s: How long a process may take for its next word; beyond a phase's own time.
    """

    size: int = 8192
    small_size: int = 4096
    product: Course = Course(2.0, 5.0, 0.25)
    copy: Course = Course(0.2, 0.8, 0.1)
    copy_bytes: int = 2**30
    pinned_bytes: int = 2**28
    idle_s: float = 10.0
    patience_s: float = 60.0


FULL = Plan()
QUICK = Plan(product=Course(0.5, 1.5, 0.25), copy=Course(0.1, 0.2, 0.05), idle_s=2.0)
SMALL_BYTES = 4 * 2**30


class Task(Struct, frozen=True, kw_only=True):
    """What the process for one GPU is told at first; `nonce` chooses which elements of a product are checked."""

    plan: Plan
    uuid: str
    nonce: bytes | None = None


class Timing(Struct, frozen=True, kw_only=True):
    """
    How one phase went.

    Attributes:
        began_s, ended_s: By the machine's monotonic clock, which all its processes share.
        low, median, high: Of the batches: floating point operations a second, or bytes a second.
        batches: How many there were.
    """

    began_s: float
    ended_s: float
    low: float
    median: float
    high: float
    batches: int


class Measured(Struct, frozen=True, kw_only=True):
    """What the process for one GPU found out; `checked` elements of both products were right."""

    multiprocessors: int
    capability: str
    cuda: str
    cublas: str
    size: int
    checked: int
    timings: dict[str, Timing]


class Failure(Struct, frozen=True):
    """Why there is nothing from a GPU: a stable code, and words."""

    code: str
    reason: str


class Said(Struct, frozen=True, omit_defaults=True):
    """One line of the process for one GPU: it is warm for a phase, or it is at its end."""

    warm: str = ""
    measured: Measured | None = None
    failure: Failure | None = None


class Card(Struct, frozen=True, kw_only=True):
    """One GPU as NVML describes it; None for what this model does not tell. `pci`: "0000:17:00.0"."""

    uuid: str
    name: str
    pci: str
    memory_mib: int
    mhz_max: int | None = None
    power_limit_w: float | None = None
    ecc: bool | None = None
    persistence: bool | None = None
    mig: bool | None = None
    pcie_max: str | None = None


class Reading(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One GPU at one moment; None for what this model does not tell.

    Attributes:
        mhz: Clock of the multiprocessors.
        reasons: NVML's clocks event reasons, a bit each.
        use_percent: Share of the last moments in which anything ran on it.
        pcie: Generation and width of the link now, as "4x16"; it rests when nothing is moved.
        pids: Processes that compute on it.
        error: Why there is nothing: it was lost, say.
    """

    mhz: int | None = None
    power_w: float | None = None
    celsius: int | None = None
    reasons: int | None = None
    use_percent: int | None = None
    pcie: str | None = None
    pids: tuple[int, ...] = ()
    error: str = ""


class Watched(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    One line of the process that watches: at first `driver` and `cards`, then a look at all of them, in their order.

    Attributes:
        at_s: By the machine's monotonic clock.
        error: Why there is nothing and will be nothing.
        code: A stable code for `error`.
    """

    driver: str = ""
    cards: tuple[Card, ...] = ()
    at_s: float = 0.0
    readings: tuple[Reading, ...] = ()
    error: str = ""
    code: str = ""
