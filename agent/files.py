"""Files that must survive a power cut: written beside, flushed, renamed, and the directory flushed too."""

import os
from pathlib import Path

from shared.codes import Code, Trouble


def write_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """
    Replace a file as a whole: after a crash it holds the old content or the new, never a part.

    Raises:
        Trouble: `state_unwritable`.

    Source: the rename-and-fsync order of fsync(2) and rename(2); ext4 flushes neither by itself.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            if os.geteuid() == 0:
                # What root leaves in a service's own directory is the service's to read.
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
        flush_directory(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise Trouble(Code.STATE_UNWRITABLE, f"{path}: {error.strerror or error}") from error


def flush_directory(path: Path) -> None:
    """Put a directory's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
