"""The system's own programs, for what no file tells: bounded in time and output, with nothing of ours around them."""

import errno
import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from typing import IO

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CHUNK_BYTES = 65_536
_LONGEST_LINE_BYTES = 1_048_576
_KILL_S = 1.0


def lines(*argv: str, deadline_s: float, most_bytes: int) -> Iterator[bytes]:
    """
    Yield the lines a program prints, as they come; whoever stops asking ends it.

    Args:
        argv: The program and its arguments.
        deadline_s: How long it may take; what it printed until then has been given.
        most_bytes: How much it may print.

    Raises:
        OSError: it does not exist (ENOENT), did not end in time (ETIMEDOUT), printed more (EFBIG), or failed (EIO).
    """
    environment = {"PATH": _PATH, "LC_ALL": "C"}
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd="/"
    )
    assert process.stdout is not None
    try:
        yield from _lines(process.stdout, argv[0], time.monotonic() + deadline_s, most_bytes)
        if process.wait(_KILL_S):
            raise OSError(errno.EIO, f"{argv[0]} ended with {process.returncode}")
    finally:
        _end(process)


def _lines(out: IO[bytes], name: str, until_s: float, most_bytes: int) -> Iterator[bytes]:
    """Yield the lines of a pipe until it is closed."""
    rest, read_bytes = b"", 0
    with selectors.PollSelector() as ready:
        ready.register(out, selectors.EVENT_READ)
        while True:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not ready.select(left_s):
                raise OSError(errno.ETIMEDOUT, f"{name} did not end in time")
            chunk = os.read(out.fileno(), _CHUNK_BYTES)
            if not chunk:
                break
            read_bytes += len(chunk)
            *whole, rest = (rest + chunk).split(b"\n")
            if read_bytes > most_bytes or len(rest) > _LONGEST_LINE_BYTES:
                raise OSError(errno.EFBIG, f"{name} printed too much")
            yield from whole
    if rest:
        yield rest


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs; one that hangs in the kernel is left to it."""
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        process.kill()
        try:
            process.wait(_KILL_S)
        except subprocess.TimeoutExpired:
            return  # it ends when its system call does, and is collected with the next program's start
