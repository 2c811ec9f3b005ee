"""
Canaries: files of known content given to a tenant with his account, and looked for by their content after his wipe.

Every other look goes by user ids. A copy that somebody else owns now, a backup or what a program of root's moved, shows
only by what is in it: these files stand for everything of the tenant's that went the same way.

A canary's length is its own: on a walk over a whole machine only files of exactly that length have to be read.
"""

import hashlib
import os
import stat

from agent.wiper.system.kernel import open_beneath

WORDS = (
    "This file came with your account. After your booking the machine is searched for copies of it, to make sure that\n"
    "nothing of yours is left behind. It does nothing else, and you may delete it.\n"
)
SHORTEST, LONGEST = 2_048, 6_143
PLACES = ("/tmp", "/dev/shm")  # noqa: S108 - where tenants' data ends up beside the home
NAME = ".rackproof-canary"


def content_of(generation: str) -> bytes:
    """Return what is in the canaries of an account's generation: words for the tenant, and letters like no others."""
    length = SHORTEST + int(generation[:3], 16) % (LONGEST - SHORTEST + 1)
    letters = hashlib.shake_256(f"rackproof canary {generation}".encode()).hexdigest(LONGEST)
    return (WORDS + letters)[: length - 1].encode() + b"\n"


def name_of(generation: str) -> str:
    """Return a canary's name where others' files are too."""
    return f"{NAME}-{hashlib.sha256(generation.encode()).hexdigest()[:12]}"


def plant(directory: int, name: str, content: bytes, owner: tuple[int, int] | None) -> bool:
    """
    Put a canary into an open directory; return whether it is there.

    A file of that name stays as it is: it is the canary of a run that was cut off, or somebody's who must keep his own.

    Args:
        directory: A descriptor.
        name: The canary's.
        content: What is in it.
        owner: The user and group id it is for; None for our own.

    Raises:
        OSError: it cannot be written.
    """
    try:
        fd = open_beneath(directory, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    except FileExistsError:
        return is_canary(directory, name, os.stat(name, dir_fd=directory, follow_symlinks=False), content)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        if owner is not None:
            os.fchown(fd, *owner)
        os.fsync(fd)
    return True


def is_canary(directory: int, name: str, facts: os.stat_result, content: bytes) -> bool:
    """
    Return whether a file holds a canary's content; only one of its length is read at all.

    Raises:
        OSError: it is of that length and cannot be read.
    """
    if not stat.S_ISREG(facts.st_mode) or facts.st_size != len(content):
        return False
    try:
        fd = open_beneath(directory, name, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    with os.fdopen(fd, "rb") as file:
        return file.read(len(content) + 1) == content
