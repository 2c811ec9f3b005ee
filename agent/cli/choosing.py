"""Plug-ins by the names that were given on the command line."""

import difflib
from collections.abc import Sequence
from typing import Protocol, TypeVar

import click


class Named(Protocol):
    """Whatever has a name."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""


N = TypeVar("N", bound=Named)


def chosen(all_of_them: Sequence[N], names: Sequence[str], kind: str) -> tuple[N, ...]:
    """
    Return those that were named, in their own order; all of them where none was.

    Raises:
        click.UsageError: there is none of this name; the nearest one is told.
    """
    known = [one.name for one in all_of_them]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise click.UsageError(f"no {kind} {name!r}; {hint}")
    return tuple(one for one in all_of_them if not names or one.name in names)
