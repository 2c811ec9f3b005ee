"""Readings as people read them: the unit out of the name, and a size that can be grasped. Pure."""

from shared.messages import Scalar

NOTHING = "\N{EN DASH}"

UNITS = {
    "_bytes_s": "bytes/s",
    "_bytes": "bytes",
    "_percent": "%",
    "_celsius": "°C",
    "_mb_s": "MB/s",
    "_mbit_s": "Mbit/s",
    "_gbps": "Gbit/s",
    "_mhz": "MHz",
    "_ms": "ms",
    "_w": "W",
    "_s": "s",
}
"""By the suffix of a reading's name; a longer suffix stands before a shorter one that it ends with."""

_MOST_SECONDS = 120


def unit(name: str) -> str:
    """Return a reading's unit by its name; empty for counts, states and words."""
    return next((words for suffix, words in UNITS.items() if name.endswith(suffix)), "")


def label(name: str) -> str:
    """Return a reading's name in words, without its unit."""
    suffix = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
    return name.removesuffix(suffix).replace("_", " ")


def shown(name: str, value: Scalar) -> str:
    """Return a reading's value with its unit: "61.2 °C", "25.3 GB", "8 d 4 h", "yes"."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return printable(value)
    match unit(name):
        case "bytes":
            return size(value)
        case "bytes/s":
            return f"{size(value)}/s"
        case "s":
            return duration(value)
        case words:
            return f"{plain(value)} {words}".rstrip()


def printable(text: str) -> str:
    """Return a text that does nothing to a terminal: who may name a mount or a process may not move its cursor."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)


def plain(value: float) -> str:
    """Return a number with its thousands set apart, and no more digits than say something."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}".rstrip("0").rstrip(".")


def size(count: float) -> str:
    """Return a size in the largest decimal unit that leaves a number above 1."""
    for factor, words in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if abs(count) >= factor:
            return f"{count / factor:.1f} {words}"
    return f"{count:g} B"


def duration(seconds: float) -> str:
    """Return a span of time by its two largest units; short ones in seconds."""
    if abs(seconds) < _MOST_SECONDS:
        return f"{plain(seconds)} s"
    minutes = round(seconds / 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def took(milliseconds: float) -> str:
    """Return how long something took: "3.2 ms", "5.0 s"."""
    return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
