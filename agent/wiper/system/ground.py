"""The file tree that is worked on: the whole machine's, or a simulated machine's in a directory."""

import os
import secrets
import stat
from pathlib import Path, PurePosixPath

from agent.wiper.system.kernel import open_beneath
from shared.codes import Code, Trouble

SANDBOX_NAMES = frozenset({"etc", "home"})
"""What may stand in a simulated machine; anything else means that the directory is something real."""

MAX_READ_BYTES = 16 * 2**20
"""Of one account file; a machine with 65,000 accounts has about 5 MB."""


class Ground:
    """
    A tree that can only be entered from its root, by descriptors, through no link.

    Args:
        root: "/" or the simulated machine's directory.
        simulated: Whether it is a simulated machine: everything in it belongs to the user who runs this.
    """

    def __init__(self, root: Path, *, simulated: bool) -> None:
        self.root = root
        self.simulated = simulated
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the root."""
        os.close(self._fd)

    def open_directory(self, path: str) -> int:
        """
        Open a directory by its absolute path on this ground; mounts may be entered, links not.

        Raises:
            OSError: ELOOP at a link, ENOENT, ENOTDIR.
        """
        inside = path.strip("/") or "."
        return open_beneath(self._fd, inside, os.O_RDONLY | os.O_DIRECTORY, cross_mounts=True)

    def on_machine(self, path: str) -> str:
        """Return what an absolute path on this ground is called on the real machine; for comparing, not for opening."""
        return str(PurePosixPath(os.path.realpath(self.root), path.strip("/")))

    def owner(self, uid: int) -> int:
        """Return who owns the files of the account `uid`: on a simulated machine whoever runs this."""
        return os.geteuid() if self.simulated else uid

    def read(self, path: str) -> str:
        """
        Return a file's text; empty when there is none. Bytes that are not UTF-8 are kept as surrogates.

        Raises:
            OSError: it cannot be read, or is a link.
        """
        try:
            fd = open_beneath(self._fd, path.strip("/"), os.O_RDONLY | os.O_NONBLOCK, cross_mounts=True)
        except FileNotFoundError:
            return ""
        with os.fdopen(fd, "rb") as file:
            raw = file.read(MAX_READ_BYTES + 1)
        if len(raw) > MAX_READ_BYTES:
            raise OSError(f"{path} is larger than {MAX_READ_BYTES} bytes")
        return raw.decode("utf-8", "surrogateescape")

    def append_line(self, path: str, line: str) -> None:
        """
        Add a line to a file of the simulated machine, as a whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        if not self.simulated:
            raise AssertionError("account files of a real machine are written by its own tools only")
        folder, _, name = path.strip("/").rpartition("/")
        content = (self.read(path) + line + "\n").encode("utf-8", "surrogateescape")
        self.make_directory(folder)
        directory = self.open_directory(folder)
        beside = f".{name}.{secrets.token_hex(8)}"
        try:
            fd = open_beneath(directory, beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o644)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)

    def make_directory(self, path: str) -> None:
        """Make a directory of the simulated machine where it is missing, beneath its root."""
        if not self.simulated:
            raise AssertionError("directories of a real machine are made by its own tools only")
        try:
            os.mkdir(path.strip("/"), 0o755, dir_fd=self._fd)
        except FileExistsError:
            return
        os.fsync(self._fd)


def real_machine() -> Ground:
    """
    Return the ground of this machine.

    Raises:
        Trouble: `forbidden` without root.
    """
    if os.geteuid() != 0:
        raise Trouble(Code.FORBIDDEN, "the wiper needs root", "try it without root with --sandbox DIR")
    return Ground(Path("/"), simulated=False)


def simulated_machine(directory: Path) -> Ground:
    """
    Return the ground of a simulated machine, making its directory where there is none.

    Raises:
        Trouble: `bad_configuration`: the directory is something real.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = directory.lstat()
    strangers = sorted({entry.name for entry in directory.iterdir()} - SANDBOX_NAMES)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        raise Trouble(Code.BAD_CONFIGURATION, f"{directory} is not a directory of our own that only we can write")
    if strangers or os.path.samestat(facts, Path("/").stat()):
        raise Trouble(
            Code.BAD_CONFIGURATION,
            f"{directory} is no simulated machine: it holds {strangers[:3]}",
            "name an empty directory",
        )
    return Ground(directory, simulated=True)
