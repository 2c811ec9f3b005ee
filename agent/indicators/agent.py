"""The agent itself: what it uses. Its own counts, such as the outbox's depth, are added by the daemon."""

from agent.host import Host
from agent.indicators import EVERY_REPORT_S, Counters, Indicator, NotHere, Reading, per_second, without_nothing


def read(host: Host, before: Counters | None) -> Reading | NotHere:
    """Read what this process uses; its share of a CPU needs a second read."""
    own = host.own()
    now = Counters(host.monotonic_s(), {"cpu": own.cpu_s})
    rates = per_second(before, now)
    values = without_nothing(
        {
            "resident_bytes": own.resident_bytes,
            "cpu_s": own.cpu_s,
            "cpu_percent": round(100 * rates["cpu"], 3) if rates else None,
            "threads": own.threads,
            "open_files": own.open_files,
        }
    )
    return Reading(values, now)


INDICATOR = Indicator(
    name="agent",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "resident_bytes": "memory of the agent's process",
        "cpu_s": "CPU time of the agent's process since it started",
        "cpu_percent": "CPU time of the agent's process, of one CPU, since the last read",
        "threads": "threads of the agent's process",
        "open_files": "files and sockets the agent's process has open",
        "version": "the agent's version",
        "loop_lag_ms": "how late the agent's event loop ran its timers, at most, since the last report",
        "outbox_depth": "reports that wait for the collector's acknowledgement",
        "dropped_samples": "reports dropped because the outbox was full, ever",
        "configuration_hash": "the settings in force, by digest",
    },
)
