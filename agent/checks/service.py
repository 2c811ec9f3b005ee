"""Service: whether the agent runs and is heard."""

from datetime import UTC, datetime

from agent.checks import Check, Finding, Group, Scene, fine, problem, unknown
from agent.status import FRESH_S, Status, alive, read_status
from shared.codes import Code, Trouble

START = "sudo systemctl start rackproof-agent"


def judge(told: Status | None, now: datetime, *, runs: bool, enrolled: bool) -> Finding:
    """
    Judge the running agent.

    Args:
        told: What it told last; None when it never ran.
        now: The time.
        runs: Whether its process is there.
        enrolled: Whether it could run at all.
    """
    if not enrolled:
        return unknown("it runs once this machine is enrolled")
    if told is None:
        return problem("agent_stopped", "it has never run", limit="runs", remedy=START)
    if not runs:
        return problem("agent_stopped", f"not running since {told.at:%Y-%m-%d %H:%M} UTC", limit="runs", remedy=START)
    silent_s = (now - told.at).total_seconds()
    if silent_s > FRESH_S:
        remedy = "sudo systemctl restart rackproof-agent; journalctl -u rackproof-agent says why"
        value = f"process {told.pid} has told nothing for {silent_s:.0f} s"
        return problem("agent_silent", value, limit=f"at most {FRESH_S:.0f} s", remedy=remedy)
    if told.link != "online":
        remedy = "see the collector's lines; the agent tries again by itself, within half a minute"
        return problem("agent_offline", told.link, limit="online", remedy=remedy)
    return fine(f"online, process {told.pid}")


def look(scene: Scene) -> Finding:
    """Read what the running agent told last."""
    try:
        told = read_status(scene.settings.status_file)
        enrolled = scene.settings.pinned_file.exists()
    except PermissionError:
        return unknown("only root and the agent's user may look")
    except Trouble as trouble:
        if trouble.code is Code.FORBIDDEN:
            return unknown("only root and the agent's user may look")
        return problem("agent_silent", trouble.detail, remedy="sudo systemctl restart rackproof-agent")
    return judge(told, datetime.now(UTC), runs=told is not None and alive(told.pid), enrolled=enrolled)


CHECK = Check(
    name="service",
    title="agent",
    group=Group.IDENTITY,
    look=look,
    codes={
        "agent_stopped": "A machine that is not heard counts as offline and is not rented out.",
        "agent_silent": "The process is there and does not do its work; the machine soon counts as offline.",
        "agent_offline": "The agent runs and cannot reach its collector, so the machine counts as offline.",
    },
)
