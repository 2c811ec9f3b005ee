"""What bandwidth measurements may still move this month: a provider pays for traffic by the month."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from agent.files import write_durably
from shared.codes import Code, Trouble


class Spent(Struct, frozen=True):
    """Bytes moved in one month ("2026-11", UTC), both ways together."""

    month: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}\Z")] = "0000-00"
    moved_bytes: Annotated[int, Meta(ge=0)] = 0

    def plus(self, moved_bytes: int, now: datetime) -> "Spent":
        """Return what is spent after a measurement that ended now; a new month begins at 0."""
        return Spent(month_of(now), self.in_month(now) + moved_bytes)

    def in_month(self, now: datetime) -> int:
        """Return the bytes moved in the month of `now`."""
        return self.moved_bytes if self.month == month_of(now) else 0


def left_bytes(spent: Spent, budget_gb: int, now: datetime) -> int:
    """Return what may still be moved this month, in bytes; a budget of 0 GB allows nothing."""
    return max(0, budget_gb * 10**9 - spent.in_month(now))


def month_of(now: datetime) -> str:
    """Return a moment's month."""
    return f"{now:%Y-%m}"


def load(path: Path) -> Spent:
    """
    Read what is spent; nothing where there is no file yet.

    Raises:
        Trouble: `state_corrupt`: better no measurement than one nobody wants to pay for.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Spent)
    except FileNotFoundError:
        return Spent()
    except (OSError, ValueError) as error:
        raise Trouble(Code.STATE_CORRUPT, f"{path}: {error}", f"remove {path}; the month then counts from 0") from error


def save(path: Path, spent: Spent) -> None:
    """
    Keep what is spent.

    Raises:
        Trouble: `state_unwritable`.
    """
    write_durably(path, msgspec.json.encode(spent) + b"\n")
