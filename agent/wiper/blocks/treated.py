"""What was done to a file system's blocks, step by step, and what all of it comes to. Pure."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from shared.documents import Medium

MAX_NOTE = 80


class Treated(Struct, frozen=True, kw_only=True):
    """
    What one step did to the blocks of one file system.

    `device`: "major:minor", as the list of mounts has it; `trimmed_bytes`: None where trim was not tried or failed;
    `note`: why it failed, in words.
    """

    device: str
    overwritten_bytes: int = 0
    trimmed_bytes: int | None = None
    note: str | None = None


def told(media: Iterable[Medium], treated: Iterable[Treated]) -> tuple[Medium, ...]:
    """
    Return the media with what all steps of all attempts did to them.

    Overwritten bytes add up; of several trims the last one counts, for each trims what is free then.
    """
    done = tuple(treated)
    return tuple(_with(medium, [one for one in done if one.device == medium.device]) for medium in media)


def _with(medium: Medium, done: list[Treated]) -> Medium:
    overwritten = sum(one.overwritten_bytes for one in done)
    trims = [one for one in done if one.trimmed_bytes is not None or one.note is not None]
    trimmed = trims[-1].trimmed_bytes if trims else None
    note = trims[-1].note[:MAX_NOTE] if trims and trims[-1].note else None
    words = (
        *(("overwritten",) if overwritten else ()),
        "unlinked",
        *(("trimmed",) if trimmed is not None else ()),
    )
    return replace(medium, technique=", ".join(words), overwritten_bytes=overwritten, trimmed_bytes=trimmed, note=note)
