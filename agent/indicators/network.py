"""Network: how fast the links are, how much they carry, what they lose."""

from collections.abc import Mapping

from agent.host import Host
from agent.host.links import is_up, link_names, speed_mbit_s
from agent.indicators import EVERY_REPORT_S, Counters, Indicator, Items, NotHere, Reading, per_second, without_nothing

MOST_LINKS = 32
"""Links reported; a machine with more says how many were left out."""

COUNTERS = {"receive": 0, "receive errors": 2, "receive drops": 3, "send": 8, "send errors": 10, "send drops": 11}
"""Columns of /proc/net/dev. Source: proc_pid_net(5)."""


def parse_counters(text: str, names: frozenset[str]) -> dict[str, dict[str, float]]:
    """Return each link's counts since it was made; bytes, or packets for errors and drops."""
    found = {}
    for line in text.splitlines():
        name, colon, columns = line.strip().partition(":")
        counts = columns.split()
        if colon and name in names and len(counts) >= 16:
            found[name] = {what: float(counts[column]) for what, column in COUNTERS.items()}
    return found


def parse_rates(rates: Mapping[str, float]) -> dict[str, Items]:
    """Turn bytes a second, named "eth0 receive", into MB/s by link."""
    found: dict[str, Items] = {"receive_mb_s": {}, "send_mb_s": {}}
    for name, rate in rates.items():
        link, _, what = name.rpartition(" ")
        found[f"{what}_mb_s"][link] = round(rate / 1e6, 3)
    return found


def read(host: Host, before: Counters | None) -> Reading | NotHere:
    """Read the links; rates need a second read."""
    names = link_names(host)
    if not names:
        return NotHere("no network link but the loopback")
    shown = names[:MOST_LINKS]
    counts = parse_counters(host.text("/proc/net/dev"), frozenset(shown))
    bytes_counted = {
        f"{name} {what}": count
        for name, by in counts.items()
        for what, count in by.items()
        if what in {"receive", "send"}
    }
    now = Counters(host.monotonic_s(), bytes_counted)
    speeds = {name: speed_mbit_s(host, name) for name in shown}
    values = without_nothing(
        {
            "up": {name: is_up(host, name) for name in shown},
            "speed_mbit_s": {name: speed for name, speed in speeds.items() if speed is not None},
            **parse_rates(per_second(before, now)),
            "errors": {name: int(by["receive errors"] + by["send errors"]) for name, by in counts.items()},
            "drops": {name: int(by["receive drops"] + by["send drops"]) for name, by in counts.items()},
            "links_left_out": len(names) - MOST_LINKS if len(names) > MOST_LINKS else None,
        }
    )
    return Reading(values, now)


INDICATOR = Indicator(
    name="network",
    interval_s=EVERY_REPORT_S,
    deadline_s=5.0,
    read=read,
    describes={
        "up": "by link: whether it works (operstate)",
        "speed_mbit_s": "by link: negotiated speed; many virtual links do not tell",
        "receive_mb_s": "by link: 10^6 bytes received a second, since the last read (/proc/net/dev)",
        "send_mb_s": "by link: 10^6 bytes sent a second, since the last read (/proc/net/dev)",
        "errors": "by link: packets received or sent with an error since the link was made (/proc/net/dev)",
        "drops": "by link: packets dropped since the link was made (/proc/net/dev)",
        "links_left_out": "links beyond the 32 reported",
    },
)
