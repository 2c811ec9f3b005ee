"""
What the wiper's work costs beside the plainest tools that do a part of it, in one run.

    python tests/load/wipe_cost.py [--files 200000] [--gigabytes 20] [--inodes 2000000] [--rounds 3]

In a private view of this machine (nothing of the machine itself is touched), as root:

- purge: the wiper's step for the home, against `rm -rf` of an equal tree; small files in directories of 500, then a few
  large files, written; on ext4 in a file of this machine's disk and in memory (tmpfs). A measured time ends when the
  name is gone; what the kernel still has to write comes after, for both.
- scan: the wiper's look at every file of the machine for a uid, against `find POINT -xdev -uid UID` on the same mounts.
- memory: the peak resident set of the whole wiper program, wiping a tenant with so many files, half of them in the home.

Rounds alternate between the two, and the one who goes first changes; the figures are medians, with all rounds behind
them. Exit 1 when a goal is missed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from shared.documents import WipeWork
from shared.records import WipeMethod
from tests.agent.wiper.harness import Machine, Platform, Wiper, state_for

PURGE_RATIO, SCAN_RATIO, MEMORY_MB = 1.2, 3.0, 80.0
"""Goals: near the raw limit; three times a program in C that looks at less; small beside any tenant's work."""

COMMON = """
import json, os, subprocess, sys, time
from datetime import datetime, timedelta, UTC
from pathlib import Path
from agent.wiper.tenant.accounts import Tenant
from agent.wiper.system.ground import real_machine
from agent.wiper.steps import Subject
uid = 4000
ground = real_machine()
def tenant(home):
    then = datetime.now(UTC) - timedelta(days=1)
    return Tenant(name='bench', uid=uid, gid=uid, home=home, generation='0', booking_id=None, command_id='c',
                  granted_at=then, ready=True)
def small_files(top, number):
    for first in range(0, number, 500):
        folder = f'{top}/d{first // 500}'
        os.makedirs(folder)
        for one in range(first, min(first + 500, number)):
            fd = os.open(f'{folder}/f{one}', os.O_WRONLY | os.O_CREAT)
            os.write(fd, b'x' * 100)
            os.close(fd)
            os.chown(f'{folder}/f{one}', uid, uid)
        os.chown(folder, uid, uid)
    os.chown(top, uid, uid)
def large_files(top, gigabytes):
    os.makedirs(top)
    block = os.urandom(1 << 20)
    for one in range(gigabytes):
        with open(f'{top}/f{one}', 'wb', buffering=0) as file:
            for _ in range(1000):
                file.write(block)
        os.chown(f'{top}/f{one}', uid, uid)
    os.chown(top, uid, uid)
"""

PURGE = (
    COMMON
    + """
from agent.wiper.steps.home import Home
kind, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def make(name):
    top = f'/home/{name}'
    os.makedirs('/home', exist_ok=True)
    (small_files if kind == 'small' else large_files)(top, number)
    os.sync()
    return top
def ours():
    step = Home(Subject(ground, tenant(make('bench'))))
    before = time.monotonic()
    step.erase(lambda done, of: None)
    took = time.monotonic() - before
    assert step.verify().state == 'clean'
    return took
def theirs():
    top = make('peer')
    before = time.monotonic()
    subprocess.run(['rm', '-rf', top], check=True)
    return time.monotonic() - before
told = {'ours': [], 'theirs': []}
for number_of_round in range(rounds):
    pair = [('ours', ours), ('theirs', theirs)]
    for name, measure in pair if number_of_round % 2 else pair[::-1]:
        told[name].append(round(measure(), 3))
        os.sync()
print(json.dumps(told))
"""
)

SCAN = (
    COMMON
    + """
from agent.wiper.system import mountinfo
from agent.wiper.steps.elsewhere import Elsewhere
rounds = int(sys.argv[1])
subprocess.run(['useradd', '--uid', str(uid), '--create-home', 'bench'], check=True, capture_output=True)
step = Elsewhere(Subject(ground, tenant('/home/bench')))
points = [one.point for one in mountinfo.to_look_at(mountinfo.current())[0]]
def ours():
    before = time.monotonic()
    step.verify()
    return time.monotonic() - before
def theirs():
    before = time.monotonic()
    for point in points:
        subprocess.run(['find', point, '-xdev', '-uid', str(uid)], check=False, capture_output=True)
    return time.monotonic() - before
inodes = sum(len(subprocess.run(['find', point, '-xdev', '-printf', '.'], capture_output=True).stdout) for point in points)
ours(), theirs()
told = {'ours': [], 'theirs': []}
for number_of_round in range(rounds):
    pair = [('ours', ours), ('theirs', theirs)]
    for name, measure in pair if number_of_round % 2 else pair[::-1]:
        told[name].append(round(measure(), 3))
print(json.dumps(told | {'inodes': inodes, 'mounts': len(points)}))
"""
)

FILL = """
import os, sys
top, number, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.umask(0o022)
os.makedirs(top, exist_ok=True)
for first in range(0, number, 10_000):
    folder = f'{top}/m{first // 10_000}'
    os.mkdir(folder)
    os.chown(folder, uid, uid)
    there = os.open(folder, os.O_RDONLY)
    for one in range(first, min(first + 10_000, number)):
        os.mknod(f'f{one}', 0o100600, dir_fd=there)
        os.chown(f'f{one}', uid, uid, dir_fd=there)
    os.close(there)
"""

NODES = (
    "[ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237;"
    " for n in $(seq 0 31); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done; "
)
MOUNTS = {
    "ext4": NODES + "mkfs.ext4 -q -F -N {inodes} {image} {size} && mount -o loop {image} /home",
    "tmpfs": "mount -t tmpfs -o size=90%,nr_inodes=0,mode=755 tmpfs /home",
}


class View:
    """A private view of this machine, with another file system on /home."""

    def __init__(self, folder: Path, kind: str, size: str = "4G", inodes: int = 1_000_000) -> None:
        for name in ("view", "image"):
            (folder / name).mkdir(parents=True)
        self.platform = Platform()
        self.state = state_for(folder / "state", self.platform)
        self.machine = Machine(folder / "view", self.state)
        image = self.state / "disk.img"  # a directory of the machine's own disk that the view has too
        self.machine.run("sh", "-c", MOUNTS[kind].format(image=image, size=size, inodes=inodes))

    def told(self, code: str, *argv: object) -> dict[str, Any]:
        """Run Python in it; what it prints is JSON."""
        argv_there = self.machine.python_argv(code, *map(str, argv))
        done = subprocess.run([*self.machine.prefix, *argv_there], capture_output=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr.decode()[-2000:])
        return json.loads(done.stdout)

    def close(self) -> None:
        """Undo it."""
        self.machine.run("umount", "/home")
        self.machine.close()


def purge(folder: Path, kind: str, what: str, number: int, rounds: int) -> dict[str, Any]:
    """Return a purge's rounds in seconds, ours and theirs."""
    size = f"{number + number // 10 + 2}G" if what == "large" else "8G"
    view = View(folder, kind, size)
    try:
        return view.told(PURGE, what, number, rounds)
    finally:
        view.close()


def scan(folder: Path, rounds: int) -> dict[str, Any]:
    """Return a scan's rounds in seconds, and how many inodes there were."""
    view = View(folder, "tmpfs")
    try:
        return view.told(SCAN, rounds)
    finally:
        view.close()


def memory_mb(folder: Path, inodes: int) -> tuple[float, float, str]:
    """Return the whole program's peak resident set in MB (10^6), its time in seconds, and the wipe's status."""
    view = View(folder, "tmpfs")
    try:
        wiper = Wiper(view.state, (), view.machine.prefix)
        target = wiper.grant(view.platform.grant("bench"))
        for top in (f"/home/{target.username}/many", "/home/elsewhere"):
            view.machine.run(*view.machine.python_argv(FILL, top, str(inodes // 2), str(target.uid)), patience_s=600)
        work = WipeWork(target=target, methods=(WipeMethod.USER_DELETION,))
        command = view.platform.command(view.platform.order(work))
        before = time.monotonic()
        process = wiper.start(command)
        assert process.stdout is not None
        process.stdout.read()
        _, _, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - before
        process.returncode = 0
        return usage.ru_maxrss * 1024 / 1e6, took, wiper.wipe(command).methods[0].status.value  # the stored answer
    finally:
        view.close()


def line(name: str, told: dict[str, Any], goal: float) -> tuple[str, float]:
    """Return a row of the table and the ratio of the medians."""
    ours, theirs = statistics.median(told["ours"]), statistics.median(told["theirs"])
    ratio = ours / theirs
    return f"{name:34}{ours:9.2f}{theirs:9.2f}{ratio:8.2f}{goal:7.1f}   {told['ours']} {told['theirs']}", ratio


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000, help="small files of a purge")
    parser.add_argument("--gigabytes", type=int, default=20, help="large files of a purge, 1 GB each")
    parser.add_argument(
        "--inodes", type=int, default=2_000_000, help="files of the tenant whose wipe's memory is taken"
    )
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("wipe_cost: it needs root, for a private view of this machine")
    print(
        f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    print(f"{'seconds, median of rounds':34}{'ours':>9}{'theirs':>9}{'ratio':>8}{'goal':>7}   all rounds")
    missed: list[str] = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        folder = Path(place)
        cases = (
            ("small", given.files, "ext4"),
            ("small", given.files, "tmpfs"),
            ("large", given.gigabytes, "ext4"),
        )
        for what, number, kind in cases:
            name = f"purge {number:,} {'files' if what == 'small' else 'GB'}, {kind} / rm -rf"
            row, ratio = line(name, purge(folder / f"{what}{kind}", kind, what, number, given.rounds), PURGE_RATIO)
            print(row, flush=True)
            missed += [name] if ratio > PURGE_RATIO else []
        told = scan(folder / "scan", given.rounds)
        row, ratio = line(f"scan {told['inodes']:,} inodes / find -uid", told, SCAN_RATIO)
        print(row, flush=True)
        missed += ["scan"] if ratio > SCAN_RATIO else []
        peak, took, status = memory_mb(folder / "memory", given.inodes)
        print(
            f"memory: {peak:.1f} MB at most (goal {MEMORY_MB:.0f}), wiping {given.inodes:,} files in {took:.1f} s: {status}"
        )
        missed += ["memory"] if peak > MEMORY_MB or status != "success" else []
    print("every goal is met" if not missed else "missed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
