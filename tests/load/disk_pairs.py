"""
The disk benchmark's own engines beside fio, in pairs, on whatever disk the directory is on.

    python tests/load/disk_pairs.py [--pairs 10] [--seconds 2] [--directory /var/tmp] [--gib 1]

Both do the job of the disk benchmark (1 MiB blocks, 32 in flight, direct I/O, random bytes) on the same file, which has
been written once, for `--seconds` or `--passes` over it. A pair is one run of each right after the other, in the order
AB, BA, AB ...; the control is a pair of two runs of fio, and shows what the disk itself does to a ratio. The rate is all
bytes over the whole time, for both. On a file in memory, without direct I/O, the same pairs show what an engine costs:
its ceiling. fio gets its memory in huge pages where the kernel gives them, as our engines do: a device that takes 254
pieces at once splits every block of 256 scattered pages, which is no difference between engines.

Goals: on the disk a median ratio (ours over fio) of 0.90 to 1.10 and within what the control's pairs show; in memory at
least 0.90. Exit 1 when one is missed, or when there is no fio.
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.benchmarks.disk import BLOCK, IN_FLIGHT
from agent.engines.disk import Engine, Job, aio, threads
from agent.engines.disk.fio import HUGE_PAGES

LEAST, MOST = 0.90, 1.10
OURS = (aio.ENGINE, threads.ENGINE)

Run = Callable[[], float]
"""Does the job once and returns MB/s (10^6)."""


class Row(NamedTuple):
    """One comparison: MB/s of each run of ours and of fio's beside it."""

    place: str
    way: str
    name: str
    pairs: list[tuple[float, float]]

    def ratios(self) -> list[float]:
        """Ours over fio, by pair."""
        return [ours / fio for ours, fio in self.pairs]


def by_fio(path: Path, job: Job, *, direct: bool) -> float:
    """Run fio as anybody would, and return its own figure."""
    argv = [
        *("fio", "--name=job", f"--filename={path}", f"--rw={'write' if job.write else 'read'}"),
        *(f"--bs={job.block_bytes}", "--ioengine=libaio", f"--iodepth={job.in_flight}", f"--direct={int(direct)}"),
        *(f"--size={job.size_bytes}", f"--io_size={job.most_bytes}", f"--runtime={job.limit_s:.0f}"),
        *("--refill_buffers", "--buffer_compress_percentage=0", "--dedupe_percentage=0", "--output-format=json"),
    ]
    environment = {**os.environ, **HUGE_PAGES}
    found = json.loads(subprocess.run(argv, check=True, capture_output=True, env=environment).stdout)
    return found["jobs"][0]["write" if job.write else "read"]["bw_bytes"] / 1e6


def by_us(engine: Engine, path: Path, job: Job, *, direct: bool) -> float:
    """Run one of our engines."""
    descriptor = os.open(path, os.O_RDWR | (os.O_DIRECT if direct else 0))
    try:
        moved = engine.move(descriptor, job, lambda _: None)
    finally:
        os.close(descriptor)
    return moved.total_bytes / 1e6 / moved.passed_s


def in_pairs(ours: Run, fio: Run, count: int) -> list[tuple[float, float]]:
    """Run pairs, the first of each by turns."""
    found = []
    for number in range(count):
        if number % 2:
            second = fio()
            found.append((ours(), second))
        else:
            found.append((ours(), fio()))
    return found


@contextmanager
def written(folder: Path, job: Job, *, direct: bool) -> Iterator[Path]:
    """Give a file that has been written once."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        path = Path(made, "file")
        with path.open("wb") as file:
            file.truncate(job.size_bytes)
        by_us(threads.ENGINE, path, job, direct=direct)
        yield path


def compared(place: str, folder: Path, jobs: list[Job], count: int, *, direct: bool) -> Iterator[Row]:
    """Compare all engines in one directory, and fio with itself."""
    with written(folder, jobs[0], direct=direct) as path:
        for job in jobs:
            way = "write" if job.write else "read"

            def fio(job: Job = job) -> float:
                return by_fio(path, job, direct=direct)

            for engine in OURS:

                def ours(engine: Engine = engine, job: Job = job) -> float:
                    return by_us(engine, path, job, direct=direct)

                yield Row(place, way, engine.name, in_pairs(ours, fio, count))
            yield Row(place, way, "fio", in_pairs(fio, fio, count))


def band(control: Row) -> tuple[float, float]:
    """Return the least and the most ratio of two runs of the same program, whichever came first."""
    both = list(itertools.chain.from_iterable((one, 1 / one) for one in control.ratios()))
    return min(both), max(both)


def verdict(row: Row, control: Row) -> str:
    """Return "met", or which goal is missed; nothing for a control."""
    middle = statistics.median(row.ratios())
    low, high = band(control)
    if row is control:
        return f"control: {low:.2f} to {high:.2f}"
    if row.place == "memory":
        return "met" if middle >= LEAST else f"missed: below {LEAST:.2f}"
    if not LEAST <= middle <= MOST:
        return f"missed: not in {LEAST:.2f} to {MOST:.2f}"
    return "met" if low <= middle <= high else f"missed: not in the control's {low:.2f} to {high:.2f}"


def line(row: Row, control: Row) -> str:
    """Return a row of the table."""
    ours, fio = (statistics.median(one) for one in zip(*row.pairs, strict=True))
    ratios = row.ratios()
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    words = verdict(row, control)
    return (
        f"{row.place:8}{row.way:7}{row.name:9}{ours:9.0f}{fio:9.0f}{statistics.median(ratios):8.2f}  {spread:14}{words}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10, help="of each comparison")
    parser.add_argument("--seconds", type=int, default=2, help="a run at most")
    parser.add_argument("--passes", type=int, default=2, help="over the file at most")
    parser.add_argument("--gib", type=float, default=1.0, help="the file's size")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="on the disk that is measured")
    given = parser.parse_args()
    if shutil.which("fio") is None:
        print("fio is not installed (Debian: fio)")
        return 1
    size = int(given.gib * 2**30) // BLOCK * BLOCK
    jobs = [
        Job(
            write=write,
            block_bytes=BLOCK,
            in_flight=IN_FLIGHT,
            size_bytes=size,
            most_bytes=given.passes * size,
            limit_s=float(given.seconds),
        )
        for write in (True, False)
    ]
    version = subprocess.run(["fio", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, {version}, {given.pairs} pairs, {given.directory}")
    print(f"{'place':8}{'way':7}{'engine':9}{'MB/s':>9}{'fio MB/s':>9}{'ratio':>8}  {'least to most':14}goal")
    failed = False
    for place, folder, direct in (("disk", given.directory, True), ("memory", Path("/dev/shm"), False)):
        rows = list(compared(place, folder, jobs, given.pairs, direct=direct))
        for row in rows:
            control = next(one for one in rows if one.way == row.way and one.name == "fio")
            failed |= verdict(row, control).startswith("missed")
            print(line(row, control), flush=True)
    print("a goal is missed" if failed else "every goal is met")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
