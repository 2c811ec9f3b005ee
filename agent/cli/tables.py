"""Tables for a terminal, drawn with rich, which takes 50 ms and 10 MB: to be imported where one is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import chain

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.cli.units import NOTHING, label, printable, shown
from shared.messages import Scalar

_GAP = 3
"""Columns between two columns of a table."""

LONG = 20
"""Values with more characters than this are words, not figures."""

Group = Mapping[str, Mapping[str, Scalar]]
"""Readings of the same items: by reading, then by item."""


class Page:
    """
    Tables and lines, one below the other.

    Args:
        width: Columns to fill.
        colour: Whether to use colours.
    """

    def __init__(self, width: int, *, colour: bool) -> None:
        self._screen = StringIO()
        self._width = width
        self._console = Console(
            file=self._screen,
            width=width,
            force_terminal=colour,
            color_system="standard" if colour else None,
            no_color=not colour,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def heading(self, title: str, beside: str = "", *, style: str = "bold") -> None:
        """Begin a section: its title, and words beside it."""
        words = printable(f"  {beside}" if beside else "")
        self._console.print(Text.assemble((title, style), (words, "dim")), soft_wrap=True)

    def line(self, words: str, style: str = "") -> None:
        """Add a line."""
        self._console.print(Text(f"  {printable(words)}", style=style))

    def gap(self) -> None:
        """Add an empty line."""
        self._console.print()

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Add names and values beside each other."""
        table = _table(show_header=False)
        table.add_column(style="dim" if self._console.color_system else "", no_wrap=True)
        table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*map(_text, row))
        self._console.print(table)

    def grid(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table with a head."""
        table = _table(show_header=True)
        for column in columns:
            table.add_column(_text(column), overflow="fold")
        for row in rows:
            table.add_row(*map(_text, row))
        self._console.print(table)

    def items(self, group: Group) -> None:
        """Add readings by item: a row an item where that fits, else a row a reading, and as many tables as it takes."""
        items = sorted({item for values in group.values() for item in values})
        cells = {key: {item: _cell(key, values, item) for item in items} for key, values in group.items()}
        labels = {key: label(key) for key in group}
        if fits(cells, labels, self._width):
            rows = [[item, *(cells[key][item] for key in group)] for item in items]
            self.grid(["", *labels.values()], rows)
            return
        long = {key for key, values in cells.items() if max(map(len, values.values()), default=0) > LONG}
        if 0 < len(long) < len(group):
            # Apart, so that the short ones of many items stand beside each other.
            self.items({key: values for key, values in group.items() if key in long})
            self.items({key: values for key, values in group.items() if key not in long})
            return
        for some in shares(cells, labels, items, self._width):
            self.grid(["", *some], [[labels[key], *(cells[key][item] for item in some)] for key in group])

    def text(self) -> str:
        """Return the page."""
        return "\n".join(line.rstrip() for line in self._screen.getvalue().splitlines())


def fits(cells: Mapping[str, Mapping[str, str]], labels: Mapping[str, str], width: int) -> bool:
    """Return whether a table with a row for each item is no wider than the screen; heads may break between words."""
    items = chain.from_iterable(cells.values())
    used = max(map(len, items), default=0) + _GAP
    for key, values in cells.items():
        used += max(map(len, (*labels[key].split(), *values.values())), default=0) + _GAP
    return used <= width


def shares(
    cells: Mapping[str, Mapping[str, str]], labels: Mapping[str, str], items: Sequence[str], width: int
) -> Iterator[list[str]]:
    """Give the items that fit beside each other as columns, again and again; at least one each time."""
    first = max(map(len, labels.values()), default=0) + _GAP
    some: list[str] = []
    used = first
    for item in items:
        needs = max(len(item), *(len(values[item]) for values in cells.values())) + _GAP
        if some and used + needs > width:
            yield some
            some, used = [], first
        some.append(item)
        used += needs
    if some:
        yield some


def _text(words: str) -> Text:
    return Text(printable(words))


def _cell(key: str, values: Mapping[str, Scalar], item: str) -> str:
    return shown(key, values[item]) if item in values else NOTHING


def _table(*, show_header: bool) -> Table:
    if show_header:
        return Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0))
    return Table(box=None, show_header=False, padding=(0, 0, 0, 2))
