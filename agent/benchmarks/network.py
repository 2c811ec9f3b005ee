"""
Network: bandwidth to the platform's measuring server, the lower of up and down, and which end was the limit.

`network/1`: goodput in Gbit/s (10^9), over HTTPS, 4 streams (8 where the ramp shows more than 4 Gbit/s), 10 s each way
(3 s for a quick look), the first 2 s (1 s) left out, the median of slices of 0.5 s (0.25 s). Up as the server receives
it; down the lower of what arrived here and what the server saw acknowledged, so that a figure is never above what the
server signs. With `network_tool = "iperf3"` the same times and streams by iperf3, which signs nothing and tells no
limit.
"""

from typing import Any

import msgspec

from agent.benchmarks import Benchmark, Found, Progress, Request, Unmeasured
from agent.engines.network import iperf3
from agent.engines.network.measuring import Measured, Measurement
from agent.engines.network.planning import plan
from shared.bandwidth import Way, limited_by
from shared.codes import Code, Trouble
from shared.documents import BenchmarkName
from shared.marks import Mark
from shared.tcpinfo import Sending

METHOD = "network/1"
FIGURE = "network_bandwidth_gbps"
NEAR_CAPACITY = 0.8
"""Share of the server's link above which the server may have been the limit, whatever the kernel says."""


def run(request: Request, progress: Progress) -> Found:
    """Measure with the tool that the operator chose."""
    if request.network.tool == "iperf3":
        return _by_iperf3(request, progress)
    if request.network.tool != "rackproof":
        raise Trouble(Code.BAD_CONFIGURATION, f"network_tool {request.network.tool!r}: rackproof or iperf3")
    if request.server is None:
        raise Trouble(Code.NO_SERVER, "no measuring server was named")
    measurement = Measurement(request.server, request.network.ca_file, progress)
    try:
        measured = measurement.measure(quick=request.quick, budget_bytes=request.network.budget_bytes)
    except Trouble as trouble:
        raise Unmeasured(trouble.code, trouble.detail, moved_bytes=measurement.moved_bytes) from trouble
    return judged(measured)


def judged(measured: Measured) -> Found:
    """
    Return the figure, its marks, and what is behind it.

    Raises:
        Unmeasured: `benchmark_failed`: a way stood still for most of the time.
    """
    seen, down = measured.seen, measured.down
    limits = {
        "down": limit("down", seen.down.sending, down.unread),
        "up": limit("up", measured.sent_up.sending, seen.up.unread),
    }
    slower_down = min(down, seen.down, key=lambda way: way.bit_s)
    lower = "up" if seen.up.bit_s < slower_down.bit_s else "down"
    slower = seen.up if lower == "up" else slower_down
    bit_s = slower.bit_s
    bound = limits[lower] == "server" or bit_s > NEAR_CAPACITY * measured.capacity_bit_s
    marks = {Mark.LOWER_BOUND: bound, Mark.UNWITNESSED: seen.witness is None}
    details: dict[str, Any] = {
        "tool": "rackproof",
        "limited_by": limits[lower],
        "spread": {FIGURE: [round(one / 1e9, 6) for one in (slower.least_bit_s, slower.most_bit_s)]},
        "down": described(down, seen.down.sending, limits["down"], client_cpu=down.cpu, server_cpu=seen.down.cpu),
        "up": described(
            seen.up, measured.sent_up.sending, limits["up"], client_cpu=measured.sent_up.cpu, server_cpu=seen.up.cpu
        ),
        "seconds": measured.plan.seconds,
        "link_bit_s": measured.link_bit_s,
        "capacity_bit_s": measured.capacity_bit_s,
        "moved_bytes": measured.moved_bytes,
        "socket": msgspec.to_builtins(measured.socket),
        "witness": msgspec.to_builtins(seen.witness),
    }
    found = tuple(mark for mark, there in marks.items() if there)
    if not bit_s:
        raise Unmeasured(Code.BENCHMARK_FAILED, f"nothing arrived {lower} for most of the time", found, **details)
    return Found(figures={FIGURE: round(bit_s / 1e9, 6)}, marks=found, details=details)


def limit(direction: str, told: Sending | None, unread: float) -> str | None:
    """Return what held a direction; None where the sender's kernel does not tell."""
    return None if told is None else limited_by(direction, told, unread)


def described(received: Way, sending: Sending | None, limit: str | None, **cpu: float) -> dict[str, Any]:
    """Return one direction as the receiver measured it, with the sender's account."""
    return {
        "gbps": round(received.bit_s / 1e9, 6),
        "least_gbps": round(received.least_bit_s / 1e9, 6),
        "most_gbps": round(received.most_bit_s / 1e9, 6),
        "spread": spread(received),
        "slices": received.slices,
        "streams": received.streams,
        "limited_by": limit,
        "unread": received.unread,
        "sending": msgspec.to_builtins(sending),
        **cpu,
    }


def spread(received: Way) -> float | None:
    """Return how far the slices are apart, as a share of their median; None where that is 0."""
    return round((received.most_bit_s - received.least_bit_s) / received.bit_s, 3) if received.bit_s else None


def _by_iperf3(request: Request, progress: Progress) -> Found:
    server = request.network.iperf3_server
    if not server:
        raise Trouble(Code.NO_SERVER, "no iperf3 server was named")
    planned = plan(quick=request.quick, link_bit_s=None, budget_bytes=request.network.budget_bytes)
    told, before = {}, iperf3.counted()
    for number, direction in enumerate(("down", "up")):
        progress(direction, number, 2)
        try:
            told[direction] = iperf3.measure(server, planned, down=direction == "down")
        except Trouble as trouble:
            moved = iperf3.most_grown(before, iperf3.counted())
            raise Unmeasured(trouble.code, trouble.detail, moved_bytes=moved) from trouble
    progress("up", 2, 2)
    # By the interface's count: iperf3 leaves out the ramp, and tells nothing of a run that was ended.
    moved = iperf3.most_grown(before, iperf3.counted())
    bit_s = min(one.bit_s for one in told.values())
    details = {name: msgspec.to_builtins(one) for name, one in told.items()}
    return Found(
        figures={FIGURE: round(bit_s / 1e9, 6)},
        marks=(Mark.UNWITNESSED,),
        details={"tool": "iperf3", **details, "seconds": planned.seconds, "moved_bytes": moved},
    )


BENCHMARK = Benchmark(name=BenchmarkName.NETWORK, method_version=METHOD, deadline_s=120.0, run=run)
