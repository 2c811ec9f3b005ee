"""Numbers over time: for each series and moment how many reports there were, their least, mean and greatest value."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.history.series import MOST_SERIES, bounded

MOST_VALUES = 2_000_000
"""Series times moments of one chunk; a day of an eight-GPU server by the quarter of an hour is 30,000."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """
    A table of series (rows) over moments (columns).

    Attributes:
        names: The series, sorted.
        times: Milliseconds since 1970, ascending, each once; a bucket's is its start.
        count: How many reports had the series in the bucket; 0 where none had.
        low: The least value of them; NaN where there is none, as in `mean` and `high`.
        mean: Their mean.
        high: The greatest.
    """

    names: tuple[str, ...]
    times: Ints
    count: Ints
    low: Floats
    mean: Floats
    high: Floats

    @property
    def empty(self) -> bool:
        """Whether there is no moment at all."""
        return not len(self.times)


EMPTY = Frame(
    names=(),
    times=np.zeros(0, np.int64),
    count=np.zeros((0, 0), np.int64),
    low=np.zeros((0, 0)),
    mean=np.zeros((0, 0)),
    high=np.zeros((0, 0)),
)


def of_reports(times_ms: Sequence[int], rows: Sequence[Mapping[str, float]]) -> tuple[Frame, int]:
    """Return reports' numbers as a frame, and how many series were too many for it."""
    if not rows:
        return EMPTY, 0
    # Most reports of a machine name the same series in the same order: they are filled in together.
    shapes: dict[tuple[str, ...], list[int]] = {}
    for column, row in enumerate(rows):
        shapes.setdefault(tuple(row), []).append(column)
    names, too_many = bounded(shapes)
    values = np.full((len(names), len(rows)), np.nan)
    place = {name: at for at, name in enumerate(names)}
    for shape, columns in shapes.items():
        block = np.array([list(rows[column].values()) for column in columns], np.float64).T
        kept = [at for at, name in enumerate(shape) if name in place]
        values[np.ix_([place[shape[at]] for at in kept], columns)] = (
            block[kept] if kept else np.zeros((0, len(columns)))
        )
    times = np.asarray(times_ms, np.int64)
    count = (~np.isnan(values)).astype(np.int64)
    return _grouped(tuple(names), times, count, values, values, values), too_many


def fold(frame: Frame, step_ms: int) -> Frame:
    """Return the frame in buckets of a length; the least and the greatest value of each are kept."""
    return _grouped(frame.names, frame.times // step_ms * step_ms, frame.count, frame.low, frame.mean, frame.high)


def merged(frames: Sequence[Frame]) -> Frame:
    """Return one frame of several: buckets of the same moment become one, as if it had been made of all reports."""
    filled = [one for one in frames if not one.empty]
    if not filled:
        return EMPTY
    if len(filled) == 1:
        return filled[0]
    names = filled[0].names
    if any(one.names != names for one in filled):
        names = tuple(sorted({name for one in filled for name in one.names}))
    whole = [_widened(one, names) for one in filled]
    times = np.concatenate([one.times for one in whole])
    joined = {part: np.concatenate([getattr(one, part) for one in whole], axis=1) for part in _PARTS}
    if np.all(times[1:] > times[:-1]):
        return Frame(names=names, times=times, **joined)
    return _grouped(names, times, joined["count"], joined["low"], joined["mean"], joined["high"])


def within(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    """
    Return frames that make no larger a chunk than there may be, and how many series were left out.

    Those that the most reports have stay: a machine that calls its things by other names in each report loses these.
    """
    names = set[str]().union(*(one.names for one in frames))
    room = min(MOST_SERIES, MOST_VALUES // max(1, sum(len(one.times) for one in frames)))
    if len(names) <= room:
        return list(frames), 0
    reports = dict.fromkeys(names, 0)
    for one in frames:
        for name, many in zip(one.names, one.count.sum(axis=1).tolist(), strict=True):
            reports[name] += many
    kept = frozenset(sorted(names, key=lambda name: (-reports[name], name))[:room])
    return [_only(one, kept) for one in frames], len(names) - room


def _only(frame: Frame, kept: Collection[str]) -> Frame:
    rows = [at for at, name in enumerate(frame.names) if name in kept]
    names = tuple(frame.names[at] for at in rows)
    return Frame(names=names, times=frame.times, **{part: getattr(frame, part)[rows] for part in _PARTS})


_PARTS = ("count", "low", "mean", "high")


def between(frame: Frame, start_ms: int, end_ms: int) -> Frame:
    """Return the moments from a time on, up to another and without it."""
    first, last = np.searchsorted(frame.times, (start_ms, end_ms))
    if first == 0 and last == len(frame.times):
        return frame
    cut = {part: getattr(frame, part)[:, first:last] for part in _PARTS}
    return Frame(names=frame.names, times=frame.times[first:last], **cut)


def split(frame: Frame, span_ms: int) -> Iterator[tuple[int, Frame]]:
    """Yield the frame in pieces of a length, each with the time at which its piece begins."""
    for start in np.unique(frame.times // span_ms * span_ms).tolist():
        yield start, between(frame, start, start + span_ms)


def _widened(frame: Frame, names: tuple[str, ...]) -> Frame:
    if frame.names == names:
        return frame
    place = {name: at for at, name in enumerate(names)}
    rows = [place[name] for name in frame.names]
    shape = (len(names), len(frame.times))

    def wide(values: NDArray[Any], empty: float) -> Any:
        made = np.full(shape, empty, values.dtype)
        made[rows] = values
        return made

    parts = {part: wide(getattr(frame, part), 0 if part == "count" else np.nan) for part in _PARTS}
    return Frame(names=names, times=frame.times, **parts)


def _grouped(names: tuple[str, ...], times: Ints, count: Ints, low: Floats, mean: Floats, high: Floats) -> Frame:
    """Sort by time and make one bucket of those that have the same."""
    if np.any(times[1:] < times[:-1]):
        order = np.argsort(times, kind="stable")
        times, count, low, mean, high = times[order], count[:, order], low[:, order], mean[:, order], high[:, order]
    first = np.flatnonzero(np.concatenate(([True], times[1:] != times[:-1])))[: len(times)]
    if len(first) == len(times):
        return Frame(names=names, times=times, count=count, low=low, mean=mean, high=high)
    reduced: Callable[..., Any] = np.add.reduceat
    counts = reduced(count, first, axis=1)
    sums = reduced(np.where(count > 0, mean * count, 0.0), first, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts
    lows, highs = np.fmin.reduceat(low, first, axis=1), np.fmax.reduceat(high, first, axis=1)
    # A sum is rounded: the mean of equal values must not lie beside them.
    return Frame(names=names, times=times[first], count=counts, low=lows, mean=np.clip(means, lows, highs), high=highs)
