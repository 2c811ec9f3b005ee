"""smartd: whether somebody reads the disks' own word about their health, which the agent has no right to ask for."""

import shutil

from agent.checks import Check, Finding, Group, Scene, advice, fine, unknown
from agent.host import names_or_nothing, text_or_none
from agent.host.disks import disk_names

INSTALL = "sudo apt install smartmontools (or dnf install smartmontools); sudo systemctl enable --now smartd"


def judge(disks: tuple[str, ...], *, installed: bool, runs: bool) -> Finding:
    """
    Judge the watch over the disks.

    Args:
        disks: Names of the real disks.
        installed: Whether smartd is there.
        runs: Whether it runs.
    """
    if not disks:
        return unknown("no disk of its own that has anything to tell: a virtual machine's belong to its host")
    limit = "smartd runs"
    if not installed:
        return advice("smartd_absent", "not installed", limit=limit, remedy=INSTALL)
    if not runs:
        return advice(
            "smartd_stopped", "installed, does not run", limit=limit, remedy="sudo systemctl enable --now smartd"
        )
    return fine(f"watches {len(disks)} disks", limit)


def look(scene: Scene) -> Finding:
    """Look for disks, the program and its process."""
    host = scene.host
    disks = tuple(name for name in disk_names(host) if not name.startswith(("vd", "xvd", "zram")))
    found = shutil.which("smartd", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
    running = (text_or_none(host, f"/proc/{name}/comm") for name in names_or_nothing(host, "/proc") if name.isdigit())
    return judge(disks, installed=found is not None, runs="smartd" in running)


CHECK = Check(
    name="smartd",
    title="disks' health (SMART)",
    group=Group.HEALTH,
    look=look,
    codes={
        "smartd_absent": "Wear, spare blocks and bad sectors stay unknown until a disk fails under a tenant.",
        "smartd_stopped": "Wear, spare blocks and bad sectors stay unknown until a disk fails under a tenant.",
    },
)
