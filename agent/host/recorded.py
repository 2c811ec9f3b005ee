"""A machine replayed from a folder: its files, and the answers that do not come from files."""

from pathlib import Path

import msgspec
from msgspec import Struct

from agent.host import Clock, Cores, Gpus, GpuUnreadable, Own, Usage
from agent.host.tree import Tree


class Answers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What `machine.json` of a recording holds.

    Attributes:
        links: Symbolic links by path, so that a recording has none itself and survives any archive.
        forbidden: Paths that this machine's agent may not read.
        usage: File systems by mount point.
        gpus: NVML's answer; `gpu_error` when it had none.
        monotonic_s: The moment of the recording.
    """

    links: dict[str, str] = {}
    forbidden: tuple[str, ...] = ()
    usage: dict[str, Usage] = {}
    writable: tuple[str, ...] = ()
    monotonic_s: float = 1000.0
    clock: Clock = Clock()
    cores: Cores = Cores()
    own: Own = Own(resident_bytes=0, cpu_s=0.0, threads=1)
    gpus: Gpus | None = None
    gpu_error: str = "no GPU was recorded"


class RecordedHost(Tree):
    """
    A recorded machine.

    Args:
        folder: Holds the files by their paths ("proc/stat") and `machine.json`.

    Raises:
        OSError: there is no recording in the folder.
        msgspec.MsgspecError: `machine.json` is not one.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._answers = msgspec.json.decode((folder / "machine.json").read_bytes(), type=Answers)

    def text(self, path: str) -> str:
        """Return a recorded file's text."""
        if path in self._answers.forbidden:
            raise PermissionError(13, "Permission denied", path)
        try:
            return super().text(path)
        except IsADirectoryError as error:
            raise FileNotFoundError(2, "No such file or directory", path) from error

    def tail(self, path: str, most_bytes: int) -> str:
        """Return the end of a recorded file."""
        return self.text(path)[-most_bytes:]

    def link(self, path: str) -> str:
        """Return where a recorded link points."""
        try:
            return self._answers.links[path]
        except KeyError as error:
            raise FileNotFoundError(2, "No such file or directory", path) from error

    def usage(self, path: str) -> Usage:
        """Return how full a recorded file system was."""
        try:
            return self._answers.usage[path]
        except KeyError as error:
            raise FileNotFoundError(2, "No such file or directory", path) from error

    def writable(self, path: str) -> bool:
        """Return whether the recorded agent could make files here."""
        return path in self._answers.writable

    def monotonic_s(self) -> float:
        """Return the moment of the recording."""
        return self._answers.monotonic_s

    def clock(self) -> Clock:
        """Return the recorded state of the clock."""
        return self._answers.clock

    def cores(self) -> Cores:
        """Return the recorded number of CPUs and cores."""
        return self._answers.cores

    def own(self) -> Own:
        """Return what the recorded agent used."""
        return self._answers.own

    def gpus(self) -> Gpus:
        """Return NVML's recorded answer."""
        if self._answers.gpus is None:
            raise GpuUnreadable(self._answers.gpu_error)
        return self._answers.gpus
