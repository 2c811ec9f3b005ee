"""Reports that can be sent: what the wire has no form or no room for is told as that indicator's failure. Pure."""

import msgspec

from shared.messages import MAX_MESSAGE_BYTES, Failed, Indicators, Outcome

MOST_BYTES = MAX_MESSAGE_BYTES - 8_192
"""Of a report's indicators; the rest is for what stands beside them: 64 ranges of lost numbers take 6 kB."""

_MOST_WORDS = 200

_outcome: msgspec.json.Decoder[Outcome] = msgspec.json.Decoder(Outcome)
_whole: msgspec.json.Decoder[Indicators] = msgspec.json.Decoder(Indicators)


def fitted(indicators: Indicators) -> bytes:
    """
    Return a report's indicators as JSON that the collector takes.

    One that could not be sent would be tried for ever, and hold up every report after it.
    """
    whole = _encoded(indicators)
    if whole is not None:
        return whole
    found = {name: _sendable(outcome) for name, outcome in indicators.items()}
    while len(body := msgspec.json.encode(found)) > MOST_BYTES:
        sizes = {name: len(msgspec.json.encode(outcome)) for name, outcome in found.items()}
        name = max(sizes, key=sizes.__getitem__)
        words = f"its readings take {sizes[name]:,} bytes, of the {MOST_BYTES:,} there are for a whole report"
        found[name] = Failed(error=words, took_ms=found[name].took_ms)
    return body


def _encoded(indicators: Indicators) -> bytes | None:
    """Return a report as it is; None where something of it cannot be sent."""
    try:
        body = msgspec.json.encode(indicators)
        _whole.decode(body)
    except (TypeError, ValueError, OverflowError):
        return None
    return body if len(body) <= MOST_BYTES else None


def _sendable(outcome: Outcome) -> Outcome:
    try:
        _outcome.decode(msgspec.json.encode(outcome))
    except (TypeError, ValueError, OverflowError) as error:
        words = "".join(sign if sign.isprintable() else "?" for sign in str(error))[:_MOST_WORDS]
        return Failed(error=f"its readings cannot be sent: {words}", took_ms=outcome.took_ms)
    return outcome
