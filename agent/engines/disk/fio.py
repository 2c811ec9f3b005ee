"""fio 3, where it is installed: the same job as the engines of our own."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import IO, Any

import msgspec

from agent.engines.disk import SLICE_S, Engine, Job, Moved, Tell
from agent.processes import die_with_parent
from shared.codes import Code, Trouble

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""
Buffers in one piece, as in `buffers`, whatever this machine's policy for huge pages is; older C libraries ignore it.

Source: The GNU C Library, Memory Allocation Tunables (since 2.35).
"""
PERCENTILES = {"p50": "50.000000", "p99": "99.000000", "p99_9": "99.900000"}
LEAST_SLICE_S = 0.8 * SLICE_S
"""fio reports about once a slice; what lies between two reports that are nearer than this is too little to tell."""


def parse_version(text: str) -> str | None:
    """Return the version in the answer of `fio --version` ("fio-3.33"); None for one before 3."""
    found = re.match(r"fio-(\d+)\.(\d+)\S*", text)
    return found[0].removeprefix("fio-") if found and int(found[1]) >= 3 else None


def available() -> str | None:
    """Return fio's version; None where it is missing, too old, or built without Linux's asynchronous I/O."""
    try:
        version = parse_version(_answer("--version"))
        return version if version and "libaio" in _answer("--enghelp").split() else None
    except (OSError, subprocess.SubprocessError):
        return None


def _answer(question: str) -> str:
    return subprocess.run(("fio", question), capture_output=True, text=True, timeout=5, check=True).stdout


def command(descriptor: int, job: Job) -> tuple[str, ...]:
    """Return the command line of a job; the file has no name but this, in the program's own /proc entry."""
    order = ("rand" if job.random else "") + ("write" if job.write else "read")
    return (
        "fio",
        "--name=rackproof",
        "--thread",  # one process, so that the kernel ends all of it when we end
        f"--filename=/proc/self/fd/{descriptor}",
        f"--rw={order}",
        f"--bs={job.block_bytes}",
        "--ioengine=libaio",
        f"--iodepth={job.in_flight}",
        "--direct=1",
        f"--size={job.size_bytes}",
        f"--io_size={job.most_bytes}",
        f"--runtime={job.limit_s:.0f}",
        "--refill_buffers",
        "--buffer_compress_percentage=0",
        "--dedupe_percentage=0",
        "--fallocate=none",
        "--norandommap",
        "--randrepeat=0",
        "--percentile_list=50:99:99.9",
        "--output-format=json",
        f"--status-interval={SLICE_S * 1000:.0f}ms",
    )


def move(descriptor: int, job: Job, tell: Tell) -> Moved:
    """Do a job; raises `OSError` with what the kernel said, `Trouble` when fio says nothing we can read."""
    child = subprocess.Popen(
        command(descriptor, job),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **HUGE_PAGES},
        pass_fds=(descriptor,),
        preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - nothing else runs in this process now
    )
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        seen = []
        try:
            for report in reports(child.stdout):
                seen.append(report)
                tell(_side(report, job)["io_bytes"])
            words = child.stderr.read().strip().splitlines()
        except BaseException:
            child.kill()
            raise
    if seen and (error := seen[-1]["error"]):
        raise OSError(error, os.strerror(error))
    if child.returncode or not seen:
        raise Trouble(Code.BENCHMARK_FAILED, f"fio ended with {child.returncode}: {words[0] if words else 'no words'}")
    return moved(seen, job)


def reports(lines: IO[str]) -> Iterator[Any]:
    """
    Return the job's part of each report that fio prints, as they come: one about every slice, and the last one.

    Raises:
        Trouble: fio printed something that is no report.
    """
    text: list[str] = []
    for line in lines:
        if text or line.startswith("{"):
            text.append(line)
        if line.startswith("}"):
            try:
                yield msgspec.json.decode("".join(text))["jobs"][0]
            except (msgspec.MsgspecError, LookupError, TypeError) as error:
                raise Trouble(Code.BENCHMARK_FAILED, "fio printed a report that cannot be read") from error
            text.clear()


def moved(seen: Sequence[Any], job: Job) -> Moved:
    """Return what reports tell: each has the bytes and the milliseconds since the job's start."""
    sides = [_side(one, job) for one in seen]
    points = [(0.0, 0), *((one["runtime"] / 1e3, one["io_bytes"]) for one in sides)]
    series = [(now - then, much - before) for (then, before), (now, much) in pairwise(points)]
    chosen = sides[-1]["clat_ns"].get("percentile", {}) if job.random else {}
    return Moved(
        total_bytes=points[-1][1],
        passed_s=points[-1][0],
        series_mb_s=tuple(much / 1e6 / passed_s for passed_s, much in series if passed_s >= LEAST_SLICE_S),
        latency_us={name: round(chosen[key] / 1e3, 1) for name, key in PERCENTILES.items() if key in chosen},
    )


def _side(report: Any, job: Job) -> Any:
    return report["write" if job.write else "read"]


ENGINE = Engine("fio", available, move)
