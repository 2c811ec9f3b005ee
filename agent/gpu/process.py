"""The probe as a process: started, asked, looked at, ended; nobody ever waits for it."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

PROBE = (sys.executable, "-P", "-m", "agent.gpu.probe")
"""`-P`: never import from the directory the agent happens to be started in."""

DONE = "exit status 0"
"""How a probe ends that has nothing left to do; it finds a fresh one better."""
_DEATH_S = 0.1
"""Between the end of a process's output and its own, which the kernel needs some time for."""
_CHUNK_BYTES = 65_536


class Call(Struct, frozen=True):
    """A call that the probe has made; `began_s` on the monotonic clock that all processes share."""

    name: str
    about: str
    began_s: float


class EndedError(Exception):
    """The probe is no more."""


class Process:
    """
    A running probe.

    Args:
        command: How it is started; gets the descriptor of its note as its last argument.
        environment: Its variables; this process's own when left out.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None) -> None:
        self._note = os.memfd_create("gpu-call", os.MFD_CLOEXEC)
        try:
            self._process = subprocess.Popen(
                (*command, str(self._note)),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(self._note,),
                env=environment,
            )
        except OSError:
            os.close(self._note)
            raise
        self._rest = b""

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

    def ask(self, question: str) -> None:
        """
        Ask it.

        Raises:
            EndedError: it is no more.
        """
        assert self._process.stdin is not None
        # Until it notes its first call; one that does not even begin is known by its name.
        os.pwrite(self._note, f"{time.monotonic():.3f}\tthe GPU probe\t\n".encode(), 0)
        try:
            self._process.stdin.write(f"{question}\n".encode())
        except BrokenPipeError as error:
            raise EndedError from error

    def lines(self, wait_s: float) -> list[str]:
        """
        Return what it has said, after waiting for it to say something.

        Raises:
            EndedError: it has said everything and is no more.
        """
        assert self._process.stdout is not None
        ready = select.poll()
        ready.register(self._process.stdout, select.POLLIN)
        if not ready.poll(max(0.0, wait_s) * 1000):
            return []
        chunk = os.read(self._process.stdout.fileno(), _CHUNK_BYTES)
        if not chunk:
            raise EndedError
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def call(self) -> Call | None:
        """Return the call it is in; None when it is in none."""
        text = os.pread(self._note, 300, 0).partition(b"\n")[0].decode(errors="replace")
        match text.split("\t"):
            case [began_s, name, about]:
                return Call(name, about, float(began_s))
            case _:
                return None

    def death(self) -> str:
        """Say how it ended: by a signal, or with an exit status."""
        try:
            status = self._process.wait(_DEATH_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def kill(self) -> None:
        """End it, without waiting: in the driver's hands it stays until the driver lets go."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        os.close(self._note)

    def bury(self, wait_s: float) -> None:
        """Wait a while for a killed one to be gone."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
