"""iperf3 as the operator's choice: run it both ways, read what it says; one end's word only."""

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import psutil
from msgspec import Struct

from agent.engines.network.planning import Plan
from agent.processes import die_with_parent
from shared.bandwidth import ramp_s
from shared.codes import Code, Trouble

STREAMS = 4
GRACE_S = 20.0
"""Beyond the time to measure, for connecting and for the end; then it is killed."""
LOOK_S = 0.2
_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.%]+)\]|([A-Za-z0-9][A-Za-z0-9._-]*)):(\d{1,5})\Z")


class Told(Struct, frozen=True, kw_only=True):
    """What iperf3 told of one direction: goodput at the receiver, least and most of its seconds, each end's CPUs."""

    bit_s: float
    least_bit_s: float
    most_bit_s: float
    resent: int | None
    client_cpu: float
    server_cpu: float
    version: str


def place(text: str) -> tuple[str, str]:
    """
    Return host and port of "HOST:PORT".

    Raises:
        Trouble: `bad_configuration`.
    """
    found = _PLACE.match(text)
    if found is None:
        raise Trouble(Code.BAD_CONFIGURATION, f"iperf3_server {text!r}: HOST:PORT is wanted")
    return found[1] or found[2], found[3]


def argv(server: str, plan: Plan, *, down: bool) -> list[str]:
    """Return the command that measures one direction; the ramp is left out as in our own method."""
    host, port = place(server)
    ramp = round(ramp_s(plan.seconds))
    seconds = max(1, round(plan.seconds) - ramp)
    options = ["--client", host, "--port", port, "--parallel", str(STREAMS), "--time", str(seconds)]
    ending = ["--omit", str(ramp), "--connect-timeout", "10000", "--json"]
    return ["iperf3", *options, *ending, *(["--reverse"] if down else [])]


def parse(text: str) -> Told:
    """
    Read iperf3's JSON.

    Raises:
        Trouble: `no_server` when it reached none or a busy one, `benchmark_failed` when it says nothing useful.
    """
    try:
        told: dict[str, Any] = json.loads(text)
        if "error" in told:
            raise _refusal(str(told["error"]))
        received, sent = told["end"]["sum_received"], told["end"]["sum_sent"]
        slices = [float(one["sum"]["bits_per_second"]) for one in told["intervals"] if not one["sum"]["omitted"]]
        return Told(
            bit_s=float(received["bits_per_second"]),
            least_bit_s=min(slices),
            most_bit_s=max(slices),
            resent=sent.get("retransmits"),
            client_cpu=round(told["end"]["cpu_utilization_percent"]["host_total"] / 100, 3),
            server_cpu=round(told["end"]["cpu_utilization_percent"]["remote_total"] / 100, 3),
            version=str(told["start"]["version"])[:60],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Trouble(
            Code.BENCHMARK_FAILED, f"iperf3's answer cannot be read: {type(error).__name__} {error}"[:200]
        ) from error


def _refusal(words: str) -> Trouble:
    gone = any(
        sign in words for sign in ("busy running a test", "unable to connect", "unable to send", "control socket")
    )
    return Trouble(Code.NO_SERVER if gone else Code.BENCHMARK_FAILED, f"iperf3: {words.removeprefix('error - ')}"[:250])


def measure(server: str, plan: Plan, *, down: bool) -> Told:
    """
    Run iperf3 in one direction.

    Raises:
        Trouble: As `parse`; `not_installed`; `over_budget` when more was moved than the plan allows.
    """
    with tempfile.TemporaryFile("w+") as output:
        try:
            process = subprocess.Popen(
                argv(server, plan, down=down),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - no thread runs in this process now
            )
        except FileNotFoundError as error:
            raise Trouble(
                Code.NOT_INSTALLED, "iperf3 is not installed", "install it, or network_tool = rackproof"
            ) from error
        try:
            _await(process, plan)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return parse(output.read())


def _await(process: subprocess.Popen[bytes], plan: Plan) -> None:
    before, ends_s = counted(), time.monotonic() + plan.seconds + GRACE_S
    while process.poll() is None:
        if time.monotonic() > ends_s:
            raise Trouble(Code.BENCHMARK_FAILED, f"iperf3 was stopped {GRACE_S:.0f} s after its time")
        if plan.most_bytes is not None and most_grown(before, counted()) > plan.most_bytes:
            raise Trouble(Code.OVER_BUDGET, "iperf3 moved what was left of the month's data before it had measured")
        time.sleep(LOOK_S)


def most_grown(before: Mapping[str, int], after: Mapping[str, int]) -> int:
    """Return by how much the interface's count grew that grew the most: iperf3 tells only at its end what it moved."""
    return max((count - before.get(name, count) for name, count in after.items()), default=0)


def counted() -> dict[str, int]:
    """Return the bytes that each interface has received and sent, since it is there."""
    counts = psutil.net_io_counters(pernic=True)
    return {name: one.bytes_recv + one.bytes_sent for name, one in counts.items()}
