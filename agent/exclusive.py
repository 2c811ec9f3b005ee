"""One measurement at a time on a machine, whoever starts it."""

import asyncio
import errno
import hashlib
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.codes import Code, Trouble

ASK_EVERY_S = 0.5


@asynccontextmanager
async def alone(state_dir: str, wait_s: float = 0.0) -> AsyncIterator[None]:
    """
    Hold the machine's one place for measuring.

    It is a name of the kernel's: nobody needs rights to take it, no file is left, and it is free when its holder ends,
    however that ends. Source: unix(7), "Abstract sockets".

    Args:
        state_dir: Whose agent's; its service and its command line have the same.
        wait_s: How long to wait for it.

    Raises:
        Trouble: `busy`.
    """
    name = f"\0rackproof-measuring-{hashlib.sha256(state_dir.encode()).hexdigest()}"
    until_s = time.monotonic() + wait_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as place:
        while True:
            try:
                place.bind(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if time.monotonic() >= until_s:
                    words = "another measurement runs on this machine"
                    raise Trouble(Code.BUSY, words, "wait for its end, or stop it") from error
                await asyncio.sleep(ASK_EVERY_S)
            else:
                break
        yield
