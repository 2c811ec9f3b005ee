"""Clock: whether a time service keeps it right."""

from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from agent.host import Clock

MOST_OFFSET_MS = 1000.0
"""Orders carry times of validity, and TLS certificates too; a second off is far more than any time service leaves."""

REMEDY = "sudo timedatectl set-ntp true; where there is no time service: sudo apt install chrony"


def judge(clock: Clock) -> Finding:
    """Judge a clock."""
    limit = f"at most {MOST_OFFSET_MS:g} ms off"
    if clock.synchronized is None or clock.offset_ms is None:
        return unknown("the kernel may not be asked here")
    if not clock.synchronized:
        return problem("clock_free", "no time service keeps it", limit=limit, remedy=REMEDY)
    value = f"{clock.offset_ms:g} ms off"
    if abs(clock.offset_ms) > MOST_OFFSET_MS:
        return problem("clock_off", value, limit=limit, remedy="wait for the time service, or: sudo chronyc makestep")
    return fine(value, limit)


def look(scene: Scene) -> Finding:
    """Look at the clock."""
    return judge(scene.host.clock())


CHECK = Check(
    name="clock",
    title="clock synchronized",
    group=Group.STATE,
    look=look,
    codes={
        "clock_free": "Every clock drifts; minutes off, no certificate is trusted and wipes are refused.",
        "clock_off": "Times in reports and evidence are wrong by that much.",
    },
)
