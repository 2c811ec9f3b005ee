"""Child processes that must not outlive what started them."""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1
"""Source: Linux, include/uapi/linux/prctl.h."""


def die_with_parent(parent: int) -> None:
    """
    Have the kernel kill this process when its parent ends, however that ends.

    Args:
        parent: The parent's process id, to notice that it ended before this call.

    Source: prctl(2), PR_SET_PDEATHSIG: the signal is lost if the parent is gone already, hence the check after it.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
