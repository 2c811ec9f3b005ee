"""What the collector finds odd about a benchmark: flags for an admin to judge by, never a silent rejection."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct


class FlagCode(StrEnum):
    """A stable name of what is odd. Programs switch on these; the words beside them may change."""

    # any figure
    ABSURD = "absurd"
    UNEXPLAINED = "unexplained"
    OUTLIER = "outlier"
    JUMP = "jump"
    REPLAYED = "replayed"
    # time
    ENDED_BEFORE_START = "ended_before_start"
    ENDED_AFTER_RECEIPT = "ended_after_receipt"
    STARTED_BEFORE_ORDER = "started_before_order"
    NO_TIME_FOR_IT = "no_time_for_it"
    # GPU
    OVER_BOUND = "over_bound"
    UNDER_BOUND = "under_bound"
    NO_BOUND = "no_bound"
    FALSE_NAME = "false_name"
    ODD_RATIO = "odd_ratio"
    OTHER_GPU = "other_gpu"
    GPU_ELSEWHERE = "gpu_elsewhere"
    # disk
    OVER_LINK = "over_link"
    TOO_FAST_FOR_PLATTERS = "too_fast_for_platters"
    OVER_MEMORY = "over_memory"
    CACHED = "cached"
    NOT_WRITTEN = "not_written"
    NO_PROOF = "no_proof"
    COMPRESSIBLE = "compressible"
    # network
    OVER_WITNESS = "over_witness"
    WITNESS_MISSING = "witness_missing"
    WITNESS_FORGED = "witness_forged"
    WITNESS_FOREIGN = "witness_foreign"
    # CPU
    OFF_MODEL = "off_model"
    OVER_THREADS = "over_threads"
    # challenge
    CHALLENGE_MISSING = "challenge_missing"
    CHALLENGE_REPLAYED = "challenge_replayed"
    CHALLENGE_WRONG = "challenge_wrong"
    CHALLENGE_LATE = "challenge_late"
    CHALLENGE_ELSEWHERE = "challenge_elsewhere"


MEANING: dict[FlagCode, str] = {
    FlagCode.ABSURD: "No hardware does this; the figure was not stored.",
    FlagCode.UNEXPLAINED: "The figure is not the one that its own component measured.",
    FlagCode.OUTLIER: "Far from the same model's figures in the fleet.",
    FlagCode.JUMP: "Far from this machine's own figure before, with the same hardware.",
    FlagCode.REPLAYED: "Two figures are those of an earlier benchmark, digit for digit.",
    FlagCode.ENDED_BEFORE_START: "By the machine's own clock it ended before it started.",
    FlagCode.ENDED_AFTER_RECEIPT: "It says it ended later than its result was here.",
    FlagCode.STARTED_BEFORE_ORDER: "It started before it was ordered.",
    FlagCode.NO_TIME_FOR_IT: "It says it ran for longer than there was time between the order and the answer.",
    FlagCode.OVER_BOUND: "More than this GPU can do at the clock that was observed.",
    FlagCode.UNDER_BOUND: "Much less than this GPU does at the clock that was observed.",
    FlagCode.NO_BOUND: "This GPU's model, or its clock, is not known, so its figures have no bound.",
    FlagCode.FALSE_NAME: "What the GPU is does not fit the model it is called.",
    FlagCode.ODD_RATIO: "FP16 over FP32 is not what this model's is.",
    FlagCode.OTHER_GPU: "Another GPU was measured than the machine's record names.",
    FlagCode.GPU_ELSEWHERE: "A GPU with this UUID was measured in another machine, or stands twice in this one.",
    FlagCode.OVER_LINK: "More than the link carries.",
    FlagCode.TOO_FAST_FOR_PLATTERS: "More than a rotating disk gives.",
    FlagCode.OVER_MEMORY: "More than a quarter of the memory's bandwidth: memory was read, not a disk.",
    FlagCode.CACHED: "Part of what was read did not come from the device.",
    FlagCode.NOT_WRITTEN: "Part of what was written did not reach the device, so reading it proves nothing either.",
    FlagCode.NO_PROOF: "Nothing tells which device did the work, or whether one did, and no mark says why.",
    FlagCode.COMPRESSIBLE: "The data was not random; a device that packs it looks faster than it is.",
    FlagCode.OVER_WITNESS: "More than the measuring server saw.",
    FlagCode.WITNESS_MISSING: "No measuring server vouches for it: only this machine says so.",
    FlagCode.WITNESS_FORGED: "What should be the measuring server's word is not signed by it.",
    FlagCode.WITNESS_FOREIGN: "The measuring server's word is about another run.",
    FlagCode.OFF_MODEL: "One thread is not as fast as the same CPU model's elsewhere.",
    FlagCode.OVER_THREADS: "All threads together are faster than that many times one of them.",
    FlagCode.CHALLENGE_MISSING: "The challenge was not answered.",
    FlagCode.CHALLENGE_REPLAYED: "The answer is to another challenge than this order's.",
    FlagCode.CHALLENGE_WRONG: "The answer to the challenge is wrong.",
    FlagCode.CHALLENGE_LATE: "The answer to the challenge came too late, or took longer than there was time.",
    FlagCode.CHALLENGE_ELSEWHERE: "The challenge was answered on a GPU that was not measured.",
}


class Flag(Struct, frozen=True, kw_only=True):
    """
    One thing that is odd about a benchmark.

    `figure`: the attribute it is about; null for all of the benchmark. `words`: with the numbers. `shadow`: told, and
    counts for nothing: a check that is still on trial, or one that could not be made.
    """

    code: FlagCode
    figure: Annotated[str, Meta(max_length=80)] | None = None
    words: Annotated[str, Meta(max_length=300)]
    shadow: bool = False
