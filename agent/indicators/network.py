"""Network: how fast the links are, how much they carry, what they lose."""

from collections.abc import Mapping

from msgspec import Struct

from agent.host import Host, number_or_none, numbers, text_or_none
from agent.host.links import bonds, carrier_changes, is_up, link_names, speed_mbit_s
from agent.indicators import (
    EVERY_REPORT_S,
    Counters,
    Held,
    Indicator,
    Items,
    NotHere,
    Reading,
    growth,
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


_TRACKED = "/proc/sys/net/netfilter/nf_conntrack"


class Links(Struct, frozen=True):
    """What is looked for rarely: the links with their speeds, and the bonds with their links."""

    speeds: Mapping[str, int | None]
    bonds: Mapping[str, tuple[str, ...]]


class Kept(Struct, frozen=True):
    """What the next read needs."""

    counters: Counters
    tcp: Counters
    links: Held[Links]


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


def parse_tcp(snmp: str) -> dict[str, float]:
    """
    Return how many TCP segments this machine sent, and sent again, by "OutSegs" and "RetransSegs".

    Source: Linux, net/ipv4/proc.c: a line of names, then one of numbers; RFC 4022 has what they mean.
    """
    lines = [line.split()[1:] for line in snmp.splitlines() if line.startswith("Tcp:")]
    if len(lines) != 2:
        return {}
    found = dict(zip(*lines, strict=False))
    return {name: float(found[name]) for name in ("OutSegs", "RetransSegs") if found.get(name, "").isdecimal()}


def _resent_percent(before: Counters | None, now: Counters) -> float | None:
    """Return the share of segments that were sent again; None where none was sent."""
    grown = growth(before, now)
    sent, resent = grown.get("OutSegs", 0.0), grown.get("RetransSegs")
    return round(100 * min(resent / sent, 1.0), 3) if sent and resent is not None else None


def _tracked_percent(host: Host) -> float | None:
    """Return how full the firewall's table of connections is; None without one."""
    count, most = number_or_none(host, f"{_TRACKED}_count"), number_or_none(host, f"{_TRACKED}_max")
    return round(100 * count / most, 1) if count is not None and most else None


def _links(host: Host) -> Links:
    return Links({name: speed_mbit_s(host, name) for name in link_names(host)}, bonds(host))


def _bytes_counted(counts: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return what rates are made of, by "eth0 receive"."""
    return {f"{name} {what}": by[what] for name, by in counts.items() for what in ("receive", "send")}


def read(host: Host, before: Kept | None) -> Reading | NotHere:
    """Read the links; rates need a second read."""
    now_s = host.monotonic_s()
    links = held(before.links if before is not None else None, now_s, LINKS_HOLD_S, lambda: _links(host))
    speeds, names = links.value.speeds, tuple(links.value.speeds)
    if not names:
        return NotHere("no network link but the loopback")
    shown = names[:MOST_LINKS]
    counts = parse_counters(host.text("/proc/net/dev"), frozenset(shown))
    now = Counters(now_s, _bytes_counted(counts))
    tcp = Counters(now_s, parse_tcp(text_or_none(host, "/proc/net/snmp") or ""))
    changes = {name: carrier_changes(host, name) for name in shown}
    values = without_nothing(
        {
            "up": {name: is_up(host, name) for name in shown},
            "speed_mbit_s": {name: speed for name in shown if (speed := speeds[name]) is not None},
            **parse_rates(per_second(before.counters if before is not None else None, now)),
            "errors": {name: int(by["receive errors"] + by["send errors"]) for name, by in counts.items()},
            "drops": {name: int(by["receive drops"] + by["send drops"]) for name, by in counts.items()},
            "carrier_changes": {name: count for name, count in changes.items() if count is not None},
            "bond_links": {bond: len(members) for bond, members in links.value.bonds.items()},
            "bond_links_up": {
                bond: sum(is_up(host, member) for member in members) for bond, members in links.value.bonds.items()
            },
            "tcp_resent_percent": _resent_percent(before.tcp if before is not None else None, tcp),
            "connections_tracked_percent": _tracked_percent(host),
            "links_left_out": len(names) - MOST_LINKS if len(names) > MOST_LINKS else None,
        }
    )
    return Reading(values, Kept(now, tcp, links))


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
        "bond_links": "by bond: links it is made of",
        "bond_links_up": "by bond: links of it that work; fewer than it is made of: slower, and the next fault ends it",
        "tcp_resent_percent": "TCP segments of this machine sent again, since the last read (/proc/net/snmp)",
        "connections_tracked_percent": "connections of the most that the firewall can follow (nf_conntrack)",
        "links_left_out": "links beyond the 32 reported",
        "collector_rtt_ms": "round trip to the collector, smoothed by the kernel (TCP_INFO of the agent's link)",
        "collector_resent_percent": "bytes sent to the collector again, of all in the last five minutes (TCP_INFO)",
    },
)
