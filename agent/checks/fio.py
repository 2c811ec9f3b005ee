"""fio: whether the disk benchmark has it; without, an engine of our own measures."""

from agent.checks import Check, Finding, Group, Scene, advice, fine
from agent.engines.disk import fio


def judge(version: str | None) -> Finding:
    """Judge fio's version; None where there is none that can be used."""
    limit = "fio 3 with libaio; optional"
    if version is not None:
        return fine(f"fio {version}", limit)
    return advice(
        "fio_absent", "none that can be used", limit=limit, remedy="sudo apt install fio (or dnf install fio)"
    )


def look(_scene: Scene) -> Finding:
    """Ask fio for its version."""
    return judge(fio.available())


CHECK = Check(
    name="fio",
    title="fio",
    group=Group.BENCHMARKS,
    look=look,
    codes={"fio_absent": "Disks are measured by an engine of the agent's own, which buyers may know less well."},
)
