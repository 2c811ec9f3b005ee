"""
What the agent costs a machine that has other work, beside its peers, in one run.

    python tests/load/agent_cost.py [--seconds 300]

Measures, on whatever machine it runs: how long programs take to start; and after `--seconds` of idling the resident set
size (RSS), the proportional one (PSS: memory shared with others counted in parts) and the CPU time spent, of

- rackproof-agent: connected to a collector on loopback, one report in 15 s;
- glances: its own monitoring loop without a display (`--quiet`, every 15 s), from the `bench` dependency group;
- prometheus-node-exporter: Debian's, scraped every 15 s.

The agent's start is the import of everything its daemon is made of, and `python -X importtime` names the slowest parts
of it; a peer's start is only `--version`, less than its whole start. What glances spends grows with the number of
processes, so that is printed too. A peer that is not installed has a row that says so. Exit 1 when a goal is missed.
"""

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.system.harness import Agent, Collector, environment, free_port

EVERY_S = 15.0
PSS_MB, CPU_S_A_MINUTE, START_S = 45.0, 0.05, 0.5
"""Goals: about what node_exporter costs, a fifth of what the peers in Python cost."""
STARTS = 7
DAEMON = "import sys; sys.modules['rich'] = None; import agent.compose, agent.daemon"
"""All that the daemon imports, and what it refuses to."""
SLOWEST = 6


class Row:
    """One program's figures."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.start_s: float | None = None
        self.rss_mb: float | None = None
        self.pss_mb: float | None = None
        self.cpu_s_a_minute: float | None = None
        self.remark = ""


def memory_mb(pid: int, kind: str) -> float:
    """Return a process's resident ("Rss") or proportional ("Pss") set size in MB (10^6). Source: proc(5), smaps_rollup."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError(f"no {kind} line")


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of its ended children, in seconds. Source: proc(5), stat fields 14 to 17."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


def median_start_s(argv: list[str]) -> float:
    """Return the median time of a command, in seconds."""
    took = []
    for _ in range(STARTS):
        began = time.perf_counter()
        subprocess.run(argv, check=True, capture_output=True, env=environment())
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
    before = {pid: (cpu_s(pid), time.perf_counter()) for pid in rows}
    time.sleep(seconds)
    for pid, row in rows.items():
        spent, at = before[pid]
        row.cpu_s_a_minute = (cpu_s(pid) - spent) / (time.perf_counter() - at) * 60
        row.rss_mb, row.pss_mb = memory_mb(pid, "Rss"), memory_mb(pid, "Pss")


def agent_row(folder: Path) -> tuple[Row, Agent, Collector]:
    """Start an agent; its start is the import of all the daemon is made of, as a new process."""
    row = Row("rackproof-agent")
    row.start_s = median_start_s([sys.executable, "-c", DAEMON])
    collector = Collector(folder)
    # The heartbeat that machines have, not the tests' quick one.
    collector.config.write_text(collector.config.read_text().replace("heartbeat_s = 1.0", f"heartbeat_s = {EVERY_S}"))
    collector.up()
    agent = Agent(folder, collector).enroll()
    agent.start()
    agent.await_online()
    return row, agent, collector


def glances_row() -> tuple[Row, subprocess.Popen[bytes] | None]:
    """Start glances without a display."""
    row = Row("glances")
    program = Path(sys.executable).with_name("glances")
    if not program.exists():
        row.remark = "not installed (dependency group bench)"
        return row, None
    row.start_s = median_start_s([str(program), "--version"])
    argv = [str(program), "--quiet", "--time", str(int(EVERY_S)), "--disable-check-update"]
    return row, subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def exporter_row(stop: threading.Event) -> tuple[Row, subprocess.Popen[bytes] | None]:
    """Start node_exporter and scrape it as Prometheus would."""
    row = Row("node_exporter")
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        row.remark = "not installed (Debian: prometheus-node-exporter)"
        return row, None
    row.start_s = median_start_s([program, "--version"])
    address = f"127.0.0.1:{free_port()}"
    quiet = subprocess.DEVNULL
    process = subprocess.Popen([program, f"--web.listen-address={address}"], stdout=quiet, stderr=quiet)

    def scrape() -> None:
        while not stop.wait(EVERY_S):
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
                response.read()

    threading.Thread(target=scrape, daemon=True).start()
    return row, process


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


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to idle")
    seconds = parser.parse_args().seconds
    stop = threading.Event()
    cleanup: list[Callable[[], object]] = [stop.set]
    with tempfile.TemporaryDirectory() as folder:
        try:
            own, agent, collector = agent_row(Path(folder))
            cleanup += [agent.kill, collector.kill]
            rows, by_pid = [own], {agent.process.pid: own} if agent.process else {}
            for row, process in (glances_row(), exporter_row(stop)):
                rows.append(row)
                if process is not None:
                    by_pid[process.pid] = row
                    cleanup += [process.kill, process.wait]
            settle(by_pid, seconds)
        finally:
            for one in cleanup:
                one()
    processes = sum(1 for entry in Path("/proc").iterdir() if entry.name.isdigit())
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, {processes} processes, Python {platform.python_version()},"
        f" idle for {seconds:.0f} s"
    )
    print(table(rows))
    print(f"slowest imports of the agent, ms: {slowest_imports()}")
    failures = missed(own)
    print("every goal is met" if not failures else "missed: " + "; ".join(failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
