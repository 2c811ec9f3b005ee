"""
Bandwidth beside iperf3, in one run and in turns, and whether the limit is named right (root; network namespaces).

    python tests/load/bandwidth_peers.py [--rounds 2] [--quick] [--only 100mbit 1gbit unshaped limits]

Makes two network namespaces with a veth pair between them: a machine in one; in the other `rackproof bandwidth-server`
without and with TLS, and an iperf3 server. Everything is goodput at the receiver, both directions, in Gbit/s.

- 100mbit, 1gbit: each end's egress shaped by tc tbf. Goal: 0.98 to 1.02 of iperf3.
- unshaped: as fast as this machine copies. Goal: 0.85 of iperf3, or the CPUs of this machine, which both ends share,
  are what is used up (TLS costs what iperf3 does not pay): then the row says how much of them each end's threads had.
- limits: three staged runs, each with a known limit: a shaped path; the machine's process stopped four fifths of the
  time; the server's. Goal: `limited_by` right in both directions.

Exit 1 when a goal is missed. The benchmark runs as the agent runs it, in its child process.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.benchmarks import Network, Request
from shared.documents import BandwidthTicket, MeasuringServer, sign
from tests.certificates import self_signed

SERVER, CLIENT = "10.219.7.1", "10.219.7.2"
PORTS = {"http": 8480, "https": 8481, "iperf3": 5201}
SHAPES = {
    "100mbit": ("rate 100mbit burst 64kb latency 50ms", 0.98, 1.02),
    "1gbit": ("rate 1gbit burst 256kb latency 20ms", 0.98, 1.02),
    "unshaped": ("", 0.85, None),
}
USED_UP = 0.85
"""Share of this machine's CPU time from which it counts as the limit."""
PERIOD_S, RUNS_S = 0.1, 0.02
ROOT = Path(__file__).parents[2]


def ip(*words: str) -> None:
    """Configure the network."""
    subprocess.run(["ip", *words], check=True)


class Lab:
    """Two namespaces, and the programs in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server, self.client = f"rp-server-{os.getpid()}", f"rp-client-{os.getpid()}"
        self.key = Ed25519PrivateKey.generate()
        self.programs: dict[str, subprocess.Popen[bytes]] = {}

    def make(self) -> None:
        """Make the namespaces and start the servers."""
        for name in (self.server, self.client):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", self.server, "link", "add", "rp0", "type", "veth", "peer", "name", "rp0", "netns", self.client)
        for name, address in ((self.server, SERVER), (self.client, CLIENT)):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "rp0")
            ip("-n", name, "link", "set", "rp0", "up")
        certificate, key = self_signed(self.folder, SERVER)
        tls = ["--tls-cert", str(certificate), "--tls-key", str(key)]
        self.start("http", self.ours("http", "--plain-http"))
        self.start("https", self.ours("https", *tls))
        self.start("iperf3", ["iperf3", "--server", "--port", str(PORTS["iperf3"])])
        time.sleep(2)

    def ours(self, name: str, *more: str) -> list[str]:
        """Return the command of our server."""
        public = self.key.public_key().public_bytes_raw().hex()
        told = ["--listen", f"{SERVER}:{PORTS[name]}", "--link-gbps", "1000", "--collector-key", public]
        return [
            sys.executable,
            "-m",
            "collector",
            "bandwidth-server",
            *told,
            "--key-file",
            str(self.folder / name / "own.key"),
            *more,
        ]

    def start(self, name: str, argv: list[str]) -> None:
        """Start a program at the server's end."""
        log = (self.folder / f"{name}.log").open("wb")
        argv = ["ip", "netns", "exec", self.server, *argv]
        self.programs[name] = subprocess.Popen(argv, stdout=log, stderr=log, cwd=ROOT, stdin=subprocess.DEVNULL)
        log.close()

    def shape(self, limit: str) -> None:
        """Shape both ends' egress, or neither."""
        for name in (self.server, self.client):
            subprocess.run(["tc", "-n", name, "qdisc", "del", "dev", "rp0", "root"], check=False, capture_output=True)
            if limit:
                subprocess.run(
                    ["tc", "-n", name, "qdisc", "add", "dev", "rp0", "root", "tbf", *limit.split()], check=True
                )

    def measure(self, way: str, *, quick: bool, slowed: str = "") -> dict:
        """Run the benchmark in its child process; return its component, with the CPU share of this machine."""
        network = Network(ca_file=str(self.folder / "ca.pem") if way == "https" else "")
        server = None
        if way == "iperf3":
            network = Network(tool="iperf3", iperf3_server=f"{SERVER}:{PORTS['iperf3']}")
        else:
            url = f"{way}://{SERVER}:{PORTS[way]}"
            until = datetime.now(UTC) + timedelta(minutes=5)
            ticket = BandwidthTicket(
                ticket_id=f"tkt_{os.urandom(8).hex()}", hardware_id="hw_bench_0001", server=url, not_after=until
            )
            server = MeasuringServer(url=url, ticket=sign(ticket, self.key))
        request = Request(quick=quick, directory="/", server=server, network=network)
        before = psutil.cpu_times()
        argv = ["ip", "netns", "exec", self.client, sys.executable, "-P", "-m", "agent.benchmarks", "network"]
        child = subprocess.Popen(
            [*argv, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        victims = {"client": [child.pid], "server": workers(self.programs["http"].pid)}.get(slowed, [])
        with slowing(victims):
            output, _ = child.communicate(msgspec.json.encode(request), timeout=150)
        after = psutil.cpu_times()
        found = [json.loads(line) for line in output.splitlines()]
        component = next(one["component"] for one in found if "component" in one)
        if not component["figures"]:
            raise SystemExit(f"{way}: {component['code']}: {component['reason']}")
        passed = sum(after[:8]) - sum(before[:8])
        idle = after.idle + after.iowait - before.idle - before.iowait
        return {**component["details"], "machine": 1 - idle / passed, "marks": component["marks"]}

    def clean(self) -> None:
        """End the programs and take the namespaces away."""
        for one in self.programs.values():
            one.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(5)
            if one.poll() is None:
                one.kill()
                one.wait()
        for name in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def workers(pid: int) -> list[int]:
    """Return a server's workers."""
    return [one.pid for one in psutil.Process(pid).children(recursive=True)]


@contextlib.contextmanager
def slowing(victims: list[int]) -> Iterator[None]:
    """Let processes run a fifth of the time only, from a second on: then they have started."""
    over = threading.Event()

    def drum() -> None:
        over.wait(1.0)
        while victims and not over.is_set():
            for kind, pause in ((signal.SIGSTOP, PERIOD_S - RUNS_S), (signal.SIGCONT, RUNS_S)):
                for one in victims:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, kind)
                time.sleep(pause)

    thread = threading.Thread(target=drum)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def gbps(found: dict, direction: str) -> float:
    """Return one direction's goodput."""
    told = found[direction]
    return told["gbps"] if "gbps" in told else told["bit_s"] / 1e9


def compare(lab: Lab, name: str, rounds: int, *, quick: bool) -> list[str]:
    """Measure one shape in turns, print its rows, and return what misses the goal."""
    limit, least, most = SHAPES[name]
    lab.shape(limit)
    found: dict[str, list[dict]] = {way: [] for way in ("iperf3", "http", "https")}
    for _ in range(rounds):
        for way, runs in found.items():
            runs.append(lab.measure(way, quick=quick))
    missed = []
    for direction in ("down", "up"):
        peer = statistics.median(gbps(one, direction) for one in found["iperf3"])
        for way, runs in found.items():
            rate = statistics.median(gbps(one, direction) for one in runs)
            client, server = (
                statistics.median(one[direction][f"{end}_cpu"] for one in runs) for end in ("client", "server")
            )
            machine = statistics.median(one["machine"] for one in runs)
            ratio, remark = rate / peer, ""
            if ratio < least or (most is not None and ratio > most):
                spent = most is None and machine >= USED_UP
                remark = "the CPUs are used up" if spent else "MISSED"
                missed += [] if spent else [f"{name} {direction} {way}: {ratio:.3f} of iperf3"]
            all_ = " ".join(f"{gbps(one, direction):.4g}" for one in runs)
            print(
                f"{name:9}{direction:5}{way:7}{rate:9.4g}{ratio:8.3f}{client:8.2f}{server:8.2f}{machine:8.0%}  "
                f"{runs[0].get('limited_by', ''):7} {remark:22}({all_})",
                flush=True,
            )
    return missed


def limits(lab: Lab) -> list[str]:
    """Stage the three limits and return those that were named wrong."""
    missed = []
    for truth, shape in (("path", SHAPES["100mbit"][0]), ("client", ""), ("server", "")):
        lab.shape(shape)
        found = lab.measure("http", quick=True, slowed=truth)
        for direction in ("down", "up"):
            told = found[direction]
            right = told["limited_by"] == truth
            missed += [] if right else [f"limit {direction}: {told['limited_by']} instead of {truth}"]
            shares = {
                name: told["sending"][name]
                for name in ("busy", "receiver_limited", "buffer_limited", "application_limited")
            }
            print(
                f"limit {truth:7}{direction:5}{told['gbps']:9.4g}  said: {told['limited_by']:7}"
                f"{'' if right else 'MISSED ':8}unread {told['unread']} {shares} {found['marks']}",
                flush=True,
            )
    return missed


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="3 s each way instead of 10")
    parser.add_argument("--only", nargs="+", choices=[*SHAPES, "limits"], default=[*SHAPES, "limits"])
    asked = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        try:
            lab.make()
            print(
                f"{platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, "
                f"{asked.rounds} rounds of {'3' if asked.quick else '10'} s each way, Gbit/s"
            )
            print(f"{'':14}{'':7}{'Gbit/s':>9}{'ratio':>8}{'client':>8}{'server':>8}{'machine':>8}  limit")
            for name in asked.only:
                missed += limits(lab) if name == "limits" else compare(lab, name, asked.rounds, quick=asked.quick)
        finally:
            lab.clean()
    print("every goal is met" if not missed else "missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
