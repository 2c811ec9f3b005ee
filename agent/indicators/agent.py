"""The agent itself: what it uses. Its own counts, such as the outbox's depth, are added by the daemon."""

from agent.host import Host
from agent.indicators import EVERY_REPORT_S, Indicator, NotHere, Reading


def read(host: Host, _before: None) -> Reading | NotHere:
    """Read what this process uses."""
    own = host.own()
    return Reading({"resident_bytes": own.resident_bytes, "cpu_s": own.cpu_s, "threads": own.threads})


INDICATOR = Indicator(
    name="agent",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "resident_bytes": "memory of the agent's process",
        "cpu_s": "CPU time of the agent's process since it started",
        "threads": "threads of the agent's process",
        "version": "the agent's version",
        "loop_lag_ms": "how late the agent's event loop ran its timers, at most, since the last report",
        "outbox_depth": "reports that wait for the collector's acknowledgement",
        "dropped_samples": "reports dropped because the outbox was full, since the agent started",
        "configuration_hash": "the settings in force, by digest",
    },
)
