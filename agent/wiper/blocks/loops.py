"""
Loop devices on files in a tenant's home, also on files that have no name any more, and on files of his elsewhere.

The kernel names files of every container by their paths in there, so the file system is compared too.
"""

import errno
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from agent.wiper.system import mountinfo
from agent.wiper.system.ground import Ground
from agent.wiper.system.kernel import loop_file
from agent.wiper.system.mountinfo import beneath


def of_homes(ground: Ground, parent: str, homes: Collection[str], file_systems: Collection[int] = ()) -> list[str]:
    """
    Return the loop devices whose file is in one of these homes.

    Args:
        ground: Where.
        parent: The directory with the homes.
        homes: The home's names, as on the machine.
        file_systems: Device numbers of what was mounted in the homes: files there count too.
    """
    if ground.simulated:
        return []
    named = [device for device, path in _all() if any(beneath(path, home) for home in homes)]
    if not named:
        return []
    above = ground.open_directory(parent)
    try:
        here = os.fstat(above).st_dev
    finally:
        os.close(above)
    # Of an overlay the kernel tells the layer's device, not its own: there the name has to do.
    words = f"{os.major(here)}:{os.minor(here)}"
    layered = any(one.kind == "overlay" and one.device == words for one in mountinfo.current())
    return [device for device in named if layered or _is_on(device, {here, *file_systems})]


def on_files_of(ground: Ground, owns: Callable[[int], bool]) -> list[str]:
    """
    Return the loop devices whose file is a tenant's by its owner, wherever it is; only while it has its name.

    A file system that is not this machine's own is never asked: it may hang whoever asks.
    """
    if ground.simulated:
        return []
    mounts = mountinfo.current()
    stored = {one.device for one in mountinfo.to_look_at(mounts)[0]}
    found = []
    for device, path in _all():
        place = mountinfo.on_file_system(path, mounts)
        if place is None or place[0] not in stored:
            continue
        try:
            facts = os.lstat(path)
            layered = any(one.kind == "overlay" and one.device == place[0] for one in mounts)
            # The name may be another container's: then it is another file here.
            if owns(facts.st_uid) and (layered or loop_file(device) == (facts.st_dev, facts.st_ino)):
                found.append(device)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ENXIO:  # let go meanwhile
                raise
    return found


def _is_on(loop: str, file_systems: set[int]) -> bool:
    try:
        return loop_file(loop)[0] in file_systems
    except OSError as error:
        if error.errno == errno.ENXIO:  # let go meanwhile
            return False
        raise


def _all() -> Iterator[tuple[str, str]]:
    """Give each loop device with its file, also one that was deleted. Source: Linux, sysfs-block-loop."""
    for device in os.listdir("/sys/block"):  # noqa: PTH208 - names only
        if not device.startswith("loop"):
            continue
        try:
            name = Path("/sys/block", device, "loop/backing_file").read_text("utf-8", "surrogateescape").rstrip("\n")
        except OSError:  # it has no file, or was let go between the two calls
            continue
        yield f"/dev/{device}", name.removesuffix(" (deleted)")
