"""A file system that never answers: whoever looks at a file in it hangs in the kernel and cannot be killed."""

import ctypes
import os
import struct
from pathlib import Path
from threading import Thread

_INIT = 26
_libc = ctypes.CDLL(None, use_errno=True)


class Silent:
    """
    A mounted file system that answers the kernel's greeting and nothing else.

    Source: Linux, include/uapi/linux/fuse.h; fs/fuse/dev.c, request_wait_answer: a request that was read by the file
    system is waited for even by a process that was killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0"
        if _libc.mount(b"silent", str(folder).encode(), b"fuse", 0, options.encode()) != 0:
            error = ctypes.get_errno()
            os.close(self._device)
            raise OSError(error, os.strerror(error))
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                request = os.read(self._device, 1 << 17)
            except OSError:
                return  # unmounted
            _, opcode, unique = struct.unpack_from("<IIQ", request)
            if opcode == _INIT:
                body = struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0, *([0] * 7))
                os.write(self._device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)

    def release(self) -> None:
        """Let go of everybody who hangs: the connection is aborted."""
        _libc.umount2(str(self.folder).encode(), 1 | 2)
        os.close(self._device)
