"""
Doing apart what the wiper's unit may not do: in a short-lived unit where systemd runs, in a forked child elsewhere.

`python -m agent.wiper.system.apart SOCKET` is that unit's process: it is told its task over the socket, which only root
can reach, and answers there. It is started without the message bus, which early at boot, when an interrupted wipe goes
on, is not there yet.
"""

import errno
import json
import os
import secrets
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from agent.wiper.system.children import MAX_ANSWER_BYTES, answer_of, in_child, result_of
from agent.wiper.system.mountinfo import require_whole_view
from agent.wiper.system.tasks import Task, carry_out
from agent.wiper.system.tools import STOP, run, systemd_runs
from shared.codes import Trouble

FOLDER = "/run"
"""Where the socket is for a moment: only root can make files there, or connect to this one."""
SLACK_S = 20.0
"""What starting a unit may take on a busy machine."""
UNIT = (
    *(
        "--quiet",
        "--collect",
        "--service-type=exec",
        "--property=DefaultDependencies=no",
        "--property=UMask=0077",
        STOP,
    ),
    # The machine's own mounts, so that all is there that a tenant may have left: it makes its own view of them itself.
    *("--property=PrivateMounts=no", "--property=RestrictNamespaces=mnt", "--property=NoNewPrivileges=yes"),
    *("--property=PrivateNetwork=yes", "--property=RestrictAddressFamilies=AF_UNIX", "--property=MemoryMax=256M"),
    *("--property=CapabilityBoundingSet=CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_FOWNER", "--property=DevicePolicy=closed"),
    *("--property=SystemCallFilter=@system-service @mount swapoff", "--property=SystemCallErrorNumber=EPERM"),
)
"""Source: systemd-run(1), systemd.exec(5)."""


class Done(NamedTuple):
    """What was answered, and the descriptor that was handed over."""

    said: bytes
    descriptor: int | None


def do(task: Task, deadline_s: float) -> Done:
    """
    Have a task carried out.

    Raises:
        OSError: it could not be done; ETIMEDOUT.
    """
    if not systemd_runs():
        return _in_child(task, deadline_s)
    try:
        return _in_unit(task, deadline_s)
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from error


def _in_child(task: Task, deadline_s: float) -> Done:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            said = in_child(lambda: carry_out(task, partial(_give, theirs)), deadline_s, keep=theirs.fileno())
        return Done(said, _receive(ours)[1])


def _in_unit(task: Task, deadline_s: float) -> Done:
    path = f"{FOLDER}/rackproof-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX) as door:
        # Before it has a name: the name gets this mode.
        os.fchmod(door.fileno(), 0o600)
        door.bind(path)
        try:
            door.listen(1)
            door.settimeout(SLACK_S)
            _start(path, deadline_s)
            line, _ = door.accept()
        finally:
            os.unlink(path)  # noqa: PTH108 - a path of ours
    with line:
        if struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] != os.geteuid():
            raise PermissionError(errno.EPERM, "somebody else answers")
        return _ask(line, task, time.monotonic() + deadline_s)


def _start(path: str, deadline_s: float) -> None:
    limit = f"--property=RuntimeMaxSec={deadline_s + SLACK_S:.0f}"
    argv = ("systemd-run", *UNIT, limit, "--", sys.executable, "-I", "-m", __name__, path)
    done = run(*argv, deadline_s=SLACK_S)
    if done.code:
        raise OSError(errno.EIO, f"nothing could be started apart: {done.words}")


def _ask(line: socket.socket, task: Task, until: float) -> Done:
    """Tell the task and read the answer to its end."""
    line.settimeout(max(0.1, until - time.monotonic()))
    # Paths that are no UTF-8 pass as escapes.
    line.sendall(json.dumps(msgspec.to_builtins(task)).encode() + b"\n")
    answer, descriptor = _receive(line)
    try:
        while part := _more(line, until):
            answer += part
            if len(answer) > MAX_ANSWER_BYTES:
                raise OSError(errno.EFBIG, "the answer is too long")
        return Done(result_of(answer), descriptor)
    except BaseException:
        if descriptor is not None:
            os.close(descriptor)
        raise


def _more(line: socket.socket, until: float) -> bytes:
    line.settimeout(max(0.1, until - time.monotonic()))
    return line.recv(65_536)


def _give(line: socket.socket, descriptor: int) -> None:
    socket.send_fds(line, [b"."], [descriptor])


def _receive(line: socket.socket) -> tuple[bytes, int | None]:
    """Return the first bytes, and the descriptor that came with the first of them, if one did."""
    said, descriptors, _, _ = socket.recv_fds(line, 65_536, 1, socket.MSG_CMSG_CLOEXEC)
    return (said[1:], descriptors[0]) if descriptors else (said, None)


def main(path: str) -> None:
    """Be the process of that unit."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        with line.makefile("rb") as lines:
            task = msgspec.convert(json.loads(lines.readline(MAX_ANSWER_BYTES)), type=Task)
        line.sendall(answer_of(partial(_whole, lambda: carry_out(task, partial(_give, line)))))


def _whole(work: Callable[[], bytes]) -> bytes:
    """Do it only where nothing of the machine is kept from this process, by a setting for all units, say."""
    try:
        require_whole_view()
    except Trouble as trouble:
        raise PermissionError(errno.EPERM, trouble.detail) from trouble
    return work()


if __name__ == "__main__":
    main(sys.argv[1])
