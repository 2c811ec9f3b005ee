"""Benchmark directory: whether the disk can be measured there without filling it."""

from agent.benchmarks.disk import LEAST_BYTES, size_for
from agent.checks import Check, Finding, Group, Scene, advice, fine, problem
from agent.host import Usage
from shared.codes import Trouble


def judge(directory: str, found: Usage | OSError, *, writable: bool) -> Finding:
    """
    Judge the place of the disk benchmark.

    Args:
        directory: Where it is.
        found: How full its file system is, or why that cannot be told.
        writable: Whether files can be made in it.
    """
    if isinstance(found, OSError):
        remedy = "name a directory of the disk that tenants use: benchmark_dir"
        return problem("benchmark_dir_absent", f"{directory}: {found.strerror}", limit="a directory", remedy=remedy)
    limit = "writable, with room to spare"
    if not writable:
        remedy = f"let the agent's user write in {directory}, or name another one: benchmark_dir"
        return advice("benchmark_dir_unwritable", f"{directory} cannot be written", limit=limit, remedy=remedy)
    try:
        size_for(found.available_bytes, found.size_bytes, LEAST_BYTES)
    except Trouble as trouble:
        remedy = "free some space, or name a directory of the disk that tenants use: benchmark_dir"
        return advice("benchmark_space_low", f"{directory}: {trouble.detail}", limit=limit, remedy=remedy)
    return fine(f"{directory}, {found.available_bytes / 2**30:.0f} GiB free", limit)


def look(scene: Scene) -> Finding:
    """Ask the file system."""
    directory = scene.settings.benchmark_dir
    try:
        found: Usage | OSError = scene.host.usage(directory)
    except OSError as error:
        found = error
    return judge(directory, found, writable=scene.host.writable(directory))


CHECK = Check(
    name="benchmark_dir",
    title="place to measure disks",
    group=Group.BENCHMARKS,
    look=look,
    codes={
        "benchmark_dir_absent": "The disk cannot be measured, and a machine without figures is hard to let.",
        "benchmark_dir_unwritable": "The disk cannot be measured by this user.",
        "benchmark_space_low": "The disk is not measured where that could fill it.",
    },
)
