"""
What a line of the kernel log means: one pure file a kind, no more; each has one `MATCHER`, named like its file.

A pattern is anchored at the line's start and names so much of it that no tenant can forge one: lines of the kernel that
begin with a process's name ("NAME[PID]: segfault at …") leave him 15 characters. Nothing of what a tenant may choose, a
process's or a file's name, is passed on.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True):
    """
    What one line reports.

    Attributes:
        reading: What it is counted as.
        words: What happened, in words of ours.
        item: Where, such as a device or a PCI address; None where the reading is one count.
        count: How many of it the line stands for.
        newest: Where there is a reading that keeps the newest text by item: its name, and that text.
    """

    reading: str
    words: str
    item: str | None = None
    count: int = 1
    newest: tuple[str, str] | None = None


class Matcher(Struct, frozen=True, kw_only=True):
    """
    One kind of line.

    Attributes:
        name: The file's name.
        match: Returns what a line reports, None if it is none of this kind. It takes any text and never raises.
        describes: What each of its readings counts, one line by its name.
        scalars: Those of them that are one count, 0 where nothing was reported.
    """

    name: str
    match: Callable[[str], Event | None]
    describes: Mapping[str, str]
    scalars: tuple[str, ...] = ()
