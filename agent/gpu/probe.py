"""
The process that speaks to NVML: a question a line on stdin, an answer of several lines on stdout.

What NVML does to this process stays in this process, and it loads next to nothing: its memory is the agent's. A
question is the calls to leave out, tabs between them ("nvmlDeviceGetTotalEccErrors GPU-…"); `agent.gpu.answer` says how
an answer looks. Before each call, its name goes into the file whose descriptor is the argument: who hangs cannot speak.

It ends when stdin does, when NVML refuses as a whole, and when the library it has loaded was replaced on the disk: a
fresh process finds what a driver's update changed, for better or worse.
"""

import os
import resource
import sys
import time
from contextlib import suppress
from ctypes import byref

from agent.gpu.nvml import LIBRARY, LOST, RESET_REQUIRED, UNANSWERED, Device, LeftOutError, Library, NvmlError, PciInfo
from agent.gpu.readings import QUICK, SLOW, Question, Readings

_NOTE_BYTES = 200


class _Gpu:
    """One GPU while it is asked; without a device once it no longer answers."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.device: Device | None = None
        self.found: Readings = {}
        self.errors: list[str] = []

    def failed(self, error: NvmlError) -> None:
        """Note an error; one that means the GPU is gone ends its questions."""
        if isinstance(error, LeftOutError):
            return
        gone = error.code in {LOST, RESET_REQUIRED}
        self.errors.append(str(error) if gone else f"{error} ({error.call})")
        if gone:
            self.device = None


class Probe:
    """
    NVML, asked again and again.

    Args:
        note_file: The descriptor that says which call is being made.
    """

    def __init__(self, note_file: int) -> None:
        self._note_file = note_file
        self._library: Library | None = None
        self._loaded: tuple[str, int] | None = None

    def answer(self, left_out: frozenset[str]) -> list[str]:
        """
        Ask every GPU everything and return the lines to say.

        Raises:
            NvmlError: NVML refuses as a whole.
        """
        library = self._begun()
        library.left_out = left_out
        lines = [f"driver\t{library.text('nvmlSystemGetDriverVersion')}"]
        gpus = [_Gpu(index) for index in range(library.number("nvmlDeviceGetCount_v2"))]
        for gpu in gpus:
            lines.append(_named(library, gpu))
            _ask(gpu, QUICK)
        for gpu in gpus:
            _ask(gpu, SLOW)
        self._note("", "")
        for gpu in gpus:
            lines += [f"value\t{gpu.index}\t{name}\t{value}" for name, value in gpu.found.items()]
            lines += [f"error\t{gpu.index}\t{error}" for error in gpu.errors[:1]]
        return [*lines, "end"]

    def replaced(self) -> bool:
        """Return whether the loaded library is no longer the one on the disk, as after an update."""
        if self._loaded is None:
            return False
        path, inode = self._loaded
        try:
            return os.stat(path).st_ino != inode  # noqa: PTH116 - pathlib would cost this small process a megabyte
        except OSError:
            return True

    def _begun(self) -> Library:
        if self._library is None:
            library = Library(self._note)
            library.call("nvmlInit_v2", "")
            self._library, self._loaded = library, _mapped()
        return self._library

    def _note(self, call: str, about: str) -> None:
        """Say which call comes next, and since when it runs."""
        text = f"{time.monotonic():.3f}\t{call}\t{about}\n" if call else "\n"
        os.pwrite(self._note_file, text.encode()[:_NOTE_BYTES], 0)


def _named(library: Library, gpu: _Gpu) -> str:
    """Begin with a GPU and return the line that names it; its index stands for one too ill to tell its UUID."""
    model = address = ""
    about = f"index {gpu.index}"
    try:
        gpu.device = Device(library, gpu.index)
        about = gpu.device.about
        model = gpu.device.text("nvmlDeviceGetName")
        pci = PciInfo()
        gpu.device.call("nvmlDeviceGetPciInfo_v3", byref(pci))
        # NVML writes eight digits of domain, the kernel four.
        address = pci.bus_id.decode(errors="replace").lower()[-12:]
    except NvmlError as error:
        gpu.failed(error)
    return "\t".join(("gpu", str(gpu.index), about, model.replace("\t", " "), address))


def _ask(gpu: _Gpu, questions: tuple[Question, ...]) -> None:
    """Ask one GPU; what this model does not have is skipped, a GPU that is lost ends it."""
    for question in questions:
        if gpu.device is None:
            return
        try:
            gpu.found.update(question(gpu.device, gpu.found))
        except NvmlError as error:
            if error.code not in UNANSWERED:
                gpu.failed(error)


def _mapped() -> tuple[str, int] | None:
    """Return the path and inode of the loaded library. Source: proc_pid_maps(5)."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123 - see `replaced`
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and LIBRARY.removesuffix(".1") in fields[5]:
                return fields[5].rstrip("\n"), int(fields[4])
    return None


def main(note_file: str) -> int:
    """Answer questions until there are no more, NVML fails as a whole or its library was replaced."""
    # What a library prints must not stand between the answers, and what it breaks must not fill a disk.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with suppress(OSError, ValueError):  # a service's filter of system calls may forbid it
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    probe = Probe(int(note_file))
    for question in sys.stdin:
        try:
            lines = probe.answer(frozenset(question.rstrip("\n").split("\t")) - {""})
        except NvmlError as error:
            lines = [f"refused\t{error.code}\t{error}"]
        answers.write("\n".join(lines) + "\n")
        answers.flush()
        if lines[-1] != "end":
            return 1
        if probe.replaced():
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
