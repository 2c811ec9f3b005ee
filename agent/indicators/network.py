"""Network: how fast the links are, how much they carry, what they lose."""

from collections.abc import Mapping

from msgspec import Struct

from agent.host import Host, numbers
from agent.host.links import carrier_changes, is_up, link_names, speed_mbit_s
from agent.indicators import (
    EVERY_REPORT_S,
    Counters,
    Held,
    Indicator,
    Items,
    NotHere,
    Reading,
    held,
    per_second,
    without_nothing,
)

MOST_LINKS = 32
"""Links reported; a machine with more says how many were left out."""

LINKS_HOLD_S = 60.0
"""Links come and go by hand, and for its speed some drivers ask the hardware."""

COUNTERS = {"receive": 0, "receive errors": 2, "receive drops": 3, "send": 8, "send errors": 10, "send drops": 11}
"""Columns of /proc/net/dev. Source: proc_pid_net(5)."""


class Kept(Struct, frozen=True):
    """What the next read needs: counters, and the links with their speeds."""

    counters: Counters
    speeds: Held[Mapping[str, int | None]]


def parse_counters(text: str, names: frozenset[str]) -> dict[str, dict[str, float]]:
    """
    Return each link's counts since it was made; bytes, or packets for errors and drops.

    Raises:
        Unreadable: a link's line holds something that is no number.
    """
    found = {}
    for line in text.splitlines():
        name, colon, columns = line.strip().partition(":")
        words = columns.split()
        if colon and name in names and len(words) >= 16:
            counts = numbers(words, "/proc/net/dev")
            found[name] = {what: counts[column] for what, column in COUNTERS.items()}
    return found


def parse_rates(rates: Mapping[str, float]) -> dict[str, Items]:
    """Turn bytes a second, named "eth0 receive", into MB/s by link."""
    found: dict[str, Items] = {"receive_mb_s": {}, "send_mb_s": {}}
    for name, rate in rates.items():
        link, _, what = name.rpartition(" ")
        found[f"{what}_mb_s"][link] = round(rate / 1e6, 3)
    return found


def _bytes_counted(counts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return what rates are made of, by "eth0 receive"."""
    return {f"{name} {what}": by[what] for name, by in counts.items() for what in ("receive", "send")}


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the links; rates need a second read."""
    now_s = host.monotonic_s()
    speeds = held(
        before.speeds if before is not None else None,
        now_s,
        LINKS_HOLD_S,
        lambda: {name: speed_mbit_s(host, name) for name in link_names(host)},
    )
    names = tuple(speeds.value)
    if not names:
        return NotHere("no network link but the loopback")
    shown = names[:MOST_LINKS]
    counts = parse_counters(host.text("/proc/net/dev"), frozenset(shown))
    now = Counters(now_s, _bytes_counted(counts))
    changes = {name: carrier_changes(host, name) for name in shown}
    values = without_nothing(
        {
            "up": {name: is_up(host, name) for name in shown},
            "speed_mbit_s": {name: speed for name in shown if (speed := speeds.value[name]) is not None},
            **parse_rates(per_second(before.counters if before is not None else None, now)),
            "errors": {name: int(by["receive errors"] + by["send errors"]) for name, by in counts.items()},
            "drops": {name: int(by["receive drops"] + by["send drops"]) for name, by in counts.items()},
            "carrier_changes": {name: count for name, count in changes.items() if count is not None},
            "links_left_out": len(names) - MOST_LINKS if len(names) > MOST_LINKS else None,
        }
    )
    return Reading(values, Kept(now, speeds))


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
        "carrier_changes": "by link: times its carrier came or went since it was made (carrier_changes)",
        "links_left_out": "links beyond the 32 reported",
        "collector_rtt_ms": "round trip to the collector, smoothed by the kernel (TCP_INFO of the agent's link)",
        "collector_resent_percent": "bytes sent to the collector again, of all in the last five minutes (TCP_INFO)",
    },
)
