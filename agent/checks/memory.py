"""Memory: whether there is enough for the agent to live on."""

from agent.checks import Check, Finding, Group, Scene, fine, problem
from agent.indicators.memory import parse_meminfo

LEAST_BYTES = 200_000_000
"""The agent takes about 45 MB; below this the kernel is about to kill something, and it may be the agent."""


def judge(available_bytes: int) -> Finding:
    """Judge the memory that new programs could get."""
    value, limit = f"{available_bytes / 1e6:.0f} MB available", f"at least {LEAST_BYTES / 1e6:.0f} MB"
    if available_bytes >= LEAST_BYTES:
        return fine(value, limit)
    remedy = "end what uses the memory (ps aux --sort=-rss | head), or add swap"
    return problem("memory_low", value, limit=limit, remedy=remedy)


def look(scene: Scene) -> Finding:
    """Look at the memory."""
    return judge(parse_meminfo(scene.host.text("/proc/meminfo"))["MemAvailable"])


CHECK = Check(
    name="memory",
    title="memory",
    group=Group.STATE,
    look=look,
    codes={"memory_low": "The kernel is about to kill processes for want of memory, and the agent may be one of them."},
)
