"""
What the usual tools leave of a tenant, and what they destroy of others, beside the wiper, in one run.

    python tests/load/wipe_peers.py [--calm]

For each tool a fresh private view of this machine with the same hostile tenant (the traps of tests/host/tenant, or with
`--calm` only files, mail and schedules, nothing running and nothing mounted) and the same neighbours; afterwards the same
inspection from outside, which knows only who the tenant was. Nothing of the machine itself is touched. Needs root;
a tool that is not installed has a row that says so. Exit 1 when the wiper leaves what it could have removed, or harms.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

from shared.records import WipeMethod
from tests.host.scene import Scene

PATIENCE_S = 300.0
PEERS = {
    "userdel -r -f": ("userdel", "userdel -r -f {name}"),
    "deluser --remove-all-files": ("deluser", "deluser --quiet --remove-all-files {name}"),
    "rm -rf, then userdel": ("userdel", "rm -rf /home/{name}; userdel {name}"),
}
OURS = "rackproof wiper"
RESTLESS = ("processes", "open_files", "mounts", "loop", "swap", "namespaces", "ipc", "keyrings", "hidden_files")
"""Categories of traps that a calm tenant has not set."""


class Row(NamedTuple):
    """What became of one tenant."""

    name: str
    said: str
    words: str
    seconds: float
    residues: list[Any]
    stubborn: int
    damages: list[str]
    destroyed: bool = False


def row(folder: Path, name: str, command: str | None, *, calm: bool) -> Row:
    """Plant a tenant, use one tool on him, and look."""
    scene = Scene(folder, hide=("/var/tmp",))  # deluser is a Perl program, with its parts in /usr/share
    try:
        planted = scene.plant(*(RESTLESS if calm else ()))
        marks = [mark for one in planted if one["stubborn"] for mark in one["marks"]]
        before = time.monotonic()
        if command is None:
            result = scene.wipe(WipeMethod.USER_DELETION).methods[0]
            said, words = result.status.value, "; ".join(result.reasons)
        else:
            argv = [*scene.machine.prefix, "sh", "-c", command.format(name=scene.target.username)]
            said, words = _said(argv)
        took = time.monotonic() - before
        if subprocess.run([*scene.machine.prefix, "true"], check=False, capture_output=True).returncode:
            return Row(name, said, words, took, [], 0, [], destroyed=True)
        seen = scene.look(WipeMethod.USER_DELETION)
        stubborn = [one for one in seen["residues"] if any(mark in f"{one[1]} {one[2]}" for mark in marks)]
        return Row(name, said, words, took, seen["residues"], len(stubborn), seen["damages"])
    finally:
        scene.close()


def _said(argv: list[str]) -> tuple[str, str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return f"nothing for {PATIENCE_S:.0f} s", ""
    words = [line for line in (*done.stdout.splitlines(), *done.stderr.splitlines()) if line.strip()]
    return f"exit {done.returncode}", words[-1] if words else ""


def main() -> int:
    """Try them and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calm", action="store_true", help="a tenant with nothing running and nothing mounted")
    parser.add_argument("--list", action="store_true", help="print each residue and each damage too")
    given = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("wipe_peers: it needs root, for a private view of this machine")
    print(f"{platform.platform()}, {os.cpu_count()} CPUs, a {'calm' if given.calm else 'hostile'} tenant")
    print(f"{'tool':30}{'said':>12}{'seconds':>9}{'left':>8}{'kinds':>7}{'could not be':>14}{'destroyed':>11}")
    failed = False
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        for number, (name, peer) in enumerate({OURS: None, **PEERS}.items()):
            if peer is not None and shutil.which(peer[0]) is None:
                print(f"{name:30}  not installed")
                continue
            folder = Path(place, str(number))
            folder.mkdir()
            told = row(folder, name, peer[1] if peer else None, calm=given.calm)
            if told.destroyed:
                print(
                    f"{told.name:30}{told.said:>12}{told.seconds:9.1f}  it destroyed the machine: no program runs any more"
                )
                continue
            kinds = len({one[0] for one in told.residues})
            print(
                f"{told.name:30}{told.said:>12}{told.seconds:9.1f}{len(told.residues):8}{kinds:7}{told.stubborn:14}"
                f"{len(told.damages):11}",
                flush=True,
            )
            if told.words:
                print(f"    its last words: {told.words[:150]}")
            for text in (*map(str, told.residues), *told.damages) if given.list else ():
                print(f"    {text[:200]}")
            if peer is None:
                failed = bool(told.damages) or len(told.residues) > told.stubborn
    print("left: counted one by one up to 1,000 of a kind; could not be: removed without ending others' processes")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
