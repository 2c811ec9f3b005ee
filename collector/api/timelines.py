"""What is shown of health over time: series in columns, gaps, and parts that cannot be read."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import structlog
from msgspec import Struct

from collector.api.ranges import Wanted
from collector.history import chunk
from collector.history.frame import Floats, Frame, between, fold, merged, of_reports
from collector.history.gaps import WORDS, Gap, GapCause
from collector.history.series import chosen, numbers, readings, unfit
from collector.history.tiers import Resolution, Tier, to_ms
from collector.store.gaps import GapRow
from collector.store.history import Logged
from shared.codes import Code, Trouble

MOST_VALUES = 2_000_000
"""Numbers of an answer, about 15 MB: a day of 450 series by the minute."""

log = structlog.get_logger()


class Columns(Struct, frozen=True, kw_only=True):
    """
    One series: a value for each of the answer's times, null where there is none.

    Of raw reports there is only `mean`, the value itself; `min` and `max` are null as a whole.
    """

    min: list[float | None] | None
    mean: list[float | None]
    max: list[float | None] | None


class GapShown(Struct, frozen=True, kw_only=True):
    """
    Reports that are missing.

    Attributes:
        cause: Stable word.
        words: What it means.
        started_at: When the last report before was made.
        ended_at: When the first one after was; null while the machine is silent.
        missing: How many were made and are not here; 0 where none was made.
        outbox_id: Whose numbers these are.
        first_seq: The first number that is missing; null where none was made.
        last_seq: The last one.
        filled_at: When the last of them came in after all; null while they are missing.
    """

    cause: GapCause
    words: str
    started_at: datetime
    ended_at: datetime | None
    missing: int
    outbox_id: str
    first_seq: int | None
    last_seq: int | None
    filled_at: datetime | None = None


class Unreadable(Struct, frozen=True, kw_only=True):
    """A part of the history that cannot be read back, and why."""

    start_at: datetime
    end_at: datetime
    code: Code
    detail: str


class Timeline(Struct, frozen=True, kw_only=True):
    """
    Health over time.

    Attributes:
        hardware_id: Whose.
        resolution: How finely: a moment is the start of a bucket of `step_s`, or that of a report.
        step_s: A bucket's length; 0 for raw.
        start_at: As asked.
        end_at: As asked; excluded.
        kept_since: What is older is not kept at this resolution.
        times: The moments.
        series: The values.
        unmatched: What was asked for and no series in the range fits.
        gaps: What is missing in the range, newest first; the first thousand, /health/gaps has them all.
        unreadable: Parts that are lost to this answer.
    """

    hardware_id: str
    resolution: Resolution
    step_s: float
    start_at: datetime
    end_at: datetime
    kept_since: datetime
    times: list[str]
    series: dict[str, Columns]
    unmatched: tuple[str, ...]
    gaps: tuple[GapShown, ...]
    unreadable: tuple[Unreadable, ...]


class SeriesName(Struct, frozen=True, kw_only=True):
    """A series by its name and the parts of it; `item` is null where the reading has none."""

    name: str
    indicator: str
    reading: str
    item: str | None


def shown(gap: Gap | GapRow) -> GapShown:
    """Return a gap as the API shows it."""
    missing = gap.last_seq - gap.first_seq + 1
    cause = GapCause(gap.cause)
    return GapShown(
        cause=cause,
        words=WORDS[cause],
        started_at=gap.started_at,
        ended_at=gap.ended_at,
        missing=missing,
        outbox_id=gap.outbox_id,
        first_seq=gap.first_seq if missing else None,
        last_seq=gap.last_seq if missing else None,
        filled_at=gap.filled_at if isinstance(gap, GapRow) else None,
    )


Parts = Sequence[tuple[datetime, bytes]]


def opened(
    wanted: Wanted, logged: Sequence[Logged], parts: Parts, choose: Callable[[Sequence[str]], Sequence[int]]
) -> tuple[Frame, tuple[Unreadable, ...]]:
    """
    Return what a range holds; a part that cannot be read costs only itself.

    Raises:
        Trouble: `range_too_large`.
    """
    frames, lost, size = [], [], 0
    start_ms, end_ms = to_ms(wanted.start) // wanted.tier.step_ms * wanted.tier.step_ms, to_ms(wanted.end)
    for start, content in parts:
        try:
            found = chunk.decode(content, choose).frame
        except Trouble as trouble:
            lost.append(_unreadable(start, wanted.tier, trouble))
            continue
        frames.append(between(found, start_ms, end_ms))
        size = _within(size + frames[-1].low.size, wanted.tier)
    if logged:
        read = readings(wanted.patterns)
        rows = _rows(logged, read, choose, wanted.tier)
        recent, _ = of_reports([to_ms(one.at) for one in logged], rows)
        frames.append(fold(recent, wanted.tier.step_ms))
        _within(size + frames[-1].low.size, wanted.tier)
    # Of a machine whose series are others each hour the whole is far larger than its parts.
    names = set[str]().union(*(one.names for one in frames))
    _within(len(names) * sum(len(one.times) for one in frames), wanted.tier)
    return merged(frames), tuple(lost)


def _rows(
    logged: Sequence[Logged],
    read: Callable[[str], bool] | None,
    choose: Callable[[Sequence[str]], Sequence[int]],
    tier: Tier,
) -> list[dict[str, float]]:
    """Return the numbers of reports that no chunk holds yet."""
    rows, size = [], 0
    for one in logged:
        rows.append(_picked(numbers(one.indicators, read), choose))
        size += len(rows[-1])
        if size > MOST_VALUES:
            raise _too_large(tier)
    return rows


def _picked(row: dict[str, float], choose: Callable[[Sequence[str]], Sequence[int]]) -> dict[str, float]:
    names = list(row)
    return {names[at]: row[names[at]] for at in choose(names)}


def _within(size: int, tier: Tier) -> int:
    values = size if tier.resolution is Resolution.RAW else 3 * size
    if values > MOST_VALUES:
        raise _too_large(tier)
    return size


def _too_large(tier: Tier) -> Trouble:
    words = f"more than {MOST_VALUES} values at {tier.resolution}"
    return Trouble(Code.RANGE_TOO_LARGE, words, "fewer series (series=cpu.*), less time, or a coarser resolution")


def choosing(patterns: Sequence[str]) -> Callable[[Sequence[str]], Sequence[int]]:
    """Return what picks series by patterns; names that come again, as an hour's after another's, are not looked at."""
    known: list[tuple[Sequence[str], list[int]]] = []

    def choose(names: Sequence[str]) -> Sequence[int]:
        if not known or known[0][0] != names:
            known[:] = [(names, chosen(names, patterns))]
        return known[0][1]

    return choose


def _unreadable(start: datetime, tier: Tier, trouble: Trouble) -> Unreadable:
    log.error("history.chunk_unreadable", tier=tier.resolution, start_at=start.isoformat(), detail=trouble.detail)
    return Unreadable(start_at=start, end_at=start + tier.span, code=trouble.code, detail=trouble.detail)


def timeline(
    hardware_id: str,
    wanted: Wanted,
    kept_since: datetime,
    logged: Sequence[Logged],
    parts: Parts,
    gaps: Sequence[Gap | GapRow],
) -> bytes:
    """
    Return a history as JSON.

    Raises:
        Trouble: `range_too_large`.
    """
    frame, lost = opened(wanted, logged, parts, choosing(wanted.patterns))
    raw = wanted.tier.resolution is Resolution.RAW
    whole = [None] * len(frame.names) if raw else _lists(frame.low)
    highs = [None] * len(frame.names) if raw else _lists(frame.high)
    columns = zip(frame.names, whole, _lists(frame.mean), highs, strict=True)
    return msgspec.json.encode(
        Timeline(
            hardware_id=hardware_id,
            resolution=wanted.tier.resolution,
            step_s=wanted.tier.step.total_seconds(),
            start_at=wanted.start,
            end_at=wanted.end,
            kept_since=kept_since,
            times=_words(frame, raw=raw),
            series={name: Columns(min=low, mean=mean, max=high) for name, low, mean, high in columns},
            unmatched=unfit(frame.names, wanted.patterns),
            gaps=tuple(shown(one) for one in gaps),
            unreadable=lost,
        )
    )


def _lists(values: Floats) -> list[Any]:
    """Return rows of numbers; what is no number becomes null where it is encoded."""
    rows: list[Any] = values.tolist()
    return rows


def _words(frame: Frame, *, raw: bool) -> list[str]:
    times = frame.times.view("datetime64[ms]")
    words: list[str] = np.datetime_as_string(times, unit="ms" if raw else "s", timezone="UTC").tolist()
    return words
