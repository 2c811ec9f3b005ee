"""The system's own tools, started with nothing of ours around them and never without a deadline."""

import errno
import os
import signal
import subprocess
from typing import NamedTuple

from agent.wiper.system.children import end

STOP = "--property=TimeoutStopSec=2s"
"""
How long a unit may take to end once it was told to; then it is killed, before we give it up.

Source: systemd.service(5), RuntimeMaxSec and TimeoutStopSec, else 90 s.
"""
NOW = ("--pipe", "--wait", "--collect", "--quiet", "--property=DefaultDependencies=no", STOP)
"""
How something is started apart by the service manager: at once or not at all.

With the usual dependencies it would be queued early at boot, when an interrupted wipe goes on, and start long after
whoever asked for it gave up. Source: systemd-run(1); systemd.service(5), "Default Dependencies".
"""
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MAX_WORDS = 200


class Ended(NamedTuple):
    """How a tool ended: its exit code, what it wrote to stdout, and its complaints in one line."""

    code: int
    out: str
    words: str


def run(*argv: str, deadline_s: float, user: tuple[int, int] | None = None) -> Ended:
    """
    Run a tool to its end, as the user and group `user` where that is given.

    Raises:
        OSError: it does not exist (ENOENT) or did not end in time (ETIMEDOUT; it was killed).
    """
    # Not subprocess.run: it kills what does not end as root, who may not kill a tool that runs as somebody else.
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
        cwd="/",
        user=None if user is None else user[0],
        group=None if user is None else user[1],
        extra_groups=None if user is None else (),
    )
    try:
        out, complaints = process.communicate(timeout=deadline_s)
    except subprocess.TimeoutExpired as error:
        raise OSError(errno.ETIMEDOUT, f"{argv[0]} did not end within {deadline_s:.0f} s") from error
    finally:
        _end(process)
    words = " ".join(complaints.decode("utf-8", "replace").split())[:MAX_WORDS]
    return Ended(process.returncode, out.decode("utf-8", "surrogateescape"), words)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a tool that has not ended, and wait for none of those it started."""
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    if process.returncode is None:
        end(process.pid)
        process.returncode = -signal.SIGKILL


def run_apart(*argv: str, deadline_s: float) -> Ended:
    """
    Run a tool that needs devices: where systemd runs, in a unit of its own, for ours is kept from all but a few.

    Raises:
        OSError: as for `run`.

    Source: systemd-run(1); systemd.exec(5).
    """
    if not systemd_runs():
        return run(*argv, deadline_s=deadline_s)
    apart = (*NOW, "--property=PrivateNetwork=yes", "--property=MemoryMax=512M")
    limit = f"--property=RuntimeMaxSec={deadline_s:.0f}"
    return run("systemd-run", *apart, "--property=NoNewPrivileges=yes", limit, "--", *argv, deadline_s=deadline_s + 5)


def is_there(name: str) -> bool:
    """Return whether a tool is installed."""
    return any(os.access(f"{folder}/{name}", os.X_OK) for folder in SYSTEM_PATH.split(":"))


def systemd_runs() -> bool:
    """Return whether this machine was booted by systemd. Source: sd_booted(3)."""
    return os.path.isdir("/run/systemd/system")  # noqa: PTH112 - a fixed path, as documented
