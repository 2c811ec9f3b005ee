"""Changing a system file line by line, as a whole or not at all; its owner, mode and place stay."""

import os
import secrets
import stat
from collections.abc import Callable, Iterator

from agent.wiper.system.ground import Ground
from agent.wiper.system.kernel import open_beneath

MAX_BYTES = 16 * 2**20

Keep = Callable[[str], str | None]
"""Returns a line (without its end) as it shall be, or None to drop it."""


def changed(text: str, keep: Keep) -> tuple[str, int]:
    """Return a text after its lines were looked at, and how many of them changed."""
    lines = text.split("\n")
    new = [keep(line) for line in lines]
    different = sum(before != after for before, after in zip(lines, new, strict=True))
    return "\n".join(line for line in new if line is not None), different


def numbers(text: str, keep: Keep) -> Iterator[int]:
    """Give the numbers, from 1, of a text's lines that `changed` would change."""
    return (number for number, line in enumerate(text.split("\n"), 1) if keep(line) != line)


def count(ground: Ground, path: str, keep: Keep) -> int:
    """
    Return how many lines of a file `rewrite` would change; 0 where there is no file.

    Raises:
        OSError: it cannot be read, or is a link.
    """
    return changed(ground.read(path), keep)[1]


def rewrite(ground: Ground, path: str, keep: Keep, *, drop_empty: bool = False) -> int:
    """
    Change a file of the system's; returns how many lines.

    Args:
        ground: Where.
        path: Absolute; no link is followed in any part of it.
        keep: What becomes of each line.
        drop_empty: Whether a file without any statement left (only comments and blank lines) is removed.

    Raises:
        OSError: it cannot be changed; it is as it was then.
    """
    new, different = changed(ground.read(path), keep)
    if not different:
        return 0
    folder, _, name = path.rpartition("/")
    directory = ground.open_directory(folder or "/")
    try:
        statements = (line for line in new.split("\n") if line.strip() and not line.lstrip().startswith("#"))
        if drop_empty and not any(statements):
            os.unlink(name, dir_fd=directory)
        else:
            _replace(directory, name, new.encode("utf-8", "surrogateescape"))
        os.fsync(directory)
    finally:
        os.close(directory)
    return different


def _replace(directory: int, name: str, content: bytes) -> None:
    beside = f".{name}.rackproof-{secrets.token_hex(8)}"
    facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
    fd = open_beneath(directory, beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fchown(file.fileno(), facts.st_uid, facts.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(facts.st_mode))
            os.fsync(file.fileno())
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(beside, dir_fd=directory)
        raise
