"""What the terminal can show: its width, and whether colours are wanted."""

import os
import shutil
from collections.abc import Mapping
from typing import TextIO

LEAST_WIDTH, PIPED_WIDTH = 60, 160


def coloured(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether to use colours: at a terminal that has them, unless NO_COLOR is set. Source: no-color.org."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def width(stream: TextIO) -> int:
    """Return how many columns to fill; a file or a pipe takes long lines."""
    if not stream.isatty():
        return PIPED_WIDTH
    return max(LEAST_WIDTH, shutil.get_terminal_size().columns)
