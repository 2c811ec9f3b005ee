"""
How closed hours are kept: a frame, packed by columns and compressed as a whole.

Readings are decimals with few places, so a series is kept as whole numbers of its last place: the least value of each
bucket as its difference to the bucket before, the greatest as its difference to the least, the mean as its difference
to the least with two places more. Each row takes as few bytes a number as its largest needs, none where all are zero.
A series that is no decimal of at most `PLACES` places is kept bit by bit.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import zstandard
from msgspec import Struct
from numpy.typing import NDArray

from collector.history.frame import EMPTY, Frame, Ints
from shared.codes import Code, Trouble

MAGIC = b"RPH1"
PLACES = 4
"""Decimal places up to which a reading is kept as a whole number."""
LEVEL = 3
MOST_BYTES = 256 * 2**20
"""Unpacked; a chunk that says more is none of ours."""

_EXACT = 2.0**46
"""Whole numbers below this, and their hundredths, are exact as whole numbers."""
MEAN = 100
"""What a mean of whole numbers is kept in parts of: of four reports a minute it is exact."""
_BITS = -1
_WIDTHS: tuple[tuple[int, Any], ...] = ((1, np.int8), (2, np.int16), (4, np.int32), (8, np.int64))

Covered = dict[str, list[tuple[int, int]]]
"""Numbers of the reports that a chunk is made of, in ranges with both ends, by outbox."""


class Chunk(Struct, frozen=True, kw_only=True):
    """A frame, and which reports it is made of."""

    frame: Any
    covered: Covered


class _Head(Struct, frozen=True, array_like=True):
    names: list[str]
    moments: int
    covered: Covered


_head: msgspec.msgpack.Decoder[_Head] = msgspec.msgpack.Decoder(_Head)


def encode(frame: Frame, covered: Covered) -> bytes:
    """Return a frame as bytes."""
    head = msgspec.msgpack.encode(_Head(list(frame.names), len(frame.times), covered))
    there = frame.count > 0
    most = frame.count.max(axis=0, initial=0)
    places, low, mean, high = _whole(frame, there)
    moments = np.stack((np.diff(frame.times, prepend=0), most))
    # What is read together stands together: one pass over all four is what makes reading quick.
    rows = np.concatenate((np.diff(low, axis=1, prepend=low[:, :1]), high - low, mean, most - frame.count))
    body = [places.astype(np.int8).tobytes(), *(_packed(one) for one in (moments, low[:, :1], rows))]
    raw = struct.pack("<I", len(head)) + head + b"".join(body)
    return MAGIC + zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(raw)


def decode(raw: bytes, choose: Callable[[Sequence[str]], Sequence[int]] | None = None) -> Chunk:
    """
    Return a chunk from its bytes.

    Args:
        raw: As `encode` made it.
        choose: Given the series' names, returns the places of those that are wanted, ascending; None for all.

    Raises:
        Trouble: `history_unreadable`.
    """
    try:
        head, body = _opened(raw)
        wanted = np.arange(len(head.names)) if choose is None else np.asarray(choose(head.names), np.int64)
        return Chunk(frame=_frame(head, body, wanted), covered=head.covered)
    except (zstandard.ZstdError, msgspec.MsgspecError, struct.error, ValueError, IndexError) as error:
        raise Trouble(Code.HISTORY_UNREADABLE, f"{type(error).__name__}: {error}"[:200]) from error


def _opened(raw: bytes) -> tuple[_Head, "_Body"]:
    if not raw.startswith(MAGIC):
        raise ValueError("not a chunk of a format that this version knows")
    if zstandard.frame_content_size(raw[len(MAGIC) :]) > MOST_BYTES:
        raise ValueError("a chunk larger than any of ours")
    plain = zstandard.ZstdDecompressor().decompress(raw[len(MAGIC) :])
    (size,) = struct.unpack_from("<I", plain)
    return _head.decode(plain[4 : 4 + size]), _Body(plain, 4 + size)


def _frame(head: _Head, body: "_Body", wanted: Ints) -> Frame:
    series, moments = len(head.names), head.moments
    if not moments:
        return EMPTY
    places = body.bytes_of(series)[wanted]
    steps, most = body.matrix(2, moments, np.arange(2))
    first = body.matrix(series, 1, wanted)
    every = np.concatenate([wanted + part * series for part in range(4)])
    change, spread, mean, less = body.matrix(4 * series, moments, every).reshape(4, len(wanted), moments)
    low = first + change.cumsum(axis=1)
    scale = 10.0 ** np.maximum(places, 0)[:, None]
    values = [low / scale, (MEAN * low + mean) / (scale * MEAN), (low + spread) / scale]
    bits = places == _BITS
    if bits.any():
        for one, whole in zip(values, (low, low + mean, low + spread), strict=True):
            one[bits] = whole[bits].view(np.float64)
    count = most - less
    absent = count == 0
    if absent.any():
        for one in values:
            one[absent] = np.nan
    return Frame(
        names=tuple(head.names[at] for at in wanted.tolist()),
        times=steps.cumsum(),
        count=count,
        low=values[0],
        mean=values[1],
        high=values[2],
    )


def _whole(frame: Frame, there: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints, Ints]:
    """Return each series' places, and its values as whole numbers: least, mean beyond it, greatest."""
    low, mean, high = (_filled(one, there) for one in (frame.low, frame.mean, frame.high))
    places = np.full(len(frame.names), _BITS, np.int64)
    for power in range(PLACES, -1, -1):
        scale = 10.0**power
        exact = np.abs(high) * scale < _EXACT
        exact &= np.abs(low) * scale < _EXACT
        exact &= (np.rint(low * scale) / scale == low) & (np.rint(high * scale) / scale == high)
        places[exact.all(axis=1)] = power
    bits = (places == _BITS)[:, None]
    by = np.where(bits, 0.0, 10.0 ** np.maximum(places, 0)[:, None])
    least, parts, most = (
        np.rint(one * each).astype(np.int64) for one, each in ((low, by), (mean, by * MEAN), (high, by))
    )
    as_low, as_mean, as_high = (np.ascontiguousarray(one).view(np.int64) for one in (low, mean, high))
    beyond = np.where(bits, as_mean - as_low, parts - MEAN * least)
    return places, np.where(bits, as_low, least), beyond, np.where(bits, as_high, most)


def _filled(values: NDArray[np.float64], there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put a neighbour's value where there is none: it takes no room, and what is there is read from the count."""
    if there.all():
        return values + 0.0  # a negative zero has no place among whole numbers
    at = np.where(there, np.arange(values.shape[1]), -1)
    at = np.maximum.accumulate(at, axis=1)
    first = there.argmax(axis=1)[:, None]
    at = np.where(at < 0, first, at)
    taken = np.take_along_axis(values, at, axis=1)
    return np.where(np.isnan(taken), 0.0, taken) + 0.0


def _packed(matrix: Ints) -> bytes:
    """Return rows of whole numbers: each row's width in bytes, then the rows of each width together."""
    widths = np.zeros(len(matrix), np.int8)
    if matrix.shape[1]:
        least, most = matrix.min(axis=1), matrix.max(axis=1)
        for width, kind in reversed(_WIDTHS):
            limits = np.iinfo(kind)
            widths[(least >= limits.min) & (most <= limits.max)] = width
        widths[(least == 0) & (most == 0)] = 0
    rows = [matrix[widths == width].astype(kind).tobytes() for width, kind in _WIDTHS]
    return b"".join((widths.tobytes(), *rows))


class _Body:
    """Reads packed matrices one after another."""

    def __init__(self, raw: bytes, at: int) -> None:
        self._raw = raw
        self._at = at

    def bytes_of(self, length: int) -> NDArray[np.int8]:
        """Return so many small numbers."""
        found = np.frombuffer(self._raw, np.int8, length, self._at)
        self._at += length
        return found

    def matrix(self, rows: int, columns: int, wanted: Ints) -> Ints:
        """Return the rows that are wanted."""
        widths = self.bytes_of(rows)
        found = np.zeros((len(wanted), columns), np.int64)
        own, counts = widths[wanted], np.bincount(widths, minlength=9).tolist()
        for width, kind in _WIDTHS:
            if not (many := counts[width]):
                continue
            mine = np.flatnonzero(own == width)
            if len(mine):
                block = np.frombuffer(self._raw, kind, many * columns, self._at).reshape(many, columns)
                # The rows of one width stand together, in their order.
                found[mine] = block[np.searchsorted(np.flatnonzero(widths == width), wanted[mine])]
            self._at += many * columns * width
        return found
