"""The kernel log: hardware that failed and software that the kernel gave up, counted since boot."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

import agent.matchers
from agent.host import (
    BEFORE_ALL,
    Host,
    KernelLogUnreadable,
    KernelMessage,
    KernelPosition,
    Unreadable,
    numbers,
)
from agent.indicators import EVERY_REPORT_S, Indicator, Items, NotHere, Reading, without_nothing
from agent.matchers import Event, Matcher
from agent.plugins import load
from shared.messages import Values

MATCHERS = load(agent.matchers, "MATCHER", Matcher)

KEPT_AS = "kernel_log.json"
KEPT_EVERY = 1000
"""Where nothing was found, so many messages may be forgotten by a restart: they are read again, and counted once."""

MOST_ITEMS = 32
"""Devices a reading tells apart; all others are one. A report has room for it, and few machines so many ill ones."""
OTHERS = "others"
MOST_RECENT = 8

LATEST_BOOT_AT_S = 2**37
"""In the year 6325: a date can be made of any time before it."""


class Tally(Struct, frozen=True, kw_only=True):
    """
    What the kernel log has told since boot.

    Attributes:
        boot_id: The boot it is of.
        boot_at_s: When that was, in seconds since 1970, by the clock as it was at the newest event.
        position: How far the log has been read.
        lost: Messages overwritten before they were read.
        counts: By reading and item; the item is "" for one count.
        newest: Text and microseconds since boot of the newest event, by reading and item.
        recent: Microseconds since boot by words, of the latest events; the same again counts once.
    """

    boot_id: str
    boot_at_s: int = 0
    position: KernelPosition = BEFORE_ALL
    lost: int = 0
    counts: dict[str, dict[str, int]] = {}
    newest: dict[str, dict[str, tuple[str, int]]] = {}
    recent: dict[str, int] = {}


class Kept(Struct, frozen=True):
    """The tally, and how much of it a restart would find."""

    tally: Tally
    stored: Tally | None = None


def parse_boot_at_s(stat: str) -> int:
    """
    Return when the machine was booted, in seconds since 1970; 0 where it is not said.

    Raises:
        Unreadable: what is said is no time.

    Source: proc_stat(5).
    """
    for line in stat.splitlines():
        if line.startswith("btime"):
            (boot_at_s,) = numbers(line.split()[1:2] or [""], "/proc/stat")
            if not 0 <= boot_at_s < LATEST_BOOT_AT_S:
                raise Unreadable(f"/proc/stat: {boot_at_s} is no time of a boot")
            return int(boot_at_s)
    return 0


def event_of(text: str) -> Event | None:
    """Return what a line reports, by the first kind it is of."""
    return next((event for matcher in MATCHERS if (event := matcher.match(text))), None)


def tallied(before: Tally, messages: Iterable[KernelMessage]) -> Tally:
    """
    Return the tally with further messages in it.

    Only the kernel's own are looked at: a program that may write into its log can write any text, but not as it.
    """
    position, lost = before.position, before.lost
    events: list[tuple[Event, int]] = []
    for message in messages:
        lost += max(0, message.sequence - position.sequence - 1)
        position = KernelPosition(message.sequence, message.at_us)
        if message.facility == 0 and (event := event_of(message.text)):
            events.append((event, message.at_us))
    if not events:
        return msgspec.structs.replace(before, position=position, lost=lost)
    counts = {name: dict(items) for name, items in before.counts.items()}
    newest = {name: dict(items) for name, items in before.newest.items()}
    recent = dict(before.recent)
    for event, at_us in events:
        items = counts.setdefault(event.reading, {})
        item = _place(items, event.item or "")
        items[item] = items.get(item, 0) + event.count
        if event.newest:
            texts = newest.setdefault(event.newest[0], {})
            texts[_place(texts, item)] = (event.newest[1], at_us)
        recent.pop(event.words, None)
        recent[event.words] = at_us
    latest = dict(list(recent.items())[-MOST_RECENT:])
    return msgspec.structs.replace(before, position=position, lost=lost, counts=counts, newest=newest, recent=latest)


def _place(items: Mapping[str, object], item: str) -> str:
    """Return the item under which something is counted: one more only while there is room."""
    return item if item in items or len(items) < MOST_ITEMS else OTHERS


def values_of(tally: Tally) -> Values:
    """Return the readings of a tally."""
    scalars = {name: 0 for matcher in MATCHERS for name in matcher.scalars}
    by_item: dict[str, Items] = {}
    for name, items in tally.counts.items():
        if name in scalars:
            scalars[name] = sum(items.values())
        else:
            by_item[name] = dict(items)
    for name, newest in tally.newest.items():
        by_item[name] = {
            item: f"{words}, at {_at(tally, at_us):%Y-%m-%d %H:%M:%S} UTC" for item, (words, at_us) in newest.items()
        }
    recent: Items = {
        _at(tally, at_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ"): words for words, at_us in tally.recent.items()
    }
    return without_nothing({**scalars, "messages_lost": tally.lost, **by_item, "recent": recent})


def _at(tally: Tally, at_us: int) -> datetime:
    """Return when something happened."""
    return datetime.fromtimestamp(tally.boot_at_s, UTC) + timedelta(microseconds=at_us)


def recalled(content: bytes | None, boot_id: str) -> Tally | None:
    """Return the tally that was kept, None where there is none of this boot."""
    try:
        tally = msgspec.json.decode(content, type=Tally) if content else None
    except msgspec.MsgspecError:
        return None
    return tally if tally is not None and tally.boot_id == boot_id else None


def worth_keeping(tally: Tally, stored: Tally | None) -> bool:
    """Return whether a restart should find this tally instead of the one that was stored."""
    if stored is None or (tally.counts, tally.lost) != (stored.counts, stored.lost):
        return True
    return tally.position.sequence - stored.position.sequence >= KEPT_EVERY


def read(host: Host, kept: Kept | None) -> Reading | NotHere:
    """Read on in the kernel log, from its oldest message the first time."""
    if kept is None:
        boot_id = host.text("/proc/sys/kernel/random/boot_id").strip()
        found = recalled(host.recall(KEPT_AS), boot_id)
        kept = Kept(found or Tally(boot_id=boot_id), found)
    try:
        tally = tallied(kept.tally, host.kernel_messages(kept.tally.position))
    except KernelLogUnreadable as unreadable:
        return NotHere(str(unreadable))
    if tally.counts != kept.tally.counts:
        tally = msgspec.structs.replace(tally, boot_at_s=parse_boot_at_s(host.text("/proc/stat")))
    stored = kept.stored
    if worth_keeping(tally, stored):
        host.keep(KEPT_AS, msgspec.json.encode(tally))
        stored = tally
    return Reading(values_of(tally), Kept(tally, stored))


INDICATOR = Indicator(
    name="kernel_log",
    interval_s=EVERY_REPORT_S,
    deadline_s=10.0,
    read=read,
    describes={name: words for matcher in MATCHERS for name, words in matcher.describes.items()}
    | {
        "messages_lost": "messages that were overwritten before they could be read, since boot",
        "recent": "by time: the latest events in words; the same again shows its latest time",
    },
)
