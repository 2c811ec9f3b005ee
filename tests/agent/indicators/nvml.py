"""The stand-in for NVML: a small C library, and a file that says what goes wrong with it."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")
LIBRARY = "libnvidia-ml.so.1"


def build(folder: Path) -> Path | None:
    """Build the library in a folder and return that; None without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / LIBRARY, SOURCE], check=True)
    return folder


class Control:
    """What goes wrong, to be changed while a probe runs."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.say()

    def say(self, *lines: str) -> None:
        """Replace all there was; nothing goes wrong where nothing is said."""
        new = self.file.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.replace(self.file)
