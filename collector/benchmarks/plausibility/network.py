"""Bandwidth against the link, and against what the measuring server saw."""

from collections.abc import Iterator
from datetime import timedelta

from collector.benchmarks.plausibility.seen import Seen, flag
from shared.codes import Trouble
from shared.documents import BandwidthWitness, open_signed
from shared.flags import Flag, FlagCode

OVER_WITNESS = 1.02
"""The two ends do not cut their slices at the same moments."""
SERVER_SKEW = timedelta(minutes=5)
"""How far the measuring server's clock may be from the collector's."""

FIGURE = "network_bandwidth_gbps"


def link(seen: Seen) -> Iterator[Flag]:
    """See that the machine's own link carries it."""
    value, limit = seen.outcome.network_bandwidth_gbps, seen.network.link_bit_s
    if value is not None and limit and value * 1e9 > limit:
        yield flag(FlagCode.OVER_LINK, f"{value:,.4g} Gbit/s over a link of {limit / 1e9:,.4g}", FIGURE)


def witness(seen: Seen) -> Iterator[Flag]:
    """See that the measuring server signed it, for this very run, and saw as much."""
    value = seen.outcome.network_bandwidth_gbps
    if value is None:
        return
    found, context = seen.network, seen.context
    if context.ticket is None or context.server_key is None or not (found.witness or found.garbled):
        yield flag(FlagCode.WITNESS_MISSING, f"{value:,.4g} Gbit/s by the machine's own word", FIGURE)
        return
    if found.witness is None:
        yield flag(FlagCode.WITNESS_FORGED, "what stands in the witness's place cannot be read", FIGURE)
        return
    try:
        told = open_signed(found.witness, BandwidthWitness, context.server_key)
    except Trouble as trouble:
        yield flag(FlagCode.WITNESS_FORGED, f"{trouble.code}: {trouble.detail}", FIGURE)
        return
    yield from _agrees(seen, told, value)


def _agrees(seen: Seen, told: BandwidthWitness, value: float) -> Iterator[Flag]:
    context = seen.context
    assert context.ticket is not None
    if (told.ticket_id, told.hardware_id) != (context.ticket.ticket_id, context.ticket.hardware_id):
        words = f"about {told.ticket_id} of {told.hardware_id}, not about {context.ticket.ticket_id}"
        yield flag(FlagCode.WITNESS_FOREIGN, words, FIGURE)
    elif not context.issued_at - SERVER_SKEW <= told.ended_at <= context.received_at + SERVER_SKEW:
        words = f"about a run that ended at {told.ended_at.isoformat(timespec='seconds')}"
        yield flag(FlagCode.WITNESS_FOREIGN, words, FIGURE)
    saw_gbps = min(told.up_bit_s, told.down_bit_s) / 1e9
    if value > saw_gbps * OVER_WITNESS:
        yield flag(FlagCode.OVER_WITNESS, f"{value:,.4g} Gbit/s; the measuring server saw {saw_gbps:,.4g}", FIGURE)
