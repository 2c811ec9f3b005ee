"""
What the agent costs a machine that has other work, beside its peers, in one run; or how its memory grows.

    python tests/load/agent_cost.py [--seconds 300]
    python tests/load/agent_cost.py --slope MINUTES

Measures, on whatever machine it runs: how long programs take to start; and after `--seconds` of idling the resident set
size (RSS), the proportional one (PSS: memory shared with others counted in parts) and the CPU time spent, children
included, of

- rackproof-agent: connected to a collector on loopback, all indicators, one report in 15 s;
- its peers (`monitors.py`), at the same pace: node_exporter, netdata, zabbix-agent2, collectd, glances.

Programs in Python find their bytecode, as pip leaves it where it installs them; without it each start compiles all again.
The agent's start is the import of everything its daemon is made of, and `python -X importtime` names the slowest parts
of it; a peer's start is only `--version` or its like, less than its whole start. What glances and netdata spend grows
with the number of processes, so that is printed too. A peer that is not installed has a row that says so. Exit 1 when a
goal is missed.

`--slope` samples the agent's PSS for some time and prints how fast it grows over the last half, in kB an hour, by least
squares with its standard error; what it has so far, every five minutes.
"""

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.load.monitors import EVERY_S, Peer, started
from tests.system.harness import Agent, Collector, environment, family, memory_mb

PSS_MB, CPU_S_A_MINUTE, START_S = 45.0, 0.05, 0.5
"""Goals: about what node_exporter costs, a fifth of what the peers in Python cost."""
STARTS = 7
TOLD_EVERY = 20
"""Samples of PSS between two words on how it stands: five minutes."""
WATCHED = ("Pss", "Pss_Anon")
"""PSS as a whole, and what of it is the process's own: the rest moves with whoever else has the same files mapped."""
DAEMON = "import sys; sys.modules['rich'] = None; import agent.compose, agent.daemon"
"""All that the daemon imports, and what it refuses to."""
SLOWEST = 6


class Row:
    """One program's figures."""

    def __init__(self, name: str, remark: str = "") -> None:
        self.name = name
        self.start_s: float | None = None
        self.rss_mb: float | None = None
        self.pss_mb: float | None = None
        self.cpu_s_a_minute: float | None = None
        self.remark = remark


def keep_bytecode(folder: Path) -> None:
    """Let this run's programs keep their bytecode in a folder of their own, whatever the checkout does with its."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU time of processes and of their ended children, in seconds. Source: proc(5), stat fields 14 to 17."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(fields[index]) for index in (11, 12, 13, 14))
    return total / os.sysconf("SC_CLK_TCK")


def median_start_s(argv: list[str]) -> float:
    """Return the median time of a command, in seconds; its exit code is its own affair."""
    took = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run(argv, check=False, capture_output=True, env=environment())
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def slowest_imports() -> str:
    """Return which packages the agent's start goes into, in ms, with all that they import first."""
    argv = [sys.executable, "-X", "importtime", "-c", DAEMON]
    found = subprocess.run(argv, check=True, capture_output=True, text=True, env=environment()).stderr
    took: dict[str, int] = {}
    for line in found.splitlines()[1:]:
        _, cumulative, name = line.removeprefix("import time:").split("|")
        if "." not in name.strip():
            took[name.strip()] = int(cumulative)
    most = sorted(took.items(), key=lambda one: -one[1])[:SLOWEST]
    return ", ".join(f"{name} {microseconds / 1000:.0f}" for name, microseconds in most)


def settle(rows: dict[int, Row], seconds: float) -> None:
    """Let programs idle; the first ten seconds are start-up and do not count."""
    time.sleep(10)
    before = {pid: (cpu_s(family(pid)), time.perf_counter()) for pid in rows}
    time.sleep(seconds)
    for pid, row in rows.items():
        pids, (spent, at) = family(pid), before[pid]
        row.cpu_s_a_minute = (cpu_s(pids) - spent) / (time.perf_counter() - at) * 60
        row.rss_mb, row.pss_mb = memory_mb(pids, "Rss"), memory_mb(pids, "Pss")


def agent_up(folder: Path) -> tuple[Agent, Collector]:
    """Start a collector, and an agent with the heartbeat that machines have, not the tests' quick one."""
    collector = Collector(folder)
    collector.config.write_text(collector.config.read_text().replace("heartbeat_s = 1.0", f"heartbeat_s = {EVERY_S}"))
    collector.up()
    agent = Agent(folder, collector).enroll()
    agent.start()
    agent.await_online()
    return agent, collector


def table(rows: list[Row]) -> str:
    """Return the figures, with each peer's cost as a multiple of the agent's."""
    lines = [f"{'':18}{'start s':>10}{'RSS MB':>10}{'PSS MB':>10}{'CPU s/min':>12}{'PSS x':>8}{'CPU x':>8}"]
    own = rows[0]
    for row in rows:
        if row.remark:
            lines.append(f"{row.name:18}  {row.remark}")
            continue
        pss, cpu = row.pss_mb or 0.0, row.cpu_s_a_minute or 0.0
        ratios = f"{pss / (own.pss_mb or 1):8.2f}{cpu / (own.cpu_s_a_minute or 1):8.2f}"
        lines.append(f"{row.name:18}{row.start_s or 0:10.2f}{row.rss_mb or 0:10.1f}{pss:10.1f}{cpu:12.3f}{ratios}")
    return "\n".join(lines)


def missed(own: Row) -> list[str]:
    """Return the goals that the agent misses, in words."""
    goals: list[tuple[str, float | None, float]] = [
        ("start s", own.start_s, START_S),
        ("PSS MB", own.pss_mb, PSS_MB),
        ("CPU s/min", own.cpu_s_a_minute, CPU_S_A_MINUTE),
    ]
    return [f"{name}: {found:.3f}, goal {goal}" for name, found, goal in goals if found is None or found > goal]


def slope(samples: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """
    Return how fast a value grows, by least squares, and the standard error of that.

    Args:
        samples: Moments and values; at least three.
    """
    moments, values = zip(*samples, strict=True)
    mean_at, mean = statistics.fmean(moments), statistics.fmean(values)
    spread = sum((at - mean_at) ** 2 for at in moments)
    grows = sum((at - mean_at) * (value - mean) for at, value in samples) / spread
    left = sum((value - mean - grows * (at - mean_at)) ** 2 for at, value in samples)
    return grows, (left / (len(samples) - 2) / spread) ** 0.5


def watch(pid: int, minutes: float) -> None:
    """Sample the agent's PSS, and say how fast it grows."""
    samples: dict[str, list[tuple[float, float]]] = {kind: [] for kind in WATCHED}
    began = time.monotonic()
    while time.monotonic() - began < minutes * 60:
        time.sleep(EVERY_S)
        for kind, of in samples.items():
            of.append(((time.monotonic() - began) / 3600, memory_mb(family(pid), kind) * 1000))
        if len(samples["Pss"]) % TOLD_EVERY == 0:
            tell_slope(samples)
    if len(samples["Pss"]) % TOLD_EVERY and len(samples["Pss"]) >= 6:
        tell_slope(samples)


def tell_slope(samples: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Print what the last half of the samples says."""
    told = []
    for kind, of in samples.items():
        half = of[len(of) // 2 :]
        grows, error = slope(half)
        told.append(f"{kind} {of[-1][1] / 1000:.2f} MB {grows:+.0f} kB/h (standard error {error:.0f})")
    minutes = (half[-1][0] - half[0][0]) * 60
    print(f"{of[-1][0] * 60:4.0f} min, the last {minutes:.0f}: " + "; ".join(told), flush=True)


def beside_peers(pid: int, seconds: float, peers: Sequence[Peer]) -> int:
    """Measure all and print; return the exit code."""
    own = Row("rackproof-agent")
    own.start_s = median_start_s([sys.executable, "-c", DAEMON])
    rows, by_pid = [own], {pid: own}
    for peer in peers:
        rows.append(Row(peer.name, peer.remark))
        if peer.process is not None:
            rows[-1].start_s = median_start_s(peer.version)
            by_pid[peer.process.pid] = rows[-1]
    settle(by_pid, seconds)
    processes = sum(1 for entry in Path("/proc").iterdir() if entry.name.isdigit())
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, {processes} processes, Python {platform.python_version()},"
        f" idle for {seconds:.0f} s, load {os.getloadavg()[1]:.2f}"
    )
    print(table(rows))
    print(f"slowest imports of the agent, ms: {slowest_imports()}")
    failures = missed(own)
    print("every goal is met" if not failures else "missed: " + "; ".join(failures))
    return 1 if failures else 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a peer and all that it started."""
    descendants = family(process.pid)[1:]
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in descendants:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to idle")
    parser.add_argument("--slope", type=float, metavar="MINUTES", help="how the agent's memory grows, instead")
    given = parser.parse_args()
    stop = threading.Event()
    cleanup: list[Callable[[], object]] = [stop.set]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            keep_bytecode(Path(folder, "bytecode"))
            agent, collector = agent_up(Path(folder))
            cleanup += [agent.kill, collector.kill]
            assert agent.process is not None
            if given.slope is not None:
                watch(agent.process.pid, given.slope)
                return 0
            peers = started(Path(folder), stop)
            for peer in peers:
                if peer.process is not None:
                    cleanup.append(lambda process=peer.process: end(process))
            return beside_peers(agent.process.pid, given.seconds, peers)
        finally:
            for one in cleanup:
                one()


if __name__ == "__main__":
    sys.exit(main())
