"""The agent's peers for `agent_cost.py`: each started with its own defaults, a loopback port, and the agent's pace."""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.bucket import free_port

EVERY_S = 15.0
"""The pace of the agent's reports; peers that ask by themselves do so at it, the others are asked."""

ZABBIX_KEYS = (
    "agent.ping", "system.cpu.load[all,avg1]", "system.cpu.util[,user]", "system.cpu.util[,system]", "system.cpu.util[,iowait]",
    "system.cpu.util[,steal]", "system.cpu.num", "vm.memory.size[total]", "vm.memory.size[available]", "system.swap.size[,free]",
    "vfs.fs.get", "vfs.fs.size[/,pused]", "vfs.fs.inode[/,pused]", "vfs.dev.discovery", "net.if.discovery", "net.if.in[lo]",
    "proc.num[]", "proc.num[,,zomb]", "kernel.maxproc", "system.uptime", "system.boottime", "system.users.num", "system.uname",
)  # fmt: skip
"""About what Zabbix's template "Linux by Zabbix agent" asks for."""

COLLECTD_PLUGINS = (
    "cpu", "cpufreq", "df", "disk", "entropy", "fhcount", "interface", "irq", "load", "md", "memory", "processes", "sensors",
    "swap", "thermal", "uptime", "users", "vmem",
)  # fmt: skip
"""What of collectd reads a machine's own health and needs no library that collectd-core does not bring."""

_QUIET = subprocess.DEVNULL


class Peer:
    """
    A monitoring program that runs.

    Attributes:
        name: What it is called in the table.
        version: The command that a start is timed with; it does less than a whole start.
        process: It, with all its children; None where it is not installed.
        remark: Why not.
    """

    def __init__(
        self, name: str, version: list[str], process: subprocess.Popen[bytes] | None, remark: str = ""
    ) -> None:
        self.name = name
        self.version = version
        self.process = process
        self.remark = remark


def _missing(name: str, package: str) -> Peer:
    return Peer(name, [], None, f"not installed ({package})")


def _start(name: str, version: list[str], argv: list[str], folder: Path) -> Peer:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=_QUIET, stdout=log, stderr=log, cwd=folder)
    return Peer(name, version, process)


def _every(stop: threading.Event, name: str, ask: Callable[[], object]) -> None:
    """Ask at the agent's pace until the end; a question that fails is asked again, and told."""

    def run() -> None:
        while not stop.wait(EVERY_S):
            try:
                ask()
            except OSError as error:
                print(f"{name} did not answer: {error}", file=sys.stderr)

    threading.Thread(target=run, daemon=True).start()


def glances(folder: Path, _stop: threading.Event) -> Peer:
    """Its own loop without a display."""
    program = Path(sys.executable).with_name("glances")
    if not program.exists():
        return _missing("glances", "dependency group bench")
    argv = [str(program), "--quiet", "--time", str(int(EVERY_S)), "--disable-check-update"]
    return _start("glances", [str(program), "--version"], argv, folder)


def node_exporter(folder: Path, stop: threading.Event) -> Peer:
    """Debian's, with all that is on by default, scraped as Prometheus would."""
    program = shutil.which("prometheus-node-exporter")
    if program is None:
        return _missing("node_exporter", "Debian: prometheus-node-exporter")
    address = f"127.0.0.1:{free_port()}"

    def scrape() -> None:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
            response.read()

    peer = _start("node_exporter", [program, "--version"], [program, f"--web.listen-address={address}"], folder)
    _every(stop, peer.name, scrape)
    return peer


def netdata(folder: Path, _stop: threading.Event) -> Peer:
    """Debian's, with its plugins, in memory, at the agent's pace and not its own of a second."""
    program = shutil.which("netdata")
    if program is None:
        return _missing("netdata", "Debian: netdata")
    settings = {
        "global": {"run as user": "root", "update every": int(EVERY_S)},
        "db": {"mode": "ram", "update every": int(EVERY_S)},
        "directories": {"cache": folder / "cache", "lib": folder / "lib", "log": folder, "config": "/etc/netdata"},
        "web": {"bind to": f"127.0.0.1:{free_port()}"},
        "registry": {"enabled": "no"},
    }
    for name in ("cache", "lib"):
        (folder / name).mkdir()
    lines = [
        line
        for part, of in settings.items()
        for line in (f"[{part}]", *(f"{key} = {value}" for key, value in of.items()))
    ]
    (folder / "netdata.conf").write_text("\n".join(lines) + "\n")
    return _start("netdata", [program, "-V"], [program, "-D", "-c", str(folder / "netdata.conf")], folder)


def zabbix(folder: Path, stop: threading.Event) -> Peer:
    """Debian's second agent, asked for what its template for Linux asks."""
    program = shutil.which("zabbix_agent2")
    if program is None:
        return _missing("zabbix-agent2", "Debian: zabbix-agent2")
    port = low_port()
    lines = [
        "LogType=console", "Server=127.0.0.1", "ListenIP=127.0.0.1", f"ListenPort={port}", "Hostname=bench",
        f"ControlSocket={folder}/control.sock", f"PluginSocket={folder}/plugin.sock", f"PidFile={folder}/pid",
    ]  # fmt: skip
    (folder / "zabbix.conf").write_text("\n".join(lines) + "\n")

    def ask() -> None:
        for key in ZABBIX_KEYS:
            ask_zabbix(port, key)

    peer = _start("zabbix-agent2", [program, "-V"], [program, "-f", "-c", str(folder / "zabbix.conf")], folder)
    _every(stop, peer.name, ask)
    return peer


def low_port() -> int:
    """Return a free port that Zabbix's agent takes: 1024 to 32767. Source: its configuration, ListenPort."""
    for port in range(21_050, 32_767):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port below 32768 is free")


def ask_zabbix(port: int, key: str) -> str:
    """Return an item's value. Source: Zabbix manual, protocols, header: "ZBXD", flags 1, length, reserved."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(b"ZBXD\x01" + struct.pack("<II", len(key), 0) + key.encode())
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    return answer[13:].decode(errors="replace")


def collectd(folder: Path, _stop: threading.Event) -> Peer:
    """Debian's, with what reads a machine's health, written as CSV."""
    program = shutil.which("collectd")
    if program is None:
        return _missing("collectd", "Debian: collectd-core")
    lines = [
        f"Interval {int(EVERY_S)}",
        f'BaseDir "{folder}"',
        f'PIDFile "{folder}/pid"',
        'TypesDB "/usr/share/collectd/types.db"',
    ]
    lines += [f"LoadPlugin {name}" for name in (*COLLECTD_PLUGINS, "csv")]
    lines += ["<Plugin csv>", f"DataDir {json.dumps(str(folder / 'csv'))}", "</Plugin>"]
    (folder / "collectd.conf").write_text("\n".join(lines) + "\n")
    return _start("collectd", [program, "-h"], [program, "-f", "-C", str(folder / "collectd.conf")], folder)


PEERS = (node_exporter, netdata, zabbix, collectd, glances)


def started(folder: Path, stop: threading.Event) -> list[Peer]:
    """Start every peer that is installed, each with a folder of its own; one that ended at once is told by its last words."""
    peers = []
    for start in PEERS:
        (folder / start.__name__).mkdir()
        peers.append(start(folder / start.__name__, stop))
    time.sleep(3)
    for peer in peers:
        if peer.process is not None and (code := peer.process.poll()) is not None:
            logs = [
                text
                for path in folder.glob(f"*/{peer.name}.log")
                for text in path.read_text(errors="replace").splitlines()
            ]
            peer.process, peer.remark = None, f"ended with {code}: {logs[-1] if logs else 'without a word'}"
    return peers
