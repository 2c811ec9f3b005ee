"""The demo's tenant and neighbour: what they leave on the machine, and whether it is there afterwards."""

import os
from pathlib import Path

from msgspec import Struct

TENANT = "tenant-demo"
PRECIOUS = b"The neighbour's only copy.\n"
FILES = {
    "weights/model.safetensors": 4 * 2**20,
    "weights/checkpoint-1/optimizer.bin": 2**20,
    ".cache/huggingface/token": 64,
    "notes.txt": 4096,
    ".bash_history": 512,
}
"""What the tenant makes in the home: names, and sizes in bytes."""


class Machine(Struct, frozen=True, kw_only=True):
    """
    The machine that the wiper works on, as seen from outside.

    `root`: where its "/" is for us; `real`: with accounts by useradd, in a private view of this machine.
    """

    root: Path
    real: bool

    @property
    def home(self) -> Path:
        """The tenant's home."""
        return self.root / "home" / TENANT

    @property
    def neighbour(self) -> Path:
        """A file of somebody else, beside the tenant's home; the tenant has a link to it."""
        return self.root / "home" / "neighbour" / "precious.txt"

    @property
    def elsewhere(self) -> Path:
        """A file that the tenant left outside the home; only a real machine has such a place."""
        return self.root / "var" / "tmp" / "tenant-left-this"

    def settle(self, uid: int) -> int:
        """Let the tenant make files, with a link to the neighbour's; return how many names there are."""
        self.neighbour.parent.mkdir(parents=True, exist_ok=True)
        self.neighbour.write_bytes(PRECIOUS)
        for name, size in FILES.items():
            path = self.home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size))
        (self.home / "link-to-neighbour").symlink_to("../neighbour")
        os.link(self.neighbour, self.home / "hard-link-to-neighbour")
        if self.real:
            self.elsewhere.write_bytes(b"scratch")
            for path in (self.elsewhere, *self.home.rglob("*")):
                if path.name != "hard-link-to-neighbour":
                    os.chown(path, uid, uid, follow_symlinks=False)
        return sum(1 for _ in self.home.rglob("*")) + self.real

    def left(self) -> int:
        """Return how many of the tenant's names are still there."""
        inside = sum(1 for _ in self.home.rglob("*")) + 1 if self.home.exists() else 0
        return inside + self.elsewhere.exists()

    def neighbour_unharmed(self) -> bool:
        """Return whether the neighbour's file is as it was."""
        return (
            self.neighbour.exists() and self.neighbour.read_bytes() == PRECIOUS and self.neighbour.stat().st_nlink == 1
        )
